//! A plan that is stopped while it is computed.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::project::Project;

/// Whether a process has a handler of its own for SIGTERM (`proc_pid_status(5)`: `SigCgt`).
fn handles_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    caught & (1 << (15 - 1)) != 0
}

#[test]
fn one_sigterm_ends_a_plan_at_once() {
    let project = Project::new();
    project.write("Dockerfile", "FROM scratch\nCOPY x /x\n");
    // Far more work than a test waits for: a plan that only ends when it is done fails here by its exit code or by never.
    let args: Vec<String> = (0..500).map(|at| format!("a{at} = bcrypt(\"x\", 14)\n")).collect();
    project.write("docker-bake.hcl", &format!("target \"default\" {{\n  args = {{\n{}  }}\n}}\n", args.concat()));
    let mut command = project.command(&["-f", "docker-bake.hcl", "plan"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    while !handles_sigterm(child.id()) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::TERM).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"", "nothing half done is shown");
}
