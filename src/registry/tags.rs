use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::auth::Scopes;
use super::journal::MovingTag;
use super::manifest::Put;
use super::push::{Item, at_once};
use super::{Answer, RegistryClient, RegistryError};
use crate::base::{Descriptor, Digest, Tag, media_type};

/// A tag that has to move.
#[derive(Debug, Clone)]
pub(super) struct TagMove {
    /// Number of its item.
    pub(super) item: usize,
    /// Its position among the item's tags.
    pub(super) position: usize,
    pub(super) tag: Tag,
    /// What it shows now.
    old: Option<Digest>,
    /// Whether this release brings what it shall show: then the tag can be taken away again, and nothing else with it.
    fresh: bool,
}

impl TagMove {
    /// The move as the journal keeps it.
    pub(super) fn note(&self, items: &[Item]) -> MovingTag {
        let release = &items[self.item].release;
        MovingTag {
            repository: release.repository.clone(),
            tag: self.tag.clone(),
            old: self.old,
            new: release.index.digest,
        }
    }
}

/// The tags that do not show their index yet.
pub(super) fn needed(items: &[Item]) -> Vec<TagMove> {
    let all = items.iter().enumerate().flat_map(|(number, item)| {
        let tags = item.release.tags.iter().zip(&item.shows).enumerate();
        let stale = tags.filter(|(_, (_, old))| **old != Some(item.release.index.digest));
        let fresh = !item.is_there() && !item.damaged;
        stale.map(move |(position, (tag, old))| TagMove { item: number, position, tag: tag.clone(), old: *old, fresh })
    });
    all.collect()
}

/// Looks at every tag that shall move once more: one that shows something else than when the push began was moved by
/// somebody else, whose release would be replaced unseen.
pub(super) async fn look_again(
    client: &RegistryClient,
    items: &[Item],
    moves: &[TagMove],
) -> Result<(), RegistryError> {
    let looks: Vec<&TagMove> = moves.iter().collect();
    let overtaken = at_once(looks, |tag| async move {
        let item = &items[tag.item];
        let shows = client.head_manifest(&item.target, tag.tag.as_str(), &Scopes::push(&item.target.path)).await?;
        if shows == tag.old || shows == Some(item.release.index.digest) {
            return Ok(None);
        }
        let words = |digest: Option<Digest>| digest.map_or_else(|| "nothing".to_owned(), |it| format!("`{it}`"));
        let name = item.release.repository.tagged(tag.tag.clone());
        Ok(Some(format!("`{name}` showed {} and shows {}", words(tag.old), words(shows))))
    })
    .await?;
    let mut tags: Vec<String> = overtaken.into_iter().flatten().collect();
    tags.sort();
    if tags.is_empty() { Ok(()) } else { Err(RegistryError::Overtaken { tags }) }
}

/// Moves every tag, as nearly at once as the registries allow; all or none, as far as that is in our hands.
///
/// Everything that the tags will show is at its registry already, so each move is one small request. If one fails for good,
/// those that went through are put back to what they showed. One whose answer was lost may have gone through too: it is
/// looked at again, and if that tells nothing either the release stays open. Returns the time between the first and the last move, in
/// which a reader could see some tags old and some new.
pub(super) async fn move_all(client: &RegistryClient, items: &[Item], moves: &[TagMove]) -> Result<Duration, Unmoved> {
    let moves: Vec<&TagMove> = moves.iter().collect();
    let results = at_once_kept(items, moves, |tag| move_one(client, &items[tag.item], tag)).await;
    let mut moved = Vec::new();
    let mut failed = Vec::new();
    for (tag, result) in results {
        match result {
            Ok(at) => moved.push((tag, at)),
            Err(error) => failed.push((tag, error)),
        }
    }
    let times = || moved.iter().map(|(_, at)| *at);
    let window = times().max().zip(times().min()).map_or(Duration::ZERO, |(last, first)| last - first);
    let mut moved: Vec<&TagMove> = moved.into_iter().map(|(tag, _)| tag).collect();
    let (unsure, mut left): (Vec<_>, Vec<_>) = failed.iter().partition(|(_, error)| error.passes());
    let looks = at_once_kept(items, unsure.iter().map(|(tag, _)| *tag).collect(), |tag| shows_new(client, items, tag));
    let mut unknown = false;
    for (tag, shows_new) in looks.await {
        match shows_new {
            Ok(true) => moved.push(tag),
            known => {
                unknown |= known.is_err();
                left.extend(failed.iter().find(|(other, _)| std::ptr::eq(*other, tag)));
            }
        }
    }
    let left: Vec<&TagMove> = left.into_iter().map(|(tag, _)| *tag).collect();
    let Some(cause) = RegistryError::of_many(failed.into_iter().map(|(_, error)| error).collect()) else {
        return Ok(window);
    };
    let error = put_back(client, items, moved, left, cause).await;
    let open = unknown || matches!(error, RegistryError::Mixed { .. });
    Err(Unmoved { error, open })
}

/// Why tags did not move.
#[derive(Debug)]
pub(super) struct Unmoved {
    pub(super) error: RegistryError,
    /// Whether some of them show the new release, or may show it: then a later run has to look.
    pub(super) open: bool,
}

async fn shows_new(client: &RegistryClient, items: &[Item], tag: &TagMove) -> Result<bool, RegistryError> {
    let item = &items[tag.item];
    let shows = client.head_manifest(&item.target, tag.tag.as_str(), &Scopes::push(&item.target.path)).await?;
    Ok(shows == Some(item.release.index.digest))
}

