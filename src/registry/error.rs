use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::{CredentialError, ErrorClass, Failure, Printable};
use crate::store::StoreError;

/// Why a registry could not be read or written.
///
/// Retries have happened before any of these is returned. No variant holds a credential, a token or a signed URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The client itself cannot be made.
    #[error("cannot set up the registry client: {reason}")]
    Setup {
        /// What is missing or wrong.
        reason: String,
    },
    /// A file with certificate authorities cannot be used.
    #[error("cannot use the certificate file `{}`", .path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A file that says where to pull from cannot be used.
    #[error("cannot use `{}`: {reason}", .path.display())]
    Sources {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable that should name a proxy does not.
    #[error("`{variable}` names no proxy")]
    Proxy {
        /// The variable. Its value may hold a password.
        variable: String,
    },
    /// A name that no registry can take, or that names no registry.
    #[error("cannot use `{name}`: {reason}")]
    Name {
        /// The reference or repository as written.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The registry wants other credentials than there are.
    #[error("`{host}` does not let us {action}: {reason}")]
    Auth {
        /// The registry.
        host: String,
        /// What was to be done: `push to fleet/nginx`.
        action: String,
        /// In which way credentials are missing or refused.
        reason: String,
        /// Where credentials were looked for.
        looked: Vec<String>,
    },
    /// The registry knows who we are and says no.
    #[error("`{host}` denies to {action}{answer}")]
    Denied {
        /// The registry.
        host: String,
        /// What was to be done.
        action: String,
        /// What it said.
        answer: Answer,
    },
    /// The registry does not have it.
    #[error("`{host}` has no {what}")]
    NotFound {
        /// The registry.
        host: String,
        /// `manifest fleet/nginx:1.0`, `blob sha256:… in fleet/nginx`.
        what: String,
    },
    /// The registry asked to slow down, and kept asking.
    #[error("`{host}` limits our requests: could not {action} after {tries} tries and {} s of waiting", .waited.as_secs())]
    RateLimited {
        /// The registry.
        host: String,
        /// What was to be done.
        action: String,
        /// How often it was tried.
        tries: u32,
        /// How long was waited between the tries.
        waited: Duration,
    },
    /// The registry could not be reached, or broke off, or cannot be trusted (TLS).
    #[error("cannot {action} at `{host}`: {reason}")]
    Network {
        /// The host: the registry's, its token server's or where it redirects to.
        host: String,
        /// What was to be done.
        action: String,
        /// The cause as the system or the TLS library put it.
        reason: String,
        /// What to do, where the cause tells.
        help: Option<String>,
    },
    /// No byte moved for too long.
    #[error("cannot {action} at `{host}`: no progress for {} s", .limit.as_secs())]
    Stalled {
        /// The host.
        host: String,
        /// What was to be done.
        action: String,
        /// How long is too long.
        limit: Duration,
    },
    /// The registry understood and said no, or failed on its side again and again.
    #[error("`{host}` refused to {action}: status {status}{answer}")]
    Refused {
        /// The host.
        host: String,
        /// What was to be done.
        action: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        answer: Answer,
    },
    /// The registry broke the protocol in a way that cannot be worked around.
    #[error("`{host}` answered wrongly when asked to {action}: {reason}")]
    Protocol {
        /// The host.
        host: String,
        /// What was to be done.
        action: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// What a registry holds or serves is not what it must be.
    #[error("{what} is not what was published: {reason}")]
    Integrity {
        /// `manifest sha256:… of fleet/nginx at 127.0.0.1:5000`.
        what: String,
        /// Expected and found.
        reason: String,
    },
    /// A registry serves a manifest under another `Content-Type` than it was sent with.
    #[error("{what} is not served as what was published: `{sent}` was sent, its Content-Type is {}", if .served.is_empty() { "missing".to_owned() } else { format!("`{}`", Printable(.served)) })]
    WrongType {
        /// `fleet/nginx:1.0 at 127.0.0.1:5000`.
        what: String,
        /// The type that it was sent with.
        sent: String,
        /// The type that it is served with; empty where there is none.
        served: String,
    },
    /// What is read, to be copied or built from, is not what it must be.
    #[error("{what} is not what it must be: {reason}")]
    Unsound {
        /// ``manifest `fleet/nginx:1.0` at `127.0.0.1:5000` ``.
        what: String,
        /// Expected and found.
        reason: String,
    },
    /// A registry has an image, and not for the platform that is wanted.
    #[error("`{host}` has no {what}")]
    NoPlatform {
        /// The registry.
        host: String,
        /// `` `fleet/nginx:1.0` for linux/s390x, only for linux/amd64 ``.
        what: String,
    },
    /// The layout could not give or take a blob.
    #[error("the layout cannot be used")]
    Store(#[from] StoreError),
    /// The journal of pushes could not be read or written.
    #[error("cannot use the journal `{}`", .path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A tag shows something else than when the push began.
    #[error("{} moved while this push was under way: {}", if .tags.len() == 1 { "a tag" } else { "tags" }, .tags.join(", "))]
    Overtaken {
        /// Each tag with what it showed and shows now.
        tags: Vec<String>,
    },
    /// Credentials could not be looked up.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Some tags of the release are new and some are old, and putting the old ones back did not work either.
    #[error("the release is half published: {} of its tags are new, {} are not", .moved.len(), .left.len())]
    Mixed {
        /// References that show the new release.
        moved: Vec<String>,
        /// References that do not.
        left: Vec<String>,
        /// What stopped it.
        source: Box<RegistryError>,
    },
    /// The run was stopped.
    #[error("cancelled before any tag moved")]
    Cancelled,
    /// Several independent things went wrong; the first one is told, the rest is in [`Failure::others`].
    #[error("{first}")]
    Several {
        /// What went wrong first.
        first: Box<RegistryError>,
        /// What else did, in the order it was seen.
        rest: Vec<RegistryError>,
    },
}

/// What a registry said with an error: codes and messages of its JSON answer, or the beginning of anything else.
///
/// Bounded and made printable when it is read; shown after ` (`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Codes of distribution-spec "Error codes", such as `DENIED`, in the order given.
    pub codes: Vec<String>,
    /// For people.
    pub text: String,
}

impl Answer {
    /// Whether `code` is among the codes.
    pub fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", Printable(&self.text)) }
    }
}

impl RegistryError {
    /// One error out of all that were seen; `None` if there were none.
    pub(crate) fn of_many(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let first = errors.next()?;
        let rest: Vec<Self> = errors.collect();
        Some(if rest.is_empty() { first } else { Self::Several { first: Box::new(first), rest } })
    }

    /// Whether the same may go well later without anybody changing what was asked for: a network, a limit, a login, a disk
    /// of ours. Of several errors one is enough: what the others would come to is not known either.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Several { first, rest } => first.passes() || rest.iter().any(Self::passes),
            Self::Mixed { source, .. } => source.passes(),
            Self::Network { .. }
            | Self::Stalled { .. }
            | Self::RateLimited { .. }
            | Self::Refused { status: 500.., .. }
            | Self::Auth { .. }
            | Self::Credentials(_) => true,
            error => error.is_local(),
        }
    }

    /// Whether a registry said of this, or of one of several, that we may not.
    pub(super) fn denies(&self) -> bool {
        match self {
            Self::Several { first, rest } => first.denies() || rest.iter().any(Self::denies),
            error => matches!(error, Self::Denied { .. }),
        }
    }

    /// Whether the other side is what failed, so that other work at other hosts may still go well.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Journal { .. } | Self::Cancelled | Self::Setup { .. } | Self::Ca { .. })
    }
}

