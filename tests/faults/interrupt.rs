use rustix::process::Signal;
use serde_json::Value;

use super::project::{CELLS, Gate, Project, all_end};

/// Both cells of `app` wait for a step that never ends by itself.
fn is_interrupted_by(signal: Signal) {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let run = project.start(&["build", "--json"]);
    let held = [gate.arrival(), gate.arrival()];
    let processes = run.processes();
    run.send(signal);
    let ended = run.end();
    assert_eq!(ended.code, Some(130), "{}{}", ended.err, ended.out);
    let document: Value = serde_json::from_str(&ended.out).expect("JSON, also when interrupted");
    let states: Vec<&str> =
        document["cells"].as_array().expect("cells").iter().filter_map(|cell| cell["state"].as_str()).collect();
    assert_eq!(u64::try_from(states.len()).ok(), Some(CELLS), "{document:#}");
    assert_eq!(states.iter().filter(|state| **state == "cancelled").count(), 2, "{document:#}");
    assert_eq!(states.iter().filter(|state| **state == "built").count(), 2, "{document:#}");
    // Orderly means that nothing is left when the program has ended, not some time later.
    let left = crate::support::survivors::running(&processes);
    assert_eq!(left, Vec::new());
    all_end(&processes);
    drop((gate, held));
    project.completes(&["build"]);
}

#[test]
fn sigint_ends_a_run_in_order_with_130() {
    is_interrupted_by(Signal::INT);
}

#[test]
fn sigterm_is_an_interrupt_too() {
    is_interrupted_by(Signal::TERM);
}

/// Whoever asks twice does not want to wait.
#[test]
fn a_second_sigint_ends_at_once_and_still_leaves_nothing() {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let run = project.start(&["build"]);
    let held = gate.arrival();
    let processes = run.processes();
    run.send(Signal::INT);
    run.send(Signal::INT);
    let ended = run.end();
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    all_end(&processes);
    drop((gate, held));
    project.completes(&["build"]);
}