async fn move_one(client: &RegistryClient, item: &Item, tag: &TagMove) -> Result<Instant, RegistryError> {
    let scopes = Scopes::push(&item.target.path);
    let name = tag.tag.as_str();
    match client.put_manifest(&item.target, name, &item.closure.root().manifest, &scopes).await {
        Ok(Put::Stored) => Ok(Instant::now()),
        Ok(Put::Incomplete(answer)) => Err(refused(item, name, answer)),
        // A registry that does not let tags change may still show what we want: somebody else was quicker.
        Err(error) => match client.head_manifest(&item.target, name, &scopes).await {
            Ok(Some(digest)) if digest == item.release.index.digest => Ok(Instant::now()),
            _ => Err(error),
        },
    }
}

/// Undoes the moves that went through after another one failed for good. The error says what is left.
///
/// A tag that was not there before is deleted, where the registry lets us and the manifest came with this release: one that
/// deletes by tag may delete the manifest.
async fn put_back(
    client: &RegistryClient,
    items: &[Item],
    moved: Vec<&TagMove>,
    left: Vec<&TagMove>,
    cause: RegistryError,
) -> RegistryError {
    let named = |tag: &TagMove| items[tag.item].release.repository.tagged(tag.tag.clone()).to_string();
    let (brought, replaced): (Vec<&TagMove>, Vec<&TagMove>) = moved.into_iter().partition(|tag| tag.old.is_none());
    let mut results = at_once_kept(items, replaced, |tag| restore(client, &items[tag.item], tag)).await;
    // Only when no other tag shows the new release any more: a registry may forget the manifest with the tag.
    let all_back = results.iter().all(|(_, result)| matches!(result, Ok(true)));
    results.extend(at_once_kept(items, brought, |tag| take_away(client, &items[tag.item], tag, all_back)).await);
    let still: Vec<String> =
        results.iter().filter(|(_, result)| !matches!(result, Ok(true))).map(|(tag, _)| named(tag)).collect();
    if still.is_empty() {
        return cause;
    }
    let left = left.iter().map(|tag| named(tag));
    let restored = results.iter().filter(|(_, result)| matches!(result, Ok(true))).map(|(tag, _)| named(tag));
    RegistryError::Mixed { moved: still, left: left.chain(restored).collect(), source: Box::new(cause) }
}

/// Takes one tag away that did not exist before; `false` if that may harm another.
async fn take_away(client: &RegistryClient, item: &Item, tag: &TagMove, all_back: bool) -> Result<bool, RegistryError> {
    let harmless = tag.fresh && all_back;
    if harmless {
        client.delete_tag(&item.target, &tag.tag, &item.release.index.digest).await?;
    }
    Ok(harmless)
}

/// Puts one tag back; `false` if there is nothing to put back to.
async fn restore(client: &RegistryClient, item: &Item, tag: &TagMove) -> Result<bool, RegistryError> {
    let Some(old) = tag.old else { return Ok(false) };
    let scopes = Scopes::push(&item.target.path);
    let manifest = client.get_manifest(&item.target, &old.to_string(), Some(old), &scopes).await?;
    match client.put_manifest(&item.target, tag.tag.as_str(), &manifest, &scopes).await? {
        Put::Stored => Ok(true),
        Put::Incomplete(answer) => Err(refused(item, tag.tag.as_str(), answer)),
    }
}

fn refused(item: &Item, tag: &str, answer: Answer) -> RegistryError {
    RegistryError::Refused {
        host: item.target.host.name.clone(),
        action: format!("move the tag `{}:{tag}`", item.target.path),
        status: 400,
        answer,
    }
}

/// [`in_order`] for the tags of `items`. Each result stands beside its tag: here it matters which ones failed.
async fn at_once_kept<'a, T, F>(
    items: &[Item],
    tags: Vec<&'a TagMove>,
    work: impl Fn(&'a TagMove) -> F,
) -> Vec<(&'a TagMove, Result<T, RegistryError>)>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let place = |tag: &&TagMove| {
        let release = &items[tag.item].release;
        (release.repository.to_string(), is_list(&release.index))
    };
    let work = &work;
    in_order(tags, place, |tag| async move { (tag, work(tag).await) }).await
}

/// Whether it is an index, in either dialect.
pub(super) fn is_list(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.as_str(), media_type::INDEX | media_type::DOCKER_LIST)
}

/// Works on all repositories at once, and on the tags of one after the other: those of single images before those of indexes.
/// `place` tells the repository, and whether it is an index.
///
/// distribution writes the link of a manifest's revision again for each tag that it gets. An index that is checked at that very
/// moment finds an empty link, and is refused for an image that is there.
pub(super) async fn in_order<I, T, F>(
    tags: Vec<I>,
    place: impl Fn(&I) -> (String, bool),
    work: impl Fn(I) -> F,
) -> Vec<T>
where
    F: Future<Output = T>,
{
    let mut repositories: BTreeMap<String, Vec<(bool, I)>> = BTreeMap::new();
    for tag in tags {
        let (repository, list) = place(&tag);
        repositories.entry(repository).or_default().push((list, tag));
    }
    for tags in repositories.values_mut() {
        tags.sort_by_key(|(list, _)| *list);
    }
    let work = &work;
    let all = at_once(repositories.into_values().collect(), |tags: Vec<(bool, I)>| async move {
        let mut results = Vec::with_capacity(tags.len());
        for (_, tag) in tags {
            results.push(work(tag).await);
        }
        Ok(results)
    });
    // The outer result cannot fail: failures are values here.
    all.await.unwrap_or_default().into_iter().flatten().collect()
}
