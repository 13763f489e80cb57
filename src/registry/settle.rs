use serde::Serialize;

use super::auth::Scopes;
use super::journal::{Journal, MovingTag};
use super::manifest::Put;
use super::push::at_once;
use super::{RegistryClient, RegistryError};
use crate::base::{Digest, ErrorClass, Failure as _};

/// What became of a release whose tags an earlier process left half moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settlement {
    /// In which way.
    pub outcome: Settled,
    /// Tags of that release.
    pub tags: usize,
    /// Those that somebody else has moved since, or that can be moved in neither direction: they were left alone.
    pub left_alone: Vec<String>,
}

/// In which way a release was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Settled {
    /// There was no mix: no tag had moved yet, or all had.
    Unmixed,
    /// The other tags were moved too.
    Finished,
    /// The registry would not let them move: those that had were put back.
    Reverted,
    /// Neither was possible, for good: the mix stays until somebody mends it.
    Stuck,
}

/// A tag, with what it shows now.
struct Seen {
    tag: MovingTag,
    shows: Option<Digest>,
}

impl Seen {
    fn name(&self) -> String {
        self.tag.repository.tagged(self.tag.tag.clone()).to_string()
    }

    fn is_new(&self) -> bool {
        self.shows == Some(self.tag.new)
    }

    fn is_old(&self) -> bool {
        self.shows == self.tag.old && !self.is_new()
    }
}

/// Ends what an earlier process left between two releases, so that no mix of them outlives it; `None` if there was nothing.
///
/// Tags began to move only after everything that they shall show was at every registry and read back, so the release is
/// finished from what the registries hold; our layout may have gone on to the next one. If a tag may not move, those that
/// did are put back. A tag that shows neither release was moved by somebody else since and is theirs. An error means that a
/// registry cannot be asked now: the journal still holds the release then.
pub async fn settle(client: &RegistryClient, journal: &Journal) -> Result<Option<Settlement>, RegistryError> {
    let Some(moving) = journal.moving() else { return Ok(None) };
    let count = moving.len();
    let seen = at_once(moving, |tag| async move {
        let target = client.target(&tag.repository);
        let shows = client.head_manifest(&target, tag.tag.as_str(), &Scopes::push(&target.path)).await?;
        Ok(Seen { tag, shows })
    })
    .await?;
    let foreign = seen.iter().filter(|seen| !seen.is_new() && !seen.is_old()).map(Seen::name);
    let mut left_alone: Vec<String> = foreign.collect();
    let (new, old): (Vec<&Seen>, Vec<&Seen>) =
        seen.iter().filter(|seen| seen.is_new() || seen.is_old()).partition(|seen| seen.is_new());
    let outcome = if new.is_empty() || old.is_empty() {
        Settled::Unmixed
    } else {
        match all_to(client, &old, |tag| Some(tag.new)).await {
            Ok(()) => Settled::Finished,
            Err(error) if passes(&error) => return Err(error),
            Err(_) => {
                // Some of them may have moved just now: all are put back that were not where they were before.
                let mixed: Vec<&Seen> = new.iter().chain(&old).copied().collect();
                match all_to(client, &mixed, |tag| tag.old).await {
                    Ok(()) => Settled::Reverted,
                    Err(error) if passes(&error) => return Err(error),
                    Err(_) => {
                        left_alone.extend(mixed.iter().map(|seen| seen.name()));
                        Settled::Stuck
                    }
                }
            }
        }
    };
    journal.settled()?;
    left_alone.sort();
    Ok(Some(Settlement { outcome, tags: count, left_alone }))
}

/// Whether the same may go well later, so that giving up for good would be wrong.
fn passes(error: &RegistryError) -> bool {
    matches!(error.class(), ErrorClass::Network | ErrorClass::RateLimited)
        || matches!(error, RegistryError::Refused { status: 500.., .. })
}

/// Makes every tag show what `goal` says, out of what its registry holds.
async fn all_to(
    client: &RegistryClient,
    tags: &[&Seen],
    goal: impl Fn(&MovingTag) -> Option<Digest>,
) -> Result<(), RegistryError> {
    let goals: Vec<(&MovingTag, Option<Digest>)> = tags.iter().map(|seen| (&seen.tag, goal(&seen.tag))).collect();
    at_once(goals, |(tag, goal)| async move {
        let target = client.target(&tag.repository);
        let scopes = Scopes::push(&target.path);
        let shown = client.head_manifest(&target, tag.tag.as_str(), &scopes).await?;
        if shown == goal {
            return Ok(());
        }
        let refused = |answer| RegistryError::Refused {
            host: target.host.name.clone(),
            action: format!("move the tag `{}:{}`", target.path, tag.tag),
            status: 400,
            answer,
        };
        // The protocol has no way to take back a tag that registries agree on.
        let Some(digest) = goal else { return Err(refused(super::Answer::default())) };
        let manifest = client.get_manifest(&target, &digest.to_string(), Some(digest), &scopes).await?;
        match client.put_manifest(&target, tag.tag.as_str(), &manifest, &scopes).await? {
            Put::Stored => Ok(()),
            Put::Incomplete(answer) => Err(refused(answer)),
        }
    })
    .await
    .map(drop)
}

impl Settlement {
    /// For people: what was found and done; `None` if nothing needs saying.
    pub fn sentence(&self) -> Option<String> {
        let what = match self.outcome {
            Settled::Unmixed if self.left_alone.is_empty() => return None,
            Settled::Unmixed => "nothing was left to do",
            Settled::Finished => "it was finished first",
            Settled::Reverted => "its tags may not move, so those that had were put back first",
            Settled::Stuck => "its tags move in neither direction",
        };
        let alone = if self.left_alone.is_empty() {
            String::new()
        } else {
            format!("; left alone: {}", self.left_alone.join(", "))
        };
        Some(format!("an earlier push was interrupted while its {} tags moved: {what}{alone}", self.tags))
    }
}
