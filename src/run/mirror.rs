use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::RunError;
use crate::base::{CellId, Descriptor, MediaKind, Reference};
use crate::image::children;
use crate::registry::{Fetched, RegistryClient};
use crate::store::Layout;

/// Brings externals into the layout, one platform at a time.
///
/// What an external's reference points to is asked once for all its platforms: a tag that moves meanwhile must not give two
/// platforms of one image two different releases.
pub(super) struct Mirror {
    client: RegistryClient,
    layout: Layout,
    roots: Mutex<HashMap<Reference, Arc<OnceCell<Fetched>>>>,
}

/// An external's image for one platform, in the layout.
pub(super) struct Mirrored {
    pub(super) manifest: Descriptor,
    /// What its reference points to.
    pub(super) upstream: Descriptor,
}

impl Mirror {
    pub(super) fn new(client: RegistryClient, layout: Layout) -> Self {
        Self { client, layout, roots: Mutex::new(HashMap::new()) }
    }

    /// Brings one cell of an external.
    pub(super) async fn bring(&self, cell: &CellId, reference: &Reference) -> Result<Mirrored, RunError> {
        let root = self.root(reference).await?;
        let repository = reference.repository();
        let pinned = repository.at(root.descriptor.digest);
        let resolved = self.client.resolve(&pinned, &cell.platform).await?;
        let manifest = resolved.manifest.descriptor.bare();
        for child in children(&resolved.manifest.bytes, &manifest.media_type)? {
            self.client.fetch_blob(repository, &child, &self.layout).await?;
        }
        // What refers comes after what it refers to: a killed run leaves nothing that dangles.
        self.keep(resolved.manifest).await?;
        if root.descriptor.kind() == MediaKind::Index {
            self.keep(root.clone()).await?;
        }
        Ok(Mirrored { manifest, upstream: root.descriptor.bare() })
    }

    async fn root(&self, reference: &Reference) -> Result<Fetched, RunError> {
        let cell = {
            let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(roots.entry(reference.clone()).or_default())
        };
        Ok(cell.get_or_try_init(|| self.client.fetch_manifest(reference)).await?.clone())
    }

    async fn keep(&self, fetched: Fetched) -> Result<(), RunError> {
        let layout = self.layout.clone();
        let put = move || layout.put(&fetched.descriptor.media_type, &fetched.bytes).map(|_| ());
        tokio::task::spawn_blocking(put)
            .await
            .map_err(|error| RunError::Internal { message: error.to_string() })?
            .map_err(RunError::from)
    }
}
