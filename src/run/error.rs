use std::io;
use std::path::{Path, PathBuf};

use crate::base::{ErrorClass, Failure, SourceText, Span};

/// Why a run, or a command over its results, could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file of the state directory could not be used.
    #[error("cannot {action} `{}`", .path.display())]
    State {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The run was stopped before it began.
    #[error("interrupted")]
    Cancelled,
    /// Another room's error, which says all there is to say.
    #[error(transparent)]
    Room(Box<dyn Failure>),
}

impl RunError {
    pub(super) fn state(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::State { action, path: path.to_owned(), source }
    }

    pub(super) fn room(error: impl Failure) -> Self {
        Self::Room(Box::new(error))
    }
}

impl Failure for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::State { .. } => ErrorClass::Disk,
            Self::Cancelled => ErrorClass::Cancelled,
            Self::Room(error) => error.class(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::State { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("check who owns the state directory, or choose another with `--state DIR`".to_owned())
            }
            Self::State { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, then run the same command again: finished cells are kept".to_owned())
            }
            Self::State { .. } | Self::Cancelled => None,
            Self::Room(error) => error.help(),
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Room(error) => Failure::cause(error),
            _ => None,
        }
    }

    fn output(&self) -> Vec<String> {
        match self {
            Self::Room(error) => error.output(),
            _ => Vec::new(),
        }
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::Room(error) => error.span(),
            _ => None,
        }
    }

    fn excerpt(&self) -> Option<(SourceText, usize, usize)> {
        match self {
            Self::Room(error) => error.excerpt(),
            _ => None,
        }
    }

    fn others(&self) -> Vec<&dyn Failure> {
        match self {
            Self::Room(error) => error.others(),
            _ => Vec::new(),
        }
    }
}
