use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use super::BundleError;

/// Where the magic of a tar stands (POSIX.1-1988, ustar).
const MAGIC: std::ops::Range<usize> = 257..262;

/// Refuses a destination that a bundle must not take the place of: a directory, a device, or a file that is no tar. A slip on
/// the command line would cost a source.
pub fn check_destination(path: &Path) -> Result<(), BundleError> {
    let io = |source| BundleError::Io { action: "look at", path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io(source)),
    };
    let occupied = |what| Err(BundleError::Occupied { path: path.to_owned(), what });
    if metadata.is_dir() {
        return occupied("a directory");
    }
    if !metadata.is_file() {
        return occupied("no regular file");
    }
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(512).read_to_end(&mut head)).map_err(io)?;
    match head.get(MAGIC) {
        _ if head.is_empty() => Ok(()),
        Some(b"ustar") => Ok(()),
        _ => occupied("there, and is no bundle"),
    }
}
