use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::base::{CellId, CellState};
use crate::event::{Event, StepId, StepPosition};
use crate::report::style::printable;

/// Where a run stands, kept from its events: what every view counts and names.
#[derive(Debug)]
pub(super) struct Tally {
    /// Cells that are to be brought about.
    pub(super) cells: usize,
    pub(super) began: Instant,
    pub(super) running: BTreeMap<CellId, Running>,
    states: HashMap<CellState, usize>,
}

/// A cell at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) began: Instant,
    /// Steps that run now, in the order in which they began.
    pub(super) steps: Vec<Step>,
    started: usize,
}

/// A step at work.
#[derive(Debug, Clone)]
pub(super) struct Step {
    id: StepId,
    /// In the order of beginning, as in the cell's log.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) position: Option<StepPosition>,
    pub(super) internal: bool,
    pub(super) began: Instant,
    /// What moves, bytes done, bytes in all.
    pub(super) moved: Option<(u64, Option<u64>)>,
}

impl Tally {
    pub(super) fn new(now: Instant) -> Self {
        Self { cells: 0, began: now, running: BTreeMap::new(), states: HashMap::new() }
    }

    pub(super) fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::RunStarted { cells, .. } => {
                self.cells = *cells;
                self.began = now;
            }
            Event::CellStarted { cell, .. } => {
                self.running.insert(cell.clone(), Running { began: now, steps: Vec::new(), started: 0 });
            }
            Event::StepStarted { cell, step, name, position, internal } => {
                if let Some(running) = self.running.get_mut(cell) {
                    running.begin(step, name, position.as_ref(), *internal, now);
                }
            }
            Event::StepProgress { cell, step, done, total, .. } => {
                let steps = self.running.get_mut(cell).map(|running| &mut running.steps);
                if let Some(found) = steps.and_then(|steps| steps.iter_mut().find(|known| known.id == *step)) {
                    found.moved = Some((*done, *total));
                }
            }
            Event::StepFinished { cell, step, .. } => {
                if let Some(running) = self.running.get_mut(cell) {
                    running.steps.retain(|known| known.id != *step);
                }
            }
            Event::CellFinished { cell, state, .. } => {
                self.running.remove(cell);
                *self.states.entry(*state).or_default() += 1;
            }
            _ => {}
        }
    }

    pub(super) fn count(&self, state: CellState) -> usize {
        self.states.get(&state).copied().unwrap_or(0)
    }

    /// Cells that are there: built, reused or mirrored.
    pub(super) fn done(&self) -> usize {
        self.count(CellState::Built) + self.count(CellState::Reused) + self.count(CellState::Mirrored)
    }

    /// Cells whose turn has not come.
    pub(super) fn waiting(&self) -> usize {
        let ended: usize = self.states.iter().filter(|(state, _)| **state != CellState::Excluded).map(|(_, n)| n).sum();
        self.cells.saturating_sub(ended + self.running.len())
    }
}

impl Running {
    fn begin(&mut self, id: &StepId, name: &str, position: Option<&StepPosition>, internal: bool, now: Instant) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.id == *id) {
            step.began = now;
            return;
        }
        self.started += 1;
        self.steps.push(Step {
            id: id.clone(),
            number: self.started,
            name: printable(name),
            position: position.cloned(),
            internal,
            began: now,
            moved: None,
        });
    }

    /// The step that says most about what is going on: the latest that the Dockerfile names, else the latest.
    pub(super) fn step(&self) -> Option<&Step> {
        self.steps.iter().rev().find(|step| !step.internal).or_else(|| self.steps.last())
    }
}
