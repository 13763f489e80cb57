use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::host::{Host, authority_of, is_loopback};
use super::pace::Pace;
use super::trouble::innermost;
use super::{RegistryError, RegistryOptions};
use crate::base::{ErrorClass, Failure as _, Repository};
use crate::event::{Event, EventSink, NoEvents};

/// Speaks to registries. Cheap to clone; one for the whole run, so that connections, tokens and pauses are shared.
#[derive(Clone)]
pub struct RegistryClient {
    pub(super) shared: Arc<Shared>,
    pub(super) events: Arc<dyn EventSink>,
}

/// What all clones share.
pub(super) struct Shared {
    options: RegistryOptions,
    /// Certificate authorities as they were in the files, for the independent reader.
    pub(super) authorities: Vec<Vec<u8>>,
    trusted: Vec<reqwest::Certificate>,
    /// Goes through the proxy that the system names, if it names one.
    proxied: reqwest::Client,
    /// Which one that is, for messages; read as the HTTP library reads it.
    proxies: Matcher,
    /// For loopback hosts, which no proxy can reach.
    direct: reqwest::Client,
    /// What hosts with certificates of their own are spoken to with, by authority; `None` for those that have none.
    certified: Mutex<HashMap<String, Option<Arc<Certified>>>>,
    pub(super) tally: Tally,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    paces: Mutex<HashMap<String, Arc<Pace>>>,
    /// Mirrors that could not be reached: each costs its time-outs once in a run.
    dead: Mutex<HashSet<String>>,
}

/// A host with certificates of its own ([`super::HostCertificates`]).
#[derive(Debug)]
pub(super) struct Certified {
    client: reqwest::Client,
    /// Authorities that are trusted for it, as they were in the files.
    pub(super) authorities: Vec<Vec<u8>>,
    /// Whether it is shown a certificate of ours.
    pub(super) shows: bool,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: AtomicU64,
    pub(super) bytes_sent: Arc<AtomicU64>,
}

impl Tally {
    /// (requests, bytes sent)
    pub(super) fn read(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.bytes_sent.load(Ordering::Relaxed))
    }
}

/// A repository at its registry.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) host: Arc<Host>,
    /// The path in the registry's API.
    pub(super) path: String,
}

