use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as OciReference};

use super::auth::Scopes;
use super::client::Certified;
use super::closure::Node;
use super::host::Scheme;
use super::manifest::{ACCEPTED, shown};
use super::push::{Item, at_once};
use super::resolve::{ConfigBody, platform_of};
use super::tags::TagMove;
use super::{Confirmation, RegistryClient, RegistryError};
use crate::base::{Credentials, Descriptor, Digest, MediaKind};

/// Reads a release back with a second implementation of the protocol, which shares no code with ours: what it reads is
/// what others will read. Only the type that a manifest is served with is looked at by ours alone. Where it cannot work, ours reads instead and the receipt says why.
///
/// Images are read by digest before any tag moves, so that what is wrong is found while nobody sees it; indexes are read
/// under their tags afterwards.
pub(super) struct Readers {
    client: RegistryClient,
    /// One for each item that changes.
    others: BTreeMap<usize, Result<Other, String>>,
    /// Why ours read something of an item.
    excuses: Mutex<BTreeMap<usize, String>>,
}

/// The second implementation, set up for one registry and login.
#[derive(Clone)]
struct Other {
    client: Client,
    /// For configs of registries that want no login: it asks nothing before each of them, as long as it was told of none.
    blobs: Client,
    login: RegistryAuth,
}

/// What is read.
enum Task<'a> {
    /// A manifest by digest, with its config, and the index entry that promises its platform.
    Image(&'a Node, Option<&'a Descriptor>),
    /// The root under one of its tags.
    Tag(&'a str),
}

/// What reading found, apart from "all is well".
enum Finding {
    /// What is served is not what was published.
    Wrong(RegistryError),
    /// It is not there, or not yet (some registries are eventually consistent).
    Late(RegistryError),
    /// The reader could not work; says nothing about the registry.
    Unable(String),
}

/// How long one small document may take, in time-outs of ours. It reads configs and manifests only.
const PATIENCE: u32 = 2;
/// How often something that was just stored is asked for until it shows.
pub(super) const LOOKS: u32 = 5;

impl Readers {
    /// Readers for every item that changes.
    pub(super) async fn new(client: &RegistryClient, items: &[Item]) -> Self {
        let mut others = BTreeMap::new();
        let mut known = Vec::new();
        for (number, item) in items.iter().enumerate().filter(|(_, item)| item.works()) {
            // One for each registry and login, made one after the other: each reads the system's certificates.
            others.insert(number, other_reader(client, item, &mut known).await);
        }
        Self { client: client.clone(), others, excuses: Mutex::default() }
    }

    /// Reads every image of those of these items (each with its number) that change: manifest and config by digest, and the platform in the config is the
    /// one that the index promises.
    pub(super) async fn read_images(&self, items: Vec<(usize, &Item)>) -> Result<(), RegistryError> {
        let changing = items.into_iter().filter(|(number, _)| self.others.contains_key(number));
        let images = changing.flat_map(|(number, item)| {
            let images =
                item.closure.nodes.iter().filter(|node| node.manifest.descriptor.kind() == MediaKind::Manifest);
            images.map(move |node| (number, item, Task::Image(node, promised(item, node))))
        });
        at_once(images.collect(), |(number, item, task)| async move { self.read(number, item, &task).await })
            .await
            .map(drop)
    }

    /// Reads what every moved tag shows. Gives one confirmation per tag, in the order of the items' tags; unchanged tags
    /// were answered for by their digest before.
    pub(super) async fn read_tags(
        &self,
        items: &[Item],
        moves: &[TagMove],
    ) -> Result<Vec<Vec<Confirmation>>, RegistryError> {
        let work: Vec<&TagMove> = moves.iter().collect();
        at_once(work, |tag| async move { self.read(tag.item, &items[tag.item], &Task::Tag(tag.tag.as_str())).await })
            .await?;
        let mut confirmed: Vec<Vec<Confirmation>> =
            items.iter().map(|item| vec![Self::of_unmoved(item); item.release.tags.len()]).collect();
        let excuses = self.excuses.lock().unwrap_or_else(PoisonError::into_inner);
        for tag in moves {
            confirmed[tag.item][tag.position] = match excuses.get(&tag.item) {
                None => Confirmation::IndependentReader,
                Some(reason) => Confirmation::OwnReader(reason.clone()),
            };
        }
        Ok(confirmed)
    }

