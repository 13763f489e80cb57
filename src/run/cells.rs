use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::cell::Prepared;
use super::copied;
use super::recorder::key;
use super::scheduler::{Graph, Limits, Node, OnFailure, Stopped, Verdict, Verdicts, Way, Worker, schedule};
use super::status::{is_shown, title};
use super::task::{CellTask, JudgedCell, Made, Shared, Trouble, address};
use super::{Builders, CellFailure, CellRecord, CellReport, Matrix, Outcome, RunError, ServiceFailure, StateDir};
use crate::base::{CellId, CellState, Descriptor, ErrorClass, Failure};
use crate::engine::EngineError;
use crate::event::{Event, EventSink};
use crate::plan::{Cell, CellWork, Plan, Selection};

/// Externals that are fetched at once: they wait for the network, not for a processor.
const MIRROR_LANE: usize = 4;

/// The scheduler's view of a run's cells.
pub(super) struct Cells<'a> {
    /// By the scheduler's positions.
    selected: &'a [&'a Cell],
    prepared: Vec<Option<Arc<Prepared>>>,
    builders: &'a Builders,
    shared: Shared,
    state: &'a StateDir,
    events: Arc<dyn EventSink>,
    /// Cells that have nothing to do: their images are right as they are.
    fresh: BTreeMap<CellId, Box<CellRecord>>,
    judged: BTreeMap<CellId, JudgedCell>,
    /// Seconds that cells took in earlier runs, by `NAME/OS/ARCH`.
    history: BTreeMap<String, f64>,
    began: Instant,
    /// The lanes that cells run in, by position.
    lanes: BTreeMap<usize, usize>,
    /// Positions of failed cells in the order in which they failed: the first one is the root cause.
    failed: Vec<usize>,
    failures: Vec<CellFailure>,
    reports: BTreeMap<CellId, CellReport>,
    received: u64,
    sent: u64,
}

