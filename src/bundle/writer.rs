use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use tokio_util::sync::CancellationToken;

use super::contents::LockedBlob;
use super::header::{BLOCK, EntryName, encode, padded};
use super::part::{Part, sweep};
use super::plan::{BundlePlan, plan};
use super::{BundleError, ContentsLock};
use crate::base::{ByteSize, CellId, ComponentName, Descriptor, Digest, Platform, Reference};
use crate::event::{Event, EventSink};
use crate::store::{BlobSource, StoreError};

/// What goes into a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleContents {
    /// Whether names or platforms of a command line left out a part of the project.
    pub subset: bool,
    /// Name of the project.
    pub project: String,
    /// Tag of the release.
    pub tag: String,
    /// The images; in any order.
    pub entries: Vec<BundleEntry>,
    /// The platform whose images get the plain names for `docker load`: a declared one, never the host's.
    pub default_platform: Platform,
    /// Cells of the matrix that are known not to be in it. Any: the bundle is stamped INCOMPLETE. The indexes of `entries`
    /// must name only what is there.
    pub incomplete: Vec<CellId>,
}

/// One image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleEntry {
    /// The component or external.
    pub component: ComponentName,
    /// Its full reference, with a tag and without a digest.
    pub reference: Reference,
    /// Its repository below the prefix of `reference`, if that is known: what an import under another prefix keeps.
    pub path: Option<String>,
    /// Its index.
    pub index: Descriptor,
    /// Globs of the programs for other processors that are in it on purpose.
    pub foreign: Vec<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleReport {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Different blobs in it.
    pub blobs: u64,
    /// Bytes that are in it once although several images have them.
    pub saved_bytes: u64,
    /// Digest of its contents lock: two bundles with the same one hold the same.
    pub lock_digest: Digest,
    /// The contents lock.
    pub lock: ContentsLock,
    /// Things that a person should know and that stop nothing.
    pub warnings: Vec<String>,
}

/// Writes a release as one file that docker, podman, containerd, skopeo and catamaran read.
///
/// Everything is looked up before the first byte: a blob that is missing is an error that names its cell, and nothing is
/// left behind. Each blob is hashed while it is copied. The file appears under its name as a whole, durable, or not at all;
/// equal inputs give equal bytes. Blocks; uses all cores. Emits [`Event::Transfer`]; cancelling ends it with
/// [`BundleError::Cancelled`].
pub fn write_bundle(
    source: &dyn BlobSource,
    contents: &BundleContents,
    destination: &Path,
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<BundleReport, BundleError> {
    let plan = plan(source, contents)?;
    let (places, bytes) = place(&plan);
    let directory = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io_error = |action, path: &Path, source| BundleError::Io { action, path: path.to_owned(), source };
    sweep(directory);
    check_space(directory, destination, bytes)?;
    let part = Part::create(directory).map_err(|source| io_error("create a file in", directory, source))?;
    let file = part.file();
    // Paddings and end blocks are zeros, and so is what was never written.
    file.set_len(bytes).map_err(|source| io_error("write", destination, source))?;
    let mut at = 0;
    for (name, content) in &plan.files {
        let size = content.len() as u64;
        file.write_all_at(&encode(*name, size), at)
            .and_then(|()| file.write_all_at(content, at + BLOCK))
            .map_err(|source| io_error("write", destination, source))?;
        at += BLOCK + padded(size);
    }
    let copy = Copy { source, file, destination, places: &places, total: bytes, events, cancel };
    copy.run()?;
    rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(0o644))
        .map_err(|errno| io_error("set the mode of", destination, errno.into()))?;
    file.sync_all().map_err(|source| io_error("write", destination, source))?;
    part.persist(directory, destination).map_err(|source| io_error("rename a file to", destination, source))?;
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(|source| io_error("write the directory", directory, source))?;
    let blob_bytes: u64 = plan.blobs.iter().map(|blob| blob.size).sum();
    Ok(BundleReport {
        path: destination.to_owned(),
        bytes,
        blobs: plan.blobs.len() as u64,
        saved_bytes: plan.unshared_bytes.saturating_sub(blob_bytes),
        lock_digest: plan.files.last().map_or_else(|| Digest::of(""), |(_, lock)| Digest::of(lock)),
        lock: plan.lock,
        warnings: plan.warnings,
    })
}

