//! Images that a run leaves alone although their sources have changed.

use std::collections::BTreeSet;

use super::fingerprint::{Cause, Contents, Standing, judge};
use super::last::LastRun;
use super::{Bases, CellRecord, RunError, StateDir};
use crate::base::CellId;
use crate::plan::{Cell, Plan};
use crate::store::Layout;

/// The cells of `whole` that are there, are not `selected`, and would be made from something else now. Reads files. Blocks.
pub(super) fn outdated(
    whole: &Plan,
    selected: &BTreeSet<CellId>,
    state: &StateDir,
    layout: &Layout,
    bases: &Bases,
    contents: &Contents,
) -> Result<Vec<CellId>, RunError> {
    let left: Vec<&Cell> =
        whole.cells.iter().filter(|cell| !cell.is_excluded() && !selected.contains(&cell.id)).collect();
    let judgement = judge(whole, &left, state, Some(layout), bases, &BTreeSet::new(), contents)?;
    let is_old = |standing: &Standing| match standing {
        Standing::Stale(causes) => {
            !causes.contains(&Cause::Never) && causes.iter().any(|cause| matches!(cause, Cause::Input(_)))
        }
        Standing::Fresh(_) | Standing::Waits(..) => false,
    };
    Ok(judgement.standings.into_iter().filter(|(_, standing)| is_old(standing)).map(|(cell, _)| cell).collect())
}

/// Takes their records away. What a run builds is made from the sources as they are, and a release with both would be mixed
/// from old and new: they are holes until they are built, too. The blobs stay. Blocks.
pub(super) fn forget_outdated(cells: &[CellId], state: &StateDir) -> Result<(), RunError> {
    if cells.is_empty() {
        return Ok(());
    }
    let mut last = LastRun::load(state);
    last.outdate(cells, "what it is made from has changed, and others were built since");
    last.save(state)?;
    cells.iter().try_for_each(|cell| CellRecord::forget(state, cell))
}
