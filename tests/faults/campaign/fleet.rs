//! Small projects that are built again and again, each time with another stamp in every image.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::look::{Expected, look};
use crate::support::images::noise;
use crate::support::project::Project;
use crate::support::tools;

/// Both platforms, in the order of an index.
pub(super) const BOTH: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// What a run of the program may take at most. Not a measure of speed: whoever takes as long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run came to.
#[derive(Debug)]
pub(super) struct Ended {
    /// None: by a signal.
    pub(super) code: Option<i32>,
    pub(super) hung: bool,
    /// Everything that it wrote.
    pub(super) text: String,
}

/// A project.
pub(super) struct Fleet {
    pub(super) project: Project,
    stamp: String,
    /// The registry that it has an external image from, and is pushed to.
    registry: Option<String>,
    /// Whether a real builder builds it.
    real: bool,
}

impl Fleet {
    /// A project for a real builder: two components for both platforms, and one with a step that runs.
    pub(super) fn real() -> Self {
        let fleet = Self { project: Project::new(), stamp: String::new(), registry: None, real: true };
        for platform in BOTH {
            fleet.project.write(&format!("base/{platform}"), platform);
        }
        fleet.project.write("tool/platform", "linux/amd64");
        fs::copy(tools::busybox("amd64"), fleet.project.path("tool/busybox")).expect("a file");
        let copies = "FROM scratch\nARG TARGETPLATFORM\nCOPY ${TARGETPLATFORM} /platform\n\
            COPY payload /payload\nCOPY stamp /stamp\n";
        fleet.project.write("base/Dockerfile", copies);
        fleet.project.write("app/Dockerfile", "FROM base\nCOPY more /more\n");
        let runs = "FROM scratch\nCOPY busybox /bin/sh\nCOPY platform /platform\nCOPY stamp /made-of\n\
            RUN read x </made-of; echo -n $x >/stamp\n";
        fleet.project.write("tool/Dockerfile", runs);
        fleet
    }

    /// A project for a builder that only says that it builds, with an image out of a registry if there is one.
    pub(super) fn scripted(registry: Option<String>) -> Self {
        Self { project: Project::new(), stamp: String::new(), registry, real: false }
    }

    /// Everything is to be made anew.
    pub(super) fn stamp(&mut self, stamp: &str) {
        stamp.clone_into(&mut self.stamp);
        let tool = if self.real {
            "[component.tool]\ndockerfile = \"tool/Dockerfile\"\ncontext = \"tool\"\nplatforms = [\"linux/amd64\"]\n"
        } else {
            ""
        };
        let (mut registry, mut external) = (String::new(), String::new());
        if let Some(address) = &self.registry {
            registry = format!("registry = [\"{address}/out\"]\n");
            external = format!("[external.ext]\nimage = \"{address}/lib/ext:{stamp}\"\n");
        }
        let config = format!(
            "name = \"faults\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\ntag = \"stable\"\n{registry}\
             [component.base]\ndockerfile = \"base/Dockerfile\"\ncontext = \"base\"\n\
             [component.app]\ndockerfile = \"app/Dockerfile\"\ncontext = \"app\"\n\
             contexts = {{ base = \"component:base\" }}\n{tool}{external}"
        );
        self.project.write("catamaran.toml", &config);
        self.project.write("base/stamp", stamp);
        self.project.write("app/more", stamp);
        if self.real {
            self.project.write("tool/stamp", &format!("{stamp}\n"));
            // So much that most of what is sent is blobs.
            let seed = stamp.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            fs::write(self.project.path("base/payload"), noise(seed, 200_000)).expect("a file");
        } else {
            // A builder that asks for no file is given an image's files by no name: what is written must tell.
            self.project.write("base/Dockerfile", &format!("FROM scratch\nCOPY stamp /stamp\nLABEL of={stamp}\n"));
            self.project.write("app/Dockerfile", &format!("FROM base\nCOPY more /more\nLABEL of={stamp}\n"));
        }
    }

    /// Everything that must be there when a run has called it whole.
    fn expected(&self) -> Vec<Expected> {
        let prefix = self.registry.as_ref().map_or(String::new(), |address| format!("{address}/out/"));
        let image = |name: &str, tag: &str, platforms: &[&'static str]| Expected {
            reference: format!("{prefix}{name}:{tag}"),
            platforms: platforms.to_vec(),
            stamp: self.stamp.clone(),
        };
        let mut all = vec![image("base", "stable", &BOTH), image("app", "stable", &BOTH)];
        if self.real {
            all.push(image("tool", "stable", &BOTH[..1]));
        }
        if self.registry.is_some() {
            all.push(image("ext", &self.stamp, &BOTH));
        }
        all
    }

    pub(super) fn layout(&self) -> PathBuf {
        self.project.path(".catamaran/layout")
    }

    /// Whether everything is there, in the project's layout or a copy of it.
    pub(super) fn is_whole(&self, layout: &Path) -> Result<(), String> {
        look(layout, &self.expected())
    }

    /// References of everything.
    pub(super) fn references(&self) -> Vec<String> {
        self.expected().into_iter().map(|image| image.reference).collect()
    }

    /// The program, behind `before` where another program starts it.
    pub(super) fn command(&self, before: &[String], arguments: &[&str]) -> Command {
        let plain = self.project.command(arguments);
        let Some((first, rest)) = before.split_first() else { return plain };
        let mut command = Command::new(first);
        command.args(rest).arg(plain.get_program()).args(plain.get_args()).current_dir(self.project.root());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts a command, whose output goes to a file: nobody has to read it for it to go on.
    pub(super) fn start(&self, mut command: Command) -> Child {
        let output = fs::File::create(self.project.path("output")).expect("a file");
        command.stdout(output.try_clone().expect("a descriptor")).stderr(output).process_group(0);
        command.spawn().expect("it starts")
    }

    /// Waits for what was started.
    pub(super) fn end(&self, child: Child) -> Ended {
        self.end_unless(child, || false)
    }

    /// The same, but kills it as soon as it is of no use.
    pub(super) fn end_unless(&self, mut child: Child, useless: impl Fn() -> bool) -> Ended {
        let begin = Instant::now();
        let (mut hung, mut killed) = (false, false);
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            let useless = useless();
            if !killed && (useless || begin.elapsed() > PATIENCE) {
                (killed, hung) = (true, !useless);
                let group = rustix::process::Pid::from_child(&child);
                // It may have ended by now.
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
            }
            thread::sleep(Duration::from_millis(3));
        };
        let text = fs::read(self.project.path("output")).unwrap_or_default();
        Ended { code: status.code(), hung, text: String::from_utf8_lossy(&text).into_owned() }
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ended {
        self.end(self.start(self.command(&[], arguments)))
    }
}
