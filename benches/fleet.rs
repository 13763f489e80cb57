//! A whole fleet beside `buildx bake`: 12 components of 10 MB on a 50 MB base, two platforms, one daemon.
//!
//! `cargo bench --bench fleet [-- --runs N]`. Cold is an empty builder cache and no earlier result; cached is the same
//! command again with everything in the builder's cache, for catamaran with `--force`, so that it asks the builder; no-op is
//! it again without, when catamaran finds that nothing has changed, against the same warm run of bake. For bake the results go to OCI directories, for catamaran to its
//! layout. With `-- --many` instead: 1,000 cells over 100,000 files are built once, and then only found to be unchanged, with a
//! closed port for a builder. Medians, ratios and the peak memory of catamaran are printed; `scripts/setup bench` installs the parts.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "daemon.rs"]
mod daemon;

use daemon::{Daemon, tools};

/// Wall time, and the highest resident set in bytes that was seen.
fn timed(mut command: Command) -> (Duration, u64) {
    let start = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a program");
    let mut stderr = child.stderr.take().expect("stderr");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).ok();
        text
    });
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        if let Ok(text) = fs::read_to_string(&status_file) {
            let kilobytes = text
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let took = start.elapsed();
    let text = reader.join().expect("the reader");
    assert!(status.success(), "{command:?}\n{}", String::from_utf8_lossy(&text));
    (took, peak)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn generate(fleet: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/generate-fleet");
    let generated = Command::new(script)
        .arg(fleet)
        .args(["--components", "12", "--payload-mb", "10", "--base-mb", "50", "--bake"])
        .stdout(Stdio::null())
        .status()
        .expect("scripts/generate-fleet");
    assert!(generated.success(), "scripts/generate-fleet");
}

#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Times {
    fn print(&self, what: &str) {
        let (ours, theirs) = (median(&self.ours), median(&self.theirs));
        println!("  {what:7} each run: catamaran {:.2?}  bake {:.2?}", self.ours, self.theirs);
        println!("  {what:7} catamaran {ours:6.2} s   buildx bake {theirs:6.2} s   ratio {:.2}", ours / theirs);
    }
}

/// 500 components of 200 files each for two platforms, all in one context.
fn generate_many(folder: &Path) {
    let mut project = "name = \"many\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\ncontext = \".\"\n".to_owned();
    for component in 0..500 {
        let sources = folder.join(format!("src/c{component:03}"));
        fs::create_dir_all(&sources).expect("a folder");
        for file in 0..200 {
            fs::write(sources.join(format!("f{file:03}")), format!("{component} {file}\n").repeat(20)).expect("a file");
        }
        let dockerfile = format!("docker/c{component:03}");
        fs::create_dir_all(folder.join(&dockerfile)).expect("a folder");
        let text = format!("FROM scratch\nCOPY src/c{component:03} /\n");
        fs::write(folder.join(&dockerfile).join("Dockerfile"), text).expect("a file");
        project += &["[component.c", &format!("{component:03}"), "]\ndockerfile = \"", &dockerfile, "/Dockerfile\"\n"]
            .concat();
    }
    fs::write(folder.join("catamaran.toml"), project).expect("a file");
}

/// How long it takes to find that nothing is to do.
fn many(scratch: &Path, daemon: &Daemon, runs: usize) {
    let folder = scratch.join("many");
    generate_many(&folder);
    let build = |builder: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran"));
        command.args(["build", "--progress", "plain", "--builder", builder]).current_dir(&folder);
        timed(command)
    };
    println!("1,000 cells over 100,000 files: built in {:.0} s", build(&daemon.address).0.as_secs_f64());
    let (times, memory): (Vec<f64>, Vec<u64>) =
        (0..runs).map(|_| build("tcp://127.0.0.1:1")).map(|(took, memory)| (took.as_secs_f64(), memory)).unzip();
    println!("  no-op   each run: {times:.2?}, median {:.2} s", median(&times));
    println!("  peak memory {} MB", memory.into_iter().max().unwrap_or(0) / 1_000_000);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runs: usize = arguments
        .iter()
        .position(|argument| argument == "--runs")
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(3);
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let daemon = Daemon::start(&tools(), scratch.path());
    if arguments.iter().any(|argument| argument == "--many") {
        return many(scratch.path(), &daemon, runs);
    }
    let fleet = scratch.path().join("fleet");
    generate(&fleet);
    let buildx = || {
        let mut command = Command::new(tools().join("buildx"));
        command.env("BUILDX_CONFIG", scratch.path().join("buildx")).current_dir(&fleet);
        command
    };
    let mut create = buildx();
    create.args(["create", "--driver", "remote", "--name", "bench", &daemon.address]);
    timed(create);
    let bake = || {
        let mut command = buildx();
        command.args(["bake", "--builder", "bench", "--progress", "plain"]);
        timed(command).0.as_secs_f64()
    };
    let mut peak = 0;
    let mut catamaran = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran"));
        command.args(["build", "--progress", "plain", "--builder", &daemon.address]).args(more).current_dir(&fleet);
        let (took, memory) = timed(command);
        peak = peak.max(memory);
        took.as_secs_f64()
    };

    let (mut cold, mut cached, mut no_op) = (Times::default(), Times::default(), Times::default());
    for run in 0..runs {
        // Who goes first alternates, so that a machine that slows down or warms up favours neither.
        for ours in [run % 2 == 0, run % 2 != 0] {
            daemon.forget();
            fs::remove_dir_all(fleet.join(".catamaran")).ok();
            fs::remove_dir_all(fleet.join("out")).ok();
            if ours {
                cold.ours.push(catamaran(&[]));
                cached.ours.push(catamaran(&["--force"]));
                no_op.ours.push(catamaran(&[]));
            } else {
                cold.theirs.push(bake());
                cached.theirs.push(bake());
                no_op.theirs.push(bake());
            }
        }
    }
    println!("fleet of 13 x 2 cells, {runs} runs each, medians");
    cold.print("cold");
    cached.print("cached");
    no_op.print("no-op");
    println!("  peak memory of catamaran {} MB", peak / 1_000_000);
}
