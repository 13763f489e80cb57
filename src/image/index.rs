use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::{ImageConfig, ImageError, ManifestBody, RawManifest, entry_platform, is_attestation};
use crate::base::{Descriptor, MediaKind, Platform, media_type};
use crate::store::Layout;

/// Marks an index entry as an attestation (moby/buildkit docs/attestations/attestation-storage.md).
pub(super) const ATTESTATION_TYPE: &str = "vnd.docker.reference.type";
/// The value of [`ATTESTATION_TYPE`].
pub(super) const ATTESTATION_MANIFEST: &str = "attestation-manifest";
/// Digest of the image that an attestation is about.
pub(super) const ATTESTATION_SUBJECT: &str = "vnd.docker.reference.digest";

/// On an index that holds a subset of an upstream one: the upstream index's digest.
pub const UPSTREAM_DIGEST: &str = "dev.catamaran.upstream.digest";

/// One platform's image for an index.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// The platform that it must be for; compared with the image's config.
    pub platform: Platform,
    /// Its manifest, in the layout.
    pub manifest: Descriptor,
    /// Annotations of its entry; not of the manifest.
    pub annotations: Option<IndexMap<String, String>>,
    /// Attestation manifests about it, in the layout.
    pub attestations: Vec<Descriptor>,
}

/// An index that is in the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// What points to it: media type, digest, size.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[derive(Serialize)]
struct IndexBody<'a> {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'a str,
    manifests: &'a [Descriptor],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// Writes the index of `entries` into the layout; also for one platform.
///
/// Entries are sorted by os, architecture, variant, attestations follow all images in the same order: the order in which
/// cells end changes no byte, equal inputs give an equal digest. Every image's config must say the platform of its entry. An
/// index never holds an index, nor two images for one platform (the first match would silently win).
pub fn assemble_index(
    layout: &Layout,
    mut entries: Vec<IndexEntry>,
    annotations: &BTreeMap<String, String>,
) -> Result<Assembled, ImageError> {
    if entries.is_empty() {
        return Err(ImageError::Empty);
    }
    entries.sort_by(|left, right| left.platform.cmp(&right.platform));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].platform == pair[1].platform) {
        return Err(ImageError::DuplicatePlatform {
            platform: Box::new(pair[0].platform.clone()),
            first: pair[0].manifest.digest,
            second: pair[1].manifest.digest,
        });
    }
    for entry in &entries {
        let config = ImageConfig::read(layout, &entry.manifest)?;
        if !config.is_for(&entry.platform) {
            return Err(ImageError::WrongPlatform {
                digest: entry.manifest.digest,
                wanted: Box::new(entry.platform.clone()),
                found: config.shown(),
            });
        }
    }
    let images = entries.iter().map(|entry| {
        let mut descriptor = entry.manifest.bare();
        descriptor.annotations.clone_from(&entry.annotations);
        descriptor.platform = Some(platform_object(&entry.platform));
        descriptor
    });
    let attestations = entries
        .iter()
        .flat_map(|entry| entry.attestations.iter().map(|attestation| attestation_entry(attestation, &entry.manifest)));
    let manifests: Vec<Descriptor> = images.chain(attestations).collect();
    write_index(layout, &manifests, annotations)
}

