use std::fs;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::blob::{BlobReader, BlobWriter, VerifiedReader, blob_path};
use super::disk::{DirectorySync, Found, Temporary, io_error, look, sweep, sync_directory};
use super::index_file::{IndexFile, lock, read_bounded};
use super::{BlobSource, StoreError};
use crate::base::{Descriptor, Digest, DigestHasher};

/// An OCI image layout in a directory. Cheap to clone; safe for many threads and processes at once.
///
/// A name becomes visible only after everything it needs is durable: temporary file, write, hash, fsync, rename, fsync of
/// the directory. Temporary files lie in `ingest/` beside `blobs/`, on the same file system; those of a killed process are
/// swept by [`Layout::sweep`]. Damaged blobs are moved to `corrupt/` by [`Layout::quarantine`]. The root may be reached
/// through a symbolic link, nothing below it is one.
#[derive(Debug, Clone)]
pub struct Layout {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    blobs: PathBuf,
    blob_names: DirectorySync,
}

const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

impl Layout {
    fn at(root: PathBuf) -> Self {
        let blobs = root.join("blobs/sha256");
        Self { inner: Arc::new(Inner { root, blobs, blob_names: DirectorySync::default() }) }
    }

    /// Opens the layout in `root`, making an empty one where nothing is yet. Idempotent.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let layout = Self::at(root.into());
        for directory in ["blobs", "blobs/sha256", "ingest"] {
            let path = layout.root().join(directory);
            // Looked at first: making a directory would follow a link that stands there.
            refuse_link(&path)?;
            make_directory(&path)?;
        }
        match look(&layout.root().join("oci-layout"))? {
            Found::Nothing => layout.replace_file("oci-layout", MARKER.as_bytes())?,
            _ => layout.check_marker()?,
        }
        if look(&layout.root().join("index.json"))? == Found::Nothing {
            layout.update_index(|_| ())?;
        }
        Ok(layout)
    }

    /// Opens an existing layout; nothing is written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let layout = Self::at(root.into());
        layout.check_marker()?;
        for directory in ["blobs", "blobs/sha256"] {
            refuse_link(&layout.root().join(directory))?;
        }
        Ok(layout)
    }

    fn check_marker(&self) -> Result<(), StoreError> {
        let marker = self.root().join("oci-layout");
        let text = match read_bounded(&marker, 4096) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Absent { path: self.root().to_owned() });
            }
            other => other?,
        };
        let version = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| value.get("imageLayoutVersion")?.as_str().map(str::to_owned));
        match version.as_deref() {
            Some("1.0.0") => Ok(()),
            Some(other) => Err(StoreError::NotALayout { path: marker, reason: format!("its version is `{other}`") }),
            None => Err(StoreError::NotALayout { path: marker, reason: "it has no imageLayoutVersion".to_owned() }),
        }
    }

    /// Moves an `oci-layout` file aside, to `oci-layout.corrupt`, that says nothing that can be understood, so that
    /// [`Layout::create`] writes it again; tells whether there was one. One of another version is left alone: the rest of
    /// that layout may mean something else than we know.
    pub fn set_aside_torn_marker(root: &Path) -> Result<bool, StoreError> {
        let marker = root.join("oci-layout");
        let Found::File(_) = look(&marker)? else { return Ok(false) };
        let text = read_bounded(&marker, 4096).unwrap_or_default();
        let value = serde_json::from_slice::<serde_json::Value>(&text).ok();
        if value.is_some_and(|value| value.get("imageLayoutVersion").is_some_and(serde_json::Value::is_string)) {
            return Ok(false);
        }
        let aside = root.join("oci-layout.corrupt");
        fs::rename(&marker, &aside).map_err(|source| io_error("move a file to", &aside, source))?;
        Ok(true)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether the blob is there with this size. What lies under its name without being a file counts as absent: writing the
    /// blob replaces it.
    pub fn has(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        Ok(look(&self.blob_path(&descriptor.digest))? == Found::File(descriptor.size))
    }

    /// Begins to write a blob.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        Ok(BlobWriter::new(self.clone(), self.temporary()?))
    }

    /// Begins to write the blob of `digest` where a writer with [`BlobWriter::keep_partial`] left off, in whatever run: its
    /// bytes are hashed again, so reading them takes a while. Another writer of the same blob begins at the first byte.
    pub fn resume(&self, digest: &Digest) -> Result<BlobWriter, StoreError> {
        let (mut hasher, mut written) = (DigestHasher::new(), 0);
        let found = Temporary::resume(&self.root().join("ingest"), &digest.hex(), |bytes| {
            hasher.update(bytes);
            written += bytes.len() as u64;
        })?;
        match found {
            Some(file) => Ok(BlobWriter::resumed(self.clone(), file, hasher, written)),
            None => self.writer(),
        }
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
        let path = self.blob_path(digest);
        // A blob that is a link or a device is not ours: following it would read outside the layout. NONBLOCK, because
        // opening a pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file: fs::File = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(descriptor) => descriptor.into(),
            Err(rustix::io::Errno::NOENT) => return Err(StoreError::Missing { digest: *digest }),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => {
                return Err(StoreError::NotAFile { digest: *digest });
            }
            Err(errno) => return Err(io_error("open", &path, errno.into())),
        };
        let metadata = file.metadata().map_err(|source| io_error("stat", &path, source))?;
        if !metadata.is_file() {
            return Err(StoreError::NotAFile { digest: *digest });
        }
        Ok(BlobReader { size: metadata.len(), file })
    }

    /// Moves a damaged blob aside, to `corrupt/`, so that it counts as missing and the next build or transfer brings it back.
    /// Tells whether there was one. Nothing is deleted: what was there may be worth a look.
    pub fn quarantine(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        if look(&path)? == Found::Nothing {
            return Ok(false);
        }
        let directory = self.root().join("corrupt");
        refuse_link(&directory)?;
        make_directory(&directory)?;
        let mut target = directory.join(digest.hex());
        let mut number = 1;
        while look(&target)? != Found::Nothing {
            number += 1;
            target = directory.join(format!("{}.{number}", digest.hex()));
        }
        match fs::rename(&path, &target) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(|source| io_error("move a blob to", &target, source))?,
        }
        sync_directory(&directory)?;
        self.inner.blob_names.sync(&self.inner.blobs)?;
        Ok(true)
    }

    /// The entries of `index.json`.
    pub fn index(&self) -> Result<Vec<Descriptor>, StoreError> {
        Ok(IndexFile::read(&self.root().join("index.json"))?.manifests)
    }

    /// Changes the entries of `index.json` under a lock that other processes respect; readers see the old or the new file.
    ///
    /// Entries are kept sorted by their reference name. Everything that the new entries refer to must have been committed
    /// before, by whichever process.
    pub fn update_index<T>(&self, change: impl FnOnce(&mut Vec<Descriptor>) -> T) -> Result<T, StoreError> {
        let lock = lock(self.root())?;
        let path = self.root().join("index.json");
        let mut file = if look(&path)? == Found::Nothing { IndexFile::empty() } else { IndexFile::read(&path)? };
        let result = change(&mut file.manifests);
        // A blob that another process has just renamed counts as there for us, but its name may not be durable yet.
        self.inner.blob_names.sync(&self.inner.blobs)?;
        self.replace_file("index.json", &file.into_bytes())?;
        drop(lock);
        Ok(result)
    }

    /// Removes temporary files that no living process is writing; tells how many.
    pub fn sweep(&self) -> Result<usize, StoreError> {
        sweep(&self.root().join("ingest"))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        blob_path(&self.inner.root, digest)
    }

    /// A temporary file on the file system of the blobs.
    fn temporary(&self) -> Result<Temporary, StoreError> {
        Temporary::create(&self.root().join("ingest"))
    }

    /// Gives a finished temporary file its name as a blob, durable when this returns.
    pub(super) fn install(&self, file: Temporary, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let target = self.blob_path(digest);
        // Equal bytes under the same name: nothing to do, and readers keep what they have open.
        if look(&target)? != Found::File(size) {
            file.publish(&target)?;
        }
        self.inner.blob_names.sync(&self.inner.blobs)
    }

    /// Replaces `name` in the root as one act.
    fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.temporary()?;
        file.write(bytes)?;
        file.publish(&self.root().join(name))?;
        sync_directory(self.root())
    }
}

