use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::run_dir::RunDir;
use super::{DaemonOptions, Ids, RegistryRule, StartedBuilder, causes, find, logs, ready};
use crate::engine::EngineError;
use crate::event::Event;
use crate::sys::{
    self, Child, ChildCommand, ChildExit, FileLock, IdMap, Identity, Lifeline, Processes, Stage, SysError, User,
};

/// Time between two looks at a lock that another daemon holds.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Below this, not even the daemon's own data bases fit.
const LEAST_SPACE: u64 = 32 << 20;

/// What the daemon must not read from its environment: telemetry would call out to somewhere, and its own variables change
/// settings that we choose. The rest of these are set by us.
const NOT_PASSED_ON: [&str; 9] =
    ["OTEL_", "BUILDKIT", "JAEGER_", "NOTIFY_SOCKET", "LISTEN_", "PATH", "TMPDIR", "XDG_", "HOME"];

/// Paths of the host that the daemon must not see. It parses its default configuration even when it is given another one,
/// and a broken one there ends it; runc keeps the state of containers in a place of the machine's, where those of a killed
/// daemon would stay.
const HIDDEN: [&str; 1] = ["/etc/buildkit"];
const HIDDEN_FROM_ROOT: [&str; 1] = ["/run/runc"];

/// Everything that was found out and made before the daemon runs.
struct Prepared {
    run_dir: RunDir,
    socket: PathBuf,
    /// The daemon's own `--root`.
    state: PathBuf,
    /// Its temporary files: one of those in a folder that all daemons of this root have.
    tmp: PathBuf,
    command: ChildCommand,
    limits: Vec<String>,
    user: User,
}

impl StartedBuilder {
    /// Starts a daemon and returns when it answers.
    ///
    /// Waits for another daemon that still uses the same root, for as long as the options say. Dropping the future ends
    /// the daemon.
    ///
    /// # Errors
    /// [`EngineError::CannotStart`] with the cause, what to do about it, and the end of the daemon's log if it got so far.
    pub async fn start(options: DaemonOptions) -> Result<Self, EngineError> {
        let options = Arc::new(absolute(options)?);
        let (socket, builder) = match launch(&options, Processes::Own).await {
            Err(Failed::MaskedProc) => launch(&options, Processes::Shared).await,
            other => other,
        }
        .map_err(|failed| match failed {
            Failed::MaskedProc => causes::cannot_start("`/proc` is masked", "name a builder with `--builder`"),
            Failed::Cause(error) => error,
        })?;
        for text in &builder.limits {
            options.events.emit(Event::Warning { cell: None, text: text.clone() });
        }
        builder.until_ready(&socket, &options).await
    }

    /// Waits for the first of: it answers, it ended, it took too long.
    async fn until_ready(mut self, socket: &Path, options: &DaemonOptions) -> Result<Self, EngineError> {
        let first = tokio::select! {
            version = ready::answered(socket) => Ok(version),
            exit = self.ended() => Err(format!("buildkitd {exit} before it answered")),
            () = tokio::time::sleep(options.start_timeout) => {
                Err(format!("buildkitd did not answer within {} s", options.start_timeout.as_secs()))
            }
        };
        match first {
            Ok(version) if ready::is_too_old(&version) => {
                self.stop().await;
                let binary = options.binary.display();
                let reason = format!("`{binary}` is buildkitd {version}, which is too old");
                Err(causes::cannot_start(reason, "install buildkitd 0.13 or newer"))
            }
            Ok(version) => {
                self.version = version;
                Ok(self)
            }
            Err(how) => {
                self.stop().await;
                Err(with_log(how, options))
            }
        }
    }
}

/// The daemon and its supervisor run in `/`.
fn absolute(mut options: DaemonOptions) -> Result<DaemonOptions, EngineError> {
    for path in [&mut options.binary, &mut options.root, &mut options.run_dir, &mut options.log] {
        *path = std::path::absolute(&*path).map_err(|error| causes::cannot_write(path, &error))?;
    }
    Ok(options)
}

/// Why a daemon is not running.
enum Failed {
    /// The kernel lets nobody mount a `/proc` here.
    MaskedProc,
    /// Everything else.
    Cause(EngineError),
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self::Cause(error)
    }
}

