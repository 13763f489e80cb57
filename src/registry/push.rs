use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{PushReceipt, RegistryClient, RegistryError};
use crate::base::{ComponentName, Descriptor, Repository, Tag};
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
}

/// Publishes a release: blobs and manifests everywhere first, then every tag, then an independent read-back.
///
/// A tag moves only after everything of the whole release is at its registries and was read back by digest, so that a run
/// that fails or is killed before leaves every tag as it was; if moving the tags themselves fails half-way, the moved ones
/// are put back where that is possible. Running it again does only what is left to do. Cancelling takes effect until the
/// first tag moves.
pub async fn push(
    client: &RegistryClient,
    layout: &Layout,
    release: Release,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<PushReceipt, RegistryError> {
    let _ = (client, layout, release, events, cancel);
    Err(RegistryError::Setup { reason: "pushing is not there yet".to_owned() })
}
