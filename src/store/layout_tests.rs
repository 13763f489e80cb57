use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::sync::Barrier;

use super::{BlobSource as _, Layout, StoreError, conformance};
use crate::base::{Descriptor, Digest, ErrorClass, Failure as _};

fn layout() -> (tempfile::TempDir, Layout) {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(directory.path().join("layout")).expect("a layout");
    (directory, layout)
}

fn blob_path(layout: &Layout, digest: &Digest) -> std::path::PathBuf {
    layout.root().join("blobs/sha256").join(digest.hex())
}

#[test]
fn a_layout_is_a_blob_source() {
    let (_directory, layout) = layout();
    let blobs = vec![b"a".to_vec(), Vec::new(), vec![7; 100_000]];
    for bytes in &blobs {
        layout.put("x", bytes).expect("stored");
    }
    conformance::is_a_blob_source(&layout, &blobs);
    let descriptor = Descriptor::of("x", &blobs[2]);
    let mut damaged = blobs[2].clone();
    damaged[50_000] ^= 1;
    fs::write(blob_path(&layout, &descriptor.digest), damaged).expect("writable");
    conformance::finds_damage(&layout, &descriptor);
}

#[test]
fn a_commit_checks_before_anything_is_visible() {
    let (_directory, layout) = layout();
    let right = Digest::of("right");
    let write = |expected, size| {
        let mut writer = layout.writer().expect("opens");
        writer.append(b"wro").expect("written");
        writer.restart().expect("truncated");
        writer.append(b"ri").expect("written");
        writer.append(b"ght").expect("written");
        assert_eq!(writer.written(), 5);
        writer.commit(expected, size)
    };
    assert!(matches!(write(Some(Digest::of("other")), None), Err(StoreError::Corrupt { found, .. }) if found == right));
    assert!(matches!(write(Some(right), Some(6)), Err(StoreError::WrongSize { found: 5, .. })));
    assert_eq!(layout.size_of(&right).expect("answers"), None, "nothing is visible");
    assert_eq!(write(Some(right), Some(5)).expect("committed"), (right, 5));
    assert_eq!(write(None, None).expect("twice is no error"), (right, 5));
    drop(layout.writer().expect("opens"));
    assert_eq!(fs::read_dir(layout.root().join("ingest")).expect("there").count(), 0, "no temporary file is left");
}

#[test]
fn a_blob_of_the_wrong_size_is_replaced_and_so_is_a_link() {
    let (directory, layout) = layout();
    let descriptor = layout.put("x", b"content").expect("stored");
    let path = blob_path(&layout, &descriptor.digest);
    fs::write(&path, b"con").expect("writable");
    assert!(!layout.has(&descriptor).expect("answers"));
    layout.put("x", b"content").expect("stored");
    assert_eq!(fs::read(&path).expect("readable"), b"content");

    let outside = directory.path().join("outside");
    fs::write(&outside, b"content").expect("writable");
    fs::remove_file(&path).expect("removable");
    symlink(&outside, &path).expect("a link");
    assert!(!layout.has(&descriptor).expect("answers"));
    assert!(matches!(layout.size_of(&descriptor.digest), Err(StoreError::NotAFile { .. })));
    assert!(matches!(layout.open_raw(&descriptor.digest), Err(StoreError::NotAFile { .. })));
    layout.put("x", b"content").expect("stored");
    assert!(fs::symlink_metadata(&path).expect("there").is_file());
    assert_eq!(fs::read(&outside).expect("readable"), b"content", "what the link led to is untouched");
}

#[test]
fn links_below_the_root_are_refused() {
    for name in ["blobs", "blobs/sha256"] {
        let (directory, layout) = layout();
        let aside = directory.path().join("aside");
        fs::rename(layout.root().join(name), &aside).expect("movable");
        symlink(&aside, layout.root().join(name)).expect("a link");
        for result in [Layout::open(layout.root()), Layout::create(layout.root())] {
            assert!(matches!(result, Err(StoreError::NotALayout { .. })), "{name}");
        }
    }
    let (directory, layout) = layout();
    let link = directory.path().join("link");
    symlink(layout.root(), &link).expect("a link");
    assert!(Layout::open(link).is_ok(), "the root itself may be one");
}

