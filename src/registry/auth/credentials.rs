use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

use super::helper::{HelperAnswer, Helpers};
use crate::base::{CredentialError, CredentialFuture, CredentialSource, Credentials, Secret};

/// Credentials as docker and podman keep them: `config.json`, `auth.json` and the helpers these name.
///
/// Files are read when they are asked for, so that a login during a long run counts. A file that is not there is skipped;
/// one that is there and cannot be used is an error, because going on without it would be anonymous by accident.
#[derive(Debug, Clone)]
pub struct CredentialFiles {
    files: Vec<PathBuf>,
    helpers: Helpers,
}

/// What both programs' files have; everything else in them is not ours.
#[derive(Default, Deserialize)]
struct AuthFile {
    /// Kept as they are: one broken entry must not cost the others.
    #[serde(default)]
    auths: Option<HashMap<String, Value>>,
    #[serde(rename = "credsStore", default)]
    store: Option<String>,
    #[serde(rename = "credHelpers", default)]
    helpers: Option<HashMap<String, String>>,
}

/// No credential file is larger.
const LIMIT: u64 = 4 << 20;
/// The key that `docker login` has used for Docker Hub since its first version.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker pads; people who write the file by hand often do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl CredentialFiles {
    /// Looks into `files` in this order; the first that has something for a host wins.
    ///
    /// Which files there are is the caller's knowledge: `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`, `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json`.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files, helpers: Helpers::default() }
    }

    /// The same with another bound on how long a helper may take.
    #[must_use]
    pub fn with_helper_timeout(mut self, timeout: Duration) -> Self {
        self.helpers.timeout = timeout;
        self
    }

    /// The same with helpers taken from these directories instead of the process's search path.
    #[must_use]
    pub fn with_helpers_in(mut self, directories: Vec<PathBuf>) -> Self {
        self.helpers.directories = Some(directories);
        self
    }

    async fn look_up(&self, host: &str, repository: Option<&str>) -> Result<Option<Credentials>, CredentialError> {
        let mut unusable = None;
        for path in &self.files {
            let failed = |reason: String| CredentialError { host: host.to_owned(), reason };
            let Some(file) = read(path).map_err(failed)? else { continue };
            let helper = file.helper_for(host).map(str::to_owned);
            if let Some(helper) = helper {
                match self.ask_helper(&helper, host).await {
                    HelperAnswer::Found(credentials) => return Ok(Some(credentials)),
                    HelperAnswer::Nothing => {}
                    HelperAnswer::Failed(reason) => {
                        unusable.get_or_insert(format!("{reason} (named in `{}`)", path.display()));
                    }
                }
            }
            if let Some((key, entry)) = file.entry_for(host, repository)
                && let Some(credentials) = credentials_of(entry)
                    .map_err(|reason| failed(format!("`{}`, entry `{key}`: {reason}", path.display())))?
            {
                return Ok(Some(credentials));
            }
        }
        match unusable {
            // Nobody else had them, and the one that may have them does not answer: that is not the same as anonymous.
            Some(reason) => Err(CredentialError { host: host.to_owned(), reason }),
            None => Ok(None),
        }
    }

    /// Asks under the names that logins are kept under.
    async fn ask_helper(&self, helper: &str, host: &str) -> HelperAnswer {
        let names = if host == "docker.io" {
            vec![HUB_KEY.to_owned()]
        } else {
            vec![host.to_owned(), format!("https://{host}")]
        };
        for name in names {
            match self.helpers.ask(helper, &name).await {
                HelperAnswer::Nothing => {}
                answer => return answer,
            }
        }
        HelperAnswer::Nothing
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

impl AuthFile {
    /// The helper for `host`: its own, else the one for everything.
    fn helper_for(&self, host: &str) -> Option<&str> {
        let own =
            self.helpers.iter().flatten().find(|(key, _)| host_of_key(key) == host).map(|(_, name)| name.as_str());
        own.or(self.store.as_deref()).filter(|name| !name.is_empty())
    }

    /// The entry for `host` and, among those, the one with the longest path that `repository` lies in or below.
    fn entry_for(&self, host: &str, repository: Option<&str>) -> Option<(&str, &Value)> {
        self.auths
            .iter()
            .flatten()
            .filter_map(|(key, entry)| Some((path_of_key(key, host, repository)?, key.as_str(), entry)))
            // A spelling that equals the host beats one that was normalised; both exist after two logins.
            .max_by_key(|(path, key, _)| (path.len(), *key == host, std::cmp::Reverse(*key)))
            .map(|(_, key, entry)| (key, entry))
    }
}

/// The host that a key means: `https://index.docker.io/v1/` and `registry-1.docker.io` are `docker.io`.
fn host_of_key(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = bare.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        _ => host,
    }
}

