use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::judge::Judged;
use super::place::{Overlay, Place, copy_blob, name_in, open_bundle, open_layout};
use super::prefetch::{AT_ONCE, Fetcher};
use super::publish::blocking;
use super::referrers::{Brought, Referrers};
use super::release::journal;
use super::{RunError, StateDir};
use crate::base::{ComponentName, Descriptor, Digest, ErrorClass, Failure as _, MediaKind, Platform, Reference, Tag};
use crate::bundle::{BundleContents, BundleEntry, write_bundle};
use crate::event::EventSink;
use crate::image::{
    Assembled, ImageConfig, ImageError, IndexEntry, MANIFEST_LIMIT, ManifestBody, RawManifest, assemble_index, closure,
    subset_index,
};
use crate::registry::{Fetched, PushOptions, PushReceipt, PushSource, RegistryClient, Release, ReleaseItem, push_with};
use crate::store::{BlobSource, Layout};

/// An image, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct CopyRequest<'a> {
    /// Where it is.
    pub source: &'a Place,
    /// Where it shall be.
    pub destination: &'a Place,
    /// Only these platforms; all there are if it is empty.
    pub platforms: &'a [Platform],
    /// What refers to the image, too: signatures, bills of materials. Between registries only.
    pub referrers: bool,
}

/// What was copied.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    /// Digest of what the destination shows.
    pub digest: Digest,
    /// The platforms that it lists.
    pub platforms: Vec<Platform>,
    /// Whether it is an index of ours, because it holds less than the source.
    pub subset: bool,
    /// The single image that an index was made for, since a bundle holds indexes.
    pub index_of: Option<Digest>,
    /// Layers that nobody copied: they are kept where their `urls` say.
    pub elsewhere: usize,
    /// Manifests that refer to it and were copied with it.
    pub referrers: usize,
    /// What the registry has now, where the destination is one.
    #[serde(flatten)]
    pub receipt: Option<PushReceipt>,
}

/// The image, its manifests at hand.
struct Found {
    root: Assembled,
    /// What is read: for a registry, manifests only.
    blobs: Arc<dyn BlobSource>,
    /// The registry that the rest comes from.
    upstream: Option<Reference>,
    subset: bool,
    platforms: Vec<Platform>,
    /// The single image that the root is an index of.
    index_of: Option<Digest>,
    elsewhere: usize,
}

/// Copies one image or index. Digests are kept; a part of the platforms makes an index of ours that says which one it is of.
///
/// `state` takes what is on its way, so that a copy that broke off goes on where it was: it is the caller's to remove after
/// one that went well.
pub async fn copy(
    request: &CopyRequest<'_>,
    state: &StateDir,
    client: &RegistryClient,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Copied, RunError> {
    if matches!(request.destination, Place::Registry(reference) if reference.digest().is_some()) {
        let message = format!("`{}`: what is copied decides the digest, name a tag", request.destination);
        return Err(RunError::BadName { message });
    }
    let between_registries = matches!((request.source, request.destination), (Place::Registry(_), Place::Registry(_)));
    if request.referrers && !between_registries {
        let message = "referrers are copied from a registry to a registry: layouts and files have no place for them";
        return Err(RunError::BadName { message: message.to_owned() });
    }
    state.create()?;
    let _lock = state.lock(events.as_ref(), cancel).await?;
    let staging = {
        let path = state.layout();
        blocking(move || Ok(Layout::create(path)?)).await?
    };
    let found = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(RunError::Cancelled),
        found = find(request, &staging, client) => found.map_err(|error| of_source(request.source, error))?,
    };
    let found = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(RunError::Cancelled),
        found = judged(found, request, &staging, client) => {
            found.map_err(|error| of_judgement(request.source, error))?
        }
    };
    let mut referrers = 0;
    let receipt = match request.destination {
        Place::Registry(reference) => {
            let mut beside = Brought::default();
            if let Some(upstream) = found.upstream.as_ref().filter(|_| request.referrers) {
                let (from, to) = (upstream.repository(), reference.repository());
                let component = component_of(reference);
                let all = Referrers { client, from, to, component, staging: &staging };
                beside = all.items(Arc::clone(&found.blobs), found.root.descriptor.clone()).await?;
            }
            referrers = beside.count;
            let to = (reference, beside);
            Some(Box::pin(to_registry(&found, to, &staging, state, client, events, cancel)).await?)
        }
        local => {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(RunError::Cancelled),
                done = to_disk(&found, local, request.source, &staging, client, &events) => done?,
            }
            None
        }
    };
    let Found { root, subset, platforms, index_of, elsewhere, .. } = found;
    Ok(Copied { digest: root.descriptor.digest, platforms, subset, index_of, elsewhere, referrers, receipt })
}

