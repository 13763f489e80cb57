use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::RunError;
use super::prefetch::Fetcher;
use super::publish::blocking;
use crate::base::{ComponentName, Descriptor, Digest, MediaKind, Repository, media_type};
use crate::image::closure;
use crate::registry::{Fetched, RegistryClient, ReleaseItem, referrers_tag};
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
    /// platforms, does so there too; referrers of referrers as well. One item for each manifest that is referred to, under
    /// the tag of the referrers tag schema, beside what the destination lists there already; and how many there are.
    ///
    /// A registry that lists referrers itself does so by what their manifests say. The tag is written for it too: which
    /// clients read it is not known.
    pub(super) async fn items(
        &self,
        blobs: Arc<dyn BlobSource>,
        root: Descriptor,
    ) -> Result<(Vec<ReleaseItem>, usize), RunError> {
        let fetcher = Fetcher::new(self.client.clone(), self.staging.clone());
        let reached = blocking(move || Ok(closure(blobs.as_ref(), &root)?)).await?;
        let manifests = reached.iter().filter(|it| matches!(it.kind(), MediaKind::Index | MediaKind::Manifest));
        let mut subjects: Vec<Digest> = manifests.map(|it| it.digest).collect();
        let (mut items, mut count, mut at) = (Vec::new(), 0, 0);
        while let Some(subject) = subjects.get(at).copied() {
            at += 1;
            let found = self.client.referrers_of(self.from, &subject).await?;
            if found.is_empty() {
                continue;
            }
            let mut entries = BTreeMap::new();
            for (repository, list) in
                [(self.to, self.client.tagged_referrers(self.to, &subject).await?), (self.from, found)]
            {
                for entry in list {
                    let manifest = fetcher.manifest(repository, entry.digest).await?;
                    entries.insert(entry.digest, described(&manifest));
                    fetcher.keep(manifest).await?;
                    if repository == self.from && !subjects.contains(&entry.digest) {
                        count += 1;
                        subjects.push(entry.digest);
                    }
                }
            }
            if subjects.len() > LIMIT + reached.len() {
                let message = format!("more than {LIMIT} manifests refer to it and to each other");
                return Err(RunError::BadName { message });
            }
            items.extend(self.item(&subject, &entries).await?);
        }
        Ok((items, count))
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
