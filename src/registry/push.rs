use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::auth::Scopes;
use super::client::Target;
use super::closure::{Closure, Node};
use super::journal::Journal;
use super::manifest::Put;
use super::readback::Readers;
use super::resolve::{IndexBody, platform_of};
use super::settle::{Settled, Settlement, settle};
use super::tags::TagMove;
use super::transfer::Transfer;
use super::{
    Confirmation, Fetched, PushReceipt, PushSource, RegistryClient, RegistryError, RepositoryReceipt, TagChange,
    TagReceipt, tags,
};
use crate::base::{ComponentName, Descriptor, Digest, MediaKind, Platform, Repository, Tag};
use crate::event::{Event, EventSink};

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
    /// The index (or single manifest) in the source.
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
    /// Whether something behind it has gone missing at the registry.
    pub(super) damaged: bool,
    /// Whether it was read back from there a short while ago.
    pub(super) believed: bool,
    /// Platforms that each tag of the item shows now and will not show afterwards, in its order. Looked for in partial
    /// items only.
    pub(super) loses: Vec<Vec<Platform>>,
}

/// Work that is under way at once; how much of it talks to one host is bounded by the host's permits.
pub(super) const AT_ONCE: usize = 64;

/// How a release is published.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Where to remember what another process needs to go on. Without it a push that is killed while its tags move leaves a
    /// mix that nobody finishes.
    pub journal: Option<Journal>,
    /// Look behind unchanged tags even if everything was read back a short while ago.
    pub verify: bool,
    /// Manifests that are published with the item of their repository and by digest alone: what says itself what it refers
    /// to (`subject`) needs no name at a registry that lists referrers.
    pub along: Vec<(Repository, Descriptor)>,
}

/// [`push_with`] without a journal.
pub async fn push(
    client: &RegistryClient,
    source: impl Into<PushSource>,
    release: Release,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<PushReceipt, RegistryError> {
    Box::pin(push_with(client, source, release, &PushOptions::default(), events, cancel)).await
}

/// Publishes a release: blobs and manifests everywhere first, then every tag, with an independent read-back of both.
///
/// With a journal, a release that an earlier process left half published is settled before anything else.
///
/// A tag moves only after everything of the whole release is at its registries and every image was read back by digest, so
/// that a run that fails or is killed before leaves every tag as it was; if moving the tags themselves fails half-way, the moved ones
/// are put back where that is possible. A tag that somebody else moves meanwhile is an error. Running it again does only
/// what is left to do: one request per tag if that is nothing and the journal knows of a read-back; without one, a request
/// for everything behind the tags too. Cancelling takes effect until the first tag moves.
pub async fn push_with(
    client: &RegistryClient,
    source: impl Into<PushSource>,
    release: Release,
    options: &PushOptions,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<PushReceipt, RegistryError> {
    let (client, source) = (client.with_events(Arc::clone(&events)), source.into());
    let before = client.shared.tally.read();
    let settled = match &options.journal {
        Some(journal) => settle(&client, journal).await?,
        None => None,
    };
    let (stuck, settled): (Option<Settlement>, Option<Settlement>) = match settled {
        Some(settlement) if settlement.outcome == Settled::Stuck => (Some(settlement), None),
        other => (None, other),
    };
    if let Some(text) = stuck.as_ref().and_then(Settlement::sentence) {
        // Said now: if this push fails too, nobody sees its receipt.
        events.emit(Event::Warning { cell: None, text });
    }
    let transfer = Arc::new(Transfer::new(client.clone(), source.clone(), events, options.journal.clone()));
    let prepared = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RegistryError::Cancelled),
        prepared = Box::pin(prepare(&client, &source, release, &transfer, options)) => prepared,
    };
    let (items, readers, moves) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            client.abandon(&transfer.sessions).await;
            return Err(error);
        }
    };
    // From here on a stop would leave a mix: the moment that it takes is waited for.
    let window = move_tags(&client, &items, &moves, options.journal.as_ref()).await?;
    if let Some(journal) = &options.journal {
        let tags = items
            .iter()
            .flat_map(|item| item.release.tags.iter().map(|tag| (item.release.repository.clone(), tag.clone())));
        journal.overtaken(&tags.collect::<Vec<_>>())?;
    }
    let confirmations = readers.read_tags(&items, &moves).await?;
    if let Some(journal) = &options.journal {
        journal.confirm(items.iter().filter_map(Item::whole).collect())?;
        transfer.forget_sessions(journal).await?;
        journal.compact()?;
    }
    let mut receipt = transfer.receipt();
    let after = client.shared.tally.read();
    receipt.requests = after.0 - before.0;
    receipt.bytes_sent = after.1 - before.1;
    receipt.tag_window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    receipt.repositories = items.iter().zip(confirmations).map(|(item, by)| item.receipt(&by)).collect();
    receipt.warnings.extend(items.iter().flat_map(Item::loss_warnings));
    receipt.warnings.extend(settled.as_ref().and_then(Settlement::sentence));
    receipt.settled = settled.or(stuck);
    Ok(receipt)
}

