use std::time::Duration;

use reqwest::Url;
use tonic::{Code, Status};

use super::bridge::Bridge;
use super::definition;
use super::process::Process;
use crate::engine::ServiceProbe;
use crate::engine::buildkit::identity::Identity;
use crate::engine::buildkit::proto::pb;
use crate::engine::buildkit::words;

/// How long one probe may take: what is not up answers at once, what is busy may come with the next one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a probe command's output that are kept for the error.
const OUTPUT_LIMIT: usize = 2000;

/// Asks whether a service is up.
///
/// The daemon itself fetches URLs for us: it reaches containers on every kind of network, needs no program in their image, and
/// works from afar.
pub(super) struct Prober<'a> {
    pub(super) bridge: &'a Bridge,
    pub(super) container: &'a str,
    /// Environment, directory and user of the service, for commands.
    pub(super) meta: &'a pb::Meta,
}

impl Prober<'_> {
    /// Asks once; the error says in words why it is not up.
    pub(super) async fn ask(&self, probe: &ServiceProbe, address: &str) -> Result<(), String> {
        match probe {
            ServiceProbe::Started => Ok(()),
            ServiceProbe::Http(url) => fetch(self.bridge, url).await.map_err(|failure| failure.words),
            ServiceProbe::Tcp(port) => match accepts(self.bridge, address, *port).await {
                Answer::Accepts => Ok(()),
                Answer::Refuses(words) => Err(words),
            },
            ServiceProbe::Exec(args) => self.exec(args).await,
        }
    }

    async fn exec(&self, args: &[String]) -> Result<(), String> {
        let meta = pb::Meta { args: args.to_vec(), ..self.meta.clone() };
        let run = async {
            let process = Process::start(self.bridge, self.container, meta).await?;
            process.finish(OUTPUT_LIMIT).await
        };
        match tokio::time::timeout(PATIENCE, run).await {
            Ok(Ok((exit, _))) if exit.code == 0 => Ok(()),
            Ok(Ok((exit, output))) => {
                let output = String::from_utf8_lossy(&output);
                let said = exit.error.or_else(|| output.lines().last().map(str::to_owned)).unwrap_or_default();
                Err(format!("`{}` ended with exit code {}: {said}", args.join(" "), exit.code))
            }
            Ok(Err(status)) => Err(words::status(&status)),
            Err(_) => Err(format!("`{}` did not end within {} s", args.join(" "), PATIENCE.as_secs())),
        }
    }
}

/// What a port does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Something listens.
    Accepts,
    /// Nothing does, in the daemon's words.
    Refuses(String),
}

/// Whether anything listens on a port as the daemon sees it.
///
/// There is no call for it. A fetch fails in any case, but it is only before the connection stands that the daemon's words are
/// those of its `dial`; whatever else it says was said after something had accepted.
pub(super) async fn accepts(bridge: &Bridge, address: &str, port: u16) -> Answer {
    match fetch(bridge, &format!("http://{address}:{port}/")).await {
        Err(failure) if !failure.connected => Answer::Refuses(failure.words),
        Ok(()) | Err(_) => Answer::Accepts,
    }
}

struct Failure {
    words: String,
    connected: bool,
}

async fn fetch(bridge: &Bridge, url: &str) -> Result<(), Failure> {
    let name = Identity::random();
    match tokio::time::timeout(PATIENCE, bridge.solve(definition::http(url, name.as_str()))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(failure(&status, url)),
        // It is a local address: a dial is answered at once, so it is the answer that is late.
        Err(_) => Err(Failure { words: format!("no answer within {} s", PATIENCE.as_secs()), connected: true }),
    }
}

fn failure(status: &Status, url: &str) -> Failure {
    let words = words::status(status);
    // net/http: `Get "URL": dial tcp ADDRESS: connect: connection refused`. A broken connection to the daemon is neither.
    let ours = status.code() == Code::Unavailable || status.code() == Code::Cancelled;
    let connected = !ours && !words.contains(": dial tcp ");
    let words = words.rsplit_once("dial tcp ").map_or(words.clone(), |(_, rest)| rest.to_owned());
    Failure { words: format!("{url}: {words}"), connected }
}

/// The URL of an http probe with the service's address and port in it. `None` where it is no URL of this kind.
pub(super) fn located(url: &str, service: &str, address: &str, port: Option<u16>) -> Option<String> {
    let text = port.map_or_else(|| url.to_owned(), |port| url.replace("{port}", &port.to_string()));
    // A scheme's own port is lost in parsing, even where it was written.
    let authority = text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let written = authority.and_then(|authority| authority.rsplit_once(':')?.1.parse::<u16>().ok());
    let mut url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let local = matches!(url.host_str()?, "localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]");
    if local || url.host_str()? == service {
        url.set_host(Some(address)).ok()?;
        url.set_port(written.or(port)).ok()?;
    }
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_located_at_the_service() {
        let located = |url| located(url, "apphub", "10.10.0.2", Some(8099));
        assert_eq!(located("http://apphub:80/health").as_deref(), Some("http://10.10.0.2/health"));
        assert_eq!(located("http://apphub/health").as_deref(), Some("http://10.10.0.2:8099/health"));
        assert_eq!(located("http://localhost:{port}/").as_deref(), Some("http://10.10.0.2:8099/"));
        assert_eq!(located("http://other:1/").as_deref(), Some("http://other:1/"));
        assert_eq!(located("tcp://apphub:80"), None);
    }

    #[test]
    fn only_a_dial_that_failed_is_no_connection() {
        let refused =
            Status::unknown("failed: Get \"http://127.0.0.1:9/\": dial tcp 127.0.0.1:9: connect: connection refused");
        let refused = failure(&refused, "u");
        assert!(!refused.connected);
        assert_eq!(refused.words, "u: 127.0.0.1:9: connect: connection refused");
        assert!(failure(&Status::unknown("invalid response status 404"), "u").connected);
        assert!(!failure(&Status::unavailable("broken"), "u").connected);
    }
}
