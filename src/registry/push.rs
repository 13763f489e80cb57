use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::auth::Scopes;
use super::client::Target;
use super::closure::{Closure, Node};
use super::manifest::Put;
use super::readback::Readers;
use super::resolve::{IndexBody, platform_of};
use super::transfer::Transfer;
use super::{
    Confirmation, Fetched, PushReceipt, RegistryClient, RegistryError, RepositoryReceipt, TagChange, TagReceipt, tags,
};
use crate::base::{ComponentName, Descriptor, Digest, Platform, Repository, Tag};
use crate::event::EventSink;
use crate::store::Layout;

/// What is published as one act.
#[derive(Debug, Clone)]
pub struct Release {
    /// One entry per index and repository; a component that goes to two registries has two.
    pub items: Vec<ReleaseItem>,
}

/// One index and where it goes.
#[derive(Debug, Clone)]
pub struct ReleaseItem {
    /// The component, for messages.
    pub component: ComponentName,
    /// The index (or single manifest) in the layout.
    pub index: Descriptor,
    /// The repository, its registry included.
    pub repository: Repository,
    /// The tags that shall show it; at least one.
    pub tags: Vec<Tag>,
    /// Whether it holds less than its tags stand for: only some of the platforms that the project has. What its tags
    /// lose by that is told in the receipt.
    pub partial: bool,
}

/// An item on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) release: ReleaseItem,
    pub(super) target: Target,
    pub(super) closure: Closure,
    /// What each tag of the item shows now, in its order.
    pub(super) shows: Vec<Option<Digest>>,
    /// Digests of manifests that were found at the registry.
    pub(super) there: Vec<Digest>,
    /// Platforms that each tag of the item shows now and will not show afterwards, in its order. Looked for in partial
    /// items only.
    pub(super) loses: Vec<Vec<Platform>>,
}

/// Work that is under way at once; how much of it talks to one host is bounded by the host's permits.
pub(super) const AT_ONCE: usize = 64;

/// Publishes a release: blobs and manifests everywhere first, then every tag, with an independent read-back of both.
///
/// A tag moves only after everything of the whole release is at its registries and every image was read back by digest, so
/// that a run that fails or is killed before leaves every tag as it was; if moving the tags themselves fails half-way, the moved ones
/// are put back where that is possible. Running it again does only what is left to do: one request per tag if that is
/// nothing. Cancelling takes effect until the first tag moves.
pub async fn push(
    client: &RegistryClient,
    layout: &Layout,
    release: Release,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<PushReceipt, RegistryError> {
    let client = client.with_events(Arc::clone(&events));
    let before = client.shared.tally.read();
    let transfer = Arc::new(Transfer::new(client.clone(), layout.clone(), events));
    let prepared = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RegistryError::Cancelled),
        prepared = Box::pin(prepare(&client, layout, release, &transfer)) => prepared,
    };
    let (items, readers) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            client.abandon(&transfer.sessions).await;
            return Err(error);
        }
    };
    // From here on a stop would leave a mix: the moment that it takes is waited for.
    let moves = tags::needed(&items);
    let window = tags::move_all(&client, &items, &moves).await?;
    let confirmations = readers.read_tags(&items, &moves).await?;
    let mut receipt = transfer.receipt();
    let after = client.shared.tally.read();
    receipt.requests = after.0 - before.0;
    receipt.bytes_sent = after.1 - before.1;
    receipt.tag_window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    receipt.repositories = items.iter().zip(confirmations).map(|(item, by)| item.receipt(&by)).collect();
    receipt.warnings.extend(items.iter().flat_map(Item::loss_warnings));
    Ok(receipt)
}

/// Everything up to the tags. Nothing that it does is visible under a name.
async fn prepare(
    client: &RegistryClient,
    layout: &Layout,
    release: Release,
    transfer: &Arc<Transfer>,
) -> Result<(Vec<Item>, Readers), RegistryError> {
    check(&release)?;
    let mut items = read(client, layout, release).await?;
    look_at_tags(client, &mut items).await?;
    look_at_losses(client, &mut items).await?;
    look_at_manifests(client, &mut items).await?;
    transfer.blobs(&items).await?;
    store_manifests(client, &items, transfer).await?;
    let readers = Readers::new(client, &items).await;
    readers.read_images(&items).await?;
    Ok((items, readers))
}

/// One name, one meaning: a release must not move a tag twice.
fn check(release: &Release) -> Result<(), RegistryError> {
    let mut named: BTreeMap<String, Digest> = BTreeMap::new();
    for item in &release.items {
        let unusable =
            |reason: &str| RegistryError::Name { name: item.repository.to_string(), reason: reason.to_owned() };
        if item.tags.is_empty() {
            return Err(unusable("nothing would be published there without a tag"));
        }
        for tag in &item.tags {
            let name = item.repository.tagged(tag.clone()).familiar();
            if named.insert(name, item.index.digest).is_some_and(|other| other != item.index.digest) {
                return Err(unusable(&format!("two different images of the release claim the tag `{tag}`")));
            }
        }
    }
    Ok(())
}

