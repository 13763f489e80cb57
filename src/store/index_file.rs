use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::disk::{Found, io_error, look};
use crate::base::{Descriptor, JsonShape, has_sha512, media_type, parse_json};

/// The largest `index.json` that is read.
const LIMIT: u64 = 64 << 20;

/// Names an entry of `index.json` (image-spec, annotations).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The file that says which indexes a layout holds (image-spec, "image-layout", index.json).
#[derive(Serialize, Deserialize)]
pub(super) struct IndexFile {
    #[serde(rename = "schemaVersion")]
    schema_version: u64,
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// The entries.
    pub(super) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<IndexMap<String, String>>,
}

const SHAPE: JsonShape = JsonShape {
    names: &["schemaVersion", "mediaType", "manifests", "annotations", "digest", "size", "platform"],
    structural: &["manifests"],
};

impl IndexFile {
    /// A file without entries.
    pub(super) fn empty() -> Self {
        Self { schema_version: 2, media_type: None, manifests: Vec::new(), annotations: None }
    }

    /// Reads the file at `path`. A torn one (empty, cut, full of zeros) is an error that says so, never an empty list: names
    /// are not guessed.
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let unusable = |reason: String| StoreError::NotALayout { path: path.to_owned(), reason };
        match look(path)? {
            Found::File(_) => {}
            Found::Nothing => return Err(unusable("it is not there".to_owned())),
            Found::Directory | Found::Other => return Err(unusable("it is no file".to_owned())),
        }
        let bytes = read_bounded(path, LIMIT)?;
        if bytes.is_empty() {
            return Err(unusable("it is empty, as after a crash of the machine".to_owned()));
        }
        if bytes.contains(&0) {
            return Err(unusable("it holds zero bytes, as after a crash of the machine".to_owned()));
        }
        let file: Self = parse_json(&bytes, &SHAPE).map_err(|error| {
            if has_sha512(&bytes) { StoreError::Sha512 { path: path.to_owned() } } else { unusable(error.to_string()) }
        })?;
        if file.schema_version != 2 {
            return Err(unusable(format!("schemaVersion is {}, only 2 is understood", file.schema_version)));
        }
        if let Some(other) = file.media_type.as_deref().filter(|own| *own != media_type::INDEX) {
            return Err(unusable(format!("its type is `{other}`")));
        }
        Ok(file)
    }

    /// The bytes of the file, entries sorted by name: the order in which they came changes nothing.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.media_type = Some(media_type::INDEX.to_owned());
        self.manifests.sort_by_cached_key(|entry| (entry.annotation(REF_NAME).map(str::to_owned), entry.digest));
        serde_json::to_vec(&self).expect("descriptors and string maps always serialise")
    }
}

/// Holds the lock on the layout's `index.json` until it is dropped, against other threads and processes.
pub(super) fn lock(root: &Path) -> Result<File, StoreError> {
    let path: PathBuf = root.join("index.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644))
        .map(File::from)
        .map_err(|errno| io_error("open", &path, errno.into()))?;
    // The kernel's lock is the truth: it goes with its holder, however that ends.
    file.lock().map_err(|source| io_error("lock", &path, source))?;
    Ok(file)
}

/// Reads a small file whole.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|source| io_error("read", path, source))?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::NotALayout { path: path.to_owned(), reason: format!("it is over {limit} bytes") });
    }
    Ok(bytes)
}