    /// What stands behind a tag that did not have to move.
    fn of_unmoved(item: &Item) -> Confirmation {
        if item.believed { Confirmation::Earlier } else { Confirmation::Present }
    }

    /// Reads one thing, with the other implementation or else with ours, until it is there.
    async fn read(&self, number: usize, item: &Item, task: &Task<'_>) -> Result<(), RegistryError> {
        let mut wait = self.client.options().retry.first_wait;
        for look in 1.. {
            let other = self.others.get(&number).and_then(|other| other.as_ref().ok());
            let reader = Reader { client: &self.client, other };
            let mut finding = reader.perform(item, task).await;
            if let Err(Finding::Unable(reason)) = finding {
                self.excuse(number, reason);
                finding = Reader { other: None, ..reader }.perform(item, task).await;
            } else if let Some(Err(reason)) = self.others.get(&number) {
                self.excuse(number, reason.clone());
            }
            match finding {
                Ok(()) => break,
                Err(Finding::Late(_)) if look < LOOKS => {
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(self.client.options().retry.longest_wait);
                }
                Err(Finding::Late(error) | Finding::Wrong(error)) => return Err(error),
                Err(Finding::Unable(reason)) => {
                    return Err(RegistryError::Network {
                        host: item.target.host.name.clone(),
                        action: format!("read back `{}`", item.target.path),
                        reason,
                        help: None,
                    });
                }
            }
        }
        Ok(())
    }

    fn excuse(&self, number: usize, reason: String) {
        self.excuses.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_insert(reason);
    }
}

/// The entry of an index of the item that lists this manifest.
fn promised<'a>(item: &'a Item, node: &Node) -> Option<&'a Descriptor> {
    item.closure.nodes.iter().flat_map(|parent| &parent.children).find(|entry| entry.digest == node.digest())
}

/// One of both implementations at work.
struct Reader<'a> {
    client: &'a RegistryClient,
    /// Ours if there is none.
    other: Option<&'a Other>,
}