/// The image with all its manifests, cut down to the platforms that are wanted.
async fn find(request: &CopyRequest<'_>, staging: &Layout, client: &RegistryClient) -> Result<Found, RunError> {
    let fetcher = Fetcher::new(client.clone(), staging.clone());
    let (behind, root, upstream): (Arc<dyn BlobSource>, Descriptor, Option<Reference>) = match request.source {
        Place::Registry(reference) => {
            let root = fetcher.root(reference, None).await?;
            // Of a subset only the images that are wanted have to be there, which is known after the root was read.
            if request.platforms.is_empty() || root.descriptor.kind() != MediaKind::Index {
                keep_nodes(&fetcher, reference, root.clone()).await?;
            } else {
                fetcher.keep(root.clone()).await?;
            }
            (Arc::new(staging.clone()), root.descriptor, Some(reference.clone()))
        }
        Place::Layout { path, name } => local(path, name.as_deref(), open_layout).await?,
        Place::Bundle { path, name } => local(path, name.as_deref(), open_bundle).await?,
    };
    let (own, wanted) = (staging.clone(), request.platforms.to_vec());
    let single = root.kind() != MediaKind::Index;
    if single
        && let Some(reference) = upstream.as_ref().filter(|_| !wanted.is_empty())
        && let ManifestBody::Image { config, .. } = {
            let (behind, root) = (Arc::clone(&behind), root.clone());
            blocking(move || Ok(RawManifest::read(behind.as_ref(), &root)?.parsed)).await?
        }
    {
        client.fetch_blob(reference.repository(), &config, staging).await?;
    }
    let blobs: Arc<dyn BlobSource> = Arc::new(Overlay { own: own.clone(), behind });
    let read = Arc::clone(&blobs);
    let root = blocking(move || narrowed(&own, read.as_ref(), &root, &wanted)).await?;
    if let Some(reference) = &upstream {
        keep_nodes(&fetcher, reference, fetched(&root.0)).await?;
    }
    let (root, subset) = root;
    Ok(Found { root, blobs, upstream, subset, platforms: Vec::new(), index_of: None, elsewhere: 0 })
}

/// What is wrong with a place on this machine: it need not be a project's, so a build may not bring anything back.
fn of_source(place: &Place, error: RunError) -> RunError {
    match (place, &error) {
        (Place::Layout { .. } | Place::Bundle { .. }, RunError::Room(_)) => {
            RunError::Source { place: place.to_string(), source: Box::new(error) }
        }
        _ => error,
    }
}

/// What is wrong with the image itself, wherever it is.
fn of_judgement(place: &Place, error: RunError) -> RunError {
    match &error {
        RunError::UnknownEntry { .. } => RunError::Source { place: place.to_string(), source: Box::new(error) },
        RunError::Room(room)
            if matches!(room.class(), ErrorClass::Integrity | ErrorClass::Incomplete | ErrorClass::Config) =>
        {
            RunError::Source { place: place.to_string(), source: Box::new(error) }
        }
        _ => error,
    }
}

