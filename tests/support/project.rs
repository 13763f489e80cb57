//! A project in a folder of its own, and the program run in it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::tools;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_catamaran");

/// A project that ends with this value, its builder and results included.
pub(crate) struct Project {
    directory: TempDir,
}

/// What a run of the program left behind.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    root: PathBuf,
}

impl Project {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("project").tempdir().expect("a folder") }
    }

    /// A project with this `catamaran.toml` and files, each a path and a text.
    pub(crate) fn with(config: &str, files: &[(&str, &str)]) -> Self {
        let project = Self::new();
        project.write("catamaran.toml", config);
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    /// The same with a shell for both platforms in `rootfs`, for Dockerfiles that start with [`SHELL`].
    pub(crate) fn with_shell(config: &str, files: &[(&str, &str)]) -> Self {
        let project = Self::with(config, files);
        for architecture in ["amd64", "arm64"] {
            let target = project.path(&format!("rootfs/{architecture}/bin"));
            fs::create_dir_all(&target).expect("a folder");
            fs::copy(tools::busybox(architecture), target.join("busybox")).expect("a file");
        }
        project
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Runs the program and waits for it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(&self.command(arguments).output().expect("the program starts"))
    }

    /// Runs the program and goes on.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    pub(crate) fn ran(&self, output: &Output) -> Ran {
        Ran::of(output, self.root())
    }

    /// The program in this folder, with an environment that says nothing of its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.root());
        command.args(arguments);
        command
    }
}

/// What Dockerfiles of these tests start with: a shell out of the context, since nothing comes from outside.
pub(crate) const SHELL: &str = "FROM scratch\nARG TARGETARCH\nCOPY rootfs/${TARGETARCH}/ /\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

/// The program in `directory`. What the developer's environment says about builders and registries is not the test's.
pub(crate) fn program(directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(directory).stdin(Stdio::null());
    for name in [
        "BUILDKIT_HOST",
        "NO_COLOR",
        "CI",
        "SOURCE_DATE_EPOCH",
        "SSL_CERT_FILE",
        "IMAGE_TAG",
        "REGISTRY_AUTH_FILE",
        "COLUMNS",
    ] {
        command.env_remove(name);
    }
    command.env("DOCKER_CONFIG", "/nonexistent").env("LC_ALL", "C");
    command
}

impl Ran {
    pub(crate) fn of(output: &Output, root: &Path) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout.clone()).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr.clone()).expect("stderr is text"),
            root: root.to_owned(),
        }
    }

    /// Fails the test with everything that was written, unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{}", self.stdout))
    }

    /// Exit code and both streams, with what differs from run to run replaced, for snapshots.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("exit {}\n", self.code);
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                let _ = write!(text, "--- {name}\n{stream}");
            }
        }
        let text = text.replace(&self.root.display().to_string(), "[ROOT]");
        let replace = |text: String, pattern: &str, by: &str| {
            regex::Regex::new(pattern).expect("a pattern").replace_all(&text, by).into_owned()
        };
        let text = replace(text, "[0-9a-f]{64}", "[HEX]");
        let text = replace(text, r" *\b\d+\.\d s\b", " [TIME]");
        let text = replace(text, r"unix://\S+", "[SOCKET]");
        // Line ends only: what is meant to be in a column stays in it.
        text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}
