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
    pub(super) images: Vec<PlatformImage>,
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
        let closure = closure(source, root)?;
        let mut images = Vec::new();
        if root.kind() == MediaKind::Manifest {
            images.extend(PlatformImage::read(source, root, None)?);
        }
        for index in closure.iter().filter(|one| one.kind() == MediaKind::Index) {
            let ManifestBody::Index { manifests, .. } = RawManifest::read(source, index)?.parsed else { continue };
            let entries =
                manifests.iter().filter(|entry| entry.kind() == MediaKind::Manifest && !is_attestation(entry));
            for entry in entries {
                if let Some(Ok(platform)) = entry_platform(entry) {
                    images.extend(PlatformImage::read(source, entry, Some(platform))?);
                }
            }
        }
        Ok(Self { closure, images })
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
    fn read(
        source: &dyn BlobSource,
        manifest: &Descriptor,
        promised: Option<Platform>,
    ) -> Result<Option<Self>, RunError> {
        let manifest = RawManifest::read(source, manifest)?;
        let ManifestBody::Image { config, .. } = &manifest.parsed else { return Ok(None) };
        let config = (**config).clone();
        Ok((config.kind() == MediaKind::Config).then_some(Self { promised, manifest, config }))
    }
}
