use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::RegistryOptions;
use super::auth::HostAuth;
use super::pace::Pace;
use super::rate::Rate;
use super::response::Response;

/// One registry: where it is, how it is spoken to, and what is known about it so far.
#[derive(Debug)]
pub(super) struct Host {
    /// The name that people and credential files use: `docker.io`, `127.0.0.1:5000`.
    pub(super) name: String,
    /// Where requests go: `registry-1.docker.io`, `127.0.0.1:5000`.
    authority: String,
    /// How it is spoken to, as far as that follows from its name.
    pub(super) speech: Speech,
    /// What was found out for [`Speech::AsItSpeaks`].
    pub(super) found: OnceCell<Scheme>,
    /// Requests at the same time.
    pub(super) width: usize,
    /// One permit for each of them.
    pub(super) permits: Arc<Semaphore>,
    /// Pauses and failures shared by all its requests.
    pub(super) pace: Arc<Pace>,
    /// The cap on what moves to and from it, where there is one.
    pub(super) rate: Option<Arc<Rate>>,
    /// Whether asking to mount a blob from the repository that it shall go to tells if it is there.
    pub(super) self_mount: SelfMount,
    /// The smallest piece of an upload that it takes, the last one excepted, as far as it said (`OCI-Chunk-Min-Length`).
    least_piece: AtomicU64,
    /// Whether it forgets an upload when the connection breaks within a request, as docker-registry 2.8 does.
    forgets: AtomicBool,
    /// Whether it said of a manifest with a subject that it lists it (`OCI-Subject`).
    lists_referrers: AtomicBool,
    /// Challenge and tokens.
    pub(super) auth: HostAuth,
}

/// What is known about a registry's answer to `POST ?mount=BLOB&from=ITSELF`.
///
/// Where it is 201 for a blob that is there, one request does what otherwise takes two: looking for the blob, and opening
/// a session if it is not (202). distribution-spec says nothing of it, so it is found out with the first blob.
#[derive(Debug, Default)]
pub(super) struct SelfMount(AtomicU8);

impl SelfMount {
    const UNKNOWN: u8 = 0;
    const TRIED: u8 = 1;
    const TELLS: u8 = 2;

    /// Whether it was found out to tell.
    pub(super) fn tells(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::TELLS
    }

    /// Whether it is up to the caller to find out; true once.
    pub(super) fn try_it(&self) -> bool {
        self.0.compare_exchange(Self::UNKNOWN, Self::TRIED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(super) fn found(&self, tells: bool) {
        self.0.store(if tells { Self::TELLS } else { Self::TRIED }, Ordering::Relaxed);
    }
}

/// With or without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// How a host may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// TLS or not at all.
    Tls,
    /// Plain, because the user allowed it for this host.
    Plain,
    /// TLS if it speaks it, else plain: loopback, where nobody can stand between, so that nothing is lost by asking.
    AsItSpeaks,
    /// The same, but plain only to pull without a login: hosts that `registries.conf` calls insecure. Its rules are about
    /// pulls, whose bytes a digest checks; whoever stands between must get neither a password nor a release.
    PullsAsItSpeaks,
}

impl Scheme {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The API host of Docker Hub, whose references and logins say `docker.io`.
pub(super) const DOCKER_HUB_API: &str = "registry-1.docker.io";

impl Host {
    pub(super) fn new(name: &str, options: &RegistryOptions, pace: Arc<Pace>) -> Self {
        let authority = if name == "docker.io" { DOCKER_HUB_API } else { name };
        let speech = if options.plain_http.iter().any(|plain| names_host(plain, authority)) {
            Speech::Plain
        } else if is_loopback(authority) {
            Speech::AsItSpeaks
        } else if options.sources.is_insecure(name) {
            Speech::PullsAsItSpeaks
        } else {
            Speech::Tls
        };
        let width = options.concurrency.max(1);
        Self {
            name: name.to_owned(),
            authority: authority.to_owned(),
            speech,
            found: OnceCell::new(),
            width,
            permits: Arc::new(Semaphore::new(width)),
            pace,
            rate: options.rate.map(|rate| Arc::new(Rate::new(rate))),
            self_mount: SelfMount::default(),
            least_piece: AtomicU64::new(0),
            forgets: AtomicBool::new(false),
            lists_referrers: AtomicBool::new(false),
            auth: HostAuth::default(),
        }
    }

    /// Whether it turned out to speak no TLS, and nobody allowed more than pulls without a login that way.
    pub(super) fn is_plain_for_pulls_only(&self) -> bool {
        self.speech == Speech::PullsAsItSpeaks && self.found.get() == Some(&Scheme::Http)
    }

