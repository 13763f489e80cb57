use std::io;
use std::path::PathBuf;

use crate::base::{Digest, ErrorClass, Failure};

/// Why the layout could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused an operation.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried: `write`, `read`, `create`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A blob is not in the layout.
    #[error("blob `{digest}` is missing")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// Bytes have another digest than they must have.
    #[error("blob `{expected}` is corrupt: its bytes hash to `{found}`")]
    Corrupt {
        /// What it must be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A blob has another size than its descriptor says.
    #[error("blob `{digest}` has {found} bytes, its descriptor says {expected}")]
    WrongSize {
        /// Its digest.
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A blob that must be read whole is over its bound.
    #[error("blob `{digest}` has {size} bytes, over the limit of {limit} for its kind")]
    TooLarge {
        /// Its digest.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The bound.
        limit: u64,
    },
    /// Something lies under a blob's name that is no regular file: a link, a directory, a device.
    #[error("blob `{digest}` is not a regular file")]
    NotAFile {
        /// Its digest.
        digest: Digest,
    },
    /// There is no layout in a directory.
    #[error("there is no layout in `{}`", .path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// A directory is not an OCI image layout, or its `index.json` cannot be understood.
    #[error("`{}` is not a usable OCI image layout: {reason}", .path.display())]
    NotALayout {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A layout points to blobs by a kind of digest that is registered and not supported.
    #[error("`{}` has sha512 digests, and only sha256 is supported", .path.display())]
    Sha512 {
        /// Its `index.json`.
        path: PathBuf,
    },
}

impl StoreError {
    /// What to do about digests that are not supported.
    pub(crate) const SHA256_HELP: &str = "make it again with sha256 digests, which every tool reads";

    /// As the error of a read, of kind `InvalidData`; [`StoreError::from_read`] gets it back.
    pub(crate) fn into_read_error(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }

    /// What a failed read through a [`super::VerifiedReader`] means: the blob's own verdict where there is one, otherwise
    /// the system's error about `path`. Damage is never mistaken for a disk that cannot read, nor the reverse.
    pub fn from_read(error: io::Error, path: impl Into<PathBuf>) -> Self {
        match error.downcast::<Self>() {
            Ok(verdict) => verdict,
            Err(source) => Self::Io { action: "read", path: path.into(), source },
        }
    }
}

impl Failure for StoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Disk,
            Self::Sha512 { .. } => ErrorClass::Config,
            Self::Missing { .. } | Self::Absent { .. } => ErrorClass::Incomplete,
            Self::Corrupt { .. }
            | Self::WrongSize { .. }
            | Self::TooLarge { .. }
            | Self::NotAFile { .. }
            | Self::NotALayout { .. } => ErrorClass::Integrity,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, then run the same command again: finished cells are kept".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("check who owns the state directory, or choose another with `--state DIR`".to_owned())
            }
            Self::Missing { .. } | Self::Absent { .. } | Self::WrongSize { .. } => {
                Some("run `catamaran build`: it brings back what is missing".to_owned())
            }
            Self::Corrupt { .. } | Self::NotAFile { .. } => {
                Some("run `catamaran verify`, then `catamaran build`: it brings back what is damaged".to_owned())
            }
            Self::Sha512 { .. } => Some(Self::SHA256_HELP.to_owned()),
            Self::NotALayout { path, .. } if path.ends_with("index.json") => {
                Some("run `catamaran build`: the blobs are kept and the names are written anew".to_owned())
            }
            Self::NotALayout { .. } => Some(
                "if it was one, run `catamaran build`, which puts right what it can; else move it away or choose another \
                 place with `--state DIR`"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