fn write_index(
    layout: &Layout,
    manifests: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Assembled, ImageError> {
    let body = IndexBody { schema_version: 2, media_type: media_type::INDEX, manifests, annotations };
    let bytes = serde_json::to_vec(&body).expect("descriptors and string maps always serialise");
    let descriptor = layout.put(media_type::INDEX, &bytes)?;
    Ok(Assembled { descriptor, bytes })
}

/// The platform object of an index entry (image-spec, "image-index"), members in the order in which Go writes them.
fn platform_object(platform: &Platform) -> IndexMap<String, Value> {
    let mut object = IndexMap::new();
    object.insert("architecture".to_owned(), Value::from(platform.architecture()));
    object.insert("os".to_owned(), Value::from(platform.os()));
    if let Some(variant) = platform.variant() {
        object.insert("variant".to_owned(), Value::from(variant));
    }
    object
}

/// An attestation is bound to its image by annotation, and its platform keeps runtimes from choosing it.
fn attestation_entry(attestation: &Descriptor, subject: &Descriptor) -> Descriptor {
    let mut descriptor = attestation.bare();
    descriptor.annotations = Some(IndexMap::from([
        (ATTESTATION_SUBJECT.to_owned(), subject.digest.to_string()),
        (ATTESTATION_TYPE.to_owned(), ATTESTATION_MANIFEST.to_owned()),
    ]));
    descriptor.platform = Some(IndexMap::from([
        ("architecture".to_owned(), Value::from("unknown")),
        ("os".to_owned(), Value::from("unknown")),
    ]));
    descriptor
}

/// What of an upstream index belongs to some platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamPart {
    /// Whether these are all the platforms it has images for: then the index itself stands, byte for byte.
    pub whole: bool,
    /// The entries that have to be in the layout, as upstream has them: for a whole index all of them, attestations and
    /// artifacts too; else the images in the order of their platforms, then the attestations about them.
    pub entries: Vec<Descriptor>,
}

/// The part of an upstream index that `platforms` are.
///
/// An entry that says no platform (an artifact, an attestation) makes no index larger than what is asked for; one for a
/// platform that cannot be named here does, and so does an index within the index, or an entry of an unknown type.
pub fn upstream_part(upstream: &RawManifest, platforms: &[Platform]) -> Result<UpstreamPart, ImageError> {
    let ManifestBody::Index { manifests, .. } = &upstream.parsed else {
        let Descriptor { digest, media_type, .. } = upstream.descriptor.clone();
        return Err(ImageError::NotAnImage { digest, media_type });
    };
    let image_of = |entry: &&Descriptor| entry.kind() == MediaKind::Manifest && !is_attestation(entry);
    let mut wanted: Vec<&Platform> = platforms.iter().collect();
    wanted.sort();
    wanted.dedup();
    let mut chosen = Vec::new();
    for platform in &wanted {
        // First match wins (image-spec, "image-index"), as it does for every puller of the upstream index.
        let is_for = |entry: &&Descriptor| entry_platform(entry) == Some(Ok((*platform).clone()));
        let Some(entry) = manifests.iter().filter(image_of).find(is_for) else {
            let (index, platform) = (upstream.descriptor.digest, Box::new((*platform).clone()));
            return Err(ImageError::NoSuchPlatform { index, platform });
        };
        chosen.push(entry.clone());
    }
    let asked_for = |entry: &Descriptor| match entry_platform(entry) {
        Some(Ok(platform)) => wanted.contains(&&platform),
        Some(Err(_)) => false,
        None => true,
    };
    if manifests.iter().all(|entry| entry.kind() == MediaKind::Manifest && (is_attestation(entry) || asked_for(entry)))
    {
        return Ok(UpstreamPart { whole: true, entries: manifests.clone() });
    }
    let subjects: Vec<String> = chosen.iter().map(|entry| entry.digest.to_string()).collect();
    for subject in subjects {
        let about = |entry: &&Descriptor| entry.annotation(ATTESTATION_SUBJECT) == Some(subject.as_str());
        chosen.extend(manifests.iter().filter(|entry| is_attestation(entry)).filter(about).cloned());
    }
    Ok(UpstreamPart { whole: false, entries: chosen })
}

/// The index of just `platforms` of an upstream index that is in the layout.
///
/// Where that is every image of it, the upstream index itself, byte for byte. Otherwise a new index with the upstream's
/// entries as they stand, the attestations about them, and the upstream's digest as annotation [`UPSTREAM_DIGEST`]. The
/// blobs of the entries need not be in the layout.
pub fn subset_index(layout: &Layout, upstream: &Descriptor, platforms: &[Platform]) -> Result<Assembled, ImageError> {
    let raw = RawManifest::read(layout, upstream)?;
    let part = upstream_part(&raw, platforms)?;
    if part.whole {
        return Ok(Assembled { descriptor: upstream.bare(), bytes: raw.bytes });
    }
    let annotations = BTreeMap::from([(UPSTREAM_DIGEST.to_owned(), upstream.digest.to_string())]);
    write_index(layout, &part.entries, &annotations)
}
