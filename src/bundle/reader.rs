use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::BundleError;
use super::contents::{ContentsLock, InvalidLock, LOCK_NAME};
use super::docker_view::docker_view;
use super::header::{BLOCK, Block, EntryName, decode};
use super::plan::plan;
use super::section::Section;
use super::writer::{BundleContents, BundleEntry};
use crate::base::{CellId, Descriptor, Digest, MediaKind, media_type};
use crate::image::named_entry;
use crate::store::{BlobSource, Layout, StoreError, VerifiedReader};

/// A bundle opened for reading: every blob by its digest, nothing unpacked.
///
/// Opening reads the headers and the files before the blobs, not the blobs themselves; those are verified when they are
/// read. The file is opened once and read through that handle: what replaces it on the way is not seen.
#[derive(Debug)]
pub struct BundleReader {
    path: PathBuf,
    file: Arc<File>,
    lock: ContentsLock,
    /// Offset and size of each blob.
    blobs: HashMap<Digest, (u64, u64)>,
    view: Vec<u8>,
    /// The media type of each index, where `index.json` says another than the usual one: upstream's may be Docker's.
    types: HashMap<Digest, String>,
}

/// The largest file before the blobs that is read.
const FILE_LIMIT: u64 = 64 << 20;

struct Scan<'a> {
    path: &'a Path,
    file: &'a File,
    /// Size of the file.
    size: u64,
    files: HashMap<EntryName, Vec<u8>>,
    blobs: HashMap<Digest, (u64, u64)>,
}

impl BundleReader {
    /// Opens a bundle that catamaran wrote.
    ///
    /// Refuses what is truncated, followed by other bytes, has an entry twice or one that is not a plain file under a known
    /// name, and whose contents lock does not match what is there.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, BundleError> {
        let path = path.into();
        let io_error = |action, source| BundleError::Io { action, path: path.clone(), source };
        let file = File::open(&path).map_err(|source| io_error("open", source))?;
        let metadata = file.metadata().map_err(|source| io_error("stat", source))?;
        if !metadata.is_file() {
            return Err(BundleError::Malformed { path, reason: "it is not a regular file".to_owned() });
        }
        let scan =
            Scan { path: &path, file: &file, size: metadata.len(), files: HashMap::new(), blobs: HashMap::new() };
        let (mut files, blobs, lock) = scan.run()?;
        let view = files.remove(&EntryName::DockerView).unwrap_or_default();
        let types = types_in(&files.remove(&EntryName::Index).unwrap_or_default());
        Ok(Self { file: Arc::new(file), lock, blobs, view, types, path })
    }

    /// What it says it holds.
    pub const fn lock(&self) -> &ContentsLock {
        &self.lock
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The indexes in it, with their components, as they were given to the writer.
    pub fn entries(&self) -> Vec<BundleEntry> {
        let entry = |image: &super::LockedImage| BundleEntry {
            component: image.component.clone(),
            reference: image.reference.clone(),
            path: image.path.clone(),
            index: self.descriptor(image.index),
            foreign: image.foreign.clone(),
        };
        self.lock.images.iter().map(entry).collect()
    }

    /// The entries of its `index.json`.
    pub fn index(&self) -> Vec<Descriptor> {
        self.entries().iter().map(|entry| named_entry(&entry.reference, &entry.index)).collect()
    }

    /// Proves that its three views (layout, docker archive, contents lock) show the same images, by deriving them again
    /// from the manifests. Manifests and configs are verified on the way; layers are not read.
    pub fn check_views(&self) -> Result<(), BundleError> {
        let contents = BundleContents {
            subset: self.lock.subset,
            project: self.lock.project.clone(),
            tag: self.lock.tag.clone(),
            entries: self.entries(),
            default_platform: self.lock.default_platform.clone(),
            incomplete: self
                .lock
                .missing
                .iter()
                .map(|cell| CellId::new(cell.component.clone(), cell.platform.clone()))
                .collect(),
        };
        let again = plan(self, &contents).map_err(|error| match error {
            // Here it is no wish that cannot be met, but a file that loads as something else.
            BundleError::SharedName { .. } => {
                BundleError::Malformed { path: self.path.clone(), reason: error.to_string() }
            }
            error => error,
        })?;
        let malformed = |what: &str| BundleError::Malformed {
            path: self.path.clone(),
            reason: format!("`{what}` does not say what its manifests say"),
        };
        if again.lock.images != self.lock.images || again.lock.blobs != self.lock.blobs {
            return Err(malformed(LOCK_NAME));
        }
        if docker_view(&self.lock.images, &self.lock.default_platform)? != self.view {
            return Err(malformed("manifest.json"));
        }
        if again.lock.files != self.lock.files {
            return Err(malformed("index.json"));
        }
        Ok(())
    }

    /// Copies every blob into a layout, verified, and gives the images their names there. What is there already is kept.
    pub fn copy_into(&self, layout: &Layout) -> Result<(), BundleError> {
        for blob in &self.lock.blobs {
            let descriptor = Descriptor::new("application/octet-stream", blob.digest, blob.size);
            if layout.has(&descriptor)? {
                continue;
            }
            let mut writer = layout.writer()?;
            let mut reader = self.open(&descriptor)?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                let count = reader.read(&mut buffer).map_err(|error| StoreError::from_read(error, &self.path))?;
                if count == 0 {
                    break;
                }
                writer.append(&buffer[..count])?;
            }
            writer.commit(Some(blob.digest), Some(blob.size))?;
        }
        let names: Vec<_> = self.entries().into_iter().map(|entry| (entry.reference, entry.index)).collect();
        crate::image::publish_names(layout, &names, &[]).map_err(|source| match source {
            crate::image::ImageError::Store(error) => BundleError::Store(error),
            other => BundleError::Malformed { path: self.path.clone(), reason: other.to_string() },
        })
    }

    /// A descriptor of one of its indexes.
    fn descriptor(&self, digest: Digest) -> Descriptor {
        let media_type = self.types.get(&digest).map_or(media_type::INDEX, String::as_str);
        Descriptor::new(media_type, digest, self.blobs.get(&digest).map_or(0, |place| place.1))
    }

    /// The bytes of a blob, unverified.
    fn section(&self, descriptor: &Descriptor) -> Result<Section, StoreError> {
        let digest = descriptor.digest;
        let Some((at, size)) = self.blobs.get(&digest).copied() else {
            return Err(StoreError::Missing { digest });
        };
        if size != descriptor.size {
            return Err(StoreError::WrongSize { digest, expected: descriptor.size, found: size });
        }
        Ok(Section::new(Arc::clone(&self.file), at, size))
    }
}

