//! Manifests, configs and indexes as bytes.
//!
//! In: descriptors and the blobs behind them. Out: what they say, everything they refer to, and the indexes that catamaran
//! writes itself. What others wrote is read, kept and passed on byte for byte, never serialised again: a digest belongs to
//! bytes, not to meaning. This room must not know engines, registries or the network. Follows image-spec "manifest",
//! "image-index" and "config".

mod closure;
mod config;
mod error;
mod index;
mod manifest;
mod names;

pub use closure::{children, closure};
pub use config::{ImageConfig, layer_origins, platform_of};
pub use error::ImageError;
pub use index::{Assembled, IndexEntry, UPSTREAM_DIGEST, UpstreamPart, assemble_index, subset_index, upstream_part};
pub use manifest::{MANIFEST_LIMIT, ManifestBody, RawManifest, attestation_subject, entry_platform, is_attestation};
pub use names::{NAME_ANNOTATIONS, doubled_names, named_entry, names, publish_name, publish_names, unpublish};

#[cfg(test)]
mod tests;