/// Everything up to the tags. Nothing that it does is visible under a name.
async fn prepare(
    client: &RegistryClient,
    source: &PushSource,
    release: Release,
    transfer: &Arc<Transfer>,
    options: &PushOptions,
) -> Result<(Vec<Item>, Readers, Vec<TagMove>), RegistryError> {
    let items = look(client, source, release, options).await?;
    transfer.preflight(&items).await?;
    transfer.blobs(&items).await?;
    let readers = Readers::new(client, &items).await;
    let images = store_and_read(client, &items, transfer, &readers).await?;
    let moves = tags::needed(&items);
    let (resent, tags) = tokio::join!(
        Box::pin(transfer.confirm(|blob| blob.kind() == MediaKind::Config)),
        tags::look_again(client, &items, &moves)
    );
    let resent = resent?;
    // A config that cannot be read may be one that the registry took and did not keep.
    if resent || images.is_err() && transfer.confirm(|_| false).await? {
        // What was read may have been what was sent anew.
        readers.read_images(items.iter().enumerate().collect()).await?;
    } else {
        images?;
    }
    tags?;
    Ok((items, readers, moves))
}

/// What is at the registries already. Only reads.
pub(super) async fn look(
    client: &RegistryClient,
    source: &PushSource,
    release: Release,
    options: &PushOptions,
) -> Result<Vec<Item>, RegistryError> {
    check(&release)?;
    let mut items = read(client, source, release, &options.along).await?;
    look_at_tags(client, &mut items).await?;
    look_at_losses(client, &mut items).await?;
    look_at_manifests(client, &mut items).await?;
    look_behind(client, &mut items, options).await?;
    Ok(items)
}

