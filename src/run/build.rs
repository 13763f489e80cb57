use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::cell::{Inputs, Prepared};
use super::heal::{heal, open_layout};
use super::indexes::{Holes, assemble, name_complete_indexes, platforms_of};
use super::logs::CellLogs;
use super::mirror::Mirror;
use super::scheduler::{Crash, Graph, Limits, Node, OnFailure, Stopped, Verdict, Verdicts, Worker, schedule};
use super::status::{included, is_shown, status, title};
use super::{
    BuilderSettings, Builders, CellFailure, CellRecord, CellReport, IndexReport, Matrix, Outcome, RunError, StateDir,
};
use crate::base::{ByteSize, CellId, CellState, ComponentName, Descriptor, ErrorClass, Failure, Platform};
use crate::engine::{Engine, EngineError};
use crate::event::{Event, EventSink, Execution};
use crate::plan::{Cell, CellWork, Component, Plan, Selection};
use crate::registry::RegistryClient;
use crate::store::Layout;

/// What a build is told beside its plan.
pub struct BuildOptions {
    /// Which builders may be used.
    pub builders: BuilderSettings,
    /// Fetches externals.
    pub registry: RegistryClient,
    /// `--jobs`: cells at once over all builders; by default as many as the builders say.
    pub jobs: Option<usize>,
    /// What a failed cell means for the others.
    pub on_failure: OnFailure,
    /// What comes from outside the project.
    pub inputs: Inputs,
}

/// Externals that are fetched at once: they wait for the network, not for a processor.
const MIRROR_LANE: usize = 4;

