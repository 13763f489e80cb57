use std::collections::HashSet;

use bytes::Bytes;

use super::resolve::{DEPTH, IndexBody, ManifestBody};
use super::{Fetched, PushSource, RegistryError};
use crate::base::{Descriptor, Digest, MediaKind};
use crate::store::StoreError;

/// A manifest or index of a release, with what it refers to.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its bytes as they are in the source, verified.
    pub(super) manifest: Fetched,
    /// Manifests that an index lists, as it lists them (platform and annotations included).
    pub(super) children: Vec<Descriptor>,
    /// Config and layers of a manifest.
    pub(super) blobs: Vec<Descriptor>,
}

/// Everything below one root, children before parents, each once; the root is the last.
#[derive(Debug, Clone)]
pub(super) struct Closure {
    pub(super) nodes: Vec<Node>,
}

/// No manifest of ours is larger; distribution-spec lets registries refuse what is.
const LIMIT: u64 = super::manifest::MANIFEST_LIMIT as u64;
/// More manifests than any release has.
const NODES: usize = 100_000;

impl Closure {
    /// Reads the closure of `root` from the layout. Blocks.
    pub(super) fn read(source: &PushSource, root: &Descriptor) -> Result<Self, RegistryError> {
        let mut closure = Self { nodes: Vec::new() };
        closure.visit(source, root, 0, &mut HashSet::new())?;
        Ok(closure)
    }

    /// Takes up what goes where this goes. The root stays the last.
    pub(super) fn include(&mut self, other: Self) {
        let known: HashSet<Digest> = self.nodes.iter().map(Node::digest).collect();
        let before_root = self.nodes.len() - 1;
        self.nodes
            .splice(before_root..before_root, other.nodes.into_iter().filter(|node| !known.contains(&node.digest())));
    }

    /// The root's own node.
    pub(super) fn root(&self) -> &Node {
        self.nodes.last().expect("`read` ends with the root")
    }

    fn visit(
        &mut self,
        source: &PushSource,
        descriptor: &Descriptor,
        depth: usize,
        seen: &mut HashSet<Digest>,
    ) -> Result<(), RegistryError> {
        if !seen.insert(descriptor.digest) {
            return Ok(());
        }
        let unusable = |reason: String| RegistryError::Unsound {
            what: format!("manifest `{}` in the source", descriptor.digest),
            reason,
        };
        if depth > DEPTH || seen.len() > NODES {
            return Err(unusable("it is part of indexes that are nested too deep or too many".to_owned()));
        }
        let bytes = Bytes::from(source.blobs().read(descriptor, LIMIT)?);
        let (children, blobs) = match descriptor.kind() {
            MediaKind::Index => {
                let index: IndexBody = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
                (index.manifests, Vec::new())
            }
            MediaKind::Manifest => {
                let body: ManifestBody = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
                let mut blobs = vec![body.config];
                blobs.extend(body.layers);
                (Vec::new(), blobs)
            }
            MediaKind::Config | MediaKind::Blob => {
                return Err(unusable(format!("`{}` is no manifest type", descriptor.media_type)));
            }
        };
        for child in &children {
            self.visit(source, child, depth + 1, seen)?;
        }
        let blobs = present(source, blobs)?;
        self.nodes.push(Node { manifest: Fetched { descriptor: descriptor.bare(), bytes }, children, blobs });
        Ok(())
    }
}

/// The blobs that have to be at the registry, each once; all of them must be in the source in their right size.
///
/// Layers of the non-distributable types stay where their `urls` say when we do not have them (image-spec, layer).
fn present(source: &PushSource, blobs: Vec<Descriptor>) -> Result<Vec<Descriptor>, RegistryError> {
    let mut kept: Vec<Descriptor> = Vec::with_capacity(blobs.len());
    for blob in blobs {
        if kept.iter().any(|known| known.digest == blob.digest) {
            continue;
        }
        match source.size_of(&blob)? {
            Some(size) if size == blob.size => kept.push(blob.bare()),
            Some(found) => {
                return Err(StoreError::WrongSize { digest: blob.digest, expected: blob.size, found }.into());
            }
            None if blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign") => {}
            None => return Err(StoreError::Missing { digest: blob.digest }.into()),
        }
    }
    Ok(kept)
}