/// The path that a key limits itself to, if the key is about `host` and `repository`; empty where it is about all of it.
///
/// Keys that are URLs are docker's, whose path says nothing (`/v1/`); keys without a scheme are podman's, whose path is a
/// repository or the beginning of one, whole parts only.
fn path_of_key<'k>(key: &'k str, host: &str, repository: Option<&str>) -> Option<&'k str> {
    if host_of_key(key) != host.to_ascii_lowercase() {
        return None;
    }
    let path = key.split_once('/').map_or("", |(_, path)| path.trim_end_matches('/'));
    if key.contains("://") || path.is_empty() || matches!(path, "v1" | "v2") {
        return Some("");
    }
    let repository = repository?;
    let within = repository == path || repository.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    within.then_some(path)
}

/// Credentials in an entry; `None` for the empty entries that docker leaves when a store holds the secret.
fn credentials_of(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::RegistryToken(Secret::new(token))));
    }
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::IdentityToken(Secret::new(token))));
    }
    let (username, password) = match (text("auth"), text("username")) {
        (Some(auth), _) => {
            let decoded = BASE64.decode(auth.trim()).map_err(|_| "its `auth` is not base64")?;
            let decoded = String::from_utf8(decoded).map_err(|_| "its `auth` is not UTF-8 within")?;
            let (username, password) = decoded.split_once(':').ok_or("its `auth` has no `:` within")?;
            // Docker before 1.7 padded the password with zero bytes.
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        (None, Some(username)) => (username.to_owned(), text("password").unwrap_or_default().to_owned()),
        (None, None) => return Ok(None),
    };
    Ok(Some(if username == "<token>" {
        Credentials::IdentityToken(Secret::new(password))
    } else {
        Credentials::Basic { username, password: Secret::new(password) }
    }))
}