/// Moves the tags, with a note in the journal for as long as they may show a mix.
async fn move_tags(
    client: &RegistryClient,
    items: &[Item],
    moves: &[TagMove],
    journal: Option<&Journal>,
) -> Result<Duration, RegistryError> {
    let Some(journal) = journal.filter(|_| !moves.is_empty()) else {
        return tags::move_all(client, items, moves).await.map_err(|unmoved| unmoved.error);
    };
    journal.begin_moving(moves.iter().map(|tag| tag.note(items)).collect())?;
    match tags::move_all(client, items, moves).await {
        // Left for the next run, which looks at the tags before anything else.
        Err(unmoved) if unmoved.open => Err(unmoved.error),
        moved => {
            journal.settled()?;
            moved.map_err(|unmoved| unmoved.error)
        }
    }
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

async fn read(
    client: &RegistryClient,
    source: &PushSource,
    release: Release,
    along: &[(Repository, Descriptor)],
) -> Result<Vec<Item>, RegistryError> {
    let roots: Vec<_> = release.items.iter().map(|item| (item.repository.clone(), item.index.clone())).collect();
    let (source, mut along) = (source.clone(), along.to_vec());
    let closures = tokio::task::spawn_blocking(move || {
        let read = |(repository, root): &(Repository, Descriptor)| {
            let mut closure = Closure::read(&source, root)?;
            // With the first item of the repository.
            for (_, more) in along.extract_if(.., |(other, _)| other == repository) {
                closure.include(Closure::read(&source, &more)?);
            }
            Ok(closure)
        };
        roots.iter().map(read).collect::<Result<Vec<_>, RegistryError>>()
    });
    let closures = closures.await.map_err(|error| RegistryError::Setup { reason: error.to_string() })??;
    let items = release.items.into_iter().zip(closures);
    Ok(items
        .map(|(release, closure)| Item {
            target: client.target(&release.repository),
            shows: vec![None; release.tags.len()],
            loses: vec![Vec::new(); release.tags.len()],
            there: Vec::new(),
            damaged: false,
            believed: false,
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

/// Looks whether what the registry vouches for is there: everything behind a tag or an index that it has already, and the
/// blobs of a manifest that it has. What has gone missing is brought again.
///
/// A registry that has lost a manifest or a layer, to a garbage collection or a broken disk, still shows the tag in front
/// of it. Left out is what was read back from this very repository a short while ago, by the journal.
async fn look_behind(client: &RegistryClient, items: &mut [Item], options: &PushOptions) -> Result<(), RegistryError> {
    let believed = |item: &Item| {
        let alone = options.along.iter().all(|(repository, _)| *repository != item.release.repository);
        let journal = options.journal.as_ref().filter(|_| !options.verify && alone);
        journal.is_some_and(|it| it.is_confirmed(&item.release.repository, &item.release.index.digest))
    };
    for item in &mut *items {
        item.believed = believed(item);
    }
    let mut asked = BTreeSet::new();
    let mut looks = Vec::new();
    for (number, item) in items.iter().enumerate().filter(|(_, item)| !item.believed) {
        let all = !item.changes() || item.is_there();
        for node in item.closure.nodes.iter().filter(|node| all || item.there.contains(&node.digest())) {
            let known = node.digest() == item.release.index.digest || item.there.contains(&node.digest());
            let manifest = (!known).then(|| node.manifest.descriptor.clone());
            for part in manifest.into_iter().chain(node.blobs.iter().cloned()) {
                asked.insert((item.target.host.name.as_str(), item.target.path.as_str(), part.digest));
                looks.push((number, node.digest(), part));
            }
        }
    }
    let mut unique = looks.clone();
    unique.retain(|(number, _, part)| {
        let target = &items[*number].target;
        asked.remove(&(target.host.name.as_str(), target.path.as_str(), part.digest))
    });
    let shared = &*items;
    let found = at_once(unique, |(number, _, part)| async move {
        let target = &shared[number].target;
        let scopes = Scopes::push(&target.path);
        let there = match part.kind() {
            MediaKind::Index | MediaKind::Manifest => {
                client.head_manifest(target, &part.digest.to_string(), &scopes).await? == Some(part.digest)
            }
            MediaKind::Config | MediaKind::Blob => client.has_blob(target, &part, &scopes).await?,
        };
        Ok((!there).then(|| (target.shown(), part.digest)))
    })
    .await?;
    let lost: BTreeSet<(String, Digest)> = found.into_iter().flatten().collect();
    for (number, node, part) in looks {
        let item = &mut items[number];
        if lost.contains(&(item.target.shown(), part.digest)) {
            item.lose(node);
        }
    }
    Ok(())
}

/// Manifests before the indexes that list them, then every image back; repositories do not wait for each other. In one of
/// them everything is stored one after the other and once, also what several items share: see [`tags::move_all`].
///
/// The outer error is that of storing, the inner one that of reading.
async fn store_and_read(
    client: &RegistryClient,
    items: &[Item],
    transfer: &Transfer,
    readers: &Readers,
) -> Result<Result<(), RegistryError>, RegistryError> {
    let mut repositories: BTreeMap<String, Vec<(usize, &Item)>> = BTreeMap::new();
    for (number, item) in items.iter().enumerate().filter(|(_, item)| item.works()) {
        repositories.entry(item.target.shown()).or_default().push((number, item));
    }
    let read = at_once(repositories.into_values().collect(), |items: Vec<(usize, &Item)>| async move {
        let mut stored = BTreeSet::new();
        for (_, item) in items.iter().filter(|(_, item)| !item.is_there()) {
            for node in item.closure.nodes.iter().filter(|node| !item.there.contains(&node.digest())) {
                if stored.insert(node.digest()) {
                    store_node(client, item, node, transfer).await?;
                }
            }
        }
        Ok(readers.read_images(items).await.err())
    });
    let failed: Vec<RegistryError> = read.await?.into_iter().flatten().collect();
    Ok(RegistryError::of_many(failed).map_or(Ok(()), Err))
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

    /// Whether there is anything to do for it.
    pub(super) fn works(&self) -> bool {
        self.changes() || self.damaged
    }

    /// Something of this node is not at the registry, although the registry has what refers to it.
    fn lose(&mut self, node: Digest) {
        if !self.changes() || self.is_there() || self.damaged {
            // What else is missing is not known: everything is looked at and stored again.
            self.damaged = true;
            self.there.clear();
        } else {
            self.there.retain(|known| *known != node);
        }
    }

    /// Repository and index, if all of it was found or read back in this push.
    fn whole(&self) -> Option<(Repository, Digest)> {
        (!self.believed).then(|| (self.release.repository.clone(), self.release.index.digest))
    }

    /// Whether its root was found at the registry: then so is all below it, and only tags are left to do.
    pub(super) fn is_there(&self) -> bool {
        self.there.contains(&self.release.index.digest)
    }

    /// Bytes of manifests that are stored for it: those that are not there, and the root once for each tag that moves.
    pub(super) fn manifest_bytes(&self) -> u64 {
        let index = self.release.index.digest;
        let tags = self.shows.iter().filter(|shown| **shown != Some(index)).count() as u64;
        let nodes = self.closure.nodes.iter().filter(|_| self.works() && !self.is_there());
        let nodes = nodes.filter(|node| !self.there.contains(&node.digest()));
        let size = |node: &Node| node.manifest.descriptor.size;
        nodes.map(size).sum::<u64>() + size(self.closure.root()) * tags
    }

    pub(super) fn loss_warnings(&self) -> Vec<String> {
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
                        Some(shown) if *shown == index && self.damaged => TagChange::Mended,
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
