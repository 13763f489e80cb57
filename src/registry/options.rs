use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{HostCertificates, PullSources};
use crate::base::{CredentialFuture, CredentialSource};

/// Everything that a [`super::RegistryClient`] is told once.
#[derive(Clone)]
pub struct RegistryOptions {
    /// Where credentials come from.
    pub credentials: Arc<dyn CredentialSource>,
    /// Files with certificate authorities (PEM, one or more each) that are trusted beside the system's.
    pub extra_ca: Vec<PathBuf>,
    /// Certificates of single registries: authorities that are trusted for them alone, and ours that they ask for.
    pub host_certificates: HostCertificates,
    /// Hosts (`host` for every port, or `host:port`) that are spoken to without TLS. Loopback hosts need no entry: they are
    /// spoken to as they speak.
    pub plain_http: Vec<String>,
    /// Mirrors and the like, for pulls.
    pub sources: PullSources,
    /// Hosts that may be given a registry's credentials as its token server although nothing in their names links the two.
    pub trusted_realms: Vec<String>,
    /// What the registry's log shows.
    pub user_agent: String,
    /// Requests to one host at the same time.
    pub concurrency: usize,
    /// Blobs above so many bytes are sent in pieces rather than in one request. At least 1.
    pub one_request: u64,
    /// Bytes of blobs per second to and from one host; `None` for as many as there are.
    pub rate: Option<u64>,
    /// A variable of the environment that should name a proxy and does not. The HTTP library, which reads these variables
    /// itself, would go past it: nothing leaves for hosts that a proxy may lead to.
    pub broken_proxy: Option<String>,
    /// How long is too long.
    pub timeouts: Timeouts,
    /// How often and how patiently failures are tried again.
    pub retry: RetryPolicy,
}

/// How long is too long. None of these bounds a transfer as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection, its TLS handshake included.
    pub connect: Duration,
    /// Within each span of this length at least 1 KiB (or the rest) must move, in whichever direction is due.
    pub progress: Duration,
}

/// How often and how patiently failures are tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Tries of one operation, the first included.
    pub tries: u32,
    /// Wait before the second try; doubles each time, a random part of it is waited.
    pub first_wait: Duration,
    /// The longest wait between two tries when the registry says nothing.
    pub longest_wait: Duration,
    /// The longest wait that a registry's `Retry-After` is obeyed for.
    pub longest_retry_after: Duration,
}

/// What a registry can hand on to an object store in one request (5 GiB with S3, less with none that is in use).
///
/// Below it one request is as good as pieces: a registry that lets an upload go on does so after a request that broke, too
/// (the reference registry v3), and one that forgets it does so with pieces, too (docker-registry 2.8).
const ONE_REQUEST: u64 = 5 << 30;

impl RegistryOptions {
    /// Options with the given credentials and defaults for the rest.
    pub fn new(credentials: Arc<dyn CredentialSource>) -> Self {
        Self {
            credentials,
            extra_ca: Vec::new(),
            host_certificates: HostCertificates::default(),
            plain_http: Vec::new(),
            sources: PullSources::default(),
            trusted_realms: Vec::new(),
            user_agent: concat!("catamaran/", env!("CARGO_PKG_VERSION")).to_owned(),
            concurrency: 16,
            one_request: ONE_REQUEST,
            rate: None,
            broken_proxy: None,
            timeouts: Timeouts { connect: Duration::from_secs(10), progress: Duration::from_secs(60) },
            retry: RetryPolicy {
                tries: 6,
                first_wait: Duration::from_secs(1),
                longest_wait: Duration::from_secs(30),
                longest_retry_after: Duration::from_secs(300),
            },
        }
    }
}

impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("extra_ca", &self.extra_ca)
            .field("plain_http", &self.plain_http)
            .field("concurrency", &self.concurrency)
            .field("one_request", &self.one_request)
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Knows no credentials: everything is anonymous.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

impl CredentialSource for NoCredentials {
    fn credentials<'a>(&'a self, _host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
        Box::pin(async { Ok(None) })
    }
}
