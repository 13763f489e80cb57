use std::fmt;
use std::str::FromStr;

use super::{InvalidReference, Repository};

/// Where a release goes: a registry with an optional path, below which every repository of a project is
/// (`registry.example.com/infra`, `127.0.0.1:5000`). What `registry` and `--to` hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// The repository `name` below this prefix; `name` may have parts of its own (`tools/builder`).
    pub fn join(&self, name: &str) -> Result<Repository, InvalidReference> {
        format!("{}/{name}", self.0).parse()
    }

    /// The prefix as it is joined: no slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let invalid = |reason| InvalidReference::new(text, "a registry prefix", reason);
        if trimmed.is_empty() {
            return Err(invalid("it is empty"));
        }
        if trimmed.contains("://") {
            return Err(invalid("it is written without a scheme (`registry.example.com/infra`)"));
        }
        // A bare host has no repository yet, so the rules are those of a repository below it.
        format!("{trimmed}/x").parse::<Repository>().map_err(|error| error.about(text, "a registry prefix"))?;
        Ok(Self(trimmed.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hosts_and_paths() {
        for (text, joined) in [
            ("registry.example.com/infra", "registry.example.com/infra/app"),
            ("127.0.0.1:5000", "127.0.0.1:5000/app"),
            ("localhost/", "localhost/app"),
            ("someone", "someone/app"),
        ] {
            let prefix: Prefix = text.parse().expect(text);
            assert_eq!(prefix.join("app").expect("joins").to_string(), joined);
        }
        for bad in
            ["", "/", "https://registry.example.com", "Registry/UPPER", "a b", "host:99999999/x", "a//b", "a:tag"]
        {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