#[test]
fn many_threads_write_one_digest_while_others_read_it() {
    let (_directory, layout) = layout();
    let content = vec![3; 300_000];
    let descriptor = Descriptor::of("x", &content);
    let barrier = Barrier::new(12);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let (layout, content, descriptor, barrier) = (layout.clone(), &content, &descriptor, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..5 {
                    if thread % 2 == 0 {
                        let mut writer = layout.writer().expect("opens");
                        for part in content.chunks(40_000) {
                            writer.append(part).expect("written");
                        }
                        writer.commit(Some(descriptor.digest), Some(descriptor.size)).expect("committed");
                    } else if layout.has(descriptor).expect("answers") {
                        let mut seen = Vec::new();
                        let mut reader = layout.open(descriptor).expect("what is there is whole");
                        reader.read_to_end(&mut seen).expect("and right");
                        assert_eq!(seen.len(), content.len());
                    }
                }
            });
        }
    });
    assert_eq!(fs::read_dir(layout.root().join("blobs/sha256")).expect("there").count(), 1);
    assert_eq!(fs::read_dir(layout.root().join("ingest")).expect("there").count(), 0);
}

#[test]
fn no_change_of_the_index_is_lost_and_no_reader_sees_half() {
    let (_directory, layout) = layout();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let layout = Layout::open(layout.root()).expect("opens");
            scope.spawn(move || {
                for number in 0..10 {
                    let blob = layout.put("x", format!("{thread}/{number}").as_bytes()).expect("stored");
                    layout.update_index(|entries| entries.push(blob)).expect("changed");
                    assert!(layout.index().expect("never torn").len() > number);
                }
            });
        }
    });
    assert_eq!(layout.index().expect("readable").len(), 60);
}

#[test]
fn the_order_of_names_changes_no_byte() {
    let bytes = |names: &[&str]| {
        let (_directory, layout) = layout();
        for name in names {
            let mut entry = layout.put("x", name.as_bytes()).expect("stored");
            let annotation = ("org.opencontainers.image.ref.name".to_owned(), (*name).to_owned());
            entry.annotations = Some([annotation].into_iter().collect());
            layout.update_index(|entries| entries.push(entry)).expect("changed");
        }
        fs::read(layout.root().join("index.json")).expect("readable")
    };
    assert_eq!(bytes(&["a", "b", "c"]), bytes(&["c", "a", "b"]));
}

#[test]
fn a_torn_index_is_said_to_be_one_and_never_written_over() {
    let (_directory, layout) = layout();
    let blob = layout.put("x", b"x").expect("stored");
    layout.update_index(|entries| entries.push(blob)).expect("changed");
    let path = layout.root().join("index.json");
    let good = fs::read(&path).expect("readable");
    let half = good[..good.len() / 2].to_vec();
    let zeros = vec![0; good.len()];
    let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_vec();
    let folded = br#"{"schemaVersion":2,"manifests":[],"Manifests":[]}"#.to_vec();
    let other_version = br#"{"schemaVersion":3,"manifests":[]}"#.to_vec();
    let other_type = br#"{"schemaVersion":2,"mediaType":"x","manifests":[]}"#.to_vec();
    for torn in [Vec::new(), half, zeros, twice, folded, other_version, other_type, b"[]".to_vec()] {
        fs::write(&path, &torn).expect("writable");
        let error = layout.index().expect_err("it is torn");
        assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
        assert!(error.to_string().contains("index.json"), "{error}");
        assert!(error.help().is_some_and(|help| help.contains("catamaran build")), "{error}");
        assert!(layout.update_index(|_| ()).is_err());
        assert!(Layout::create(layout.root()).is_ok(), "making a layout does not judge its names");
        assert_eq!(fs::read(&path).expect("readable"), torn, "left as it was");
    }
    fs::remove_file(&path).expect("removable");
    Layout::create(layout.root()).expect("opens");
    assert_eq!(layout.index().expect("readable"), []);
}

