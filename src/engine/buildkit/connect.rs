use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tower::service_fn;

use super::engine::{BuildKitEngine, Shared};
use super::gateway::Network;
use super::proto::moby::buildkit::v1::control_client::ControlClient;
use super::proto::moby::buildkit::v1::{InfoRequest, ListWorkersRequest};
use super::proto::pb;
use super::session::{Auth, Ingests, Seed};
use super::words;
use crate::base::{CredentialSource, Platform};
use crate::engine::{Capabilities, EngineError, Hindrance};
use crate::store::Layout;

/// Errors arrive as trailers that hold the Dockerfile, its definition and stacks: hyper's 16 KiB would turn the error of a
/// 8 KB Dockerfile into a protocol error without a word of it. `max_frame_size` must stay unset beside it: larger frames
/// lower the number of CONTINUATION frames that h2 takes, and with it this limit.
pub(super) const HEADER_LIST_LIMIT: u32 = 16 << 20;

/// What the daemon accepts and sends at most (containerd's `defaults.DefaultMaxRecvMsgSize`); tonic's default is 4 MiB.
pub(super) const MESSAGE_LIMIT: usize = 16 << 20;

/// Sessions are HTTP/2 inside one stream each: windows must let all of them flow at once.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 256 << 20;

/// Cells at once for a builder whose cores are not known: worker records do not tell them.
const REMOTE_PARALLELISM: usize = 4;

/// How to reach a daemon and what to give it.
#[derive(Clone)]
pub struct ConnectOptions {
    /// `unix:///run/buildkit/buildkitd.sock` or `tcp://host:port`.
    pub address: String,
    /// For `tcp://`: keys and certificates. Without them the connection is plain.
    pub tls: Option<TlsFiles>,
    /// Where results go and named contexts come from.
    pub layout: Layout,
    /// Credentials for pulls of base images.
    pub credentials: Arc<dyn CredentialSource>,
    /// Fetches registry tokens, so that passwords do not leave this process; without it the daemon gets the credentials
    /// and fetches tokens itself.
    pub token_client: Option<reqwest::Client>,
    /// How long the daemon may take to answer, name resolution and handshakes included.
    pub connect_timeout: Duration,
}

/// Files in PEM form for a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that may have signed the daemon's certificate; at least one.
    pub authorities: Vec<PathBuf>,
    /// Certificate and key of this client, where the daemon asks for them.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the daemon's certificate must have, where it is not the host of the address.
    pub server_name: Option<String>,
}

/// A daemon that was started for an engine and ends with it.
pub trait BuilderGuard: Send + Sync {
    /// Ends the daemon with everything it started.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;

    /// Why it ended by itself, as far as its log tells.
    fn last_words(&self) -> Option<String> {
        None
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions").field("address", &self.address).field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl ConnectOptions {
    /// What may be meant by a failure to speak that no type tells: a connection that is closed without a word. A daemon that misses TLS or the client's certificate
    /// says so, if at all, in an alert that often loses the race against the end of the connection.
    fn suspicion(&self) -> (Hindrance, &'static str) {
        match &self.tls {
            None if self.address.starts_with("tcp:") => (Hindrance::WantsTls, " (it may want TLS)"),
            Some(TlsFiles { identity: None, .. }) => (Hindrance::Client, " (it may want a certificate of the client)"),
            _ => (Hindrance::Absent, ""),
        }
    }
}

impl BuildKitEngine {
    /// Refuses an address that no builder can have.
    ///
    /// # Errors
    /// [`EngineError::Settings`]; nothing is contacted.
    pub fn check_address(address: &str) -> Result<(), EngineError> {
        let reason = match (socket_path(address), address.strip_prefix("tcp://")) {
            (Some(path), _) if path.is_absolute() => return Ok(()),
            (Some(_), _) => "the path of a socket must be absolute",
            (None, Some(authority)) => {
                let port = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
                match port {
                    Some((host, 1..))
                        if Endpoint::from_shared(format!("http://{authority}")).is_ok() && !host.is_empty() =>
                    {
                        return Ok(());
                    }
                    _ => "it is not of the form tcp://host:port",
                }
            }
            (None, None) => "it is neither `unix:///path` nor `tcp://host:port`",
        };
        Err(EngineError::Settings {
            address: address.to_owned(),
            reason: reason.to_owned(),
            help: "write `unix:///run/buildkit/buildkitd.sock` or `tcp://host:port`".to_owned(),
        })
    }

