use std::collections::BTreeSet;
use std::path::Path;

use super::fingerprint::{Contents, Standing, judge};
use super::moved::unlocked;
use super::{Bases, RunError, StateDir};
use crate::base::CellId;
use crate::plan::{Cell, Plan, Selection};
use crate::store::{Layout, StoreError};

/// What a build would do about a cell, and why.
#[derive(Debug, Clone)]
pub struct Foresight {
    /// The cell.
    pub cell: CellId,
    /// Nothing for an external: it is brought again by every build.
    pub standing: Option<Standing>,
    /// References that it is built from and that nothing fixes to a digest: that one of them moved is no reason that is seen.
    pub unlocked: Vec<String>,
}

/// Tells for every selected cell what a build would do about it, in the order of the plan. Builds nothing, asks no builder and
/// writes nothing to the state directory: templates that no build has rendered yet are rendered below `scratch`, a folder for
/// temporary files, and gone when it returns. Blocks.
pub fn why(
    plan: &Plan,
    state: &StateDir,
    bases: &Bases,
    force: &BTreeSet<CellId>,
    scratch: &Path,
) -> Result<Vec<Foresight>, RunError> {
    let layout = match Layout::open(state.layout()) {
        Ok(layout) => Some(layout),
        Err(StoreError::NotALayout { .. } | StoreError::Absent { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let selected: Vec<&Cell> =
        plan.cells.iter().filter(|cell| cell.selection > Selection::Unselected && !cell.is_excluded()).collect();
    let templates = selected.iter().any(|cell| cell.build().is_some_and(|build| !build.templates.is_empty()));
    let state = if templates { state.only_read(scratch)? } else { state.clone() };
    let contents = Contents::open(&state);
    let mut judgement = judge(plan, &selected, &state, layout.as_ref(), bases, force, &contents)?;
    let foresight = selected.into_iter().map(|cell| Foresight {
        cell: cell.id.clone(),
        standing: judgement.standings.remove(&cell.id),
        unlocked: unlocked([cell], bases),
    });
    Ok(foresight.collect())
}
