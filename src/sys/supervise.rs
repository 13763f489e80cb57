//! The two processes of ours that stand between this program and a contained child.
//!
//! ```text
//! catamaran ── lifeline (pipe) ───────────────┐
//!   └─ supervisor          own session; makes the namespaces, waits, cleans up
//!        └─ init           process 1 of the process namespace; watches the lifeline
//!             └─ program   and everything that it starts
//! ```
//!
//! What ends the child, and why nothing else was enough:
//! - *The lifeline.* catamaran holds the only writing end of a pipe; the kernel closes it when catamaran dies, also by
//!   SIGKILL, and init sees the end of the file and exits. `PR_SET_PDEATHSIG` between catamaran and its child would not do: it
//!   fires when the *thread* that started the child ends, and threads of an async runtime come and go.
//! - *The process namespace.* When process 1 of it exits, the kernel kills every other process in it, including those that
//!   daemonised, changed their session or are ignoring signals. Killing a process group or a tree of processes cannot
//!   promise that. The mount namespace goes with its last process, and the mounts with it.
//! - *`PR_SET_PDEATHSIG` between supervisor and init*, for the case that somebody kills the supervisor. Both have one thread
//!   that matters and never change credentials afterwards, which would clear the setting.
//!
//! Both are this program itself, executed again, instead of forks of a running one: a fork of a process with threads may do
//! next to nothing before it executes something, and it would keep a copy of the parent's memory, secrets included. They
//! are small, have no runtime, and read nothing but their arguments.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::child::{ChildCommand, Identity, Processes};
use super::{Stage, cleanup, mount, process, signal};

/// First argument of the supervisor. Not a command of the public face: `main` looks for it before it parses anything.
const SUPERVISOR: &str = "__supervise";
/// First argument of process 1.
const INIT: &str = "__init";
/// Exit code when a start failed; what failed has been reported through the pipe by then.
const FAILED: u8 = 125;
/// Exit code for "ended by SIGKILL", in the way of shells.
const KILLED: u8 = 128 + 9;

/// What we tell the child's process 1, one byte each, through the lifeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// The ids of the user namespace are there.
    Mapped,
    /// Send SIGTERM to the program.
    Terminate,
}

impl Command {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Mapped => b'm',
            Self::Terminate => b't',
        }
    }
}

/// What supervisor and init tell us, one line each, through their standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// A user namespace was made; somebody outside must map its ids.
    Unmapped,
    /// The program is executing.
    Started,
    /// A stage failed, with this errno.
    Failed(Stage, i32),
}

impl Report {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let report = match words.next()? {
            "unmapped" => Self::Unmapped,
            "started" => Self::Started,
            "failed" => Self::Failed(Stage::from_word(words.next()?)?, words.next()?.parse().ok()?),
            _ => return None,
        };
        words.next().is_none().then_some(report)
    }

    fn send(self) {
        let line = match self {
            Self::Unmapped => "unmapped\n".to_owned(),
            Self::Started => "started\n".to_owned(),
            Self::Failed(stage, errno) => format!("failed {} {errno}\n", stage.word()),
        };
        // If nobody listens any more the lifeline is gone too, and that is acted upon elsewhere.
        drop(io::stdout().write_all(line.as_bytes()));
        drop(io::stdout().flush());
    }
}

/// A failed stage with the kernel's answer.
type Failed = (Stage, io::Error);

/// If `arguments` (with the program's name in front) are those of a supervisor or of a process 1, does its work and returns
/// the exit code for `main` to end with. `None` for every other command line.
///
/// Must be the first thing in `main`: making a user namespace needs a process with one thread.
pub fn supervised(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let role = arguments.next()?;
    let work = match role.to_str()? {
        SUPERVISOR => supervise,
        INIT => init,
        _ => return None,
    };
    let arguments: Vec<OsString> = arguments.collect();
    let code = match Orders::parse(&arguments) {
        Some(orders) => work(&orders, &arguments).unwrap_or_else(|(stage, error)| {
            Report::Failed(stage, error.raw_os_error().unwrap_or(rustix::io::Errno::INVAL.raw_os_error())).send();
            FAILED
        }),
        None => FAILED,
    };
    Some(ExitCode::from(code))
}

