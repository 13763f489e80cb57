//! Manifests and indexes as bytes.
