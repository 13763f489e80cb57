use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A daemon with directories and a socket of its own, in its own pid and mount namespaces. It ends, with everything that
/// it started and mounted, when this value is dropped and also when the test process ends in any other way.
pub(super) struct Daemon {
    keeper: Child,
    directory: TempDir,
}

/// `$1` is the directory, the rest the command. Its standard input is a pipe that the test process holds: its end is the sign.
const KEEPER: &str = r#"
root=$1; shift
unshare --fork --kill-child=KILL --pid --mount --mount-proc "$@" >"$root/log" 2>&1 </dev/null &
daemon=$!
cat >/dev/null
kill -KILL $daemon
wait
rm -rf "$root"
"#;

impl Daemon {
    /// Starts `command`, which may name files below its directory as `@/name`, and waits for `@/socket`.
    pub(super) fn start(command: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("ct").tempdir().expect("a temporary directory");
        // Configurations of its own, or the machine's would apply.
        fs::write(directory.path().join("empty.toml"), "").expect("writable");
        fs::write(directory.path().join("empty.json"), "{}").expect("writable");
        let root = directory.path().to_str().expect("UTF-8");
        let command: Vec<String> = command.iter().map(|word| word.replace('@', root)).collect();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", root])
            .args(&command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        let daemon = Self { keeper, directory };
        let begin = Instant::now();
        while !daemon.directory.path().join("socket").exists() {
            assert!(begin.elapsed() < Duration::from_secs(90), "{} does not start: {}", command[0], daemon.log());
            std::thread::sleep(Duration::from_millis(30));
        }
        daemon
    }

    /// The address of its socket.
    pub(super) fn socket(&self) -> String {
        self.path().join("socket").to_str().expect("UTF-8").to_owned()
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What it wrote to its log.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().expect("the keeper ends");
    }
}

/// Runs a command that must succeed; what it printed.
pub(super) fn run(command: &[&str]) -> String {
    let output = Command::new(command[0])
        .args(&command[1..])
        .env_remove("DOCKER_HOST")
        .env_remove("DOCKER_CONTEXT")
        .output()
        .unwrap_or_else(|error| panic!("cannot run `{}` ({error}): run scripts/setup test", command[0]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
