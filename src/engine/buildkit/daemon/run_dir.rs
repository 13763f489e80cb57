use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::sys;

/// Bytes of a UNIX socket's path: `sun_path` of unix(7) without the zero at its end.
const SOCKET_PATH_LIMIT: usize = 107;

/// Beginning of the names of all such directories.
const PREFIX: &str = "catamaran-";

/// The name of the daemon's socket. One letter, because every byte of the path counts.
const SOCKET: &str = "s";

/// Age from which a directory without a living daemon is certainly not about to get one: longer than any start takes.
const STALE: Duration = Duration::from_secs(600);

/// Age from which a socket that refuses was listened on before: a daemon listens right after it has bound.
const BOUND: Duration = Duration::from_secs(10);

/// A private directory that lives as long as one daemon. Removed when dropped, unless it was handed over.
#[derive(Debug)]
pub(super) struct RunDir {
    folder: tempfile::TempDir,
}

impl RunDir {
    /// Makes one with mode 0700 in `parent`, which is made as well.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        sweep(parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // What buildkitd reads settings of its user from: there are none.
        fs::create_dir(folder.path().join("config"))?;
        Ok(Self { folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its own name, unique on this machine while it exists.
    pub(super) fn name(&self) -> String {
        self.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where the daemon listens, if the path is short enough to listen on.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let path = self.folder.path().join(SOCKET);
        (path.as_os_str().len() <= SOCKET_PATH_LIMIT).then_some(path)
    }

    /// Where the daemon takes telemetry from its steps: the default is a path of root's.
    pub(super) fn telemetry(&self) -> PathBuf {
        self.folder.path().join("o")
    }

    /// The directory for settings, with none in it but those that we write.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Leaves the removal to somebody else.
    pub(super) fn hand_over(self) {
        drop(self.folder.keep());
    }
}

/// Removes what daemons left behind whose supervisor was killed along with them, as a whole control group may be.
fn sweep(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == user);
        if ours && is_dead(&entry.path()) {
            sys::remove_cgroup(&entry.file_name().to_string_lossy());
            // Somebody else may be sweeping, too.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn is_older(path: &Path, than: Duration) -> bool {
    fs::symlink_metadata(path)
        .and_then(|meta| meta.modified())
        .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > than))
}

/// A socket that nobody listens on any more refuses. Where there is none yet, the daemon never came to it if that is long
/// ago; other directories of that name are not ours to judge.
fn is_dead(folder: &Path) -> bool {
    let socket = folder.join(SOCKET);
    match UnixStream::connect(&socket) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => is_older(&socket, BOUND),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            folder.join("config").is_dir() && is_older(folder, STALE)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Its owner may set any time, also of a socket, which cannot be opened.
    fn age(path: &Path) {
        let status = std::process::Command::new("touch").args(["-h", "-d", "1 hour ago"]).arg(path).status();
        assert!(status.expect("touch is everywhere").success());
    }

    #[test]
    fn only_directories_of_dead_daemons_are_swept() {
        let parent = tempfile::tempdir().expect("a folder");
        let make = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).expect("a folder");
            let listener = UnixListener::bind(path.join(SOCKET)).expect("a socket");
            (path, listener)
        };
        let (dead, listener) = make("catamaran-dead");
        drop(listener);
        let (bound, listener) = make("catamaran-bound");
        drop(listener);
        let (alive, _listening) = make("catamaran-alive");
        let (other, listener) = make("other");
        drop(listener);
        for path in [&dead, &alive, &other] {
            age(&path.join(SOCKET));
        }
        let without = |name: &str, config: bool| {
            let path = parent.path().join(name);
            fs::create_dir_all(if config { path.join("config") } else { path.clone() }).expect("a folder");
            path
        };
        let (never, starting, foreign) = (
            without("catamaran-never", true),
            without("catamaran-starting", true),
            without("catamaran-foreign", false),
        );
        age(&never);
        age(&foreign);
        let new = RunDir::new(parent.path()).expect("a writable folder");
        assert!(!dead.exists() && !never.exists());
        for kept in [&bound, &alive, &other, &starting, &foreign] {
            assert!(kept.exists(), "{}", kept.display());
        }
        let path = new.path().to_owned();
        assert_eq!(new.socket(), Some(path.join("s")));
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_noticed() {
        let parent = tempfile::tempdir().expect("a folder");
        let deep = parent.path().join("a".repeat(120));
        assert_eq!(RunDir::new(&deep).expect("a folder can have it").socket(), None);
    }
}
