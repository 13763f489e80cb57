use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::RunError;
use super::prefetch::is_elsewhere;
use crate::base::{Descriptor, Digest, Reference};
use crate::bundle::BundleReader;
use crate::image::NAME_ANNOTATIONS;
use crate::store::{BlobSource, Layout, StoreError, VerifiedReader};

/// Where an image is, or shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `HOST/REPOSITORY[:TAG]`: a registry.
    Registry(Reference),
    /// `oci:DIR[:NAME]`: an OCI image layout.
    Layout {
        /// Its directory.
        path: PathBuf,
        /// Which of its entries.
        name: Option<String>,
    },
    /// `bundle:FILE[:NAME]`, or a path that looks like one: an exported file.
    Bundle {
        /// The file.
        path: PathBuf,
        /// Which of its images.
        name: Option<String>,
    },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // As skopeo reads its own: the path ends at the first colon, the name may have more of them.
        let parts = |rest: &str| match rest.split_once(':') {
            Some((path, name)) if !path.is_empty() && !name.is_empty() => Ok((path.into(), Some(name.to_owned()))),
            None if !rest.is_empty() => Ok((PathBuf::from(rest), None)),
            _ => Err(format!("`{text}`: write a path, and a name behind a colon if one is meant")),
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, name) = parts(rest)?;
            return Ok(Self::Layout { path, name });
        }
        if let Some(rest) = text.strip_prefix("bundle:") {
            let (path, name) = parts(rest)?;
            return Ok(Self::Bundle { path, name });
        }
        let is_file = Path::new(text).extension().is_some_and(|extension| extension == "tar");
        if text.starts_with(['.', '/']) || is_file {
            return Ok(Self::Bundle { path: PathBuf::from(text), name: None });
        }
        let text = text.strip_prefix("docker://").unwrap_or(text);
        text.parse().map(Self::Registry).map_err(|error: crate::base::InvalidReference| error.to_string())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, name) = match self {
            Self::Registry(reference) => return write!(f, "{reference}"),
            Self::Layout { path, name } => ("oci", path, name),
            Self::Bundle { path, name } => ("bundle", path, name),
        };
        write!(f, "{kind}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

impl Place {
    /// The same with its path seen from `directory`.
    #[must_use]
    pub fn from_directory(self, directory: &Path) -> Self {
        match self {
            Self::Registry(reference) => Self::Registry(reference),
            Self::Layout { path, name } => Self::Layout { path: directory.join(path), name },
            Self::Bundle { path, name } => Self::Bundle { path: directory.join(path), name },
        }
    }
}

/// Opens the layout in `path` and finds the entry that is meant. Blocks.
pub(super) fn open_layout(path: &Path, name: Option<&str>) -> Result<(Arc<dyn BlobSource>, Descriptor), RunError> {
    let layout = Layout::open(path)?;
    let entries = layout.index()?;
    let named = |entry: &Descriptor| NAME_ANNOTATIONS.iter().find_map(|key| entry.annotation(key)).map(str::to_owned);
    let means = |entry: &Descriptor, name: &str| NAME_ANNOTATIONS.iter().any(|key| entry.annotation(key) == Some(name));
    let found = match name {
        Some(name) => entries.iter().find(|entry| means(entry, name)),
        None if entries.len() == 1 => entries.first(),
        None => None,
    };
    let known: Vec<String> = entries.iter().filter_map(named).collect();
    let root = found.ok_or_else(|| not_one(path, name, &known))?.bare();
    Ok((Arc::new(layout), root))
}

/// Opens the bundle in `path` and finds the image that is meant, by its component or its reference. Blocks.
pub(super) fn open_bundle(path: &Path, name: Option<&str>) -> Result<(Arc<dyn BlobSource>, Descriptor), RunError> {
    let bundle = BundleReader::open(path)?;
    let entries = bundle.entries();
    let found = match name {
        Some(name) => {
            entries.iter().find(|entry| entry.component.as_str() == name || entry.reference.to_string() == name)
        }
        None if entries.len() == 1 => entries.first(),
        None => None,
    };
    let known: Vec<String> = entries.iter().map(|entry| entry.component.to_string()).collect();
    let root = found.ok_or_else(|| not_one(path, name, &known))?.index.clone();
    Ok((Arc::new(bundle), root))
}

fn not_one(path: &Path, name: Option<&str>, known: &[String]) -> RunError {
    let (path, known) = (path.display(), known.join(", "));
    let message = match name {
        Some(name) => format!("`{path}` has no `{name}`; it has {known}"),
        None => format!("`{path}` has more than one image, or none: name one behind a colon; it has {known}"),
    };
    RunError::BadName { message }
}

/// A source with some blobs of its own in front: indexes that were made of what it has.
pub(super) struct Overlay {
    pub(super) own: Layout,
    pub(super) behind: Arc<dyn BlobSource>,
}

impl Overlay {
    fn of(&self, digest: &Digest) -> Result<&dyn BlobSource, StoreError> {
        Ok(if self.own.size_of(digest)?.is_some() { &self.own } else { self.behind.as_ref() })
    }
}

impl BlobSource for Overlay {
    fn size_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        self.of(digest)?.size_of(digest)
    }

    fn open(&self, descriptor: &Descriptor) -> Result<VerifiedReader<Box<dyn Read + Send>>, StoreError> {
        self.of(&descriptor.digest)?.open(descriptor)
    }

    fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.of(&descriptor.digest)?.read(descriptor, limit)
    }

    fn open_at(&self, descriptor: &Descriptor, at: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        self.of(&descriptor.digest)?.open_at(descriptor, at)
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.of(digest).map(|source| source.place(digest)).unwrap_or_default()
    }
}

