use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;

/// How often the list of locks is read before a lock counts as free.
const LOOKS: usize = 3;

/// An advisory lock (flock(2)) on a file, held until dropped. The kernel releases it when its holder dies, however it dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock now or not at all; `None` if somebody else holds it. The file is made if it is missing and is never
    /// removed: removing a lock file lets two holders lock two files of one name.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        // Opened for writing because NFS emulates flock with fcntl locks, which need it.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file would do, were it not for a child that was forked in this moment and still holds a copy.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// The process that holds a lock on the file at `path`, as `/proc/locks` tells it. `None` if nobody does, or if the holder
/// is not visible from this process namespace.
pub fn lock_holder(path: &Path) -> Option<u32> {
    let meta = std::fs::metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    // The kernel writes the list piece by piece: one that changes meanwhile may lack an entry.
    (0..LOOKS).find_map(|_| holder_of(&std::fs::read_to_string("/proc/locks").ok()?, &file))
}

/// `proc_locks(5)`: `1: FLOCK ADVISORY WRITE 708 00:13:7349 0 EOF`; a waiter has `->` after the number.
fn holder_of(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let held = fields.get(1) != Some(&"->") && fields.get(5) == Some(&file);
        held.then(|| fields.get(4)?.parse().ok().filter(|pid| *pid != 0)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_the_first_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        assert_eq!(lock_holder(&path), None);
        let held = FileLock::try_take(&path).expect("lockable").expect("free");
        assert!(FileLock::try_take(&path).expect("lockable").is_none());
        assert_eq!(lock_holder(&path), Some(std::process::id()));
        drop(held);
        assert!(FileLock::try_take(&path).expect("lockable").is_some());
    }

    #[test]
    fn a_waiter_is_not_the_holder() {
        let locks = "1: -> FLOCK  ADVISORY  WRITE 7 fe:00:12 0 EOF\n2: FLOCK  ADVISORY  WRITE 9 fe:00:12 0 EOF\n";
        assert_eq!(holder_of(locks, "fe:00:12"), Some(9));
        assert_eq!(holder_of(locks, "fe:00:13"), None);
        assert_eq!(holder_of("1: OFDLCK ADVISORY WRITE -1 fe:00:12 0 EOF", "fe:00:12"), None);
    }
}