impl Failure for RegistryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Setup { .. } => ErrorClass::Internal,
            Self::Ca { .. } | Self::Name { .. } | Self::Sources { .. } | Self::Proxy { .. } => ErrorClass::Config,
            Self::Auth { .. } | Self::Denied { .. } | Self::Credentials(_) => ErrorClass::Auth,
            Self::NotFound { .. } | Self::NoPlatform { .. } => ErrorClass::NotFound,
            Self::RateLimited { .. } => ErrorClass::RateLimited,
            Self::Network { .. } | Self::Stalled { .. } => ErrorClass::Network,
            Self::Refused { .. } | Self::Protocol { .. } | Self::Overtaken { .. } => ErrorClass::Refused,
            Self::Integrity { .. } | Self::Unsound { .. } | Self::WrongType { .. } => ErrorClass::Integrity,
            Self::Store(error) => error.class(),
            Self::Journal { .. } => ErrorClass::Disk,
            Self::Mixed { source, .. } => source.class(),
            Self::Cancelled => ErrorClass::Cancelled,
            Self::Several { first, .. } => first.class(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Auth { host, looked, .. } if looked.is_empty() => {
                Some(format!("log in first, for example with `skopeo login {host}`"))
            }
            Self::Auth { host, looked, .. } => Some(format!(
                "log in with an account that may do this, for example with `skopeo login {host}`; looked in {}",
                looked.join(", ")
            )),
            Self::Proxy { .. } => Some("write `http://HOST:PORT`, or unset it".to_owned()),
            Self::Denied { .. } => Some("ask for the permission, or publish elsewhere with `--to PREFIX`".to_owned()),
            Self::RateLimited { .. } => Some("run the same command again later: what is there is kept".to_owned()),
            Self::Network { help: Some(help), .. } => Some(help.clone()),
            Self::Network { .. } | Self::Stalled { .. } => {
                Some("run the same command again: what is there is kept".to_owned())
            }
            Self::Credentials(_) => Some(
                "correct the file (it is JSON, as `docker login` and `skopeo login` write it) or the helper that it names"
                    .to_owned(),
            ),
            Self::Refused { host, action, status: 405, .. } if !action.starts_with("read") => Some(format!(
                "`{host}` takes no pushes there (read-only, a mirror or a cache): publish elsewhere with `--to PREFIX`"
            )),
            Self::Protocol { host, .. } => Some(format!(
                "ask who runs `{host}`, or what stands between: it does not do what a registry does; `skopeo copy` of one image \
                 to it is a second opinion"
            )),
            Self::Refused { status: 413, .. } => {
                Some("raise the size limit of the proxy in front of the registry".to_owned())
            }
            Self::Unsound { .. } => {
                Some("have it put there again by whoever makes it, or take it from elsewhere: only what is right is taken".to_owned())
            }
            Self::WrongType { .. } => Some(
                "other clients cannot read it so: ask who runs the registry, or the proxy before it, to pass the \
                 Content-Type of manifests on"
                    .to_owned(),
            ),
            Self::NoPlatform { .. } => Some(
                "take an image that has this platform, or narrow `platforms` of what takes it to those that are there"
                    .to_owned(),
            ),
            Self::Integrity { .. } => Some("do not use what the registry serves; push again".to_owned()),
            Self::Mixed { moved, left, .. } => Some(format!(
                "run the same command again to finish; new: {}; not new: {}",
                moved.join(", "),
                left.join(", ")
            )),
            Self::Store(error) => error.help(),
            Self::Overtaken { .. } => {
                Some("no tag was moved; look at what was published there, then push again to replace it".to_owned())
            }
            Self::Journal { path, source } if source.kind() == io::ErrorKind::InvalidData => Some(format!(
                "finish with the version that wrote it, or remove `{}` if every tag shows what it should",
                path.display()
            )),
            Self::Several { first, .. } => first.help(),
            _ => None,
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Several { first, .. } => {
                first.source().map(ToString::to_string).or_else(|| Failure::cause(first.as_ref()))
            }
            _ => None,
        }
    }

    fn others(&self) -> Vec<&dyn Failure> {
        match self {
            Self::Several { rest, .. } => rest.iter().map(|error| error as &dyn Failure).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_no_pushes_and_what_is_no_json_have_ways_out_of_their_own() {
        let refused = |status| RegistryError::Refused {
            host: "r.example".to_owned(),
            action: "begin an upload to a".to_owned(),
            status,
            answer: Answer::default(),
        };
        assert!(
            refused(405).help().is_some_and(|help| help.contains("takes no pushes") && help.contains("--to PREFIX"))
        );
        assert_eq!(refused(400).help(), None);
        let reason = "`config.json` is not valid at line 3, column 1".to_owned();
        let broken = RegistryError::Credentials(CredentialError { host: "r.example".to_owned(), reason });
        assert!(broken.to_string().contains("line 3") && !broken.to_string().contains("log in"));
        assert!(broken.help().is_some_and(|help| help.starts_with("correct the file")));
    }
}
