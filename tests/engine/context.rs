use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use catamaran::base::{ErrorClass, Failure};
use catamaran::engine::{ContextSource, Engine, EngineError};

use super::bench::Bench;

/// Ignore patterns come as headers: at the usual limit of 16 KiB the daemon would not even send these.
#[tokio::test(flavor = "multi_thread")]
async fn an_ignore_file_of_200_kb_is_obeyed_to_its_last_line() {
    let bench = Bench::new().await;
    let mut ignore = String::new();
    for number in 0..22_000 {
        writeln!(ignore, "f{number:05}").unwrap();
    }
    ignore.push_str("*.log\n!kept.log\n");
    assert!(ignore.len() > 150_000);
    bench.write(".dockerignore", ignore);
    for name in ["f00000", "f21999", "x.log", "kept.log", "plain"] {
        bench.write(name, name);
    }
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let image = bench.build("linux/amd64").await.unwrap();
    let there = |name: &str| bench.file(&image, name).is_some();
    assert!(there("plain") && there("kept.log"));
    assert!(!there("f00000") && !there("f21999") && !there("x.log"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_directory_is_never_part_of_it() {
    let bench = Bench::new().await;
    bench.write(".dockerignore", "!.catamaran\n!.catamaran/**\n");
    bench.write(".catamaran/layout/blob", "never");
    bench.write("plain", "x");
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let mut request = bench.request("linux/amd64");
    request.context =
        ContextSource::Directory { path: bench.context(), always_excluded: vec![PathBuf::from(".catamaran")] };
    let image = bench.engine.build(request).await.unwrap();
    assert!(bench.file(&image, "plain").is_some());
    assert!(bench.file(&image, ".catamaran/layout/blob").is_none());
}

/// The daemon knows only that the transfer ended; the cause is known here.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_sent_is_the_error() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    bench.write("good", "x");
    let bad = bench.context().join(OsStr::from_bytes(b"caf\xe9.txt"));
    std::fs::write(&bad, "x").unwrap();
    let (amd64, arm64) = tokio::join!(bench.build("linux/amd64"), bench.build("linux/arm64"));
    for result in [amd64, arm64] {
        let error = result.unwrap_err();
        let EngineError::Context { path, disk: false, .. } = &error else { panic!("{error:?}") };
        assert!(path.contains("caf") && path.contains(".txt"), "{path}");
        assert_eq!(error.class(), ErrorClass::Build);
    }
    std::fs::remove_file(bad).unwrap();
    bench.build("linux/amd64").await.expect("the failure is not kept");

    std::fs::remove_dir_all(bench.context()).unwrap();
    let error = bench.build("linux/amd64").await.unwrap_err();
    assert!(matches!(error, EngineError::Context { .. }), "{error:?}");
}
