use std::collections::BTreeMap;
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as OciReference};

use super::auth::Scopes;
use super::closure::Node;
use super::host::Scheme;
use super::manifest::ACCEPTED;
use super::push::{Item, at_once};
use super::resolve::{ConfigBody, platform_of};
use super::tags::TagMove;
use super::{Confirmation, RegistryClient, RegistryError};
use crate::base::{Credentials, Descriptor, Digest, MediaKind};

/// A second implementation of the protocol, which shares no code with ours: what it reads is what others will read.
struct Reader<'a> {
    client: &'a RegistryClient,
    /// `None`, with the reason, where the second implementation cannot be used and ours reads instead.
    other: Result<(Client, RegistryAuth), String>,
}

/// How long one small document may take. It reads configs and manifests only; ours has retried what was slow before.
const PATIENCE: u32 = 2;

/// Reads what every moved tag serves: its index, each image manifest, each config. Digests must be those that were
/// published, and the platform in each config the one that the index promises.
///
/// Gives one confirmation per tag, in the order of the items' tags. Unchanged tags were answered for by their digest.
pub(super) async fn confirm(
    client: &RegistryClient,
    items: &[Item],
    moves: &[TagMove],
) -> Result<Vec<Vec<Confirmation>>, RegistryError> {
    let mut confirmed: Vec<Vec<Confirmation>> =
        items.iter().map(|item| vec![Confirmation::Digest; item.release.tags.len()]).collect();
    let mut by_item: BTreeMap<usize, Vec<&TagMove>> = BTreeMap::new();
    for tag in moves {
        by_item.entry(tag.item).or_default().push(tag);
    }
    // One for each registry and login, made one after the other: each reads the system's certificates.
    let mut known = Vec::new();
    let mut work = Vec::new();
    for (number, tags) in by_item {
        work.push((number, tags, other_reader(client, &items[number], &mut known).await));
    }
    let results = at_once(work, |(number, tags, other)| async move {
        let item = &items[number];
        let names: Vec<String> = tags.iter().map(|tag| tag.tag.to_string()).collect();
        let by = read_item(client, item, &names, other).await?;
        Ok(tags.into_iter().map(|tag| (number, tag.position, by.clone())).collect::<Vec<_>>())
    })
    .await?;
    for (number, position, by) in results.into_iter().flatten() {
        confirmed[number][position] = by;
    }
    Ok(confirmed)
}

/// Reads one item under its tags, with the other implementation or, where that cannot connect, with ours.
async fn read_item(
    client: &RegistryClient,
    item: &Item,
    tags: &[String],
    other: Result<(Client, RegistryAuth), String>,
) -> Result<Confirmation, RegistryError> {
    let reader = Reader { client, other };
    let reason = match &reader.other {
        Ok(_) => match read_all(&reader, item, tags).await {
            Ok(()) => return Ok(Confirmation::IndependentReader),
            Err(Finding::Wrong(error)) => return Err(error),
            Err(Finding::Unable(reason)) => reason,
        },
        Err(reason) => reason.clone(),
    };
    let own = Reader { client, other: Err(reason.clone()) };
    match read_all(&own, item, tags).await {
        Ok(()) => Ok(Confirmation::OwnReader(reason)),
        Err(Finding::Wrong(error)) => Err(error),
        Err(Finding::Unable(reason)) => Err(RegistryError::Network {
            host: item.target.host.name.clone(),
            action: format!("read back `{}`", item.target.path),
            reason,
            help: None,
        }),
    }
}

/// What reading found, apart from "all is well".
enum Finding {
    /// What is served is not what was published, or is not served.
    Wrong(RegistryError),
    /// The reader could not work; says nothing about the registry.
    Unable(String),
}

async fn read_all(reader: &Reader<'_>, item: &Item, tags: &[String]) -> Result<(), Finding> {
    let root = item.closure.root();
    for tag in tags {
        reader.manifest(item, tag, &root.manifest.descriptor).await?;
    }
    for node in &item.closure.nodes {
        if node.digest() != root.digest() {
            reader.manifest(item, &node.digest().to_string(), &node.manifest.descriptor).await?;
        }
        if node.manifest.descriptor.kind() == MediaKind::Manifest {
            reader.config(item, node, promised(item, node)).await?;
        }
    }
    Ok(())
}

/// The entry of an index of the item that lists this manifest.
fn promised<'a>(item: &'a Item, node: &Node) -> Option<&'a Descriptor> {
    item.closure.nodes.iter().flat_map(|parent| &parent.children).find(|entry| entry.digest == node.digest())
}

