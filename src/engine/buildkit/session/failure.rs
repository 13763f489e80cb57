use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::EngineError;

/// What went wrong on this side of a session, kept because the daemon reports it back only in its own words, if at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFailure {
    /// The file, made printable.
    pub(crate) path: String,
    /// Why it cannot be sent.
    pub(crate) reason: String,
    /// Whether the file system is to blame rather than the file's name or kind.
    pub(crate) disk: bool,
}

impl From<LocalFailure> for EngineError {
    fn from(failure: LocalFailure) -> Self {
        Self::Context { path: failure.path, reason: failure.reason, disk: failure.disk }
    }
}

/// Holds the first failure of a session's file transfers; later ones are consequences. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalFailureSlot(Arc<Mutex<Option<LocalFailure>>>);

impl LocalFailureSlot {
    /// Keeps `failure` unless there is one already.
    pub(crate) fn record(&self, failure: LocalFailure) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(failure);
    }

    /// The first failure, if there was one.
    pub(crate) fn get(&self) -> Option<LocalFailure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
