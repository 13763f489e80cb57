//! `check` where everything answers: against the two seconds that it may take at most.
//!
//! `cargo bench --bench check [-- --runs N]`. A builder and Debian's registry, both on this machine; first the fleet of
//! `fixtures/`, then a made-up one of 100 components for two platforms, on eight bases out of that registry. Each run is the
//! program from its start to its end. The medians are printed as parts of the two seconds, so that a value over 1 is too much.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[expect(dead_code, reason = "other benches use the rest")]
mod daemon;
#[path = "../tests/support/registry.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod registry;
#[path = "../tests/support/tokens.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod tokens;
#[path = "../tests/support/tools.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod tools;

use daemon::Daemon;
use registry::{Make, Registry, Setup};

/// What `check` may take where everything answers.
const LIMIT: Duration = Duration::from_secs(2);
const BASES: usize = 8;
const COMPONENTS: usize = 100;
const HEAD: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\ncontext = \".\"\n";

fn catamaran(folder: &Path, arguments: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env("DOCKER_CONFIG", "/nonexistent");
    let begin = Instant::now();
    let output = command.output().expect("the program runs");
    let took = begin.elapsed();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{}{words}", String::from_utf8_lossy(&output.stdout));
    took
}

/// Bases in the registry, which cells of the made-up fleet are built from.
fn publish_bases(folder: &Path, daemon: &Daemon, registry: &Registry) {
    let mut project = format!("name = \"bases\"\ntag = \"1\"\n{HEAD}");
    for number in 0..BASES {
        fs::write(
            folder.join(format!("{number}.Dockerfile")),
            format!("FROM scratch\nCOPY catamaran.toml /{number}\n"),
        )
        .expect("a file");
        let _ = writeln!(project, "[component.base{number}]\ndockerfile = \"{number}.Dockerfile\"");
    }
    fs::write(folder.join("catamaran.toml"), project).expect("a file");
    let to = registry.reference("bases");
    catamaran(folder, &["build", "--push", "--to", &to, "--builder", &daemon.address]);
}

fn make_up(folder: &Path, registry: &Registry) {
    let mut project = format!("name = \"many\"\n{HEAD}");
    for number in 0..COMPONENTS {
        let sources = folder.join(format!("src/c{number:03}"));
        fs::create_dir_all(&sources).expect("a folder");
        for file in 0..20 {
            fs::write(sources.join(format!("f{file:02}")), format!("{number} {file}\n")).expect("a file");
        }
        let base = registry.reference(&format!("bases/base{}:1", number % BASES));
        fs::write(sources.join("Dockerfile"), format!("FROM {base}\nCOPY src/c{number:03}/f* /\n")).expect("a file");
        let _ = writeln!(project, "[component.c{number:03}]\ndockerfile = \"src/c{number:03}/Dockerfile\"");
    }
    fs::write(folder.join("catamaran.toml"), project).expect("a file");
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "cp -r {} {}", from.display(), to.display());
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runs: usize = arguments
        .iter()
        .position(|argument| argument == "--runs")
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(5);
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let registry = Registry::start(Make::Debian, &Setup::default());
    let daemon = Daemon::start(&daemon::tools(), scratch.path());
    let (bases, many, fleet) =
        (scratch.path().join("bases"), scratch.path().join("many"), scratch.path().join("fleet"));
    for folder in [&bases, &many] {
        fs::create_dir_all(folder).expect("a folder");
    }
    publish_bases(&bases, &daemon, &registry);
    make_up(&many, &registry);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fleet"), &fleet);
    for (name, folder) in [("fixtures/fleet", &fleet), ("200 cells", &many)] {
        let to = registry.reference("check");
        let check = || catamaran(folder, &["check", "--builder", &daemon.address, "--to", &to]);
        let mut times: Vec<Duration> = (0..runs.max(1)).map(|_| check()).collect();
        times.sort();
        let median = times[times.len() / 2];
        println!(
            "{name:15} each run: {times:.2?}, median {median:.2?}: {:.2} of the {} s that it may take",
            median.as_secs_f64() / LIMIT.as_secs_f64(),
            LIMIT.as_secs()
        );
    }
}