/// Builds the selected cells of `plan`, joins what is complete into indexes, and tells what became of every cell.
///
/// `whole` is the plan without `--platform` and names: it decides what `index.json` may name. Never fails as a whole:
/// everything that goes wrong is in the outcome, where every selected cell is in exactly one state.
pub async fn build(
    plan: &Plan,
    whole: &Plan,
    state: &StateDir,
    options: &BuildOptions,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Outcome {
    let began = Instant::now();
    let mut outcome = match run(plan, whole, state, options, &events, cancel).await {
        Ok(outcome) => outcome,
        Err(error) => unstarted(plan, state, error),
    };
    outcome.interrupted |= cancel.is_cancelled();
    outcome.took = began.elapsed();
    outcome
}

/// A run that did not come to its cells: they are what they were before.
fn unstarted(plan: &Plan, state: &StateDir, error: RunError) -> Outcome {
    let interrupted = error.class() == ErrorClass::Cancelled;
    let mut matrix = status(plan, state).unwrap_or_else(|_| Matrix {
        title: title(plan),
        cells: plan.cells.iter().map(|cell| planned(cell, CellState::Missing)).collect(),
        ..Matrix::default()
    });
    keep_selected(&mut matrix.cells, plan);
    Outcome { matrix, error: (!interrupted).then_some(error), interrupted, ..Outcome::default() }
}

fn keep_selected(cells: &mut Vec<CellReport>, plan: &Plan) {
    cells.retain(|report| plan.cell(&report.cell).is_some_and(|cell| is_shown(plan, cell, Selection::Required)));
}

fn planned(cell: &Cell, state: CellState) -> CellReport {
    let mut report = CellReport::new(cell.id.clone(), state, matches!(cell.work, CellWork::Mirror(_)));
    if let CellWork::Excluded(reason) = &cell.work {
        report.state = CellState::Excluded;
        report.reason = Some(reason.clone());
    }
    report
}

async fn run(
    plan: &Plan,
    whole: &Plan,
    state: &StateDir,
    options: &BuildOptions,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Outcome, RunError> {
    if let Some(name) = plan.services.keys().next() {
        return Err(RunError::Services { name: name.clone() });
    }
    state.create()?;
    let _lock = state.lock(events.as_ref(), cancel).await?;
    let layout = open_layout(state)?;
    layout.sweep()?;
    for digest in heal(whole, state, &layout)? {
        let text =
            format!("blob {} was corrupt and is made again; what was there is in `layout/corrupt/`", digest.short());
        events.emit(Event::Warning { cell: None, text });
    }
    let selected: Vec<&Cell> =
        plan.cells.iter().filter(|cell| cell.selection > Selection::Unselected && !cell.is_excluded()).collect();
    events.emit(Event::RunStarted {
        title: title(plan),
        components: included(plan).count(),
        platforms: plan.platforms.clone(),
        cells: selected.len(),
    });
    let prepared = prepare(plan, &selected, state, &options.inputs)?;
    let platforms: Vec<Platform> =
        selected.iter().filter(|cell| cell.build().is_some()).map(|cell| cell.id.platform.clone()).collect();
    let connecting = Builders::connect(plan, &platforms, &options.builders, &layout, events.as_ref());
    let builders = tokio::select! {
        builders = connecting => builders?,
        () = cancel.cancelled() => return Err(RunError::Cancelled),
    };
    let logs: Arc<dyn EventSink> = Arc::new(CellLogs::new(state.clone(), Arc::clone(events)));
    let ready = builders.check_emulation(selected.iter().copied()).and_then(|()| forget_old(&selected, state));
    let result = match ready {
        Ok(()) => {
            let mirror = Arc::new(Mirror::new(options.registry.clone(), layout.clone()));
            let mut cells = Cells::new(&selected, prepared, &builders, mirror, state, logs);
            cells.run(options.jobs, options.on_failure, cancel).await.map(|()| cells.outcome(plan))
        }
        Err(error) => Err(error),
    };
    builders.close().await;
    let mut outcome = result?;
    let text =
        format!("{} came from the builders, {} went to them", ByteSize(outcome.received), ByteSize(outcome.sent));
    events.emit(Event::Detail { text });
    match join(plan, whole, state, &layout) {
        Ok(indexes) => {
            // A component that is not selected has an index of its own right, but is none of this run's results.
            let ran =
                |index: &IndexReport| outcome.matrix.cells.iter().any(|cell| cell.cell.component == index.component);
            outcome.matrix.indexes = indexes.into_iter().filter(ran).collect();
            outcome.matrix.unindexed = unindexed(plan, &outcome.matrix);
        }
        Err(error) => outcome.error = Some(error),
    }
    Ok(outcome)
}

/// Takes away the records of what is about to be built. From here on an old image may be one that the new ones do not fit: a
/// run that is stopped half-way, even by SIGKILL, must leave holes, not a release mixed from old and new. The blobs stay, so
/// nothing travels twice.
fn forget_old(selected: &[&Cell], state: &StateDir) -> Result<(), RunError> {
    selected.iter().filter(|cell| cell.build().is_some()).try_for_each(|cell| CellRecord::forget(state, &cell.id))
}

/// Components whose cells all ended well in this run and that still have no index: a hole, whatever the cells say.
fn unindexed(plan: &Plan, matrix: &Matrix) -> Vec<ComponentName> {
    let whole = |component: &&Component| {
        let mut cells = matrix.cells.iter().filter(|cell| cell.cell.component == component.name).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.state.is_good())
    };
    let named = |component: &&Component| matrix.indexes.iter().any(|index| index.component == component.name);
    let all = included(plan).filter(|component| {
        // Of a part of the matrix no index is asked.
        !plan.subset.names && !plan.subset.platforms && whole(component) && !named(component)
    });
    all.map(|component| component.name.clone()).collect()
}

pub(super) fn prepare(
    plan: &Plan,
    selected: &[&Cell],
    state: &StateDir,
    inputs: &Inputs,
) -> Result<Vec<Option<Arc<Prepared>>>, RunError> {
    let one = |cell: &&Cell| {
        let prepared = cell.build().map(|build| Prepared::new(plan, &cell.id, build, state, inputs)).transpose()?;
        Ok(prepared.map(Arc::new))
    };
    selected.iter().map(one).collect()
}

/// Writes the indexes: those of the whole matrix under their names, and for a subset its own without a name.
fn join(plan: &Plan, whole: &Plan, state: &StateDir, layout: &Layout) -> Result<Vec<IndexReport>, RunError> {
    let named = name_complete_indexes(whole, state, layout)?;
    if !plan.subset.platforms {
        return Ok(named);
    }
    let mut reports = Vec::new();
    for component in included(plan) {
        let Some(assembled) = assemble(plan, component, state, layout, Holes::Refuse)? else { continue };
        let Some(reference) = component.references.first() else { continue };
        reports.push(IndexReport {
            component: component.name.clone(),
            reference: reference.clone(),
            digest: assembled.descriptor.digest,
            platforms: platforms_of(&assembled)?,
        });
    }
    reports.sort_by(|left, right| left.component.cmp(&right.component));
    Ok(reports)
}

/// What a cell made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    record: CellRecord,
    took: Duration,
    received: u64,
    sent: u64,
}

