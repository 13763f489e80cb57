use serde::Deserialize;

use super::manifest::{ManifestBody, RawManifest};
use super::{ImageError, MANIFEST_LIMIT};
use crate::base::{Descriptor, Digest, JsonShape, MediaKind, Platform, parse_json};
use crate::store::BlobSource;

/// The largest config that is read, in bytes.
const CONFIG_LIMIT: u64 = MANIFEST_LIMIT;

/// The facts of an image config that decide anything (image-spec, "config"). The bytes stay where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// `os`, as written.
    pub os: String,
    /// `architecture`, as written.
    pub architecture: String,
    /// `variant`, as written; absent or empty counts as absent.
    pub variant: Option<String>,
    /// Digests of the uncompressed layers, base first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct Body {
    os: String,
    architecture: String,
    variant: Option<String>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Option<Vec<Digest>>,
}

const SHAPE: JsonShape =
    JsonShape { names: &["os", "architecture", "variant", "rootfs", "type", "diff_ids"], structural: &["rootfs"] };

impl ImageConfig {
    /// Reads and verifies the config of the image behind `manifest`, and counts its diff IDs against the layers.
    pub fn read(source: &dyn BlobSource, manifest: &Descriptor) -> Result<Self, ImageError> {
        let raw = RawManifest::read(source, manifest)?;
        Self::of(source, &raw)
    }

    /// The same for a manifest that was read before.
    pub fn of(source: &dyn BlobSource, manifest: &RawManifest) -> Result<Self, ImageError> {
        let ManifestBody::Image { config, layers, .. } = &manifest.parsed else {
            return Err(ImageError::NotAnImage {
                digest: manifest.descriptor.digest,
                media_type: manifest.descriptor.media_type.clone(),
            });
        };
        // An artifact's config is never parsed (image-spec, "manifest": unknown config types are stored as they are).
        if config.kind() != MediaKind::Config {
            return Err(ImageError::NotAnImage {
                digest: manifest.descriptor.digest,
                media_type: config.media_type.clone(),
            });
        }
        let facts = Self::parse(&source.read(config, CONFIG_LIMIT)?, &config.digest)?;
        if facts.diff_ids.len() != layers.len() {
            let reason = format!("it has {} diff IDs, the manifest has {} layers", facts.diff_ids.len(), layers.len());
            return Err(ImageError::Malformed { what: "config", digest: config.digest, reason });
        }
        Ok(facts)
    }

    /// Parses a config's bytes; `digest` names it in errors.
    pub fn parse(bytes: &[u8], digest: &Digest) -> Result<Self, ImageError> {
        let malformed = |reason: String| ImageError::Malformed { what: "config", digest: *digest, reason };
        let body: Body = parse_json(bytes, &SHAPE).map_err(|error| malformed(error.to_string()))?;
        if body.rootfs.kind != "layers" {
            return Err(malformed(format!("its rootfs type is {:?}", body.rootfs.kind)));
        }
        Ok(Self {
            os: body.os,
            architecture: body.architecture,
            variant: body.variant.filter(|variant| !variant.is_empty()),
            diff_ids: body.rootfs.diff_ids.unwrap_or_default(),
        })
    }

    /// The platform it says, normalised. The error is a text for people: what it says is not a platform we know.
    pub fn platform(&self) -> Result<Platform, String> {
        Platform::from_parts(&self.os, &self.architecture, self.variant.as_deref()).map_err(|error| error.to_string())
    }

    /// Whether the image is for `platform`, see [`Platform::is_said_by`].
    pub fn is_for(&self, platform: &Platform) -> bool {
        platform.is_said_by(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// What it says, for errors: `linux/arm64`, or the raw fields where they are no platform.
    pub fn shown(&self) -> String {
        self.platform().map_or_else(|_| format!("{:?}/{:?}", self.os, self.architecture), |own| own.to_string())
    }
}

/// The instructions that made the layers of the image behind `manifest`, base first, as its builder wrote them down; shown
/// to people only. Nothing for a layer that the config does not say it of for sure.
pub fn layer_origins(source: &dyn BlobSource, manifest: &RawManifest) -> Vec<Option<String>> {
    #[derive(Deserialize)]
    struct Recorded {
        #[serde(default)]
        history: Vec<Step>,
    }
    #[derive(Deserialize)]
    struct Step {
        #[serde(default)]
        created_by: String,
        #[serde(default)]
        comment: String,
        #[serde(default)]
        empty_layer: bool,
    }
    // BuildKit's exporter writes entries of its own behind the others until there are as many as layers, where a base says
    // nothing of its own (moby/buildkit exporter/containerimage/writer.go, "normalizeLayersAndHistory").
    const FILLED: &str = "buildkit.exporter.image.v0";
    let ManifestBody::Image { config, layers, .. } = &manifest.parsed else { return Vec::new() };
    let Ok(bytes) = source.read(config, CONFIG_LIMIT) else { return Vec::new() };
    let Ok(recorded) = serde_json::from_slice::<Recorded>(&bytes) else { return Vec::new() };
    let steps: Vec<Step> = recorded.history.into_iter().filter(|step| !step.empty_layer).collect();
    if steps.len() != layers.len() {
        return Vec::new();
    }
    let (filled, known): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| step.comment == FILLED);
    // The entries are those of the last layers then: instructions of this build come after whatever was there.
    let unknown = filled.iter().map(|_| None);
    unknown.chain(known.iter().map(|step| Some(step.created_by.chars().take(200).collect()))).collect()
}

/// The platform that the config of the image behind `manifest` says, normalised.
pub fn platform_of(source: &dyn BlobSource, manifest: &Descriptor) -> Result<Platform, ImageError> {
    ImageConfig::read(source, manifest)?.platform().map_err(|reason| ImageError::Malformed {
        what: "config",
        digest: manifest.digest,
        reason,
    })
}
