use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use url::Url;

use super::RegistryError;
use crate::base::{Digest, Repository, Tag};

/// What a push has to remember so that another process can go on: tags that are about to move, uploads that are open,
/// and what was read back.
///
/// One file of JSON lines, only appended to and, between two pushes, replaced as one act by what still counts. A line that
/// was torn by a crash is the last one and is dropped. The first line names the version; a file of another version is not
/// touched, because tags may be half moved by it.
///
/// One process at a time writes it: the caller holds the lock of the state directory.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: Option<File>,
    state: Remembered,
}

/// What the lines of a journal come to.
#[derive(Debug, Default)]
struct Remembered {
    /// The tags of a release that began to move and were never settled.
    moving: Option<Vec<MovingTag>>,
    /// Releases that are half published for good: their tags move in neither direction as long as nobody mends it.
    stuck: Vec<Vec<MovingTag>>,
    /// Open uploads by repository and blob.
    sessions: BTreeMap<(Repository, Digest), String>,
    /// When the whole image of an index was last read back from a repository, in seconds since 1970.
    confirmed: BTreeMap<(Repository, Digest), i64>,
}

/// A tag of a release that is about to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovingTag {
    /// The repository, its registry included.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// What it shows before, if it is there.
    pub old: Option<Digest>,
    /// What it shall show.
    pub new: Digest,
}

impl MovingTag {
    /// `registry.example/team/name:tag`
    pub(super) fn name(&self) -> String {
        self.repository.tagged(self.tag.clone()).to_string()
    }
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    /// Everything is up and read back; from here on tags move.
    Moving { tags: Vec<MovingTag> },
    /// They all show one release again, the new or the old one.
    Settled,
    /// These releases can be neither finished nor reverted; in place of all that were said to be so before.
    Stuck { releases: Vec<Vec<MovingTag>> },
    /// An upload is open here.
    Session { repository: Repository, digest: Digest, location: String },
    /// It is over, one way or the other.
    SessionOver { repository: Repository, digest: Digest },
    /// The image behind an index was read back whole.
    Confirmed { repository: Repository, index: Digest, at: i64 },
}

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    schema: String,
}

const SCHEMA: &str = "catamaran/journal/v1";
const FILE: &str = "push.jsonl";
/// More than a journal of any release has; a larger file is not read into memory.
const LIMIT: u64 = 64 << 20;
/// How long a read-back is believed when the tag still shows the same index. Registries collect garbage nightly, not while
/// one release follows another.
const BELIEVED_SECONDS: i64 = 3600;