impl Reader<'_> {
    async fn manifest(&self, item: &Item, name: &str, expected: &Descriptor) -> Result<(), Finding> {
        let wrong = |reason: String| {
            let separator = if name.contains(':') { '@' } else { ':' };
            Finding::Wrong(RegistryError::Integrity {
                what: format!("`{}{separator}{name}`", item.target.shown()),
                reason,
            })
        };
        let found = if let Ok((other, auth)) = &self.other {
            let reference = reference(item, name);
            let reading = other.pull_manifest_raw(&reference, auth, &ACCEPTED);
            let (bytes, said) = self.patiently(reading).await?.map_err(|error| judged(error, &wrong))?;
            if said != expected.digest.to_string() {
                return Err(wrong(format!("`{}` was published, it shows `{said}`", expected.digest)));
            }
            Digest::of(&bytes)
        } else {
            let scopes = Scopes::push(&item.target.path);
            let fetched = self.client.get_manifest(&item.target, name, None, &scopes).await;
            fetched.map_err(Finding::Wrong)?.descriptor.digest
        };
        if found == expected.digest {
            return Ok(());
        }
        Err(wrong(format!("`{}` was published, it shows `{found}`", expected.digest)))
    }

    async fn config(&self, item: &Item, node: &Node, entry: Option<&Descriptor>) -> Result<(), Finding> {
        // The first blob of a manifest is its config. Artifacts have other types there, and no platform.
        let Some(config) = node.blobs.first().filter(|blob| blob.kind() == MediaKind::Config) else { return Ok(()) };
        let wrong = |reason: String| {
            Finding::Wrong(RegistryError::Integrity {
                what: format!("config `{}` of `{}`", config.digest, item.target.shown()),
                reason,
            })
        };
        let bytes = if let Ok((other, _)) = &self.other {
            let descriptor = OciDescriptor {
                media_type: config.media_type.clone(),
                digest: config.digest.to_string(),
                size: i64::try_from(config.size).unwrap_or(i64::MAX),
                ..OciDescriptor::default()
            };
            let mut bytes = Vec::new();
            let reference = reference(item, &node.digest().to_string());
            let reading = other.pull_blob(&reference, &descriptor, &mut bytes);
            self.patiently(reading).await?.map_err(|error| judged(error, &wrong))?;
            bytes
        } else {
            self.client.small_blob(&item.target, config).await.map_err(Finding::Wrong)?.to_vec()
        };
        let found = Digest::of(&bytes);
        if found != config.digest {
            return Err(wrong(format!("its bytes hash to `{found}`")));
        }
        // Attestations are listed for `unknown/unknown`: nothing that runs, so nothing to compare.
        let Some(promised) = entry.and_then(platform_of) else { return Ok(()) };
        let says = serde_json::from_slice::<ConfigBody>(&bytes).ok().and_then(|body| body.platform());
        if says.as_ref() == Some(&promised) {
            return Ok(());
        }
        let says = says.map_or_else(|| "no platform".to_owned(), |says| format!("`{says}`"));
        Err(wrong(format!("the index promises `{promised}`, it says {says}")))
    }

    /// Bounds what the other implementation leaves unbounded.
    async fn patiently<T>(&self, reading: impl Future<Output = T>) -> Result<T, Finding> {
        let limit: Duration = self.client.options().timeouts.progress * PATIENCE;
        tokio::time::timeout(limit, reading)
            .await
            .map_err(|_| Finding::Unable(format!("it got no answer within {} s", limit.as_secs())))
    }
}

/// What a failure of the other implementation says: something about the registry, or only about itself.
fn judged(error: OciDistributionError, wrong: &dyn Fn(String) -> Finding) -> Finding {
    match error {
        OciDistributionError::DigestError(error) => wrong(error.to_string()),
        OciDistributionError::ImageManifestNotFoundError(reason) => wrong(reason),
        // Its messages may hold URLs with signatures of an object store.
        OciDistributionError::RequestError(error) => Finding::Unable(error.without_url().to_string()),
        OciDistributionError::ServerError { code, .. } => Finding::Unable(format!("it got status {code}")),
        OciDistributionError::RegistryError { envelope, .. } => Finding::Unable(format!("it was refused: {envelope}")),
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            Finding::Unable("it was not let in".to_owned())
        }
        error => Finding::Unable(error.to_string()),
    }
}

/// The other implementation, set up for the item's registry and login; what was set up before is used again.
async fn other_reader(
    client: &RegistryClient,
    item: &Item,
    known: &mut Vec<(String, RegistryAuth, Client)>,
) -> Result<(Client, RegistryAuth), String> {
    let host = &item.target.host;
    let scheme = client.scheme(host).await.map_err(|error| error.to_string())?;
    // It knows `localhost:5000` and names, and no IPv6 literals.
    if host.name.starts_with('[') {
        return Err("it knows no IPv6 addresses".to_owned());
    }
    let scopes = Scopes::pull(&item.target.path);
    let credentials = client.credentials(host, &scopes).await.map_err(|error| error.to_string())?;
    let auth = match credentials {
        None => RegistryAuth::Anonymous,
        Some(Credentials::Basic { username, password }) => RegistryAuth::Basic(username, password.reveal().to_owned()),
        Some(Credentials::RegistryToken(token)) => RegistryAuth::Bearer(token.reveal().to_owned()),
        Some(Credentials::IdentityToken(_)) => return Err("it knows no identity tokens".to_owned()),
    };
    if let Some((_, _, other)) = known.iter().find(|(name, login, _)| *name == host.name && *login == auth) {
        return Ok((other.clone(), auth));
    }
    let plain = if scheme == Scheme::Http { vec![host.name.clone()] } else { Vec::new() };
    let certificates = client
        .shared
        .authorities
        .iter()
        .map(|pem| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() });
    let config = ClientConfig {
        protocol: ClientProtocol::HttpsExcept(plain),
        extra_root_certificates: certificates.collect(),
        read_timeout: Some(client.options().timeouts.progress),
        connect_timeout: Some(client.options().timeouts.connect),
        ..ClientConfig::default()
    };
    let other = Client::try_from(config).map_err(|error| error.to_string())?;
    known.push((host.name.clone(), auth.clone(), other.clone()));
    Ok((other, auth))
}

fn reference(item: &Item, name: &str) -> OciReference {
    let (registry, repository) = (item.target.host.name.clone(), item.target.path.clone());
    if name.contains(':') {
        OciReference::with_digest(registry, repository, name.to_owned())
    } else {
        OciReference::with_tag(registry, repository, name.to_owned())
    }
}