    /// Connects to a daemon and asks what it can do.
    ///
    /// One connection carries everything: two dozen solves on one measured the same as on one each. It is made again by
    /// itself when it breaks, but what was under way is lost.
    ///
    /// # Errors
    /// [`EngineError::Settings`] for an address that is none, [`EngineError::Unreachable`] when nothing that speaks the
    /// protocol answers in time.
    pub async fn connect(options: ConnectOptions) -> Result<Self, EngineError> {
        Self::check_address(&options.address)?;
        let address = options.address.clone();
        let unreachable = |Refusal { hindrance, reason }: Refusal| EngineError::Unreachable {
            address: address.clone(),
            reason,
            hindrance,
            origin: None,
        };
        let attempt = async {
            let channel = open(&options).await.map_err(unreachable)?;
            let asked = ask(&channel, &address).await;
            let (capabilities, network) = asked.map_err(|mut refusal| {
                let (suspected, words) = options.suspicion();
                refusal.reason.push_str(words);
                if refusal.hindrance == Hindrance::Absent {
                    refusal.hindrance = suspected;
                }
                unreachable(refusal)
            })?;
            Ok((channel, capabilities, network))
        };
        let (channel, capabilities, network) =
            tokio::time::timeout(options.connect_timeout, attempt).await.unwrap_or_else(|_| {
                Err(EngineError::unreachable(
                    &address,
                    format!("no answer within {} s", options.connect_timeout.as_secs_f32()),
                ))
            })?;
        let native = capabilities.native.clone();
        Ok(Self {
            capabilities,
            shared: Arc::new(Shared {
                address,
                channel,
                layout: options.layout,
                ingests: Ingests::default(),
                auth: Auth::new(options.credentials, options.token_client, Seed::random()),
                contexts: Mutex::new(HashMap::new()),
                network,
                native,
                closed: CancellationToken::new(),
                guard: Mutex::new(None),
            }),
        })
    }

    /// Hands a daemon over: [`crate::engine::Engine::close`] ends it.
    #[must_use]
    pub fn with_guard(self, guard: Box<dyn BuilderGuard>) -> Self {
        *self.shared.guard() = Some(guard);
        self
    }
}

/// A stub with the limits that every call needs.
pub(super) fn control(channel: &Channel) -> ControlClient<Channel> {
    ControlClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT)
}

/// Why a builder cannot be spoken to.
struct Refusal {
    hindrance: Hindrance,
    reason: String,
}

impl Refusal {
    fn of(error: &(dyn Error + 'static)) -> Self {
        Self { hindrance: hindrance(error), reason: words::chain(error) }
    }

    fn of_status(status: &tonic::Status) -> Self {
        Self { hindrance: hindrance(status), reason: words::status(status) }
    }

    fn plain(reason: impl Into<String>) -> Self {
        Self { hindrance: Hindrance::Absent, reason: reason.into() }
    }
}

/// What the TLS library says of a failure, wherever among its causes that is.
fn hindrance(error: &(dyn Error + 'static)) -> Hindrance {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error holds is none of its causes: it passes on what that one has for a cause.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = inner.map(|inner| -> &(dyn Error + 'static) { inner });
        if let Some(error) = inner.into_iter().chain([error]).find_map(|one| one.downcast_ref::<rustls::Error>()) {
            return match error {
                rustls::Error::InvalidCertificate(fault) => of_certificate(fault),
                rustls::Error::AlertReceived(_) => Hindrance::Client,
                rustls::Error::InvalidMessage(_) => Hindrance::SpeaksPlain,
                rustls::Error::InconsistentKeys(_) => Hindrance::Identity,
                _ => Hindrance::Absent,
            };
        }
        next = inner.filter(|inner| inner.is::<std::io::Error>()).or_else(|| error.source());
    }
    Hindrance::Absent
}

fn of_certificate(fault: &rustls::CertificateError) -> Hindrance {
    use rustls::CertificateError as Fault;
    // A signature that does not fit is that of another authority with the same name.
    match fault {
        Fault::UnknownIssuer | Fault::BadSignature => Hindrance::Authority,
        _ => Hindrance::Certificate,
    }
}

/// Opens the HTTP/2 connection.
async fn open(options: &ConnectOptions) -> Result<Channel, Refusal> {
    if let Some(path) = socket_path(&options.address) {
        return open_unix(path).await;
    }
    let authority = options.address.trim_start_matches("tcp://");
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{authority}")).map_err(|error| Refusal::of(&error))?;
    let mut endpoint = tuned(endpoint);
    if let Some(files) = &options.tls {
        endpoint = with_tls(endpoint, files).await?;
    }
    endpoint.connect().await.map_err(|error| Refusal::of(&error))
}

/// The path in `unix:///path` or `unix:/path`.
fn socket_path(address: &str) -> Option<&Path> {
    let rest = address.strip_prefix("unix:")?;
    Some(Path::new(rest.strip_prefix("//").unwrap_or(rest)))
}

