use std::collections::BTreeMap;
use std::io::Read as _;

use super::{Matrix, StateDir};
use crate::base::{CellId, ComponentName, Descriptor, Digest, media_type};
use crate::image::{ManifestBody, RawManifest};
use crate::store::Layout;

/// What the results in the layout are made of.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    /// The layers of every cell that is there, base first.
    pub layers: BTreeMap<CellId, Vec<Descriptor>>,
    /// The manifest of every cell that is there.
    pub manifests: BTreeMap<CellId, Descriptor>,
    /// The index of every component that has one.
    pub indexes: BTreeMap<ComponentName, Descriptor>,
}

/// Looks up what the cells and indexes of `matrix` are made of. What cannot be read is left out: sizes are an ornament, and
/// whether everything is there was decided before.
pub fn sizes(state: &StateDir, matrix: &Matrix) -> Sizes {
    let mut sizes = Sizes::default();
    let Ok(layout) = Layout::open(state.layout()) else { return sizes };
    for cell in &matrix.cells {
        let Some((manifest, layers)) = cell.digest.and_then(|digest| image(&layout, &digest)) else { continue };
        sizes.manifests.insert(cell.cell.clone(), manifest);
        sizes.layers.insert(cell.cell.clone(), layers);
    }
    for index in &matrix.indexes {
        if let Some(descriptor) = described(&layout, &index.digest) {
            sizes.indexes.insert(index.component.clone(), descriptor);
        }
    }
    sizes
}

/// Manifests are small by specification; what is larger is none, and cut it is no JSON.
const LIMIT: u64 = 4 << 20;

/// The layers of an image in the layout; none if it cannot be read.
pub(super) fn layers(layout: &Layout, manifest: &Digest) -> Vec<Descriptor> {
    image(layout, manifest).map(|(_, layers)| layers).unwrap_or_default()
}

fn image(layout: &Layout, digest: &Digest) -> Option<(Descriptor, Vec<Descriptor>)> {
    let descriptor = described(layout, digest)?;
    match RawManifest::read(layout, &descriptor).ok()?.parsed {
        ManifestBody::Image { layers, .. } => Some((descriptor, layers)),
        ManifestBody::Index { .. } => None,
    }
}

/// The descriptor of a manifest or index whose digest alone is known: its media type stands in itself.
fn described(layout: &Layout, digest: &Digest) -> Option<Descriptor> {
    let mut bytes = Vec::new();
    layout.open_raw(digest).ok()?.file.take(LIMIT).read_to_end(&mut bytes).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let index = value.get("manifests").is_some();
    let default = if index { media_type::INDEX } else { media_type::MANIFEST };
    let media_type = value.get("mediaType").and_then(serde_json::Value::as_str).unwrap_or(default);
    Some(Descriptor::new(media_type, *digest, bytes.len() as u64))
}