impl<'a> Cells<'a> {
    pub(super) fn new(
        selected: &'a [&'a Cell],
        prepared: Vec<Option<Arc<Prepared>>>,
        builders: &'a Builders,
        shared: Shared,
        state: &'a StateDir,
        events: Arc<dyn EventSink>,
    ) -> Self {
        Self {
            selected,
            prepared,
            builders,
            shared,
            state,
            events,
            fresh: BTreeMap::new(),
            judged: BTreeMap::new(),
            history: BTreeMap::new(),
            began: Instant::now(),
            lanes: BTreeMap::new(),
            failed: Vec::new(),
            failures: Vec::new(),
            reports: BTreeMap::new(),
            received: 0,
            sent: 0,
        }
    }

    /// Takes what is known of the cells beforehand. Those that are `fresh` must not be among the selected ones.
    pub(super) fn judged(
        mut self,
        fresh: BTreeMap<CellId, Box<CellRecord>>,
        judged: BTreeMap<CellId, JudgedCell>,
    ) -> Self {
        let reports = fresh.iter().map(|(id, record)| (id.clone(), reused(id.clone(), record, self.state)));
        self.reports.extend(reports);
        self.fresh = fresh;
        self.judged = judged;
        self
    }

    /// Takes what cells took in earlier runs: what takes long starts early.
    pub(super) fn expecting(mut self, history: BTreeMap<String, f64>) -> Self {
        self.history = history;
        self
    }

    /// The lanes that a cell may run in, with what it is expected to take there: what it took before, else what others took.
    fn ways(&self, cell: &Cell, usual: Duration) -> Vec<Way> {
        let takes = self.history.get(&key(&cell.id)).and_then(|seconds| seconds_of(*seconds)).unwrap_or(usual);
        self.builders.lanes(cell).into_iter().map(|lane| Way { lane, takes }).collect()
    }

    /// What became of the cells that were selected.
    pub(super) fn outcome(mut self, plan: &Plan) -> Outcome {
        let mut cells: Vec<CellReport> = plan
            .cells
            .iter()
            .filter(|cell| is_shown(plan, cell, Selection::Required))
            .map(|cell| self.reports.remove(&cell.id).unwrap_or_else(|| planned(cell, CellState::Cancelled)))
            .collect();
        cells.sort_by(|left, right| left.cell.cmp(&right.cell));
        let subset = plan.subset.platforms || plan.subset.names;
        Outcome {
            matrix: Matrix { title: title(plan), subset, cells, ..Matrix::default() },
            failures: self.failures,
            received: self.received,
            sent: self.sent,
            ..Outcome::default()
        }
    }

    /// Runs every selected cell; `jobs` is the limit over all builders, where one was asked for.
    pub(super) async fn run(
        &mut self,
        jobs: Option<usize>,
        on_failure: OnFailure,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let positions: HashMap<&CellId, usize> =
            self.selected.iter().enumerate().map(|(at, cell)| (&cell.id, at)).collect();
        let mut lanes = self.builders.parallelism();
        let mirror = lanes.len();
        lanes.push(MIRROR_LANE);
        let usual = usual(&self.history);
        let node = |cell: &&Cell| Node {
            // What is not selected is not waited for: it was built by an earlier run or fails on its own.
            needs: cell.needs.iter().filter_map(|need| positions.get(need).copied()).collect(),
            ways: match cell.build() {
                // What has no builder fails at once, and waits for none.
                Some(_) if self.builders.unserved(cell).is_none() => self.ways(cell, usual),
                _ => vec![Way { lane: mirror, takes: Duration::ZERO }],
            },
        };
        let graph = Graph::new(self.selected.iter().map(node).collect())
            .map_err(|error| RunError::Internal { message: error.to_string() })?;
        let limits = match jobs {
            // A number that was asked for is the limit, also over what a builder would like.
            Some(jobs) => Limits { total: jobs, lanes: vec![jobs; lanes.len()] },
            None => Limits { total: lanes.iter().sum(), lanes },
        };
        let mut verdicts: Vec<Option<Verdict<Made, Trouble>>> =
            schedule(&graph, &limits, on_failure, cancel, self).await.into_iter().map(Some).collect();
        let mut lost: HashSet<String> = HashSet::new();
        for &node in &self.failed {
            let Some(Verdict::Failed(trouble)) = verdicts.get_mut(node).and_then(Option::take) else { continue };
            // What took many cells along is one root cause: the matrix has them all.
            if let Some(culprit) = culprit(trouble.error.as_ref())
                && !lost.insert(culprit)
            {
                continue;
            }
            let cell = self.selected[node];
            let log = match service_failure(trouble.error.as_ref()) {
                Some(failure) => Some(failure.log.clone()),
                // What a builder never saw has no log of this run.
                None => cell.build().filter(|_| self.lanes.contains_key(&node)).map(|_| self.state.log(&cell.id)),
            };
            let advice = cell.build().and_then(|build| copied::advice(build, trouble.error.as_ref()));
            self.failures.push(CellFailure { cell: cell.id.clone(), log, error: trouble.error, advice });
        }
        Ok(())
    }

    fn report(&mut self, node: usize, verdict: &Verdict<Made, Trouble>) -> Event {
        let cell = self.selected[node];
        let mut report = planned(cell, CellState::Cancelled);
        let log = self.state.log(&cell.id);
        let mut took = Duration::ZERO;
        match verdict {
            Verdict::Done(made) if made.reused => report = reused(cell.id.clone(), &made.record, self.state),
            Verdict::Done(made) => {
                report.state = if report.external { CellState::Mirrored } else { CellState::Built };
                report.digest = Some(made.record.manifest.digest);
                report.emulated = made.record.emulated;
                report.builder.clone_from(&made.record.builder);
                took = made.took;
                report.took = Some(took);
                report.log = (!report.external).then_some(log);
                self.received += made.received;
                self.sent += made.sent;
            }
            Verdict::Failed(trouble) => {
                self.failed.push(node);
                report.state = CellState::Failed;
                report.reason = Some(reason(trouble.error.as_ref()));
                report.builder = self.lanes.get(&node).and_then(|lane| self.builders.at_lane(*lane)).map(address);
                took = trouble.took;
                report.took = Some(took);
                report.log = self.lanes.contains_key(&node).then_some(log);
            }
            Verdict::Blocked { by } => {
                report.state = CellState::Blocked;
                report.reason = Some(self.selected[*by].id.to_string());
            }
            Verdict::Cancelled => {}
        }
        let event = Event::CellFinished {
            cell: cell.id.clone(),
            state: report.state,
            execution: self
                .lanes
                .get(&node)
                .and_then(|lane| self.builders.execution(*lane, cell))
                .filter(|_| matches!(verdict, Verdict::Done(made) if !made.reused)),
            took,
            reason: report.reason.clone(),
        };
        self.reports.insert(cell.id.clone(), report);
        event
    }
}

