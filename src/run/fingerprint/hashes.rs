use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::base::{Digest, DigestHasher};
use crate::engine::buildkit::{InventoryEntry, LocalTree};
use crate::run::state::write_atomically;

/// Digests of files, remembered from run to run by what the file system says of each.
///
/// ```text
/// catamaran hashes 1\n   then rows of 84 bytes, little-endian, then the sha256 of all before it
/// row: path hash 8, device 8, inode 8, size 8, modified 8, changed 8, mode 4, digest 32
/// ```
///
/// A file that another version wrote, or that is torn, is ignored: all files are then read again.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    rows: Mutex<HashMap<u64, Row>>,
    changed: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    stamp: Stamp,
    digest: Digest,
    used: bool,
}

/// What the file system says of a file. Any write changes at least the last time, which nobody can set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i64,
    changed: i64,
    mode: u32,
}

const MAGIC: &[u8] = b"catamaran hashes 1\n";
const ROW: usize = 84;
/// A file over this is not ours: ten million files.
const LIMIT: u64 = 1 << 30;
/// Rows of files that nobody asked for, beyond which they are dropped: contexts come and go.
const SPARE: usize = 100_000;

/// Times of files come from the kernel's clock tick, which lags by up to 10 ms. A file that changed within this before it
/// was read may have changed again in the same tick, without a trace: git calls such an entry racy.
pub(in crate::run) const TICK: Duration = Duration::from_millis(20);

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The latest time that a file can bear and be certain not to have changed after `time`.
pub(super) fn settled_before(time: SystemTime) -> i64 {
    nanoseconds(time).saturating_sub(i64::try_from(TICK.as_nanos()).unwrap_or(0))
}

impl Stamp {
    const fn of(entry: &InventoryEntry) -> Self {
        Self {
            device: entry.identity.0,
            inode: entry.identity.1,
            size: entry.size,
            modified: entry.modified,
            changed: entry.changed,
            mode: entry.mode,
        }
    }
}

impl Hashes {
    /// What was remembered; nothing where that cannot be read or understood.
    pub(super) fn load(path: &Path) -> Self {
        let rows = read(path).and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Self { rows: Mutex::new(rows), changed: AtomicBool::new(false) }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<u64, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digests of those of `entries` that are remembered as they are now, in their order.
    pub(super) fn known<'e>(
        &self,
        directory: &Path,
        entries: impl Iterator<Item = &'e InventoryEntry>,
    ) -> Vec<Option<Digest>> {
        let mut rows = self.rows();
        let key = PathHash::of(directory);
        let one = |entry: &InventoryEntry| {
            let row = rows.get_mut(&key.below(&entry.path)).filter(|row| row.stamp == Stamp::of(entry))?;
            row.used = true;
            Some(row.digest)
        };
        entries.map(one).collect()
    }

    /// Reads a file and remembers its digest. An error where it is not the file of `entry` from the first byte to the last.
    pub(super) fn read(&self, directory: &Path, tree: &LocalTree, entry: &InventoryEntry) -> io::Result<Digest> {
        let now = SystemTime::now();
        let mut file = tree.file(&entry.path)?;
        let mut hasher = DigestHasher::new();
        let mut buffer = vec![0; 128 << 10];
        let mut seen = 0_u64;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    seen += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if seen > entry.size {
                break;
            }
        }
        // Afterwards: whatever happened before or meanwhile shows in the time of the last change.
        if seen != entry.size || !is_still(&file, entry)? {
            return Err(io::Error::other("it changes while it is read"));
        }
        let digest = hasher.finish();
        if entry.changed.max(entry.modified) < settled_before(now) {
            let row = Row { stamp: Stamp::of(entry), digest, used: true };
            self.rows().insert(PathHash::of(directory).below(&entry.path), row);
            self.changed.store(true, Ordering::Relaxed);
        }
        Ok(digest)
    }

    /// Remembers a digest that is known without reading the file, if the file has not changed just now.
    pub(super) fn remember(&self, directory: &Path, entry: &InventoryEntry, digest: Digest) {
        if entry.changed.max(entry.modified) < settled_before(SystemTime::now()) {
            let row = Row { stamp: Stamp::of(entry), digest, used: true };
            self.rows().insert(PathHash::of(directory).below(&entry.path), row);
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// Writes what is remembered, if that is more than what was read.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let bytes = self.to_bytes();
        write_atomically(path, &bytes)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let rows = self.rows();
        let used = rows.values().filter(|row| row.used).count();
        let all = rows.len() <= used * 2 + SPARE;
        let mut bytes = Vec::with_capacity(MAGIC.len() + rows.len() * ROW + 32);
        bytes.extend_from_slice(MAGIC);
        for (key, row) in rows.iter().filter(|(_, row)| all || row.used) {
            let Stamp { device, inode, size, modified, changed, mode } = row.stamp;
            for number in [*key, device, inode, size, modified.cast_unsigned(), changed.cast_unsigned()] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&mode.to_le_bytes());
            bytes.extend_from_slice(row.digest.raw());
        }
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.raw());
        bytes
    }
}

