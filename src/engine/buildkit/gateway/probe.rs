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
                Answer::Unknown(words) => Err(format!("cannot tell whether it listens: {words}")),
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
    /// The daemon's words tell neither.
    Unknown(String),
}

/// Whether anything listens on a port as the daemon sees it.
///
/// There is no call for it, so that the words of a fetch that failed have to tell.
pub(super) async fn accepts(bridge: &Bridge, address: &str, port: u16) -> Answer {
    match fetch(bridge, &format!("http://{address}:{port}/")).await {
        Ok(()) => Answer::Accepts,
        Err(failure) => match failure.stage {
            Stage::Connected => Answer::Accepts,
            Stage::Dial => Answer::Refuses(failure.words),
            Stage::Unknown => Answer::Unknown(failure.words),
        },
    }
}

/// How far a fetch that failed had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody took the connection.
    Dial,
    /// Somebody took it.
    Connected,
    /// Its words are none of those that are known.
    Unknown,
}

struct Failure {
    words: String,
    stage: Stage,
}

/// What is only said once a connection stands. An error that is not among these may be anything: a daemon that ended, a disk
/// of its that is full, a proxy that it is told to use.
///
/// moby/buildkit source/http/source.go: the status. Go net/http transport.go: the server ended the connection, or answered
/// in another language. Go net: an operation on a connection that is there (`read tcp A->B: …`).
const AFTER_CONNECTING: [&str; 9] = [
    "invalid response status ",
    ": EOF",
    "unexpected EOF",
    "read tcp ",
    "write tcp ",
    "malformed HTTP ",
    "transport connection broken",
    "server closed idle connection",
    "timeout awaiting response headers",
];

async fn fetch(bridge: &Bridge, url: &str) -> Result<(), Failure> {
    let name = Identity::random();
    match tokio::time::timeout(PATIENCE, bridge.solve(definition::http(url, name.as_str()))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(failure(&status, url)),
        // It is a local address: a dial is answered at once, so it is the answer that is late.
        Err(_) => Err(Failure { words: format!("no answer within {} s", PATIENCE.as_secs()), stage: Stage::Connected }),
    }
}

fn failure(status: &Status, url: &str) -> Failure {
    let words = words::status(status);
    let dialled = words.rsplit_once(": dial tcp ").map(|(_, rest)| rest);
    let stage = match dialled {
        // A broken connection to the daemon says nothing about anybody else's.
        _ if matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) => Stage::Unknown,
        // net/http: `Get "URL": dial tcp ADDRESS: connect: connection refused`. Another address than the one that was asked
        // for is a proxy's, or where an answer led to.
        Some(rest) if authority(url).is_some_and(|authority| rest.starts_with(&format!("{authority}: "))) => {
            Stage::Dial
        }
        None if AFTER_CONNECTING.iter().any(|known| words.contains(known)) => Stage::Connected,
        _ => Stage::Unknown,
    };
    let words = dialled.map_or(words.as_str(), |rest| rest);
    Failure { words: format!("{url}: {words}"), stage }
}

/// `HOST:PORT` of a URL of http or https.
fn authority(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
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
    fn only_known_words_tell_whether_a_connection_stood() {
        const URL: &str = "http://127.0.0.1:9/";
        let stage = |words: &str| failure(&Status::unknown(words), URL).stage;
        let refused = "failed: Get \"http://127.0.0.1:9/\": dial tcp 127.0.0.1:9: connect: connection refused";
        assert_eq!(stage(refused), Stage::Dial);
        assert_eq!(
            failure(&Status::unknown(refused), URL).words,
            "http://127.0.0.1:9/: 127.0.0.1:9: connect: connection refused"
        );
        assert_eq!(stage("Get \"http://127.0.0.1:9/\": dial tcp 127.0.0.1:9: i/o timeout"), Stage::Dial);
        for words in [
            "invalid response status 404",
            "Get \"http://127.0.0.1:9/\": EOF",
            "Get \"http://127.0.0.1:9/\": read tcp 127.0.0.1:5->127.0.0.1:9: read: connection reset by peer",
            "Get \"http://127.0.0.1:9/\": net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2\"",
            "failed to copy: unexpected EOF",
        ] {
            assert_eq!(stage(words), Stage::Connected, "{words}");
        }
        for words in [
            "",
            "failed to write: no space left on device",
            "no such job abc",
            "source http is denied by policy",
            // A proxy, or where an answer led to.
            "Get \"http://127.0.0.1:9/\": dial tcp 10.0.0.1:3128: connect: connection refused",
            "Get \"http://127.0.0.1:9/\": dial tcp 127.0.0.1:99: connect: connection refused",
        ] {
            assert_eq!(stage(words), Stage::Unknown, "{words}");
        }
        for status in
            [Status::unavailable("broken: EOF"), Status::cancelled(refused), Status::deadline_exceeded("x: EOF")]
        {
            assert_eq!(failure(&status, URL).stage, Stage::Unknown, "it is the way to the daemon that broke");
        }
    }

    #[test]
    fn a_port_that_belongs_to_the_scheme_is_known_in_dials_too() {
        let words = "Get \"http://10.10.0.2/\": dial tcp 10.10.0.2:80: connect: connection refused";
        assert_eq!(failure(&Status::unknown(words), "http://10.10.0.2:80/").stage, Stage::Dial);
    }
}