impl Reader<'_> {
    async fn perform(&self, item: &Item, task: &Task<'_>) -> Result<(), Finding> {
        match task {
            Task::Tag(tag) => self.manifest(item, tag, &item.closure.root().manifest.descriptor).await,
            Task::Image(node, entry) => {
                self.manifest(item, &node.digest().to_string(), &node.manifest.descriptor).await?;
                self.config(item, node, *entry).await
            }
        }
    }

    async fn manifest(&self, item: &Item, name: &str, expected: &Descriptor) -> Result<(), Finding> {
        let what = || format!("{} at `{}`", shown(&item.target.path, name), item.target.host.name);
        let found = if let Some(other) = self.other {
            let reference = reference(item, name);
            let reading = other.client.pull_manifest_raw(&reference, &other.login, &ACCEPTED);
            let (bytes, said) = self.patiently(reading).await?.map_err(|error| judged(error, what()))?;
            let found = Digest::of(&bytes);
            if said != found.to_string() {
                return Err(wrong(what(), format!("its bytes hash to `{found}`, `{said}` was announced")));
            }
            found
        } else {
            match self.client.get_manifest(&item.target, name, None, &Scopes::push(&item.target.path)).await {
                Ok(fetched) => fetched.descriptor.digest,
                Err(RegistryError::NotFound { .. }) => return Err(absent(what())),
                Err(error) => return Err(Finding::Wrong(published(error))),
            }
        };
        if found == expected.digest {
            return self.served_as_sent(item, name, expected).await;
        }
        // A tag may show its old image for a moment longer; asked again, it will not.
        let reason = format!("`{}` was published, it shows `{found}`", expected.digest);
        Err(Finding::Late(RegistryError::Integrity { what: what(), reason }))
    }

    /// Clients go by the type that a manifest is served with, and take nothing of `text/plain` for an image; the other
    /// implementation does not tell it.
    async fn served_as_sent(&self, item: &Item, name: &str, expected: &Descriptor) -> Result<(), Finding> {
        let what = || format!("{} at `{}`", shown(&item.target.path, name), item.target.host.name);
        let sent = &expected.media_type;
        match self.client.served_type(&item.target, name, sent, &Scopes::push(&item.target.path)).await {
            Ok(served) if served == *sent => Ok(()),
            Ok(served) => Err(Finding::Wrong(RegistryError::WrongType { what: what(), sent: sent.clone(), served })),
            Err(RegistryError::Refused { status: 404, .. }) => Err(absent(what())),
            Err(error) => Err(Finding::Wrong(error)),
        }
    }

    async fn config(&self, item: &Item, node: &Node, entry: Option<&Descriptor>) -> Result<(), Finding> {
        // The first blob of a manifest is its config. Artifacts have other types there, and no platform.
        let Some(config) = node.blobs.first().filter(|blob| blob.kind() == MediaKind::Config) else { return Ok(()) };
        let what = || format!("config `{}` of `{}`", config.digest, item.target.shown());
        let bytes = if let Some(other) = self.other {
            let descriptor = OciDescriptor {
                media_type: config.media_type.clone(),
                digest: config.digest.to_string(),
                size: i64::try_from(config.size).unwrap_or(i64::MAX),
                ..OciDescriptor::default()
            };
            let mut bytes = Vec::new();
            let reference = reference(item, &node.digest().to_string());
            let reading = other.blobs.pull_blob(&reference, &descriptor, &mut bytes);
            self.patiently(reading).await?.map_err(|error| judged(error, what()))?;
            bytes
        } else {
            match self.client.small_blob(&item.target, config).await {
                Ok(bytes) => bytes.to_vec(),
                Err(RegistryError::NotFound { .. }) => return Err(absent(what())),
                Err(error) => return Err(Finding::Wrong(published(error))),
            }
        };
        let found = Digest::of(&bytes);
        if found != config.digest {
            return Err(wrong(what(), format!("its bytes hash to `{found}`")));
        }
        // Attestations are listed for `unknown/unknown`: nothing that runs, so nothing to compare.
        let Some(promised) = entry.and_then(platform_of) else { return Ok(()) };
        let body = serde_json::from_slice::<ConfigBody>(&bytes).ok();
        if body.as_ref().is_some_and(|body| body.is_for(&promised)) {
            return Ok(());
        }
        let says =
            body.and_then(|body| body.platform()).map_or_else(|| "no platform".to_owned(), |says| format!("`{says}`"));
        Err(wrong(what(), format!("the index promises `{promised}`, it says {says}")))
    }

    /// Bounds what the other implementation leaves unbounded.
    async fn patiently<T>(&self, reading: impl Future<Output = T>) -> Result<T, Finding> {
        let limit: Duration = self.client.options().timeouts.progress * PATIENCE;
        tokio::time::timeout(limit, reading)
            .await
            .map_err(|_| Finding::Unable(format!("it got no answer within {} s", limit.as_secs())))
    }
}

fn wrong(what: String, reason: String) -> Finding {
    Finding::Wrong(RegistryError::Integrity { what, reason })
}

/// What is wrong with what ours reads is wrong with what was published.
fn published(error: RegistryError) -> RegistryError {
    match error {
        RegistryError::Unsound { what, reason } => RegistryError::Integrity { what, reason },
        error => error,
    }
}

fn absent(what: String) -> Finding {
    let reason = "the registry took it and does not serve it".to_owned();
    Finding::Late(RegistryError::Integrity { what, reason })
}