/// Prepares everything and runs the daemon; returns where it is going to listen.
async fn launch(options: &Arc<DaemonOptions>, processes: Processes) -> Result<(PathBuf, StartedBuilder), Failed> {
    let settings = Arc::clone(options);
    let prepared = blocking(move || Ok(prepare(&settings, processes)?)).await?;
    wait_for_lock(&prepared.state, options).await?;
    let log = options.log.clone();
    blocking(move || {
        clean(&prepared)?;
        let output = open_log(&log)?;
        let (lifeline, child) = prepared.command.spawn(&output).map_err(|error| match error {
            SysError::Refused { stage: Stage::Proc, .. } if processes == Processes::Own => Failed::MaskedProc,
            error => Failed::Cause(causes::not_contained(&error, &prepared.user)),
        })?;
        let builder = watch_over(&prepared, log, lifeline, child)?;
        // From here on the supervisor removes it, whatever becomes of us.
        prepared.run_dir.hand_over();
        Ok((prepared.socket, builder))
    })
    .await
}

/// A failure of a daemon that ran, with what its log says.
fn with_log(how: String, options: &DaemonOptions) -> EngineError {
    let output = logs::tail(&options.log);
    let reason = match logs::last_error(&output) {
        Some(words) => format!("{how}: {words}"),
        None => how,
    };
    let help = logs::advice(&reason, &options.root, &options.log);
    EngineError::CannotStart { reason, help, output }
}

/// Runs file and process work away from the reactor.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failed> + Send + 'static) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(causes::cannot_start(error.to_string(), "report this as a bug").into()))
}

/// Looks for everything that can be known to be missing, and makes the directories.
fn prepare(options: &DaemonOptions, processes: Processes) -> Result<Prepared, EngineError> {
    let user = User::current();
    let search = find::search_path(&options.binary, &options.search);
    let runtime = find::find_runtime(&search).ok_or_else(causes::no_runtime)?;
    let mut limits = Vec::new();
    let identity = identity(&user, &search, options.ids, &mut limits)?;
    // Snapshots of root and of an ordinary user differ in their owners and in how deletions are marked.
    let state = options.root.join(if user.is_root() { "root" } else { "user" });
    fs::create_dir_all(&state).map_err(|error| causes::cannot_write(&state, &error))?;
    let space = sys::free_bytes(&state).map_err(|error| causes::cannot_write(&state, &error))?;
    if space < LEAST_SPACE {
        let reason = format!("only {} MiB are free on the file system of `{}`", space >> 20, options.root.display());
        return Err(causes::cannot_start(reason, "free some space there, or name another place with `--state DIR`"));
    }
    let run_dir = RunDir::new(&options.run_dir).map_err(|error| causes::cannot_write(&options.run_dir, &error))?;
    // An address is a text.
    let socket = run_dir.socket().filter(|path| path.to_str().is_some()).ok_or_else(|| {
        let reason = format!(
            "`{}` is no path for a socket: it must be Unicode and have at most 107 bytes",
            run_dir.path().display()
        );
        causes::cannot_start(reason, "set XDG_RUNTIME_DIR or TMPDIR to a directory with a short path")
    })?;
    // Both are made for one run: the next one may be waiting for this one's end while it prepares.
    let tmp = options.root.join("tmp").join(run_dir.name());
    let config = run_dir.config().join("buildkitd.toml");
    let text = configuration(&run_dir.name(), options);
    fs::write(&config, text).map_err(|error| causes::cannot_write(&config, &error))?;
    // What runs containers keeps its state here, for root; see `HIDDEN_FROM_ROOT`. Left in place: it is runc's own.
    if user.is_root() {
        for path in HIDDEN_FROM_ROOT {
            drop(fs::create_dir_all(path));
        }
    }
    let hide = HIDDEN.iter().chain(HIDDEN_FROM_ROOT.iter().filter(|_| user.is_root())).map(PathBuf::from).collect();
    let mut arguments = arguments(&config, &state, &socket, &run_dir.telemetry(), &runtime);
    if processes == Processes::Shared {
        // Its steps cannot have a `/proc` of their own either (moby/buildkit docs/rootless.md).
        arguments.push(OsString::from("--oci-worker-no-process-sandbox"));
        limits.push(
            "`/proc` is masked in this container: the steps of a build can see each other's processes".to_owned(),
        );
    }
    let command = ChildCommand {
        supervisor: options.supervisor.clone(),
        program: options.binary.clone(),
        arguments,
        environment: environment(options, &search, &run_dir, &tmp),
        identity,
        processes,
        hide,
        remove: vec![run_dir.path().to_owned(), tmp.clone()],
        cgroup: Some(run_dir.name()),
    };
    Ok(Prepared { run_dir, socket, state, tmp, command, limits, user })
}

