//! Sending a context of 50,000 small files to a builder beside packing and unpacking it with `tar`.
//!
//! `cargo bench --bench context [-- --files N]`. What is timed is the builder's step that loads the context: the walk, the
//! transfer and the builder's writing of the files; with nothing changed the walk and the comparison alone, beside `tar`
//! reading everything. Medians of 3 runs in turn, and their ratios; `scripts/setup bench` installs the parts.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "daemon.rs"]
mod daemon;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use daemon::{Daemon, tools};
use serde_json::Value;

const RUNS: usize = 3;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--files");
    let files: usize = arguments.nth(1).map_or(50_000, |number| number.parse().expect("a number of files"));
    let directory = tempfile::tempdir().expect("a folder");
    let project = directory.path().join("project");
    scatter(&project.join("context"), files);
    fs::write(project.join("Dockerfile"), "FROM scratch\nCOPY . /\n").expect("a file");
    let config = "platforms = [\"linux/amd64\"]\ncontext = \"context\"\n[component.all]\ndockerfile = \"Dockerfile\"\n";
    fs::write(project.join("catamaran.toml"), config).expect("a file");
    let daemon = Daemon::start(&tools(), directory.path());

    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..RUNS {
        daemon.forget();
        times[0].push(load(&project, &daemon.address));
        times[1].push(shell(&project, "rm -rf ../copy; mkdir ../copy; tar -cf - -C context . | tar -xf - -C ../copy"));
        times[2].push(load(&project, &daemon.address));
        times[3].push(shell(&project, "tar -cf - -C context . | cat >/dev/null"));
    }
    let [first, both, again, pack] = times.map(median);
    println!("{files} files, medians of {RUNS}");
    println!("sent:      {first:.2} s / tar | tar  {both:.2} s = {:.2}", first / both);
    println!("unchanged: {again:.2} s / tar | cat  {pack:.2} s = {:.2}", again / pack);
}

/// Folders of a hundred files of a few hundred bytes each.
fn scatter(root: &Path, files: usize) {
    for number in 0..files {
        let folder = root.join(format!("{:02}/{:03}", number % 50, number / 5000));
        if number % 5000 < 50 {
            fs::create_dir_all(&folder).expect("a folder");
        }
        fs::write(folder.join(number.to_string()), format!("file {number}\n").repeat(20)).expect("a file");
    }
}

/// Builds, and gives the seconds that the builder took to load the context.
fn load(project: &Path, address: &str) -> f64 {
    let output = Command::new(env!("CARGO_BIN_EXE_catamaran"))
        .args(["build", "--force", "--progress", "json", "--builder", address])
        .current_dir(project)
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_load = |event: &&Value| event["name"].as_str().is_some_and(|name| name.contains("load build context"));
    let step = events.iter().find(is_load).map(|event| event["step"].clone()).expect("a step that loads the context");
    let finished = |event: &&Value| event["step"] == step && event["took"].is_number();
    events.iter().rev().find(finished).and_then(|event| event["took"].as_f64()).expect("it ended")
}

fn shell(project: &Path, command: &str) -> f64 {
    let begin = Instant::now();
    let status = Command::new("sh").args(["-c", command]).current_dir(project).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
    begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