/// What a failure of the other implementation says: something about the registry, or only about itself.
fn judged(error: OciDistributionError, what: String) -> Finding {
    match error {
        OciDistributionError::DigestError(error) => wrong(what, error.to_string()),
        OciDistributionError::ServerError { code: 404, .. } | OciDistributionError::ImageManifestNotFoundError(_) => {
            absent(what)
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let unknown = [
                OciErrorCode::ManifestUnknown,
                OciErrorCode::BlobUnknown,
                OciErrorCode::NameUnknown,
                OciErrorCode::NotFound,
            ];
            if envelope.errors.iter().any(|error| unknown.contains(&error.code)) {
                return absent(what);
            }
            Finding::Unable(format!("it was refused: {envelope}"))
        }
        // Messages may hold URLs with signatures of an object store: never shown.
        OciDistributionError::RequestError(error) => Finding::Unable(error.without_url().to_string()),
        OciDistributionError::ServerError { code, .. } => Finding::Unable(format!("it got status {code}")),
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            Finding::Unable("it was not let in".to_owned())
        }
        error => Finding::Unable(error.to_string()),
    }
}

/// The other implementation, set up for the item's registry and login; what was set up before is used again.
async fn other_reader(client: &RegistryClient, item: &Item, known: &mut Vec<(String, Other)>) -> Result<Other, String> {
    let host = &item.target.host;
    let scheme = client.scheme(host).await.map_err(|error| error.to_string())?;
    if host.name.starts_with('[') {
        return Err("it knows no IPv6 addresses".to_owned());
    }
    let certified = client.certified(&host.name).map_err(|error| error.to_string())?;
    if certified.as_ref().is_some_and(|certified| certified.shows) {
        return Err("it shows no client certificates".to_owned());
    }
    // Looked up only where the registry asked for a login: a helper may ask a person.
    let login = if host.auth.was_asked_for() {
        let credentials = client.credentials(host, &Scopes::push(&item.target.path)).await;
        match credentials.map_err(|error| error.to_string())? {
            None => RegistryAuth::Anonymous,
            Some(Credentials::Basic { username, password }) => {
                RegistryAuth::Basic(username, password.reveal().to_owned())
            }
            Some(Credentials::RegistryToken(token)) => RegistryAuth::Bearer(token.reveal().to_owned()),
            Some(Credentials::IdentityToken(_)) => return Err("it knows no identity tokens".to_owned()),
        }
    } else {
        RegistryAuth::Anonymous
    };
    if let Some((_, other)) = known.iter().find(|(name, other)| *name == host.name && other.login == login) {
        return Ok(other.clone());
    }
    let set_up = || {
        Client::try_from(configuration(client, &host.name, scheme, certified.as_deref()))
            .map_err(|error| error.to_string())
    };
    let reader = set_up()?;
    let blobs = if host.auth.was_asked_for() { reader.clone() } else { set_up()? };
    let other = Other { client: reader, blobs, login };
    known.push((host.name.clone(), other.clone()));
    Ok(other)
}

fn configuration(client: &RegistryClient, host: &str, scheme: Scheme, certified: Option<&Certified>) -> ClientConfig {
    let plain = if scheme == Scheme::Http { vec![host.to_owned()] } else { Vec::new() };
    let own = certified.iter().flat_map(|certified| &certified.authorities);
    let authorities = client.shared.authorities.iter().chain(own);
    let certificates =
        authorities.map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() }).collect();
    ClientConfig {
        protocol: ClientProtocol::HttpsExcept(plain),
        extra_root_certificates: certificates,
        read_timeout: Some(client.options().timeouts.progress),
        connect_timeout: Some(client.options().timeouts.connect),
        ..ClientConfig::default()
    }
}

fn reference(item: &Item, name: &str) -> OciReference {
    let (registry, repository) = (item.target.host.name.clone(), item.target.path.clone());
    if name.contains(':') {
        OciReference::with_digest(registry, repository, name.to_owned())
    } else {
        OciReference::with_tag(registry, repository, name.to_owned())
    }
}