/// A path goes round the URI parser: it may hold spaces and percent signs.
async fn open_unix(path: &Path) -> Result<Channel, Refusal> {
    let path = path.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The authority is never looked at on a socket, but has to be one.
    tuned(Endpoint::from_static("http://localhost"))
        .connect_with_connector(connector)
        .await
        .map_err(|error| Refusal::of(&error))
}

/// No HTTP/2 pings: buildkitd keeps grpc-go's default and answers more than one in five minutes with GOAWAY. The session's
/// health checks keep the connection busy, and TCP's own probes notice a machine that is gone.
fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .http2_max_header_list_size(HEADER_LIST_LIMIT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .tcp_keepalive_interval(Some(Duration::from_secs(10)))
        .tcp_keepalive_retries(Some(6))
}

/// The endpoint with the certificates of `files`; where they cannot be used, whose fault it is.
async fn with_tls(endpoint: Endpoint, files: &TlsFiles) -> Result<Endpoint, Refusal> {
    let Some((certificate, key)) = &files.identity else {
        return endpoint.tls_config(authorities(files).await?).map_err(|error| of_authorities(files, &error));
    };
    // Without this side's own certificate first: who fails there is one of the authorities.
    let trusting = authorities(files).await?;
    endpoint.clone().tls_config(trusting.clone()).map_err(|error| of_authorities(files, &error))?;
    let identity = Identity::from_pem(read(certificate).await?, read(key).await?);
    endpoint.tls_config(trusting.identity(identity)).map_err(|error| Refusal {
        hindrance: Hindrance::Identity,
        reason: format!(
            "certificate `{}` and key `{}` do not belong together: {}",
            certificate.display(),
            key.display(),
            words::chain(&error)
        ),
    })
}

fn of_authorities(files: &TlsFiles, error: &tonic::transport::Error) -> Refusal {
    let names: Vec<String> = files.authorities.iter().map(|path| format!("`{}`", path.display())).collect();
    let reason = format!("{} holds no authority that can be used: {}", names.join(", "), words::chain(error));
    Refusal { hindrance: Hindrance::File, reason }
}

async fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    tokio::fs::read(path).await.map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no `{}`", path.display()),
            _ => format!("cannot read `{}`: {error}", path.display()),
        };
        Refusal { hindrance: Hindrance::File, reason }
    })
}

async fn authorities(files: &TlsFiles) -> Result<ClientTlsConfig, Refusal> {
    // Daemons before v0.17 negotiate no protocol at all.
    let mut config = ClientTlsConfig::new().assume_http2(true);
    for path in &files.authorities {
        config = config.ca_certificate(Certificate::from_pem(read(path).await?));
    }
    if let Some(name) = &files.server_name {
        config = config.domain_name(name);
    }
    Ok(config)
}

/// Asks for version and platforms. The socket listens before the daemon is ready, and a missing client certificate shows
/// only now: connecting alone proves nothing.
async fn ask(channel: &Channel, address: &str) -> Result<(Capabilities, Network), Refusal> {
    let mut control = control(channel);
    let version = match control.info(InfoRequest {}).await {
        Ok(response) => response.into_inner().buildkit_version.map(|version| version.version).unwrap_or_default(),
        // Daemons before v0.11 do not know the call, and are there all the same.
        Err(status) if status.code() == tonic::Code::Unimplemented => String::new(),
        Err(status) => return Err(Refusal::of_status(&status)),
    };
    let workers = control
        .list_workers(ListWorkersRequest::default())
        .await
        .map_err(|status| Refusal::of_status(&status))?
        .into_inner()
        .record;
    // The first worker is the one that builds when nothing chooses another.
    let worker = workers.into_iter().next().ok_or_else(|| Refusal::plain("it has no worker"))?;
    let platforms: Vec<Platform> = worker.platforms.iter().filter_map(platform).collect();
    let native = platforms.first().cloned().ok_or_else(|| Refusal::plain("its worker names no platform"))?;
    let version = match version.trim_start_matches('v') {
        "" => "buildkit".to_owned(),
        version => format!("buildkit {version}"),
    };
    let capabilities =
        Capabilities { address: address.to_owned(), version, native, platforms, parallelism: parallelism(address) };
    Ok((capabilities, Network::of(&worker)))
}

/// Entries that we have no name for are of no use to us.
fn platform(platform: &pb::Platform) -> Option<Platform> {
    let variant = Some(platform.variant.as_str()).filter(|variant| !variant.is_empty());
    Platform::from_parts(&platform.os, &platform.architecture, variant).ok()
}

/// More solves at once than about twice the builder's cores is slower, not faster.
fn parallelism(address: &str) -> usize {
    if address.starts_with("unix:") {
        std::thread::available_parallelism().map_or(REMOTE_PARALLELISM, |cores| cores.get() * 2)
    } else {
        REMOTE_PARALLELISM
    }
}