/// Seconds from a record, which anybody may have changed.
fn seconds_of(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// What a cell takes of which nothing is known: the median of what is known.
fn usual(history: &BTreeMap<String, f64>) -> Duration {
    let mut known: Vec<Duration> = history.values().filter_map(|seconds| seconds_of(*seconds)).collect();
    known.sort_unstable();
    known.get(known.len() / 2).copied().unwrap_or_default()
}

/// What failed several cells at once: the builder that was lost or never there, or the service that is no more.
fn culprit(error: &dyn Failure) -> Option<String> {
    if let Some(failure) = service_failure(error) {
        return Some(failure.to_string());
    }
    let error: &(dyn Error + 'static) = error;
    if let Some(EngineError::Lost { address, .. }) = error.downcast_ref() {
        return Some(address.clone());
    }
    match error.downcast_ref() {
        Some(RunError::NoBuilder(error)) => Some(error.to_string()),
        _ => None,
    }
}

fn service_failure(error: &dyn Failure) -> Option<&ServiceFailure> {
    let error: &(dyn Error + 'static) = error;
    match error.downcast_ref() {
        Some(RunError::Service(failure)) => Some(failure),
        _ => None,
    }
}

/// Why a cell failed, in a few words for the matrix: the step, or the error itself.
fn reason(error: &dyn Failure) -> String {
    let as_error: &(dyn Error + 'static) = error;
    match as_error.downcast_ref() {
        Some(EngineError::Build { step: Some(step), .. }) => step.clone(),
        _ => error.to_string(),
    }
}

/// A cell whose image is right as an earlier run made it: what is told of it is that run's.
pub(super) fn reused(cell: CellId, record: &CellRecord, state: &StateDir) -> CellReport {
    let log = state.log(&cell);
    let mut report = CellReport::new(cell, CellState::Reused, false);
    report.digest = Some(record.manifest.digest);
    report.emulated = record.emulated;
    report.builder.clone_from(&record.builder);
    report.took = Duration::try_from_secs_f64(record.seconds).ok();
    report.log = log.exists().then_some(log);
    report
}

/// A cell that nothing was done for, in the state that follows from that.
pub(super) fn planned(cell: &Cell, state: CellState) -> CellReport {
    let mut report = CellReport::new(cell.id.clone(), state, matches!(cell.work, CellWork::Mirror(_)));
    if let CellWork::Excluded(reason) = &cell.work {
        report.state = CellState::Excluded;
        report.reason = Some(reason.clone());
    }
    report
}

impl Worker for Cells<'_> {
    type Output = Made;
    type Error = Trouble;

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn start(
        &mut self,
        node: usize,
        lane: usize,
        so_far: &Verdicts<Made, Trouble>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Made, Stopped<Trouble>>> + Send + 'static {
        let cell = self.selected[node];
        let unserved = self.builders.unserved(cell).cloned();
        if cell.build().is_some() && unserved.is_none() {
            self.lanes.insert(node, lane);
        }
        let results: BTreeMap<CellId, Descriptor> = so_far
            .iter()
            .zip(self.selected)
            .filter_map(|(verdict, done)| match verdict {
                Some(Verdict::Done(made)) if cell.needs.contains(&done.id) => {
                    Some((done.id.clone(), made.record.manifest.clone()))
                }
                _ => None,
            })
            .chain(cell.needs.iter().filter_map(|need| Some((need.clone(), self.fresh.get(need)?.manifest.clone()))))
            .collect();
        let work = CellTask {
            id: cell.id.clone(),
            work: cell.work.clone(),
            prepared: self.prepared[node].clone(),
            judged: self.judged.get(&cell.id).cloned().unwrap_or_default(),
            results,
            posts: Arc::clone(self.builders.posts()),
            lane: self.lanes.get(&node).copied(),
            unserved,
            services: cell.services.clone(),
            shared: self.shared.clone(),
            state: self.state.clone(),
            events: Arc::clone(&self.events),
        };
        async move {
            let began = Instant::now();
            match work.run(cancel, began).await {
                Ok(made) => Ok(made),
                Err(error) if error.class() == ErrorClass::Cancelled => Err(Stopped::Cancelled),
                Err(error) => Err(Stopped::Failed(Trouble { error, took: began.elapsed() })),
            }
        }
    }

    fn ended(&mut self, node: usize, verdict: &Verdict<Made, Trouble>) {
        // Without any builder nothing new comes that the old image would not fit.
        if matches!(verdict, Verdict::Failed(_) | Verdict::Blocked { .. })
            && (self.builders.any() || self.selected[node].build().is_none())
            && let Err(error) = CellRecord::forget(self.state, &self.selected[node].id)
        {
            // The cell has failed already, and the run ends with that; its old image just goes on being named.
            self.events.emit(Event::Warning { cell: None, text: error.to_string() });
        }
        self.shared.services.release(self.selected[node]);
        let event = self.report(node, verdict);
        self.events.emit(event);
    }
}