impl Journal {
    /// The journal in `directory`, which is made if it is not there. What an earlier process left is read.
    pub fn open(directory: &Path) -> Result<Self, RegistryError> {
        let path = directory.join(FILE);
        let failed = |source| RegistryError::Journal { path: path.clone(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let state = Remembered::read(&path).map_err(failed)?;
        Ok(Self { inner: Arc::new(Mutex::new(Inner { path, file: None, state })) })
    }

    /// The tags of releases that were interrupted while they moved or are stuck half-way, if there are any. Writes nothing.
    pub fn unfinished(directory: &Path) -> Result<Option<Vec<MovingTag>>, RegistryError> {
        let path = directory.join(FILE);
        match Remembered::read(&path) {
            Ok(state) => {
                let tags: Vec<MovingTag> = state.stuck.into_iter().chain(state.moving).flatten().collect();
                Ok(Some(tags).filter(|tags| !tags.is_empty()))
            }
            Err(source) => Err(RegistryError::Journal { path, source }),
        }
    }

    /// The tags that an earlier process left between two releases.
    pub(super) fn moving(&self) -> Option<Vec<MovingTag>> {
        self.lock().state.moving.clone()
    }

    /// Releases that could be neither finished nor reverted.
    pub(super) fn stuck(&self) -> Vec<Vec<MovingTag>> {
        self.lock().state.stuck.clone()
    }

    /// Says which releases are stuck now; durable when this returns.
    pub(super) fn keep_stuck(&self, releases: Vec<Vec<MovingTag>>) -> Result<(), RegistryError> {
        let mut inner = self.lock();
        if inner.state.stuck == releases {
            return Ok(());
        }
        inner.append(Record::Stuck { releases }, true)
    }

    /// Forgets what these tags, which show something else now, had to do with releases that are stuck.
    pub(super) fn overtaken(&self, tags: &[(Repository, Tag)]) -> Result<(), RegistryError> {
        let is_overtaken = |tag: &MovingTag| tags.iter().any(|(at, name)| *at == tag.repository && *name == tag.tag);
        let mut releases = self.stuck();
        for release in &mut releases {
            release.retain(|tag| !is_overtaken(tag));
        }
        // One tag alone is no mix.
        releases.retain(|release| release.len() > 1);
        self.keep_stuck(releases)
    }

    /// Says that these tags move from here on; durable when this returns.
    pub(super) fn begin_moving(&self, tags: Vec<MovingTag>) -> Result<(), RegistryError> {
        self.lock().append(Record::Moving { tags }, true)
    }

    /// Says that no tag is between two releases any more.
    pub(super) fn settled(&self) -> Result<(), RegistryError> {
        self.lock().append(Record::Settled, false)
    }

    /// Where an earlier process left an upload of this blob.
    pub(super) fn session(&self, repository: &Repository, digest: &Digest) -> Option<Url> {
        self.lock().state.sessions.get(&(repository.clone(), *digest))?.parse().ok()
    }

    pub(super) fn open_session(
        &self,
        repository: &Repository,
        digest: &Digest,
        location: &Url,
    ) -> Result<(), RegistryError> {
        let record =
            Record::Session { repository: repository.clone(), digest: *digest, location: location.to_string() };
        // A process that is killed loses nothing that it wrote; only a power cut could lose the address.
        self.lock().append(record, false)
    }

    pub(super) fn close_session(&self, repository: &Repository, digest: &Digest) -> Result<(), RegistryError> {
        let mut inner = self.lock();
        if !inner.state.sessions.contains_key(&(repository.clone(), *digest)) {
            return Ok(());
        }
        inner.append(Record::SessionOver { repository: repository.clone(), digest: *digest }, false)
    }

    /// All uploads that are still open, which are forgotten by that.
    pub(super) fn take_sessions(&self) -> Result<Vec<(Repository, String)>, RegistryError> {
        let mut inner = self.lock();
        let sessions = inner.state.sessions.clone();
        for (repository, digest) in sessions.keys() {
            inner.append(Record::SessionOver { repository: repository.clone(), digest: *digest }, false)?;
        }
        Ok(sessions.into_iter().map(|((repository, _), location)| (repository, location)).collect())
    }

    /// Whether the whole image behind `index` was read back from here a short while ago.
    pub(super) fn is_confirmed(&self, repository: &Repository, index: &Digest) -> bool {
        let now = jiff::Timestamp::now().as_second();
        let at = self.lock().state.confirmed.get(&(repository.clone(), *index)).copied();
        at.is_some_and(|at| (0..BELIEVED_SECONDS).contains(&(now - at)))
    }

    pub(super) fn confirm(&self, all: Vec<(Repository, Digest)>) -> Result<(), RegistryError> {
        let at = jiff::Timestamp::now().as_second();
        let mut inner = self.lock();
        for (repository, index) in all {
            inner.append(Record::Confirmed { repository, index, at }, false)?;
        }
        Ok(())
    }

    /// Replaces the file by what still counts, as one act, so that it does not grow for ever. Nothing was added, nothing is
    /// done: a push that had nothing to do waits for no disk.
    pub(super) fn compact(&self) -> Result<(), RegistryError> {
        let mut inner = self.lock();
        if inner.file.is_none() {
            return Ok(());
        }
        let failed = |source| RegistryError::Journal { path: inner.path.clone(), source };
        let oldest = jiff::Timestamp::now().as_second() - BELIEVED_SECONDS;
        let mut text = header();
        for record in inner.state.records(oldest) {
            text.push_str(&line(&record));
        }
        let directory = inner.path.parent().unwrap_or_else(|| Path::new("."));
        // Readable by its owner only, as tempfile makes it: locations of uploads may carry signatures.
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().sync_data().map_err(failed)?;
        file.persist(&inner.path).map_err(|error| failed(error.error))?;
        // Else a power cut may bring the old file back, with a release as moving that is not.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        inner.file = None;
        inner.state.confirmed.retain(|_, at| *at >= oldest);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn append(&mut self, record: Record, durable: bool) -> Result<(), RegistryError> {
        let result = self.write(&record, durable);
        self.state.apply(record);
        result.map_err(|source| RegistryError::Journal { path: self.path.clone(), source })
    }

    fn write(&mut self, record: &Record, durable: bool) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
                let length = whole_lines(&mut file)?;
                // A torn line would swallow the next one.
                file.set_len(length)?;
                if length == 0 {
                    file.write_all(header().as_bytes())?;
                    if let Some(directory) = self.path.parent() {
                        File::open(directory)?.sync_all()?;
                    }
                }
                none.insert(file)
            }
        };
        file.write_all(line(record).as_bytes())?;
        if durable { file.sync_data() } else { Ok(()) }
    }
}

/// Bytes up to and including the last line end.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1))
}

fn header() -> String {
    let header = Header { schema: SCHEMA.to_owned() };
    serde_json::to_string(&header).unwrap_or_default() + "\n"
}

