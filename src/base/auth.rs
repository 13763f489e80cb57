use std::fmt;
use std::pin::Pin;

use super::Secret;

/// What proves an identity to one registry host.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password or access token, for basic authentication or a token request.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token, as credential helpers hand out under the name `<token>`.
    IdentityToken(Secret),
    /// A bearer token for the registry itself, used as it is.
    RegistryToken(Secret),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username}, ***)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(***)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(***)"),
        }
    }
}

/// Why credentials could not be looked up. Having none is not an error.
#[derive(Debug, thiserror::Error)]
#[error("cannot look up credentials for `{host}`: {reason}")]
pub struct CredentialError {
    /// The registry host.
    pub host: String,
    /// What went wrong, without any secret.
    pub reason: String,
}

/// The future of a credential lookup.
pub type CredentialFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Credentials>, CredentialError>> + Send + 'a>>;

/// Finds credentials for a registry host and repository.
///
/// Implemented by `registry::auth` over docker's and podman's files and their helpers; used by the registry client and by
/// the BuildKit session, which must not know each other.
pub trait CredentialSource: Send + Sync {
    /// Credentials for `host` (`registry.example.com:5000`; Docker Hub is `docker.io`) and, where entries are
    /// path-scoped, `repository`. `None` means anonymous.
    fn credentials<'a>(&'a self, host: &'a str, repository: Option<&'a str>) -> CredentialFuture<'a>;

    /// Where this source looks, for people whose login was not found. Names no secret.
    fn places(&self) -> Vec<String> {
        Vec::new()
    }
}
