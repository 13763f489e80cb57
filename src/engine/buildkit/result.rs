use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::named::{config_is_for, entry_platform, is_attestation, read_document};
use crate::base::{Descriptor, MediaKind, Platform};
use crate::engine::EngineError;
use crate::store::{Layout, StoreError};

/// The key of the root's descriptor in the exporter's answer (moby/buildkit exporter/containerimage/exptypes).
const DESCRIPTOR: &str = "containerimage.descriptor";

/// What a solve left in the layout.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) manifest: Descriptor,
    pub(super) platform: Platform,
    pub(super) attestations: Vec<Descriptor>,
}

/// Finds the image of `wanted` in a solve's answer, and proves that everything it refers to is in the layout.
///
/// That the solve ended well proves nothing: an old daemon that did not understand the exporter ends well too.
pub(super) fn read(
    layout: &Layout,
    response: &HashMap<String, String>,
    wanted: &Platform,
) -> Result<Found, EngineError> {
    let root = root(response)?;
    let (manifest, attestations) = match root.kind() {
        MediaKind::Manifest => (root, Vec::new()),
        // What the root is tells its media type alone, never the request: a frontend may answer with an index of one.
        MediaKind::Index => choose(layout, &root, wanted)?,
        MediaKind::Config | MediaKind::Blob => {
            return Err(bad(format!("its root is of type `{}`", root.media_type)));
        }
    };
    let document = read_document(layout, &manifest)?;
    let config =
        document.config.as_ref().ok_or_else(|| bad(format!("manifest `{}` has no config", manifest.digest)))?;
    for blob in &document.layers {
        present(layout, blob)?;
    }
    for attestation in &attestations {
        let document = read_document(layout, attestation)?;
        document.config.iter().chain(&document.layers).try_for_each(|blob| present(layout, blob))?;
    }
    // The daemon only warns when a `FROM --platform` led it elsewhere.
    config_is_for(layout, config, wanted)?.map_err(|says| wrong(wanted, says))?;
    Ok(Found { manifest: manifest.bare(), platform: wanted.clone(), attestations })
}

fn bad(reason: String) -> EngineError {
    EngineError::BadResult { reason }
}

fn wrong(wanted: &Platform, found: String) -> EngineError {
    EngineError::WrongPlatform { wanted: wanted.clone(), found }
}

fn root(response: &HashMap<String, String>) -> Result<Descriptor, EngineError> {
    let text = response.get(DESCRIPTOR).ok_or_else(|| bad(format!("its answer has no `{DESCRIPTOR}`")))?;
    let json = STANDARD.decode(text).map_err(|error| bad(format!("`{DESCRIPTOR}` is no base64: {error}")))?;
    serde_json::from_slice(&json).map_err(|error| bad(format!("`{DESCRIPTOR}` is no descriptor: {error}")))
}

/// The manifest of `wanted` in an index, and what attests it.
fn choose(
    layout: &Layout,
    index: &Descriptor,
    wanted: &Platform,
) -> Result<(Descriptor, Vec<Descriptor>), EngineError> {
    let entries = read_document(layout, index)?.manifests;
    let images: Vec<&Descriptor> = entries.iter().filter(|entry| !is_attestation(entry)).collect();
    let Some(image) = images.iter().find(|entry| entry_platform(entry).as_ref() == Some(wanted)) else {
        let found: Vec<String> =
            images.iter().filter_map(|entry| entry_platform(entry)).map(|p| p.to_string()).collect();
        return Err(wrong(wanted, if found.is_empty() { "no platform".to_owned() } else { found.join(", ") }));
    };
    let digest = image.digest.to_string();
    let attests = |entry: &&Descriptor| {
        is_attestation(entry) && entry.annotation("vnd.docker.reference.digest") == Some(digest.as_str())
    };
    Ok(((*image).clone(), entries.iter().filter(attests).cloned().collect()))
}

fn present(layout: &Layout, blob: &Descriptor) -> Result<(), EngineError> {
    match layout.has(blob) {
        Ok(true) => Ok(()),
        Ok(false) => Err(EngineError::Store(StoreError::Missing { digest: blob.digest })),
        Err(error) => Err(EngineError::Store(error)),
    }
}

#[cfg(test)]
mod tests;
