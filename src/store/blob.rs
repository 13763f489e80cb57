use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::disk::Temporary;
use super::{Layout, StoreError};
use crate::base::{Descriptor, Digest, DigestHasher};

/// A blob being written: hashed on the way, invisible until [`BlobWriter::commit`], removed if dropped before.
///
/// Many writers, also of one digest and also in several processes, may work at once: each has a temporary file of its own
/// and the last rename of equal bytes changes nothing.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    file: Temporary,
    hasher: DigestHasher,
    written: u64,
}

impl BlobWriter {
    pub(super) fn new(layout: Layout, file: Temporary) -> Self {
        Self { layout, file, hasher: DigestHasher::new(), written: 0 }
    }

    /// The blob's beginning as an earlier writer left it, hashed again.
    pub(super) fn resumed(layout: Layout, file: Temporary, hasher: DigestHasher, written: u64) -> Self {
        Self { layout, file, hasher, written }
    }

    /// Whether the bytes so far stay when this is dropped before [`BlobWriter::commit`], for [`Layout::resume`] to go on
    /// with. Only for writers that come from there: others have no name to be found by.
    pub fn keep_partial(&mut self, keep: bool) {
        self.file.keep(keep);
    }

    /// Bytes taken so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Takes the next bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Starts again at the first byte.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.clear()?;
        self.hasher = DigestHasher::new();
        self.written = 0;
        Ok(())
    }

    /// Makes the blob durable and visible under its digest.
    ///
    /// Checks size and digest where they are given, before anything becomes visible. When this returns, the bytes and their
    /// name survive a power cut. A blob that is there already with the right size is kept as it is.
    pub fn commit(mut self, expected: Option<Digest>, size: Option<u64>) -> Result<(Digest, u64), StoreError> {
        // Whatever is wrong from here on, these bytes are nothing to go on with.
        self.file.keep(false);
        let digest = self.hasher.finish();
        if let Some(expected) = expected
            && expected != digest
        {
            return Err(StoreError::Corrupt { expected, found: digest });
        }
        if let Some(size) = size
            && size != self.written
        {
            return Err(StoreError::WrongSize { digest, expected: size, found: self.written });
        }
        self.layout.install(self.file, &digest, self.written)?;
        Ok((digest, self.written))
    }
}

/// A blob opened for reading at any offset, its size known, its digest not checked.
///
/// For ranged reads whose receiver checks the whole, as the builder does. Everything else uses [`VerifiedReader`].
#[derive(Debug)]
pub struct BlobReader {
    /// The open file.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

/// Hashes what is read through it and refuses to reach the end if size or digest are not the expected ones.
#[derive(Debug)]
pub struct VerifiedReader<R> {
    inner: R,
    hasher: Option<DigestHasher>,
    expected: Digest,
    size: u64,
    seen: u64,
}

impl<R: Read> VerifiedReader<R> {
    /// Reads `inner`, which must hold exactly the blob of `descriptor`.
    pub fn new(inner: R, descriptor: &Descriptor) -> Self {
        Self { inner, hasher: Some(DigestHasher::new()), expected: descriptor.digest, size: descriptor.size, seen: 0 }
    }

    fn wrong_size(&self, found: u64) -> io::Error {
        StoreError::WrongSize { digest: self.expected, expected: self.size, found }.into_read_error()
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        self.seen += count as u64;
        if self.seen > self.size {
            // How much longer is not worth reading: one byte too many is enough.
            return Err(self.wrong_size(self.seen));
        }
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        if self.seen < self.size {
            return Err(self.wrong_size(self.seen));
        }
        if let Some(hasher) = self.hasher.take() {
            let found = hasher.finish();
            if found != self.expected {
                return Err(StoreError::Corrupt { expected: self.expected, found }.into_read_error());
            }
        }
        Ok(0)
    }
}

/// Where a blob with `digest` is kept below a layout's root (image-spec, "image-layout", Blobs).
pub(super) fn blob_path(root: &std::path::Path, digest: &Digest) -> PathBuf {
    let mut path = root.join("blobs");
    path.push("sha256");
    path.push(digest.hex());
    path
}
