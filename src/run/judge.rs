use super::RunError;
use super::prefetch::is_elsewhere;
use crate::base::{Descriptor, MediaKind, Platform};
use crate::image::{
    ImageConfig, ImageError, MANIFEST_LIMIT, ManifestBody, RawManifest, closure, entry_platform, is_attestation,
};
use crate::store::{BlobSource, StoreError};

/// An image as far as copying it goes: the same whatever it is copied into.
pub(super) struct Judged {
    /// Everything that it refers to, itself last.
    pub(super) closure: Vec<Descriptor>,
    /// What is for a platform.
    images: Vec<PlatformImage>,
    /// Why a bundle cannot hold it, where that is so.
    unfit: Option<String>,
}

/// A manifest that somebody would run.
pub(super) struct PlatformImage {
    /// What an index promises; a single image promises what its config says.
    promised: Option<Platform>,
    manifest: RawManifest,
    config: Descriptor,
}

impl Judged {
    /// Reads the manifests below `root`; other blobs need not be at hand. Blocks.
    ///
    /// What an index lists for no platform (attestations, artifacts) is carried as it stands, and so is what is no image: an
    /// unknown config type is never an error (image-spec, "manifest").
    pub(super) fn read(source: &dyn BlobSource, root: &Descriptor) -> Result<Self, RunError> {
        let mut judged = Self { closure: closure(source, root)?, images: Vec::new(), unfit: None };
        if root.kind() == MediaKind::Manifest {
            match PlatformImage::read(source, root, None)? {
                Ok(image) => judged.images.push(image),
                Err(artifact) => judged.is_unfit(format!("it is an artifact of the type `{artifact}`, no image")),
            }
        }
        let indexes: Vec<Descriptor> =
            judged.closure.iter().filter(|one| one.kind() == MediaKind::Index).cloned().collect();
        for index in indexes {
            let ManifestBody::Index { manifests, .. } = RawManifest::read(source, &index)?.parsed else { continue };
            for entry in manifests.iter().filter(|entry| !is_attestation(entry)) {
                judged.entry(source, entry)?;
            }
        }
        if judged.images.is_empty() {
            judged.is_unfit("none of what it lists is an image that says its platform".to_owned());
        }
        Ok(judged)
    }

    fn entry(&mut self, source: &dyn BlobSource, entry: &Descriptor) -> Result<(), RunError> {
        let digest = entry.digest;
        match (entry.kind(), entry_platform(entry)) {
            // Legal, and podman and skopeo cannot follow it out of a file.
            (MediaKind::Index, _) => self.is_unfit(format!("its entry `{digest}` is an index itself")),
            (MediaKind::Manifest, Some(Ok(platform))) => {
                match PlatformImage::read(source, entry, Some(platform.clone()))? {
                    Ok(image) => self.images.push(image),
                    Err(artifact) => self.is_unfit(format!(
                        "its entry `{digest}` for {platform} is an artifact of the type `{artifact}`, no image"
                    )),
                }
            }
            (MediaKind::Manifest, Some(Err(reason))) => self.is_unfit(format!("its entry `{digest}`: {reason}")),
            (MediaKind::Manifest, None) => {}
            // A registry has it as a manifest, a layout as a blob, and what it refers to is not known: no way leads from
            // one to the other.
            (MediaKind::Config | MediaKind::Blob, _) => {
                let reason = format!("its entry `{digest}` has the type `{}`, no kind of image", entry.media_type);
                return Err(RunError::UnknownEntry { reason });
            }
        }
        Ok(())
    }

    /// The first reason is told.
    fn is_unfit(&mut self, reason: String) {
        self.unfit.get_or_insert(reason);
    }

    /// The configs that [`Judged::platforms`] reads; those that are too large for it are not worth bringing.
    pub(super) fn configs(&self) -> Vec<Descriptor> {
        self.images.iter().map(|image| image.config.clone()).filter(|config| config.size <= MANIFEST_LIMIT).collect()
    }

    /// The platforms that it is for, sorted, each proved by the config of its image: an index entry may lie. Blocks.
    pub(super) fn platforms(&self, source: &dyn BlobSource) -> Result<Vec<Platform>, RunError> {
        let mut platforms = Vec::new();
        for image in &self.images {
            let facts = ImageConfig::of(source, &image.manifest)?;
            match &image.promised {
                Some(platform) if facts.is_for(platform) => platforms.push(platform.clone()),
                Some(platform) => {
                    let (digest, wanted) = (image.manifest.descriptor.digest, Box::new(platform.clone()));
                    return Err(ImageError::WrongPlatform { digest, wanted, found: facts.shown() }.into());
                }
                None => platforms.extend(facts.platform().ok()),
            }
        }
        platforms.sort();
        platforms.dedup();
        Ok(platforms)
    }

    /// The layers that `source` does not have and that are kept where their `urls` say. Blocks.
    pub(super) fn elsewhere(&self, source: &dyn BlobSource) -> Result<Vec<Descriptor>, RunError> {
        let mut found = Vec::new();
        for blob in self.closure.iter().filter(|blob| is_elsewhere(blob)) {
            if source.size_of(&blob.digest)?.is_none() {
                found.push(blob.clone());
            }
        }
        Ok(found)
    }

    /// Why a bundle cannot hold it: that is an index per image, each entry of it for a platform, with every blob.
    pub(super) fn unfit_for_bundle(&self, platforms: &[Platform], elsewhere: &[Descriptor]) -> Option<String> {
        let layer = elsewhere.first().map(|layer| {
            let (digest, kind) = (layer.digest, &layer.media_type);
            format!("its layer `{digest}` (`{kind}`) is kept where its `urls` say, and a bundle is whole")
        });
        let none = platforms.is_empty().then(|| "its config says no platform".to_owned());
        self.unfit.clone().or(layer).or(none)
    }

    /// Looks whether every blob is there, before the first byte goes anywhere. Blocks.
    pub(super) fn whole(&self, source: &dyn BlobSource) -> Result<(), RunError> {
        for blob in &self.closure {
            match source.size_of(&blob.digest)? {
                Some(size) if size == blob.size => {}
                Some(size) => {
                    let (digest, expected) = (blob.digest, blob.size);
                    return Err(StoreError::WrongSize { digest, expected, found: size }.into());
                }
                None if is_elsewhere(blob) => {}
                None => return Err(StoreError::Missing { digest: blob.digest }.into()),
            }
        }
        Ok(())
    }
}

impl PlatformImage {
    /// `Err` is the type of an artifact.
    fn read(
        source: &dyn BlobSource,
        manifest: &Descriptor,
        promised: Option<Platform>,
    ) -> Result<Result<Self, String>, RunError> {
        let manifest = RawManifest::read(source, manifest)?;
        let ManifestBody::Image { config, .. } = &manifest.parsed else {
            return Ok(Err(manifest.descriptor.media_type));
        };
        let config = (**config).clone();
        let is_image = config.kind() == MediaKind::Config;
        Ok(if is_image { Ok(Self { promised, manifest, config }) } else { Err(config.media_type) })
    }
}
