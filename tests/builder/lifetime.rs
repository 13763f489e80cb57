use std::path::Path;

use rustix::process::{Pid, Signal};

use super::bench::{Bench, Owner, Who, until};
use crate::support::survivors::{Process, cgroups, descendants, mounts_below, names, running};

/// A step that leaves a mark, and takes a mount for its cache.
const ONE_STEP: &str = "FROM scratch\nCOPY busybox /bin/busybox\n\
    RUN --mount=type=cache,target=/cache [\"/bin/busybox\",\"sh\",\"-c\",\"/bin/busybox id -u > /who; /bin/busybox chown 33:44 /who\"]\n";

/// A builder with a step in it that would never end, and everything that could be left of it.
struct Busy {
    bench: Bench,
    owner: Owner,
    processes: std::collections::BTreeSet<Process>,
    step: super::bench::Step,
    run: String,
}

impl Busy {
    fn new(who: Who) -> Self {
        let bench = Bench::new(who);
        let mut owner = bench.owner();
        let address = owner.address();
        Self::with(bench, owner, &address)
    }

    fn with(bench: Bench, owner: Owner, address: &str) -> Self {
        let step = bench.endless_step(address);
        let processes = descendants(owner.process.id());
        let seen: Vec<&str> = processes.iter().map(|process| process.name.as_str()).collect();
        // supervisor, process 1, daemon, runtime and step: a test that sees fewer proves nothing.
        for name in ["buildkitd", "runc", "busybox"] {
            assert!(seen.contains(&name), "no {name} among {seen:?}");
        }
        assert!(seen.len() >= 5, "{seen:?}");
        let run = names(&bench.path("run")).pop().expect("a private directory");
        Self { bench, owner, processes, step, run }
    }

    fn leaves_nothing(&self) {
        until("every process of the builder has ended", || running(&self.processes).is_empty());
        until("the step's port is free", || !self.step.serves());
        until("the private directory is removed", || names(&self.bench.path("run")).is_empty());
        until("its cgroups are removed", || cgroups(&self.run).is_empty());
        assert_eq!(mounts_below(&self.bench.path("")), Vec::<String>::new());
    }
}

fn starts_builds_and_stops(who: Who) {
    let bench = Bench::new(who);
    let mut owner = bench.owner();
    let address = owner.address();
    let processes = descendants(owner.process.id());
    let build = bench.build(&address, ONE_STEP);
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    owner.tell("stop");
    assert_eq!(owner.answer(), "stopped");
    // No waiting here: when it says that it has stopped, nothing may be there any more.
    assert_eq!(running(&processes), Vec::new());
    assert_eq!(names(&bench.path("run")), Vec::<String>::new());
    assert_eq!(mounts_below(&bench.path("")), Vec::<String>::new());
}

#[test]
fn starts_builds_and_stops_as_root() {
    starts_builds_and_stops(Who::Myself);
}

#[test]
fn starts_builds_and_stops_as_an_ordinary_user() {
    starts_builds_and_stops(Who::Ordinary);
}

#[test]
fn sigkill_in_mid_step_leaves_nothing_as_root() {
    let mut busy = Busy::new(Who::Myself);
    busy.owner.kill();
    busy.leaves_nothing();
}

#[test]
fn sigkill_in_mid_step_leaves_nothing_as_an_ordinary_user() {
    let mut busy = Busy::new(Who::Ordinary);
    busy.owner.kill();
    busy.leaves_nothing();
}

#[test]
fn stopping_in_mid_step_leaves_nothing() {
    let mut busy = Busy::new(Who::Myself);
    busy.owner.tell("stop");
    assert_eq!(busy.owner.answer(), "stopped");
    busy.leaves_nothing();
}