fn line(record: &Record) -> String {
    // Strings and numbers only: nothing in a record can fail to be written.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}

impl Remembered {
    fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(LIMIT + 1).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        if bytes.len() as u64 > LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large for a journal"));
        }
        Self::parse(&bytes).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
        let Some(first) = lines.next() else { return Ok(Self::default()) };
        match serde_json::from_slice::<Header>(first) {
            Ok(header) if header.schema == SCHEMA => {}
            Ok(header) => return Err(format!("it was written by another version (`{}`)", header.schema)),
            Err(_) => return Err("it does not begin as a journal".to_owned()),
        }
        let mut state = Self::default();
        for (number, line) in lines.enumerate() {
            // Lines are whole here, so one that cannot be read was not torn: half-moved tags may hide in it.
            let record = serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", number + 2))?;
            state.apply(record);
        }
        Ok(state)
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Moving { tags } => self.moving = Some(tags),
            Record::Settled => self.moving = None,
            Record::Stuck { releases } => self.stuck = releases,
            Record::Session { repository, digest, location } => {
                self.sessions.insert((repository, digest), location);
            }
            Record::SessionOver { repository, digest } => {
                self.sessions.remove(&(repository, digest));
            }
            Record::Confirmed { repository, index, at } => {
                self.confirmed.insert((repository, index), at);
            }
        }
    }

    /// Records that come to the same; read-backs before `oldest` are forgotten.
    fn records(&self, oldest: i64) -> Vec<Record> {
        let sessions = self.sessions.iter().map(|((repository, digest), location)| Record::Session {
            repository: repository.clone(),
            digest: *digest,
            location: location.clone(),
        });
        let confirmed = self.confirmed.iter().filter(|(_, at)| **at >= oldest);
        let confirmed = confirmed.map(|((repository, index), at)| Record::Confirmed {
            repository: repository.clone(),
            index: *index,
            at: *at,
        });
        let moving = self.moving.iter().map(|tags| Record::Moving { tags: tags.clone() });
        let stuck = Some(&self.stuck).filter(|stuck| !stuck.is_empty());
        let stuck = stuck.map(|releases| Record::Stuck { releases: releases.clone() });
        stuck.into_iter().chain(moving).chain(sessions).chain(confirmed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repository(name: &str) -> Repository {
        format!("registry.example/{name}").parse().expect("a repository")
    }

    fn tags() -> Vec<MovingTag> {
        let tag = |name: &str, old: Option<&str>| MovingTag {
            repository: repository(name),
            tag: "stable".parse().expect("a tag"),
            old: old.map(Digest::of),
            new: Digest::of("new"),
        };
        vec![tag("a", Some("old")), tag("b", None)]
    }

    #[test]
    fn what_was_written_is_remembered_by_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let location: Url = "https://registry.example/v2/a/blobs/uploads/1?_state=x".parse().expect("a URL");
        let blob = Digest::of("blob");
        {
            let journal = Journal::open(folder.path()).expect("a journal");
            assert_eq!(Journal::unfinished(folder.path()).expect("readable"), None);
            journal.open_session(&repository("a"), &blob, &location).expect("written");
            journal.confirm(vec![(repository("b"), blob)]).expect("written");
            journal.begin_moving(tags()).expect("written");
        }
        let journal = Journal::open(folder.path()).expect("a journal");
        assert_eq!(journal.moving(), Some(tags()));
        assert_eq!(Journal::unfinished(folder.path()).expect("readable"), Some(tags()));
        assert_eq!(journal.session(&repository("a"), &blob), Some(location.clone()));
        assert!(journal.is_confirmed(&repository("b"), &blob) && !journal.is_confirmed(&repository("a"), &blob));
        journal.settled().expect("written");
        journal.compact().expect("written");
        journal.close_session(&repository("a"), &blob).expect("written");
        let journal = Journal::open(folder.path()).expect("a journal");
        assert_eq!((journal.moving(), journal.session(&repository("a"), &blob)), (None, None));
        assert!(journal.is_confirmed(&repository("b"), &blob));
    }

    #[test]
    fn what_is_not_understood_is_not_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        for text in [
            "{\"schema\":\"catamaran/journal/v9\"}\n",
            "something else\n",
            "{\"schema\":\"catamaran/journal/v1\"}\n{\"record\":\"unheard-of\"}\n",
        ] {
            std::fs::write(&path, text).expect("written");
            let error = Journal::open(folder.path()).expect_err(text);
            assert!(matches!(error, RegistryError::Journal { .. }), "{error}");
        }
    }

    proptest! {
        /// Cut anywhere, as a crash does: what is left is a beginning of what was written, and can be written on.
        #[test]
        fn a_torn_tail_is_dropped(cut in 0_usize..2000) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join(FILE);
            let journal = Journal::open(folder.path()).expect("a journal");
            journal.begin_moving(tags()).expect("written");
            journal.settled().expect("written");
            journal.begin_moving(tags()).expect("written");
            let bytes = std::fs::read(&path).expect("a file");
            let cut = cut.min(bytes.len());
            std::fs::write(&path, &bytes[..cut]).expect("written");
            let lines = String::from_utf8_lossy(&bytes[..cut]).matches('\n').count();
            let journal = Journal::open(folder.path()).expect("a journal");
            prop_assert_eq!(journal.moving().is_some(), lines == 2 || lines == 4);
            journal.begin_moving(tags()).expect("written");
            prop_assert_eq!(Journal::open(folder.path()).expect("a journal").moving(), Some(tags()));
        }
    }
}
