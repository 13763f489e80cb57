use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Node, Table, Value, parse_toml};
use super::files::ReadText;
use super::{ConfigError, ConfigProblem};
use crate::base::{Digest, Platform, Reference, SourceText, Span};

/// The file beside the project file that says what the project takes from outside.
pub const LOCK_FILE: &str = "catamaran.lock";

/// The version that is written; others are refused, since what they mean is not known here.
const VERSION: i64 = 1;

/// More images than any project takes from outside.
const IMAGE_LIMIT: usize = 10_000;

const HEADER: &str = "# What this project takes from outside, by digest. Written by `catamaran lock`, not by hand: keep it\n\
                      # under version control, and change it with `catamaran lock --update NAME`.\n";

/// Images from outside by digest: the content of `catamaran.lock`, or what a run resolved for itself.
///
/// ```toml
/// version = 1
///
/// [image."docker.io/library/alpine:3.22"]
/// digest = "sha256:…"            # what the reference points to: an index, or a single image
/// "linux/amd64" = "sha256:…"     # the manifest for each platform that is used
/// ```
///
/// Images are sorted by their full reference and platforms by name, so that equal content is equal bytes and a change
/// shows as the lines that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFile {
    images: BTreeMap<String, LockedImage>,
}

/// One image from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedImage {
    /// What the reference points to: an index, or the manifest of a single image.
    pub digest: Digest,
    /// The image manifest of each platform that is used.
    pub platforms: BTreeMap<Platform, Digest>,
}

impl LockFile {
    /// Where the lock of the project in `file` lies.
    pub fn path_beside(file: &Path) -> PathBuf {
        file.parent().unwrap_or(Path::new("")).join(LOCK_FILE)
    }

    /// Reads the lock at `path`; nothing if there is none.
    pub fn read(path: &Path, files: &dyn ReadText) -> Result<Option<Self>, ConfigError> {
        match files.read_text(path) {
            Ok(text) => Self::parse(&SourceText::new(path, text)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigProblem::Unreadable { path: path.to_owned(), source, span: None }.into()),
        }
    }

    /// Reads the text of a lock. Nothing in it is passed over: what is not understood could be what was meant.
    pub fn parse(source: &SourceText) -> Result<Self, ConfigError> {
        let directory: Arc<Path> = Arc::from(source.path().parent().unwrap_or(Path::new("")));
        let table = parse_toml(source, &directory).map_err(|problems| ConfigError::from(regenerate(problems)))?;
        let mut reader = Reader { problems: Vec::new() };
        let lock = reader.lock(&table, source);
        if reader.problems.is_empty() { Ok(lock) } else { Err(reader.problems.into()) }
    }

    /// What `reference` points to.
    pub fn root_of(&self, reference: &Reference) -> Option<Digest> {
        self.image(reference).map(|image| image.digest)
    }

    /// The image manifest of `reference` for `platform`.
    pub fn digest_of(&self, reference: &Reference, platform: &Platform) -> Option<Digest> {
        self.image(reference)?.platforms.get(platform).copied()
    }

    /// Everything that is known of `reference`.
    pub fn image(&self, reference: &Reference) -> Option<&LockedImage> {
        self.images.get(&reference.familiar())
    }

    /// All images by their full reference, sorted.
    pub fn images(&self) -> impl Iterator<Item = (&str, &LockedImage)> {
        self.images.iter().map(|(name, image)| (name.as_str(), image))
    }

    /// Sets what `reference` is, in place of what was known.
    pub fn set(&mut self, reference: &Reference, image: LockedImage) {
        self.images.insert(reference.familiar(), image);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The bytes of the file.
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}version = {VERSION}\n");
        for (name, image) in &self.images {
            // References and platforms hold nothing that a quoted TOML key must escape.
            let _ = write!(text, "\n[image.\"{name}\"]\ndigest = \"{}\"\n", image.digest);
            for (platform, digest) in &image.platforms {
                let _ = writeln!(text, "\"{platform}\" = \"{digest}\"");
            }
        }
        text
    }
}

/// A lock that cannot be read is most often one that was merged: writing it anew is the way out.
fn regenerate(problems: Vec<ConfigProblem>) -> Vec<ConfigProblem> {
    let told = problems.into_iter().map(|problem| match problem {
        ConfigProblem::Syntax { message, span } => invalid(message, span),
        other => other,
    });
    told.collect()
}

fn invalid(message: String, span: Span) -> ConfigProblem {
    let help = format!("take the version of one side, or delete `{LOCK_FILE}`, and run `catamaran lock`");
    ConfigProblem::Invalid { message, help: Some(help), span: Some(span) }
}

struct Reader {
    problems: Vec<ConfigProblem>,
}

impl Reader {
    fn lock(&mut self, table: &Table, source: &SourceText) -> LockFile {
        match table.entries.get("version").map(|entry| (&entry.node.value, &entry.node.span)) {
            Some((Value::Integer(VERSION), _)) => {}
            Some((Value::Integer(other), span)) => {
                let message = format!("this lock is of version {other}, only {VERSION} is understood");
                let help = "use the catamaran that wrote it, or delete it and run `catamaran lock`".to_owned();
                self.problems.push(ConfigProblem::Invalid { message, help: Some(help), span: Some(span.clone()) });
                return LockFile::default();
            }
            _ => {
                self.problems.push(invalid("it has no `version`".to_owned(), source.line_span(1)));
                return LockFile::default();
            }
        }
        let mut lock = LockFile::default();
        for (key, entry) in &table.entries {
            match (key.as_str(), &entry.node.value) {
                ("version", _) => {}
                ("image", Value::Table(images)) if images.entries.len() <= IMAGE_LIMIT => {
                    for (name, entry) in &images.entries {
                        self.image(&mut lock, name, &entry.key, &entry.node);
                    }
                }
                _ => self.problems.push(invalid(format!("`{key}` is no part of a lock"), entry.key.clone())),
            }
        }
        lock
    }

