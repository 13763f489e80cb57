use serde::Deserialize;
use serde_json::Value;

use crate::base::{Descriptor, MediaKind, Platform, Printable};
use crate::dockerfile::context_name;
use crate::engine::{BuildRequest, EngineError, NamedContext};
use crate::store::{BlobSource, Layout};

/// A manifest, index or config that is read whole may weigh this much (distribution-spec: 4 MiB is the least that must be
/// accepted, and the most that the daemon reads of a named context's root).
pub(super) const DOCUMENT_LIMIT: u64 = 4 << 20;

/// A named context that is an image of the layout, ready to be named to the frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedImage {
    /// The name as the frontend looks it up, with the platform where the image has but one.
    pub(super) key: String,
    /// Its root.
    pub(super) root: Descriptor,
}

/// The parts of a manifest or index that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

/// Checks that the request's images are there, and that each is for the platform that it is named for.
///
/// The daemon takes a manifest of any architecture as a base without a word, and the mistake would show only in what runs.
pub(super) async fn check(layout: &Layout, request: &BuildRequest) -> Result<Vec<NamedImage>, EngineError> {
    let (layout, contexts) = (layout.clone(), request.contexts.clone());
    let check = move || {
        contexts
            .iter()
            .filter_map(|context| match context {
                NamedContext::Image { name, platform, descriptor } => Some((name, platform, descriptor)),
                NamedContext::Directory { .. } | NamedContext::Remote { .. } => None,
            })
            .map(|(name, wanted, descriptor)| check_image(&layout, name, descriptor, wanted))
            .collect()
    };
    tokio::task::spawn_blocking(check)
        .await
        .unwrap_or_else(|error| Err(EngineError::BadResult { reason: error.to_string() }))
}

fn check_image(layout: &Layout, name: &str, root: &Descriptor, wanted: &Platform) -> Result<NamedImage, EngineError> {
    let document = read_document(layout, root)?;
    let wrong = |found: String| EngineError::WrongBase {
        name: name.to_owned(),
        wanted: Box::new(wanted.clone()),
        found,
        span: None,
    };
    if let Some(config) = &document.config {
        config_is_for(layout, config, wanted)?.map_err(wrong)?;
        return Ok(NamedImage { key: format!("{}::{wanted}", context_name(name)), root: root.clone() });
    }
    let platforms: Vec<Platform> = document.manifests.iter().filter_map(entry_platform).collect();
    if !platforms.contains(wanted) {
        let found = platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ");
        return Err(wrong(if found.is_empty() { "no platform".to_owned() } else { found }));
    }
    // The daemon chooses the entry of each stage's platform.
    Ok(NamedImage { key: context_name(name), root: root.clone() })
}

/// Reads a manifest or index, verified.
pub(super) fn read_document(layout: &Layout, descriptor: &Descriptor) -> Result<Document, EngineError> {
    let bytes = layout.read(descriptor, DOCUMENT_LIMIT).map_err(EngineError::Store)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| EngineError::BadResult { reason: format!("`{}` is no manifest: {error}", descriptor.digest) })
}

/// Whether a config says that its image is for `wanted` ([`Platform::is_said_by`]); the inner error is what it says instead.
pub(super) fn config_is_for(
    layout: &Layout,
    config: &Descriptor,
    wanted: &Platform,
) -> Result<Result<(), String>, EngineError> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        os: String,
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        variant: Option<String>,
    }
    let bytes = layout.read(config, DOCUMENT_LIMIT).map_err(EngineError::Store)?;
    let config: Config = serde_json::from_slice(&bytes).map_err(|error| EngineError::BadResult {
        reason: format!("`{}` is no image config: {error}", config.digest),
    })?;
    let Config { os, architecture, variant } = config;
    if wanted.is_said_by(&os, &architecture, variant.as_deref()) {
        return Ok(Ok(()));
    }
    Ok(Err(Platform::from_parts(&os, &architecture, variant.as_deref().filter(|variant| !variant.is_empty()))
        .map_or_else(|_| Printable(&format!("{os}/{architecture}")).to_string(), |says| says.to_string())))
}

/// The platform of an index entry, where it is one of an image.
pub(super) fn entry_platform(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform.as_ref()?;
    let text = |key: &str| platform.get(key).and_then(Value::as_str);
    Platform::from_parts(text("os")?, text("architecture")?, text("variant").filter(|variant| !variant.is_empty())).ok()
}

/// Whether an index entry holds attestations of another one.
pub(super) fn is_attestation(entry: &Descriptor) -> bool {
    entry.kind() == MediaKind::Manifest && entry.annotation("vnd.docker.reference.type") == Some("attestation-manifest")
}
