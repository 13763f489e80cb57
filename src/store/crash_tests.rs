//! The order of operations, and what is left when it stops at any of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Step;
use super::{BlobSource as _, Layout};
use crate::base::{Descriptor, Digest, ErrorClass, Failure as _};

/// An operation as it was recorded.
#[derive(Debug, Clone)]
enum Done {
    Create,
    Write(PathBuf, Vec<u8>),
    SyncFile(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDirectory(PathBuf),
}

#[derive(Default)]
struct Watch {
    done: Vec<Done>,
    /// Operations that still work, and the error of the next one.
    fails_after: Option<(usize, rustix::io::Errno)>,
}

thread_local! {
    /// Of this thread only: tests run side by side.
    static WATCH: RefCell<Watch> = RefCell::default();
}

/// Called before every operation.
pub(super) fn step(step: Step<'_>) -> io::Result<()> {
    WATCH.with_borrow_mut(|watch| {
        if let Some((left, errno)) = &mut watch.fails_after {
            if *left == 0 {
                return Err((*errno).into());
            }
            *left -= 1;
        }
        watch.done.push(match step {
            Step::Create => Done::Create,
            Step::Write { file, bytes } => Done::Write(file.to_owned(), bytes.to_owned()),
            Step::SyncFile { file } => Done::SyncFile(file.to_owned()),
            Step::Rename { from, to } => Done::Rename(from.to_owned(), to.to_owned()),
            Step::SyncDirectory { directory } => Done::SyncDirectory(directory.to_owned()),
        });
        Ok(())
    })
}

fn watch(fails_after: Option<(usize, rustix::io::Errno)>) {
    WATCH.with_borrow_mut(|watch| *watch = Watch { done: Vec::new(), fails_after });
}

/// What a run does: three blobs, two of them referred to by "manifests" (lists of digests), named one after the other.
fn run(root: &Path) -> Result<(), super::StoreError> {
    let layout = Layout::create(root)?;
    for (name, contents) in [("one", ["a", "b"]), ("two", ["b", "c"]), ("one", ["c", "d"])] {
        let mut list = String::new();
        for content in contents {
            let mut writer = layout.writer()?;
            writer.append(content.as_bytes())?;
            writer.append(b"\n")?;
            let (digest, _) = writer.commit(None, None)?;
            list.extend([&digest.hex(), "\n"]);
        }
        let mut entry = layout.put("text/plain", list.as_bytes())?;
        entry.annotations =
            Some([("org.opencontainers.image.ref.name".to_owned(), name.to_owned())].into_iter().collect());
        layout.update_index(|entries| {
            entries.retain(|known| known.annotations != entry.annotations);
            entries.push(entry);
        })?;
    }
    Ok(())
}

/// In memory where that can be: hundreds of runs with all their fsyncs, of which none must reach a disk.
fn fast_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn references(list: &[u8]) -> Vec<Digest> {
    let text = std::str::from_utf8(list).expect("text");
    text.lines().map(|line| Digest::from_hex(line).expect("a digest")).collect()
}

/// Everything that is named is whole.
fn assert_closed(layout: &Layout) {
    for entry in layout.index().expect("never torn") {
        for digest in references(&layout.read(&entry, 1000).expect("whole")) {
            let size = layout.size_of(&digest).expect("answers").expect("there");
            layout.read(&Descriptor::new("x", digest, size), 1000).expect("whole");
        }
    }
}

#[test]
fn any_operation_may_fail_and_a_second_run_completes() {
    let reference = fast_directory();
    watch(None);
    run(reference.path()).expect("nothing fails");
    let total = WATCH.with_borrow(|watch| watch.done.len());
    assert!(total > 50, "the run does something: {total}");
    let index = std::fs::read(reference.path().join("index.json")).expect("there");

    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::IO] {
        for at in 0..total {
            let directory = fast_directory();
            watch(Some((at, errno)));
            let error = run(directory.path()).expect_err("it fails");
            assert_eq!(error.class(), ErrorClass::Disk, "{error}");
            assert!(error.to_string().contains(&*directory.path().to_string_lossy()), "names the file: {error}");
            assert_eq!(error.help().is_some(), errno == rustix::io::Errno::NOSPC);
            watch(None);
            if let Ok(layout) = Layout::open(directory.path())
                && directory.path().join("index.json").exists()
            {
                assert_closed(&layout);
                let left = std::fs::read_dir(directory.path().join("ingest")).expect("there").count();
                assert_eq!(left, 0, "no temporary file is left by an error");
            }
            run(directory.path()).expect("a second run completes");
            let layout = Layout::open(directory.path()).expect("whole");
            assert_closed(&layout);
            assert_eq!(std::fs::read(directory.path().join("index.json")).expect("there"), index);
        }
    }
}

/// A disk that forgets: after a power cut only what was made durable is certain; what was not may be there or not, in any
/// combination. Looks at the worst case after every operation.
#[test]
fn after_a_power_cut_at_any_point_every_name_has_what_it_needs() {
    let directory = tempfile::tempdir().expect("a directory");
    watch(None);
    run(directory.path()).expect("nothing fails");
    let done = WATCH.with_borrow(|watch| watch.done.clone());
    let blobs = directory.path().join("blobs/sha256");
    let index = directory.path().join("index.json");

    let mut content: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut synced: BTreeSet<PathBuf> = BTreeSet::new();
    // Final name -> the file (by its first name) that certainly has it, and those that may.
    let mut certain: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut possible: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let mut names_seen = 0;
    for step in &done {
        match step {
            Done::Create => {}
            Done::Write(file, bytes) => {
                synced.remove(file);
                content.entry(file.clone()).or_default().extend(bytes);
            }
            Done::SyncFile(file) => {
                synced.insert(file.clone());
            }
            Done::Rename(from, to) => possible.entry(to.clone()).or_default().push(from.clone()),
            Done::SyncDirectory(directory) => {
                let here: Vec<PathBuf> =
                    possible.keys().filter(|name| name.parent() == Some(directory)).cloned().collect();
                for name in here {
                    let last = possible.remove(&name).and_then(|files| files.last().cloned()).expect("not empty");
                    certain.insert(name, last);
                }
            }
        }
        let candidates = certain.get(&index).into_iter().chain(possible.get(&index).into_iter().flatten());
        for candidate in candidates {
            assert!(synced.contains(candidate), "an index file gets its name before its bytes are durable");
            let entries: serde_json::Value = serde_json::from_slice(&content[candidate]).expect("whole");
            for entry in entries["manifests"].as_array().expect("a list") {
                let list: Digest = entry["digest"].as_str().expect("text").parse().expect("a digest");
                let durable = |digest: &Digest| {
                    let file = certain.get(&blobs.join(digest.hex())).expect("the name of a blob is not durable");
                    assert!(synced.contains(file), "the bytes of a blob are not durable");
                    content[file].clone()
                };
                for digest in references(&durable(&list)) {
                    durable(&digest);
                    names_seen += 1;
                }
            }
        }
    }
    assert!(names_seen > 10, "the model saw names: {names_seen}");
}
