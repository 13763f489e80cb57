use std::collections::BTreeMap;
use std::fs;

use catamaran::base::{Digest, Epoch, Secret};
use catamaran::engine::{BuiltImage, Engine, EngineError, SecretSource};
use catamaran::event::Event;
use catamaran::store::Layout;

use super::bench::{Bench, SHELL, connect, platform};
use crate::support::daemon::Daemon;
use crate::support::tools;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_in_and_an_image_comes_out() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY greeting /hello\n");
    bench.write("greeting", "ahoy");
    let image = bench.build("linux/amd64").await.unwrap();
    assert_eq!(image.platform, platform("linux/amd64"));
    assert_eq!(bench.text(&image, "hello"), "ahoy");
    assert!(image.received > 0 && image.sent > 0, "{image:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_on_both_platforms_and_the_second_build_sends_nothing() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write("Dockerfile", format!("{SHELL}RUN uname -m >/machine\n"));
    let (amd64, arm64) = tokio::join!(bench.build("linux/amd64"), bench.build("linux/arm64"));
    let (amd64, arm64) = (amd64.unwrap(), arm64.unwrap());
    assert_eq!(bench.text(&amd64, "machine"), "x86_64");
    assert_eq!(bench.text(&arm64, "machine"), "aarch64");
    assert_eq!(arm64.platform, platform("linux/arm64"));
    assert_eq!(bench.config(&arm64)["architecture"], "arm64");

    let again = bench.build("linux/amd64").await.unwrap();
    assert_eq!(again.manifest, amd64.manifest);
    assert_eq!(again.received, 0, "every blob is in the layout");
    let cached = |event: &Event| matches!(event, Event::StepFinished { cached: true, .. });
    assert!(bench.events.all().iter().any(cached));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_decides() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write(
        "dir/My Dockerfile",
        format!("{SHELL}FROM scratch AS lib\nCOPY --from=0 /bin/sh /bin/sh\nARG VERSION\nRUN echo \"$VERSION\" >/version; cat /etc/hosts >/hosts\nFROM scratch AS unused\n"),
    );
    let mut request = bench.request("linux/amd64");
    request.dockerfile.directory = bench.context().join("dir");
    request.dockerfile.name = "My Dockerfile".to_owned();
    request.target = Some("lib".to_owned());
    request.args = BTreeMap::from([("VERSION".to_owned(), "a b, \"c\" = ü".to_owned())]);
    request.labels = BTreeMap::from([("org.example.note".to_owned(), "x=1, y".to_owned())]);
    request.extra_hosts = vec![("Alpha.test".to_owned(), "10.1.2.3".to_owned()), ("beta".to_owned(), "::1".to_owned())];
    let image = bench.engine.build(request).await.unwrap();
    assert_eq!(bench.text(&image, "version"), "a b, \"c\" = ü");
    assert_eq!(bench.config(&image)["config"]["Labels"]["org.example.note"], "x=1, y");
    let hosts = bench.text(&image, "hosts");
    assert!(hosts.contains("10.1.2.3\talpha.test") && hosts.contains("::1\tbeta"), "{hosts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_steps_and_no_layer() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write(
        "Dockerfile",
        format!("{SHELL}RUN --mount=type=secret,id=key --mount=type=secret,id=file cat /run/secrets/key /run/secrets/file | sha256sum >/sum\nRUN --mount=type=secret,id=none [ ! -e /run/secrets/none ]\n"),
    );
    fs::write(bench.directory.path().join("secret"), b"\xff\x00raw").unwrap();
    let mut request = bench.request("linux/amd64");
    request.secrets = BTreeMap::from([
        ("key".to_owned(), SecretSource::Value(Secret::new("hunter2hunter2"))),
        ("file".to_owned(), SecretSource::File(bench.directory.path().join("secret"))),
    ]);
    let image = bench.engine.build(request).await.unwrap();
    let sum = Digest::of(b"hunter2hunter2\xff\x00raw").hex();
    assert_eq!(bench.text(&image, "sum"), format!("{sum}  -"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_makes_equal_bytes_on_two_builders() {
    let other = tokio::task::spawn_blocking(Daemon::start).await.unwrap();
    let bench = Bench::new().await;
    bench.shells();
    bench.write("Dockerfile", format!("{SHELL}RUN echo \"$SOURCE_DATE_EPOCH\" >/epoch\nCOPY Dockerfile /\n"));
    let request = || {
        let mut request = bench.request("linux/amd64");
        request.epoch = Some(Epoch::from_seconds(1_700_000_000).unwrap());
        request
    };
    let first = bench.engine.build(request()).await.unwrap();
    let layout = Layout::create(bench.directory.path().join("other")).unwrap();
    let second = connect(other.address(), &layout).await.build(request()).await.unwrap();
    assert_eq!(first.manifest, second.manifest);
    assert_eq!(bench.config(&first)["created"], "2023-11-14T22:13:20Z");
    assert!(second.received > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_runs_every_step_again() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write("Dockerfile", format!("{SHELL}RUN cat /proc/sys/kernel/random/uuid >/uuid\n"));
    let first = bench.build("linux/amd64").await.unwrap();
    let mut request = bench.request("linux/amd64");
    request.no_cache = true;
    let second = bench.engine.build(request).await.unwrap();
    assert_ne!(bench.text(&first, "uuid"), bench.text(&second, "uuid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_name_both_platforms() {
    let bench = Bench::new().await;
    let capabilities = bench.engine.capabilities();
    assert_eq!(capabilities.native, catamaran::base::Platform::host());
    for text in ["linux/amd64", "linux/arm64"] {
        assert!(capabilities.platforms.contains(&platform(text)), "{capabilities:?}");
    }
    assert!(capabilities.version.starts_with("buildkit 0."), "{}", capabilities.version);
    assert!(capabilities.parallelism >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_are_told_once() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "from scratch\nCOPY Dockerfile /\nMAINTAINER nobody\n");
    bench.build("linux/amd64").await.unwrap();
    let warnings: Vec<(String, Option<u32>)> = bench
        .events
        .all()
        .into_iter()
        .filter_map(|event| match event {
            Event::BuildWarning { text, line, .. } => Some((text, line)),
            _ => None,
        })
        .collect();
    let maintainer: Vec<_> = warnings.iter().filter(|(text, _)| text.contains("MaintainerDeprecated")).collect();
    assert_eq!(maintainer.len(), 1, "{warnings:?}");
    assert_eq!(maintainer[0].1, Some(3));
}

/// The daemon mirrors what it was sent last under one key: sources that differ by platform must not share it.
#[tokio::test(flavor = "multi_thread")]
async fn files_chosen_by_platform_travel_once() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write("Dockerfile", format!("{SHELL}RUN uname -m >/machine\n"));
    let total = |(amd64, arm64): (Result<BuiltImage, _>, Result<BuiltImage, EngineError>)| {
        amd64.unwrap().sent + arm64.unwrap().sent
    };
    let both = async || total(tokio::join!(bench.build("linux/amd64"), bench.build("linux/arm64")));
    let first = both().await;
    let shells: u64 = ["amd64", "arm64"].map(|a| fs::metadata(tools::busybox(a)).unwrap().len()).iter().sum();
    assert!((shells..shells + 10_000).contains(&first), "{first}");
    // Under one key every run would send one of the shells again. The daemon gives a snapshot up a moment after its solve has
    // ended, and a busy one so misses it now and then.
    let mut again = Vec::new();
    for _ in 0..5 {
        again.push(both().await);
    }
    let quiet = again.iter().filter(|sent| **sent < 10_000).count();
    assert!(quiet >= 1, "only the Dockerfile travels: {again:?}");
}
