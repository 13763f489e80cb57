use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};

use super::auth::Scopes;
use super::call::Call;
use super::client::Target;
use super::manifest::MANIFEST_LIMIT;
use super::resolve::IndexBody;
use super::response::Response;
use super::{RegistryClient, RegistryError};
use crate::base::{Descriptor, Digest, Repository, Tag, media_type};

/// Pages of one list that are read. A registry that has more to say sends us round in a circle.
const PAGES: usize = 100;

/// What a registry itself says of the referrers of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// It lists these.
    Listed(Vec<Descriptor>),
    /// It knows the question, and not what is asked about: nothing was pushed there yet.
    NotYet,
    /// It knows no such question.
    Unsupported,
}

/// The tag under which clients keep referrers where the registry does not list them itself (distribution-spec, "Referrers
/// Tag Schema").
pub fn referrers_tag(subject: &Digest) -> Option<Tag> {
    format!("sha256-{}", subject.hex()).parse().ok()
}

impl RegistryClient {
    /// Manifests of `repository` that say `subject` is what they are about: signatures, bills of materials and the like.
    ///
    /// distribution-spec, "Listing Referrers": what the registry lists, and where it knows no such request (404) what the
    /// index under [`referrers_tag`] lists.
    ///
    /// # Errors
    /// As for reading a manifest; a list that cannot be understood is [`RegistryError::Protocol`].
    pub async fn referrers_of(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        match self.listed_referrers(repository, subject).await? {
            Listing::Listed(listed) => Ok(listed),
            Listing::NotYet | Listing::Unsupported => self.tagged_referrers(repository, subject).await,
        }
    }

    /// Whether the registry of `repository` said of a manifest that this client pushed that it lists it under its subject.
    pub fn lists_what_it_takes(&self, repository: &Repository) -> bool {
        self.target(repository).host.lists_referrers()
    }

    /// What the index under the fallback tag lists; nothing if there is none.
    ///
    /// # Errors
    /// As [`RegistryClient::referrers_of`].
    pub async fn tagged_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let (target, Some(tag)) = (self.target(repository), referrers_tag(subject)) else { return Ok(Vec::new()) };
        match self.get_manifest(&target, tag.as_str(), None, &Scopes::pull(&target.path)).await {
            Ok(fetched) => listed_in(&fetched.bytes).map_err(|reason| wrong(&target, reason)),
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What the registry itself lists.
    ///
    /// # Errors
    /// As [`RegistryClient::referrers_of`].
    pub async fn listed_referrers(&self, repository: &Repository, subject: &Digest) -> Result<Listing, RegistryError> {
        let target = &self.target(repository);
        let scopes = Scopes::pull(&target.path);
        let mut url = self.url(&target.host, &target.api(&format!("referrers/{subject}"))).await?;
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let mut call = Call::new(Method::GET, url);
            call.headers.insert(ACCEPT, HeaderValue::from_static(media_type::INDEX));
            let response = self.ask(&target.host, &call, &scopes, "list referrers").await?;
            match response.status().as_u16() {
                200 => {}
                404 if all.is_empty() => {
                    let answer = response.answer().await;
                    let unknown = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN"].iter().any(|code| answer.has(code));
                    return Ok(if unknown { Listing::NotYet } else { Listing::Unsupported });
                }
                // Registries of before version 1.1 of the specification know no such path.
                400 | 404 | 405 | 501 => return Ok(Listing::Unsupported),
                _ => return Err(response.refused().await),
            }
            let next = next_page(&response);
            let bytes = response.bytes(MANIFEST_LIMIT).await.map_err(super::trouble::Trouble::into_error)?;
            all.extend(listed_in(&bytes).map_err(|reason| wrong(target, reason))?);
            match next {
                // Only the registry itself may go on with its list.
                Some(next) if next.origin() == call.url.origin() => url = next,
                Some(_) => return Err(wrong(target, "its list goes on at another host".to_owned())),
                None => return Ok(Listing::Listed(all)),
            }
        }
        Err(wrong(target, format!("its list has more than {PAGES} pages")))
    }
}

fn listed_in(bytes: &[u8]) -> Result<Vec<Descriptor>, String> {
    serde_json::from_slice::<IndexBody>(bytes).map(|index| index.manifests).map_err(|error| error.to_string())
}

fn wrong(target: &Target, reason: String) -> RegistryError {
    let (host, action) = (target.host.name.clone(), format!("list referrers in {}", target.path));
    RegistryError::Protocol { host, action, reason }
}

/// Where a `Link: <…>; rel="next"` points to (RFC 8288).
fn next_page(response: &Response) -> Option<url::Url> {
    let link = response.header("link")?;
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
    if next { response.url().join(address).ok() } else { None }
}
