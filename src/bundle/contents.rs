use serde::{Deserialize, Serialize};

use crate::base::{ComponentName, Digest, DigestHasher, JsonShape, Platform, Reference, parse_json};

/// Name of the contents lock in a bundle.
pub const LOCK_NAME: &str = "catamaran.json";

/// The format that this version writes and reads. Members may be added without changing it; a reader passes over what it does not know.
pub(super) const SCHEMA: &str = "catamaran/bundle/v1";

/// What a bundle holds, by digest: nothing of the run that wrote it, no times, no hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentsLock {
    /// `catamaran/bundle/v1`
    pub schema: String,
    /// Name of the project.
    pub project: String,
    /// Tag of the release.
    pub tag: String,
    /// Whether every cell of the project's matrix is in it; if not, the bundle is stamped INCOMPLETE.
    pub complete: bool,
    /// Whether names or platforms of a command line left out a part of the project, so that `complete` is about the rest.
    /// Left out where that is not so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subset: bool,
    /// The cells that are not in it, sorted.
    pub missing: Vec<MissingCell>,
    /// The platform whose images have the plain names in the docker view.
    pub default_platform: Platform,
    /// The images, sorted by reference.
    pub images: Vec<LockedImage>,
    /// The other files, in their order; [`LOCK_NAME`] itself left out.
    pub files: Vec<LockedFile>,
    /// The blobs, sorted by digest, each once however many images share it.
    pub blobs: Vec<LockedBlob>,
}

/// A cell that is not in an incomplete bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MissingCell {
    /// The component or external.
    pub component: ComponentName,
    /// The platform.
    pub platform: Platform,
}

/// One image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedImage {
    /// The component or external.
    pub component: ComponentName,
    /// Its full reference.
    pub reference: Reference,
    /// Its repository below the prefix of `reference`: what an import under another prefix keeps. Left out where it is not
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Digest of its index.
    pub index: Digest,
    /// Its platforms, in the index's order.
    pub platforms: Vec<LockedPlatform>,
    /// Globs of the programs for other processors that the project declares to be in it. Left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<String>,
}

/// One platform of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPlatform {
    /// The platform.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its config: what docker and podman call the image ID.
    pub config: Digest,
    /// Digests of its layers as they are stored, base first.
    pub layers: Vec<Digest>,
}

/// A file of a bundle that is no blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    /// Its name.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A blob of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Why bytes are not a contents lock.
#[derive(Debug)]
pub(super) enum InvalidLock {
    /// Another format.
    Schema(String),
    /// Anything else.
    Malformed(String),
}

/// What precedes the checksum, which is the last member.
const CHECKSUM: &str = ",\"checksum\":\"";

impl ContentsLock {
    /// The bytes of the file: one line of JSON whose last member is a checksum of everything before it, so that damage to
    /// a name or a tag, which no digest covers, is found too.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_string(self).expect("strings, digests and numbers always serialise");
        text.pop();
        let checksum = Digest::of(&text);
        format!("{text}{CHECKSUM}{checksum}\"}}\n").into_bytes()
    }

    /// Parses and checks the bytes of the file.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidLock> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let malformed = |reason: &str| InvalidLock::Malformed(format!("`{LOCK_NAME}`: {reason}"));
        let head: Head = parse_json(bytes, &JsonShape::ANY).map_err(|error| malformed(&error.to_string()))?;
        if head.schema != SCHEMA {
            return Err(InvalidLock::Schema(head.schema.chars().take(80).collect()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        let (covered, checksum) = text.rsplit_once(CHECKSUM).ok_or_else(|| malformed("it has no checksum"))?;
        let written = checksum.strip_suffix("\"}\n").and_then(|digest| digest.parse::<Digest>().ok());
        let mut hasher = DigestHasher::new();
        hasher.update(covered.as_bytes());
        if written != Some(hasher.finish()) {
            return Err(malformed("its checksum is wrong"));
        }
        serde_json::from_slice(bytes).map_err(|error| malformed(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lock() -> ContentsLock {
        let parse = |text: &str| text.parse::<Platform>().expect("a platform");
        ContentsLock {
            schema: SCHEMA.to_owned(),
            project: "fleet \u{1b}\"quoted\"".to_owned(),
            tag: "1.0".to_owned(),
            complete: false,
            subset: true,
            missing: vec![MissingCell { component: "api".parse().expect("a name"), platform: parse("arm64") }],
            default_platform: parse("amd64"),
            images: vec![LockedImage {
                component: "web".parse().expect("a name"),
                reference: "r.example/web:1.0".parse().expect("a reference"),
                path: Some("web".to_owned()),
                index: Digest::of("index"),
                platforms: vec![LockedPlatform {
                    platform: parse("arm/v7"),
                    manifest: Digest::of("manifest"),
                    config: Digest::of("config"),
                    layers: vec![Digest::of("layer")],
                }],
                foreign: Vec::new(),
            }],
            files: vec![LockedFile { name: "index.json".to_owned(), digest: Digest::of("x"), size: 1 }],
            blobs: vec![LockedBlob { digest: Digest::of("layer"), size: 5 }],
        }
    }

    /// The bytes with another text in them and the checksum of that.
    fn edited(from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8(lock().to_bytes()).expect("UTF-8");
        assert!(text.contains(from));
        let text = text.replace(from, to);
        let covered = text.rsplit_once(CHECKSUM).expect("a checksum").0;
        format!("{covered}{CHECKSUM}{}\"}}\n", Digest::of(covered)).into_bytes()
    }

    #[test]
    fn reads_what_it_writes_and_what_later_versions_add() {
        assert_eq!(ContentsLock::from_bytes(&lock().to_bytes()).expect("its own"), lock());
        let later = edited("\"tag\":\"1.0\"", "\"tag\":\"1.0\",\"added\":{\"later\":[1]}");
        assert_eq!(ContentsLock::from_bytes(&later).expect("additive"), lock());
        assert!(lock().to_bytes().starts_with(b"{\"schema\":\"catamaran/bundle/v1\""));
    }

    #[test]
    fn tells_another_format_from_damage() {
        let answer = ContentsLock::from_bytes(&edited(SCHEMA, "catamaran/bundle/v2"));
        assert!(matches!(answer, Err(InvalidLock::Schema(schema)) if schema == "catamaran/bundle/v2"));
        for (from, to) in [
            ("\"tag\":\"1.0\"", "\"tag\":\"1.0\",\"tag\":\"2.0\""),
            ("\"tag\":\"1.0\"", "\"tag\":1"),
            ("linux/arm/v7", "linux/arm65"),
            ("sha256:", "sha512:"),
            ("\"size\":5", "\"size\":-5"),
            ("\"size\":5", "\"size\":5e400"),
        ] {
            assert!(matches!(ContentsLock::from_bytes(&edited(from, to)), Err(InvalidLock::Malformed(_))), "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_found(at in any::<prop::sample::Index>(), change in 1_u8..) {
            let mut bytes = lock().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(ContentsLock::from_bytes(&bytes).is_err());
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ContentsLock::from_bytes(&bytes).is_err());
        }
    }
}
