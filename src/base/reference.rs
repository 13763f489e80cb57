use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;

/// An image reference: `[registry/]repository[:tag][@digest]`, its parts validated and kept as written.
///
/// "No tag" stays apart from `:latest`, and "no registry" from Docker Hub: callers apply defaults, see
/// [`Reference::familiar`]. Grammar: distribution-spec "Pulling manifests" and the distribution project's reference rules.
/// IPv6 hosts are written in brackets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// A repository, with the registry it is in where one was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: Option<String>,
    path: String,
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// Why a text is not a reference, repository or tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {reason}")]
pub struct InvalidReference {
    text: String,
    what: &'static str,
    reason: &'static str,
}

impl InvalidReference {
    pub(super) fn new(text: &str, what: &'static str, reason: &'static str) -> Self {
        Self { text: text.chars().take(300).collect(), what, reason }
    }

    /// The same reason, told of the text that was written rather than of one made from it.
    pub(super) fn about(self, text: &str, what: &'static str) -> Self {
        Self { reason: self.reason, ..Self::new(text, what, "") }
    }
}

/// The registry that references without a registry mean.
pub(crate) const DOCKER_HUB: &str = "docker.io";

impl Tag {
    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag `latest`.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }
}

impl FromStr for Tag {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| Err(InvalidReference::new(text, "a tag", reason));
        let mut bytes = text.bytes();
        match bytes.next() {
            None => return invalid("it is empty"),
            Some(first) if !(first.is_ascii_alphanumeric() || first == b'_') => {
                return invalid("it must start with a letter, a digit or `_`");
            }
            Some(_) => {}
        }
        if !bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return invalid("only letters, digits, `_`, `.` and `-` are allowed");
        }
        if text.len() > 128 {
            return invalid("it is longer than 128 characters");
        }
        Ok(Self(text.to_owned()))
    }
}

impl Repository {
    /// The registry (`host[:port]`) as written, if one was.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The path within the registry, as written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The registry host that is meant: `docker.io` where none was written.
    pub fn host(&self) -> &str {
        self.registry.as_deref().unwrap_or(DOCKER_HUB)
    }

    /// The path as the registry knows it: `library/redis` for Docker Hub's `redis`.
    pub fn remote_path(&self) -> String {
        if self.host() == DOCKER_HUB && !self.path.contains('/') {
            format!("library/{}", self.path)
        } else {
            self.path.clone()
        }
    }

    /// `self/name`, a repository below this one.
    pub fn join(&self, name: &str) -> Result<Self, InvalidReference> {
        format!("{self}/{name}").parse()
    }

    /// This repository with a tag.
    pub fn tagged(&self, tag: Tag) -> Reference {
        Reference { repository: self.clone(), tag: Some(tag), digest: None }
    }

    /// This repository with a digest.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { repository: self.clone(), tag: None, digest: Some(digest) }
    }
}

impl FromStr for Repository {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| Err(InvalidReference::new(text, "a repository", reason));
        if text.is_empty() {
            return invalid("it is empty");
        }
        if text.len() > 255 {
            return invalid("it is longer than 255 characters");
        }
        // The distribution rule: the first part is a registry if it looks like a host and something follows it.
        let (registry, path) = match text.split_once('/') {
            Some((first, rest)) if looks_like_host(first) => (Some(first), rest),
            _ => (None, text),
        };
        if let Some(registry) = registry
            && !is_host(registry)
        {
            return invalid("its registry is not a host name with an optional port");
        }
        if path.is_empty() {
            return invalid("no repository follows the registry");
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return invalid("repositories are lower case");
        }
        if !path.split('/').all(is_path_component) {
            return invalid("its parts must be lower-case letters and digits, joined by `.`, `_`, `__` or `-`");
        }
        Ok(Self { registry: registry.map(str::to_owned), path: path.to_owned() })
    }
}

fn looks_like_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.starts_with('[')
}

fn is_host(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        }
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|run| !run.is_empty());
    let mut separators = separators;
    separators.all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

impl Reference {
    /// The repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag as written, if one was.
    pub const fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest as written, if one was.
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        self.repository.tagged(tag)
    }

    /// The name of one platform's image where an importer or `arch-tags` wants one name per platform: the tag (`latest` if
    /// none was written) with the platform's short name behind it, `api:1.0-arm64`. The one place that makes such names.
    pub fn for_platform(&self, platform: &super::Platform) -> Result<Self, InvalidReference> {
        let tag = self.tag.as_ref().map_or("latest", Tag::as_str);
        Ok(self.with_tag(format!("{tag}-{}", platform.short()).parse()?))
    }

    /// The full form that tools compare by: registry and tag filled in (`docker.io/library/redis:latest`).
    pub fn familiar(&self) -> String {
        let mut out = format!("{}/{}", self.repository.host(), self.repository.remote_path());
        match (&self.tag, &self.digest) {
            (Some(tag), _) => {
                out.push(':');
                out.push_str(tag.as_str());
            }
            (None, None) => out.push_str(":latest"),
            (None, Some(_)) => {}
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(&digest.to_string());
        }
        out
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest: Digest = digest.parse().map_err(|_| {
                    InvalidReference::new(text, "an image reference", "what follows `@` is not a sha256 digest")
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash starts a tag; any other belongs to a registry's port.
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match rest[last..].split_once(':') {
            Some((name, tag)) => (&rest[..last + name.len()], Some(tag.parse()?)),
            None => (rest, None),
        };
        Ok(Self { repository: repository.parse()?, tag, digest })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registry {
            Some(registry) => write!(f, "{registry}/{}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.repository, f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{}", tag.0)?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

macro_rules! text_form {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text_form!(Tag, Repository, Reference);

#[cfg(test)]
mod tests {
    use super::*;

    fn familiar(text: &str) -> String {
        text.parse::<Reference>().map_or_else(|error| error.to_string(), |reference| reference.familiar())
    }

    #[test]
    fn keeps_what_was_written_and_knows_what_is_meant() {
        assert_eq!(familiar("redis"), "docker.io/library/redis:latest");
        assert_eq!(familiar("redis:7-alpine"), "docker.io/library/redis:7-alpine");
        assert_eq!(familiar("grafana/loki:3"), "docker.io/grafana/loki:3");
        assert_eq!(familiar("127.0.0.1:5000/fleet/base"), "127.0.0.1:5000/fleet/base:latest");
        assert_eq!(familiar("[::1]:5000/a:b"), "[::1]:5000/a:b");
        assert_eq!(familiar("localhost/a"), "localhost/a:latest");
        let digest = Digest::of("x");
        let reference: Reference = format!("r.example/a:1@{digest}").parse().expect("a reference");
        assert_eq!(reference.tag().map(Tag::as_str), Some("1"));
        assert_eq!(reference.digest(), Some(&digest));
        assert_eq!(reference.to_string(), format!("r.example/a:1@{digest}"));
    }

    #[test]
    fn refuses_what_no_registry_takes() {
        for text in [
            "",
            ":tag",
            "a:",
            "a:-x",
            "UPPER/x",
            "Upper",
            "a//b",
            "a/",
            "/a",
            "a b",
            "a___b",
            "a..b",
            "a/-b",
            "r.example:0/a",
            "r.example:99999/a",
            "r.example:/a",
            "[::1/a",
            "a@sha256:123",
            "a:b:c",
            "https://r.example/a",
            "a\n",
            "r..e/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(format!("a:{}", "x".repeat(129)).parse::<Reference>().is_err());
        assert!("x/a--b__c.d/e_f".parse::<Reference>().is_ok());
    }
}