impl BlobSource for BundleReader {
    fn size_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.blobs.get(digest).map(|place| place.1))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<VerifiedReader<Box<dyn Read + Send>>, StoreError> {
        Ok(VerifiedReader::new(Box::new(self.section(descriptor)?), descriptor))
    }

    fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        if descriptor.size > limit {
            return Err(StoreError::TooLarge { digest: descriptor.digest, size: descriptor.size, limit });
        }
        let mut bytes = Vec::new();
        self.open(descriptor)?.read_to_end(&mut bytes).map_err(|error| StoreError::from_read(error, &self.path))?;
        Ok(bytes)
    }

    fn open_at(&self, descriptor: &Descriptor, at: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(self.section(descriptor)?.after(at)))
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join("sha256").join(digest.hex())
    }
}

/// What `index.json` says of which type its indexes are. One that cannot be understood is found out by
/// [`BundleReader::check_views`].
fn types_in(index: &[u8]) -> HashMap<Digest, String> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Descriptor>,
    }
    let entries = serde_json::from_slice::<Index>(index).map(|index| index.manifests).unwrap_or_default();
    let lists = entries.into_iter().filter(|entry| entry.kind() == MediaKind::Index);
    lists.map(|entry| (entry.digest, entry.media_type)).collect()
}

type Scanned = (HashMap<EntryName, Vec<u8>>, HashMap<Digest, (u64, u64)>, ContentsLock);

