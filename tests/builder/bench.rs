//! What every test here stands on: a folder, a user, a child process that owns a builder, and builds by `buildctl`.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::tools;

/// The user that `scripts/setup test` makes for tests as an ordinary user.
const TEST_USER: &str = "catamaran-test";

/// Longest time that anything here is waited for. Not a measure of speed: a test that runs into it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Who runs a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The user that runs the tests; mostly root.
    Myself,
    /// Somebody without privilege. The same as `Myself` when the tests are not run by root.
    Ordinary,
    /// Like `Ordinary`, but without any range of ids.
    WithoutRanges,
}

impl Who {
    /// User and group to change to.
    pub(crate) fn ids(self) -> Option<(u32, u32)> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        match self {
            Self::Myself => None,
            Self::Ordinary => Some(user_ids(TEST_USER)),
            // No user, no name, and so no line in any file.
            Self::WithoutRanges => Some((54_321, 54_321)),
        }
    }
}

fn user_ids(name: &str) -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("readable");
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name);
    let fields = fields.unwrap_or_else(|| panic!("there is no user `{name}`: run scripts/setup test"));
    let number = |at: usize| fields[at].parse().expect("a number");
    (number(2), number(3))
}

/// A folder with everything that a builder and its builds need, owned by whoever runs them.
pub(crate) struct Bench {
    folder: TempDir,
    pub(super) who: Who,
}