/// Where each blob's header goes, and the size of the whole file.
fn place(plan: &BundlePlan) -> (Vec<(LockedBlob, u64)>, u64) {
    let mut at: u64 = plan.files.iter().map(|(_, content)| BLOCK + padded(content.len() as u64)).sum();
    let mut places = Vec::with_capacity(plan.blobs.len());
    for blob in &plan.blobs {
        places.push((*blob, at));
        at = at.saturating_add(BLOCK + padded(blob.size));
    }
    // Two zero blocks and no more: GNU tar's rounding to 10 KiB means nothing to any reader.
    (places, at.saturating_add(2 * BLOCK))
}

/// Says before the first byte what would otherwise be said after gigabytes.
fn check_space(directory: &Path, destination: &Path, needed: u64) -> Result<(), BundleError> {
    // A file system that cannot tell says zero blocks.
    if let Ok(state) = rustix::fs::statvfs(directory)
        && state.f_blocks > 0
    {
        let free = state.f_bavail.saturating_mul(state.f_frsize);
        if free < needed {
            return Err(BundleError::NoSpace { path: destination.to_owned(), needed, free });
        }
    }
    Ok(())
}

struct Copy<'a> {
    source: &'a dyn BlobSource,
    file: &'a File,
    destination: &'a Path,
    places: &'a [(LockedBlob, u64)],
    total: u64,
    events: &'a dyn EventSink,
    cancel: &'a CancellationToken,
}

/// Bytes read, hashed and written at once.
const CHUNK: usize = 1 << 20;
/// Bytes between two events.
const EVENT_STEP: u64 = 16 << 20;

impl Copy<'_> {
    /// Copies all blobs to their places, largest first, one thread per core: hashing costs more than writing.
    fn run(&self) -> Result<(), BundleError> {
        let mut order: Vec<&(LockedBlob, u64)> = self.places.iter().collect();
        order.sort_by_key(|(blob, at)| (std::cmp::Reverse(blob.size), *at));
        let cores = thread::available_parallelism().map_or(1, usize::from).min(order.len().max(1));
        let next = AtomicUsize::new(0);
        let done = AtomicU64::new(0);
        let failed: Mutex<Option<BundleError>> = Mutex::new(None);
        let lock = || failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let worker = || {
            let mut buffer = vec![0; CHUNK];
            while let Some((blob, at)) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if lock().is_some() {
                    return;
                }
                if let Err(error) = self.blob(*blob, *at, &mut buffer, &done) {
                    lock().get_or_insert(error);
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..cores {
                scope.spawn(worker);
            }
            worker();
        });
        failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn blob(&self, blob: LockedBlob, at: u64, buffer: &mut [u8], done: &AtomicU64) -> Result<(), BundleError> {
        let write = |bytes: &[u8], at: u64| {
            self.file.write_all_at(bytes, at).map_err(|source| BundleError::Io {
                action: "write",
                path: self.destination.to_owned(),
                source,
            })
        };
        write(&encode(EntryName::Blob(blob.digest), blob.size), at)?;
        let mut at = at + BLOCK;
        let mut reader = self.source.open(&Descriptor::new("application/octet-stream", blob.digest, blob.size))?;
        loop {
            if self.cancel.is_cancelled() {
                return Err(BundleError::Cancelled);
            }
            let count = reader.read(buffer).map_err(|error| StoreError::from_read(error, blob.digest.to_string()))?;
            if count == 0 {
                return Ok(());
            }
            // The file is as long as it will be and empty: zeros are there already, and need no place on the disk.
            if buffer[..count].iter().any(|byte| *byte != 0) {
                write(&buffer[..count], at)?;
            }
            at += count as u64;
            let before = done.fetch_add(count as u64, Ordering::Relaxed);
            let now = before + count as u64;
            if before / EVENT_STEP != now / EVENT_STEP {
                let name = self.destination.file_name().unwrap_or_default().to_string_lossy();
                self.events.emit(Event::Transfer {
                    what: format!("export {name}"),
                    done: ByteSize(now),
                    total: ByteSize(self.total),
                });
            }
        }
    }
}
