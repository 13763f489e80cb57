use std::time::Duration;

use catamaran::base::{ErrorClass, Failure};
use catamaran::engine::{Engine, EngineError};

use super::bench::{Bench, SHELL};
use crate::support::daemon::Daemon;

/// Runs until it is stopped, and says so.
const ENDLESS: &str = "RUN echo started; while true; do sleep 1; done\n";

/// A shell whose `sleep` is the same program.
fn dockerfile(rest: &str) -> String {
    format!("{SHELL}RUN [\"/bin/sh\", \"-c\", \"true\"]\n{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_ends_its_step_and_nothing_else() {
    let bench = Bench::new().await;
    bench.shells();
    let marker = format!("marker-{}", std::process::id());
    bench.write("Dockerfile", dockerfile(&ENDLESS.replace("started;", &format!("started; : {marker};"))));
    let request = bench.request("linux/amd64");
    let cancel = request.cancel.clone();
    let (result, ()) = tokio::join!(bench.engine.build(request), async {
        bench.events.wait_for("started").await;
        assert!(is_running(&marker), "the step is there");
        cancel.cancel();
    });
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Cancelled { .. }), "{error:?}");
    assert!(!is_running(&marker), "the step is gone when the build says so");

    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.build("linux/amd64").await.expect("the connection is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_build_ends_its_step() {
    let bench = Bench::new().await;
    bench.shells();
    let marker = format!("dropped-{}", std::process::id());
    bench.write("Dockerfile", dockerfile(&ENDLESS.replace("started;", &format!("started; : {marker};"))));
    tokio::select! {
        result = bench.build("linux/amd64") => panic!("{result:?}"),
        () = bench.events.wait_for("started") => {}
    }
    let gone = async {
        while is_running(&marker) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the step ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_dies_is_lost() {
    let mut daemon = tokio::task::spawn_blocking(Daemon::start).await.unwrap();
    let bench = Bench::on(daemon.address()).await;
    bench.shells();
    bench.write("Dockerfile", dockerfile(ENDLESS));
    let address = daemon.address().to_owned();
    let (amd64, arm64, ()) = tokio::join!(bench.build("linux/amd64"), bench.build("linux/arm64"), async {
        bench.events.wait_for("started").await;
        tokio::task::spawn_blocking(move || daemon.kill()).await.unwrap();
    });
    for result in [amd64, arm64] {
        let error = result.unwrap_err();
        let EngineError::Lost { address: lost, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*lost, address);
        assert_eq!(error.class(), ErrorClass::Builder);
    }
    let error = bench.build("linux/amd64").await.unwrap_err();
    assert!(matches!(error, EngineError::Lost { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_engine_stops_its_builds() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write("Dockerfile", dockerfile(ENDLESS));
    let (result, ()) = tokio::join!(bench.build("linux/amd64"), async {
        bench.events.wait_for("started").await;
        bench.engine.close().await;
        bench.engine.close().await;
    });
    assert!(matches!(result.unwrap_err(), EngineError::Cancelled { .. }));
}

/// Whether a process of any namespace has `text` on its command line; this process's own does not count.
fn is_running(text: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    })
}