#[test]
fn a_directory_without_a_layout_is_told_from_a_broken_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = Layout::open(directory.path()).expect_err("nothing is there");
    assert!(matches!(error, StoreError::Absent { .. }));
    assert_eq!(error.class(), ErrorClass::Incomplete);
    for marker in ["", "{}", r#"{"imageLayoutVersion":"2.0.0"}"#, "\0\0"] {
        fs::write(directory.path().join("oci-layout"), marker).expect("writable");
        assert!(matches!(Layout::open(directory.path()), Err(StoreError::NotALayout { .. })), "{marker:?}");
        assert!(matches!(Layout::create(directory.path()), Err(StoreError::NotALayout { .. })), "{marker:?}");
    }
}

#[test]
fn quarantine_moves_a_damaged_blob_aside_and_the_next_write_brings_it_back() {
    let (_directory, layout) = layout();
    let blob = layout.put("x", b"content").expect("stored");
    for round in 1..=3 {
        fs::write(blob_path(&layout, &blob.digest), b"tnetnoc").expect("writable");
        assert!(layout.quarantine(&blob.digest).expect("moved"));
        assert_eq!(layout.size_of(&blob.digest).expect("answers"), None);
        assert!(!layout.quarantine(&blob.digest).expect("nothing there"));
        layout.put("x", b"content").expect("stored");
        assert_eq!(layout.read(&blob, 100).expect("whole"), b"content");
        let kept = fs::read_dir(layout.root().join("corrupt")).expect("there");
        assert_eq!(kept.count(), round, "every damaged copy is kept");
    }
    fs::remove_file(blob_path(&layout, &blob.digest)).expect("removable");
    fs::create_dir(blob_path(&layout, &blob.digest)).expect("a directory");
    assert!(layout.quarantine(&blob.digest).expect("moved"), "what is no file is moved too");
    layout.put("x", b"content").expect("stored");
}

#[test]
fn a_sweep_takes_orphans_and_leaves_living_writers_alone() {
    let (_directory, layout) = layout();
    let mut writer = layout.writer().expect("opens");
    writer.append(b"alive").expect("written");
    fs::write(layout.root().join("ingest/blob-orphan"), b"left by a kill").expect("writable");
    assert_eq!(layout.sweep().expect("swept"), 1);
    assert_eq!(layout.sweep().expect("swept"), 0);
    writer.commit(Some(Digest::of("alive")), None).expect("the writer never noticed");
}

#[test]
fn sweeps_never_disturb_writers() {
    let (_directory, layout) = layout();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                layout.sweep().expect("swept");
            }
        });
        for number in 0_u32..300 {
            layout.put("x", &number.to_le_bytes()).expect("stored");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_blob_is_resumed_where_an_earlier_writer_left_off() {
    let (_directory, layout) = layout();
    let digest = Digest::of("beginning and end");
    let mut writer = layout.resume(&digest).expect("opens");
    writer.append(b"beginning").expect("written");
    let mut other = layout.resume(&digest).expect("opens");
    assert_eq!(other.written(), 0, "a writer at work is not disturbed");
    other.keep_partial(false);
    drop(other);
    writer.keep_partial(true);
    drop(writer);
    assert_eq!(layout.sweep().expect("swept"), 0, "what is young stays");
    let mut writer = layout.resume(&digest).expect("opens");
    assert_eq!(writer.written(), 9);
    writer.append(b" and end").expect("written");
    assert_eq!(writer.commit(Some(digest), Some(17)).expect("whole"), (digest, 17));
    // What is wrong is not gone on with.
    let digest = Digest::of("something");
    let mut writer = layout.resume(&digest).expect("opens");
    writer.append(b"wrong").expect("written");
    writer.keep_partial(true);
    writer.commit(Some(digest), None).expect_err("corrupt");
    assert_eq!(layout.resume(&digest).expect("opens").written(), 0);
    let left = fs::read_dir(layout.root().join("ingest")).expect("there").count();
    assert_eq!(left, 0);
}
