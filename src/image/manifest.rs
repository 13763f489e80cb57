use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ImageError;
use crate::base::{Descriptor, Digest, JsonShape, MediaKind, Platform, has_sha512, media_type, parse_json};
use crate::store::BlobSource;

/// The largest manifest or index that is read, in bytes, from a layout or a registry. distribution-spec ("Pushing Manifests")
/// lets registries refuse more than 4 MiB; twice that is read.
pub const MANIFEST_LIMIT: u64 = 8 << 20;

/// A manifest or index: the bytes as they came, and what they say. Never serialised again.
#[derive(Debug, Clone)]
pub struct RawManifest {
    /// What points to it.
    pub descriptor: Descriptor,
    /// Its bytes; their digest is the descriptor's.
    pub bytes: Vec<u8>,
    /// What the bytes say.
    pub parsed: ManifestBody,
}

/// What a manifest or index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestBody {
    /// An image index or manifest list.
    Index {
        /// Its entries, in their order.
        manifests: Vec<Descriptor>,
        /// Its annotations.
        annotations: IndexMap<String, String>,
    },
    /// An image manifest, or an artifact in its form.
    Image {
        /// The config.
        config: Box<Descriptor>,
        /// The layers, base first.
        layers: Vec<Descriptor>,
        /// What it is about, where it is a referrer. May dangle, so it is no part of the closure.
        subject: Option<Box<Descriptor>>,
        /// Its annotations.
        annotations: IndexMap<String, String>,
    },
}

/// Names that decide what a manifest refers to. Annotations are the user's own names and stay out of it.
const SHAPE: JsonShape = JsonShape {
    names: &[
        "schemaVersion",
        "mediaType",
        "artifactType",
        "manifests",
        "config",
        "layers",
        "subject",
        "annotations",
        "digest",
        "size",
        "platform",
        "architecture",
        "os",
        "variant",
        "fsLayers",
    ],
    structural: &["manifests", "config", "layers", "subject", "platform"],
};

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "schemaVersion")]
    schema_version: u64,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Box<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
    subject: Option<Box<Descriptor>>,
    annotations: Option<IndexMap<String, String>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

impl RawManifest {
    /// Reads and verifies the manifest or index behind `descriptor`, at most [`MANIFEST_LIMIT`] bytes.
    pub fn read(source: &dyn BlobSource, descriptor: &Descriptor) -> Result<Self, ImageError> {
        if !matches!(descriptor.kind(), MediaKind::Index | MediaKind::Manifest) {
            return Err(ImageError::NotAnImage {
                digest: descriptor.digest,
                media_type: descriptor.media_type.clone(),
            });
        }
        let bytes = source.read(descriptor, MANIFEST_LIMIT)?;
        let parsed = parse(&bytes, &descriptor.media_type, &descriptor.digest)?;
        Ok(Self { descriptor: descriptor.clone(), bytes, parsed })
    }

    /// Takes bytes of `media_type` that came from elsewhere; the descriptor is made from them.
    pub fn parse(bytes: Vec<u8>, media_type: &str) -> Result<Self, ImageError> {
        let descriptor = Descriptor::of(media_type, &bytes);
        let parsed = parse(&bytes, media_type, &descriptor.digest)?;
        Ok(Self { descriptor, bytes, parsed })
    }

    /// Everything it refers to directly: an index's entries; a manifest's config, then its layers.
    pub fn children(&self) -> Vec<Descriptor> {
        match &self.parsed {
            ManifestBody::Index { manifests, .. } => manifests.clone(),
            ManifestBody::Image { config, layers, .. } => {
                std::iter::once((**config).clone()).chain(layers.iter().cloned()).collect()
            }
        }
    }
}