/// Why a cell made nothing.
pub(super) struct Trouble {
    error: Box<dyn Failure>,
    took: Duration,
}

impl From<Crash> for Trouble {
    fn from(crash: Crash) -> Self {
        Self { error: Box::new(RunError::from(crash)), took: Duration::ZERO }
    }
}

/// The scheduler's view of a run's cells.
pub(super) struct Cells<'a> {
    /// By the scheduler's positions.
    selected: &'a [&'a Cell],
    prepared: Vec<Option<Arc<Prepared>>>,
    builders: &'a Builders,
    mirror: Arc<Mirror>,
    state: &'a StateDir,
    events: Arc<dyn EventSink>,
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
        mirror: Arc<Mirror>,
        state: &'a StateDir,
        events: Arc<dyn EventSink>,
    ) -> Self {
        Self {
            selected,
            prepared,
            builders,
            mirror,
            state,
            events,
            failed: Vec::new(),
            failures: Vec::new(),
            reports: BTreeMap::new(),
            received: 0,
            sent: 0,
        }
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
        let node = |cell: &&Cell| Node {
            // What is not selected is not waited for: it was built by an earlier run or fails on its own.
            needs: cell.needs.iter().filter_map(|need| positions.get(need).copied()).collect(),
            lane: self
                .builders
                .lane(&cell.id.platform)
                .filter(|_| cell.build().is_some())
                .map_or(mirror, |lane| lane.0),
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
            // A builder that was lost is one root cause, however many cells it took along: the matrix has them all.
            if let Some(address) = lost_builder(trouble.error.as_ref())
                && !lost.insert(address)
            {
                continue;
            }
            let cell = self.selected[node];
            let log = cell.build().map(|_| self.state.log(&cell.id));
            self.failures.push(CellFailure { cell: cell.id.clone(), log, error: trouble.error });
        }
        Ok(())
    }

    fn report(&mut self, node: usize, verdict: &Verdict<Made, Trouble>) -> Event {
        let cell = self.selected[node];
        let mut report = planned(cell, CellState::Cancelled);
        let log = self.state.log(&cell.id);
        let mut took = Duration::ZERO;
        match verdict {
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
                report.builder = self.builders.lane(&cell.id.platform).map(|(_, engine)| address(engine));
                took = trouble.took;
                report.took = Some(took);
                report.log = (!report.external).then_some(log);
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
            execution: self.builders.execution(cell).filter(|_| matches!(verdict, Verdict::Done(_))),
            took,
            reason: report.reason.clone(),
        };
        self.reports.insert(cell.id.clone(), report);
        event
    }
}

