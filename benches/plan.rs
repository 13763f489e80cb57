//! `plan` of 1,000 components for two platforms beside `buildx bake --print` of an equal bake file, and `plan` of a
//! repository of 100,000 files.
//!
//! `cargo bench --bench plan`. Wall time of the whole program and its highest resident set: the aims are 0.3 s and 100 MB.
//! Medians of 5 runs in turn; `scripts/setup bench` installs buildx.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

#[expect(dead_code, reason = "shared with benches that move bytes")]
#[path = "side_by_side.rs"]
mod side_by_side;
#[path = "../tests/support/tools.rs"]
#[expect(dead_code, reason = "shared with the tests, which need more of it")]
mod tools;

const COMPONENTS: usize = 1_000;
const PROGRAM: &str = env!("CARGO_BIN_EXE_catamaran");

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    fleet(folder.path());
    let root = folder.path().display();
    let ours = format!("cd {root} && {PROGRAM} plan --json >/dev/null");
    let buildx = tools::tool("bin/buildx");
    let theirs = format!("cd {root} && {} bake -f docker-bake.hcl --print >/dev/null 2>&1", buildx.display());
    let compared = || side_by_side::shell(&ours);
    side_by_side::compare("plan of 2,000 cells / buildx bake --print", 1.0, compared, || side_by_side::shell(&theirs));
    measure("2,000 cells", folder.path());

    let large = tempfile::tempdir().expect("a folder");
    repository(large.path());
    measure("100,000 files in 1,000 folders, all of them roots", large.path());
}

/// One run that is looked at: wall time, and the highest resident set by `/proc` once it is about to end.
fn measure(what: &str, root: &Path) {
    let start = Instant::now();
    // The shell waits for it and then knows the peak of its children better than anybody who looks from outside.
    let script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); \
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let output = Command::new("python3")
        .args(["-c", script, PROGRAM, "-C"])
        .arg(root)
        .args(["plan", "--json"])
        .stderr(Stdio::inherit())
        .output()
        .expect("python3 can be started");
    let kilobytes: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a peak");
    println!("plan, {what}: {:.3} s with python, {} MB", start.elapsed().as_secs_f64(), kilobytes / 1024);
}

/// A project and a bake file that mean the same: a tenth of the components are bases of the others.
fn fleet(root: &Path) {
    let platforms = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n";
    let mut project = format!("name = \"many\"\n{platforms}registry = [\"r.example.com\"]\n");
    let mut bake = String::from("group \"default\" {\n  targets = [");
    for number in 0..COMPONENTS {
        let _ = write!(bake, "\"c{number}\",");
    }
    bake.push_str("]\n}\n");
    for number in 0..COMPONENTS {
        let base = number % (COMPONENTS / 10);
        let is_base = base == number;
        let directory = root.join(format!("src/c{number}"));
        fs::create_dir_all(&directory).expect("a folder");
        let from = if is_base { "scratch" } else { "base" };
        let text = format!("FROM {from}\nARG VERSION\nCOPY src/c{number} /src\nENV V=$VERSION\n");
        fs::write(directory.join("Dockerfile"), text).expect("a file");
        let context = |scheme: &str| {
            if is_base { String::new() } else { format!("contexts = {{ base = \"{scheme}:c{base}\" }}\n") }
        };
        let common = format!("dockerfile = \"src/c{number}/Dockerfile\"\nargs = {{ VERSION = \"{number}\" }}\n");
        let _ = write!(project, "[component.c{number}]\n{common}{}", context("component"));
        let tag = format!("tags = [\"r.example.com/c{number}:latest\"]\n");
        let _ = write!(bake, "target \"c{number}\" {{\n{platforms}{common}{tag}{}}}\n", context("target"));
    }
    fs::write(root.join("catamaran.toml"), project).expect("a file");
    fs::write(root.join("docker-bake.hcl"), bake).expect("a file");
}

/// 1,000 folders of 100 files, every tenth of them a component.
fn repository(root: &Path) {
    let text = "name = \"large\"\nplatforms = [\"linux/amd64\"]\n[discover]\nroots = [\"src/**\"]\n";
    fs::write(root.join("catamaran.toml"), text).expect("a file");
    for folder in 0..1_000 {
        let directory = root.join(format!("src/g{}/f{folder}", folder / 50));
        fs::create_dir_all(&directory).expect("a folder");
        for file in 0..100 {
            fs::write(directory.join(format!("{file}.txt")), "").expect("a file");
        }
        if folder % 10 == 0 {
            fs::write(directory.join("Dockerfile"), "FROM scratch\nCOPY . /\n").expect("a file");
        }
    }
}
