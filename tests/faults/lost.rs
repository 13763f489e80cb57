use std::collections::BTreeSet;

use rustix::process::{Pid, Signal};

use super::project::{Ended, Gate, Project, Run, all_end};
use crate::support::daemon::Daemon;
use crate::support::survivors::Process;

/// Kills the builder that a run has started; returns everything that the run had started.
fn kill_builder(run: &Run) -> BTreeSet<Process> {
    let processes = run.processes();
    let daemon = processes.iter().find(|process| process.name == "buildkitd").expect("a builder");
    let pid = i32::try_from(daemon.pid).ok().and_then(Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, Signal::KILL).expect("it may be killed");
    processes
}

/// One error of the builder's, at the end of what was written, before everything that follows from it.
#[track_caller]
fn one_cause(ended: &Ended, words: &str) {
    assert_eq!(ended.code, Some(8), "{}{}", ended.err, ended.out);
    let errors = ended.err.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "one cause for all cells: {}", ended.err);
    let end: Vec<&str> = ended.err.lines().rev().take(24).collect();
    assert!(end.iter().any(|line| line.contains(words)), "{}", ended.err);
}

/// Whether the record of a cell tells of a second try.
fn retried(project: &Project, cell: &str) -> bool {
    let record = std::fs::read_to_string(project.path(&format!(".catamaran/cells/{cell}.json"))).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    record["retried"].as_str().is_some_and(|cause| cause.contains("was lost"))
}

#[test]
fn a_builder_of_our_own_that_is_killed_is_started_once_more() {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let run = project.start(&["build"]);
    let held = gate.arrival();
    let processes = kill_builder(&run);
    // The step runs again, on the new builder.
    let again = gate.arrival();
    drop((gate, held, again));
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{}{}", ended.err, ended.out);
    assert!(ended.err.contains("was ended by signal 9") && ended.err.contains("built again on"), "{}", ended.err);
    assert!(retried(&project, "app/linux-amd64") || retried(&project, "app/linux-arm64"));
    let log = std::fs::read_to_string(project.path(".catamaran/logs/app/linux-amd64.log")).expect("a log");
    let other = std::fs::read_to_string(project.path(".catamaran/logs/app/linux-arm64.log")).expect("a log");
    assert!(log.contains("attempt 2") || other.contains("attempt 2"), "{log}{other}");
    all_end(&processes);
    project.is_complete();
}

#[test]
fn d15_a_builder_that_is_killed_twice_ends_the_run_with_8_and_a_rerun_completes() {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let run = project.start(&["build"]);
    let held = gate.arrival();
    let first = kill_builder(&run);
    // The other platform's step may have been on its way from the first builder.
    let mut again = vec![gate.arrival()];
    while !run.processes().iter().any(|process| process.name == "buildkitd" && !first.contains(process)) {
        again.push(gate.arrival());
    }
    all_end(&first);
    let second = kill_builder(&run);
    let ended = run.end();
    one_cause(&ended, "was ended by signal 9");
    all_end(&second);
    drop((gate, held, again));
    project.completes(&["build"]);
}

#[test]
fn d15_a_builder_that_was_named_is_not_replaced_and_its_cells_fail_with_one_cause() {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let mut daemon = Daemon::start();
    let address = daemon.address().to_owned();
    let run = project.start(&["build", "--builder", &address]);
    let held = gate.arrival();
    daemon.kill();
    let ended = run.end();
    one_cause(&ended, &address);
    drop((gate, held));
}

/// A builder whose machine starts it again is waited for, on the command line as well as in the environment.
#[test]
fn d15_a_builder_that_was_named_and_comes_back_builds_the_rest() {
    for by_environment in [false, true] {
        let gate = Gate::new();
        let project = Project::new(&gate.step());
        let mut daemon = Daemon::start_tcp(&[]);
        let address = daemon.address().to_owned();
        let run = if by_environment {
            project.start_with(&["build"], &[("BUILDKIT_HOST", &address)])
        } else {
            project.start(&["build", "--builder", &address])
        };
        let held = gate.arrival();
        daemon.kill();
        let back = Daemon::start_at(&address);
        let again = gate.arrival();
        drop((gate, held, again));
        let ended = run.end();
        assert_eq!(ended.code, Some(0), "{}{}", ended.err, ended.out);
        assert!(ended.err.contains("waiting up to 10 s for it to come back"), "{}", ended.err);
        assert!(ended.err.contains(&format!("built again on `{address}`")), "{}", ended.err);
        assert!(retried(&project, "app/linux-amd64") || retried(&project, "app/linux-arm64"));
        project.is_complete();
        drop(back);
    }
}

#[test]
fn another_builder_of_the_project_takes_the_cells_of_a_lost_one() {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let (mut lost, spare) = (Daemon::start(), Daemon::start());
    let both = "platforms = [\"linux/amd64\", \"linux/arm64\"]";
    let config = std::fs::read_to_string(project.path("catamaran.toml")).expect("a file");
    let builder =
        |name: &str, daemon: &Daemon| format!("[builder.{name}]\naddress = \"{}\"\n{both}\n", daemon.address());
    project.write("catamaran.toml", format!("{config}{}{}", builder("first", &lost), builder("second", &spare)));
    let run = project.start(&["build"]);
    let held = gate.arrival();
    lost.kill();
    let again = gate.arrival();
    drop((gate, held, again));
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{}{}", ended.err, ended.out);
    assert!(ended.err.contains(&format!("built again on `{}`", spare.address())), "{}", ended.err);
    assert!(retried(&project, "app/linux-amd64") || retried(&project, "app/linux-arm64"));
    project.is_complete();
}
