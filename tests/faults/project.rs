//! A small project with real builds, and the program that builds it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::survivors::{Process, descendants, running};
use crate::support::tools;

/// Longest time that anything here is waited for. Not a measure of speed: a test that runs into it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Cells of the project: two components for two platforms.
pub(super) const CELLS: u64 = 4;

/// A folder with a project in it.
pub(super) struct Project {
    folder: TempDir,
}

impl Project {
    /// `base` copies and runs; `app` is built from it. `step` is one more line of `app`'s Dockerfile.
    pub(super) fn new(step: &str) -> Self {
        let project = Self { folder: tempfile::Builder::new().prefix("faults").tempdir().expect("a folder") };
        project.write(
            "catamaran.toml",
            "name = \"faults\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\n\
             [component.base]\ndockerfile = \"base/Dockerfile\"\ncontext = \"base\"\n\n\
             [component.app]\ndockerfile = \"app/Dockerfile\"\ncontext = \"app\"\n\
             needs = [\"base\"]\ncontexts = { base = \"component:base\" }\n",
        );
        for architecture in ["amd64", "arm64"] {
            let to = project.path(&format!("base/busybox-{architecture}"));
            fs::create_dir_all(project.path("base")).expect("a folder");
            fs::copy(tools::busybox(architecture), to).expect("copied");
        }
        project.write("base/stamp", "0");
        project.write(
            "base/Dockerfile",
            "FROM scratch\nARG TARGETARCH\nCOPY busybox-${TARGETARCH} /bin/sh\nCOPY stamp /stamp\nRUN uname -m > /machine\n",
        );
        project.write("app/payload", "1");
        project.write(
            "app/Dockerfile",
            format!("FROM base\nCOPY payload /payload\n{step}\nRUN cat /stamp /payload > /sum\n"),
        );
        project
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    /// The program in this project, with nothing of the environment but where tools are.
    pub(super) fn catamaran(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catamaran"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        Self::surroundings(&mut command);
        command
    }

    pub(super) fn surroundings(command: &mut Command) {
        command.env_clear();
        for name in ["PATH", "HOME", "XDG_CACHE_HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        self.catamaran(arguments).output().expect("the program runs")
    }

    pub(super) fn start(&self, arguments: &[&str]) -> Run {
        self.start_with(arguments, &[])
    }

    /// The same with these variables set.
    pub(super) fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = self.catamaran(arguments);
        let command = command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = command.expect("the program runs");
        let (out, err) = (drain(process.stdout.take()), drain(process.stderr.take()));
        Run { process, out, err }
    }

    /// Everything is there and whole, as independent commands see it.
    pub(super) fn is_complete(&self) {
        let status = self.run(&["status", "--json"]);
        let document: Value = serde_json::from_slice(&status.stdout).expect("JSON");
        assert_eq!(document["present"], CELLS, "{document:#}");
        assert_eq!(status.status.code(), Some(0), "{document:#}");
        let verify = self.run(&["verify"]);
        assert_eq!(verify.status.code(), Some(0), "{}", show(&verify));
    }

    /// Builds to the end.
    pub(super) fn completes(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", show(&output));
        self.is_complete();
    }
}

pub(super) fn show(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Reads a pipe to its end on a thread of its own: a full pipe would stop the program.
fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    let mut pipe = pipe.expect("piped");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is shown all the same.
        drop(pipe.read_to_end(&mut bytes));
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    receiver
}

/// A running program. Killed when dropped.
pub(super) struct Run {
    pub(super) process: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// What a program came to.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Run {
    pub(super) fn end(mut self) -> Ended {
        let code = self.process.wait().expect("a child").code();
        let text = |pipe: &Receiver<String>| pipe.recv_timeout(PATIENCE).expect("its pipes are closed");
        Ended { code, out: text(&self.out), err: text(&self.err) }
    }

    /// The processes that it started and that run now.
    pub(super) fn processes(&self) -> std::collections::BTreeSet<Process> {
        descendants(self.process.id())
    }

    pub(super) fn send(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal).expect("it runs");
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// None of `processes` runs any more, now or in a moment.
pub(super) fn all_end(processes: &std::collections::BTreeSet<Process>) {
    until("all processes have ended", || running(processes).is_empty());
}

pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Holds steps of builds at a known point: they connect to a port of this machine and read until that ends. Where nobody
/// listens they go on at once, so that a rerun of the same Dockerfile passes.
pub(super) struct Gate {
    listener: TcpListener,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }

    /// The line of a Dockerfile. The builder's network is the machine's.
    pub(super) fn step(&self) -> String {
        format!("RUN nc 127.0.0.1 {} || true", self.listener.local_addr().expect("bound").port())
    }

    /// Waits until a step is at the gate; it stays there for as long as the answer lives.
    pub(super) fn arrival(&self) -> TcpStream {
        self.listener.set_nonblocking(true).expect("a socket");
        let mut arrived = None;
        until("a step arrives", || {
            arrived = self.listener.accept().ok();
            arrived.is_some()
        });
        arrived.expect("just seen").0
    }
}