/// Root runs the daemon as it is; everybody else as root of a user namespace.
fn identity(user: &User, search: &[PathBuf], ids: Ids, limits: &mut Vec<String>) -> Result<Identity, EngineError> {
    if user.is_root() {
        return Ok(Identity::Own);
    }
    match (IdMap::with_ranges(user, search), ids) {
        (Ok(map), _) => Ok(Identity::Mapped(map)),
        (Err(reason), Ids::NeedRanges) => Err(causes::no_ranges(user, &reason)),
        (Err(reason), Ids::AllowSingle) => {
            let help = causes::ranges_help(user, &reason);
            limits.push(format!("{reason}: RUN steps and base images with several owners will fail; {help}"));
            Ok(Identity::Mapped(IdMap::single(user)))
        }
    }
}

/// The daemon's command line (moby/buildkit cmd/buildkitd).
fn arguments(config: &Path, state: &Path, socket: &Path, telemetry: &Path, runtime: &Path) -> Vec<OsString> {
    let flag = |name: &str, value: &OsStr| {
        let mut word = OsString::from(format!("--{name}="));
        word.push(value);
        word
    };
    let mut address = OsString::from("unix://");
    address.push(socket);
    vec![
        // Without it the machine's own configuration applies.
        flag("config", config.as_os_str()),
        flag("root", state.as_os_str()),
        flag("addr", &address),
        // The default is a path of root's, and an ordinary user's daemon dies on it.
        flag("otel-socket-path", telemetry.as_os_str()),
        // A containerd that happens to run here is not ours to use.
        OsString::from("--containerd-worker=false"),
        OsString::from("--oci-worker=true"),
        // A bridge outlives a killed daemon, and so do its rules and addresses.
        OsString::from("--oci-worker-net=host"),
        flag("oci-worker-binary", runtime.as_os_str()),
    ]
}

#[derive(Serialize)]
struct Configuration<'a> {
    #[serde(rename = "insecure-entitlements", skip_serializing_if = "<[String]>::is_empty")]
    entitlements: &'a [String],
    worker: Worker<'a>,
    registry: BTreeMap<&'a str, &'a RegistryRule>,
}

#[derive(Serialize)]
struct Worker<'a> {
    oci: OciWorker<'a>,
}

#[derive(Serialize)]
struct OciWorker<'a> {
    /// All cgroups of one run below one that the supervisor can remove afterwards.
    #[serde(rename = "defaultCgroupParent")]
    cgroup: &'a str,
}

/// The daemon's configuration file (moby/buildkit docs/buildkitd.toml.md).
fn configuration(cgroup: &str, options: &DaemonOptions) -> String {
    let value = Configuration {
        entitlements: &options.entitlements,
        worker: Worker { oci: OciWorker { cgroup } },
        registry: options.registries.iter().map(|rule| (rule.host.as_str(), rule)).collect(),
    };
    // Fails for maps whose keys are not texts, and for paths that are not Unicode: such a file could not be named anyway.
    let text = toml::to_string(&value).unwrap_or_default();
    format!("# Written by catamaran at each start of a builder.\n{text}")
}

