use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::super::proto::moby::buildkit::v1::InfoRequest;
use super::super::proto::moby::buildkit::v1::control_client::ControlClient;

/// Time between two attempts. A start takes about 150 ms on an idle machine.
const PAUSE: Duration = Duration::from_millis(25);

/// Asks again and again until the daemon answers; returns its version as it tells it (`v0.32.2`), empty if it tells none.
///
/// Only an answer to `Info` counts: the socket listens before the daemon can do anything (moby/buildkit cmd/buildkitd).
/// Never ends by itself if the daemon never answers; safe to drop.
pub(super) async fn answered(socket: &Path) -> String {
    loop {
        if let Some(channel) = open(socket).await {
            match ControlClient::new(channel).info(InfoRequest {}).await {
                Ok(answer) => {
                    return answer.into_inner().buildkit_version.map(|version| version.version).unwrap_or_default();
                }
                // Too old to know the call, but there. client/client.go (Wait) takes it so, too.
                Err(status) if status.code() == tonic::Code::Unimplemented => return String::new(),
                Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn open(socket: &Path) -> Option<Channel> {
    let path: PathBuf = socket.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The authority is never looked at on a socket, but has to be one.
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.ok()
}

/// Whether a version is certainly too old: everything before v0.13 knows only the first of several exporters by another
/// field, and lacks what rewrites times. What is no number (`0.0.0+unknown`, builds of vendors) is taken as new.
pub(super) fn is_too_old(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(0)), Some(Ok(minor))) => (1..13).contains(&minor),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_old_is_refused() {
        for old in ["v0.12.5", "0.9.0", "v0.12.5-5-gabc", "v0.1.0"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in ["v0.13.0", "v0.32.2", "v0.13.0-beta1", "0.0.0+unknown", "v1.0.0", "", "ubuntu-build"] {
            assert!(!is_too_old(new), "{new}");
        }
    }
}
