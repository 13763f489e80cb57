//! `fixtures/infra`, a fleet with a hub that eight components download from: all cells that can run at once, beside one at a time.
//!
//! `cargo bench --bench story [-- --pause SECONDS]`. Each step waits (3 s) rather than computes, so that the ratio tells how many
//! ran at once and not how many processors there are. Every build starts with a state directory and a builder of its own; bases
//! and externals are in the layout before the clock starts. `scripts/setup bench` installs the parts.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    let one = build(&tree, "one", &["--jobs", "1"]);
    let all = build(&tree, "all", &[]);
    let ratio = all.as_secs_f64() / one.as_secs_f64();
    let verdict = if ratio < TARGET { "reached" } else { "missed" };
    println!("24 cells with steps of {pause} s: {:.1} s / {:.1} s with --jobs 1", all.as_secs_f64(), one.as_secs_f64());
    println!("ratio {ratio:.2}, target below {TARGET:.2}: {verdict}");
    assert!(ratio < TARGET, "too few cells run at once");
}

/// Builds with a state of its own.
fn build(tree: &Path, state: &str, more: &[&str]) -> Duration {
    let state = tree.parent().expect("below the folder").join(state);
    let state = state.to_str().expect("text");
    run(tree, &["prefetch", "--state", state]);
    let begin = Instant::now();
    run(tree, &[&["build", "--state", state], more].concat());
    begin.elapsed()
}

fn run(tree: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran"));
    command.args(arguments).current_dir(tree).env_remove("BUILDKIT_HOST").stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.stderr(Stdio::piped()).output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
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
