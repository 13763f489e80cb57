use std::path::PathBuf;
use std::time::Duration;

use crate::base::{CredentialError, CredentialFuture, CredentialSource, Credentials};

/// Credentials as docker and podman keep them: `config.json`, `auth.json` and the helpers these name.
///
/// Files are read when they are asked for, so that a login during a long run counts. A file that is not there is skipped.
#[derive(Debug, Clone)]
pub struct CredentialFiles {
    files: Vec<PathBuf>,
    helper_timeout: Duration,
}

impl CredentialFiles {
    /// Looks into `files` in this order; the first that has something for a host wins.
    ///
    /// Which files there are is the caller's knowledge: `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`, `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json`.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files, helper_timeout: Duration::from_secs(30) }
    }

    /// The same with another bound on how long a helper may take.
    #[must_use]
    pub fn with_helper_timeout(mut self, timeout: Duration) -> Self {
        self.helper_timeout = timeout;
        self
    }

    async fn look_up(&self, host: &str, _repository: Option<&str>) -> Result<Option<Credentials>, CredentialError> {
        let _ = (&self.files, self.helper_timeout);
        Err(CredentialError { host: host.to_owned(), reason: "credential files are not read yet".to_owned() })
    }
}

impl CredentialSource for CredentialFiles {
    fn credentials<'a>(&'a self, host: &'a str, repository: Option<&'a str>) -> CredentialFuture<'a> {
        Box::pin(self.look_up(host, repository))
    }

    fn places(&self) -> Vec<String> {
        self.files.iter().map(|path| path.display().to_string()).collect()
    }
}
