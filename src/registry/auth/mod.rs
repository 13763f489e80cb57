//! Who we are to a registry: challenges, tokens, and the files and helpers that hold credentials.

mod credentials;

pub use credentials::CredentialFiles;
