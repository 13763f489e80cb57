use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::publish::blocking;
use super::{RunError, StateDir};
use crate::event::EventSink;
use crate::registry::{Journal, MovingTag, RegistryClient, Settlement};

/// The tags of a release that was interrupted while they moved, if there is one: some of them may show the new release and
/// some the old one. Reads the journal only; the next push, or [`settle_release`], ends it.
pub fn unfinished_release(state: &StateDir) -> Result<Option<Vec<MovingTag>>, RunError> {
    Ok(Journal::unfinished(&state.journal())?)
}

/// Finishes or reverts a release that was interrupted while its tags moved. Asks nobody if there is none.
pub async fn settle_release(
    state: &StateDir,
    client: &RegistryClient,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Option<Settlement>, RunError> {
    if unfinished_release(state)?.is_none() {
        return Ok(None);
    }
    let _lock = state.lock_existing(events.as_ref(), cancel).await?;
    let journal = journal(state).await?;
    Ok(crate::registry::settle(client, &journal).await?)
}

/// The journal of pushes. The state directory must be locked.
pub(super) async fn journal(state: &StateDir) -> Result<Journal, RunError> {
    let directory = state.journal();
    blocking(move || Ok(Journal::open(&directory)?)).await
}
