//! The OCI image layout that all results live in.
//!
//! In: streams of bytes with the digest they must have. Out: verified blobs by digest, and an `index.json` that is never
//! torn. Follows image-spec "image-layout". Synchronous; callers on a runtime go through `spawn_blocking`. This room must
//! not know what builds, pushes or bundles.

mod blob;
#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
mod crash_tests;
mod disk;
mod error;
mod index_file;
mod layout;
#[cfg(test)]
mod layout_tests;

pub use blob::{BlobReader, BlobWriter, VerifiedReader};
pub use error::StoreError;
pub use layout::Layout;

use std::io::{self, Read};
use std::path::PathBuf;

use crate::base::{Descriptor, Digest};

/// Content-addressed blobs that can be read: a layout, or a bundle.
///
/// The trait carries the contract; implementations document only differences.
pub trait BlobSource: Send + Sync {
    /// Size of the blob, or `None` if it is not there. Does not hash it.
    fn size_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError>;

    /// Opens the blob, hashing while it is read: the read that reaches the end fails with an error of kind `InvalidData`
    /// if size or digest are not the descriptor's. Reads that stop early prove nothing.
    fn open(&self, descriptor: &Descriptor) -> Result<VerifiedReader<Box<dyn Read + Send>>, StoreError>;

    /// The whole blob, verified, for small ones: refused if the descriptor's size is over `limit` bytes.
    fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError>;

    /// The blob's bytes from `at` on, not verified: for pieces whose receiver checks the whole.
    fn open_at(&self, descriptor: &Descriptor, at: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        let mut reader = self.open(descriptor)?;
        io::copy(&mut (&mut reader).take(at), &mut io::sink())
            .map_err(|error| StoreError::from_read(error, self.place(&descriptor.digest)))?;
        Ok(Box::new(reader))
    }

    /// Where the blob is, for messages: the path of a file, or of one within a file.
    fn place(&self, digest: &Digest) -> PathBuf {
        PathBuf::from("blobs").join("sha256").join(digest.hex())
    }
}
