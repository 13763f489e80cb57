use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::base::{CellId, ComponentName};
use crate::event::{Event, EventSink};

/// The directory in which everything that a project's runs leave behind is kept: `.catamaran`.
///
/// ```text
/// .gitignore            `*`: it ignores itself
/// lock                  held while a run writes; holds that run's pid
/// layout/               the OCI image layout of all results
/// cells/NAME/OS-ARCH.json   what each cell's last good build made
/// logs/NAME/OS-ARCH.log     full log of each cell's last build
/// logs/NAME/service.log     what a service wrote when it last ran
/// journal/push.jsonl    tags that are moving, releases that are stuck, open uploads, what was read back
/// rendered/DIGEST/      rendered Dockerfile templates; in rendered/files/ other templates
/// runs/last.json        times, builders and failures of the last build; how runs ended for cells without an image
/// names.json            which project wrote which names of the layout
/// bases.lock            what of the outside `layout/` holds for builds without a network
/// scans.json            what was found in layers, so that none is looked into twice
/// hashes                digests of files that images depend on
/// inputs/DIGEST         lists of the files that images were made from
/// ```
///
/// Deleting it loses no source, only work.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: Arc<PathBuf>,
    /// The lock, where the caller has it already: one command is one run, whatever it consists of.
    held: Option<Arc<File>>,
    /// Where templates are rendered instead, for who only reads: gone with the last of these values.
    aside: Option<Arc<TempDir>>,
}

/// Keeps other runs out of a state directory until it is dropped, or its process dies.
#[derive(Debug)]
pub struct StateLock {
    /// The kernel's lock on the open file is the truth; the text in it is for the people who wait.
    _file: Arc<File>,
}

/// How often a waiting run looks whether the lock is free. The kernel could wake it, but then an interrupt could not.
const LOCK_POLL: Duration = Duration::from_millis(100);

impl StateDir {
    /// The state directory at `root`; nothing is read or written yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: Arc::new(root.into()), held: None, aside: None }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory, and the file by which it ignores itself. Idempotent.
    pub fn create(&self) -> Result<(), RunError> {
        fs::create_dir_all(self.root()).map_err(|source| RunError::state("create", self.root(), source))?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(|source| RunError::state("write", &ignore, source))?;
        }
        Ok(())
    }

    /// The OCI image layout.
    pub fn layout(&self) -> PathBuf {
        self.root.join("layout")
    }

    /// Its blobs.
    pub(super) fn blobs(&self) -> PathBuf {
        self.layout().join("blobs").join("sha256")
    }

    /// The full log of a cell's last build.
    pub fn log(&self, cell: &CellId) -> PathBuf {
        self.root.join("logs").join(cell.component.as_str()).join(format!("{}.log", cell.platform.file_stem()))
    }

    /// What a service wrote when it last ran.
    pub fn service_log(&self, name: &ComponentName) -> PathBuf {
        self.root.join("logs").join(name.as_str()).join("service.log")
    }

    /// The record of a cell's last good build.
    pub fn record(&self, cell: &CellId) -> PathBuf {
        self.root.join("cells").join(cell.component.as_str()).join(format!("{}.json", cell.platform.file_stem()))
    }

    /// What was found in layers, by their digests.
    pub fn scans(&self) -> PathBuf {
        self.root.join("scans.json")
    }

    /// Digests of files, remembered.
    pub(super) fn hashes(&self) -> PathBuf {
        self.root.join("hashes")
    }

    /// Lists of files that images were made from, each named by its digest.
    pub(super) fn inputs(&self) -> PathBuf {
        self.root.join("inputs")
    }

    /// What of the outside is in the layout without being a release: everything reachable from these digests is kept there.
    pub fn bases(&self) -> PathBuf {
        self.root.join("bases.lock")
    }

    /// What the last build left to tell.
    pub fn history(&self) -> PathBuf {
        self.root.join("runs").join("last.json")
    }

    /// What pushes remember for the next one.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Where rendered templates are kept, each in a directory named by its content.
    pub fn rendered(&self) -> PathBuf {
        self.root.join("rendered")
    }

    /// This directory with its lock taken for all that is done through the value that is returned, and as long as it lives:
    /// what one step leaves is what the next one finds.
    pub async fn hold(&self, events: &dyn EventSink, cancel: &CancellationToken) -> Result<Self, RunError> {
        self.create()?;
        let StateLock { _file: file } = self.lock(events, cancel).await?;
        Ok(Self { root: Arc::clone(&self.root), held: Some(file), aside: None })
    }

    /// This directory for a question: what looking needs to have written goes to a folder of its own below `scratch`.
    pub(super) fn only_read(&self, scratch: &Path) -> Result<Self, RunError> {
        let aside = tempfile::Builder::new().prefix("catamaran-").tempdir_in(scratch);
        let aside = aside.map_err(|source| RunError::state("create a folder in", scratch, source))?;
        Ok(Self { aside: Some(Arc::new(aside)), ..self.clone() })
    }

    /// That folder.
    pub(super) fn aside(&self) -> Option<&Path> {
        self.aside.as_deref().map(TempDir::path)
    }

    /// Takes the lock as [`StateDir::lock`] does, where there is anything to lock: what only reads must not make a state
    /// directory.
    pub async fn lock_existing(
        &self,
        events: &dyn EventSink,
        cancel: &CancellationToken,
    ) -> Result<Option<StateLock>, RunError> {
        if self.root().is_dir() { self.lock(events, cancel).await.map(Some) } else { Ok(None) }
    }

    /// Takes the lock; while another run has it, says so once, with its pid, and waits until it ends or `cancel` is
    /// cancelled.
    pub async fn lock(&self, events: &dyn EventSink, cancel: &CancellationToken) -> Result<StateLock, RunError> {
        if let Some(held) = &self.held {
            return Ok(StateLock { _file: Arc::clone(held) });
        }
        let path = self.root.join("lock");
        let io = |source| RunError::state("lock", &path, source);
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(io(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                told = true;
                events.emit(Event::Waiting { text: waiting_text(&mut file, self.root()) });
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(RunError::Cancelled),
                () = tokio::time::sleep(LOCK_POLL) => {}
            }
        }
        let text = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes())).map_err(io)?;
        Ok(StateLock { _file: Arc::new(file) })
    }
}

