use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use catamaran::base::{ErrorClass, Failure as _, media_type};
use catamaran::bundle::{BundleError, write_bundle};
use catamaran::event::NoEvents;
use catamaran::image::names;
use catamaran::store::{Layout, StoreError};
use catamaran::verify::{Depth, ExpectedIndex, verify_layout, verify_names};
use tokio_util::sync::CancellationToken;

use crate::support::dice::{Dice, seed};
use crate::support::images::{Fleet, Image, file, noise, platform};

/// What a child process has to do, and where. Without it the child's test does nothing.
const TASK: &str = "CATAMARAN_TEST_CHILD";

/// Starts this test binary again to run [`child`] with a task, under `wrapper` if there is one.
fn start(wrapper: &[&str], task: &str, directory: &Path) -> Child {
    let own = env::current_exe().expect("its own path");
    let words = wrapper.iter().map(PathBuf::from).chain([own]).collect::<Vec<_>>();
    Command::new(&words[0])
        .args(&words[1..])
        .args(["--exact", "store::processes::child", "--ignored", "--nocapture"])
        .env(TASK, format!("{task}:{}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started")
}

fn must_succeed(child: Child) {
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn child() {
    let Ok(task) = env::var(TASK) else { return };
    let (task, directory) = task.split_once(':').expect("a task and a directory");
    match task {
        "fleet" => drop(build(Path::new(directory))),
        "full" => full_disk(Path::new(directory)),
        other => panic!("no task `{other}`"),
    }
}

/// A fleet whose blobs are large enough that a kill hits in the middle of one.
fn build(directory: &Path) -> Vec<ExpectedIndex> {
    let layout = Layout::create(directory.join("layout")).expect("a layout");
    // Its own directory is not used: the layout is shared.
    let mut fleet = Fleet { layout, ..Fleet::empty() };
    for number in 0..6 {
        let name = format!("c{number}");
        let images: Vec<Image> = ["amd64", "arm64"]
            .iter()
            .map(|platform| {
                let mut image = Image::small(&name, platform);
                image.layer_type = media_type::LAYER;
                image.layers.push(vec![file("data", 0o644, noise(number, 300_000))]);
                image
            })
            .collect();
        fleet.add(&name, &images);
    }
    fleet.roots
}

fn assert_whole(directory: &Path, roots: &[ExpectedIndex]) {
    let layout = Layout::open(directory.join("layout")).expect("a layout");
    let report = verify_layout(&layout, roots, Depth::Blobs, &CancellationToken::new());
    assert_eq!(report.findings, []);
    assert_eq!(verify_names(&layout.index().expect("readable"), roots), []);
    assert_eq!(names(&layout).expect("readable").len(), roots.len());
}

#[test]
fn four_processes_make_the_same_fleet_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let children: Vec<Child> = (0..4).map(|_| start(&[], "fleet", directory.path())).collect();
    children.into_iter().for_each(must_succeed);
    let expected = build(tempfile::tempdir().expect("a directory").path());
    assert_whole(directory.path(), &expected);
    assert_eq!(fs::read_dir(directory.path().join("layout/ingest")).expect("there").count(), 0);
}

#[test]
fn a_kill_at_any_moment_leaves_only_whole_names_and_the_next_run_completes() {
    let reference = tempfile::tempdir().expect("a directory");
    let expected = build(reference.path());
    let index = fs::read(reference.path().join("layout/index.json")).expect("there");
    let mut dice = Dice(seed("kills of writers"));
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..12_u32 {
        if round % 4 == 0 {
            fs::remove_dir_all(directory.path().join("layout")).ok();
        }
        let mut child = start(&[], "fleet", directory.path());
        let wait = dice.below(150);
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().expect("killed");
        child.wait().expect("it ended");
        // At whatever moment it was: every name that is visible has all that it needs.
        if let Ok(layout) = Layout::open(directory.path().join("layout"))
            && layout.root().join("index.json").exists()
        {
            let named = names(&layout).expect("never torn");
            let roots: Vec<ExpectedIndex> = expected
                .iter()
                .filter(|root| named.iter().any(|(name, _)| *name == root.reference.to_string()))
                .cloned()
                .collect();
            assert_eq!(named.len(), roots.len());
            let report = verify_layout(&layout, &roots, Depth::Blobs, &CancellationToken::new());
            assert_eq!(report.findings, [], "round {round}");
        }
    }
    must_succeed(start(&[], "fleet", directory.path()));
    assert_whole(directory.path(), &expected);
    assert_eq!(fs::read(directory.path().join("layout/index.json")).expect("there"), index, "byte for byte");
    let layout = Layout::open(directory.path().join("layout")).expect("a layout");
    layout.sweep().expect("swept");
    assert_eq!(fs::read_dir(layout.root().join("ingest")).expect("there").count(), 0, "orphans are swept");
}

#[test]
fn a_full_disk_is_said_to_be_one_and_what_was_there_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let mount = r#"mount -t tmpfs -o size=2m none "$0" && exec "$@""#;
    let place = directory.path().to_str().expect("UTF-8");
    // A mount namespace of its own: the file system goes with the process. Ordinary users need a user namespace for it.
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let wrapper = [&["unshare", "--mount"], user, &["sh", "-c", mount, place]].concat();
    must_succeed(start(&wrapper, "full", directory.path()));
}

/// Runs on a file system of two mebibytes.
fn full_disk(directory: &Path) {
    let layout = Layout::create(directory.join("layout")).expect("a layout");
    let mut fleet = Fleet { layout, ..Fleet::empty() };
    let big = |name: &str, size: usize| {
        let mut image = Image::small(name, "amd64");
        image.layer_type = media_type::LAYER;
        image.layers.push(vec![file("data", 0o644, noise(size as u64, size))]);
        image
    };
    fleet.add("first", &[big("first", 900_000)]);
    let before = fs::read(fleet.layout.root().join("index.json")).expect("readable");

    let mut writer = fleet.layout.writer().expect("opens");
    let mut failed = None;
    for part in noise(1, 3_000_000).chunks(64 << 10) {
        if let Err(error) = writer.append(part) {
            failed = Some(error);
            break;
        }
    }
    let error = failed.expect("three megabytes do not fit into two");
    assert_eq!(error.class(), ErrorClass::Disk);
    assert!(matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull));
    assert!(error.to_string().contains(&*fleet.layout.root().to_string_lossy()), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("free some space")));
    drop(writer);
    assert_eq!(fs::read_dir(fleet.layout.root().join("ingest")).expect("there").count(), 0, "it gave its space back");

    // A bundle that does not fit is refused before its first byte.
    let path = directory.join("fleet.tar");
    let write = |fleet: &Fleet, free: &CancellationToken| {
        write_bundle(&fleet.layout, &fleet.contents(), &path, &NoEvents, free)
    };
    let filler = directory.join("filler");
    fs::write(&filler, vec![1; 600_000]).expect("it fits");
    let error = write(&fleet, &CancellationToken::new()).expect_err("it does not fit");
    assert!(matches!(error, BundleError::NoSpace { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Disk);
    assert!(!path.exists());

    assert_eq!(fs::read(fleet.layout.root().join("index.json")).expect("readable"), before);
    fs::remove_file(&filler).expect("removable");
    write(&fleet, &CancellationToken::new()).expect("now it fits");
    let report = verify_layout(&fleet.layout, &fleet.roots, Depth::Layers, &CancellationToken::new());
    assert_eq!(report.findings, []);
    assert_eq!(fleet.roots[0].platforms, [platform("amd64")]);
}