/// Judges the image before the first byte goes anywhere, by the same rules whatever it is copied into: every index entry is
/// for the platform that it promises and, where the source is on this machine, every blob is there.
async fn judged(
    found: Found,
    request: &CopyRequest<'_>,
    staging: &Layout,
    client: &RegistryClient,
) -> Result<Found, RunError> {
    let (blobs, root) = (Arc::clone(&found.blobs), found.root.descriptor.clone());
    let judged = blocking(move || Judged::read(blobs.as_ref(), &root)).await?;
    if let Some(upstream) = &found.upstream {
        stream::iter(judged.configs())
            .map(|config| async move { client.fetch_blob(upstream.repository(), &config, staging).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    let bundled = matches!(request.destination, Place::Bundle { .. }).then(|| request.source.to_string());
    let staging = staging.clone();
    blocking(move || {
        let blobs = found.blobs.as_ref();
        if found.upstream.is_none() {
            judged.whole(blobs)?;
        }
        let (platforms, elsewhere) = (judged.platforms(blobs)?, judged.elsewhere(blobs)?);
        if let Some(place) = &bundled
            && let Some(reason) = judged.unfit_for_bundle(&platforms, &elsewhere)
        {
            return Err(RunError::Unbundled { place: place.clone(), reason });
        }
        let found = Found { platforms, elsewhere: elsewhere.len(), ..found };
        if bundled.is_some() { indexed(found, &staging) } else { Ok(found) }
    })
    .await
}

/// The same with an index as its root: one of a single entry is made for a single image, as for an external. Blocks.
fn indexed(found: Found, staging: &Layout) -> Result<Found, RunError> {
    let manifest = found.root.descriptor.clone();
    let Some(platform) = found.platforms.first().filter(|_| manifest.kind() == MediaKind::Manifest).cloned() else {
        return Ok(found);
    };
    // The index is made of what is in the layout, and says of the platform what the config says.
    let raw = RawManifest::parse(found.root.bytes.clone(), &manifest.media_type)?;
    if let ManifestBody::Image { config, .. } = &raw.parsed {
        copy_blob(found.blobs.as_ref(), staging, config)?;
    }
    staging.put(&manifest.media_type, &raw.bytes)?;
    let index_of = Some(manifest.digest);
    let entry = IndexEntry { platform, manifest, annotations: None, attestations: Vec::new() };
    let root = assemble_index(staging, vec![entry], &BTreeMap::new())?;
    Ok(Found { root, index_of, ..found })
}

async fn local(
    path: &Path,
    name: Option<&str>,
    open: impl FnOnce(&Path, Option<&str>) -> Result<(Arc<dyn BlobSource>, Descriptor), RunError> + Send + 'static,
) -> Result<(Arc<dyn BlobSource>, Descriptor, Option<Reference>), RunError> {
    let (path, name) = (path.to_owned(), name.map(str::to_owned));
    blocking(move || open(&path, name.as_deref()).map(|(blobs, root)| (blobs, root, None))).await
}

/// What of `root` is wanted, and whether that is less than all. Blocks.
fn narrowed(
    own: &Layout,
    blobs: &dyn BlobSource,
    root: &Descriptor,
    wanted: &[Platform],
) -> Result<(Assembled, bool), RunError> {
    let bytes = blobs.read(root, MANIFEST_LIMIT)?;
    let whole = Assembled { descriptor: root.bare(), bytes };
    if root.kind() != MediaKind::Index {
        if let [platform] = wanted {
            let config = ImageConfig::read(blobs, root)?;
            if !config.is_for(platform) {
                let wanted = Box::new(platform.clone());
                return Err(ImageError::WrongPlatform { digest: root.digest, wanted, found: config.shown() }.into());
            }
        } else if !wanted.is_empty() {
            let message = "a single image has one platform, and several are asked for".to_owned();
            return Err(RunError::BadName { message });
        }
        return Ok((whole, false));
    }
    let chosen = if wanted.is_empty() {
        whole
    } else {
        own.put(&root.media_type, &whole.bytes)?;
        subset_index(own, root, wanted)?
    };
    let subset = chosen.descriptor.digest != root.digest;
    Ok((chosen, subset))
}

fn fetched(root: &Assembled) -> Fetched {
    Fetched { descriptor: root.descriptor.clone(), bytes: Bytes::from(root.bytes.clone()) }
}

async fn keep_nodes(fetcher: &Fetcher, reference: &Reference, root: Fetched) -> Result<(), RunError> {
    for node in fetcher.nodes(reference.repository(), root).await? {
        fetcher.keep(node).await?;
    }
    Ok(())
}

async fn to_registry(
    found: &Found,
    (reference, beside): (&Reference, Brought),
    staging: &Layout,
    state: &StateDir,
    client: &RegistryClient,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<PushReceipt, RunError> {
    let source = match &found.upstream {
        Some(upstream) => PushSource::from_registry(client, upstream.repository(), staging),
        None => PushSource::of(Arc::clone(&found.blobs)),
    };
    let item = ReleaseItem {
        component: component_of(reference),
        index: found.root.descriptor.clone(),
        repository: reference.repository().clone(),
        tags: vec![reference.tag().cloned().unwrap_or_else(Tag::latest)],
        partial: found.subset,
    };
    let options = PushOptions { journal: Some(journal(state).await?), verify: false, along: beside.along };
    let items = std::iter::once(item).chain(beside.tagged).collect();
    let source_again = source.clone();
    let release = Release { items };
    let mut receipt = push_with(client, source, release, &options, Arc::clone(&events), cancel).await?;
    let listed = beside.unless_listed.is_empty() || client.lists_what_it_takes(reference.repository());
    if !listed {
        let options = PushOptions { along: Vec::new(), ..options };
        let release = Release { items: beside.unless_listed };
        receipt.add(push_with(client, source_again, release, &options, events, cancel).await?);
    }
    Ok(receipt)
}

async fn to_disk(
    found: &Found,
    destination: &Place,
    source: &Place,
    staging: &Layout,
    client: &RegistryClient,
    events: &Arc<dyn EventSink>,
) -> Result<(), RunError> {
    let layout = match destination {
        Place::Layout { path, .. } => {
            let path = path.clone();
            blocking(move || Ok(Layout::create(path)?)).await?
        }
        _ => staging.clone(),
    };
    if let Some(upstream) = &found.upstream {
        Fetcher::new(client.clone(), layout.clone()).bring(upstream.repository(), fetched(&found.root), None).await?;
    }
    let (blobs, root, destination) = (Arc::clone(&found.blobs), found.root.descriptor.clone(), destination.clone());
    let (reference, platforms) = (reference_of(source), found.platforms.clone());
    let (subset, events) = (found.subset, Arc::clone(events));
    blocking(move || match &destination {
        Place::Layout { name, .. } => {
            for blob in closure(blobs.as_ref(), &root)? {
                copy_blob(blobs.as_ref(), &layout, &blob)?;
            }
            name_in(&layout, &root, name.as_deref())
        }
        Place::Bundle { path, name } => {
            let named = name.as_ref().map(|name| name.parse::<Reference>()).transpose();
            let reference = named.map_err(|error| RunError::BadName { message: error.to_string() })?.or(reference);
            let contents = bundle_of(&root, reference, &platforms, subset)?;
            write_bundle(blobs.as_ref(), &contents, path, events.as_ref(), &CancellationToken::new())?;
            Ok(())
        }
        Place::Registry(_) => Ok(()),
    })
    .await
}

/// A bundle of one image.
fn bundle_of(
    root: &Descriptor,
    reference: Option<Reference>,
    platforms: &[Platform],
    subset: bool,
) -> Result<BundleContents, RunError> {
    let message = "a bundle needs a name for its image: write bundle:FILE:NAME:TAG".to_owned();
    let reference = reference.ok_or(RunError::BadName { message })?;
    let tag = reference.tag().cloned().unwrap_or_else(Tag::latest);
    let no_platform = || RunError::room(ImageError::Empty);
    Ok(BundleContents {
        subset,
        project: component_of(&reference).to_string(),
        tag: tag.to_string(),
        entries: vec![BundleEntry {
            component: component_of(&reference),
            reference: reference.with_tag(tag),
            path: Some(reference.repository().path().to_owned()),
            index: root.clone(),
            foreign: Vec::new(),
        }],
        default_platform: platforms.first().cloned().ok_or_else(no_platform)?,
        incomplete: Vec::new(),
    })
}

/// What the source calls the image, as far as that is a reference.
fn reference_of(source: &Place) -> Option<Reference> {
    match source {
        Place::Registry(reference) => Some(reference.clone()),
        Place::Layout { name, .. } | Place::Bundle { name, .. } => name.as_ref()?.parse().ok(),
    }
}

/// A name for messages: the last part of the repository.
fn component_of(reference: &Reference) -> ComponentName {
    let last = reference.repository().path().rsplit('/').next().unwrap_or_default();
    last.parse().unwrap_or_else(|_| "image".parse().expect("a literal that is a name"))
}
