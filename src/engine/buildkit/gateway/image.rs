use serde::Deserialize;

use crate::base::Descriptor;
use crate::engine::EngineError;
use crate::engine::buildkit::named::{DOCUMENT_LIMIT, read_document};
use crate::store::{BlobSource, Layout};

/// What an image says about how it runs (image-spec config.md). The daemon applies none of it to a container of the gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct RunConfig {
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) env: Option<Vec<String>>,
    pub(super) working_dir: String,
    pub(super) user: String,
}

impl RunConfig {
    /// Reads it from the image of `manifest`.
    pub(super) fn read(layout: &Layout, manifest: &Descriptor) -> Result<Self, EngineError> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            config: Option<RunConfig>,
        }
        let document = read_document(layout, manifest)?;
        let config = document
            .config
            .ok_or_else(|| EngineError::BadResult { reason: format!("`{}` is no image", manifest.digest) })?;
        let bytes = layout.read(&config, DOCUMENT_LIMIT).map_err(EngineError::Store)?;
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| EngineError::BadResult {
            reason: format!("`{}` is no image config: {error}", config.digest),
        })?;
        Ok(config.config.unwrap_or_default())
    }

    /// What runs: entrypoint, then command, as every runtime puts them together.
    pub(super) fn args(&self) -> Vec<String> {
        self.entrypoint.iter().flatten().chain(self.cmd.iter().flatten()).cloned().collect()
    }
}
