use serde::Deserialize;

use super::client::Target;
use super::manifest::MANIFEST_LIMIT;
use super::{Fetched, RegistryClient, RegistryError};
use crate::base::{Descriptor, MediaKind, Platform, Reference, Repository};

/// What a reference means for one platform.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the reference itself points to: an index or a manifest.
    pub root: Fetched,
    /// The image manifest of the platform.
    pub manifest: Fetched,
}

/// An index, as far as choosing from it goes.
#[derive(Deserialize)]
pub(super) struct IndexBody {
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

/// A manifest, as far as its blobs go.
#[derive(Deserialize)]
pub(super) struct ManifestBody {
    pub(super) config: Descriptor,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
}

/// The platform members of an image config (image-spec, config: "os", "architecture", "variant").
#[derive(Deserialize)]
pub(super) struct ConfigBody {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// Indexes within indexes are followed this deep.
pub(super) const DEPTH: usize = 4;

impl ConfigBody {
    /// The platform, if it says one that exists.
    pub(super) fn platform(&self) -> Option<Platform> {
        Platform::from_parts(&self.os, &self.architecture, self.variant.as_deref()).ok()
    }

    /// Whether the image is for `platform`, see [`Platform::is_said_by`].
    pub(super) fn is_for(&self, platform: &Platform) -> bool {
        platform.is_said_by(&self.os, &self.architecture, self.variant.as_deref())
    }
}

impl RegistryClient {
    /// What `reference` means for `platform`: through its index, or itself if its config says that platform.
    ///
    /// The first matching entry of an index counts (image-spec, image-index). A platform that is not there is
    /// [`RegistryError::NoPlatform`], naming the platform and those that are.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        let root = self.fetch_manifest(reference).await?;
        let manifest = self.resolve_in(reference, &root, platform).await?;
        Ok(Resolved { root, manifest })
    }

    /// The image manifest for `platform` behind `root`, which is what `reference` points to: asked once, it means the same
    /// for every platform, also where the tag moves meanwhile. Errors as [`RegistryClient::resolve`].
    pub async fn resolve_in(
        &self,
        reference: &Reference,
        root: &Fetched,
        platform: &Platform,
    ) -> Result<Fetched, RegistryError> {
        let target = self.target(reference.repository());
        let mut current = root.clone();
        for _ in 0..DEPTH {
            if current.descriptor.kind() != MediaKind::Index {
                return self.matching(&target, reference, platform, root, current).await;
            }
            let index: IndexBody = parsed(&current, &target)?;
            let nested = || index.manifests.iter().find(|entry| entry.kind() == MediaKind::Index);
            let entry = index.manifests.iter().find(|entry| platform_of(entry).as_ref() == Some(platform));
            let Some(entry) = entry.or_else(nested) else {
                return Err(absent(&target, reference, platform, &index.manifests));
            };
            let name = entry.digest.to_string();
            current = self.pull_manifest(reference.repository(), &name, Some(entry.digest)).await?;
        }
        Err(RegistryError::Unsound {
            what: format!("`{reference}`"),
            reason: format!("its indexes are nested more than {DEPTH} deep"),
        })
    }

    /// Checks that a manifest is of the platform by its config, which is what runs; an index entry may lie.
    async fn matching(
        &self,
        target: &Target,
        reference: &Reference,
        platform: &Platform,
        root: &Fetched,
        manifest: Fetched,
    ) -> Result<Fetched, RegistryError> {
        let body: ManifestBody = parsed(&manifest, target)?;
        let config = self.pull_small_blob(reference.repository(), &body.config).await?;
        let body = serde_json::from_slice::<ConfigBody>(&config).ok();
        if body.as_ref().is_some_and(|body| body.is_for(platform)) {
            return Ok(manifest);
        }
        let found = body.and_then(|body| body.platform());
        let found = found.map_or_else(|| "no platform".to_owned(), |found| format!("`{found}`"));
        if root.descriptor.digest == manifest.descriptor.digest {
            // A single-platform image: it simply is not there for this platform.
            let what = format!("`{reference}` for {platform} (it is a single image for {found})");
            return Err(RegistryError::NoPlatform { host: target.host.name.clone(), what });
        }
        Err(RegistryError::Unsound {
            what: format!("`{reference}` for {platform}"),
            reason: format!("the config of manifest `{}` says {found}", manifest.descriptor.digest),
        })
    }

    /// A config, from the first source that has it.
    async fn pull_small_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bytes::Bytes, RegistryError> {
        let mut targets = self.pull_targets(repository, true)?.into_iter();
        loop {
            let Some(target) = targets.next() else {
                let reason = "there is nowhere to pull it from".to_owned();
                return Err(RegistryError::Name { name: repository.to_string(), reason });
            };
            match self.small_blob(&target, descriptor).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.next_source(&target, targets.len(), error)?,
            }
        }
    }

    /// A blob that is read whole, verified: a config.
    pub(super) async fn small_blob(
        &self,
        target: &Target,
        descriptor: &Descriptor,
    ) -> Result<bytes::Bytes, RegistryError> {
        let what = || format!("blob `{}` of `{}`", descriptor.digest, target.shown());
        if descriptor.size > MANIFEST_LIMIT as u64 {
            return Err(RegistryError::Unsound { what: what(), reason: "it is too large for a config".to_owned() });
        }
        let mut tries = super::pace::Tries::new(self.options().retry);
        loop {
            let got = match self.ask_for_rest(target, descriptor, 0).await {
                Ok(response) => response.bytes(MANIFEST_LIMIT).await,
                Err(trouble) => Err(trouble),
            };
            match got {
                Ok(bytes) => {
                    let found = crate::base::Digest::of(&bytes);
                    if found != descriptor.digest || bytes.len() as u64 != descriptor.size {
                        let reason = format!("its {} bytes hash to `{found}`", bytes.len());
                        return Err(RegistryError::Unsound { what: what(), reason });
                    }
                    return Ok(bytes);
                }
                Err(trouble) => self.pause(&target.host.name, &target.host.pace, &mut tries, trouble).await?,
            }
        }
    }
}

/// The platform that an index entry claims, if it is one that exists.
pub(super) fn platform_of(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform.as_ref()?;
    let text = |key: &str| platform.get(key).and_then(serde_json::Value::as_str);
    Platform::from_parts(text("os")?, text("architecture")?, text("variant")).ok()
}

fn parsed<T: serde::de::DeserializeOwned>(fetched: &Fetched, target: &Target) -> Result<T, RegistryError> {
    serde_json::from_slice(&fetched.bytes).map_err(|error| RegistryError::Unsound {
        what: format!("manifest `{}` of `{}`", fetched.descriptor.digest, target.shown()),
        reason: error.to_string(),
    })
}

fn absent(target: &Target, reference: &Reference, platform: &Platform, entries: &[Descriptor]) -> RegistryError {
    let there: Vec<String> = entries.iter().filter_map(platform_of).map(|platform| platform.to_string()).collect();
    RegistryError::NoPlatform {
        host: target.host.name.clone(),
        what: format!("`{reference}` for {platform}, only for {}", there.join(", ")),
    }
}