/// Gives `index` the name that other tools give it in a layout of one's own: the tag alone. Blocks.
pub(super) fn name_in(layout: &Layout, index: &Descriptor, name: Option<&str>) -> Result<(), RunError> {
    let name = name.unwrap_or("latest");
    let mut entry = index.bare();
    let annotations = NAME_ANNOTATIONS.iter().map(|key| ((*key).to_owned(), name.to_owned())).collect();
    entry.annotations = Some(annotations);
    layout.update_index(|entries| {
        entries.retain(|entry| !NAME_ANNOTATIONS.iter().any(|key| entry.annotation(key) == Some(name)));
        entries.push(entry);
    })?;
    Ok(())
}

/// Copies a blob, verified; what is there stays. Blocks.
pub(super) fn copy_blob(source: &dyn BlobSource, layout: &Layout, blob: &Descriptor) -> Result<(), RunError> {
    // What upstream keeps elsewhere is not ours to bring.
    if layout.has(blob)? || (is_elsewhere(blob) && source.size_of(&blob.digest)?.is_none()) {
        return Ok(());
    }
    let mut reader = source.open(blob)?;
    let mut writer = layout.writer()?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count =
            reader.read(&mut buffer).map_err(|error| StoreError::from_read(error, source.place(&blob.digest)))?;
        if count == 0 {
            break;
        }
        writer.append(&buffer[..count])?;
    }
    writer.commit(Some(blob.digest), Some(blob.size))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        for (text, shown) in [
            ("localhost:5000/web:1", "localhost:5000/web:1"),
            ("docker://alpine", "alpine"),
            ("oci:out", "oci:out"),
            ("oci:out:registry.example/web:1", "oci:out:registry.example/web:1"),
            ("bundle:x:web", "bundle:x:web"),
            ("release.tar", "bundle:release.tar"),
            ("./release", "bundle:./release"),
        ] {
            assert_eq!(text.parse::<Place>().expect(text).to_string(), shown);
        }
        for bad in ["", "oci:", "oci::x", "oci:x:", "bundle:", "WEB", "https://x/y"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