async fn read(client: &RegistryClient, layout: &Layout, release: Release) -> Result<Vec<Item>, RegistryError> {
    let roots: Vec<Descriptor> = release.items.iter().map(|item| item.index.clone()).collect();
    let layout = layout.clone();
    let closures = tokio::task::spawn_blocking(move || {
        roots.iter().map(|root| Closure::read(&layout, root)).collect::<Result<Vec<_>, _>>()
    });
    let closures = closures.await.map_err(|error| RegistryError::Setup { reason: error.to_string() })??;
    let items = release.items.into_iter().zip(closures);
    Ok(items
        .map(|(release, closure)| Item {
            target: client.target(&release.repository),
            shows: vec![None; release.tags.len()],
            loses: vec![Vec::new(); release.tags.len()],
            there: Vec::new(),
            release,
            closure,
        })
        .collect())
}

/// What every tag shows before anything is done: one HEAD each, and all there is to do if nothing changed.
async fn look_at_tags(client: &RegistryClient, items: &mut [Item]) -> Result<(), RegistryError> {
    let looks = items.iter().enumerate().flat_map(|(number, item)| {
        item.release.tags.iter().enumerate().map(move |(position, tag)| (number, position, &item.target, tag.as_str()))
    });
    let looks: Vec<_> = looks.collect();
    let found = at_once(looks, |(number, position, target, tag)| async move {
        let digest = client.head_manifest(target, tag, &Scopes::push(&target.path)).await?;
        Ok((number, position, digest))
    })
    .await?;
    for (number, position, digest) in found {
        items[number].shows[position] = digest;
    }
    Ok(())
}

/// Which platforms the tags of partial items show now that they will not show afterwards.
async fn look_at_losses(client: &RegistryClient, items: &mut [Item]) -> Result<(), RegistryError> {
    let looks = items.iter().enumerate().filter(|(_, item)| item.release.partial).flat_map(|(number, item)| {
        let moves = item.shows.iter().enumerate().filter(|(_, shown)| **shown != Some(item.release.index.digest));
        moves.filter_map(move |(position, shown)| Some((number, position, &item.target, (*shown)?)))
    });
    let looks: Vec<_> = looks.collect();
    let found = at_once(looks, |(number, position, target, digest)| async move {
        // What cannot be read has no platforms that anybody could lose.
        let old = client.get_manifest(target, &digest.to_string(), Some(digest), &Scopes::push(&target.path)).await;
        Ok((number, position, old.map(|old| platforms_in(&old)).unwrap_or_default()))
    })
    .await?;
    for (number, position, mut old) in found {
        let kept = platforms_in(&items[number].closure.root().manifest);
        old.retain(|platform| !kept.contains(platform));
        items[number].loses[position] = old;
    }
    Ok(())
}

/// The platforms that an index lists; none for anything else.
fn platforms_in(index: &Fetched) -> Vec<Platform> {
    let body: Option<IndexBody> = serde_json::from_slice(&index.bytes).ok();
    let mut platforms: Vec<Platform> = body.iter().flat_map(|body| &body.manifests).filter_map(platform_of).collect();
    platforms.sort();
    platforms.dedup();
    platforms
}

/// Which manifests of changed items are at the registry already: what they refer to need not be looked at.
///
/// Where a tag showed nothing, only the root is asked for: a repository that is new has none of the rest either, and in
/// one that is not, storing a manifest again costs no more than asking for it.
async fn look_at_manifests(client: &RegistryClient, items: &mut [Item]) -> Result<(), RegistryError> {
    let looks: Vec<_> = items
        .iter()
        .enumerate()
        .filter(|(_, item)| item.changes())
        .flat_map(|(number, item)| {
            let known = item.shows.iter().any(Option::is_some);
            let nodes =
                item.closure.nodes.iter().filter(move |node| known || node.digest() == item.release.index.digest);
            nodes.map(move |node| (number, &item.target, node.digest()))
        })
        .collect();
    let found = at_once(looks, |(number, target, digest)| async move {
        let there = client.head_manifest(target, &digest.to_string(), &Scopes::push(&target.path)).await?;
        Ok((number, digest, there == Some(digest)))
    })
    .await?;
    for (number, digest, there) in found {
        if there {
            items[number].there.push(digest);
        }
    }
    Ok(())
}