/// Who has the lock, as far as the file tells: its writer may be between taking the lock and writing its pid.
fn waiting_text(file: &mut File, root: &Path) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut text));
    let pid: Option<u32> = read.ok().and_then(|_| text.trim().parse().ok());
    let who = pid.map_or_else(|| "another run".to_owned(), |pid| format!("another run (pid {pid})"));
    format!("waiting for {who} that works in {}", root.display())
}

/// Writes `bytes` to `path` as one act: readers see the old file or the new one, also after a power cut.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, None)
}

/// The same with these permissions.
pub(super) fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(path, bytes, Some(mode))
}

fn write(path: &Path, bytes: &[u8], mode: Option<u32>) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    if let Some(mode) = mode {
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failed| failed.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn what_is_held_is_not_waited_for_and_nobody_else_gets_it_in_between() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path().join("state"));
        let cancel = CancellationToken::new();
        let held = state.hold(&crate::event::NoEvents, &cancel).await.expect("it is free");
        for _ in 0..2 {
            drop(held.lock(&crate::event::NoEvents, &cancel).await.expect("it is ours"));
        }
        let stopped = CancellationToken::new();
        stopped.cancel();
        let other = StateDir::at(state.root());
        assert!(other.lock(&crate::event::NoEvents, &stopped).await.is_err(), "still held between two steps");
        drop(held);
        drop(other.lock(&crate::event::NoEvents, &cancel).await.expect("free again"));
    }

    #[tokio::test]
    async fn the_second_run_waits_and_names_the_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path().join("state"));
        state.create().expect("it can be made");
        let cancel = CancellationToken::new();
        let first = state.lock(&crate::event::NoEvents, &cancel).await.expect("it is free");
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let told = Arc::clone(&told);
            move |event: Event| {
                if let Event::Waiting { text } = event {
                    told.lock().expect("not poisoned").push(text);
                }
            }
        };
        let waiter = tokio::spawn({
            let (state, cancel) = (state.clone(), cancel.clone());
            async move { state.lock(&sink, &cancel).await.map(|_| ()) }
        });
        while told.lock().expect("not poisoned").is_empty() {
            tokio::task::yield_now().await;
        }
        drop(first);
        waiter.await.expect("no panic").expect("the lock is free now");
        let told = told.lock().expect("not poisoned");
        assert_eq!(told.len(), 1);
        assert!(told[0].contains(&format!("pid {}", std::process::id())), "{told:?}");
    }

    #[tokio::test]
    async fn waiting_ends_when_it_is_cancelled() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path());
        let cancel = CancellationToken::new();
        let _first = state.lock(&crate::event::NoEvents, &cancel).await.expect("it is free");
        let on_wait = cancel.clone();
        let sink = move |_: Event| on_wait.cancel();
        assert!(matches!(state.lock(&sink, &cancel).await, Err(RunError::Cancelled)));
    }
}
