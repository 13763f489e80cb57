use std::time::Duration;

use serde::Serialize;

use super::auth::Scopes;
use super::client::Target;
use super::journal::{Journal, MovingTag};
use super::manifest::Put;
use super::push::at_once;
use super::tags::{in_order, is_list};
use super::{Answer, Fetched, RegistryClient, RegistryError};
use crate::base::Digest;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

/// How long a push waits for registries of releases that are stuck: they may be gone, and it may be about others.
const FOR_STUCK: Duration = Duration::from_secs(10);

/// A tag, with what it shows now.
struct Seen {
    tag: MovingTag,
    shows: Option<Digest>,
}

impl Seen {
    fn is_new(&self) -> bool {
        self.shows == Some(self.tag.new)
    }

    fn is_old(&self) -> bool {
        self.shows == self.tag.old && !self.is_new()
    }
}

/// Ends what earlier processes left between two releases, so that no mix of them outlives it; `None` if there was nothing.
///
/// Tags began to move only after everything that they shall show was at every registry and read back, so the release is
/// finished from what the registries hold; our layout may have gone on to the next one. If a tag may not move, those that
/// did are put back. A tag that shows neither release was moved by somebody else since and is
/// theirs. An error means that a registry cannot be asked now: the journal still holds the release then.
///
/// A release that can be neither finished nor reverted stays in the journal, and each settling tries again; it keeps nothing
/// else from being published.
pub async fn settle(client: &RegistryClient, journal: &Journal) -> Result<Option<Settlement>, RegistryError> {
    let (moving, stuck) = (journal.moving(), journal.stuck());
    let mut found = Vec::new();
    let mut kept = Vec::new();
    for release in stuck {
        let settled = tokio::time::timeout(FOR_STUCK, settle_one(client, release.clone())).await;
        let settlement = settled.ok().and_then(Result::ok).unwrap_or_else(|| Settlement {
            outcome: Settled::Stuck,
            tags: release.len(),
            left_alone: release.iter().map(MovingTag::name).collect(),
        });
        if settlement.outcome == Settled::Stuck {
            kept.push(release);
        }
        // That others moved its tags since is what ends most of them: nothing to tell.
        found.extend(Some(settlement).filter(|settlement| settlement.outcome != Settled::Unmixed));
    }
    if let Some(release) = moving {
        let settlement = settle_one(client, release.clone()).await?;
        if settlement.outcome == Settled::Stuck && !kept.contains(&release) {
            kept.push(release);
        }
        found.push(settlement);
        journal.keep_stuck(kept)?;
        journal.settled()?;
    } else {
        journal.keep_stuck(kept)?;
    }
    Ok(found.into_iter().reduce(Settlement::and))
}

/// One release.
async fn settle_one(client: &RegistryClient, release: Vec<MovingTag>) -> Result<Settlement, RegistryError> {
    let count = release.len();
    let seen = at_once(release, |tag| async move {
        let target = client.target(&tag.repository);
        let shows = client.head_manifest(&target, tag.tag.as_str(), &Scopes::push(&target.path)).await?;
        Ok(Seen { tag, shows })
    })
    .await?;
    let foreign = seen.iter().filter(|seen| !seen.is_new() && !seen.is_old()).map(|seen| seen.tag.name());
    let mut left_alone: Vec<String> = foreign.collect();
    let (new, old): (Vec<&Seen>, Vec<&Seen>) =
        seen.iter().filter(|seen| seen.is_new() || seen.is_old()).partition(|seen| seen.is_new());
    let outcome = if new.is_empty() || old.is_empty() {
        Settled::Unmixed
    } else {
        match all_to(client, &old, |tag| Some(tag.new)).await {
            Ok(()) => Settled::Finished,
            Err(error) if error.passes() => return Err(error),
            Err(_) => {
                // Some of them may have moved just now: all are put back that were not where they were before.
                let mixed: Vec<&Seen> = new.iter().chain(&old).copied().collect();
                match all_to(client, &mixed, |tag| tag.old).await {
                    Ok(()) => Settled::Reverted,
                    // An account that may move tags in neither direction says nothing about the next one.
                    Err(error) if error.passes() || error.denies() => return Err(error),
                    Err(_) => {
                        left_alone.extend(mixed.iter().map(|seen| seen.tag.name()));
                        Settled::Stuck
                    }
                }
            }
        }
    };
    left_alone.sort();
    Ok(Settlement { outcome, tags: count, left_alone })
}