/// The supervisor's command line for `child`. Readable on purpose: it is what an administrator sees in a process list. The
/// environment, which may hold credentials of a proxy, is not on it.
pub(super) fn arguments(child: &ChildCommand) -> Vec<OsString> {
    let pair = |key: &str, value: &OsStr| {
        let mut word = OsString::from(key);
        word.push("=");
        word.push(value);
        word
    };
    let mut words = vec![OsString::from(SUPERVISOR)];
    if let Identity::Mapped(_) = child.identity {
        words.push(OsString::from("ids=mapped"));
    }
    if child.processes == Processes::Shared {
        words.push(OsString::from("processes=shared"));
    }
    words.extend(child.hide.iter().map(|path| pair("hide", path.as_os_str())));
    words.extend(child.remove.iter().map(|path| pair("remove", path.as_os_str())));
    words.extend(child.cgroup.iter().map(|name| pair("cgroup", OsStr::new(name))));
    words.push(OsString::from("--"));
    words.push(child.program.clone().into_os_string());
    words.extend(child.arguments.iter().cloned());
    words
}

/// What [`arguments`] says, read back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Orders {
    mapped: bool,
    shared: bool,
    hide: Vec<PathBuf>,
    remove: Vec<PathBuf>,
    cgroup: Option<String>,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Orders {
    fn parse(words: &[OsString]) -> Option<Self> {
        let mut orders = Self::default();
        let mut words = words.iter();
        for word in words.by_ref() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                break;
            }
            let at = bytes.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&bytes[..at], OsString::from_vec(bytes[at + 1..].to_vec()));
            match key {
                b"ids" => orders.mapped = value == "mapped",
                b"processes" => orders.shared = value == "shared",
                b"hide" => orders.hide.push(PathBuf::from(value)),
                b"remove" => orders.remove.push(PathBuf::from(value)),
                b"cgroup" => orders.cgroup = Some(value.into_string().ok()?),
                _ => return None,
            }
        }
        orders.program = PathBuf::from(words.next()?);
        orders.arguments = words.cloned().collect();
        Some(orders)
    }
}

/// The supervisor: makes the namespaces, starts init in them, waits for it, cleans up after everybody.
fn supervise(orders: &Orders, words: &[OsString]) -> Result<u8, Failed> {
    // Away from the terminal's signals: after Ctrl-C it is catamaran that ends its child, in its own time. Fails only for a
    // process that leads a session already.
    let _ = rustix::process::setsid();
    if orders.mapped {
        unshare(UnshareFlags::NEWUSER, Stage::UserNamespace)?;
        Report::Unmapped.send();
        let mut byte = [0];
        if io::stdin().read_exact(&mut byte).is_err() || byte[0] != Command::Mapped.byte() {
            return Ok(KILLED);
        }
    }
    if !orders.shared {
        // Concerns children only: the next process that is started becomes process 1 of the new namespace.
        unshare(UnshareFlags::NEWPID, Stage::ProcessNamespace)?;
    }
    let init = std::process::Command::new("/proc/self/exe")
        .arg0(SUPERVISOR.trim_start_matches('_'))
        .arg(INIT)
        .args(words)
        .spawn()
        .map_err(|error| (Stage::ProcessNamespace, error))
        .and_then(|mut init| {
            signal::ignore_termination();
            // From here on init alone reports; a copy of the pipe here would hide from catamaran that init died.
            silence().map_err(|error| (Stage::Program, error))?;
            init.wait().map_err(|error| (Stage::Program, error))
        });
    // Whatever happened: the namespace is empty now, and with it every mount below these directories is gone. This process
    // is outside of that mount namespace, so that no removal can ever reach into something mounted.
    for path in &orders.remove {
        cleanup::remove_tree(path);
    }
    if let Some(name) = &orders.cgroup {
        cleanup::remove_cgroup(name);
    }
    init.map(exit_code)
}

/// Process 1: arranges the mounts, starts the program, reaps what is orphaned, and exits when the program ends or the
/// lifeline breaks, which is the end of every process in the namespace.
fn init(orders: &Orders, _words: &[OsString]) -> Result<u8, Failed> {
    let refused = |stage| move |error: rustix::io::Errno| (stage, io::Error::from(error));
    // Should the supervisor have died before this call, catamaran sees it end and lets go of the lifeline.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(refused(Stage::ProcessNamespace))?;
    unshare(UnshareFlags::NEWNS, Stage::MountNamespace)?;
    mount::detach_from_host().map_err(|error| (Stage::MountNamespace, error))?;
    if orders.shared {
        // What process 1 of a namespace is by nature: orphans become children of this process.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(refused(Stage::ProcessNamespace))?;
    } else {
        mount::proc().map_err(|error| (Stage::Proc, error))?;
    }
    for path in &orders.hide {
        mount::hide(path).map_err(|error| (Stage::Hide, error))?;
    }
    let program = start(orders).map_err(|error| (Stage::Program, error))?;
    signal::ignore_termination();
    Report::Started.send();
    silence().map_err(|error| (Stage::Program, error))?;
    let code = watch(program);
    if orders.shared {
        process::end_descendants();
    }
    Ok(code)
}

