use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use tempfile::{Builder, NamedTempFile};

const PREFIX: &str = ".catamaran-";
const SUFFIX: &str = ".tar.part";

/// A bundle while it is written: beside its place, so that a rename never crosses a file system, and /tmp may be small.
///
/// Without a name where the file system can do that, so that even a killed write leaves nothing. Elsewhere under a name and
/// locked: [`sweep`] tells by the lock what nobody writes any more.
pub(super) enum Part {
    Unnamed(File),
    Named(NamedTempFile),
}

impl Part {
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o600);
        match open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(file) => Ok(Self::Unnamed(File::from(file))),
            // Which error says that a file system or kernel cannot do it differs; a real one comes again below.
            Err(_) => Self::named(directory),
        }
    }

    fn named(directory: &Path) -> io::Result<Self> {
        let part = Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(directory)?;
        // Nobody else can have locked what is new; a file system without locks only keeps more than it must.
        drop(part.as_file().try_lock());
        Ok(Self::Named(part))
    }

    pub(super) fn file(&self) -> &File {
        match self {
            Self::Unnamed(file) => file,
            Self::Named(part) => part.as_file(),
        }
    }

    /// Gives it its name, in place of whatever has it. Only a rename replaces a file, so it has another name for a moment.
    pub(super) fn persist(self, directory: &Path, destination: &Path) -> io::Result<()> {
        match self {
            Self::Named(part) => part.persist(destination).map(drop).map_err(|failed| failed.error),
            Self::Unnamed(file) => {
                // open(2), O_TMPFILE: linking through /proc needs no privilege, unlike AT_EMPTY_PATH.
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                let link = |path: &Path| Ok(linkat(CWD, &own, CWD, path, AtFlags::SYMLINK_FOLLOW)?);
                let named = Builder::new().prefix(PREFIX).suffix(SUFFIX).make_in(directory, link)?;
                named.persist(destination).map(drop).map_err(|failed| failed.error)
            }
        }
    }
}

/// Removes what killed writes left in `directory`. What cannot be removed or is being written stays: it harms nobody.
pub(super) fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::options().write(true).open(&path) else { continue };
        if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            drop(fs::remove_file(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_part_becomes_the_file_and_leaves_nothing_else() {
        for make in [Part::create, Part::named] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let destination = directory.path().join("release.tar");
            fs::write(&destination, "old").expect("writable");
            let part = make(directory.path()).expect("it can be made");
            part.file().set_len(7).expect("writable");
            part.persist(directory.path(), &destination).expect("it has a name");
            assert_eq!(fs::read(&destination).expect("readable"), [0; 7]);
            assert_eq!(names(directory.path()), ["release.tar"]);
        }
    }

    #[test]
    fn leftovers_go_and_what_is_being_written_stays() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let Part::Named(written) = Part::named(directory.path()).expect("it can be made") else { panic!("no name") };
        for name in [".catamaran-a1b2.tar.part", ".catamaran-a1b2.tar", "x.tar.part"] {
            fs::write(directory.path().join(name), "x").expect("writable");
        }
        sweep(directory.path());
        let mut left = names(directory.path());
        left.sort();
        let own = written.path().file_name().expect("a name").to_string_lossy().into_owned();
        let mut expected = vec![".catamaran-a1b2.tar".to_owned(), own, "x.tar.part".to_owned()];
        expected.sort();
        assert_eq!(left, expected);
    }
}
