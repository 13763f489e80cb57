//! The distribution protocol, client side: publishes releases to registries and reads images from them.
//!
//! In: root descriptors in a layout with the repositories and tags they go to, or references to read. Out: a
//! [`PushReceipt`], or blobs in the layout. Follows distribution-spec 1.1 and, for authentication, the token
//! specification of the distribution project; every departure that a registry in use shows is named where it is handled
//! and has a test. This room must not know what builds, assembles or bundles: it moves bytes that are right already.
//!
//! ```text
//! push ─> closure ─> mount_plan ─> upload | blob (mount) ─> manifest ─> tags ─> readback ─> receipt
//!                        all of them speak through client ─> transport ─> auth
//! ```

mod auth;
mod client;
mod error;
mod options;
mod push;
mod receipt;

pub use auth::CredentialFiles;
pub use client::{Fetched, RegistryClient, Resolved};
pub use error::{Answer, RegistryError};
pub use options::{NoCredentials, RegistryOptions, RetryPolicy, Timeouts};
pub use push::{Release, ReleaseItem, push};
pub use receipt::{Confirmation, PushReceipt, RepositoryReceipt, TagChange, TagReceipt};
