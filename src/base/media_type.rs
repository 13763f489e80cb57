//! The media types that catamaran reads and writes (image-spec media-types; Docker's image manifest v2, schema 2).

/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The empty JSON object, config of artifacts.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// An in-toto statement, layer of an attestation manifest.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's gzip layer.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What a descriptor points to, judged by its media type alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// An image index or manifest list.
    Index,
    /// An image manifest (or an artifact in its form).
    Manifest,
    /// An image config.
    Config,
    /// Anything else: layers, attestations, unknown types.
    Blob,
}

impl MediaKind {
    /// The kind of `media_type`; unknown types are blobs, never an error (image-spec: "unknown media types MUST NOT…").
    pub fn of(media_type: &str) -> Self {
        match media_type {
            INDEX | DOCKER_LIST => Self::Index,
            MANIFEST | DOCKER_MANIFEST => Self::Manifest,
            CONFIG | DOCKER_CONFIG => Self::Config,
            _ => Self::Blob,
        }
    }
}
