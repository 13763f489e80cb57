use std::path::Path;
use std::process::{Command, Stdio};

use crate::base::Epoch;

/// Why git does not tell what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    /// The program cannot be started.
    #[error("git cannot be run: {0}")]
    Start(std::io::Error),
    /// It said no.
    #[error("git says: {0}")]
    Refused(String),
}

/// `git describe --tags --always --dirty` of the repository around `directory`: `v1.2.3`, `v1.2.3-4-gabc1234-dirty`.
pub(super) fn describe(directory: &Path) -> Result<String, GitError> {
    run(directory, &["describe", "--tags", "--always", "--dirty"])
}

/// The time of the commit that is checked out.
pub(super) fn commit_time(directory: &Path) -> Result<Epoch, GitError> {
    let text = run(directory, &["log", "-1", "--format=%ct"])?;
    text.parse().map_err(|_| GitError::Refused(format!("the time of the commit is `{text}`")))
}

fn run(directory: &Path, arguments: &[&str]) -> Result<String, GitError> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        // Reading must not write: no refreshed index, no lock that a second process runs into, no prompt.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(GitError::Start)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        return Err(GitError::Refused(line.trim().chars().take(300).collect()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
