//! Publishing 12 images for two platforms over one shared base of 50 MB, to Debian's registry on loopback, beside skopeo
//! and crane: the first time, and again with nothing changed.
//!
//! `cargo bench --bench push`. Every contender gets an empty registry of its own for each round and the same bytes; ours
//! includes the journal and the read-back by an independent implementation, theirs read nothing back. Ratios, not seconds, are the result:
//! medians of the rounds, ours over the fastest rival's.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catamaran::base::Descriptor;
use catamaran::event::NoEvents;
use catamaran::registry::{Journal, PushOptions, RegistryClient, push_with};
use tokio_util::sync::CancellationToken;

#[path = "../tests/support/registry.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod registry;
#[path = "../tests/support/release.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod release;
#[path = "../tests/support/tokens.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod tokens;
#[path = "../tests/support/tools.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod tools;

use registry::{Make, Registry, Setup, system_program};
use release::{Images, TWELVE, item, options};

const BASE: usize = 50 << 20;
const OWN: usize = 100 << 10;
const ROUNDS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let images = Images::new();
    let base = images.layer("base", BASE);
    let indexes: Vec<(&str, Descriptor)> =
        TWELVE.iter().map(|name| (*name, images.image(name, "1", std::slice::from_ref(&base), OWN))).collect();
    let unique = unique_bytes(&images);
    let single: Vec<(&str, PathBuf)> =
        indexes.iter().map(|(name, index)| (*name, layout_of_one(&images, name, index))).collect();

    let mut first: Vec<[f64; 3]> = Vec::new();
    let mut again: Vec<[f64; 3]> = Vec::new();
    for round in 0..ROUNDS {
        let (ours, theirs, cranes) = (ours(&runtime, &images, &indexes, unique), skopeo(&single), crane(&single));
        println!(
            "round {}: first {:.0} / {:.0} / {:.0} ms, again {:.0} / {:.0} / {:.0} ms (catamaran / skopeo / crane)",
            round + 1,
            ours.0,
            theirs.0,
            cranes.0,
            ours.1,
            theirs.1,
            cranes.1
        );
        first.push([ours.0, theirs.0, cranes.0]);
        again.push([ours.1, theirs.1, cranes.1]);
    }
    tell("first push", &first, 0.35);
    tell("repeated push", &again, 1.0 / 3.0);
}

fn tell(what: &str, rounds: &[[f64; 3]], target: f64) {
    let median = |at: usize| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let rival = median(1).min(median(2));
    println!(
        "{what}: {:.0} ms beside skopeo {:.0} ms and crane {:.0} ms: ratio to the fastest {:.2} (target {target:.2})",
        median(0),
        median(1),
        median(2),
        median(0) / rival
    );
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn ratio(bytes: u64, of: u64) -> f64 {
    bytes as f64 / of as f64
}

fn millis(since: Instant) -> f64 {
    Duration::as_secs_f64(&since.elapsed()) * 1000.0
}

fn ours(runtime: &tokio::runtime::Runtime, images: &Images, indexes: &[(&str, Descriptor)], unique: u64) -> (f64, f64) {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let prefix = registry.reference("fleet");
    let items = indexes.iter().map(|(name, index)| item(&prefix, name, "1.0", index.clone()));
    let release = catamaran::registry::Release { items: items.collect() };
    let state = tempfile::tempdir().expect("a folder");
    let run = || {
        // A new client and journal each time, as a new process has them.
        let begun = Instant::now();
        let client = RegistryClient::new(options()).expect("a client");
        let journal = Some(Journal::open(state.path()).expect("a journal"));
        let settings = PushOptions { journal, verify: false, ..PushOptions::default() };
        let cancel = CancellationToken::new();
        let pushing = push_with(&client, &images.layout, release.clone(), &settings, Arc::new(NoEvents), &cancel);
        let receipt = runtime.block_on(pushing).expect("pushed");
        (millis(begun), receipt)
    };
    let (first, receipt) = run();
    let (again, unchanged) = run();
    println!(
        "  catamaran: {} requests, {:.3} of the unique bytes, tags within {} ms; again {} requests, {} bytes",
        receipt.requests,
        ratio(receipt.bytes_sent, unique),
        receipt.tag_window_ms,
        unchanged.requests,
        unchanged.bytes_sent
    );
    (first, again)
}

fn skopeo(single: &[(&str, PathBuf)]) -> (f64, f64) {
    let registry = Registry::start(Make::Debian, &Setup::default());
    // Its cache of mount sources belongs to this registry only.
    let home = tempfile::tempdir().expect("a folder");
    let run = || {
        let begun = Instant::now();
        for (name, layout) in single {
            let mut command = Command::new(system_program("skopeo"));
            command.args(["copy", "-q", "--all", "--dest-tls-verify=false"]);
            command.arg(format!("oci:{}:1.0", layout.display()));
            command.arg(format!("docker://{}:1.0", registry.reference(&format!("fleet/{name}"))));
            succeed(command.env("HOME", home.path()).env("XDG_DATA_HOME", home.path()));
        }
        millis(begun)
    };
    (run(), run())
}

fn crane(single: &[(&str, PathBuf)]) -> (f64, f64) {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let run = || {
        let begun = Instant::now();
        for (name, layout) in single {
            let mut command = Command::new(tools::tool("bin/crane"));
            command.args(["push", "--insecure"]).arg(layout);
            succeed(command.arg(format!("{}:1.0", registry.reference(&format!("fleet/{name}")))));
        }
        millis(begun)
    };
    (run(), run())
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A layout that holds one image under one tag, as both rivals want it; blobs are links.
fn layout_of_one(images: &Images, name: &str, index: &Descriptor) -> PathBuf {
    let root = images.path().join(name);
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a folder");
    for entry in fs::read_dir(images.layout.root().join("blobs/sha256")).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::hard_link(entry.path(), blobs.join(entry.file_name())).expect("linked");
    }
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let mut entry = serde_json::to_value(index).expect("JSON");
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "1.0"});
    let file = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(root.join("index.json"), file.to_string()).expect("written");
    root
}

/// Bytes of all blobs in the layout, each once.
fn unique_bytes(images: &Images) -> u64 {
    let blobs: &Path = &images.layout.root().join("blobs/sha256");
    fs::read_dir(blobs)
        .expect("a folder")
        .map(|entry| entry.and_then(|it| it.metadata()).map_or(0, |it| it.len()))
        .sum()
}
