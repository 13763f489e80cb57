use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Reads text files on behalf of rooms that do no I/O. Paths are as `config` resolved them.
pub trait ReadText {
    /// The whole text of the file at `path`.
    ///
    /// Errors keep their kind (`NotFound`, `PermissionDenied`); a file that is not UTF-8 is `InvalidData`, one over the
    /// limit `FileTooLarge`.
    fn read_text(&self, path: &Path) -> io::Result<String>;

    /// Whether there is a directory at `path`.
    fn is_directory(&self, path: &Path) -> bool;
}

/// Text files on disk, up to a bounded size.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

/// The largest text file that is read: beyond every real project file and Dockerfile, far below what would hurt.
pub(crate) const MAX_TEXT_BYTES: u64 = 16 * 1024 * 1024;

impl ReadText for DiskFiles {
    fn read_text(&self, path: &Path) -> io::Result<String> {
        // Before it is opened: a fifo would block for ever, a device never ends.
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            let kind = if metadata.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
            return Err(io::Error::new(kind, "not a regular file"));
        }
        let file = File::open(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_TEXT_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 at byte {at}"))
        })
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}