    fn image(&mut self, lock: &mut LockFile, name: &str, key: &Span, node: &Node) {
        // Only full names are looked up: another form would be a line that never counts.
        let reference = match name.parse::<Reference>() {
            Ok(reference) if reference.familiar() == name => reference,
            Ok(reference) => {
                let message = format!("`{name}` is not the full name: `{}`", reference.familiar());
                return self.problems.push(invalid(message, key.clone()));
            }
            Err(error) => return self.problems.push(invalid(error.to_string(), key.clone())),
        };
        let Value::Table(table) = &node.value else {
            return self.problems.push(invalid(format!("`{name}` is {}, not a table", node.value.kind()), key.clone()));
        };
        let mut root = None;
        let mut platforms = BTreeMap::new();
        for (key, entry) in &table.entries {
            let Some(digest) = self.digest(&entry.node) else { continue };
            if key == "digest" {
                root = Some(digest);
                continue;
            }
            match key.parse::<Platform>() {
                Ok(platform) if platform.to_string() == *key => {
                    platforms.insert(platform, digest);
                }
                _ => self.problems.push(invalid(format!("`{key}` is no platform"), entry.key.clone())),
            }
        }
        match root {
            Some(digest) => lock.set(&reference, LockedImage { digest, platforms }),
            None if self.problems.is_empty() => {
                self.problems.push(invalid(format!("`{name}` has no `digest`"), key.clone()));
            }
            None => {}
        }
    }

    fn digest(&mut self, node: &Node) -> Option<Digest> {
        let problem = match &node.value {
            Value::Text(text) => match text.parse() {
                Ok(digest) => return Some(digest),
                Err(error) => format!("{error}"),
            },
            other => format!("a digest is a text, not {}", other.kind()),
        };
        self.problems.push(invalid(problem, node.span.clone()));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<LockFile, String> {
        LockFile::parse(&SourceText::new("catamaran.lock", text)).map_err(|error| {
            let all: Vec<String> = error.problems().map(ToString::to_string).collect();
            all.join("; ")
        })
    }

    fn reference(text: &str) -> Reference {
        text.parse().expect("a reference")
    }

    fn image(seed: &str, platforms: &[&str]) -> LockedImage {
        let platforms = platforms
            .iter()
            .map(|name| (name.parse().expect("a platform"), Digest::of(format!("{seed}{name}"))))
            .collect();
        LockedImage { digest: Digest::of(seed), platforms }
    }

    #[test]
    fn what_is_written_is_sorted_and_comes_back() {
        let mut lock = LockFile::default();
        lock.set(&reference("redis:7"), image("r", &["arm64", "amd64"]));
        lock.set(&reference("alpine"), image("a", &["linux/arm/v7"]));
        let text = lock.text();
        let places = ["docker.io/library/alpine:latest", "docker.io/library/redis:7", "amd64", "arm64"]
            .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}")));
        assert!(places.is_sorted(), "{text}");
        assert_eq!(parsed(&text).as_ref(), Ok(&lock));
        let found = lock.digest_of(&reference("docker.io/library/redis:7"), &"arm64".parse().expect("a platform"));
        assert_eq!(found, Some(Digest::of("rarm64")));
        assert_eq!(lock.root_of(&reference("redis:8")), None);
    }

    #[test]
    fn nothing_is_passed_over() {
        let digest = Digest::of("x");
        for (text, said) in [
            (String::new(), "it has no `version`"),
            ("version = 2".to_owned(), "of version 2, only 1"),
            ("version = 1\n[images]".to_owned(), "`images` is no part of a lock"),
            ("version = 1\n[image.\"redis:7\"]".to_owned(), "not the full name: `docker.io/library/redis:7`"),
            ("version = 1\n[image.\"a.b/c:1\"]".to_owned(), "has no `digest`"),
            ("version = 1\n[image.\"a.b/c:1\"]\ndigest = \"sha256:12\"".to_owned(), "sha256:12"),
            (format!("version = 1\n[image.\"a.b/c:1\"]\ndigest = \"{digest}\"\nlinux = \"{digest}\""), "no platform"),
            (format!("version = 1\n[image.\"a.b/c:1\"]\ndigest = \"{digest}\"\namd64 = \"{digest}\""), "no platform"),
            ("version = 1\n<<<<<<< ours\n".to_owned(), "not valid TOML"),
        ] {
            let error = parsed(&text).expect_err(&text);
            assert!(error.contains(said), "{error} for {text}");
        }
    }

    proptest! {
        #[test]
        fn any_lock_comes_back(entries in proptest::collection::btree_map(
            "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,4})?/[a-z0-9]{1,6}(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,5})?",
            proptest::collection::btree_set(prop_oneof!["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/s390x"], 0..4),
            0..6,
        )) {
            let mut lock = LockFile::default();
            for (name, platforms) in &entries {
                let platforms: Vec<&str> = platforms.iter().map(String::as_str).collect();
                lock.set(&reference(name), image(name, &platforms));
            }
            prop_assert_eq!(parsed(&lock.text()), Ok(lock));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(version = 1\n)?[ -~\n]{0,200}") {
            drop(parsed(&text));
        }
    }
}
