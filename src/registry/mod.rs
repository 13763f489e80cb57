//! The distribution protocol, client side: publishes releases to registries and reads images from them.
//!
//! In: root descriptors in a layout with the repositories and tags they go to, or references to read. Out: a
//! [`PushReceipt`], or blobs in the layout. Follows distribution-spec 1.1 and, for authentication, the token
//! specification of the distribution project; every departure that a registry in use shows is named where it is handled
//! and has a test. This room must not know what builds, assembles or bundles: it moves bytes that are right already.
//!
//! ```text
//! settle ─> push ─> closure ─> transfer (mount_plan ─> blob, upload, chunked) ─> manifest ─> readback ─> tags ─> receipt
//!    └── journal: tags that move, uploads that are open (sessions), what was read back
//!            all of them ask through transport (pace, trouble, redirects) ─> auth ─> the wire
//! ```

mod auth;
mod blob;
mod call;
mod certificates;
mod chunked;
mod client;
mod closure;
mod doorstep;
mod error;
mod forecast;
mod host;
mod journal;
mod manifest;
mod meter;
mod mount_plan;
mod options;
mod pace;
mod push;
mod rate;
mod readback;
mod receipt;
mod referrers;
mod resolve;
mod response;
mod sessions;
mod settle;
mod source;
mod sources;
mod tags;
mod transfer;
mod transport;
mod trouble;
mod upload;

pub use auth::CredentialFiles;
pub use certificates::HostCertificates;
pub use client::RegistryClient;
pub use error::{Answer, RegistryError};
pub use forecast::{PushForecast, RegistryForecast, forecast};
pub use host::{answers_in_plain, is_loopback, without_port};
pub use journal::{Journal, MovingTag};
pub use manifest::Fetched;
pub use meter::Meter;
pub use options::{NoCredentials, RegistryOptions, RetryPolicy, Timeouts};
pub use push::{PushOptions, Release, ReleaseItem, push, push_with};
pub use receipt::{Confirmation, PushReceipt, RepositoryReceipt, TagChange, TagReceipt};
pub use referrers::{Listing, referrers_tag};
pub use resolve::Resolved;
pub use settle::{Settled, Settlement, settle};
pub use source::PushSource;
pub use sources::PullSources;
