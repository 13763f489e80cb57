//! Who we are to a registry: challenges, tokens, and the files and helpers that hold credentials.

mod challenge;
mod credentials;
mod helper;
mod realm;
mod scope;
mod token;

pub use credentials::CredentialFiles;
pub(super) use scope::Scopes;
pub(super) use token::HostAuth;
