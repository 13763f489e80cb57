//! Images that were made from one that is made anew, and that this run does not make again.

use std::sync::{Mutex, PoisonError};

use super::fingerprint::{Fingerprint, InputKind, images};
use super::last::LastRun;
use super::{CellRecord, RunError, StateDir};
use crate::base::{CellId, Digest};
use crate::plan::{Cell, Plan};

/// As in [`images`].
type Images = Vec<(InputKind, String, CellId)>;

/// The cells that a run leaves as they are, with the images of other cells that each is made from.
///
/// When one of these comes out with another digest, the old image of the cell does not fit the rest any more: a release with
/// both would be mixed from old and new. So its record goes, and it is a hole until it is built.
#[derive(Debug, Default)]
pub(super) struct Dependents {
    cells: Vec<(CellId, Images)>,
    /// One at a time: all of them write one file.
    turn: Mutex<()>,
}

impl Dependents {
    /// Those of `whole` that are not among `selected`.
    pub(super) fn new(whole: &Plan, selected: &[&Cell]) -> Self {
        let left = whole.cells.iter().filter(|cell| !selected.iter().any(|other| other.id == cell.id));
        let cells = left.filter_map(|cell| Some((cell.id.clone(), images(whole, cell, cell.build()?)))).collect();
        Self { cells, turn: Mutex::default() }
    }

    /// Forgets the records of those that were made from another image of `made` than the one with `digest`, and of what was
    /// made from them. Call it before the record of `made` is written: a run that is killed in between leaves holes. Blocks.
    pub(super) fn forget(&self, state: &StateDir, made: &CellId, digest: Digest) -> Result<Vec<CellId>, RunError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone: Vec<CellId> = Vec::new();
        // In the order of the plan, so that what a cell is made from is known before it.
        for (cell, images) in &self.cells {
            let from = |other: &CellId| other == made || gone.contains(other);
            if !images.iter().any(|(_, _, other)| from(other)) {
                continue;
            }
            let Some(record) = CellRecord::load(state, cell)? else { continue };
            let is_old = |print: &Fingerprint| {
                images.iter().any(|(kind, name, other)| {
                    gone.contains(other) || other == made && print.names_another(*kind, name, digest)
                })
            };
            if record.fingerprint.as_ref().is_some_and(is_old) {
                gone.push(cell.clone());
            }
        }
        if !gone.is_empty() {
            let mut last = LastRun::load(state);
            last.outdate(&gone, &format!("{made}, which it is made from, was built anew"));
            last.save(state)?;
        }
        gone.iter().try_for_each(|cell| CellRecord::forget(state, cell))?;
        Ok(gone)
    }
}