impl BlobSource for Layout {
    fn size_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match look(&self.blob_path(digest))? {
            Found::Nothing => Ok(None),
            Found::File(size) => Ok(Some(size)),
            Found::Directory | Found::Other => Err(StoreError::NotAFile { digest: *digest }),
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
            .map_err(|error| StoreError::from_read(error, self.blob_path(&descriptor.digest)))?;
        Ok(bytes)
    }

    fn open_at(&self, descriptor: &Descriptor, at: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        let mut file = self.open_raw(&descriptor.digest)?.file;
        file.seek(SeekFrom::Start(at)).map_err(|error| io_error("seek in", &self.place(&descriptor.digest), error))?;
        Ok(Box::new(file))
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.blob_path(digest)
    }
}

/// Makes a directory and those above it that are missing, each durable: what is fsynced below a directory whose own name
/// is not would be gone with it after a power cut.
fn make_directory(path: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    fs::create_dir_all(path).map_err(|source| io_error("create", path, source))?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_directory(above)?;
    }
    Ok(())
}

/// A link below the root would lead reads and writes out of the layout.
fn refuse_link(path: &Path) -> Result<(), StoreError> {
    match look(path)? {
        Found::Nothing | Found::Directory => Ok(()),
        Found::File(_) | Found::Other => {
            let reason = "it is not a directory of its own".to_owned();
            Err(StoreError::NotALayout { path: path.to_owned(), reason })
        }
    }
}
