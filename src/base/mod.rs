//! Vocabulary: values that validate themselves.
//!
//! In: text and bytes from anywhere. Out: types that cannot hold an invalid value, so that no later room checks again.
//! This room does no I/O, knows no runtime and imports no other room. Terms are those of the OCI specifications and of
//! `docs/glossary.md`.

mod auth;
mod cell;
mod descriptor;
mod digest;
mod epoch;
mod failure;
mod glob;
mod json;
pub mod media_type;
mod platform;
mod prefix;
mod printable;
mod problems;
mod reference;
mod secret;
mod shown_url;
mod size;
mod solve_options;
mod span;
mod suggest;
mod token_server;
mod warning;

pub use auth::{CredentialError, CredentialFuture, CredentialSource, Credentials};
pub use cell::{CellId, CellState, ComponentName, InvalidComponentName};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestHasher, InvalidDigest, has_sha512};
pub use epoch::{Epoch, InvalidEpoch};
pub use failure::{ErrorClass, Failure};
pub use glob::{glob_matches, is_glob};
pub use json::{JsonShape, parse_json};
pub use media_type::MediaKind;
pub use platform::{InvalidPlatform, Platform};
pub use prefix::Prefix;
pub use printable::Printable;
pub use problems::{Problem, Problems};
pub use reference::{InvalidReference, Reference, Repository, Tag};
pub use secret::Secret;
pub use shown_url::shown_url;
pub use size::ByteSize;
pub use solve_options::{CacheSpec, NetworkMode, SolveOptions};
pub use span::{SourceText, Span, Spanned};
pub use suggest::did_you_mean;
pub use token_server::is_token_server_of;
pub use warning::Warning;
