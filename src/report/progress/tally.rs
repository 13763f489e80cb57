use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

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
    /// How long cells that have not ended took the last time.
    expected: HashMap<CellId, Duration>,
    /// What the cells took the last time on average, where that is known of most.
    usual: Option<Duration>,
    /// The most cells that ran at once so far.
    at_once: usize,
}

/// A cell at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) began: Instant,
    /// Steps that run now, in the order in which they began.
    pub(super) steps: Vec<Step>,
}

/// A step at work.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) id: StepId,
    pub(super) name: String,
    pub(super) position: Option<StepPosition>,
    pub(super) internal: bool,
    pub(super) began: Instant,
    /// What moves, bytes done, bytes in all.
    pub(super) moved: Option<(u64, Option<u64>)>,
}

impl Tally {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cells: 0,
            began: now,
            running: BTreeMap::new(),
            states: HashMap::new(),
            expected: HashMap::new(),
            usual: None,
            at_once: 0,
        }
    }

    pub(super) fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::RunStarted { cells, .. } => {
                self.cells = *cells;
                self.began = now;
            }
            Event::Expected { cells } => {
                self.expected = cells.iter().cloned().collect();
                let sum: Duration = self.expected.values().sum();
                let known = u32::try_from(self.expected.len()).unwrap_or(u32::MAX);
                self.usual = (self.expected.len() * 2 > self.cells).then(|| sum / known.max(1));
            }
            Event::CellStarted { cell, .. } => {
                self.running.insert(cell.clone(), Running { began: now, steps: Vec::new() });
                self.at_once = self.at_once.max(self.running.len());
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
                self.expected.remove(cell);
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

    /// How long the rest will take, if it goes as the last time and as many cells run at once as did so far.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let usual = self.usual?;
        let rest = |(cell, running): (&CellId, &Running)| {
            let expected = self.expected.get(cell).copied().unwrap_or(usual);
            expected.saturating_sub(now.saturating_duration_since(running.began))
        };
        let running: Vec<Duration> = self.running.iter().map(rest).collect();
        let known = self.expected.iter().filter(|(cell, _)| !self.running.contains_key(*cell)).map(|(_, took)| *took);
        let waiting: Duration = known.clone().sum();
        let unknown = u32::try_from(self.waiting().saturating_sub(known.count())).unwrap_or(u32::MAX);
        let lanes = u32::try_from(self.at_once.max(1)).unwrap_or(u32::MAX);
        let work = running.iter().sum::<Duration>() + waiting + usual.saturating_mul(unknown);
        // Nothing is over before its longest part is.
        Some((work / lanes).max(running.into_iter().max().unwrap_or_default()))
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
        self.steps.push(Step {
            id: id.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_from_the_last_run() {
        let now = Instant::now();
        let cell = |number: usize| {
            CellId::new(format!("c{number}").parse().expect("a name"), "arm64".parse().expect("a platform"))
        };
        let seconds = Duration::from_secs;
        let mut tally = Tally::new(now);
        let started = Event::RunStarted {
            title: String::new(),
            components: 4,
            platforms: Vec::new(),
            cells: 4,
            subset: false,
            needed: Vec::new(),
        };
        tally.take(&started, now);
        assert_eq!(tally.left(now), None);
        tally.take(&Event::Expected { cells: (0..3).map(|number| (cell(number), seconds(10))).collect() }, now);
        for number in [0, 1] {
            let event = Event::CellStarted { cell: cell(number), builder: String::new(), attempt: 1 };
            tally.take(&event, now);
        }
        // Two of ten seconds run, one of ten and one that is not known wait for two lanes.
        assert_eq!(tally.left(now), Some(seconds(20)));
        assert_eq!(tally.left(now + seconds(4)), Some(seconds(16)));
        // One that takes longer than the last time has no time left, and never less than none.
        assert_eq!(tally.left(now + seconds(99)), Some(seconds(10)));
    }
}
