use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::BundleError;
use super::contents::{ContentsLock, LockedBlob, LockedFile, LockedImage, LockedPlatform, MissingCell, SCHEMA};
use super::docker_view::docker_view;
use super::header::{EntryName, SIZE_LIMIT};
use super::writer::{BundleContents, BundleEntry};
use crate::base::{ComponentName, Descriptor, Digest, MediaKind, Platform, media_type};
use crate::image::{
    ImageConfig, ImageError, ManifestBody, RawManifest, closure, entry_platform, is_attestation, named_entry,
};
use crate::store::{BlobSource, StoreError};

/// Everything that is written, known before the first byte: names, order, sizes.
pub(super) struct BundlePlan {
    /// The contents lock.
    pub(super) lock: ContentsLock,
    /// The files before the blobs, in their order.
    pub(super) files: Vec<(EntryName, Vec<u8>)>,
    /// The blobs in their order.
    pub(super) blobs: Vec<LockedBlob>,
    /// Bytes that the images have when each is counted on its own.
    pub(super) unshared_bytes: u64,
    /// Things that a person should know and that stop nothing.
    pub(super) warnings: Vec<String>,
}

/// The stamp of an incomplete bundle in `index.json`, where tools that show annotations show it.
const STAMP: &str = "dev.catamaran.stamp";
const STAMP_MISSING: &str = "dev.catamaran.missing";

const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

#[derive(Serialize)]
struct IndexFile {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: &'static str,
    manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

/// Reads all manifests and finds every blob. Refuses what is missing, misnamed, or for another platform than it says.
pub(super) fn plan(source: &dyn BlobSource, contents: &BundleContents) -> Result<BundlePlan, BundleError> {
    let mut entries: Vec<&BundleEntry> = contents.entries.iter().collect();
    entries.sort_by_cached_key(|entry| entry.reference.to_string());
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].reference == pair[1].reference) {
        return Err(BundleError::DuplicateName { reference: Box::new(pair[0].reference.clone()) });
    }
    let mut gathered = Gathered { source, blobs: BTreeMap::new(), unshared_bytes: 0, warnings: Vec::new() };
    let mut images = Vec::new();
    for entry in &entries {
        if entry.reference.digest().is_some() {
            return Err(BundleError::BadName { reference: Box::new(entry.reference.clone()), source: None });
        }
        images.push(gathered.image(entry)?);
    }
    let missing: BTreeSet<MissingCell> = contents
        .incomplete
        .iter()
        .map(|cell| MissingCell { component: cell.component.clone(), platform: cell.platform.clone() })
        .collect();
    let index = index_file(&entries, &missing);
    let view = docker_view(&images, &contents.default_platform)?;
    let mut files =
        vec![(EntryName::Marker, MARKER.to_vec()), (EntryName::Index, index), (EntryName::DockerView, view)];
    let locked_file = |(name, bytes): &(EntryName, Vec<u8>)| LockedFile {
        name: name.text(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    };
    let blobs: Vec<LockedBlob> =
        gathered.blobs.iter().map(|(digest, size)| LockedBlob { digest: *digest, size: *size }).collect();
    let lock = ContentsLock {
        schema: SCHEMA.to_owned(),
        project: contents.project.clone(),
        tag: contents.tag.clone(),
        complete: missing.is_empty(),
        subset: contents.subset,
        missing: missing.into_iter().collect(),
        default_platform: contents.default_platform.clone(),
        images,
        files: files.iter().map(locked_file).collect(),
        blobs: blobs.clone(),
    };
    files.push((EntryName::Lock, lock.to_bytes()));
    Ok(BundlePlan { lock, files, blobs, unshared_bytes: gathered.unshared_bytes, warnings: gathered.warnings })
}

fn index_file(entries: &[&BundleEntry], missing: &BTreeSet<MissingCell>) -> Vec<u8> {
    let mut annotations = BTreeMap::new();
    if !missing.is_empty() {
        let cells: Vec<String> = missing.iter().map(|cell| format!("{}/{}", cell.component, cell.platform)).collect();
        annotations.insert(STAMP, "INCOMPLETE".to_owned());
        annotations.insert(STAMP_MISSING, cells.join(","));
    }
    let file = IndexFile {
        schema_version: 2,
        media_type: media_type::INDEX,
        manifests: entries.iter().map(|entry| named_entry(&entry.reference, &entry.index)).collect(),
        annotations,
    };
    serde_json::to_vec(&file).expect("descriptors and strings always serialise")
}

