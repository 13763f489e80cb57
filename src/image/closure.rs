use std::collections::{HashMap, HashSet};

use super::{ImageError, RawManifest};
use crate::base::{Descriptor, Digest, MediaKind};
use crate::store::BlobSource;

/// Indexes in indexes in indexes: more levels than this make no sense and no importer follows them.
const DEPTH_LIMIT: usize = 4;

/// Blobs that one root may reach.
const NODE_LIMIT: usize = 100_000;

/// What a blob of `media_type` refers to directly; nothing for anything but indexes and manifests.
///
/// An index's entries in their order; a manifest's config, then its layers. A `subject` is not included: it points back.
pub fn children(bytes: &[u8], media_type: &str) -> Result<Vec<Descriptor>, ImageError> {
    match MediaKind::of(media_type) {
        MediaKind::Index | MediaKind::Manifest => Ok(RawManifest::parse(bytes.to_vec(), media_type)?.children()),
        MediaKind::Config | MediaKind::Blob => Ok(Vec::new()),
    }
}

/// Everything reachable from `root`, `root` itself included.
///
/// Each blob once, after everything it refers to (so that pushing or copying in this order never dangles), `root` last.
/// Manifests and indexes on the way are read and verified; that other blobs are there is not checked. Bounded in depth
/// and number.
pub fn closure(source: &dyn BlobSource, root: &Descriptor) -> Result<Vec<Descriptor>, ImageError> {
    let mut walk = Walk { source, sizes: HashMap::new(), entered: HashSet::new(), out: Vec::new() };
    walk.visit(root, 0)?;
    Ok(walk.out)
}

struct Walk<'a> {
    source: &'a dyn BlobSource,
    /// Size of every blob seen: two descriptors that disagree cannot both be right.
    sizes: HashMap<Digest, u64>,
    /// By kind too: a blob that is first met as a layer must still be followed when it is met as a manifest.
    entered: HashSet<(Digest, MediaKind)>,
    out: Vec<Descriptor>,
}

impl Walk<'_> {
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), ImageError> {
        let unbounded = |reason| ImageError::Unbounded { digest: descriptor.digest, reason };
        let first_time = !self.sizes.contains_key(&descriptor.digest);
        let known = *self.sizes.entry(descriptor.digest).or_insert(descriptor.size);
        if known != descriptor.size {
            return Err(ImageError::Conflict { digest: descriptor.digest, first: known, second: descriptor.size });
        }
        if !self.entered.insert((descriptor.digest, descriptor.kind())) {
            return Ok(());
        }
        if self.entered.len() > NODE_LIMIT {
            return Err(unbounded(format!("over {NODE_LIMIT} blobs")));
        }
        if matches!(descriptor.kind(), MediaKind::Index | MediaKind::Manifest) {
            if depth >= DEPTH_LIMIT {
                return Err(unbounded(format!("over {DEPTH_LIMIT} levels")));
            }
            for child in RawManifest::read(self.source, descriptor)?.children() {
                self.visit(&child, depth + 1)?;
            }
        }
        if first_time {
            self.out.push(descriptor.clone());
        }
        Ok(())
    }
}
