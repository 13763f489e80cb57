//! `fixtures/infra`, a fleet with a hub that eight components download from: all cells that can run at once, beside one at a time,
//! and how long the hub holds them up.
//!
//! `cargo bench --bench story [-- --pause SECONDS]`. Each step waits (3 s) rather than computes, so that the ratio tells how many
//! ran at once and not how many processors there are. Every build starts with a state directory and a builder of its own; bases
//! and externals are in the layout before the clock starts. `scripts/setup bench` installs the parts.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long it may take, beyond the service's own start-up, from what a service and its dependents wait for to their first step.
const OVERHEAD: f64 = 0.5;

/// The eight that the service is for.
const DEPENDENTS: [&str; 8] =
    ["backend", "frontend", "jupyterhub", "nightingale", "prometheus", "singleuser", "slurm-master", "test-containers"];

/// The wall time that a build may take, as a part of that of one cell at a time.
const TARGET: f64 = 0.6;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--pause").skip(1);
    let pause: u32 = arguments.next().map_or(3, |text| text.parse().expect("a number of seconds"));
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(folder.path());
    let tree = folder.path().join("infra");
    let port = free_port();
    copy(&repository().join("fixtures/infra"), &tree, &|text: &str| {
        let text = text.replace("127.0.0.1:5005", &registry.address).replace("18081", &port.to_string());
        text.replace("PAUSE=1", &format!("PAUSE={pause}"))
    });
    run(&tree, &["init"]);
    run(&tree, &["lock"]);
    let (one, _) = build(&tree, "one", &["--jobs", "1"]);
    let (all, events) = build(&tree, "all", &[]);
    let ratio = all.as_secs_f64() / one.as_secs_f64();
    let verdict = if ratio < TARGET { "reached" } else { "missed" };
    println!("24 cells with steps of {pause} s: {:.1} s / {:.1} s with --jobs 1", all.as_secs_f64(), one.as_secs_f64());
    println!("ratio {ratio:.2}, target below {TARGET:.2}: {verdict}");
    let overhead = Overhead::of(&events);
    println!("{overhead}, target below {OVERHEAD:.2} s beyond its own start-up");
    assert!(ratio < TARGET, "too few cells run at once");
    assert!(overhead.total < OVERHEAD, "a service holds its dependents up");
}

/// What a service costs those that need it.
struct Overhead {
    /// Seconds from the end of the last cell that they waited for to the first step of any of them.
    total: f64,
    /// Seconds of that until the service answered: its image is mounted, it starts, it is looked at.
    up: f64,
}

impl Overhead {
    /// From the lines of `--progress json`.
    fn of(events: &[Value]) -> Self {
        let times = |name: &'static str, dependents: bool| {
            let mine = move |event: &&Value| {
                let component = event["component"].as_str().unwrap_or_default();
                event["event"] == name && DEPENDENTS.contains(&component) == dependents
            };
            events.iter().filter(mine).filter_map(|event| event["seconds"].as_f64())
        };
        let first = |name| times(name, true).fold(f64::INFINITY, f64::min);
        let due = first("cell-started");
        let waited = times("cell-finished", false).filter(|seconds| *seconds <= due).fold(0.0, f64::max);
        let ready = times("service-ready", false).fold(0.0, f64::max);
        Self { total: first("step-started") - waited, up: ready - waited }
    }
}

impl fmt::Display for Overhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, up) = (self.total, self.up);
        write!(f, "service: {total:.3} s from the last cell before it to the first step after it, up after {up:.3} s")
    }
}

/// Builds with a state of its own, and gives what the run told of itself.
fn build(tree: &Path, state: &str, more: &[&str]) -> (Duration, Vec<Value>) {
    let state = tree.parent().expect("below the folder").join(state);
    let state = state.to_str().expect("text");
    run(tree, &["prefetch", "--state", state]);
    let begin = Instant::now();
    let told = run(tree, &[&["build", "--state", state, "--progress", "json"], more].concat());
    (begin.elapsed(), told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Gives what it writes to its standard error.
fn run(tree: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran"));
    command.args(arguments).current_dir(tree).env_remove("BUILDKIT_HOST").stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.stderr(Stdio::piped()).output().expect("the program starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {told}");
    told
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn copy(from: &Path, to: &Path, change: &dyn Fn(&str) -> String) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name();
        if name == ".catamaran" || name == "catamaran.toml" || name == "catamaran.lock" {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name), change);
        } else {
            let text = fs::read_to_string(entry.path()).expect("a text");
            fs::write(to.join(name), change(&text)).expect("a file");
        }
    }
}

/// What the fixture takes from outside.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(folder: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let storage = folder.join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"{address}\"}}\n",
            storage.display()
        );
        fs::write(folder.join("registry.yml"), config).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("registry.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is missing: run scripts/setup bench");
        let registry = Self { child, address };
        let begin = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let filled = Command::new(repository().join("scripts/fill-registry")).arg(&registry.address).status();
        assert!(filled.expect("the script starts").success());
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