/// Whether an open file is the one that was listed.
fn is_still(file: &File, entry: &InventoryEntry) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let found = file.metadata()?;
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    // As the walk has it: a whole second may be as late as its end.
    let rest = if found.ctime_nsec() == 0 { 999_999_999 } else { found.ctime_nsec() };
    Ok(found.is_file()
        && found.len() == entry.size
        && (found.dev(), found.ino()) == entry.identity
        && nanoseconds(found.mtime(), found.mtime_nsec()) == entry.modified
        && nanoseconds(found.ctime(), rest) == entry.changed)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn parse(bytes: &[u8]) -> Option<HashMap<u64, Row>> {
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Digest::of(body).raw() != digest {
        return None;
    }
    let rows = body.strip_prefix(MAGIC)?;
    let (rows, rest) = rows.as_chunks::<ROW>();
    if !rest.is_empty() {
        return None;
    }
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let number = |at: usize| row[at * 8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let stamp = Stamp {
            device: number(1),
            inode: number(2),
            size: number(3),
            modified: number(4).cast_signed(),
            changed: number(5).cast_signed(),
            mode: row[48..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)),
        };
        let digest = Digest::from_raw(*row[52..].first_chunk()?);
        found.insert(number(0), Row { stamp, digest, used: false });
    }
    Some(found)
}

/// A path in 64 bits (FNV-1a). Two paths of one hash only forget each other: what a row holds is checked against the file.
#[derive(Debug, Clone, Copy)]
struct PathHash(u64);

impl PathHash {
    fn of(directory: &Path) -> Self {
        Self(0xcbf2_9ce4_8422_2325).with(directory.as_os_str().as_encoded_bytes()).with(b"/")
    }

    fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    fn below(self, path: &str) -> u64 {
        self.with(path.as_bytes()).0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::buildkit::Selection;

    fn listed(root: &Path) -> (LocalTree, Vec<InventoryEntry>) {
        let tree = LocalTree::open(root, &[], &[]).expect("it is there");
        let entries = tree.inventory(&Selection::default()).expect("it can be read").entries;
        (tree, entries)
    }

    #[test]
    fn only_what_has_settled_is_remembered() {
        let directory = tempfile::tempdir().expect("a folder");
        let root = directory.path().join("context");
        fs::create_dir(&root).expect("a folder");
        fs::write(root.join("a"), "one").expect("a file");
        let hashes = Hashes::default();
        let (tree, entries) = listed(&root);
        assert_eq!(hashes.read(&root, &tree, &entries[0]).expect("it can be read"), Digest::of("one"));
        assert_eq!(hashes.known(&root, entries.iter()), [None], "another write in the same tick would not show");
        std::thread::sleep(TICK * 2);
        hashes.read(&root, &tree, &entries[0]).expect("it can be read");
        assert_eq!(hashes.known(&root, entries.iter()), [Some(Digest::of("one"))]);
        // The same length, and the old time set again: what cannot be set is the time of the last change.
        let time = fs::metadata(root.join("a")).expect("it is there").modified().expect("a time");
        fs::write(root.join("a"), "two").expect("a file");
        File::options().write(true).open(root.join("a")).expect("a file").set_modified(time).expect("it is ours");
        assert!(hashes.read(&root, &tree, &entries[0]).is_err(), "it is not what was listed");
        let (_, entries) = listed(&root);
        assert_eq!(hashes.known(&root, entries.iter()), [None]);
    }

    #[test]
    fn it_comes_back_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a folder");
        let root = directory.path().join("context");
        fs::create_dir(&root).expect("a folder");
        for name in ["a", "b", "c"] {
            fs::write(root.join(name), name).expect("a file");
        }
        std::thread::sleep(TICK * 2);
        let hashes = Hashes::default();
        let (tree, entries) = listed(&root);
        for entry in &entries {
            hashes.read(&root, &tree, entry).expect("it can be read");
        }
        let file = directory.path().join("hashes");
        hashes.save(&file).expect("it can be written");
        let expected: Vec<Option<Digest>> = ["a", "b", "c"].iter().map(|text| Some(Digest::of(text))).collect();
        assert_eq!(Hashes::load(&file).known(&root, entries.iter()), expected);
        let bytes = fs::read(&file).expect("it is there");
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert!(parse(&torn).is_none(), "byte {at}");
            assert!(parse(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
