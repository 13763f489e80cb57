use std::io;
use std::path::PathBuf;

use crate::base::{ByteSize, ComponentName, Digest, ErrorClass, Failure, InvalidReference, Platform, Reference};
use crate::image::ImageError;
use crate::store::StoreError;

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file system refused an operation.
    #[error("cannot {action} `{}`", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The target's file system is too small, known before the first byte.
    #[error("`{}` needs {}, its file system has {} left", .path.display(), ByteSize(*.needed), ByteSize(*.free))]
    NoSpace {
        /// The file to be written.
        path: PathBuf,
        /// Bytes of the bundle.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A blob of a release is not in the layout.
    #[error("{}: blob `{digest}` is missing", cell(.component, .platform.as_deref()))]
    Missing {
        /// The component or external.
        component: ComponentName,
        /// The platform, where it is one's.
        platform: Option<Box<Platform>>,
        /// The blob.
        digest: Digest,
    },
    /// An image of a release is not what it must be.
    #[error("{}", cell(.component, .platform.as_deref()))]
    Image {
        /// The component or external.
        component: ComponentName,
        /// The platform, where it is one's.
        platform: Option<Box<Platform>>,
        /// What is wrong.
        source: Box<ImageError>,
    },
    /// A blob could not be read while it was copied.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two images of a release would have one name.
    #[error("two images are called `{reference}`")]
    DuplicateName {
        /// The name.
        reference: Box<Reference>,
    },
    /// Two images of a release would have one name for docker and podman, where each platform has a name of its own.
    #[error("`{first}` and `{second}` would both be `{name}` for docker and podman")]
    SharedName {
        /// One component.
        first: ComponentName,
        /// The other.
        second: ComponentName,
        /// The name.
        name: String,
    },
    /// An image has a name that no importer can use.
    #[error("`{reference}` cannot name an image in a bundle")]
    BadName {
        /// The name.
        reference: Box<Reference>,
        /// Why, where it is about the name with a platform's suffix.
        source: Option<Box<InvalidReference>>,
    },
    /// A blob is larger than a USTAR header can say.
    #[error("blob `{digest}` has {}, over the 8 GiB that one entry of a plain tar can have", ByteSize(*.size))]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// The file ends too early.
    #[error("`{}` is truncated at byte {at}{}", .path.display(), .missing.map(|digest| format!(": the first blob that is not whole is `{digest}`")).unwrap_or_default())]
    Truncated {
        /// The bundle.
        path: PathBuf,
        /// Its size in bytes.
        at: u64,
        /// The first blob that is not all there, where the contents lock was read.
        missing: Option<Digest>,
    },
    /// The file is no bundle, or a damaged one.
    #[error("`{}` is not a usable bundle: {reason}", .path.display())]
    Malformed {
        /// The bundle.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// The file was written by a later version.
    #[error("`{}` has the format `{schema}`, this version reads `{}`", .path.display(), super::contents::SCHEMA)]
    NewerFormat {
        /// The bundle.
        path: PathBuf,
        /// Its format.
        schema: String,
    },
    /// What is in the bundle's place is not to be replaced.
    #[error("`{}` is {what}", .path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// It was stopped.
    #[error("writing the bundle was cancelled")]
    Cancelled,
}

/// `nginx/arm64`, or `nginx` where it is not about one platform.
fn cell(component: &ComponentName, platform: Option<&Platform>) -> String {
    platform.map_or_else(|| component.to_string(), |platform| format!("{component}/{}", platform.short()))
}

impl Failure for BundleError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } | Self::NoSpace { .. } => ErrorClass::Disk,
            Self::Missing { .. } => ErrorClass::Incomplete,
            Self::Image { source, .. } => source.class(),
            Self::Store(error) => error.class(),
            Self::DuplicateName { .. } | Self::SharedName { .. } | Self::BadName { .. } | Self::Occupied { .. } => {
                ErrorClass::Config
            }
            Self::TooLarge { .. } | Self::NewerFormat { .. } => ErrorClass::Unsupported,
            Self::Truncated { .. } | Self::Malformed { .. } => ErrorClass::Integrity,
            Self::Cancelled => ErrorClass::Cancelled,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("look at the path: the file, or the folder that it is to be in, is not there".to_owned())
            }
            Self::Missing { .. } => Some("run `catamaran build`: it brings back what is missing".to_owned()),
            Self::Image { source, .. } => source.help(),
            Self::Store(error) => error.help(),
            Self::SharedName { first, second, .. } => Some(format!(
                "give `{first}` or `{second}` another image or tag: in a bundle each platform has a name of its own, the \
                 tag with the platform behind it"
            )),
            Self::NoSpace { .. } => Some("free some space, or write to another file system".to_owned()),
            Self::Truncated { .. } | Self::Malformed { .. } => {
                Some("copy or download it again, and compare its size with the original's".to_owned())
            }
            Self::Occupied { .. } => Some("give the bundle another name, or take away what is there".to_owned()),
            Self::NewerFormat { .. } => Some("use the version of catamaran that wrote it, or a later one".to_owned()),
            _ => None,
        }
    }
}
