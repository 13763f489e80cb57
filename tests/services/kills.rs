//! SIGKILL at random moments, of the program and of the service that it runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{file, free_port, is_free, project};
use crate::support::dice::{Dice, number, seed};
use crate::support::project::Project;
use crate::support::survivors::{Process, descendants, mounts_below, running};

/// How many kills of each kind one run of the tests makes. `scripts/campaign services` makes hundreds.
const SAMPLE: u64 = 3;

/// Longest time that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A project whose builder is its own, and what its runs leave.
struct Case {
    project: Project,
    port: u16,
    dice: Dice,
    seed: u64,
    /// The longest time that anything was left after a kill.
    longest: Duration,
    /// Runs that were killed, or met a killed service, and ended in 0 all the same: with everything there.
    survived: u64,
}

impl Case {
    fn new() -> Self {
        let seed = seed("kills of services");
        let port = free_port();
        let step = format!("RUN sleep 1; wget -q -O /got http://hub:{port}/list\n");
        let service = format!("port = {port}\nready = \"http://hub:{port}/list\"");
        let project = project(&service, &[("one", &step), ("two", &step)]);
        Self { project, port, dice: Dice(seed), seed, longest: Duration::ZERO, survived: 0 }
    }

    /// What the hub is to serve in this round: everything is built anew.
    fn stamp(&self, round: u64) -> String {
        let stamp = format!("{} {round}", self.seed);
        self.project.write("www/list", &stamp);
        stamp
    }

    fn start(&self) -> Child {
        // Nobody reads what it writes: a full pipe would stop it.
        let (out, err) = (fs::File::create(self.project.path("out")), fs::File::create(self.project.path("err")));
        let mut command = self.project.command(&["build", "--progress", "plain"]);
        command.stdout(out.unwrap()).stderr(err.unwrap()).spawn().unwrap()
    }

    /// Nothing of a run is left: its processes, the port, mounts.
    fn leaves_nothing(&mut self, processes: &BTreeSet<Process>) {
        let begin = Instant::now();
        let folder = self.project.root().to_owned();
        loop {
            let (left, mounts) = (running(processes), mounts_below(&folder));
            if left.is_empty() && mounts.is_empty() && is_free(self.port) {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "seed {}: left are {left:?} {mounts:?}", self.seed);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.longest = self.longest.max(begin.elapsed());
    }

    /// Every cell is there, and holds what the hub of this round served.
    fn is_right(&self, stamp: &str) {
        self.project.run(&["status"]).exits(0);
        for component in ["one", "two"] {
            for architecture in ["amd64", "arm64"] {
                assert_eq!(file(&self.project, component, architecture, "got"), stamp, "seed {}", self.seed);
            }
        }
    }

    /// A run that was disturbed: green only if everything is there.
    fn is_honest(&mut self, code: Option<i32>, stamp: &str) {
        if code == Some(0) {
            self.survived += 1;
            self.is_right(stamp);
        }
    }

    fn completes(&mut self, stamp: &str) {
        self.project.run(&["build", "--progress", "plain"]).exits(0);
        self.is_right(stamp);
        assert!(is_free(self.port));
    }

    fn said(&self) -> String {
        fs::read_to_string(self.project.path("err")).unwrap_or_default()
    }

    fn report(&self, what: &str, rounds: u64) {
        let (longest, survived) = (self.longest.as_secs_f32(), self.survived);
        let text =
            format!("{rounds} kills of {what}: all gone after at most {longest:.2} s, {survived} too late to matter");
        writeln!(std::io::stderr(), "{text}").expect("a terminal or a log");
        if let Some(limit) = number("CATAMARAN_LONGEST_MS") {
            assert!(self.longest <= Duration::from_millis(limit), "{text}");
        }
    }
}

#[test]
fn d9_sigkill_of_the_program_at_any_moment_leaves_no_service_and_a_rerun_completes() {
    let mut case = Case::new();
    let stamp = case.stamp(0);
    let begin = Instant::now();
    case.completes(&stamp);
    let whole = u64::try_from(begin.elapsed().as_millis()).unwrap();
    let rounds = number("CATAMARAN_KILLS").unwrap_or(SAMPLE);
    for round in 1..=rounds {
        let stamp = case.stamp(round);
        let mut run = case.start();
        std::thread::sleep(Duration::from_millis(case.dice.below(whole)));
        let processes = descendants(run.id());
        run.kill().unwrap();
        let code = run.wait().unwrap().code();
        case.leaves_nothing(&processes);
        case.is_honest(code, &stamp);
        case.completes(&stamp);
    }
    case.report("the program", rounds);
}

#[test]
fn d9_sigkill_of_the_service_at_any_moment_is_no_green_run_and_a_rerun_completes() {
    let mut case = Case::new();
    let stamp = case.stamp(0);
    case.completes(&stamp);
    let rounds = number("CATAMARAN_KILLS").unwrap_or(SAMPLE);
    for round in 1..=rounds {
        let stamp = case.stamp(round);
        let mut run = case.start();
        let begin = Instant::now();
        let process = loop {
            if let Some(process) = listener(case.port) {
                break process;
            }
            assert!(run.try_wait().unwrap().is_none(), "it ended without a service: {}", case.said());
            assert!(begin.elapsed() < PATIENCE, "the service comes up");
            std::thread::sleep(Duration::from_millis(5));
        };
        std::thread::sleep(Duration::from_millis(case.dice.below(2_500)));
        let processes = descendants(run.id());
        // It may have been ended just now.
        let killed = listener(case.port) == Some(process) && kill_process(process, Signal::KILL).is_ok();
        let code = run.wait().unwrap().code();
        case.leaves_nothing(&processes);
        case.is_honest(code, &stamp);
        if code != Some(0) {
            assert!(killed && code == Some(3), "seed {}, round {round}: {code:?}\n{}", case.seed, case.said());
            assert!(case.said().contains("service `hub` "), "{}", case.said());
        }
        case.completes(&stamp);
    }
    case.report("the service", rounds);
}

/// The process that listens on `port` of this machine's network, whatever container it is in.
fn listener(port: u16) -> Option<Pid> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        let suffix = format!(":{port:04X}");
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A")
                .then(|| fields.get(9).map(|&inode| inode.to_owned()))?
        })
    })?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.filter_map(Result::ok);
        let holds = descriptors
            .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == socket.as_str()));
        holds.then(|| Pid::from_raw(pid))?
    })
}
