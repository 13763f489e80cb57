use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::RunError;
use super::prefetch::Fetcher;
use super::publish::blocking;
use crate::base::{ComponentName, Descriptor, Digest, MediaKind, Repository, media_type};
use crate::image::closure;
use crate::registry::{Fetched, Listing, RegistryClient, ReleaseItem, referrers_tag};
use crate::store::{BlobSource, Layout};

/// More manifests that refer to each other than any image has.
const LIMIT: usize = 1000;

/// From where to where referrers are copied, and what for.
pub(super) struct Referrers<'a> {
    pub(super) client: &'a RegistryClient,
    pub(super) from: &'a Repository,
    pub(super) to: &'a Repository,
    pub(super) component: ComponentName,
    /// Where manifests are kept on their way.
    pub(super) staging: &'a Layout,
}

/// What is published with an image so that what refers to it does so there, too.
#[derive(Default)]
pub(super) struct Brought {
    /// Lists under the tags of the referrers tag schema, with what they list.
    pub(super) tagged: Vec<ReleaseItem>,
    /// What is published by digest, for the registry to list it.
    pub(super) along: Vec<(Repository, Descriptor)>,
    /// Lists of that, for the case that the registry does not say that it does.
    pub(super) unless_listed: Vec<ReleaseItem>,
    /// How many manifests refer to the image, or to each other.
    pub(super) count: usize,
}

/// What is read of a manifest to say in a list what it is.
#[derive(Deserialize)]
struct Body {
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
    config: Option<Config>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "mediaType")]
    media_type: String,
}

impl Referrers<'_> {
    /// What has to be published with the image behind `root` so that everything that refers to it, or to one of its
    /// platforms, does so there too; referrers of referrers as well.
    ///
    /// A registry that lists referrers itself does so by what their manifests say, and says so when it takes one
    /// (distribution-spec, "Pushing Manifests with Subject"): they are published by digest. Elsewhere they are listed under
    /// the tag of the referrers tag schema, beside what the destination lists there already.
    pub(super) async fn items(&self, blobs: Arc<dyn BlobSource>, root: Descriptor) -> Result<Brought, RunError> {
        let fetcher = Fetcher::new(self.client.clone(), self.staging.clone());
        let reached = blocking(move || Ok(closure(blobs.as_ref(), &root)?)).await?;
        let manifests = reached.iter().filter(|it| matches!(it.kind(), MediaKind::Index | MediaKind::Manifest));
        let mut subjects: Vec<Digest> = manifests.map(|it| it.digest).collect();
        let (mut brought, mut at) = (Brought::default(), 0);
        while let Some(subject) = subjects.get(at).copied() {
            at += 1;
            let found = self.client.referrers_of(self.from, &subject).await?;
            if found.is_empty() {
                continue;
            }
            let (mut entries, mut own) = (BTreeMap::new(), Vec::new());
            for (repository, list) in
                [(self.to, self.client.tagged_referrers(self.to, &subject).await?), (self.from, found)]
            {
                for entry in list {
                    let manifest = fetcher.manifest(repository, entry.digest).await?;
                    entries.insert(entry.digest, described(&manifest));
                    if repository == self.from {
                        own.push(manifest.descriptor.clone());
                    }
                    fetcher.keep(manifest).await?;
                    if repository == self.from && !subjects.contains(&entry.digest) {
                        brought.count += 1;
                        subjects.push(entry.digest);
                    }
                }
            }
            if subjects.len() > LIMIT + reached.len() {
                let message = format!("more than {LIMIT} manifests refer to it and to each other");
                return Err(RunError::BadName { message });
            }
            let listed = match self.client.listed_referrers(self.to, &subject).await? {
                Listing::Listed(listed) => listed,
                Listing::NotYet => Vec::new(),
                Listing::Unsupported => {
                    brought.tagged.extend(self.item(&subject, &entries).await?);
                    continue;
                }
            };
            let own = own.into_iter().filter(|entry| listed.iter().all(|known| known.digest != entry.digest));
            let before = brought.along.len();
            brought.along.extend(own.map(|entry| (self.to.clone(), entry)));
            if brought.along.len() > before {
                brought.unless_listed.extend(self.item(&subject, &entries).await?);
            }
        }
        Ok(brought)
    }

    async fn item(
        &self,
        subject: &Digest,
        entries: &BTreeMap<Digest, serde_json::Value>,
    ) -> Result<Option<ReleaseItem>, RunError> {
        let entries: Vec<_> = entries.values().collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries}).to_string();
        let staging = self.staging.clone();
        let index = blocking(move || Ok(staging.put(media_type::INDEX, index.as_bytes())?)).await?;
        Ok(referrers_tag(subject).map(|tag| ReleaseItem {
            component: self.component.clone(),
            index,
            repository: self.to.clone(),
            tags: vec![tag],
            partial: false,
        }))
    }
}

/// An entry of the list, as the manifest itself has it (distribution-spec, "Referrers Tag Schema": its artifact type, else the
/// type of its config, and its annotations).
fn described(manifest: &Fetched) -> serde_json::Value {
    let descriptor = &manifest.descriptor;
    let mut entry = json!({
        "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size
    });
    if let Ok(body) = serde_json::from_slice::<Body>(&manifest.bytes) {
        if let Some(kind) = body.artifact_type.or_else(|| body.config.map(|config| config.media_type)) {
            entry["artifactType"] = kind.into();
        }
        if let Some(annotations) = body.annotations {
            entry["annotations"] = json!(annotations);
        }
    }
    entry
}