fn environment(options: &DaemonOptions, search: &[PathBuf], run_dir: &RunDir, tmp: &Path) -> Vec<(OsString, OsString)> {
    let passed_on = options.environment.iter().filter(|(key, _)| {
        let key = key.as_bytes();
        !NOT_PASSED_ON.iter().any(|start| key.starts_with(start.as_bytes()))
    });
    let path: Vec<&OsStr> = search.iter().map(|folder| folder.as_os_str()).collect();
    let mut all: Vec<(OsString, OsString)> = passed_on.cloned().collect();
    let mut set = |key: &str, value: OsString| all.push((OsString::from(key), value));
    set("PATH", path.join(OsStr::new(":")));
    // Below the root because the probes for foreign platforms are executed there, and `/tmp` may forbid execution.
    set("TMPDIR", tmp.as_os_str().to_owned());
    set("HOME", run_dir.config().into_os_string());
    set("XDG_CONFIG_HOME", run_dir.config().into_os_string());
    // By default the daemon cuts a step's output at 2 MiB, and beyond 200 KiB in a second; logs are kept whole here
    // (moby/buildkit util/progress/logs).
    set("BUILDKIT_STEP_LOG_MAX_SIZE", "-1".into());
    set("BUILDKIT_STEP_LOG_MAX_SPEED", "-1".into());
    // For an ordinary user runc keeps the state of containers below it.
    set("XDG_RUNTIME_DIR", run_dir.path().as_os_str().to_owned());
    all
}

/// Waits until no other daemon uses `state`. The daemon takes the same lock itself; asking first makes waiting possible, and
/// names the one who holds it.
async fn wait_for_lock(state: &Path, options: &DaemonOptions) -> Result<(), EngineError> {
    let path = state.join("buildkitd.lock");
    let deadline = Instant::now() + options.lock_timeout;
    let mut told = false;
    loop {
        // The lock is given back at once: the daemon must find it free.
        match FileLock::try_take(&path) {
            Ok(Some(_free)) => return Ok(()),
            Ok(None) => {}
            Err(error) => return Err(causes::cannot_write(&path, &error)),
        }
        let holder = sys::lock_holder(&path).map_or_else(String::new, |pid| format!(" (process {pid})"));
        if Instant::now() >= deadline {
            let reason = format!("another buildkitd{holder} uses `{}`", state.display());
            return Err(causes::cannot_start(
                reason,
                "wait for its run to end, or name another place with `--state DIR`",
            ));
        }
        if !told {
            let text = format!("waiting for another buildkitd{holder} that uses `{}`", state.display());
            options.events.emit(Event::Waiting { text });
            told = true;
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

/// Removes what a killed daemon left and no daemon clears away: the bundles of its containers, and temporary files that
/// its supervisor could not remove because it was killed, too. All mounts of theirs were gone with the daemon. Called
/// when nobody uses the root.
fn clean(prepared: &Prepared) -> Result<(), EngineError> {
    for worker in fs::read_dir(&prepared.state).into_iter().flatten().filter_map(Result::ok) {
        if worker.file_name().as_bytes().starts_with(b"runc-") {
            drop(fs::remove_dir_all(worker.path().join("executor")));
        }
    }
    let tmp = &prepared.tmp;
    if let Some(all) = tmp.parent() {
        drop(fs::remove_dir_all(all));
    }
    fs::create_dir_all(tmp).map_err(|error| causes::cannot_write(tmp, &error))
}

/// A new log; the one of the last start is kept beside it.
fn open_log(path: &Path) -> Result<File, EngineError> {
    let failed = |error| causes::cannot_write(path, &error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut last = path.as_os_str().to_owned();
    last.push(".1");
    // There is none at the first start.
    drop(fs::rename(path, last));
    File::options().append(true).create(true).open(path).map_err(failed)
}

/// Waits for the daemon's end on a thread of its own: a blocking task of the runtime would keep the runtime from ending.
fn watch_over(
    prepared: &Prepared,
    log: PathBuf,
    lifeline: Lifeline,
    child: Child,
) -> Result<StartedBuilder, EngineError> {
    let (sender, ended) = watch::channel(None::<ChildExit>);
    std::thread::Builder::new()
        .name("builder".to_owned())
        .spawn(move || {
            // Nobody may be interested any more.
            let _ = sender.send(Some(child.wait()));
        })
        .map_err(|error| causes::cannot_start(format!("cannot start a thread: {error}"), "allow more processes"))?;
    let address = format!("unix://{}", prepared.socket.display());
    let limits = prepared.limits.clone();
    Ok(StartedBuilder { address, version: String::new(), log, limits, lifeline: Mutex::new(Some(lifeline)), ended })
}
