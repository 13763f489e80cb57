use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::RegistryError;
use crate::base::Repository;

/// Where repositories are pulled from: mirrors before the registry itself, as `registries.conf` says (containers/image,
/// containers-registries.conf(5), version 2).
///
/// Of that file's words these are followed: `prefix`, `location`, `insecure`, `blocked`, `mirror-by-digest-only`, and of a
/// mirror `location`, `insecure`, `pull-from-mirror`. Short names always mean Docker Hub, so search lists and aliases are
/// not. `insecure` allows plain HTTP for pulls without a login; a certificate that is shown is checked all the same. Pushes go
/// where they are told.
#[derive(Debug, Clone, Default)]
pub struct PullSources {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Rule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Rule {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
    /// The file that says so.
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default, rename = "pull-from-mirror")]
    only: Option<PullFrom>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFrom {
    All,
    DigestOnly,
    TagOnly,
}

/// No configuration is larger.
const LIMIT: u64 = 1 << 20;

impl PullSources {
    /// Reads `files` in this order; rules of later ones take the place of rules with the same prefix. A file that is not
    /// there is skipped, one that cannot be understood is an error: without it pulls would go where they must not.
    pub fn read(files: &[PathBuf]) -> Result<Self, RegistryError> {
        let mut sources = Self::default();
        for path in files {
            let unusable = |reason: String| RegistryError::Sources { path: path.clone(), reason };
            if let Some(text) = text_of(path).map_err(|error| unusable(error.to_string()))? {
                sources.add(&text, path).map_err(unusable)?;
            }
        }
        Ok(sources)
    }

    fn add(&mut self, text: &str, path: &Path) -> Result<(), String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })?;
        for mut rule in file.registry {
            path.clone_into(&mut rule.file);
            if rule.prefix.is_empty() {
                rule.prefix.clone_from(&rule.location);
            }
            if rule.prefix.is_empty() {
                return Err("a [[registry]] has neither prefix nor location".to_owned());
            }
            self.rules.retain(|known| known.prefix != rule.prefix);
            self.rules.push(rule);
        }
        Ok(())
    }

    /// The repositories to pull `repository` from, in their order; the last one is the registry itself. `by_digest`: what is
    /// asked for is named by its digest, so that any mirror is as good as any other.
    pub(super) fn of(&self, repository: &Repository, by_digest: bool) -> Result<Vec<Repository>, RegistryError> {
        let full = format!("{}/{}", repository.host(), repository.remote_path());
        let matching = self.rules.iter().filter_map(|rule| Some((rule, matched(&rule.prefix, &full)?)));
        let Some((rule, length)) = matching.max_by_key(|(_, length)| *length) else {
            return Ok(vec![repository.clone()]);
        };
        let refused = |reason: String| RegistryError::Name { name: repository.to_string(), reason };
        if rule.blocked {
            return Err(refused(format!("`{}` blocks `{}`", rule.file.display(), rule.prefix)));
        }
        let at = |location: &str| {
            let name = format!("{location}{}", &full[length..]);
            name.parse::<Repository>()
                .map_err(|error| refused(format!("`{}` makes of it: {error}", rule.file.display())))
        };
        let fits = |mirror: &&Mirror| match mirror.only {
            Some(PullFrom::All) => true,
            Some(PullFrom::DigestOnly) => by_digest,
            Some(PullFrom::TagOnly) => !by_digest,
            None => by_digest || !rule.mirror_by_digest_only,
        };
        let mut all = Vec::new();
        for mirror in rule.mirror.iter().filter(fits) {
            all.push(at(&mirror.location)?);
        }
        // Only a wildcard need not say where to: it may be there to block, or for its mirrors.
        all.push(if rule.location.is_empty() { repository.clone() } else { at(&rule.location)? });
        Ok(all)
    }

    /// Whether pulling from `host` over plain HTTP is allowed, without a login.
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        let of = |location: &str| location.split('/').next() == Some(host);
        self.rules.iter().any(|rule| {
            let own = if rule.location.is_empty() {
                of(&rule.prefix) || rule.prefix.starts_with('*') && matched(&rule.prefix, host).is_some()
            } else {
                of(&rule.location)
            };
            (rule.insecure && own) || rule.mirror.iter().any(|mirror| mirror.insecure && of(&mirror.location))
        })
    }
}

/// How much of `full` (`host/path`) the prefix covers, if it does: whole parts only; `*.example.com` covers the host.
fn matched(prefix: &str, full: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = full.split('/').next()?;
        return (domain.starts_with('.') && host.ends_with(domain)).then_some(host.len());
    }
    let rest = full.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

fn text_of(path: &Path) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(LIMIT).read_to_string(&mut text).map(|_| Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.example:5000/hub"
insecure = true
[[registry.mirror]]
location = "second.example"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "docker.io/library/alpine"
location = "fixed.example/alpine"
[[registry]]
prefix = "*.blocked.example"
blocked = true
[[registry]]
prefix = "*.moved.example"
location = "new.example/old"
[[registry]]
prefix = "*.plain.example"
insecure = true
"#;

    fn sources() -> PullSources {
        let mut sources = PullSources::default();
        sources.add(CONF, Path::new("r.conf")).expect("it is understood");
        sources
    }

    fn of(name: &str, by_digest: bool) -> Result<Vec<String>, String> {
        let found = sources().of(&name.parse().expect("a repository"), by_digest);
        found.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_longest_prefix_decides_and_mirrors_come_first() {
        assert_eq!(
            of("redis", false).expect("found"),
            ["mirror.example:5000/hub/library/redis", "docker.io/library/redis"]
        );
        assert_eq!(
            of("docker.io/grafana/loki", true).expect("found"),
            ["mirror.example:5000/hub/grafana/loki", "second.example/grafana/loki", "docker.io/grafana/loki"]
        );
        assert_eq!(of("alpine", true).expect("found"), ["fixed.example/alpine"]);
        assert_eq!(of("docker.io/library/alpine-extra", false).expect("found").len(), 2, "whole parts only");
        assert_eq!(of("quay.io/a/b", true).expect("found"), ["quay.io/a/b"]);
        assert!(of("a.blocked.example/x", true).expect_err("blocked").contains("`r.conf` blocks `*.blocked.example`"));
        assert_eq!(of("a.moved.example/x", false).expect("found"), ["new.example/old/x"]);
        assert_eq!(of("a.plain.example/x", false).expect("found"), ["a.plain.example/x"]);
        assert!(sources().is_insecure("a.plain.example") && !sources().is_insecure("plain.example"));
        assert!(of("blocked.example/x", true).is_ok());
        assert!(sources().is_insecure("mirror.example:5000") && !sources().is_insecure("second.example"));
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let mut sources = PullSources::default();
        for text in ["[[registry]]\n", "registry = 1", "[[registry]]\nlocation = \"x\"\nblocked = \"no\"", "[["] {
            assert!(sources.add(text, Path::new("r.conf")).is_err(), "{text}");
        }
        sources.add("[aliases]\n\"x\" = \"y\"\n", Path::new("r.conf")).expect("what is not ours");
        let error = sources.add("[[registry]]\nlocation = 1\n", Path::new("r.conf")).expect_err("a number");
        assert!(error.starts_with("line 2: "), "{error}");
    }
}
