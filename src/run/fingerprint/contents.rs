use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::hashes::Hashes;
use super::listing::Listing;
use crate::base::Digest;
use crate::dockerfile::ignore::DockerIgnore;
use crate::engine::RenderedFile;
use crate::engine::buildkit::{InventoryEntry, LocalTree, Selection};
use crate::run::{CellRecord, RunError, StateDir};

/// The files of this machine that images depend on: what is in them, read as seldom as can be.
#[derive(Debug)]
pub(in crate::run) struct Contents {
    hashes: Hashes,
    hashes_file: PathBuf,
    /// Where listings are kept.
    pub(super) listings: PathBuf,
    /// Nobody waits for it any more: no file is read.
    stopped: AtomicBool,
}

/// Files that are worth a thread more.
const MANY: usize = 64;

impl Contents {
    /// With what earlier runs remembered in `state`.
    pub(in crate::run) fn open(state: &StateDir) -> Self {
        let hashes_file = state.hashes();
        Self {
            hashes: Hashes::load(&hashes_file),
            hashes_file,
            listings: state.inputs(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Reads no more files; whoever asks for them is told so.
    pub(in crate::run) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Remembers the digests of the files that were read.
    pub(in crate::run) fn save(&self) -> Result<(), RunError> {
        self.hashes.save(&self.hashes_file).map_err(|source| RunError::state("write", &self.hashes_file, source))
    }

    /// Removes the lists that none of `records` names. Of no consequence if that fails.
    pub(in crate::run) fn prune<'r>(&self, records: impl Iterator<Item = &'r CellRecord>) {
        let inputs = records.filter_map(|record| record.fingerprint.as_ref()).flat_map(|print| &print.inputs);
        let kept: HashSet<String> = inputs.map(|input| input.digest.hex()).collect();
        let Ok(found) = std::fs::read_dir(&self.listings) else { return };
        for entry in found.filter_map(Result::ok) {
            if !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }

    /// What a builder that asks for `selection` of a directory would be sent now, and when the youngest of it was changed, in
    /// nanoseconds since 1970. An error in words where that cannot be told.
    pub(super) fn list(
        &self,
        directory: &Path,
        excluded: &[PathBuf],
        rendered: &[RenderedFile],
        selection: &Selection,
    ) -> Result<(Listing, i64), String> {
        let tree = LocalTree::open(directory, excluded, rendered).map_err(|error| error.to_string())?;
        let inventory = tree.inventory(selection).map_err(|error| error.to_string())?;
        let entries = &inventory.entries;
        let mut digests = self.hashes.known(directory, entries.iter());
        let unknown: Vec<usize> =
            (0..entries.len()).filter(|at| digests[*at].is_none() && entries[*at].is_file()).collect();
        let read = |at: &usize| {
            let entry: &InventoryEntry = &entries[*at];
            if self.stopped.load(Ordering::Relaxed) {
                return Err("the run was interrupted".to_owned());
            }
            let failed = |error: io::Error| format!("cannot read `{}`: {error}", directory.join(&entry.path).display());
            self.hashes.read(directory, &tree, entry).map_err(failed)
        };
        let found: Vec<Result<Digest, String>> =
            if unknown.len() < MANY { unknown.iter().map(read).collect() } else { on_all_cores(&unknown, read) };
        for (at, digest) in unknown.into_iter().zip(found) {
            digests[at] = Some(digest?);
        }
        let mut listing = Listing::default();
        for (entry, digest) in entries.iter().zip(digests) {
            listing.add(entry, digest);
        }
        Ok((listing, inventory.newest))
    }

    /// Which blobs lie in `directory`, and which of them are not what their names say, as far as that shows: those that are
    /// as an earlier run found them are not read again. An error in words where the directory cannot be listed. What it returns
    /// after `stop` became true means nothing.
    pub(in crate::run) fn blobs(&self, directory: &Path, stop: &(dyn Fn() -> bool + Sync)) -> Result<Blobs, String> {
        let (tree, entries) = blobs_in(directory)?;
        let digests = self.hashes.known(directory, entries.iter().map(|(entry, _)| entry));
        let unknown: Vec<_> =
            entries.iter().zip(&digests).filter(|(_, known)| known.is_none()).map(|(blob, _)| blob).collect();
        let read = on_all_cores(&unknown, |(entry, _)| {
            // What is no file has no bytes to be right.
            if entry.is_file() && !stop() { self.hashes.read(directory, &tree, entry).ok() } else { None }
        });
        let mut blobs = Blobs::default();
        let found = unknown.iter().map(|(_, name)| *name).zip(read);
        let known = entries.iter().map(|(_, name)| *name).zip(digests).filter(|(_, digest)| digest.is_some());
        for (name, digest) in known.chain(found) {
            blobs.present.insert(name);
            if digest != Some(name) {
                blobs.doubtful.push(name);
            }
        }
        Ok(blobs)
    }

    /// Takes every blob in `directory` that is not among `before` for what its name says: the layout has written it since, and
    /// hashed it while it did. Of no consequence if that fails: it is read by the next run.
    pub(in crate::run) fn vouch(&self, directory: &Path, before: &HashSet<Digest>) {
        let Ok((_, entries)) = blobs_in(directory) else { return };
        for (entry, name) in entries {
            if entry.is_file() && !before.contains(&name) {
                self.hashes.remember(directory, &entry, name);
            }
        }
    }
}

/// What lies in a directory of blobs.
#[derive(Debug, Default)]
pub(in crate::run) struct Blobs {
    /// All of them.
    pub(in crate::run) present: HashSet<Digest>,
    /// Those whose bytes are others than their names say, or cannot be read.
    pub(in crate::run) doubtful: Vec<Digest>,
}

/// What in `directory` is named as a blob is.
fn blobs_in(directory: &Path) -> Result<(LocalTree, Vec<(InventoryEntry, Digest)>), String> {
    let tree = LocalTree::open(directory, &[], &[]).map_err(|error| error.to_string())?;
    let inventory = tree.inventory(&Selection::default()).map_err(|error| error.to_string())?;
    let named = |entry: InventoryEntry| {
        let name = format!("sha256:{}", entry.path).parse().ok()?;
        Some((entry, name))
    };
    Ok((tree, inventory.entries.into_iter().filter_map(named).collect()))
}

/// Runs `work` on every item, as many at once as there are cores; results come in the order of the items.
pub(super) fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(worker)).collect();
        let mut all = worker();
        for other in others {
            // A panic is a bug wherever it happens; it goes on as if there were one thread.
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

/// Ignore files that were read, each once: many contexts are one folder.
#[derive(Debug, Default)]
pub(super) struct Ignores(Mutex<HashMap<PathBuf, Option<Arc<[String]>>>>);

/// An ignore file over this is none (the builder reads it whole).
const IGNORE_LIMIT: u64 = 16 << 20;

impl Ignores {
    /// The patterns of the ignore file at `path`; nothing if there is none.
    pub(super) fn patterns(&self, path: &Path) -> Option<Arc<[String]>> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return known.clone();
        }
        let patterns = read_patterns(path);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), patterns.clone());
        patterns
    }
}

/// What cannot be read or understood has no patterns: more is then looked at, and the builder says what is wrong with it.
fn read_patterns(path: &Path) -> Option<Arc<[String]>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(IGNORE_LIMIT).read_to_end(&mut bytes).ok()?;
    let parsed = DockerIgnore::parse(&String::from_utf8_lossy(&bytes)).unwrap_or_default();
    Some(parsed.patterns().into())
}
