use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::blob::{BlobReader, BlobWriter, VerifiedReader, blob_path};
use super::{BlobSource, StoreError};
use crate::base::{Descriptor, Digest, media_type};

/// An OCI image layout in a directory. Cheap to clone; safe for many threads and processes at once.
///
/// A name becomes visible only after everything it needs is durable: temporary file, write, hash, fsync, rename, fsync of
/// the directory. Temporary files lie in `ingest/` beside `blobs/`, on the same file system; those of a killed process are
/// swept by [`Layout::sweep`].
#[derive(Debug, Clone)]
pub struct Layout {
    root: Arc<PathBuf>,
}

/// The largest `index.json` that is read.
const INDEX_LIMIT: u64 = 64 << 20;

const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

#[derive(Serialize, Deserialize)]
struct IndexFile {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
}

impl Layout {
    /// Opens the layout in `root`, making an empty one where nothing is yet. Idempotent.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        for directory in ["blobs/sha256", "ingest"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(|source| StoreError::Io { action: "create", path, source })?;
        }
        let layout = Self { root: Arc::new(root) };
        if !layout.root.join("oci-layout").exists() {
            layout.replace_file("oci-layout", MARKER.as_bytes())?;
        }
        if !layout.root.join("index.json").exists() {
            layout.update_index(|_| ())?;
        }
        Ok(layout)
    }

    /// Opens an existing layout; nothing is written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let layout = Self { root: Arc::new(root.into()) };
        let marker = layout.root.join("oci-layout");
        let text = read_bounded(&marker, 4096)?;
        let version = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| value.get("imageLayoutVersion")?.as_str().map(str::to_owned));
        match version.as_deref() {
            Some("1.0.0") => Ok(layout),
            Some(other) => Err(StoreError::NotALayout { path: marker, reason: format!("its version is `{other}`") }),
            None => Err(StoreError::NotALayout { path: marker, reason: "it has no imageLayoutVersion".to_owned() }),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the blob is there with this size.
    pub fn has(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        Ok(self.size_of(&descriptor.digest)? == Some(descriptor.size))
    }

    /// Begins to write a blob.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        Ok(BlobWriter::new(self.clone(), self.temporary()?))
    }

    /// Stores `bytes` as a blob of `media_type`, durable when this returns.
    pub fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
        let descriptor = Descriptor::of(media_type, bytes);
        if !self.has(&descriptor)? {
            let mut writer = self.writer()?;
            writer.append(bytes)?;
            writer.commit(Some(descriptor.digest), Some(descriptor.size))?;
        }
        Ok(descriptor)
    }

    /// Opens a blob for ranged reads, unverified.
    pub fn open_raw(&self, digest: &Digest) -> Result<BlobReader, StoreError> {
        let path = blob_path(&self.root, digest);
        // A blob that is a symlink or a device is not ours: following it would read outside the layout.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file: File = match rustix::fs::open(&path, flags, rustix::fs::Mode::empty()) {
            Ok(descriptor) => descriptor.into(),
            Err(rustix::io::Errno::NOENT) => return Err(StoreError::Missing { digest: *digest }),
            Err(errno) => return Err(StoreError::Io { action: "open", path, source: errno.into() }),
        };
        let metadata =
            file.metadata().map_err(|source| StoreError::Io { action: "stat", path: path.clone(), source })?;
        if !metadata.is_file() {
            return Err(StoreError::NotALayout { path, reason: "a blob must be a regular file".to_owned() });
        }
        Ok(BlobReader { size: metadata.len(), file })
    }

    /// The entries of `index.json`.
    pub fn index(&self) -> Result<Vec<Descriptor>, StoreError> {
        let path = self.root.join("index.json");
        let bytes = read_bounded(&path, INDEX_LIMIT)?;
        let index: IndexFile = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::NotALayout { path: path.clone(), reason: error.to_string() })?;
        if index.schema_version != 2 {
            return Err(StoreError::NotALayout { path, reason: format!("schemaVersion is {}", index.schema_version) });
        }
        Ok(index.manifests)
    }

    /// Changes the entries of `index.json` under a lock that other processes respect; readers see the old or the new file.
    ///
    /// Entries are kept sorted by their reference name. Everything that the new entries refer to must be durable before.
    pub fn update_index<T>(&self, change: impl FnOnce(&mut Vec<Descriptor>) -> T) -> Result<T, StoreError> {
        let lock_path = self.root.join("index.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| StoreError::Io { action: "lock", path: lock_path, source })?;
        let mut entries = if self.root.join("index.json").exists() { self.index()? } else { Vec::new() };
        let result = change(&mut entries);
        entries.sort_by_key(|entry| entry.annotation(REF_NAME).map(str::to_owned));
        let file = IndexFile { schema_version: 2, media_type: Some(media_type::INDEX.to_owned()), manifests: entries };
        let bytes = serde_json::to_vec(&file).map_err(|error| StoreError::NotALayout {
            path: self.root.join("index.json"),
            reason: error.to_string(),
        })?;
        self.replace_file("index.json", &bytes)?;
        drop(lock);
        Ok(result)
    }

    /// Removes temporary files that no living process can still be writing: call it while holding the state lock.
    pub fn sweep(&self) -> Result<(), StoreError> {
        let path = self.root.join("ingest");
        let entries =
            fs::read_dir(&path).map_err(|source| StoreError::Io { action: "list", path: path.clone(), source })?;
        for entry in entries {
            let entry = entry.map_err(|source| StoreError::Io { action: "list", path: path.clone(), source })?;
            fs::remove_file(entry.path()).map_err(|source| StoreError::Io {
                action: "remove",
                path: entry.path(),
                source,
            })?;
        }
        Ok(())
    }

    /// A temporary file on the file system of the blobs.
    fn temporary(&self) -> Result<NamedTempFile, StoreError> {
        let path = self.root.join("ingest");
        NamedTempFile::new_in(&path).map_err(|source| StoreError::Io { action: "create a file in", path, source })
    }

    /// Gives a finished temporary file its name as a blob.
    pub(super) fn install(&self, file: NamedTempFile, digest: &Digest, size: u64) -> Result<(), StoreError> {
        if self.size_of(digest)? == Some(size) {
            return Ok(());
        }
        self.persist(file, &blob_path(&self.root, digest))
    }

    /// Replaces `name` in the root as one act.
    fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.temporary()?;
        let path = file.path().to_owned();
        file.write_all(bytes).map_err(|source| StoreError::Io { action: "write", path, source })?;
        self.persist(file, &self.root.join(name))
    }

    /// fsync, rename, fsync of the directory: the order that survives a power cut at any point.
    fn persist(&self, file: NamedTempFile, target: &Path) -> Result<(), StoreError> {
        let error = |action, path: &Path, source| StoreError::Io { action, path: path.to_owned(), source };
        rustix::fs::fchmod(file.as_file(), rustix::fs::Mode::from_raw_mode(0o644))
            .map_err(|errno| error("set the mode of", file.path(), errno.into()))?;
        file.as_file().sync_all().map_err(|source| error("write", file.path(), source))?;
        file.persist(target).map_err(|failed| error("rename a file to", target, failed.error))?;
        let directory = target.parent().unwrap_or(&self.root);
        File::open(directory)
            .and_then(|handle| handle.sync_all())
            .map_err(|source| error("write the directory", directory, source))
    }
}

/// Names an entry of `index.json` (image-spec, annotations).
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl BlobSource for Layout {
    fn size_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self.open_raw(digest) {
            Ok(reader) => Ok(Some(reader.size)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&self, descriptor: &Descriptor) -> Result<VerifiedReader<Box<dyn Read + Send>>, StoreError> {
        let raw = self.open_raw(&descriptor.digest)?;
        if raw.size != descriptor.size {
            return Err(StoreError::WrongSize {
                digest: descriptor.digest,
                expected: descriptor.size,
                found: raw.size,
            });
        }
        Ok(VerifiedReader::new(Box::new(raw.file), descriptor))
    }

    fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        if descriptor.size > limit {
            return Err(StoreError::TooLarge { digest: descriptor.digest, size: descriptor.size, limit });
        }
        let mut bytes = Vec::new();
        self.open(descriptor)?
            .read_to_end(&mut bytes)
            .map_err(|error| StoreError::from_read(error, blob_path(&self.root, &descriptor.digest)))?;
        Ok(bytes)
    }
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|source| StoreError::Io { action: "read", path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::NotALayout { path: path.to_owned(), reason: format!("it is over {limit} bytes") });
    }
    Ok(bytes)
}