/// The supervisor is a process like any other: somebody may kill it alone.
#[test]
fn a_killed_supervisor_takes_everything_along() {
    let mut busy = Busy::new(Who::Myself);
    let owner = busy.owner.process.id();
    let supervisor = busy.processes.iter().find(|process| parent(process.pid) == Some(owner)).expect("a child");
    kill(supervisor.pid);
    until("every process of the builder has ended", || running(&busy.processes).is_empty());
    until("the step's port is free", || !busy.step.serves());
    busy.owner.tell("words");
    assert_eq!(busy.owner.answer(), "buildkitd was ended by signal 9");
    // Empty cgroups and the private directory are all that is left; a later start sweeps them.
    catamaran::sys::remove_cgroup(&busy.run);
    assert_eq!(cgroups(&busy.run), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_end_of_the_daemon_is_noticed_and_told() {
    let mut busy = Busy::new(Who::Myself);
    kill(busy.processes.iter().find(|process| process.name == "buildkitd").expect("seen").pid);
    busy.owner.tell("words");
    assert_eq!(busy.owner.answer(), "buildkitd was ended by signal 9");
    busy.leaves_nothing();
}

/// A service manager signals everything in a control group at once: those who clean up must outlast the others.
#[test]
fn a_supervisor_that_is_asked_to_end_goes_on() {
    let mut busy = Busy::new(Who::Myself);
    let owner = busy.owner.process.id();
    let supervisor = busy.processes.iter().find(|process| parent(process.pid) == Some(owner)).expect("a child");
    let init = busy.processes.iter().find(|process| parent(process.pid) == Some(supervisor.pid)).expect("a child");
    for process in [supervisor, init] {
        for request in [Signal::TERM, Signal::INT, Signal::HUP] {
            send(process.pid, request);
        }
    }
    assert!(busy.step.serves());
    busy.owner.tell("stop");
    assert_eq!(busy.owner.answer(), "stopped");
    busy.leaves_nothing();
}

/// Ctrl-C in a terminal signals the whole foreground group: the builder must not end before its owner wants it to.
#[test]
fn a_signal_to_the_owners_group_does_not_reach_the_builder() {
    let mut busy = Busy::new(Who::Myself);
    let group = Pid::from_child(&busy.owner.process);
    rustix::process::kill_process_group(group, Signal::INT).expect("a group");
    // The owner has no handler and dies of it; what is left then goes the way of every other death.
    busy.owner.process.wait().expect("a child");
    busy.leaves_nothing();
}

#[test]
fn the_cache_survives_and_so_does_a_killed_run() {
    let bench = Bench::new(Who::Myself);
    {
        let mut owner = bench.owner();
        let address = owner.address();
        let build = bench.build(&address, ONE_STEP);
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        let _step = bench.endless_step(&address);
        owner.kill();
    }
    // At once, while the old one may still be ending.
    let mut owner = bench.owner();
    let address = loop {
        let answer = owner.answer();
        if let Some(address) = answer.strip_prefix("ready ") {
            break address.to_owned();
        }
        assert!(answer.starts_with("waiting "), "{answer}");
    };
    let build = bench.build(&address, ONE_STEP);
    let log = String::from_utf8_lossy(&build.stderr);
    assert!(build.status.success(), "{log}");
    assert_eq!(log.matches("CACHED").count(), 2, "{log}");
    // Nothing of the killed container is carried along.
    let executor = bench.path("state/builder/root/runc-overlayfs/executor");
    let left: Vec<String> = names(&executor).into_iter().filter(|name| executor.join(name).is_dir()).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_second_run_on_one_root_waits_and_names_the_first() {
    let bench = Bench::new(Who::Myself);
    let mut first = bench.owner();
    first.address();
    let mut second = bench.owner();
    let answer = second.answer();
    let daemon =
        descendants(first.process.id()).into_iter().find(|process| process.name == "buildkitd").expect("running");
    let expected = format!("waiting waiting for another buildkitd (process {}) that uses", daemon.pid);
    assert!(answer.starts_with(&expected), "{answer}");
    first.tell("stop");
    assert_eq!(first.answer(), "stopped");
    second.address();
}

fn parent(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("it may be signalled");
}

/// There the kernel lets nobody have a process namespace that is of use, and the second best has to do.
#[test]
fn sigkill_leaves_nothing_where_proc_is_masked() {
    let bench = Bench::new(Who::Ordinary);
    let mut owner = bench.owner_with_masked_proc();
    let warning = owner.answer();
    assert!(warning.starts_with("warning `/proc` is masked in this container"), "{warning}");
    let address = owner.address();
    let mut busy = Busy::with(bench, owner, &address);
    busy.owner.kill();
    busy.leaves_nothing();
}
