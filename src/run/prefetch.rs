use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;

use super::RunError;
use super::publish::blocking;
use crate::base::{Descriptor, Digest, MediaKind, Platform, Reference, Repository, media_type};
use crate::image::{ImageConfig, MANIFEST_LIMIT, ManifestBody, RawManifest, children, entry_platform, is_attestation};
use crate::registry::{Fetched, Meter, RegistryClient};
use crate::store::{BlobSource as _, Layout, StoreError};
use crate::verify::presence;

/// Blobs of one image on their way at once. The client bounds what one registry gets over all images.
const AT_ONCE: usize = 4;

/// Indexes in indexes: more levels than this make no sense (the bound that `image` has for closures).
const DEPTH: usize = 4;

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
        // Layers of the non-distributable types stay where their `urls` say (image-spec, layer); no registry has to have them.
        if blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign") {
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
