//! What an image depends on, so that a cell whose inputs are unchanged is not built again, and `why` can name what changed.
//!
//! In: a plan, the files it names, what builders said that they read. Out: for each cell the list of its inputs with a digest
//! of each, and a verdict. Works on this machine alone: no builder is asked. The rule in every doubt is to build.

mod change;
mod contents;
mod hashes;
mod input;
mod judge;
mod listing;
mod reads;
mod sources;

pub use change::{Cause, Change, How, Standing};
pub(in crate::run) use contents::{Blobs, Contents};
pub(in crate::run) use hashes::TICK;
pub(in crate::run) use input::lenient;
pub use input::{Fingerprint, Input, InputKind};
pub(in crate::run) use judge::{Judgement, judge};
pub(in crate::run) use reads::Read;
pub(in crate::run) use sources::{Sources, images};

#[cfg(test)]
mod tests;
