//! The few file operations that the layout's promise rests on, in one place so that tests can watch and break each.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::StoreError;

/// A file under a temporary name, on the file system of the blobs, removed when it is dropped.
///
/// It is locked as long as it is open: that is how [`sweep`] tells the file of a living writer, in whatever process, from one
/// that a killed process left.
#[derive(Debug)]
pub(super) struct Temporary {
    /// `None` once it has its final name.
    path: Option<PathBuf>,
    file: File,
    /// Whether it stays when it is dropped, for a later run to go on with.
    kept: bool,
}

/// Names of files that a later run may go on with begin so.
const PARTIAL: &str = "part-";

/// How long a partial file may lie before it counts as given up.
const PARTIAL_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Temporary {
    /// A new file in `directory`.
    pub(super) fn create(directory: &Path) -> Result<Self, StoreError> {
        let error = |source| io_error("create a file in", directory, source);
        loop {
            step(Step::Create).map_err(error)?;
            let named = tempfile::Builder::new().prefix("blob-").tempfile_in(directory).map_err(error)?;
            let (file, path) = named.keep().map_err(|failed| error(failed.error))?;
            let temporary = Self { path: Some(path), file, kept: false };
            temporary.file.lock().map_err(error)?;
            // Between creating and locking it a sweep may have taken it for an orphan.
            if rustix::fs::fstat(&temporary.file).map_err(|errno| error(errno.into()))?.st_nlink > 0 {
                return Ok(temporary);
            }
        }
    }

    /// The file in `directory` that holds the beginning of `name`, made if it is not there. Its bytes are read through
    /// `seen`, and writing goes on behind them. `None` if another writer has it.
    pub(super) fn resume(
        directory: &Path,
        name: &str,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<Option<Self>, StoreError> {
        let path = directory.join(format!("{PARTIAL}{name}"));
        let error = |source| io_error("open", &path, source);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        step(Step::Create).map_err(error)?;
        let opened = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(opened.map_err(|errno| error(errno.into()))?);
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let state = rustix::fs::fstat(&file).map_err(|errno| error(errno.into()))?;
        // What is swept or published between opening and locking has another name, or none.
        if state.st_nlink != 1 || look(&path)? != Found::File(u64::try_from(state.st_size).unwrap_or(0)) {
            return Ok(None);
        }
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Some(Self { path: Some(path), file, kept: false })),
                Ok(count) => seen(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(io_error("read", &path, source)),
            }
        }
    }

    /// Whether it stays when it is dropped.
    pub(super) fn keep(&mut self, kept: bool) {
        self.kept = kept;
    }

    /// Where it is.
    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Writes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        step(Step::Write { file: self.path(), bytes })
            .and_then(|()| self.file.write_all(bytes))
            .map_err(|source| io_error("write", self.path(), source))
    }

    /// Empties it.
    pub(super) fn clear(&mut self) -> Result<(), StoreError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|source| io_error("truncate", self.path(), source))
    }

    /// Makes its bytes durable and gives it the name `target`, in place of what is there. The name itself is durable only
    /// after an fsync of the directory.
    ///
    /// Where the fsync fails the bytes are lost, and asking again would answer that all is well (the kernel drops the dirty
    /// pages with the error): so it is removed, and must be written anew from its source.
    pub(super) fn publish(mut self, target: &Path) -> Result<(), StoreError> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(0o644))
            .map_err(|errno| io_error("set the mode of", self.path(), errno.into()))?;
        step(Step::SyncFile { file: self.path() })
            .and_then(|()| self.file.sync_all())
            .map_err(|source| io_error("write", self.path(), source))?;
        step(Step::Rename { from: self.path(), to: target })
            .and_then(|()| fs::rename(self.path(), target))
            .map_err(|source| io_error("rename a file to", target, source))?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| !self.kept) {
            // Nothing can be done about a failure here; what stays is swept by a later run.
            fs::remove_file(path).ok();
        }
    }
}

/// Removes the temporary files in `directory` that nobody holds, but for young ones that a transfer may go on with; tells
/// how many.
pub(super) fn sweep(directory: &Path) -> Result<usize, StoreError> {
    let mut removed = 0;
    for entry in fs::read_dir(directory).map_err(|source| io_error("list", directory, source))? {
        let path = entry.map_err(|source| io_error("list", directory, source))?.path();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Ok(descriptor) = rustix::fs::open(&path, flags, Mode::empty()) else { continue };
        let file = File::from(descriptor);
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL)) && is_young(&file) {
            continue;
        }
        // The lock is kept while it is removed, so that its writer, if it has just made it, notices (see `create`).
        if file.try_lock().is_ok() && fs::remove_file(&path).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a file was written to not long ago. What cannot be told counts as old: it costs a transfer, not a disk.
fn is_young(file: &File) -> bool {
    let age = file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age < PARTIAL_AGE)
}

/// Makes the names in a directory durable, one fsync for all threads that wait for one at the same time.
///
/// Whoever comes while an fsync runs cannot rely on it (it may have begun before its rename), but all who come then share
/// the next one. After one that failed nobody can rely on any: the kernel tells an error once, and what it was about is lost.
#[derive(Debug, Default)]
pub(super) struct DirectorySync {
    asked: AtomicU64,
    failed: AtomicBool,
    /// Every request up to this number is durable.
    done: Mutex<u64>,
}

impl DirectorySync {
    /// Returns when every rename in `directory` that this thread did before is durable.
    pub(super) fn sync(&self, directory: &Path) -> Result<(), StoreError> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *done >= ticket {
            return Ok(());
        }
        if self.failed.load(Ordering::SeqCst) {
            let source = io::Error::other("an earlier attempt failed, so what was written may be lost");
            return Err(io_error("write the directory", directory, source));
        }
        let covered = self.asked.load(Ordering::SeqCst);
        sync_directory(directory).inspect_err(|_| self.failed.store(true, Ordering::SeqCst))?;
        *done = covered;
        Ok(())
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    step(Step::SyncDirectory { directory })
        .and_then(|()| File::open(directory))
        .and_then(|handle| handle.sync_all())
        .map_err(|source| io_error("write the directory", directory, source))
}

/// What lies under a name, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A regular file of this size.
    File(u64),
    /// A directory.
    Directory,
    /// A link, a device, a socket or a pipe.
    Other,
}

/// Looks what lies under a name.
pub(super) fn look(path: &Path) -> Result<Found, StoreError> {
    match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(state) => Ok(match FileType::from_raw_mode(state.st_mode) {
            FileType::RegularFile => Found::File(u64::try_from(state.st_size).unwrap_or(0)),
            FileType::Directory => Found::Directory,
            _ => Found::Other,
        }),
        Err(rustix::io::Errno::NOENT) => Ok(Found::Nothing),
        Err(errno) => Err(io_error("stat", path, errno.into())),
    }
}

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}

/// An operation, before it is done.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests look at the details"))]
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// A temporary file is made.
    Create,
    /// Bytes are written to it.
    Write { file: &'a Path, bytes: &'a [u8] },
    /// They are made durable.
    SyncFile { file: &'a Path },
    /// It gets its final name.
    Rename { from: &'a Path, to: &'a Path },
    /// The name is made durable.
    SyncDirectory { directory: &'a Path },
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "under test it can fail")]
const fn step(_: Step<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use super::crash_tests::step;
