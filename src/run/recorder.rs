use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::history::{RecordedBuilder, RecordedCell, RecordedFailure, RecordedIndex};
use super::last::LastRun;
use super::sizes::layers;
use super::{Outcome, RunError, RunRecord, StateDir};
use crate::base::CellId;
use crate::event::{Event, EventSink, StepId};
use crate::plan::{Plan, Selection};
use crate::store::Layout;

/// Passes events on, and remembers when what happened: a [`RunRecord`] is made of it when the run is over.
///
/// When a run starts it also tells, as [`Event::Expected`], how long its cells took the last time.
pub struct Recorder {
    next: Arc<dyn EventSink>,
    /// Seconds of every cell's last good build.
    before: BTreeMap<String, f64>,
    /// Those of the cells of this run.
    expected: Vec<(CellId, Duration)>,
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    builders: Vec<RecordedBuilder>,
    began: HashMap<CellId, Duration>,
    ended: HashMap<CellId, Duration>,
    names: HashMap<(CellId, StepId), String>,
    steps: HashMap<CellId, Vec<(String, f64)>>,
}

/// Steps that are kept of each cell.
const STEPS: usize = 5;
/// A step that is shorter explains nothing.
const LEAST_SECONDS: f64 = 0.5;
/// The longest name of a step that is kept, in characters.
const NAME: usize = 200;
/// A file that is larger is kept with a failure only up to the place that failed.
const EXCERPT: usize = 64 << 10;

impl Recorder {
    /// A recorder of a run that begins now, in front of `next`.
    pub fn new(next: Arc<dyn EventSink>, plan: &Plan, state: &StateDir) -> Self {
        // Without a record there is no estimate; a disk that cannot be read is told by what needs it.
        let before = RunRecord::load(state).ok().flatten().map(|record| record.history).unwrap_or_default();
        let selected = plan.cells.iter().filter(|cell| cell.selection > Selection::Unselected && !cell.is_excluded());
        let expected = selected.filter_map(|cell| {
            let seconds = before.get(&key(&cell.id))?;
            Some((cell.id.clone(), Duration::try_from_secs_f64(*seconds).ok()?))
        });
        let expected = expected.collect();
        Self { next, before, expected, began: Instant::now(), seen: Mutex::new(Seen::default()) }
    }

    /// Writes the record of the run, which has ended like this.
    pub fn finish(&self, outcome: &Outcome, plan: &Plan, state: &StateDir) -> Result<RunRecord, RunError> {
        let record = self.record(outcome, plan, state);
        record.save(state)?;
        Ok(record)
    }

    fn record(&self, outcome: &Outcome, plan: &Plan, state: &StateDir) -> RunRecord {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *seen;
        let layout = Layout::open(state.layout()).ok();
        let matrix = &outcome.matrix;
        let cells: Vec<RecordedCell> =
            matrix.cells.iter().map(|report| cell(report, seen, plan, layout.as_ref())).collect();
        let mut history = self.before.clone();
        for cell in cells.iter().filter(|cell| cell.state.is_good()) {
            if let Some(seconds) = cell.seconds {
                history.insert(key(&cell.id()), seconds);
            }
        }
        let mut failures: Vec<RecordedFailure> = outcome
            .failures
            .iter()
            .map(|failure| RecordedFailure::of(failure, Some(failure.cell.clone()), failure.log.clone()))
            .collect();
        failures.extend(outcome.error.iter().map(|error| RecordedFailure::of(error, None, None)));
        for failure in &mut failures {
            failure.cut(EXCERPT);
        }
        let took = self.began.elapsed();
        RunRecord {
            title: matrix.title.clone(),
            began: jiff::Timestamp::now().as_second().saturating_sub_unsigned(took.as_secs()),
            seconds: took.as_secs_f64(),
            complete: matrix.is_complete() && !matrix.cells.is_empty() && outcome.error.is_none(),
            subset: matrix.subset,
            interrupted: outcome.interrupted,
            expected: matrix.expected(),
            present: matrix.present(),
            received: outcome.received,
            sent: outcome.sent,
            builders: std::mem::take(&mut seen.builders),
            cells,
            indexes: matrix
                .indexes
                .iter()
                .map(|index| RecordedIndex {
                    component: index.component.clone(),
                    reference: index.reference.clone(),
                    digest: index.digest,
                })
                .collect(),
            failures,
            history,
            open: LastRun::load(state).open(),
            ..RunRecord::new()
        }
    }
}

fn cell(report: &super::CellReport, seen: &mut Seen, plan: &Plan, layout: Option<&Layout>) -> RecordedCell {
    let id = &report.cell;
    let began = seen.began.get(id).copied();
    let took = began.zip(seen.ended.get(id).copied()).map(|(began, ended)| ended.saturating_sub(began));
    let mut steps = seen.steps.remove(id).unwrap_or_default();
    steps.sort_by(|a, b| b.1.total_cmp(&a.1));
    steps.truncate(STEPS);
    RecordedCell {
        component: id.component.clone(),
        platform: id.platform.clone(),
        state: report.state,
        external: report.external,
        reason: report.reason.clone(),
        emulated: report.emulated,
        builder: report.builder.clone(),
        manifest: report.digest,
        began: began.map(|began| began.as_secs_f64()),
        seconds: took.map(|took| took.as_secs_f64()),
        needs: plan.cell(id).map(|cell| cell.needs.clone()).unwrap_or_default(),
        layers: layout.zip(report.digest.as_ref()).map(|(layout, digest)| layers(layout, digest)).unwrap_or_default(),
        steps,
        log: report.log.clone(),
    }
}

pub(super) fn key(cell: &CellId) -> String {
    format!("{}/{}", cell.component, cell.platform)
}

impl EventSink for Recorder {
    fn emit(&self, event: Event) {
        let at = self.began.elapsed();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.take(&event, at);
        }
        let started = matches!(event, Event::RunStarted { .. });
        self.next.emit(event);
        if started && !self.expected.is_empty() {
            self.next.emit(Event::Expected { cells: self.expected.clone() });
        }
    }
}

impl Seen {
    fn take(&mut self, event: &Event, at: Duration) {
        match event {
            Event::BuilderReady { address, version, platforms } => self.builders.push(RecordedBuilder {
                address: address.clone(),
                version: version.clone(),
                platforms: platforms.iter().map(|(platform, how)| (platform.to_string(), how.to_string())).collect(),
            }),
            // A second attempt goes on where the first one was.
            Event::CellStarted { cell, .. } => {
                self.began.entry(cell.clone()).or_insert(at);
            }
            Event::StepStarted { cell, step, name, internal: false, .. } => {
                let name = name.chars().take(NAME).collect();
                self.names.insert((cell.clone(), step.clone()), name);
            }
            Event::StepFinished { cell, step, cached: false, took, .. } if took.as_secs_f64() >= LEAST_SECONDS => {
                if let Some(name) = self.names.get(&(cell.clone(), step.clone())) {
                    let step = (name.clone(), took.as_secs_f64());
                    self.steps.entry(cell.clone()).or_default().push(step);
                }
            }
            Event::CellFinished { cell, .. } => {
                self.names.retain(|(of, _), _| of != cell);
                self.ended.insert(cell.clone(), at);
            }
            _ => {}
        }
    }
}