/// Makes every tag show what `goal` says, out of what its registry holds.
async fn all_to(
    client: &RegistryClient,
    tags: &[&Seen],
    goal: impl Fn(&MovingTag) -> Option<Digest>,
) -> Result<(), RegistryError> {
    let goals: Vec<(&MovingTag, Option<Digest>)> = tags.iter().map(|seen| (&seen.tag, goal(&seen.tag))).collect();
    // Failures are values here: what can be moved is moved, whatever became of the rest.
    let looked = at_once(goals, |(tag, goal)| async move { Ok((tag, to_move(client, tag, goal).await)) }).await?;
    let mut moves = Vec::new();
    let mut failed = Vec::new();
    for (tag, manifest) in looked {
        match manifest {
            Ok(Some(manifest)) => moves.push((tag, manifest)),
            Ok(None) => {}
            Err(error) => failed.push(error),
        }
    }
    let place = |(tag, manifest): &(&MovingTag, Fetched)| (tag.repository.to_string(), is_list(&manifest.descriptor));
    let moved = in_order(moves, place, |(tag, manifest)| async move {
        let target = client.target(&tag.repository);
        match client.put_manifest(&target, tag.tag.as_str(), &manifest, &Scopes::push(&target.path)).await? {
            Put::Stored => Ok(()),
            Put::Incomplete(answer) => Err(refused(&target, tag, answer)),
        }
    })
    .await;
    failed.extend(moved.into_iter().filter_map(Result::err));
    RegistryError::of_many(failed).map_or(Ok(()), Err)
}

/// The manifest that a tag has to be given so that it shows `goal`; `None` if it shows that already.
async fn to_move(
    client: &RegistryClient,
    tag: &MovingTag,
    goal: Option<Digest>,
) -> Result<Option<Fetched>, RegistryError> {
    let target = client.target(&tag.repository);
    let scopes = Scopes::push(&target.path);
    if client.head_manifest(&target, tag.tag.as_str(), &scopes).await? == goal {
        return Ok(None);
    }
    // Some registries forget with a tag what it shows, and since the push that made this one others may show the same: only
    // that push itself takes its new tags away.
    let Some(digest) = goal else { return Err(refused(&target, tag, Answer::default())) };
    client.get_manifest(&target, &digest.to_string(), Some(digest), &scopes).await.map(Some)
}

fn refused(target: &Target, tag: &MovingTag, answer: Answer) -> RegistryError {
    RegistryError::Refused {
        host: target.host.name.clone(),
        action: format!("move the tag `{}:{}`", target.path, tag.tag),
        status: 400,
        answer,
    }
}

impl Settlement {
    /// Both as one: what is worse counts.
    fn and(mut self, mut other: Self) -> Self {
        self.left_alone.append(&mut other.left_alone);
        Self { outcome: self.outcome.max(other.outcome), tags: self.tags + other.tags, left_alone: self.left_alone }
    }

    /// For people: what was found and done; `None` if nothing needs saying.
    pub fn sentence(&self) -> Option<String> {
        let what = match self.outcome {
            Settled::Unmixed if self.left_alone.is_empty() => return None,
            Settled::Unmixed => "nothing was left to do",
            Settled::Finished => "it was finished first",
            Settled::Reverted => "its tags may not move, so those that had were put back first",
            Settled::Stuck => "its tags move in neither direction, so it stays half published",
        };
        let alone = if self.left_alone.is_empty() {
            String::new()
        } else {
            format!("; left alone: {}", self.left_alone.join(", "))
        };
        Some(format!("an earlier push was interrupted while its {} tags moved: {what}{alone}", self.tags))
    }
}