impl Scan<'_> {
    fn run(mut self) -> Result<Scanned, BundleError> {
        let mut at = 0;
        loop {
            let header = self.block(at)?;
            if header.iter().all(|byte| *byte == 0) {
                break;
            }
            let (name, size) =
                decode(&header).map_err(|reason| self.malformed(&format!("entry at byte {at}: {reason}")))?;
            // Sizes near the largest number must not wrap around.
            let end = (at + BLOCK).checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK));
            let Some(end) = end.filter(|end| *end <= self.size) else { return Err(self.truncated()) };
            self.check_padding(at + BLOCK + size, end)?;
            self.entry(name, at + BLOCK, size)?;
            at = end;
        }
        if self.block(at + BLOCK)?.iter().any(|byte| *byte != 0) {
            return Err(self.malformed("it has only one of the two blocks that end it"));
        }
        if at + 2 * BLOCK != self.size {
            return Err(self.malformed(&format!("{} bytes follow its end", self.size - at - 2 * BLOCK)));
        }
        let lock = self.lock()?;
        self.check(&lock)?;
        Ok((self.files, self.blobs, lock))
    }

    fn entry(&mut self, name: EntryName, at: u64, size: u64) -> Result<(), BundleError> {
        let twice = match name {
            EntryName::Blob(digest) => self.blobs.insert(digest, (at, size)).is_some(),
            _ if size > FILE_LIMIT => {
                return Err(self.malformed(&format!("`{}` is over {FILE_LIMIT} bytes", name.text())));
            }
            _ => {
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                self.read_at(&mut bytes, at)?;
                self.files.insert(name, bytes).is_some()
            }
        };
        // Importers disagree about which of two entries counts, so no two are ever right.
        if twice { Err(self.malformed(&format!("`{}` is in it twice", name.text()))) } else { Ok(()) }
    }

    fn check_padding(&self, from: u64, to: u64) -> Result<(), BundleError> {
        let mut padding: Block = [0; 512];
        let padding = &mut padding[..usize::try_from(to - from).unwrap_or(0)];
        self.read_at(padding, from)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(self.malformed(&format!("the padding at byte {from} is not empty")));
        }
        Ok(())
    }

    fn lock(&self) -> Result<ContentsLock, BundleError> {
        let Some(bytes) = self.files.get(&EntryName::Lock) else {
            return Err(self.malformed(&format!("it has no `{LOCK_NAME}`: catamaran did not write it")));
        };
        ContentsLock::from_bytes(bytes).map_err(|error| match error {
            InvalidLock::Schema(schema) if schema.starts_with("catamaran/bundle/") => {
                BundleError::NewerFormat { path: self.path.to_owned(), schema }
            }
            InvalidLock::Schema(schema) => self.malformed(&format!("`{LOCK_NAME}` has the format {schema:?}")),
            InvalidLock::Malformed(reason) => self.malformed(&reason),
        })
    }

    /// Compares the lock with what is there, both ways.
    fn check(&self, lock: &ContentsLock) -> Result<(), BundleError> {
        for name in [EntryName::Marker, EntryName::Index, EntryName::DockerView] {
            let text = name.text();
            let locked = lock.files.iter().find(|file| file.name == text);
            let Some(bytes) = self.files.get(&name) else { return Err(self.malformed(&format!("it has no `{text}`"))) };
            if locked.is_none_or(|file| file.digest != Digest::of(bytes)) {
                return Err(self.malformed(&format!("`{text}` is not what `{LOCK_NAME}` says")));
            }
        }
        for blob in &lock.blobs {
            match self.blobs.get(&blob.digest) {
                None => return Err(self.malformed(&format!("blob `{}` is missing", blob.digest))),
                Some((_, size)) if *size != blob.size => {
                    return Err(self.malformed(&format!("blob `{}` has {size} bytes, not {}", blob.digest, blob.size)));
                }
                Some(_) => {}
            }
        }
        if lock.blobs.len() != self.blobs.len() {
            let known: std::collections::HashSet<Digest> = lock.blobs.iter().map(|blob| blob.digest).collect();
            let extra = self.blobs.keys().filter(|digest| !known.contains(*digest)).min();
            let shown =
                extra.map_or_else(|| "a blob is listed twice".to_owned(), |one| format!("blob `{one}` is not listed"));
            return Err(self.malformed(&shown));
        }
        Ok(())
    }

    fn block(&self, at: u64) -> Result<Block, BundleError> {
        let mut block: Block = [0; 512];
        self.read_at(&mut block, at)?;
        Ok(block)
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> Result<(), BundleError> {
        self.file.read_exact_at(out, at).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => BundleError::Io { action: "read", path: self.path.to_owned(), source },
        })
    }

    /// The lock comes before all blobs, so it usually knows what is missing.
    fn truncated(&self) -> BundleError {
        let missing = self.lock().ok().and_then(|lock| {
            lock.blobs.iter().find(|blob| !self.blobs.contains_key(&blob.digest)).map(|blob| blob.digest)
        });
        BundleError::Truncated { path: self.path.to_owned(), at: self.size, missing }
    }

    fn malformed(&self, reason: &str) -> BundleError {
        BundleError::Malformed { path: self.path.to_owned(), reason: reason.to_owned() }
    }
}
