use catamaran::base::{ErrorClass, Failure};
use catamaran::engine::EngineError;
use catamaran::engine::buildkit::BuildKitEngine;

use super::bench::{Bench, SHELL, options};
use super::registry::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_shows_itself() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write("Dockerfile", format!("{SHELL}RUN echo before; \\\n  echo oh no >&2; \\\n  exit 42\nRUN true\n"));
    let error = bench.build("linux/arm64").await.unwrap_err();
    match &error {
        EngineError::Build { step: Some(step), message, exit_code, output, .. } => {
            assert!(step.starts_with("step 3 of 4: RUN echo before;"), "{step}");
            assert_eq!(*exit_code, Some(42));
            assert!(message.contains("exit code: 42"), "{message}");
            // The two streams are two pipes: the daemon may read the second one first.
            assert!(output.len() == 2 && ["before", "oh no"].iter().all(|line| output.contains(&(*line).to_owned())));
        }
        other => panic!("{other:?}"),
    }
    let (source, first, last) = error.excerpt().unwrap();
    assert_eq!((first, last), (5, 7));
    assert_eq!(source.path(), bench.context().join("Dockerfile"));
    assert!(source.text().contains("exit 42"));
    assert_eq!(error.class(), ErrorClass::Build);
}

/// Error details are trailers: at the usual limits this one would be a protocol error and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_a_huge_dockerfile_arrives_whole() {
    let bench = Bench::new().await;
    bench.shells();
    let filler = "# 123456789 123456789 123456789 123456789 123456789 123456789 123\n".repeat(6200);
    bench.write("Dockerfile", format!("{SHELL}{filler}RUN exit 7\n"));
    let error = bench.build("linux/amd64").await.unwrap_err();
    let EngineError::Build { exit_code: Some(7), .. } = error else { panic!("{error:?}") };
    let (source, first, _) = error.excerpt().unwrap();
    assert!(source.text().len() > 400_000, "{}", source.text().len());
    assert_eq!(first, 6205);
    assert!(bench.build("linux/amd64").await.is_err(), "the connection is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_is_what_failed_first_and_not_what_it_stopped() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write(
        "Dockerfile",
        "FROM scratch AS shell\nARG TARGETARCH\nCOPY busybox-$TARGETARCH /bin/sh\nFROM shell AS slow\nRUN /bin/sh -c 'sleep 30 || /bin/sh sleep 30'\nFROM shell AS broken\nRUN exit 9\nFROM scratch\nCOPY --from=slow /bin/sh /a\nCOPY --from=broken /bin/sh /b\n",
    );
    let error = bench.build("linux/amd64").await.unwrap_err();
    let EngineError::Build { step: Some(step), exit_code: Some(9), .. } = &error else { panic!("{error:?}") };
    assert!(step.ends_with("RUN exit 9"), "{step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_builder_refuses_has_its_line() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\nFOO bar\n");
    let error = bench.build("linux/amd64").await.unwrap_err();
    let EngineError::Build { step: None, message, exit_code: None, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("unknown instruction: FOO"), "{message}");
    assert_eq!(error.excerpt().map(|(_, first, last)| (first, last)), Some((3, 3)));

    bench.write("Dockerfile", "FROM scratch\nCOPY missing /\n");
    let error = bench.build("linux/amd64").await.unwrap_err();
    let EngineError::Build { step: Some(step), message, .. } = &error else { panic!("{error:?}") };
    assert!(step.contains("COPY missing /") && message.contains("\"/missing\": not found"), "{step}: {message}");
    assert_eq!(error.excerpt().map(|(_, first, last)| (first, last)), Some((2, 2)));

    std::fs::remove_file(bench.context().join("Dockerfile")).unwrap();
    let error = bench.build("linux/amd64").await.unwrap_err();
    let EngineError::Build { message, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("Dockerfile"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_no_registry_gives() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch AS one\nFROM 127.0.0.1:9/team/thing:1\nCOPY Dockerfile /\n");
    let error = bench.build("linux/amd64").await.unwrap_err();
    let EngineError::Base { image, message, .. } = &error else { panic!("{error:?}") };
    assert_eq!(image, "127.0.0.1:9/team/thing:1");
    assert!(message.contains("refused"), "{message}");
    assert_eq!(error.excerpt().map(|(_, first, last)| (first, last)), Some((2, 2)));
    assert_eq!(error.class(), ErrorClass::Refused);
}

/// The frontend labels the result as it was asked to, whatever the base is for.
#[tokio::test(flavor = "multi_thread")]
async fn d14_a_base_pinned_to_another_platform_is_refused() {
    let bench = Bench::new().await;
    bench.write(
        "Dockerfile",
        "FROM scratch\nFROM --platform=linux/amd64 127.0.0.1:9/never:1 AS pinned\nFROM pinned\nCOPY Dockerfile /\n",
    );
    let error = bench.build("linux/arm64").await.unwrap_err();
    let EngineError::WrongBase { name, found, .. } = &error else { panic!("{error:?}") };
    assert_eq!((name.as_str(), found.as_str()), ("127.0.0.1:9/never:1", "linux/amd64"));
    assert_eq!(error.span().unwrap().line(), 2);
    assert_eq!(error.class(), ErrorClass::Integrity);
}

/// The builder takes whatever the registry has, and only warns.
#[tokio::test(flavor = "multi_thread")]
async fn d14_a_base_that_has_only_another_platform_is_refused() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let base = bench.build("linux/amd64").await.unwrap();
    let registry = tokio::task::spawn_blocking(Registry::start).await.unwrap();
    let reference = registry.push(&bench.layout, &base.manifest, "team/base:1");
    for dockerfile in [format!("FROM {reference}\nCOPY Dockerfile /x\n"), format!("FROM {reference} AS a\n\nFROM a\n")]
    {
        bench.write("Dockerfile", dockerfile);
        bench.build("linux/amd64").await.unwrap();
        let error = bench.build("linux/arm64").await.unwrap_err();
        let EngineError::WrongBase { name, found, .. } = &error else { panic!("{error:?}") };
        assert_eq!((name.as_str(), found.as_str()), (reference.as_str(), "linux/amd64"));
        assert_eq!(error.span().unwrap().line(), 1);
    }
    bench.write("Dockerfile", format!("FROM {reference} AS a\nFROM scratch\nCOPY --from=a /Dockerfile /\n"));
    bench.build("linux/arm64").await.expect("what is only copied from may be anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address() {
    let bench = Bench::new().await;
    let socket = format!("unix://{}/nobody", bench.directory.path().display());
    for (address, words) in [(socket.as_str(), "No such file"), ("tcp://127.0.0.1:9", "refused")] {
        let error = BuildKitEngine::connect(options(address, &bench.layout)).await.unwrap_err();
        let EngineError::Unreachable { address: shown, reason, .. } = &error else { panic!("{error:?}") };
        assert_eq!(shown, address);
        assert!(reason.contains(words), "{address}: {reason}");
        assert_eq!(error.class(), ErrorClass::Builder);
    }
    for (address, words) in [("unix:relative", "absolute"), ("ssh://host", "neither"), ("tcp://", "host")] {
        let error = BuildKitEngine::connect(options(address, &bench.layout)).await.unwrap_err();
        let EngineError::Settings { address: shown, reason, .. } = &error else { panic!("{error:?}") };
        assert_eq!(shown, address);
        assert!(reason.contains(words), "{address}: {reason}");
        assert_eq!(error.class(), ErrorClass::Config);
    }
}
