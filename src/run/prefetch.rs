use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::heal::open_layout;
use super::lock::{LockRequest, lock, write_lock};
use super::mirror::Mirror;
use super::outside::Outside;
use super::publish::blocking;
use super::wanted::wanted;
use super::{Bases, RunError, StateDir};
use crate::base::{
    Descriptor, Digest, ErrorClass, Failure as _, MediaKind, Platform, Reference, Repository, media_type,
};
use crate::config::LockFile;
use crate::event::EventSink;
use crate::image::{ImageConfig, MANIFEST_LIMIT, ManifestBody, RawManifest, children, entry_platform, is_attestation};
use crate::plan::{CellWork, Plan};
use crate::registry::{Fetched, Meter, RegistryClient};
use crate::store::{BlobSource as _, Layout, StoreError};
use crate::verify::presence;

/// Blobs of one image on their way at once. The client bounds what one registry gets over all images.
pub(super) const AT_ONCE: usize = 4;

/// Indexes in indexes: more levels than this make no sense (the bound that `image` has for closures).
const DEPTH: usize = 4;

/// What `catamaran prefetch` brought.
#[derive(Debug, Clone, Default)]
pub struct Prefetched {
    /// Images with the platforms that are in the layout now, by full reference.
    pub images: Vec<(Reference, Vec<Platform>)>,
    /// Blobs that they are made of, each once.
    pub blobs: usize,
    /// Bytes of these blobs.
    pub bytes: u64,
    /// Bytes of them that had to be fetched.
    pub fetched: u64,
}