struct Gathered<'a> {
    source: &'a dyn BlobSource,
    blobs: BTreeMap<Digest, u64>,
    unshared_bytes: u64,
    warnings: Vec<String>,
}

impl Gathered<'_> {
    fn image(&mut self, entry: &BundleEntry) -> Result<LockedImage, BundleError> {
        let name = &entry.component;
        let raw = RawManifest::read(self.source, &entry.index).map_err(|error| about(name, None, error))?;
        let ManifestBody::Index { manifests, .. } = &raw.parsed else {
            let media_type = entry.index.media_type.clone();
            return Err(about(name, None, ImageError::NotAnImage { digest: entry.index.digest, media_type }));
        };
        let mut platforms = Vec::new();
        for child in manifests {
            let platform = match entry_platform(child) {
                Some(Ok(platform)) if child.kind() == MediaKind::Manifest && !is_attestation(child) => Some(platform),
                _ => None,
            };
            self.closure(name, platform.as_ref(), child)?;
            if let Some(platform) = platform {
                platforms.push(self.platform(name, platform, child)?);
            }
        }
        self.closure(name, None, &entry.index)?;
        if platforms.is_empty() {
            return Err(about(name, None, ImageError::Empty));
        }
        let index = entry.index.digest;
        Ok(LockedImage {
            component: name.clone(),
            reference: entry.reference.clone(),
            path: entry.path.clone(),
            index,
            platforms,
            foreign: entry.foreign.clone(),
        })
    }

    fn platform(
        &mut self,
        name: &ComponentName,
        platform: Platform,
        manifest: &Descriptor,
    ) -> Result<LockedPlatform, BundleError> {
        let failed = |error| about(name, Some(&platform), error);
        let raw = RawManifest::read(self.source, manifest).map_err(failed)?;
        let facts = ImageConfig::of(self.source, &raw).map_err(failed)?;
        if !facts.is_for(&platform) {
            let found = facts.shown();
            let wanted = Box::new(platform.clone());
            return Err(failed(ImageError::WrongPlatform { digest: manifest.digest, wanted, found }));
        }
        let ManifestBody::Image { config, layers, .. } = &raw.parsed else {
            let media_type = manifest.media_type.clone();
            return Err(failed(ImageError::NotAnImage { digest: manifest.digest, media_type }));
        };
        if layers.iter().any(|layer| layer.media_type == media_type::LAYER_ZSTD) {
            let cell = format!("{name}/{}", platform.short());
            self.warnings.push(format!("{cell} has layers compressed with zstd, which Docker 20.10 cannot load"));
        }
        let layers = layers.iter().map(|layer| layer.digest).collect();
        Ok(LockedPlatform { platform, manifest: manifest.digest, config: config.digest, layers })
    }

    /// Adds everything reachable from `root`, having looked that it is there.
    fn closure(
        &mut self,
        name: &ComponentName,
        platform: Option<&Platform>,
        root: &Descriptor,
    ) -> Result<(), BundleError> {
        let failed = |error| about(name, platform, error);
        for blob in closure(self.source, root).map_err(failed)? {
            let found = self.source.size_of(&blob.digest).map_err(|error| failed(error.into()))?;
            match found {
                None => return Err(failed(StoreError::Missing { digest: blob.digest }.into())),
                Some(found) if found != blob.size => {
                    let (digest, expected) = (blob.digest, blob.size);
                    return Err(failed(StoreError::WrongSize { digest, expected, found }.into()));
                }
                Some(_) => {}
            }
            if blob.size > SIZE_LIMIT {
                return Err(BundleError::TooLarge { digest: blob.digest, size: blob.size });
            }
            if platform.is_some() {
                self.unshared_bytes = self.unshared_bytes.saturating_add(blob.size);
            }
            self.blobs.insert(blob.digest, blob.size);
        }
        Ok(())
    }
}

/// An image's error with the cell that it breaks.
fn about(component: &ComponentName, platform: Option<&Platform>, error: ImageError) -> BundleError {
    let component = component.clone();
    let platform = platform.cloned().map(Box::new);
    match error {
        ImageError::Store(StoreError::Missing { digest }) => BundleError::Missing { component, platform, digest },
        source => BundleError::Image { component, platform, source: Box::new(source) },
    }
}
