use super::{RegistryError, RegistryOptions};
use crate::base::{Descriptor, Digest, Platform, Reference, Repository};
use crate::store::Layout;

/// Speaks to registries. Cheap to clone; one for the whole run, so that connections, tokens and pauses are shared.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    options: RegistryOptions,
}

/// A manifest or index as a registry served it, its digest checked.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes, never re-serialised.
    pub bytes: bytes::Bytes,
}

/// What a reference means for one platform.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What the reference itself points to: an index or a manifest.
    pub root: Fetched,
    /// The image manifest of the platform.
    pub manifest: Fetched,
}

impl RegistryClient {
    /// A client with these options. Reads the certificate files, connects to nothing.
    ///
    /// The process must have chosen its TLS implementation before (`rustls::crypto::CryptoProvider::install_default`).
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        Ok(Self { options })
    }

    /// The options it was made with.
    pub fn options(&self) -> &RegistryOptions {
        &self.options
    }

    /// The manifest or index that `reference` points to (`latest` where it says neither tag nor digest).
    pub async fn fetch_manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        Err(RegistryError::Setup { reason: format!("`{reference}`: reading is not there yet") })
    }

    /// What `reference` means for `platform`: through its index, or itself if its config says that platform.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        Err(RegistryError::Setup { reason: format!("`{reference}` ({platform}): reading is not there yet") })
    }

    /// Brings a blob into the layout, verified while it streams; nothing moves if it is there.
    pub async fn fetch_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        layout: &Layout,
    ) -> Result<(), RegistryError> {
        let _ = layout;
        Err(RegistryError::Setup { reason: format!("`{repository}@{}`: reading is not there yet", descriptor.digest) })
    }

    /// The digest that `reference` shows now, or `None` if the registry does not have it.
    pub async fn digest_of(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        Err(RegistryError::Setup { reason: format!("`{reference}`: reading is not there yet") })
    }
}
