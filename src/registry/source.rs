use std::fmt;
use std::sync::Arc;

use super::{RegistryClient, RegistryError};
use crate::base::{Descriptor, Repository};
use crate::store::{BlobSource, Layout, StoreError};

/// Where a push takes its blobs from: a layout, a bundle that is not unpacked, or another registry.
///
/// Cheap to clone. Manifests are there from the beginning; only a blob of another registry is brought when it turns out
/// that a repository lacks it.
#[derive(Clone)]
pub struct PushSource {
    blobs: Arc<dyn BlobSource>,
    upstream: Option<Arc<Upstream>>,
}

/// A registry that blobs come from.
struct Upstream {
    client: RegistryClient,
    repository: Repository,
    /// Where they are kept on their way.
    layout: Layout,
}

impl PushSource {
    /// Blobs that are at hand.
    pub fn of(blobs: Arc<dyn BlobSource>) -> Self {
        Self { blobs, upstream: None }
    }

    /// The blobs of `repository`, each brought into `layout` when it is needed; the manifests must be there already.
    pub fn from_registry(client: &RegistryClient, repository: &Repository, layout: &Layout) -> Self {
        let upstream = Upstream { client: client.clone(), repository: repository.clone(), layout: layout.clone() };
        Self { blobs: Arc::new(layout.clone()), upstream: Some(Arc::new(upstream)) }
    }

    /// What can be read now. Blocks.
    pub(super) fn blobs(&self) -> &dyn BlobSource {
        self.blobs.as_ref()
    }

    /// Size of a blob that is there or will be brought; `None` if there is nowhere to take it from.
    pub(super) fn size_of(&self, blob: &Descriptor) -> Result<Option<u64>, StoreError> {
        // What upstream's manifest says of it is checked when it comes. Layers that are kept elsewhere do not come.
        let elsewhere = ["nondistributable", "foreign"].iter().any(|word| blob.media_type.contains(word));
        if self.upstream.is_some() && !elsewhere { Ok(Some(blob.size)) } else { self.blobs.size_of(&blob.digest) }
    }

    /// Brings a blob to where it can be read. At once where it is there.
    pub(super) async fn bring(&self, blob: &Descriptor) -> Result<(), RegistryError> {
        let Some(upstream) = &self.upstream else { return Ok(()) };
        upstream.client.fetch_blob(&upstream.repository, blob, &upstream.layout).await.map(drop)
    }

    /// The repository at `host` that blobs can be mounted from instead of being sent.
    pub(super) fn mountable(&self, host: &str) -> Option<String> {
        let repository = &self.upstream.as_ref()?.repository;
        (repository.host() == host).then(|| repository.remote_path())
    }
}

impl From<&Layout> for PushSource {
    fn from(layout: &Layout) -> Self {
        Self::of(Arc::new(layout.clone()))
    }
}

impl fmt::Debug for PushSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upstream = self.upstream.as_ref().map(|upstream| upstream.repository.to_string());
        f.debug_struct("PushSource").field("upstream", &upstream).finish_non_exhaustive()
    }
}
