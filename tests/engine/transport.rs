use catamaran::engine::buildkit::{BuildKitEngine, ConnectOptions, TlsFiles};
use catamaran::engine::{Engine, EngineError};

use super::bench::{Bench, options};
use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;

fn files(certificates: &Certificates, identity: bool) -> TlsFiles {
    TlsFiles {
        authorities: vec![certificates.path("ca.pem")],
        identity: identity.then(|| (certificates.path("client.pem"), certificates.path("client.key"))),
        server_name: None,
    }
}

fn over_tls(address: &str, bench: &Bench, tls: TlsFiles) -> ConnectOptions {
    ConnectOptions { tls: Some(tls), ..options(address, &bench.layout) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_behind_tcp_takes_known_clients_only() {
    let certificates = Certificates::make();
    let flags = certificates.flags(true);
    let daemon = tokio::task::spawn_blocking(move || Daemon::start_tcp(&flags)).await.unwrap();
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");

    let engine = BuildKitEngine::connect(over_tls(daemon.address(), &bench, files(&certificates, true))).await.unwrap();
    assert_eq!(engine.capabilities().parallelism, 4, "its cores are not known");
    engine.build(bench.request("linux/amd64")).await.unwrap();

    let mut named = files(&certificates, true);
    named.server_name = Some("builder.example".to_owned());
    BuildKitEngine::connect(over_tls(daemon.address(), &bench, named.clone())).await.unwrap();
    named.server_name = Some("other.example".to_owned());
    let mut missing = files(&certificates, true);
    missing.authorities = vec![certificates.path("nothing.pem")];
    let stranger = Certificates::make();
    for (options, words) in [
        (over_tls(daemon.address(), &bench, files(&certificates, false)), "it may want a certificate"),
        (over_tls(daemon.address(), &bench, named), "not valid for name"),
        (over_tls(daemon.address(), &bench, files(&stranger, true)), "invalid peer certificate"),
        (over_tls(daemon.address(), &bench, missing), "nothing.pem"),
        (options(daemon.address(), &bench.layout), "it may want TLS"),
    ] {
        let error = BuildKitEngine::connect(options).await.unwrap_err();
        let EngineError::Unreachable { reason, .. } = &error else { panic!("{error:?}") };
        assert!(reason.contains(words), "{words}, not {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_behind_plain_tcp() {
    let daemon = tokio::task::spawn_blocking(|| Daemon::start_tcp(&[])).await.unwrap();
    let bench = Bench::on(daemon.address()).await;
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.build("linux/arm64").await.unwrap();
}
