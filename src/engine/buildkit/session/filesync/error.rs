use std::io;

use super::super::LocalFailure;
use super::tree::printable;
use crate::dockerfile::ignore::IgnoreError;

/// Why a directory cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// A file, or the directory itself, cannot be sent.
    #[error("cannot send `{path}`: {reason}")]
    File {
        /// The file, made printable.
        path: String,
        /// Why.
        reason: String,
        /// Whether the file system is to blame rather than the file's name or kind.
        disk: bool,
    },
    /// The daemon's patterns make no sense.
    #[error("cannot send `{source_name}`: {error}")]
    Pattern {
        /// What the daemon asked for.
        source_name: String,
        /// What is wrong.
        error: IgnoreError,
    },
    /// Nobody wants the files any more.
    #[error("the transfer was given up")]
    GivenUp,
}

impl SendError {
    pub(super) fn io(path: &[u8], error: &io::Error) -> Self {
        // The directory itself has no name within it.
        let path = if path.is_empty() { ".".to_owned() } else { printable(path) };
        Self::File { path, reason: error.to_string(), disk: true }
    }

    pub(super) fn refused(path: &[u8], reason: &str) -> Self {
        Self::File { path: printable(path), reason: reason.to_owned(), disk: false }
    }

    /// Nothing is sent twice or patched up: what somebody writes meanwhile would reach the image half old and half new.
    pub(super) fn changed(path: &[u8]) -> Self {
        Self::refused(path, "it changed while it was being sent")
    }

    /// What the user is told, if it is the user's concern.
    pub(super) fn to_failure(&self) -> Option<LocalFailure> {
        match self {
            Self::File { path, reason, disk } => {
                Some(LocalFailure { path: path.clone(), reason: reason.clone(), disk: *disk })
            }
            Self::Pattern { source_name, error } => {
                Some(LocalFailure { path: source_name.clone(), reason: error.to_string(), disk: false })
            }
            Self::GivenUp => None,
        }
    }
}