/// Brings everything that the whole matrix of `plan` takes from outside into the layout: what `known` says, else what it is
/// now. Goes on where an earlier run was stopped.
///
/// Bases are no releases, so `index.json` does not name them: `bases.lock` in the state directory does, in the form of
/// `catamaran.lock`, for `build --offline` and for whatever clears the layout up.
pub async fn prefetch(
    plan: &Plan,
    state: &StateDir,
    known: Option<LockFile>,
    client: &RegistryClient,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Prefetched, RunError> {
    state.create()?;
    let _lock = state.lock(events.as_ref(), cancel).await?;
    let layout = open_layout(state)?;
    layout.sweep()?;
    let work = async {
        let locked = lock(plan, &LockRequest { known, update: Vec::new() }, client).await?.lock;
        let mirror = Mirror::new(client.clone(), layout.clone(), Outside::known(Bases::new(locked.clone())), plan);
        let done = bring_all(plan, &locked, &mirror, &layout, events).await?;
        write_lock(&state.bases(), &locked)?;
        Ok(done)
    };
    tokio::select! {
        done = work => done,
        () = cancel.cancelled() => Err(RunError::Cancelled),
    }
}

async fn bring_all(
    plan: &Plan,
    locked: &LockFile,
    mirror: &Mirror,
    layout: &Layout,
    events: &Arc<dyn EventSink>,
) -> Result<Prefetched, RunError> {
    let (fetcher, known) = (mirror.fetcher(), Bases::new(locked.clone()));
    let (mut roots, mut wanted_manifests, mut done) = (Vec::new(), Vec::new(), Prefetched::default());
    // Manifests first: they say how much there is to come.
    for one in wanted(plan).into_iter().filter(|one| one.is_base && locked.image(&one.reference).is_some()) {
        let pinned = locked.root_of(&one.reference);
        let root = fetcher.root(&one.reference, pinned).await;
        let name = || one.components().first().cloned().unwrap_or_default();
        let root = root.map_err(|error| one.failed(None, gone(name(), &one.reference, pinned, error)))?;
        let mut platforms = one.platforms.clone();
        if one.builder {
            let image = locked.image(&one.reference);
            let there = |platform: &Platform| image.is_some_and(|image| image.platforms.contains_key(platform));
            platforms.extend(builder_platforms(plan).into_iter().filter(there));
        }
        for platform in &platforms {
            let image = fetcher.image(&one.reference, &root, platform).await;
            let image = image.map_err(|error| one.failed(Some(platform), error))?;
            known.check(&one.reference, platform, &image.descriptor.digest)?;
            wanted_manifests.push((one.reference.repository().clone(), image));
        }
        roots.push(root);
        done.images.push((one.reference, platforms.into_iter().collect()));
    }
    for cell in &plan.cells {
        let CellWork::Mirror(reference) = &cell.work else { continue };
        let parts = mirror.parts(&cell.id, reference).await?;
        let repository = reference.repository();
        wanted_manifests.push((repository.clone(), parts.image));
        wanted_manifests.extend(parts.companions.into_iter().map(|(_, manifest)| (repository.clone(), manifest)));
        roots.push(parts.root);
        match done.images.iter_mut().find(|(known, _)| known == reference) {
            Some((_, platforms)) => platforms.push(cell.id.platform.clone()),
            None => done.images.push((reference.clone(), vec![cell.id.platform.clone()])),
        }
    }
    let mut blobs: HashMap<Digest, u64> = HashMap::new();
    for (repository, manifest) in &wanted_manifests {
        for node in fetcher.nodes(repository, manifest.clone()).await? {
            let all = children(&node.bytes, &node.descriptor.media_type)?;
            let own = all.into_iter().filter(|child| !matches!(child.kind(), MediaKind::Index | MediaKind::Manifest));
            blobs.extend(own.filter(|blob| !is_elsewhere(blob)).map(|blob| (blob.digest, blob.size)));
        }
    }
    done.blobs = blobs.len();
    done.bytes = blobs.values().sum();
    for (digest, size) in &blobs {
        if layout.size_of(digest).ok().flatten() != Some(*size) {
            done.fetched += size;
        }
    }
    let meter = Meter::new("prefetch".to_owned(), done.bytes, Arc::clone(events));
    stream::iter(wanted_manifests)
        .map(|(repository, manifest)| {
            let meter = &meter;
            async move { fetcher.bring(&repository, manifest, Some(meter)).await }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    // What refers comes after what it refers to. An index may name platforms that were not asked for: it is kept to find
    // the others by, and is never published as it stands unless all of it is there.
    for root in roots {
        fetcher.keep(root).await?;
    }
    meter.finish();
    Ok(done)
}

/// The error of asking for what `reference` was pinned to, told as what it is where the registry has lost that.
pub(super) fn gone(component: String, reference: &Reference, pinned: Option<Digest>, error: RunError) -> RunError {
    match pinned {
        Some(digest) if error.class() == ErrorClass::NotFound => {
            RunError::Gone { component, reference: Box::new(reference.clone()), digest, source: Box::new(error) }
        }
        _ => error,
    }
}

/// The platforms that builders of the project are of, as far as that is known without asking them.
fn builder_platforms(plan: &Plan) -> Vec<Platform> {
    let named = plan.builders.values().filter_map(|builder| builder.platforms.first());
    let mut all: Vec<Platform> = named.map(|platform| platform.value.clone()).chain([Platform::host()]).collect();
    all.sort();
    all.dedup();
    all
}

/// Layers of the non-distributable types stay where their `urls` say (image-spec, layer); no registry has to have them.
pub(super) fn is_elsewhere(blob: &Descriptor) -> bool {
    blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign")
}

/// Brings images from registries into the layout, each manifest and each blob once however many cells want it.
///
/// What a reference points to is asked once for all: a tag that moves meanwhile must not give two platforms of one image two
/// different releases.
pub(super) struct Fetcher {
    client: RegistryClient,
    layout: Layout,
    roots: Mutex<HashMap<String, Arc<OnceCell<Fetched>>>>,
    blobs: Mutex<HashMap<Digest, Arc<OnceCell<()>>>>,
}

impl Fetcher {
    pub(super) fn new(client: RegistryClient, layout: Layout) -> Self {
        Self { client, layout, roots: Mutex::default(), blobs: Mutex::default() }
    }

    /// What `reference` points to; `pinned` is what it must be, where that is known.
    pub(super) async fn root(&self, reference: &Reference, pinned: Option<Digest>) -> Result<Fetched, RunError> {
        let exact = pinned.or(reference.digest().copied()).map(|digest| reference.repository().at(digest));
        let wanted = exact.unwrap_or_else(|| reference.clone());
        let cell = once(&self.roots, wanted.familiar());
        let get = || async {
            match wanted.digest() {
                Some(digest) => self.manifest(wanted.repository(), *digest).await,
                None => Ok(self.client.fetch_manifest(&wanted).await?),
            }
        };
        Ok(cell.get_or_try_init(get).await?.clone())
    }

    /// The image manifest of `platform` behind `root`, which is what `reference` points to; its config says that platform.
    pub(super) async fn image(
        &self,
        reference: &Reference,
        root: &Fetched,
        platform: &Platform,
    ) -> Result<Fetched, RunError> {
        let (layout, digest, wanted) = (self.layout.clone(), root.descriptor.digest, platform.clone());
        if let Some(found) = blocking(move || stored_image(&layout, &digest, &wanted)).await? {
            return self.manifest(reference.repository(), found.digest).await;
        }
        Ok(self.client.resolve_in(reference, root, platform).await?)
    }

    /// A manifest or index by its digest: from the layout where it is there.
    pub(super) async fn manifest(&self, repository: &Repository, digest: Digest) -> Result<Fetched, RunError> {
        let layout = self.layout.clone();
        if let Some(found) = blocking(move || stored_manifest(&layout, &digest)).await? {
            return Ok(found);
        }
        Ok(self.client.fetch_manifest(&repository.at(digest)).await?)
    }

    /// Brings everything that `manifest` refers to, then `manifest` itself: a run that is killed leaves nothing that dangles.
    pub(super) async fn bring(
        &self,
        repository: &Repository,
        manifest: Fetched,
        meter: Option<&Meter>,
    ) -> Result<(), RunError> {
        for node in self.nodes(repository, manifest).await? {
            if node.descriptor.kind() == MediaKind::Manifest {
                let blobs = children(&node.bytes, &node.descriptor.media_type)?;
                stream::iter(blobs)
                    .map(|blob| async move { self.blob(repository, &blob, meter).await })
                    .buffer_unordered(AT_ONCE)
                    .try_collect::<()>()
                    .await?;
            }
            self.keep(node).await?;
        }
        Ok(())
    }

    /// `manifest` and, where it is an index, everything in it that is a manifest too; what refers comes after what it
    /// refers to.
    pub(super) async fn nodes(&self, repository: &Repository, manifest: Fetched) -> Result<Vec<Fetched>, RunError> {
        let mut found = vec![manifest];
        let (mut begin, mut depth) = (0, 0);
        while begin < found.len() {
            let level = found.len();
            depth += 1;
            for at in begin..level {
                if found[at].descriptor.kind() != MediaKind::Index {
                    continue;
                }
                for entry in children(&found[at].bytes, &found[at].descriptor.media_type)? {
                    let known = found.iter().any(|node| node.descriptor.digest == entry.digest);
                    if !known && matches!(entry.kind(), MediaKind::Index | MediaKind::Manifest) && depth <= DEPTH {
                        found.push(self.manifest(repository, entry.digest).await?);
                    }
                }
            }
            begin = level;
        }
        found.reverse();
        Ok(found)
    }

    /// Keeps a manifest or index in the layout.
    pub(super) async fn keep(&self, fetched: Fetched) -> Result<(), RunError> {
        let layout = self.layout.clone();
        blocking(move || {
            layout.put(&fetched.descriptor.media_type, &fetched.bytes)?;
            Ok(())
        })
        .await
    }

    async fn blob(&self, repository: &Repository, blob: &Descriptor, meter: Option<&Meter>) -> Result<(), RunError> {
        if is_elsewhere(blob) {
            return Ok(());
        }
        let cell = once(&self.blobs, blob.digest);
        cell.get_or_try_init(|| self.client.fetch_blob_metered(repository, blob, &self.layout, meter)).await?;
        Ok(())
    }
}

fn once<K: std::hash::Hash + Eq, V>(map: &Mutex<HashMap<K, Arc<OnceCell<V>>>>, key: K) -> Arc<OnceCell<V>> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(map.entry(key).or_default())
}

/// The manifest or index of this digest in the layout, verified; `None` if it is not there, or not whole. Blocks.
pub(super) fn stored_manifest(layout: &Layout, digest: &Digest) -> Result<Option<Fetched>, RunError> {
    let size = match layout.size_of(digest) {
        Ok(Some(size)) if size <= MANIFEST_LIMIT => size,
        Ok(_) | Err(StoreError::NotAFile { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let bytes = match layout.read(&Descriptor::new("", *digest, size), MANIFEST_LIMIT) {
        Ok(bytes) => Bytes::from(bytes),
        // A damaged one comes again, as one that is missing does.
        Err(StoreError::Corrupt { .. } | StoreError::WrongSize { .. }) => {
            layout.quarantine(digest)?;
            return Ok(None);
        }
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Which of the two a document is that does not say its type, its members tell; one with both is refused.
    let types = [media_type::INDEX, media_type::MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];
    let fits = |media_type: &&str| RawManifest::parse(bytes.to_vec(), media_type).is_ok();
    let media_type = types.iter().copied().find(|media_type| fits(media_type));
    Ok(media_type.map(|media_type| Fetched { descriptor: Descriptor::new(media_type, *digest, size), bytes }))
}

/// The image manifest of `platform` behind the manifest or index `root`, if it and all that it refers to are in the layout.
/// Blocks.
pub(super) fn stored_image(
    layout: &Layout,
    root: &Digest,
    platform: &Platform,
) -> Result<Option<Descriptor>, RunError> {
    let Some(mut current) = stored_manifest(layout, root)? else { return Ok(None) };
    for _ in 0..DEPTH {
        let raw = RawManifest::parse(current.bytes.to_vec(), &current.descriptor.media_type)?;
        let ManifestBody::Index { manifests, .. } = &raw.parsed else {
            let manifest = current.descriptor;
            if !presence(layout, &manifest)?.is_complete() {
                return Ok(None);
            }
            let config = ImageConfig::read(layout, &manifest)?;
            return Ok(config.is_for(platform).then_some(manifest));
        };
        let image = |entry: &&Descriptor| {
            !is_attestation(entry) && entry_platform(entry).is_some_and(|found| found.as_ref() == Ok(platform))
        };
        let nested = || manifests.iter().find(|entry| entry.kind() == MediaKind::Index);
        let Some(entry) = manifests.iter().find(image).or_else(nested) else { return Ok(None) };
        let Some(next) = stored_manifest(layout, &entry.digest)? else { return Ok(None) };
        current = next;
    }
    Ok(None)
}
