use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use super::supervise::{self, Command as Order, Report};
use super::{IdMap, Stage, SysError};

/// Longest report of the supervisor, in bytes.
const REPORT_LIMIT: u64 = 4096;

/// Whose ids the child runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Those of this process, which must be root.
    Own,
    /// Root of a user namespace of its own.
    Mapped(IdMap),
}

/// How a child's processes are kept together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Processes {
    /// In a process namespace of their own: the kernel ends all of them together.
    #[default]
    Own,
    /// In ours: process 1's stand-in collects them as a subreaper and kills them one by one. For containers whose `/proc` is
    /// masked, where the kernel lets nobody mount another one. Weaker: who kills that stand-in alone leaves them running.
    Shared,
}

/// A program to run so that nothing of it can outlive this process. See [`Child`].
#[derive(Debug, Clone)]
pub struct ChildCommand {
    /// A program whose `main` begins with [`supervised`](super::supervised): `/proc/self/exe` for this very program.
    pub supervisor: PathBuf,
    /// What to run.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Whose ids.
    pub identity: Identity,
    /// How its processes are kept together.
    pub processes: Processes,
    /// Paths of the host that the child must find empty. Those that do not exist are passed over.
    pub hide: Vec<PathBuf>,
    /// Directories that are removed with everything in them once the child and all its descendants are gone, also when this
    /// process is not there any more to do it.
    pub remove: Vec<PathBuf>,
    /// A cgroup below which the child puts its own ones; what is left of it is removed as well.
    pub cgroup: Option<String>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal. 9 also stands for having been ended by us.
    Signal(u8),
}

/// A running program in process and mount namespaces of its own, and for ordinary users a user namespace.
///
/// It and all its descendants are killed by the kernel, and their mounts vanish, when the [`Lifeline`] is dropped, when this
/// process dies in whatever way, and when the program itself ends.
#[derive(Debug)]
pub struct Child {
    supervisor: std::process::Child,
}

/// Keeps a [`Child`] alive: dropping it is killing the child.
#[derive(Debug)]
pub struct Lifeline {
    // The only writing end of a pipe. Nobody else can hold it open for longer than a fork lasts: it is close-on-exec.
    pipe: ChildStdin,
}

impl ChildCommand {
    /// Starts it; returns once the program is executing. Standard output and error go to `output`, standard input is empty.
    ///
    /// Blocks for the time of some process starts. On an error nothing is left running.
    pub fn spawn(&self, output: &File) -> Result<(Lifeline, Child), SysError> {
        let mut supervisor = Command::new(&self.supervisor)
            .args(supervise::arguments(self))
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            // A working directory of its own would keep a file system of the user's busy.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(duplicate(&self.supervisor, output)?)
            .spawn()
            .map_err(|source| SysError::Run { program: self.supervisor.clone(), source })?;
        let pipes = supervisor.stdin.take().zip(supervisor.stdout.take());
        let started = pipes.ok_or_else(|| self.lost()).and_then(|(pipe, reports)| {
            let mut lifeline = Lifeline { pipe };
            self.accompany(supervisor.id(), &mut lifeline, reports)?;
            Ok(lifeline)
        });
        match started {
            Ok(lifeline) => Ok((lifeline, Child { supervisor })),
            Err(error) => {
                // The lifeline is gone by now, so the supervisor is ending: this only collects it.
                drop(supervisor.wait());
                Err(error)
            }
        }
    }

    /// Does our side of the start: maps ids when asked to, and waits for the program.
    fn accompany(&self, pid: u32, lifeline: &mut Lifeline, reports: ChildStdout) -> Result<(), SysError> {
        let mut reports = BufReader::new(reports.take(REPORT_LIMIT));
        loop {
            let mut line = String::new();
            // A broken pipe and an early end are the same: the supervisor is gone.
            if reports.read_line(&mut line).is_err() || line.is_empty() {
                return Err(self.lost());
            }
            match Report::parse(&line) {
                Some(Report::Unmapped) => {
                    if let Identity::Mapped(map) = &self.identity {
                        map.apply(pid)?;
                    }
                    lifeline.send(Order::Mapped).map_err(|_| self.lost())?;
                }
                Some(Report::Started) => return Ok(()),
                Some(Report::Failed(Stage::Program, errno)) => {
                    let source = io::Error::from_raw_os_error(errno);
                    return Err(SysError::Run { program: self.program.clone(), source });
                }
                Some(Report::Failed(stage, errno)) => {
                    return Err(SysError::Refused { stage, source: io::Error::from_raw_os_error(errno) });
                }
                None => return Err(self.lost()),
            }
        }
    }

    fn lost(&self) -> SysError {
        SysError::SupervisorLost { program: self.program.clone() }
    }
}

fn duplicate(program: &std::path::Path, file: &File) -> Result<File, SysError> {
    file.try_clone().map_err(|source| SysError::Run { program: program.to_owned(), source })
}

impl Lifeline {
    /// Sends SIGTERM to the program, which may then end in its own time. Harmless if it has ended.
    pub fn terminate(&mut self) {
        drop(self.send(Order::Terminate));
    }

    fn send(&mut self, order: Order) -> io::Result<()> {
        self.pipe.write_all(&[order.byte()])
    }
}

impl Child {
    /// Host's process id of the supervisor. The program is a grandchild of it.
    pub fn supervisor_id(&self) -> u32 {
        self.supervisor.id()
    }

    /// Blocks until the program and all its descendants are gone and what was to be removed is removed.
    pub fn wait(mut self) -> ChildExit {
        match self.supervisor.wait() {
            Ok(status) => exit_of(status),
            // Cannot happen to a child that only we collect; it is not running as far as anyone can tell.
            Err(_) => ChildExit::Signal(9),
        }
    }
}

/// The supervisor passes on how the program ended in the way of shells: 128 and more are signals.
fn exit_of(status: ExitStatus) -> ChildExit {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => match u8::try_from(code) {
            Ok(code @ 0..=128) => ChildExit::Code(code),
            Ok(code) => ChildExit::Signal(code - 128),
            Err(_) => ChildExit::Code(u8::MAX),
        },
        (None, signal) => ChildExit::Signal(signal.and_then(|signal| u8::try_from(signal).ok()).unwrap_or(9)),
    }
}

impl std::fmt::Display for ChildExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}