/// The builder whose loss an error is about.
fn lost_builder(error: &dyn Failure) -> Option<String> {
    let error: &(dyn Error + 'static) = error;
    match error.downcast_ref() {
        Some(EngineError::Lost { address, .. }) => Some(address.clone()),
        _ => None,
    }
}

fn address(engine: &Arc<dyn Engine>) -> String {
    engine.capabilities().address.clone()
}

/// Why a cell failed, in a few words for the matrix: the step, or the error itself.
fn reason(error: &dyn Failure) -> String {
    let as_error: &(dyn Error + 'static) = error;
    match as_error.downcast_ref() {
        Some(EngineError::Build { step: Some(step), .. }) => step.clone(),
        _ => error.to_string(),
    }
}

impl Worker for Cells<'_> {
    type Output = Made;
    type Error = Trouble;

    fn start(
        &mut self,
        node: usize,
        so_far: &Verdicts<Made, Trouble>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Made, Stopped<Trouble>>> + Send + 'static {
        let cell = self.selected[node];
        let results: BTreeMap<CellId, Descriptor> = so_far
            .iter()
            .zip(self.selected)
            .filter_map(|(verdict, done)| match verdict {
                Some(Verdict::Done(made)) if cell.needs.contains(&done.id) => {
                    Some((done.id.clone(), made.record.manifest.clone()))
                }
                _ => None,
            })
            .collect();
        let work = CellTask {
            id: cell.id.clone(),
            work: cell.work.clone(),
            prepared: self.prepared[node].clone(),
            results,
            engine: self.builders.lane(&cell.id.platform).map(|(_, engine)| Arc::clone(engine)),
            emulated: matches!(self.builders.execution(cell), Some(Execution::Emulated(_))),
            mirror: Arc::clone(&self.mirror),
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
        if matches!(verdict, Verdict::Failed(_) | Verdict::Blocked { .. })
            && let Err(error) = CellRecord::forget(self.state, &self.selected[node].id)
        {
            // The cell has failed already, and the run ends with that; its old image just goes on being named.
            self.events.emit(Event::Warning { cell: None, text: error.to_string() });
        }
        let event = self.report(node, verdict);
        self.events.emit(event);
    }
}

/// One cell's work, with everything it needs in hand.
struct CellTask {
    id: CellId,
    work: CellWork,
    prepared: Option<Arc<Prepared>>,
    results: BTreeMap<CellId, Descriptor>,
    engine: Option<Arc<dyn Engine>>,
    emulated: bool,
    mirror: Arc<Mirror>,
    state: StateDir,
    events: Arc<dyn EventSink>,
}

impl CellTask {
    async fn run(self, cancel: CancellationToken, began: Instant) -> Result<Made, Box<dyn Failure>> {
        let mut made = match &self.work {
            CellWork::Build(_) => self.build(cancel, began).await?,
            CellWork::Mirror(reference) => {
                let started = Event::CellStarted { cell: self.id.clone(), builder: reference.to_string(), attempt: 1 };
                self.events.emit(started);
                let mirrored = tokio::select! {
                    mirrored = self.mirror.bring(&self.id, reference) => mirrored.map_err(boxed)?,
                    () = cancel.cancelled() => return Err(boxed(RunError::Cancelled)),
                };
                let mut record = CellRecord::new(&self.id, mirrored.manifest, None, false, 0.0);
                record.upstream = Some(mirrored.upstream);
                Made { record, took: Duration::ZERO, received: 0, sent: 0 }
            }
            CellWork::Excluded(_) => {
                return Err(boxed(RunError::Internal { message: format!("{} is excluded and was started", self.id) }));
            }
        };
        made.took = began.elapsed();
        made.record.seconds = made.took.as_secs_f64();
        // The record is what makes the image count: only now is everything that it names durable.
        let (record, state) = (made.record.clone(), self.state.clone());
        tokio::task::spawn_blocking(move || record.save(&state))
            .await
            .map_err(|error| boxed(RunError::Internal { message: error.to_string() }))?
            .map_err(boxed)?;
        Ok(made)
    }

    async fn build(&self, cancel: CancellationToken, began: Instant) -> Result<Made, Box<dyn Failure>> {
        let (Some(engine), Some(prepared)) = (&self.engine, &self.prepared) else {
            return Err(boxed(RunError::Internal { message: format!("{} has no builder", self.id) }));
        };
        let request = prepared.request(&self.id, &self.results, Arc::clone(&self.events), cancel).map_err(boxed)?;
        self.events.emit(Event::CellStarted { cell: self.id.clone(), builder: address(engine), attempt: 1 });
        let image = engine.build(request).await.map_err(boxed)?;
        let seconds = began.elapsed().as_secs_f64();
        let mut record = CellRecord::new(&self.id, image.manifest, Some(image.builder), self.emulated, seconds);
        record.attestations = image.attestations;
        Ok(Made { record, took: began.elapsed(), received: image.received, sent: image.sent })
    }
}

fn boxed(error: impl Failure) -> Box<dyn Failure> {
    Box::new(error)
}
