use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A part of an open file, read without a position of its own in it: many can be read at once.
#[derive(Debug)]
pub(super) struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Section {
    /// `size` bytes from `at` on.
    pub(super) const fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Self { file, at, left: size }
    }

    /// The same without its first `count` bytes.
    pub(super) fn after(self, count: u64) -> Self {
        let count = count.min(self.left);
        Self { file: self.file, at: self.at + count, left: self.left - count }
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
