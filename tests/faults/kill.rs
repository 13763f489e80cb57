use std::thread;
use std::time::{Duration, Instant};

use super::project::{Gate, Project, all_end, show};
use crate::support::dice::{Dice, number, seed};

/// How many kills one run of the tests makes. The campaign makes thousands.
const SAMPLE: u32 = 10;

/// `CATAMARAN_SEED` repeats a run, `CATAMARAN_KILLS` makes it longer.
#[test]
fn d15_sigkill_at_any_moment_leaves_nothing_and_a_rerun_completes() {
    let seed = seed("kills of builds");
    let mut dice = Dice(seed);
    let project = Project::new("");
    let begin = Instant::now();
    let first = project.run(&["build"]);
    let whole = u64::try_from(begin.elapsed().as_millis()).expect("some seconds");
    assert_eq!(first.status.code(), Some(0), "{}", show(&first));
    for round in 0..number("CATAMARAN_KILLS").unwrap_or(u64::from(SAMPLE)) {
        // Something new in the lowest layer, or every cell would come from the builder's cache.
        project.write("base/stamp", format!("{seed} {round}"));
        let after = Duration::from_millis(dice.below(whole));
        let mut run = project.start(&["build"]);
        thread::sleep(after);
        let processes = run.processes();
        let early = run.process.try_wait().expect("a child").is_none();
        run.process.kill().expect("a child");
        run.process.wait().expect("a child");
        println!("round {round}: killed after {after:?}{}", if early { "" } else { ", which was too late" });
        all_end(&processes);
        let rerun = project.run(&["build"]);
        assert_eq!(rerun.status.code(), Some(0), "round {round}, seed {seed}: {}", show(&rerun));
        project.is_complete();
    }
}

/// The same at the one moment that matters most: while a step runs.
#[test]
fn sigkill_in_mid_step_ends_the_step_and_a_rerun_completes() {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let mut run = project.start(&["build"]);
    let held = gate.arrival();
    let processes = run.processes();
    for name in ["buildkitd", "runc"] {
        assert!(processes.iter().any(|process| process.name == name), "no {name} among {processes:?}");
    }
    run.process.kill().expect("a child");
    run.process.wait().expect("a child");
    all_end(&processes);
    drop((gate, held));
    project.completes(&["build"]);
}

/// What a daemon leaves that is killed between making a snapshot's directory and entering it into its data base.
fn plant_snapshot(project: &Project) {
    let root = project.path(".catamaran/builder/root");
    let worker = std::fs::read_dir(&root).expect("a root").filter_map(Result::ok).map(|entry| entry.path());
    let snapshots = worker.map(|path| path.join("snapshots/snapshots")).find(|path| path.is_dir()).expect("snapshots");
    let numbers = std::fs::read_dir(&snapshots).expect("a folder").filter_map(Result::ok);
    let last = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().expect("some");
    std::fs::create_dir_all(snapshots.join((last + 1).to_string()).join("fs")).expect("writable");
}

#[test]
fn a_snapshot_that_a_killed_builder_left_costs_one_more_try() {
    let project = Project::new("");
    project.completes(&["build"]);
    // The last number may have been given back already; then the place that was planted is never wanted.
    let met = (0..3).any(|round| {
        plant_snapshot(&project);
        project.write("base/stamp", format!("changed {round}"));
        let rerun = project.run(&["build"]);
        assert_eq!(rerun.status.code(), Some(0), "{}", show(&rerun));
        project.is_complete();
        ["base", "app"].iter().flat_map(|name| [(name, "amd64"), (name, "arm64")]).any(|(name, arch)| {
            let record = project.path(&format!(".catamaran/cells/{name}/linux-{arch}.json"));
            let stumbled = std::fs::read_to_string(record).is_ok_and(|text| text.contains("stumbled over a snapshot"));
            assert!(!stumbled || show(&rerun).contains("stumbled over a snapshot"), "{}", show(&rerun));
            stumbled
        })
    });
    assert!(met, "no cell met the planted snapshot");
}