impl Bench {
    pub(crate) fn new(who: Who) -> Self {
        let folder = tempfile::Builder::new().prefix("cb").tempdir().expect("a folder");
        let bench = Self { folder, who };
        // The tools lie in the home of whoever set them up, which others cannot enter.
        for (name, from) in [
            ("buildkitd", tools::tool("bin/buildkitd")),
            ("busybox", tools::busybox(native())),
            ("catamaran", PathBuf::from(env!("CARGO_BIN_EXE_catamaran"))),
            ("tests", std::env::current_exe().expect("this program")),
        ] {
            let to = bench.path(name);
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).expect("copied");
            }
        }
        for name in ["context", "run", "state"] {
            fs::create_dir(bench.path(name)).expect("a folder");
        }
        fs::copy(bench.path("busybox"), bench.path("context/busybox")).expect("copied");
        fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o755)).expect("its owner may");
        if let Some((uid, gid)) = who.ids() {
            for name in ["", "run", "state"] {
                std::os::unix::fs::chown(bench.path(name), Some(uid), Some(gid)).expect("root may");
            }
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A process of its own that starts a builder and keeps it until told otherwise; see `child.rs`.
    pub(super) fn owner(&self) -> Owner {
        self.owner_with(&[])
    }

    /// The same with settings of the child changed.
    pub(super) fn owner_with(&self, settings: &[(&str, OsString)]) -> Owner {
        self.own(Command::new(self.path("tests")), settings)
    }

    /// The same on a machine whose folders of system programs are empty.
    pub(super) fn owner_without_system_programs(&self) -> Owner {
        let script = "for folder in /usr/local/sbin /usr/sbin /sbin; do mount -t tmpfs none $folder; done";
        self.own(self.on_another_machine(script), &[("PATH", OsString::new())])
    }

    /// The same on a machine that has this text as buildkitd's configuration.
    pub(super) fn owner_with_configuration(&self, text: &str) -> Owner {
        for name in ["upper", "work", "upper/buildkit"] {
            fs::create_dir(self.path(name)).expect("a folder");
        }
        fs::write(self.path("upper/buildkit/buildkitd.toml"), text).expect("written");
        let (upper, work) = (self.path("upper"), self.path("work"));
        let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
        self.own(self.on_another_machine(&format!("mount -t overlay -o {options} none /etc")), &[])
    }

    /// The same in something like a container, where a part of `/proc` is masked.
    pub(super) fn owner_with_masked_proc(&self) -> Owner {
        let become_self = match self.who.ids() {
            Some((uid, gid)) => format!("; set -- setpriv --reuid={uid} --regid={gid} --clear-groups -- \"$@\""),
            None => String::new(),
        };
        let command = self.on_another_machine(&format!("mount -t tmpfs none /proc/fs{become_self}"));
        // Who it becomes is the script's business: masking needs privilege.
        self.own_as(command, &[], None)
    }

    /// This program, to be run after `script` has changed the mounts that it sees.
    fn on_another_machine(&self, script: &str) -> Command {
        let script =
            format!("export OLD=\"$PATH\" PATH=/usr/bin:/bin; set -e; {script}; export PATH=\"$OLD\"; exec \"$@\"");
        // By its path: the program is looked for in the PATH of the child, which may be empty.
        let mut command = Command::new("/usr/bin/unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--map-root-user", "--map-auto"]);
        }
        command.args(["--mount", "/bin/sh", "-c", &script, "sh"]).arg(self.path("tests"));
        command
    }

    fn own(&self, command: Command, settings: &[(&str, OsString)]) -> Owner {
        self.own_as(command, settings, self.who.ids())
    }

    fn own_as(&self, mut command: Command, settings: &[(&str, OsString)], ids: Option<(u32, u32)>) -> Owner {
        command
            .args(["--exact", "builder::child::owner", "--ignored", "--nocapture", "--test-threads=1"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("BENCH", self.path(""))
            .envs(settings.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own, so that a test can do to it what a terminal does.
            .process_group(0);
        if let Some((uid, gid)) = ids {
            command.uid(uid).gid(gid);
        }
        let mut process = command.spawn().expect("this program runs");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        Owner { process, answers }
    }

    /// Writes a file that belongs to who runs here.
    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writable");
        if let Some((uid, gid)) = self.who.ids() {
            std::os::unix::fs::chown(self.path(name), Some(uid), Some(gid)).expect("root may");
        }
    }

    /// The program, run by who runs here, with the builder of this bench on its PATH.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(self.path("catamaran"));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("").display()))
            .env("HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some((uid, gid)) = self.who.ids() {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Builds `dockerfile` with the files of `context/` by `buildctl` at `address`; waits for its end.
    pub(super) fn build(&self, address: &str, dockerfile: &str) -> Output {
        self.buildctl(address, dockerfile).output().expect("buildctl runs")
    }

    pub(super) fn buildctl(&self, address: &str, dockerfile: &str) -> Command {
        let folder = tempfile::Builder::new().prefix("df").tempdir_in(self.folder.path()).expect("a folder").keep();
        fs::write(folder.join("Dockerfile"), dockerfile).expect("written");
        let mut command = Command::new(tools::tool("bin/buildctl"));
        let local = |name: &str, path: &Path| format!("--local={name}={}", path.display());
        command
            .args(["--addr", address, "build", "--progress=plain", "--frontend=dockerfile.v0"])
            .arg(local("context", &self.path("context")))
            .arg(local("dockerfile", &folder))
            .stdin(Stdio::null());
        command
    }

    /// Starts a build whose step serves a port of this machine for ever, and waits until it does.
    pub(super) fn endless_step(&self, address: &str) -> Step {
        let port = free_port();
        let run = format!(
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"httpd\",\"-f\",\"-p\",\"127.0.0.1:{port}\"]\n"
        );
        let build =
            self.buildctl(address, &run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("buildctl runs");
        let step = Step { build, port };
        until("the step serves its port", || step.serves());
        step
    }
}

/// The architecture of this machine in OCI's words.
pub(super) fn native() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("bound").port()
}

/// A running build whose step has a port of the machine.
pub(super) struct Step {
    build: Child,
    port: u16,
}

impl Step {
    pub(super) fn serves(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        drop(self.build.kill());
        drop(self.build.wait());
    }
}

/// The process that owns a builder. Killed when dropped.
pub(super) struct Owner {
    pub(super) process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Owner {
    /// Everything up to the next answer: `ready ADDRESS`, or `failed` with the error as JSON.
    pub(super) fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let length = self.answers.read_line(&mut line).expect("readable");
            assert!(length > 0, "the owner of the builder ended without an answer");
            // The test runner prints its own lines around, and without a line end before ours.
            if let Some(at) = line.find("ANSWER ") {
                return line[at + 7..].trim_end().to_owned();
            }
        }
    }

    /// The address of its builder.
    pub(super) fn address(&mut self) -> String {
        let answer = self.answer();
        answer.strip_prefix("ready ").unwrap_or_else(|| panic!("the builder did not start: {answer}")).to_owned()
    }

    /// The error that it got instead of a builder.
    pub(super) fn failure(&mut self) -> Failure {
        let answer = self.answer();
        let json = answer.strip_prefix("failed ").unwrap_or_else(|| panic!("the builder started: {answer}"));
        let parts: Vec<String> = serde_json::from_str(json).expect("what child.rs writes");
        let [message, help, output] = parts.try_into().expect("three of them");
        Failure { message, help, output }
    }

    pub(super) fn tell(&mut self, word: &str) {
        let pipe = self.process.stdin.as_mut().expect("piped");
        writeln!(pipe, "{word}").expect("it listens");
    }

    /// SIGKILL, as the system does it to programs that take too much memory.
    pub(super) fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// An error as people see it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) help: String,
    pub(super) output: String,
}

/// Waits until something is so.
pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
