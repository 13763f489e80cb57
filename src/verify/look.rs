use tokio_util::sync::CancellationToken;

use super::Problem;
use super::layer::{Compression, Foreign, scan};
use super::walk::{Interruptible, foreign_problem, problem_of_read, problem_of_store};
use crate::base::{Descriptor, Digest, Platform};
use crate::store::BlobSource;

/// What [`look_into`] found in a layer. It depends on the layer's bytes and the platform alone, so it can be remembered by
/// the layer's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFacts {
    /// Digest of the uncompressed bytes.
    pub diff_id: Digest,
    /// Programs that the platform does not run.
    pub foreign: Foreign,
}

/// Looks into one layer of an image for `platform`, as [`super::verify_layout`] does with [`super::Depth::Layers`]: uncompressed
/// once from the first byte to the last, its digest proven on the way, in constant memory.
///
/// The error is why nothing can be said about it. Cancelling ends it soon, with an error of no meaning.
pub fn look_into(
    source: &dyn BlobSource,
    layer: &Descriptor,
    platform: &Platform,
    cancel: &CancellationToken,
) -> Result<LayerFacts, Box<Problem>> {
    let compression = Compression::of(&layer.media_type).map_err(|reason| Box::new(Problem::NotScanned { reason }))?;
    let inner = source.open(layer).map_err(|error| Box::new(problem_of_store(error)))?;
    let mut scanned = scan(Interruptible { inner, cancel }, compression, std::slice::from_ref(platform))
        .map_err(|error| Box::new(problem_of_read(error)))?;
    Ok(LayerFacts { diff_id: scanned.diff_id, foreign: scanned.foreign.pop().unwrap_or_default() })
}

impl LayerFacts {
    /// What is wrong with the layer in an image whose config says `diff_id` for it, and whose component has the programs of
    /// `declared` on purpose.
    pub fn problem(&self, diff_id: &Digest, declared: &[String], platform: &Platform) -> Option<Problem> {
        if self.diff_id != *diff_id {
            return Some(Problem::WrongDiffId { expected: *diff_id, found: self.diff_id });
        }
        foreign_problem(&self.foreign, declared, platform)
    }
}
