use crate::base::{Digest, ErrorClass, Failure, Platform, Reference};
use crate::store::StoreError;

/// Why an image is not what it must be, or an index cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The layout or bundle could not give or take a blob.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A manifest, index or config cannot be understood, or means two things at once.
    #[error("{what} `{digest}` is malformed: {reason}")]
    Malformed {
        /// `manifest`, `index` or `config`.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// A manifest or index points to blobs by a kind of digest that is registered and not supported.
    #[error("{what} `{digest}` has sha512 digests, and only sha256 is supported")]
    Sha512 {
        /// `manifest` or `index`.
        what: &'static str,
        /// Its own digest.
        digest: Digest,
    },
    /// A descriptor points to something else than an image where one is needed.
    #[error("`{digest}` is not an image: its type is `{media_type}`")]
    NotAnImage {
        /// Its digest.
        digest: Digest,
        /// Its media type, or that of its config.
        media_type: String,
    },
    /// An image is for another platform than it must be.
    #[error("image `{digest}` is for {found}, not {wanted}")]
    WrongPlatform {
        /// Digest of its manifest.
        digest: Digest,
        /// What it must be for.
        wanted: Box<Platform>,
        /// What its config says.
        found: String,
    },
    /// An index would have two images for one platform: readers would take either.
    #[error("two images for {platform}: `{first}` and `{second}`")]
    DuplicatePlatform {
        /// The platform.
        platform: Box<Platform>,
        /// One manifest.
        first: Digest,
        /// The other.
        second: Digest,
    },
    /// An index lacks a platform that was asked for.
    #[error("index `{index}` has no image for {platform}")]
    NoSuchPlatform {
        /// The index.
        index: Digest,
        /// The platform.
        platform: Box<Platform>,
    },
    /// An index of no images would be written.
    #[error("an index needs at least one image")]
    Empty,
    /// Following references went too deep or too far.
    #[error("`{digest}` refers to more than can be followed: {reason}")]
    Unbounded {
        /// Where it was noticed.
        digest: Digest,
        /// Which bound was met.
        reason: String,
    },
    /// Two descriptors give one blob different sizes.
    #[error("blob `{digest}` is said to have {first} and {second} bytes")]
    Conflict {
        /// The blob.
        digest: Digest,
        /// One size.
        first: u64,
        /// The other.
        second: u64,
    },
    /// A name would be given to something that is not all there.
    #[error("`{reference}` cannot be named: blob `{digest}` is missing")]
    Incomplete {
        /// The name.
        reference: Box<Reference>,
        /// The first blob that is missing or has the wrong size.
        digest: Digest,
    },
}

impl Failure for ImageError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Incomplete { .. } => ErrorClass::Incomplete,
            Self::Sha512 { .. } => ErrorClass::Config,
            Self::Empty => ErrorClass::Internal,
            Self::Malformed { .. }
            | Self::NotAnImage { .. }
            | Self::WrongPlatform { .. }
            | Self::DuplicatePlatform { .. }
            | Self::NoSuchPlatform { .. }
            | Self::Unbounded { .. }
            | Self::Conflict { .. } => ErrorClass::Integrity,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Sha512 { .. } => Some(StoreError::SHA256_HELP.to_owned()),
            Self::Incomplete { .. } => Some("run `catamaran build`: it brings back what is missing".to_owned()),
            Self::WrongPlatform { wanted, .. } => {
                Some(format!("check that every FROM of the final stage has {wanted}, and that none pins `--platform`"))
            }
            _ => None,
        }
    }
}