/// A file's content, `None` if it is not there. Errors name the file and never quote it.
fn read(path: &Path) -> Result<Option<AuthFile>, String> {
    let shown = OsString::from(path);
    let shown = shown.to_string_lossy();
    let mut text = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut text));
    match opened {
        Ok(_) if text.len() as u64 > LIMIT => Err(format!("`{shown}` is over {LIMIT} bytes")),
        Ok(0) => Ok(None),
        Ok(_) => match serde_json::from_slice(&text) {
            Ok(file) => Ok(Some(file)),
            // serde's words may quote what it stumbled over, which may be a secret: only the place is told.
            Err(error) => Err(format!("`{shown}` is not valid at line {}, column {}", error.line(), error.column())),
        },
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(format!("`{shown}` cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn files(directory: &Path, texts: &[&str]) -> CredentialFiles {
        let paths = texts
            .iter()
            .enumerate()
            .map(|(number, text)| {
                let path = directory.join(format!("{number}.json"));
                std::fs::write(&path, text).expect("a file");
                path
            })
            .collect();
        CredentialFiles::new(paths)
    }

    async fn found(files: &CredentialFiles, host: &str, repository: &str) -> String {
        match files.credentials(host, Some(repository)).await {
            Ok(None) => "none".to_owned(),
            Ok(Some(Credentials::Basic { username, password })) => format!("{username}:{}", password.reveal()),
            Ok(Some(Credentials::IdentityToken(token))) => format!("identity {}", token.reveal()),
            Ok(Some(Credentials::RegistryToken(token))) => format!("token {}", token.reveal()),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn hosts_match_whole_and_paths_match_by_parts() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = files(
            directory.path(),
            &[
                r#"{"auths":{
                    "reg.example":{"auth":"aG9zdDpw"},
                    "reg.example/team":{"auth":"dGVhbTpw"},
                    "reg.example/team/app":{"auth":"YXBwOnA="},
                    "https://reg.example:5000/v1/":{"username":"port","password":"p"},
                    "https://index.docker.io/v1/":{"auth":"aHViOnA6cQ"},
                    "id.example":{"auth":"eA==","identitytoken":"t1"},
                    "reg-token.example":{"registrytoken":"t2"},
                    "empty.example":{},
                    "broken.example":{"auth":"%%%"}
                }}"#,
                r#"{"auths":{"empty.example":{"auth":"c2Vjb25kOnA="},"reg.example":{"auth":"bGF0ZTpw"}}}"#,
            ],
        );
        for (host, repository, expected) in [
            ("reg.example", "other", "host:p"),
            ("reg.example", "team", "team:p"),
            ("reg.example", "team/x", "team:p"),
            ("reg.example", "teams", "host:p"),
            ("reg.example", "team/app/deep", "app:p"),
            ("REG.example", "x", "host:p"),
            ("reg.example:5000", "x", "port:p"),
            ("evil-reg.example", "x", "none"),
            ("g.example", "x", "none"),
            ("docker.io", "library/redis", "hub:p:q"),
            ("id.example", "x", "identity t1"),
            ("reg-token.example", "x", "token t2"),
            ("empty.example", "x", "second:p"),
        ] {
            assert_eq!(found(&files, host, repository).await, expected, "{host} {repository}");
        }
        let error = found(&files, "broken.example", "x").await;
        assert!(error.contains("0.json`, entry `broken.example`: its `auth` is not base64"), "{error}");
    }

    #[tokio::test]
    async fn files_that_are_there_must_be_readable() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = CredentialFiles::new(vec![directory.path().join("missing.json")]);
        assert_eq!(found(&missing, "a.example", "x").await, "none");
        let broken = files(directory.path(), &[r#"{"auths":{"a.example":{"auth":"c2VjcmV0OnNlY3JldA=="},,"#]);
        let error = found(&broken, "a.example", "x").await;
        assert!(error.contains("is not valid at line 1") && !error.contains("c2Vj"), "{error}");
        assert_eq!(broken.places().len(), 1);
    }

    /// A helper that answers for one server, and lives in a directory of its own.
    fn helper(directory: &Path, name: &str, script: &str) {
        let path = directory.join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\nread -r server\n{script}\n")).expect("a helper");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    #[tokio::test]
    async fn helpers_are_asked_first_and_never_quoted() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path();
        let answer = r#"{\"ServerURL\":\"x\",\"Username\":\"$1\",\"Secret\":\"s3cret-$server\"}"#;
        helper(
            home,
            "store",
            &format!(
                "case $server in a.example) set -- u; echo \"{answer}\";; https://index.docker.io/v1/) set -- '<token>'; echo \"{answer}\";; *) echo 'credentials not found in native keychain'; exit 1;; esac"
            ),
        );
        helper(home, "broken", "echo 's3cret leaks here'; exit 3");
        helper(home, "chatty", "echo 's3cret is not json'");
        helper(home, "slow", "exec sleep 60");
        let files = files(
            home,
            &[r#"{"credsStore":"store","credHelpers":{"b.example":"broken","c.example":"chatty","s.example":"slow","g.example":"gone","e.example":"../evil"},
                "auths":{"a.example":{"auth":"ZmlsZTpw"},"plain.example":{"auth":"ZmlsZTpw"},"g.example":{"auth":"ZmlsZTpw"}}}"#],
        )
        .with_helpers_in(vec![home.join("nowhere"), home.to_owned()])
        .with_helper_timeout(Duration::from_millis(300));
        assert_eq!(found(&files, "a.example", "x").await, "u:s3cret-a.example");
        assert_eq!(found(&files, "docker.io", "x").await, "identity s3cret-https://index.docker.io/v1/");
        assert_eq!(found(&files, "plain.example", "x").await, "file:p", "a store without an entry is not the end");
        assert_eq!(found(&files, "g.example", "x").await, "file:p", "nor is a helper that is not installed");
        assert_eq!(found(&files, "unknown.example", "x").await, "none");
        for host in ["b.example", "c.example", "s.example", "e.example"] {
            let error = found(&files, host, "x").await;
            assert!(error.starts_with("cannot look up credentials for"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
