use crate::base::{Descriptor, ErrorClass, Failure as _};
use crate::image::{ImageError, closure};
use crate::store::{BlobSource, StoreError};

/// Whether everything behind a descriptor is there with the right sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// All of it.
    Complete {
        /// Different blobs, the root included.
        blobs: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Not all of it.
    Incomplete {
        /// Blobs that are missing or have the wrong size. Where a manifest is among them, what only it refers to is unknown.
        missing: Vec<Descriptor>,
        /// Why, where a manifest or index is there but cannot be followed.
        reason: Option<String>,
    },
}

impl Presence {
    /// Whether it is all there.
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Complete { .. })
    }
}

/// Looks whether the whole closure of an index or manifest is there, for `status`: the manifests on the way are read and
/// verified, all other blobs only looked up. An error means that the disk could not answer.
pub fn presence(source: &dyn BlobSource, root: &Descriptor) -> Result<Presence, StoreError> {
    let blobs = match closure(source, root) {
        Ok(blobs) => blobs,
        Err(ImageError::Store(error)) if error.class() == ErrorClass::Disk => return Err(error),
        Err(error) => {
            let missing = match &error {
                ImageError::Store(StoreError::Missing { digest }) if *digest == root.digest => vec![root.bare()],
                _ => Vec::new(),
            };
            return Ok(Presence::Incomplete { missing, reason: Some(error.to_string()) });
        }
    };
    let mut missing = Vec::new();
    let mut bytes = 0_u64;
    for blob in &blobs {
        // What lies there under the name but is no blob at all counts as absent too.
        match source.size_of(&blob.digest) {
            Ok(Some(size)) if size == blob.size => bytes = bytes.saturating_add(size),
            Err(error) if error.class() == ErrorClass::Disk => return Err(error),
            Ok(_) | Err(_) => missing.push(blob.clone()),
        }
    }
    if missing.is_empty() {
        Ok(Presence::Complete { blobs: blobs.len(), bytes })
    } else {
        Ok(Presence::Incomplete { missing, reason: None })
    }
}
