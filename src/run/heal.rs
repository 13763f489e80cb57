use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::fingerprint::{Blobs, Contents};
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
    let mut looked: HashSet<Digest> = HashSet::new();
    let mut waiting = doubtful;
    waiting.extend(suspects(state, &looked)?);
    while !waiting.is_empty() {
        for digest in waiting.drain(..).filter(|digest| looked.insert(*digest)) {
            // Another process may have written it anew since.
            if !hashes_to(layout, &digest)? && layout.quarantine(&digest)? {
                moved.push(digest);
            }
        }
        // `verify` may have found more of them meanwhile: it needs no lock of ours.
        waiting = suspects(state, &looked)?;
    }
    Ok(Healed { moved, before: present })
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

/// The digests in the list that are not among `looked`. Where there are none the list is emptied, under its own lock: what
/// another process finds at that moment comes before or after.
fn suspects(state: &StateDir, looked: &HashSet<Digest>) -> Result<Vec<Digest>, RunError> {
    let path = suspect_file(state);
    let read = || -> io::Result<Vec<Digest>> {
        let mut file = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        file.lock()?;
        let listed = listed(&mut file)?;
        let rest: Vec<Digest> = listed.digests.into_iter().filter(|digest| !looked.contains(digest)).collect();
        if rest.is_empty() && file.metadata()?.len() <= LIST_LIMIT {
            file.set_len(0)?;
        }
        Ok(rest)
    };
    read().map_err(|source| RunError::state("read", &path, source))
}

/// Bytes of the list that are read.
const LIST_LIMIT: u64 = 16 << 20;

/// What stands in the list.
struct Listed {
    digests: Vec<Digest>,
    /// Whether a line was not written to its end.
    torn: bool,
}

fn listed(file: &mut File) -> io::Result<Listed> {
    let mut bytes = Vec::new();
    // More than a list of every blob of a large fleet; what is beyond stays for the next time.
    file.take(LIST_LIMIT).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let digests = text.lines().filter_map(|line| line.parse().ok()).collect();
    Ok(Listed { digests, torn: !text.is_empty() && !text.ends_with('\n') })
}

/// Remembers blobs that turned out to be damaged, so that the next build replaces them. Cells that end at once and other
/// processes may do so at the same time: lines are only ever added, one writer after the other.
pub fn suspect(state: &StateDir, digests: impl IntoIterator<Item = Digest>) -> Result<(), RunError> {
    let mut found: Vec<Digest> = digests.into_iter().collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Ok(());
    }
    let path = suspect_file(state);
    let add = || -> io::Result<()> {
        let mut file = File::options().read(true).append(true).create(true).open(&path)?;
        file.lock()?;
        let Listed { digests, torn } = listed(&mut file)?;
        let mut text = if torn { "\n".to_owned() } else { String::new() };
        text.extend(found.iter().filter(|digest| !digests.contains(digest)).map(|digest| format!("{digest}\n")));
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        File::open(state.root())?.sync_all()
    };
    add().map_err(|source| RunError::state("write", &path, source))
}

/// Opens the layout for a build. An `index.json` or `oci-layout` that cannot be understood is moved away: the one is
/// written again from the cells' records, the other has but one thing to say.
pub(super) fn open_layout(state: &StateDir) -> Result<Layout, RunError> {
    let directory = state.layout();
    Layout::set_aside_torn_marker(&directory)?;
    let layout = Layout::create(&directory)?;
    match layout.index() {
        Err(StoreError::NotALayout { path, .. } | StoreError::Sha512 { path }) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_find_at_once_is_all_remembered() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path());
        let all: Vec<Digest> = (0..64).map(|number: u32| Digest::of(number.to_le_bytes())).collect();
        std::thread::scope(|scope| {
            for digest in &all {
                scope.spawn(|| suspect(&state, [*digest, all[0]]).expect("it can be written"));
            }
        });
        let found = suspects(&state, &HashSet::new()).expect("it can be read");
        assert_eq!(found.len(), all.len(), "each once");
        assert_eq!(found.iter().collect::<HashSet<_>>(), all.iter().collect());
    }

    #[test]
    fn the_list_is_emptied_when_all_of_it_was_looked_at() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path());
        let [first, second] = [Digest::of("first"), Digest::of("second")];
        // A power cut tore a line; what comes after it stands on one of its own.
        fs::write(suspect_file(&state), "sha256:12").expect("ours");
        suspect(&state, [first]).expect("it can be written");
        assert_eq!(suspects(&state, &HashSet::new()).expect("it can be read"), [first]);
        // It came while the first one was looked at.
        suspect(&state, [second]).expect("it can be written");
        let looked = HashSet::from([first]);
        assert_eq!(suspects(&state, &looked).expect("it can be read"), [second]);
        assert_eq!(suspects(&state, &HashSet::from([first, second])).expect("it can be read"), []);
        assert_eq!(fs::read_to_string(suspect_file(&state)).expect("it is there"), "");
    }
}
