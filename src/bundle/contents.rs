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
    /// Digest of its index.
    pub index: Digest,
    /// Its platforms, in the index's order.
    pub platforms: Vec<LockedPlatform>,
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