fn start(orders: &Orders) -> io::Result<Pid> {
    let log = || io::Result::Ok(Stdio::from(rustix::io::dup(rustix::stdio::stderr())?));
    let program = std::process::Command::new(&orders.program)
        .args(&orders.arguments)
        .stdin(Stdio::null())
        .stdout(log()?)
        .stderr(log()?)
        .spawn()?;
    i32::try_from(program.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Waits for the first of: the program ended, the lifeline broke. Two blocking threads and a channel need no signal
/// handling, which is what makes such loops hard to get right.
fn watch(program: Pid) -> u8 {
    let (ended, first) = mpsc::channel();
    let broken = ended.clone();
    thread::spawn(move || {
        let code = reap_until(program);
        // The receiver is only gone when this process is exiting anyway.
        let _ = ended.send(code);
    });
    thread::spawn(move || {
        follow_lifeline(program);
        let _ = broken.send(KILLED);
    });
    first.recv().unwrap_or(KILLED)
}

/// Collects every orphan of the namespace, as process 1 must, until `program` has ended.
fn reap_until(program: Pid) -> u8 {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
                    (None, signal) => signal.and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(KILLED),
                };
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No child at all: the program was collected by a call that we do not know of.
            Err(_) => return KILLED,
        }
    }
}

/// Obeys the lifeline until it breaks.
fn follow_lifeline(program: Pid) {
    let mut byte = [0];
    while io::stdin().read_exact(&mut byte).is_ok() {
        if byte[0] == Command::Terminate.byte() {
            // It may have ended in this moment; the other thread will tell.
            let _ = rustix::process::kill_process(program, Signal::TERM);
        }
    }
}

/// Closes the pipe of reports by putting the log in its place.
fn silence() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdout(rustix::stdio::stderr())?)
}

fn unshare(flags: UnshareFlags, stage: Stage) -> Result<(), Failed> {
    // SAFETY: the call is unsafe for CLONE_FILES alone, which would make one thread's file descriptors invalid for the
    // others; no caller passes it.
    #[expect(unsafe_code, reason = "unshare(2) has no safe form")]
    let answer = unsafe { rustix::thread::unshare_unsafe(flags) };
    answer.map_err(|error| (stage, error.into()))
}

fn exit_code(status: std::process::ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, signal) => signal.and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(KILLED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::IdMap;
    use crate::sys::User;

    #[test]
    fn arguments_are_read_back() {
        let user = User { uid: 1, gid: 1, name: None };
        let child = ChildCommand {
            supervisor: PathBuf::from("/proc/self/exe"),
            program: PathBuf::from("/bin/a=b"),
            arguments: vec![OsString::from("--"), OsString::from("--x=y"), OsString::from_vec(b"\xff".to_vec())],
            environment: Vec::new(),
            identity: Identity::Mapped(IdMap::single(&user)),
            processes: Processes::Shared,
            hide: vec![PathBuf::from("/a=b")],
            remove: vec![PathBuf::from("/c d")],
            cgroup: Some("g".to_owned()),
        };
        let words = arguments(&child);
        assert_eq!(words[0], SUPERVISOR);
        let orders = Orders::parse(&words[1..]).expect("its own words");
        assert_eq!(orders.program, child.program);
        assert_eq!(orders.arguments, child.arguments);
        assert!(orders.shared);
        assert_eq!((orders.mapped, orders.hide, orders.remove), (true, child.hide, child.remove));
        assert_eq!(orders.cgroup, child.cgroup);
    }

    #[test]
    fn a_broken_command_line_starts_nothing() {
        for words in [&["ids=mapped"][..], &["nonsense", "--", "/bin/true"], &["a=b", "--", "/bin/true"], &["--"], &[]]
        {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(Orders::parse(&words), None, "{words:?}");
        }
    }

    #[test]
    fn other_command_lines_are_not_ours() {
        for words in [&["catamaran"][..], &["catamaran", "build"], &["catamaran", "build", SUPERVISOR], &[]] {
            assert!(supervised(words.iter().map(OsString::from)).is_none(), "{words:?}");
        }
    }

    #[test]
    fn reports_are_read_back() {
        assert_eq!(Report::parse("unmapped\n"), Some(Report::Unmapped));
        assert_eq!(Report::parse("failed proc 1\n"), Some(Report::Failed(Stage::Proc, 1)));
        assert_eq!(Report::parse("failed proc\n"), None);
        assert_eq!(Report::parse("started twice\n"), None);
        assert_eq!(Report::parse("\n"), None);
    }
}
