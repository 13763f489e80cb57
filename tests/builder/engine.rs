//! The engine that owns a builder which was started for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catamaran::base::{CellId, CredentialFuture, CredentialSource};
use catamaran::engine::buildkit::daemon::{DaemonOptions, Ids};
use catamaran::engine::buildkit::{BuildKitEngine, StartOptions, start};
use catamaran::engine::{BuildRequest, ContextSource, DockerfilePlace, DockerfileSource, Engine, EngineError};
use catamaran::event::{Event, Execution, NoEvents};
use catamaran::store::Layout;

use crate::support::survivors::{descendants, names};
use crate::support::tools;

struct Anonymous;

impl CredentialSource for Anonymous {
    fn credentials<'a>(&'a self, _host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
        Box::pin(async { Ok(None) })
    }
}

fn options(folder: &Path) -> StartOptions {
    let daemon = DaemonOptions {
        binary: tools::tool("bin/buildkitd"),
        supervisor: PathBuf::from(env!("CARGO_BIN_EXE_catamaran")),
        root: folder.join("builder"),
        run_dir: folder.join("run"),
        log: folder.join("builder.log"),
        search: std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
        environment: Vec::new(),
        registries: Vec::new(),
        entitlements: Vec::new(),
        ids: Ids::NeedRanges,
        start_timeout: Duration::from_secs(60),
        lock_timeout: Duration::from_secs(10),
        events: Arc::new(NoEvents),
    };
    let layout = Layout::create(folder.join("layout")).expect("a layout");
    StartOptions { daemon, layout, credentials: Arc::new(Anonymous), token_client: None }
}

fn request(
    folder: &Path,
    platform: &str,
    dockerfile: &str,
    events: impl Fn(Event) + Send + Sync + 'static,
) -> BuildRequest {
    let context = folder.join(format!("context-{}", platform.replace('/', "-")));
    fs::create_dir_all(&context).expect("a folder");
    let architecture = platform.rsplit('/').next().expect("an architecture");
    fs::copy(tools::busybox(architecture), context.join("busybox")).expect("copied");
    fs::write(context.join("Dockerfile"), dockerfile).expect("written");
    let cell = CellId::new("thing".parse().expect("a name"), platform.parse().expect("a platform"));
    let dockerfile = DockerfileSource {
        directory: context.clone(),
        name: "Dockerfile".to_owned(),
        template: None,
        place: DockerfilePlace::Directory,
    };
    let context = ContextSource::Directory { path: context, always_excluded: Vec::new() };
    let key = format!("{}-{platform}", folder.display());
    BuildRequest { events: Arc::new(events), ..BuildRequest::new(cell, context, dockerfile, key) }
}

fn daemon_of(folder: &Path) -> u32 {
    let root = folder.join("builder").display().to_string();
    let ours = |pid: u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&root))
    };
    let all = descendants(std::process::id());
    all.into_iter().find(|process| process.name == "buildkitd" && ours(process.pid)).expect("a daemon").pid
}

async fn started(folder: &Path) -> BuildKitEngine {
    start(options(folder)).await.expect("a builder")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_builder_builds_both_platforms_and_goes_with_its_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = started(folder.path()).await;
    let execution = |platform: &str| engine.capabilities().execution(&platform.parse().expect("a platform"));
    let native = format!("linux/{}", super::bench::native());
    assert_eq!(execution(&native), Execution::Native);
    let foreign = if native == "linux/amd64" { "linux/arm64" } else { "linux/amd64" };
    assert!(matches!(execution(foreign), Execution::Emulated(_)), "{:?}", execution(foreign));
    for platform in ["linux/amd64", "linux/arm64"] {
        let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"uname\",\"-m\"]\n";
        let image = engine.build(request(folder.path(), platform, dockerfile, |_| {})).await.expect("it builds");
        assert_eq!(image.platform.to_string(), platform);
    }
    engine.close().await;
    engine.close().await;
    assert_eq!(names(&folder.path().join("run")), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_builder_that_is_killed_is_lost_with_its_cause_and_the_next_one_completes() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = started(folder.path()).await;
    let (sender, mut running) = tokio::sync::mpsc::unbounded_channel();
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"sh\",\"-c\",\"echo started; /bin/busybox sleep 3600\"]\n";
    let native = format!("linux/{}", super::bench::native());
    let events = move |event: Event| {
        if let Event::StepLog { bytes, .. } = event
            && bytes.starts_with(b"started")
        {
            // The test may be over.
            let _ = sender.send(());
        }
    };
    let (result, ()) = tokio::join!(engine.build(request(folder.path(), &native, dockerfile, events)), async {
        running.recv().await.expect("the step runs");
        let daemon = i32::try_from(daemon_of(folder.path())).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(daemon.expect("a process"), rustix::process::Signal::KILL)
            .expect("it may be killed");
    });
    let error = result.expect_err("nobody finished it");
    let EngineError::Lost { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("buildkitd was ended by signal 9"), "{reason}");
    drop(engine);

    let engine = started(folder.path()).await;
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"true\"]\n";
    engine.build(request(folder.path(), &native, dockerfile, |_| {})).await.expect("it builds");
    engine.close().await;
}