impl RegistryClient {
    /// A client with these options. Reads the certificate files, connects to nothing.
    ///
    /// The process must have chosen its TLS implementation before (`rustls::crypto::CryptoProvider::install_default`).
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(RegistryError::Setup { reason: "the process has chosen no TLS implementation".to_owned() });
        }
        let mut authorities = Vec::new();
        let mut trusted = Vec::new();
        for path in &options.extra_ca {
            let pem = std::fs::read(path).map_err(|source| RegistryError::Ca { path: path.clone(), source })?;
            trusted.extend(certificates_in(path, &pem)?);
            authorities.push(pem);
        }
        let shared = Shared {
            authorities,
            proxies: Matcher::from_system(),
            proxied: http_client(&options, &trusted, None, false)?,
            direct: http_client(&options, &trusted, None, true)?,
            trusted,
            certified: Mutex::default(),
            tally: Tally::default(),
            hosts: Mutex::default(),
            paces: Mutex::default(),
            dead: Mutex::default(),
            options,
        };
        Ok(Self { shared: Arc::new(shared), events: Arc::new(NoEvents) })
    }

    /// What to speak to `authority` with.
    pub(super) fn client_for(&self, authority: &str) -> Result<reqwest::Client, RegistryError> {
        let shared = &self.shared;
        if let Some(variable) = shared.options.broken_proxy.as_ref().filter(|_| !is_loopback(authority)) {
            return Err(RegistryError::Proxy { variable: variable.clone() });
        }
        Ok(match self.certified(authority)? {
            Some(certified) => certified.client.clone(),
            None if is_loopback(authority) => shared.direct.clone(),
            None => shared.proxied.clone(),
        })
    }

    /// `HOST:PORT` of the proxy that leads to `url`, if one does. Without the login that may be part of its address.
    pub(super) fn proxy_to(&self, url: &Url) -> Option<String> {
        if is_loopback(&authority_of(url)) {
            return None;
        }
        let proxy = self.shared.proxies.intercept(&url.as_str().parse::<http::Uri>().ok()?)?;
        let authority = proxy.uri().authority()?.as_str();
        Some(authority.rsplit_once('@').map_or(authority, |(_, address)| address).to_owned())
    }

    /// Certificates that are for `authority` alone, read once.
    pub(super) fn certified(&self, authority: &str) -> Result<Option<Arc<Certified>>, RegistryError> {
        let shared = &self.shared;
        let mut known = shared.certified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(certified) = known.get(authority) {
            return Ok(certified.clone());
        }
        let certified = match shared.options.host_certificates.of(authority)? {
            None => None,
            Some(found) => {
                let mut trusted = shared.trusted.clone();
                for (path, pem) in &found.authorities {
                    trusted.extend(certificates_in(path, pem)?);
                }
                let identity = found
                    .identity
                    .map(|(path, pem)| reqwest::Identity::from_pem(&pem).map_err(|error| unusable(&path, error)));
                let identity = identity.transpose()?;
                let shows = identity.is_some();
                let client = http_client(&shared.options, &trusted, identity, is_loopback(authority))?;
                let authorities = found.authorities.into_iter().map(|(_, pem)| pem).collect();
                Some(Arc::new(Certified { client, authorities, shows }))
            }
        };
        known.insert(authority.to_owned(), certified.clone());
        Ok(certified)
    }

    /// The same client, telling `events` when it has to wait for a registry.
    #[must_use]
    pub fn with_events(&self, events: Arc<dyn EventSink>) -> Self {
        Self { shared: Arc::clone(&self.shared), events }
    }

    /// The options it was made with.
    pub fn options(&self) -> &RegistryOptions {
        &self.shared.options
    }

    /// The registry called `name`, the same value every time.
    pub(super) fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.shared.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        let host = Arc::new(Host::new(name, self.options(), self.pace_of(name)));
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }

    /// The pace of whatever is at `authority`: a registry or a token server.
    pub(super) fn pace_of(&self, authority: &str) -> Arc<Pace> {
        let mut paces = self.shared.paces.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(paces.entry(authority.to_owned()).or_default())
    }

    /// Where to pull `repository` from, in this order; never empty. A mirror that could not be reached is not asked again.
    pub(super) fn pull_targets(&self, repository: &Repository, by_digest: bool) -> Result<Vec<Target>, RegistryError> {
        let mut all: Vec<Target> =
            self.options().sources.of(repository, by_digest)?.iter().map(|source| self.target(source)).collect();
        let dead = self.shared.dead.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.pop();
        all.retain(|target| !dead.contains(&target.host.name));
        all.extend(last);
        Ok(all)
    }

    /// What `error` of `target` means where there are other sources: with the last one it is the answer, else it is told
    /// and the next one is asked.
    pub(super) fn next_source(&self, target: &Target, left: usize, error: RegistryError) -> Result<(), RegistryError> {
        if left == 0 || error.is_local() {
            return Err(error);
        }
        if matches!(error.class(), ErrorClass::Network) {
            self.shared.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(target.host.name.clone());
        }
        self.events.emit(Event::Detail { text: format!("mirror `{}`: {error}; asking the next one", target.shown()) });
        Ok(())
    }

    pub(super) fn target(&self, repository: &Repository) -> Target {
        Target { host: self.host(repository.host()), path: repository.remote_path() }
    }
}

/// The HTTP library, set up; `direct` goes past every proxy.
fn http_client(
    options: &RegistryOptions,
    trusted: &[reqwest::Certificate],
    identity: Option<reqwest::Identity>,
    direct: bool,
) -> Result<reqwest::Client, RegistryError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        // Redirects are followed by hand: what may go along depends on where they lead.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(options.timeouts.connect)
        .pool_max_idle_per_host(options.concurrency.max(1))
        .tcp_nodelay(true);
    if !trusted.is_empty() {
        builder = builder.tls_certs_merge(trusted.iter().cloned());
    }
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    if direct {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| RegistryError::Setup { reason: innermost(&error) })
}

/// The authorities in a file, of which there must be one at least.
fn certificates_in(path: &Path, pem: &[u8]) -> Result<Vec<reqwest::Certificate>, RegistryError> {
    let found = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "no certificate is in it"));
    }
    Ok(found)
}

fn unusable(path: &Path, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
    RegistryError::Ca { path: path.to_owned(), source }
}

impl Target {
    /// `fleet/nginx` as part of an API path. Repository paths hold nothing that a URL must escape.
    pub(super) fn api(&self, rest: &str) -> String {
        format!("{}/{rest}", self.path)
    }

    /// The repository in the user's words; `None` if it cannot be said in them.
    pub(super) fn repository(&self) -> Option<Repository> {
        self.shown().parse().ok()
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        format!("{}/{}", self.host.name, self.path)
    }
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient").field("options", self.options()).finish_non_exhaustive()
    }
}

/// `url` with the query parameter `digest`; whatever query it has stays as it is (distribution-spec: the location may hold
/// "critical query parameters").
pub(super) fn with_digest(mut url: Url, digest: &crate::base::Digest) -> Url {
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    url
}
