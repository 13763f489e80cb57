use std::path::{Path, PathBuf};
use std::process::Command;

use catamaran::engine::buildkit::{BuildKitEngine, ConnectOptions, TlsFiles};
use catamaran::engine::{Engine, EngineError};

use super::bench::{Bench, options};
use crate::support::daemon::Daemon;

/// An authority, and certificates of it for a daemon and a client.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let run = |script: &str| {
            let status = Command::new("sh").arg("-ec").arg(script).current_dir(directory.path()).status().unwrap();
            assert!(status.success(), "openssl is there: run scripts/setup test");
        };
        run("exec 2>/dev/null
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
            for name in daemon client; do
              openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
              printf 'subjectAltName=DNS:builder.example,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' >$name.ext
              openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
            done");
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn files(&self, identity: bool) -> TlsFiles {
        TlsFiles {
            ca: self.path("ca.pem"),
            identity: identity.then(|| (self.path("client.pem"), self.path("client.key"))),
            server_name: None,
        }
    }
}

fn over_tls(address: &str, bench: &Bench, tls: TlsFiles) -> ConnectOptions {
    ConnectOptions { tls: Some(tls), ..options(address, &bench.layout) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_behind_tcp_takes_known_clients_only() {
    let certificates = Certificates::make();
    let flag = |name: &str, path: &Path| [format!("--{name}"), path.display().to_string()];
    let flags: Vec<String> = [
        flag("tlscacert", &certificates.path("ca.pem")),
        flag("tlscert", &certificates.path("daemon.pem")),
        flag("tlskey", &certificates.path("daemon.key")),
    ]
    .concat();
    let daemon = tokio::task::spawn_blocking(move || Daemon::start_tcp(&flags)).await.unwrap();
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");

    let engine = BuildKitEngine::connect(over_tls(daemon.address(), &bench, certificates.files(true))).await.unwrap();
    assert_eq!(engine.capabilities().parallelism, 4, "its cores are not known");
    engine.build(bench.request("linux/amd64")).await.unwrap();

    let mut named = certificates.files(true);
    named.server_name = Some("builder.example".to_owned());
    BuildKitEngine::connect(over_tls(daemon.address(), &bench, named.clone())).await.unwrap();
    named.server_name = Some("other.example".to_owned());
    let mut missing = certificates.files(true);
    missing.ca = certificates.path("nothing.pem");
    let stranger = Certificates::make();
    for (options, words) in [
        (over_tls(daemon.address(), &bench, certificates.files(false)), "it may want a certificate"),
        (over_tls(daemon.address(), &bench, named), "not valid for name"),
        (over_tls(daemon.address(), &bench, stranger.files(true)), "invalid peer certificate"),
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