    /// See [`Host::learn_least_piece`].
    pub(super) fn least_piece(&self) -> u64 {
        self.least_piece.load(Ordering::Relaxed)
    }

    /// Remembers what the answer that opened an upload says of the least size of a piece (distribution-spec, "Pushing a blob
    /// in chunks"). Any session may be opened by one request and used by another, so it is kept for the host.
    pub(super) fn learn_least_piece(&self, response: &Response) {
        if let Some(least) = response.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok()) {
            self.least_piece.fetch_max(least, Ordering::Relaxed);
        }
    }

    /// See [`Host::learn_subject`].
    pub(super) fn lists_referrers(&self) -> bool {
        self.lists_referrers.load(Ordering::Relaxed)
    }

    /// Remembers whether the answer to a manifest has `OCI-Subject` (distribution-spec, "Pushing Manifests with Subject"):
    /// without, listing it is up to the client.
    pub(super) fn learn_subject(&self, response: &Response) {
        if response.header("oci-subject").is_some() {
            self.lists_referrers.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was seen to forget an upload.
    pub(super) fn forgets_uploads(&self) -> bool {
        self.forgets.load(Ordering::Relaxed)
    }

    pub(super) fn will_forget_uploads(&self) {
        self.forgets.store(true, Ordering::Relaxed);
    }

    /// The root of its API; `None` only for a name that is no authority of a URL.
    pub(super) fn base(&self, scheme: Scheme) -> Option<Url> {
        Url::parse(&format!("{}://{}/v2/", scheme.word(), self.authority)).ok()
    }
}

/// Whether `entry` (`host` or `host:port`) means the host of `authority`; without a port it means every port.
pub(super) fn names_host(entry: &str, authority: &str) -> bool {
    let entry = entry.trim().to_ascii_lowercase();
    let authority = authority.to_ascii_lowercase();
    entry == authority || (entry == without_port(&authority) && !entry.is_empty())
}

/// `[::1]:5000` -> `[::1]`, `a.example:5000` -> `a.example`.
pub fn without_port(authority: &str) -> &str {
    match authority.rfind(']') {
        Some(end) => &authority[..=end],
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Whether a registry on loopback answers plain HTTP, asked once and briefly: a builder has to be told beforehand, and cannot
/// try one after the other. A server that wants TLS answers such a request with an alert or with 400.
pub fn answers_in_plain(authority: &str) -> bool {
    const PATIENCE: Duration = Duration::from_millis(500);
    let ask = || -> std::io::Result<[u8; 12]> {
        let address = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            authority.to_socket_addrs()?.next()
        } else {
            (authority, 80).to_socket_addrs()?.next()
        };
        let address = address.ok_or(std::io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET /v2/ HTTP/1.0\r\nHost: {authority}\r\n\r\n").as_bytes())?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start)
    };
    ask().is_ok_and(|start| start.starts_with(b"HTTP/1.") && !start.ends_with(b" 400"))
}

/// Whether an authority is this machine by its very name. What DNS says is not asked: it could be made to say anything.
pub fn is_loopback(authority: &str) -> bool {
    let host = without_port(authority);
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an authority is an address literal that no public registry has reason to send anybody to: loopback, private,
/// link-local (cloud metadata services live there) or unspecified.
pub(super) fn is_private_literal(authority: &str) -> bool {
    let host = without_port(authority);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        Err(_) => is_loopback(authority),
    }
}

/// `host[:port]` of a URL, as in its text.
pub(super) fn authority_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_machine_by_name_only() {
        for name in ["localhost", "localhost:5000", "LOCALHOST", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:5000"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in
            ["localhost.example", "127.0.0.1.example", "registry.example", "10.0.0.1", "[fe80::1]", "1270.0.0.1"]
        {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn plain_hosts_are_named_with_or_without_port() {
        assert!(names_host("reg.example", "reg.example:5000"));
        assert!(names_host("reg.example:5000", "REG.example:5000"));
        assert!(names_host("[fd00::1]", "[fd00::1]:5000"));
        assert!(!names_host("reg.example:5001", "reg.example:5000"));
        assert!(!names_host("example", "reg.example:5000"));
        assert!(!names_host("", "reg.example"));
    }

    #[test]
    fn private_addresses_are_known() {
        for name in ["169.254.169.254", "10.1.2.3:80", "192.168.0.1", "[fd00::1]:80", "[::1]", "127.0.0.1", "0.0.0.0"] {
            assert!(is_private_literal(name), "{name}");
        }
        for name in ["registry.example", "8.8.8.8", "[2001:db8::1]"] {
            assert!(!is_private_literal(name), "{name}");
        }
    }
}