/// Manifests before the indexes that list them; repositories do not wait for each other.
async fn store_manifests(client: &RegistryClient, items: &[Item], transfer: &Transfer) -> Result<(), RegistryError> {
    let work: Vec<&Item> = items.iter().filter(|item| item.changes() && !item.is_there()).collect();
    at_once(work, |item| async move {
        for node in item.closure.nodes.iter().filter(|node| !item.there.contains(&node.digest())) {
            store_node(client, item, node, transfer).await?;
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// Stores one manifest; a registry that lost or never had something of it gets that once more.
///
/// A garbage collection may run between our look at a blob and the manifest that needs it, and a mount may be a lie.
async fn store_node(
    client: &RegistryClient,
    item: &Item,
    node: &Node,
    transfer: &Transfer,
) -> Result<(), RegistryError> {
    let scopes = Scopes::push(&item.target.path);
    let name = node.digest().to_string();
    if let Put::Stored = client.put_manifest(&item.target, &name, &node.manifest, &scopes).await? {
        return Ok(());
    }
    for blob in &node.blobs {
        transfer.again(&item.target, blob).await?;
    }
    for child in item.closure.nodes.iter().filter(|other| node.children.iter().any(|it| it.digest == other.digest())) {
        client.put_manifest(&item.target, &child.digest().to_string(), &child.manifest, &scopes).await?;
    }
    match client.put_manifest(&item.target, &name, &node.manifest, &scopes).await? {
        Put::Stored => Ok(()),
        Put::Incomplete(answer) => Err(RegistryError::Refused {
            host: item.target.host.name.clone(),
            action: format!(
                "store `{}@{name}`, although everything that it refers to was sent twice",
                item.target.path
            ),
            status: 400,
            answer,
        }),
    }
}

/// Does `work` for everything in `input`, much of it at once, and all of it even if some fails: what is done need not be
/// done again by the next run. Results come in no particular order.
///
/// Not an `async fn`: the futures are made before the first await, so that `work` itself is not part of what waits.
pub(super) fn at_once<I, T, F>(
    input: Vec<I>,
    work: impl FnMut(I) -> F,
) -> impl Future<Output = Result<Vec<T>, RegistryError>>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    so_many_at_once(AT_ONCE, input, work)
}

/// The same with a width of its own, for work that begins with a look at what earlier work found out.
pub(super) fn so_many_at_once<I, T, F>(
    width: usize,
    input: Vec<I>,
    work: impl FnMut(I) -> F,
) -> impl Future<Output = Result<Vec<T>, RegistryError>>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let futures: Vec<F> = input.into_iter().map(work).collect();
    gather(width, futures)
}

async fn gather<T, F>(width: usize, futures: Vec<F>) -> Result<Vec<T>, RegistryError>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let results: Vec<Result<T, RegistryError>> = stream::iter(futures).buffer_unordered(width).collect().await;
    let mut done = Vec::with_capacity(results.len());
    let mut failed = Vec::new();
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(error) => failed.push(error),
        }
    }
    match RegistryError::of_many(failed) {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

impl Node {
    pub(super) fn digest(&self) -> Digest {
        self.manifest.descriptor.digest
    }
}

impl Item {
    /// Whether any of its tags shows something else than the index.
    pub(super) fn changes(&self) -> bool {
        self.shows.iter().any(|shown| *shown != Some(self.release.index.digest))
    }

    /// Whether its root was found at the registry: then so is all below it, and only tags are left to do.
    pub(super) fn is_there(&self) -> bool {
        self.there.contains(&self.release.index.digest)
    }

    fn loss_warnings(&self) -> Vec<String> {
        let words = |platforms: &[Platform]| platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let tags = self.release.tags.iter().zip(&self.loses).filter(|(_, lost)| !lost.is_empty());
        tags.map(|(tag, lost)| {
            format!(
                "`{}` showed {} too and shows this subset ({}) now: push without a platform to bring them back",
                self.release.repository.tagged(tag.clone()),
                words(lost),
                words(&platforms_in(&self.closure.root().manifest))
            )
        })
        .collect()
    }

    fn receipt(&self, confirmed: &[Confirmation]) -> RepositoryReceipt {
        let index = self.release.index.digest;
        let tags = self.release.tags.iter().zip(&self.shows).zip(&self.loses).zip(confirmed);
        RepositoryReceipt {
            component: self.release.component.clone(),
            repository: self.release.repository.clone(),
            index,
            platforms: platforms_in(&self.closure.root().manifest),
            partial: self.release.partial,
            tags: tags
                .map(|(((tag, shown), lost), confirmed)| TagReceipt {
                    tag: tag.clone(),
                    change: match shown {
                        None => TagChange::Created,
                        Some(shown) if *shown == index => TagChange::Unchanged,
                        Some(_) => TagChange::Moved,
                    },
                    lost: lost.clone(),
                    confirmed: confirmed.clone(),
                })
                .collect(),
        }
    }
}
