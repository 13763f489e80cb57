use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::fingerprint::{Blobs, Contents};
use super::state::write_atomically;
use super::{CellRecord, RunError, StateDir};
use crate::base::{Descriptor, Digest, DigestHasher};
use crate::image::{ImageError, closure};
use crate::plan::Plan;
use crate::store::{Layout, StoreError};

/// What [`heal`] did.
pub(super) struct Healed {
    /// The blobs that it moved to the layout's `corrupt/`.
    pub(super) moved: Vec<Digest>,
    /// The blobs that were there before it.
    pub(super) before: HashSet<Digest>,
}

/// Puts everything out of the way that would keep a build from making the layout whole again. Needs the state lock.
///
/// A blob that is there with the right size counts as there, so one with wrong bytes would never be replaced. Hashing
/// gigabytes before every build is no answer; instead a blob is read when the file system does not say that it is as it was
/// when it was last found right, or when `verify` found it to be corrupt. Manifests that the cells' records name are small,
/// and are checked in any case.
pub(super) fn heal(
    plan: &Plan,
    state: &StateDir,
    layout: &Layout,
    contents: &Contents,
    cancel: &CancellationToken,
) -> Result<Healed, RunError> {
    let mut moved = Vec::new();
    for cell in &plan.cells {
        let Some(record) = CellRecord::load(state, &cell.id)? else { continue };
        // The upstream index may name platforms that were never brought; its own bytes are what its entries go by.
        for root in std::iter::once(&record.manifest).chain(&record.attestations).chain(&record.upstream) {
            // Each round moves one blob away, so this ends.
            while let Some(digest) = first_bad(layout, root) {
                if !layout.quarantine(&digest)? {
                    break;
                }
                moved.push(digest);
            }
        }
    }
    let unlisted = |reason| RunError::state("list", &state.blobs(), io::Error::other(reason));
    let Blobs { present, doubtful } = contents.blobs(&state.blobs(), &|| cancel.is_cancelled()).map_err(unlisted)?;
    if cancel.is_cancelled() {
        return Err(RunError::Cancelled);
    }
    for digest in suspects(state)?.into_iter().chain(doubtful) {
        // Another process may have written it anew since.
        if !hashes_to(layout, &digest)? && layout.quarantine(&digest)? {
            moved.push(digest);
        }
    }
    let list = suspect_file(state);
    match fs::remove_file(&list) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RunError::state("remove", &list, source)),
        _ => Ok(Healed { moved, before: present }),
    }
}

/// A manifest or index below `root` whose bytes are wrong.
fn first_bad(layout: &Layout, root: &Descriptor) -> Option<Digest> {
    match closure(layout, root) {
        Err(ImageError::Store(StoreError::Corrupt { expected, .. })) => Some(expected),
        Err(ImageError::Store(StoreError::WrongSize { digest, .. })) => Some(digest),
        // A blob of the right digest that means nothing was made so; building may well make something else.
        _ => None,
    }
}

fn hashes_to(layout: &Layout, digest: &Digest) -> Result<bool, RunError> {
    let mut reader = match layout.open_raw(digest) {
        Ok(reader) => reader,
        Err(StoreError::Missing { .. }) => return Ok(true),
        Err(StoreError::NotAFile { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut hasher = DigestHasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish() == *digest),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A place on the disk that cannot be read is as good as wrong bytes: the blob comes again.
            Err(_) => return Ok(false),
        }
    }
}

fn suspect_file(state: &StateDir) -> PathBuf {
    state.root().join("suspects")
}

fn suspects(state: &StateDir) -> Result<Vec<Digest>, RunError> {
    match read_bounded(&suspect_file(state)) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(RunError::state("read", &suspect_file(state), source)),
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

/// Remembers blobs that `verify` found damaged, so that the next build replaces them.
pub fn suspect(state: &StateDir, digests: impl IntoIterator<Item = Digest>) -> Result<(), RunError> {
    let mut all = suspects(state)?;
    all.extend(digests);
    all.sort();
    all.dedup();
    if all.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
    let text = lines.join("\n") + "\n";
    let path = suspect_file(state);
    write_atomically(&path, text.as_bytes()).map_err(|source| RunError::state("write", &path, source))
}

/// Opens the layout for a build. An `index.json` or `oci-layout` that cannot be understood is moved away: the one is
/// written again from the cells' records, the other has but one thing to say.
pub(super) fn open_layout(state: &StateDir) -> Result<Layout, RunError> {
    let directory = state.layout();
    Layout::set_aside_torn_marker(&directory)?;
    let layout = Layout::create(&directory)?;
    match layout.index() {
        Err(StoreError::NotALayout { path, .. }) => {
            let names = (2..).map(|number| path.with_extension(format!("json.corrupt.{number}")));
            let mut names = std::iter::once(path.with_extension("json.corrupt")).chain(names);
            let aside = names.find(|name| fs::symlink_metadata(name).is_err()).expect("numbers do not end");
            fs::rename(&path, aside).map_err(|source| RunError::state("move", &path, source))?;
            Ok(Layout::create(&directory)?)
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(layout),
    }
}
