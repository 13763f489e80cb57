//! A `buildkitd` of a bench's own, gone with everything in it when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: String,
    tools: PathBuf,
}

impl Daemon {
    pub(crate) fn start(tools: &Path, directory: &Path) -> Self {
        let address = format!("unix://{}", directory.join("b.sock").display());
        let config = directory.join("buildkitd.toml");
        fs::write(&config, "").expect("an empty config");
        let log = fs::File::create(directory.join("buildkitd.log")).expect("a log");
        let child = Command::new("unshare")
            .args(["--fork", "--kill-child=KILL", "--pid", "--mount", "--mount-proc"])
            .arg(tools.join("buildkitd"))
            .arg("--config")
            .arg(&config)
            .arg("--root")
            .arg(directory.join("root"))
            .args(["--addr", &address])
            .arg("--otel-socket-path")
            .arg(directory.join("otel.sock"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare and buildkitd");
        let daemon = Self { child, address, tools: tools.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !daemon.buildctl(&["debug", "workers"]) {
            assert!(Instant::now() < deadline, "buildkitd did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    fn buildctl(&self, arguments: &[&str]) -> bool {
        Command::new(self.tools.join("buildctl"))
            .args(["--addr", &self.address])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    pub(crate) fn forget(&self) {
        assert!(self.buildctl(&["prune", "--all"]), "prune");
        // Pruning ends before the snapshots are gone from the disk; let that not count against the next run.
        std::thread::sleep(Duration::from_secs(1));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The tools that `scripts/setup bench` installed.
pub(crate) fn tools() -> PathBuf {
    let cache = std::env::var("XDG_CACHE_HOME")
        .map_or_else(|_| PathBuf::from(std::env::var("HOME").expect("HOME")).join(".cache"), PathBuf::from);
    cache.join("catamaran/tools/bin")
}