/// Parses `bytes` as what `media_type` says, and refuses a body that another reader could take for the other kind.
///
/// A body with the members of both an index and a manifest was CVE-2021-41190: two tools saw two images under one digest.
fn parse(bytes: &[u8], media_type: &str, digest: &Digest) -> Result<ManifestBody, ImageError> {
    let kind = MediaKind::of(media_type);
    let what = if kind == MediaKind::Index { "index" } else { "manifest" };
    let malformed = |reason: String| ImageError::Malformed { what, digest: *digest, reason };
    let body: Body = parse_json(bytes, &SHAPE).map_err(|error| {
        if has_sha512(bytes) { ImageError::Sha512 { what, digest: *digest } } else { malformed(error.to_string()) }
    })?;
    if body.schema_version != 2 || body.fs_layers.is_some() {
        return Err(malformed(format!("schemaVersion is {}, only 2 is understood", body.schema_version)));
    }
    if let Some(inner) = &body.media_type
        && inner != media_type
    {
        return Err(malformed(format!("it says its type is `{inner}`, its descriptor says `{media_type}`")));
    }
    let annotations = body.annotations.unwrap_or_default();
    let parsed = match (kind, body.manifests, body.config, body.layers) {
        (MediaKind::Index, Some(manifests), None, None) => ManifestBody::Index { manifests, annotations },
        (MediaKind::Manifest, None, Some(config), Some(layers)) => {
            ManifestBody::Image { config, layers, subject: body.subject, annotations }
        }
        (MediaKind::Index | MediaKind::Manifest, Some(_), config, layers) if config.is_some() || layers.is_some() => {
            return Err(malformed("it has the members of an index and of a manifest".to_owned()));
        }
        (MediaKind::Index, ..) => return Err(malformed("it has no `manifests`".to_owned())),
        (MediaKind::Manifest, ..) => return Err(malformed("it has no `config` or no `layers`".to_owned())),
        (MediaKind::Config | MediaKind::Blob, ..) => {
            return Err(ImageError::NotAnImage { digest: *digest, media_type: media_type.to_owned() });
        }
    };
    match &parsed {
        ManifestBody::Index { manifests, .. } => check_sizes(manifests),
        ManifestBody::Image { config, layers, .. } => check_sizes(layers).and(check_sizes([&**config])),
    }
    .map_err(malformed)?;
    Ok(parsed)
}

/// Sizes are int64 for every other reader (image-spec, "descriptor").
fn check_sizes<'a>(descriptors: impl IntoIterator<Item = &'a Descriptor>) -> Result<(), String> {
    match descriptors.into_iter().find(|descriptor| i64::try_from(descriptor.size).is_err()) {
        Some(huge) => Err(format!("`{}` has an impossible size of {}", huge.digest, huge.size)),
        None => Ok(()),
    }
}

/// The platform of an index entry. `None`: it has none, or says `unknown/unknown` as attestations do.
///
/// A platform that this version does not know is an error's text, since what cannot be named cannot be compared.
pub fn entry_platform(entry: &Descriptor) -> Option<Result<Platform, String>> {
    let platform = entry.platform.as_ref()?;
    let text = |name: &str| platform.get(name).and_then(serde_json::Value::as_str);
    let (os, architecture) = (text("os").unwrap_or_default(), text("architecture").unwrap_or_default());
    if os == "unknown" && architecture == "unknown" {
        return None;
    }
    Some(Platform::from_parts(os, architecture, text("variant")).map_err(|error| error.to_string()))
}

/// Whether an index entry is an attestation about another entry, as `BuildKit` writes them (docs/attestations/
/// attestation-storage.md): an image manifest by type, but nothing that runs.
pub fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotation(super::index::ATTESTATION_TYPE) == Some(super::index::ATTESTATION_MANIFEST)
        || entry.artifact_type.as_deref() == Some(media_type::IN_TOTO)
}

/// The image that an index entry is an attestation about, where it says so.
pub fn attestation_subject(entry: &Descriptor) -> Option<Digest> {
    entry.annotation(super::index::ATTESTATION_SUBJECT)?.parse().ok().filter(|_| is_attestation(entry))
}
