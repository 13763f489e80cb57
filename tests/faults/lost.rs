use rustix::process::{Pid, Signal};

use super::project::{Gate, Project, all_end};

#[test]
fn a_builder_that_is_killed_in_mid_solve_ends_the_run_with_8_and_a_rerun_completes() {
    let gate = Gate::new();
    let project = Project::new(&gate.step());
    let run = project.start(&["build"]);
    let held = gate.arrival();
    let processes = run.processes();
    let daemon = processes.iter().find(|process| process.name == "buildkitd").expect("a builder");
    let pid = i32::try_from(daemon.pid).ok().and_then(Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, Signal::KILL).expect("it may be killed");
    let ended = run.end();
    assert_eq!(ended.code, Some(8), "{}{}", ended.err, ended.out);
    assert!(ended.err.contains("buildkitd was ended by signal 9"), "{}", ended.err);
    let errors = ended.err.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "one cause for both cells: {}", ended.err);
    // The cause comes after the last line of progress, before everything that follows from it.
    let end: Vec<&str> = ended.err.lines().rev().take(24).collect();
    assert!(end.iter().any(|line| line.contains("was ended by signal 9")), "{}", ended.err);
    all_end(&processes);
    drop((gate, held));
    project.completes(&["build"]);
}
