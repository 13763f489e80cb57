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

/// The commit that is checked out, with `-dirty` behind it where files differ from it.
pub(super) fn revision(directory: &Path) -> Result<String, GitError> {
    run(directory, &["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"])
}

/// Where the repository comes from, as a URL that people can follow; credentials in it stay out of images.
pub(super) fn source(directory: &Path) -> Option<String> {
    let url = run(directory, &["config", "--get", "remote.origin.url"]).ok()?;
    public_url(&url)
}

/// `git@host:path`, `ssh://git@host/path` and `https://user:token@host/path` as `https://host/path`.
fn public_url(url: &str) -> Option<String> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => (scheme, rest.to_owned()),
        Some(("ssh" | "git", rest)) => ("https", rest.to_owned()),
        Some(_) => return None,
        // host:path, as scp has it; a path of this machine tells nobody anything.
        None => {
            let (host, path) = url.split_once(':').filter(|(host, _)| !host.contains('/'))?;
            ("https", format!("{host}/{path}"))
        }
    };
    let (authority, path) = rest.split_once('/')?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = if scheme == "https" && !url.starts_with("https") { host.split(':').next()? } else { host };
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!host.is_empty() && !path.is_empty()).then(|| format!("{scheme}://{host}/{}", path.trim_start_matches('/')))
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

#[cfg(test)]
mod tests {
    use super::public_url;

    #[test]
    fn a_source_is_a_url_without_credentials() {
        for (url, wanted) in [
            ("https://user:token@example.com/team/app.git", "https://example.com/team/app"),
            ("git@example.com:team/app.git", "https://example.com/team/app"),
            ("ssh://git@example.com:2222/team/app", "https://example.com/team/app"),
            ("http://localhost:3000/a", "http://localhost:3000/a"),
        ] {
            assert_eq!(public_url(url).as_deref(), Some(wanted));
        }
        for none in ["/srv/git/app.git", "../app", "file:///srv/app.git", "https://"] {
            assert_eq!(public_url(none), None, "{none}");
        }
    }
}
