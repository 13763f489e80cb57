use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::base::{Credentials, Secret};

/// What came of asking a credential helper.
#[derive(Debug)]
pub(super) enum HelperAnswer {
    /// It has them.
    Found(Credentials),
    /// It works and has none.
    Nothing,
    /// It cannot be run or failed; the reason holds nothing that it printed.
    Failed(String),
}

#[derive(Deserialize)]
struct HelperOutput {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// What a helper prints at most; more is no answer.
const LIMIT: u64 = 64 << 10;
/// What helpers print when they have nothing (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &[&str] = &["credentials not found", "could not be found in the keychain", "no credentials"];

/// Where helpers are found and how long they may take.
#[derive(Debug, Clone)]
pub(super) struct Helpers {
    /// Directories to look in; the process's search path if there are none.
    pub(super) directories: Option<Vec<PathBuf>>,
    /// A helper may have to ask a person to unlock something.
    pub(super) timeout: Duration,
}

impl Default for Helpers {
    fn default() -> Self {
        Self { directories: None, timeout: Duration::from_secs(30) }
    }
}

impl Helpers {
    /// Asks `docker-credential-NAME get` for `server`.
    ///
    /// Protocol of docker-credential-helpers: the server's name on stdin, `{"ServerURL","Username","Secret"}` on stdout,
    /// exit code 1 and words on stdout if there is nothing. Its output may hold a secret even when it fails: it is never
    /// shown.
    pub(super) async fn ask(&self, name: &str, server: &str) -> HelperAnswer {
        // The name is a word in somebody's file: it must not reach outside the search path.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return HelperAnswer::Failed("the helper's name is not a plain word".to_owned());
        }
        let program = format!("docker-credential-{name}");
        let mut found = self.directories.iter().flatten().map(|directory| directory.join(&program));
        let path = found.find(|path| path.is_file());
        let path = match (&self.directories, path) {
            (_, Some(path)) => path,
            (None, None) => PathBuf::from(&program),
            (Some(_), None) => return HelperAnswer::Failed(format!("`{program}` is not installed")),
        };
        match tokio::time::timeout(self.timeout, run(&program, &path, server)).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                HelperAnswer::Failed(format!("`{program}` did not answer within {} s", self.timeout.as_secs()))
            }
        }
    }
}

async fn run(program: &str, path: &Path, server: &str) -> HelperAnswer {
    let spawned = Command::new(path)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return HelperAnswer::Failed(format!("`{program}` cannot be started: {error}")),
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that closes its input early has heard enough: what it answers decides.
        drop(stdin.write_all(server.as_bytes()).await);
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take()
        && let Err(error) = stdout.take(LIMIT + 1).read_to_end(&mut output).await
    {
        return HelperAnswer::Failed(format!("`{program}` cannot be read: {error}"));
    }
    if output.len() as u64 > LIMIT {
        return HelperAnswer::Failed(format!("`{program}` printed more than {LIMIT} bytes"));
    }
    match child.wait().await {
        Ok(status) if status.success() => understood(program, &output),
        Ok(status) => {
            let said = String::from_utf8_lossy(&output).to_lowercase();
            if NOT_FOUND.iter().any(|words| said.contains(words)) {
                HelperAnswer::Nothing
            } else {
                HelperAnswer::Failed(format!("`{program}` failed with {status}"))
            }
        }
        Err(error) => HelperAnswer::Failed(format!("`{program}` cannot be waited for: {error}")),
    }
}

fn understood(program: &str, output: &[u8]) -> HelperAnswer {
    match serde_json::from_slice::<HelperOutput>(output) {
        Ok(HelperOutput { username, secret }) if username.is_empty() && secret.is_empty() => HelperAnswer::Nothing,
        Ok(HelperOutput { username, secret }) if username == "<token>" => {
            HelperAnswer::Found(Credentials::IdentityToken(Secret::new(secret)))
        }
        Ok(HelperOutput { username, secret }) => {
            HelperAnswer::Found(Credentials::Basic { username, password: Secret::new(secret) })
        }
        Err(_) => HelperAnswer::Failed(format!("`{program}` printed something that is not an answer")),
    }
}
