use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::cell::{Inputs, Prepared};
use super::cells::{Cells, planned, reused};
use super::dependents::Dependents;
use super::fingerprint::{Contents, Judgement, Standing, TICK, judge};
use super::heal::{heal, open_layout};
use super::indexes::{Joined, name_complete_indexes, whole_index};
use super::last::LastRun;
use super::logs::CellLogs;
use super::mirror::Mirror;
use super::moved::{moved, unlocked};
use super::outdated::{forget_outdated, outdated};
use super::outside::Outside;
use super::scans::Scans;
use super::services::Services;
use super::status::{included, is_shown, status, title};
use super::task::{JudgedCell, Shared};
use super::{
    Bases, BuilderSettings, Builders, CellRecord, CellReport, Matrix, OnFailure, Outcome, RunError, RunRecord, StateDir,
};
use crate::base::{ByteSize, CellId, CellState, ComponentName, Digest, ErrorClass, Failure as _, Platform};
use crate::config::LockFile;
use crate::event::{Event, EventSink};
use crate::plan::{Cell, Component, Plan, Selection};
use crate::registry::RegistryClient;
use crate::store::Layout;

/// What a build is told beside its plan.
pub struct BuildOptions {
    /// Which builders may be used.
    pub builders: BuilderSettings,
    /// Fetches externals.
    pub registry: RegistryClient,
    /// What images from outside are, as far as `catamaran.lock` fixes it.
    pub lock: Option<LockFile>,
    /// `--offline`: no connection but to the builders; what is not in the layout is found out before anything starts.
    pub offline: bool,
    /// `--jobs`: cells at once over all builders; by default as many as the builders say.
    pub jobs: Option<usize>,
    /// What a failed cell means for the others.
    pub on_failure: OnFailure,
    /// What comes from outside the project.
    pub inputs: Inputs,
    /// `--force`: cells that are built even if nothing has changed.
    pub force: BTreeSet<CellId>,
}

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
    let mut fresh = BTreeSet::new();
    let mut outcome = match run((plan, whole, state), options, &mut fresh, &events, cancel).await {
        Ok(outcome) => outcome,
        Err(error) => unstarted(plan, state, &fresh, error),
    };
    outcome.interrupted |= cancel.is_cancelled();
    outcome.took = began.elapsed();
    outcome
}

/// A run that did not come to its cells: nothing of them was built by it. What it had no work with (`fresh`) is reused; what
/// else is there from an earlier run would have been made again, and was not.
fn unstarted(plan: &Plan, state: &StateDir, fresh: &BTreeSet<CellId>, error: RunError) -> Outcome {
    let interrupted = error.class() == ErrorClass::Cancelled;
    let mut matrix = status(plan, state).unwrap_or_else(|_| Matrix {
        title: title(plan),
        cells: plan.cells.iter().map(|cell| planned(cell, CellState::Missing)).collect(),
        ..Matrix::default()
    });
    keep_selected(&mut matrix.cells, plan);
    for report in &mut matrix.cells {
        match report.state {
            CellState::Built | CellState::Mirrored if fresh.contains(&report.cell) => report.state = CellState::Reused,
            CellState::Built | CellState::Mirrored => {
                *report = CellReport::new(report.cell.clone(), CellState::Cancelled, report.external);
                report.reason = Some("not begun; the image of an earlier run is kept".to_owned());
            }
            _ => {}
        }
    }
    let cells = &matrix.cells;
    let whole = |name: &ComponentName| cells.iter().all(|cell| cell.cell.component != *name || cell.state.is_good());
    matrix.indexes.retain(|index| whole(&index.component));
    matrix.unindexed.retain(whole);
    Outcome { matrix, error: (!interrupted).then_some(error), interrupted, ..Outcome::default() }
}

fn headline(plan: &Plan, selected: &[&Cell]) -> Event {
    let components: BTreeSet<&ComponentName> = selected.iter().map(|cell| &cell.id.component).collect();
    let platforms: BTreeSet<&Platform> = selected.iter().map(|cell| &cell.id.platform).collect();
    Event::RunStarted {
        title: title(plan),
        components: components.len(),
        platforms: platforms.into_iter().cloned().collect(),
        cells: selected.len(),
        subset: plan.subset.names || plan.subset.platforms,
        needed: selected.iter().map(|cell| &cell.id).filter(|id| plan.is_brought(id)).cloned().collect(),
    }
}

fn keep_selected(cells: &mut Vec<CellReport>, plan: &Plan) {
    cells.retain(|report| plan.cell(&report.cell).is_some_and(|cell| is_shown(plan, cell, Selection::Required)));
}

/// Enters into `unchanged` what there is nothing to do for, as soon as that is known.
async fn run(
    (plan, whole, state): (&Plan, &Plan, &StateDir),
    options: &BuildOptions,
    unchanged: &mut BTreeSet<CellId>,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Outcome, RunError> {
    state.create()?;
    let _lock = state.lock(events.as_ref(), cancel).await?;
    let (layout, contents, before) = open_healed((plan, whole, state), events.as_ref(), cancel).await?;
    let selected = selected(plan);
    events.emit(headline(plan, &selected));
    let bases = Bases::new(options.lock.clone().unwrap_or_default());
    let judgement = judge_away((plan, whole, state), (&layout, &bases, &options.force), &contents, cancel).await?;
    remember(&contents, events.as_ref()).await;
    let Work { todo, fresh, judged } = Work::new(&selected, judgement, &contents, &options.force);
    unchanged.extend(fresh.keys().cloned());
    let open = unlocked(selected.iter().copied().filter(|cell| fresh.contains_key(&cell.id)), &bases);
    tell_reused(&fresh, selected.len(), open, state, events.as_ref());
    let dependents = Arc::new(Dependents::new(whole, &selected));
    let chosen: BTreeSet<CellId> = selected.iter().map(|cell| cell.id.clone()).collect();
    let selected = todo;
    let prepared = prepare_away((plan, whole, state), &selected, &options.inputs).await?;
    let builders = connect(plan, &selected, options, &layout, events, cancel).await?;
    // Where there is nothing else to do the run ends before anything is touched; externals need no builder.
    if let Some(error) = builders.nobody().filter(|_| selected.iter().all(|cell| cell.build().is_some())) {
        return Err(error);
    }
    let logs: Arc<dyn EventSink> = Arc::new(CellLogs::new(state.clone(), Arc::clone(events)));
    let ground = ((plan, whole, state), (&layout, &contents));
    let outside = prepare_ground(ground, (&selected, chosen), &builders, options, events).await;
    let result = match outside {
        Ok(outside) => {
            for text in moved(&fresh, outside.bases()) {
                events.emit(Event::Warning { cell: None, text });
            }
            let mirror = Arc::new(Mirror::new(options.registry.clone(), layout.clone(), outside, whole));
            let scans = Arc::new(Scans::load(plan, state, &layout));
            let services = Arc::new(Services::new(plan, &selected, state, Arc::clone(&logs), cancel));
            let shared = Shared { mirror, scans: Arc::clone(&scans), services: Arc::clone(&services), dependents };
            let cells = Cells::new(&selected, prepared, &builders, shared, state, logs).judged(fresh, judged);
            let mut cells = cells.expecting(history((plan, whole, state)).await);
            let ran = cells.run(options.jobs, options.on_failure, cancel).await.map(|()| cells.outcome(plan));
            services.close().await;
            // Layers that are looked into again cost time and nothing else.
            if let Err(error) = scans.save() {
                events.emit(Event::Warning { cell: None, text: error.to_string() });
            }
            ran
        }
        Err(error) => Err(error),
    };
    builders.close().await;
    contents.vouch(&state.blobs(), &before);
    remember(&contents, events.as_ref()).await;
    if selected.iter().any(|cell| cell.build().is_some()) {
        forget_lists(whole, state, &contents);
    }
    Ok(finish(result?, (plan, whole, state), layout, events.as_ref()).await)
}

/// The builders of `selected`; an interrupt is not kept waiting for one that does not answer.
async fn connect(
    plan: &Plan,
    selected: &[&Cell],
    options: &BuildOptions,
    layout: &Layout,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Builders, RunError> {
    let platforms: Vec<Platform> =
        selected.iter().filter(|cell| cell.build().is_some()).map(|cell| cell.id.platform.clone()).collect();
    tokio::select! {
        builders = Builders::connect(plan, &platforms, &options.builders, layout, events.as_ref()) => builders,
        () = cancel.cancelled() => Err(RunError::Cancelled),
    }
}

/// The last that has to be known and done before a builder reads the first file: what comes from outside is there, and the
/// records of what will not fit are gone.
async fn prepare_ground(
    (places, (layout, contents)): ((&Plan, &Plan, &StateDir), (&Layout, &Arc<Contents>)),
    (selected, chosen): (&[&Cell], BTreeSet<CellId>),
    builders: &Builders,
    options: &BuildOptions,
    events: &Arc<dyn EventSink>,
) -> Result<Outside, RunError> {
    builders.check_emulation(selected.iter().copied())?;
    builders.check_native(selected.iter().copied())?;
    let (_, whole, state) = places;
    let outside = look_outside(whole, (selected, builders), (state, layout), options, events).await?;
    // Without any builder nothing new comes that old images would not fit.
    if builders.any() && selected.iter().any(|cell| cell.build().is_some()) {
        let known = (layout.clone(), Bases::new(options.lock.clone().unwrap_or_default()), Arc::clone(contents));
        let left = make_way(places, (chosen, selected), known).await?;
        tell_outdated(&left, events.as_ref());
        // Files that were written just before are to be older than the first of them is read, beyond doubt.
        tokio::time::sleep(TICK).await;
    }
    Ok(outside)
}

/// Remembers how the cells ended, and names what is complete. What goes wrong with it is in the outcome.
async fn finish(
    mut outcome: Outcome,
    (plan, whole, state): (&Plan, &Plan, &StateDir),
    layout: Layout,
    events: &dyn EventSink,
) -> Outcome {
    let mut last = LastRun::load(state);
    last.end(&outcome.matrix.cells);
    if let Err(error) = last.save(state) {
        events.emit(Event::Warning { cell: None, text: error.to_string() });
    }
    let text =
        format!("{} came from the builders, {} went to them", ByteSize(outcome.received), ByteSize(outcome.sent));
    events.emit(Event::Detail { text });
    let joining = move |plan: &Plan, whole: &Plan, state: &StateDir| join(plan, whole, state, &layout);
    match blocking((plan, whole, state), joining).await {
        Ok(joined) => keep_joined(joined, &mut outcome, plan, events),
        Err(error) => outcome.error = Some(error),
    }
    outcome
}

/// Takes what became of the indexes into the outcome.
fn keep_joined(joined: Joined, outcome: &mut Outcome, plan: &Plan, events: &dyn EventSink) {
    for text in joined.shared {
        events.emit(Event::Warning { cell: None, text });
    }
    // A component that is not selected has an index of its own right, but is none of this run's results.
    let ran = |name: &ComponentName| outcome.matrix.cells.iter().any(|cell| cell.cell.component == *name);
    let holds = |name: &ComponentName| outcome.matrix.holes().all(|cell| cell.cell.component != *name);
    let indexes = joined.reports.into_iter().filter(|index| ran(&index.component) && holds(&index.component)).collect();
    let mine = |trouble: &RunError| match trouble {
        RunError::Index { component, .. } => ran(component),
        _ => true,
    };
    let (mine, others): (Vec<_>, Vec<_>) = joined.troubles.into_iter().partition(mine);
    for trouble in others {
        events.emit(Event::Warning { cell: None, text: in_one_line(&trouble) });
    }
    outcome.matrix.indexes = indexes;
    outcome.matrix.unindexed = unindexed(plan, &outcome.matrix);
    outcome.error = RunError::of_many(mine);
}

/// The layout with what was damaged out of the way, what is remembered of files, and the blobs that were there.
async fn open_healed(
    (plan, whole, state): (&Plan, &Plan, &StateDir),
    events: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<(Layout, Arc<Contents>, HashSet<Digest>), RunError> {
    let stop = cancel.clone();
    let (layout, contents, healed) = blocking((plan, whole, state), move |_, whole, state| {
        let layout = open_layout(state)?;
        layout.sweep()?;
        let contents = Arc::new(Contents::open(state));
        let healed = heal(whole, state, &layout, &contents, &stop)?;
        Ok((layout, contents, healed))
    })
    .await?;
    for digest in healed.moved {
        let text =
            format!("blob {} was corrupt and is made again; what was there is in `layout/corrupt/`", digest.short());
        events.emit(Event::Warning { cell: None, text });
    }
    Ok((layout, contents, healed.before))
}

/// The cells that a run is to bring about.
fn selected(plan: &Plan) -> Vec<&Cell> {
    plan.cells.iter().filter(|cell| cell.selection > Selection::Unselected && !cell.is_excluded()).collect()
}

/// Seconds that cells took in earlier runs. That they are not known is not worth an error: what takes long starts a little
/// later then.
async fn history(places: (&Plan, &Plan, &StateDir)) -> BTreeMap<String, f64> {
    let record = blocking(places, |_, _, state| RunRecord::load(state)).await.ok().flatten();
    record.map(|record| record.history).unwrap_or_default()
}

/// [`judge`], away from the reactor: it may read and hash everything that the contexts hold. Ends soon after an interrupt.
async fn judge_away(
    places: (&Plan, &Plan, &StateDir),
    (layout, bases, force): (&Layout, &Bases, &BTreeSet<CellId>),
    contents: &Arc<Contents>,
    cancel: &CancellationToken,
) -> Result<Judgement, RunError> {
    let (layout, bases, force, files) = (layout.clone(), bases.clone(), force.clone(), Arc::clone(contents));
    let judging = blocking(places, move |plan, _, state| {
        judge(plan, &selected(plan), state, Some(&layout), &bases, &force, &files)
    });
    tokio::select! {
        judgement = judging => judgement,
        () = cancel.cancelled() => {
            contents.stop();
            Err(RunError::Cancelled)
        }
    }
}

/// [`prepare`], away from the reactor.
async fn prepare_away(
    (plan, whole, state): (&Plan, &Plan, &StateDir),
    selected: &[&Cell],
    inputs: &Inputs,
) -> Result<Vec<Option<Arc<Prepared>>>, RunError> {
    let (ids, inputs) = (selected.iter().map(|cell| cell.id.clone()).collect::<Vec<_>>(), inputs.clone());
    let work = move |plan: &Plan, _: &Plan, state: &StateDir| {
        let cells: Vec<&Cell> = ids.iter().filter_map(|id| plan.cell(id)).collect();
        prepare(plan, &cells, state, &inputs)
    };
    blocking((plan, whole, state), work).await
}

/// Runs the work of files and hashes away from the reactor, on which builders and registries wait for answers.
async fn blocking<T: Send + 'static>(
    (plan, whole, state): (&Plan, &Plan, &StateDir),
    work: impl FnOnce(&Plan, &Plan, &StateDir) -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    let (plan, whole, state) = (plan.clone(), whole.clone(), state.clone());
    tokio::task::spawn_blocking(move || work(&plan, &whole, &state))
        .await
        .unwrap_or_else(|error| Err(RunError::Internal { message: error.to_string() }))
}

/// An error and its source.
fn in_one_line(error: &RunError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

/// A run's cells by what is to be done about them.
struct Work<'a> {
    /// In the order of the plan: what is built, what may have to be, and externals.
    todo: Vec<&'a Cell>,
    fresh: BTreeMap<CellId, Box<CellRecord>>,
    judged: BTreeMap<CellId, JudgedCell>,
}

impl<'a> Work<'a> {
    fn new(
        selected: &[&'a Cell],
        mut judgement: Judgement,
        contents: &Arc<Contents>,
        force: &BTreeSet<CellId>,
    ) -> Self {
        let mut work = Self { todo: Vec::new(), fresh: BTreeMap::new(), judged: BTreeMap::new() };
        for &cell in selected {
            let mut judged = JudgedCell {
                sources: judgement.sources.remove(&cell.id),
                contents: Some(Arc::clone(contents)),
                forced: force.contains(&cell.id),
                ..JudgedCell::default()
            };
            match judgement.standings.remove(&cell.id) {
                Some(Standing::Fresh(record)) => {
                    work.fresh.insert(cell.id.clone(), record);
                    continue;
                }
                Some(Standing::Waits(record, _)) => judged.waiting = Some(record),
                Some(Standing::Stale(_)) | None => {}
            }
            work.judged.insert(cell.id.clone(), judged);
            work.todo.push(cell);
        }
        work
    }
}

/// Keeps the digests of files. Without them they are read again, which costs time and nothing else.
async fn remember(contents: &Arc<Contents>, events: &dyn EventSink) {
    let contents = Arc::clone(contents);
    let text = match tokio::task::spawn_blocking(move || contents.save()).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    events.emit(Event::Warning { cell: None, text });
}

/// Drops the lists of files of images that are none of any cell's any more.
fn forget_lists(whole: &Plan, state: &StateDir, contents: &Contents) {
    let records: Result<Vec<_>, _> = whole.cells.iter().map(|cell| CellRecord::load(state, &cell.id)).collect();
    if let Ok(records) = records {
        contents.prune(records.iter().flatten());
    }
}

fn tell_reused(
    fresh: &BTreeMap<CellId, Box<CellRecord>>,
    of: usize,
    unlocked: Vec<String>,
    state: &StateDir,
    events: &dyn EventSink,
) {
    for (cell, record) in fresh {
        let report = reused(cell.clone(), record, state);
        let state = report.state;
        events.emit(Event::CellFinished {
            cell: report.cell,
            state,
            execution: None,
            took: Duration::ZERO,
            reason: None,
        });
    }
    if !fresh.is_empty() {
        events.emit(Event::Reused { cells: fresh.len(), of, unlocked });
    }
}

/// What the cells take from outside, and whether it is all there where nothing may be fetched.
async fn look_outside(
    whole: &Plan,
    (selected, builders): (&[&Cell], &Builders),
    (state, layout): (&StateDir, &Layout),
    options: &BuildOptions,
    events: &Arc<dyn EventSink>,
) -> Result<Outside, RunError> {
    let asked: Vec<(&Cell, Platform)> =
        selected.iter().map(|cell| (*cell, native_of(builders, &cell.id.platform))).collect();
    let builds = || asked.iter().filter_map(|(cell, native)| Some((cell.build()?, native.clone())));
    let bases = if options.offline {
        Bases::without_network(options.lock.as_ref(), state)?
    } else {
        Bases::for_run(selected, whole, options.lock.as_ref(), (&options.registry, events)).await
    };
    let outside = Outside::look(bases, layout, builds(), options.offline)?;
    if options.offline {
        if let Some(error) = RunError::of_many(outside.missing(whole, layout, &asked)?) {
            return Err(error);
        }
        for frontend in outside.stood_in_for(builds()) {
            let text = format!("`{frontend}` is not in the layout: the builder's own frontend reads the Dockerfiles");
            events.emit(Event::Warning { cell: None, text });
        }
    }
    Ok(outside)
}

/// The platform of the builder that builds cells of `platform`.
fn native_of(builders: &Builders, platform: &Platform) -> Platform {
    builders.lane(platform).map_or_else(Platform::host, |(_, engine)| engine.capabilities().native.clone())
}

/// Takes away the records of what does not fit the images that are about to be made.
async fn make_way(
    (plan, whole, state): (&Plan, &Plan, &StateDir),
    (chosen, todo): (BTreeSet<CellId>, &[&Cell]),
    (layout, bases, contents): (Layout, Bases, Arc<Contents>),
) -> Result<Vec<CellId>, RunError> {
    let todo: Vec<CellId> = todo.iter().map(|cell| cell.id.clone()).collect();
    let work = move |plan: &Plan, whole: &Plan, state: &StateDir| {
        let old = outdated(whole, &chosen, state, &layout, &bases, &contents)?;
        forget_outdated(&old, state)?;
        let todo: Vec<&Cell> = todo.iter().filter_map(|id| plan.cell(id)).collect();
        forget_old(&todo, state)?;
        Ok(old)
    };
    blocking((plan, whole, state), work).await
}

fn tell_outdated(cells: &[CellId], events: &dyn EventSink) {
    if let [first, rest @ ..] = cells {
        let others = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let text = format!(
            "the sources of {first}{others} have changed and this run does not build them: they are missing until they are built"
        );
        events.emit(Event::Warning { cell: None, text });
    }
}

/// Takes away the records of what is about to be built. From here on an old image may be one that the new ones do not fit: a
/// run that is stopped half-way, even by SIGKILL, must leave holes, not a release mixed from old and new. The blobs stay, so
/// nothing travels twice.
fn forget_old(selected: &[&Cell], state: &StateDir) -> Result<(), RunError> {
    let built: Vec<&CellId> = selected.iter().filter(|cell| cell.build().is_some()).map(|cell| &cell.id).collect();
    let mut last = LastRun::load(state);
    last.begin(built.iter().copied());
    last.save(state)?;
    CellRecord::forget_all(state, built)
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
fn join(plan: &Plan, whole: &Plan, state: &StateDir, layout: &Layout) -> Result<Joined, RunError> {
    let named = name_complete_indexes(whole, state, layout)?;
    if !plan.subset.platforms {
        return Ok(named);
    }
    let mut joined = Joined { troubles: named.troubles, shared: named.shared, ..Joined::default() };
    for component in included(plan) {
        match whole_index(plan, component, state, layout) {
            Ok(found) => joined.reports.extend(found.map(|(report, _)| report)),
            Err(error) if error.class() == ErrorClass::Disk => return Err(error),
            // What is wrong with the whole is told once.
            Err(_)
                if joined.troubles.iter().any(
                    |known| matches!(known, RunError::Index { component: name, .. } if *name == component.name),
                ) => {}
            Err(error) => {
                joined.troubles.push(RunError::Index { component: component.name.clone(), source: Box::new(error) });
            }
        }
    }
    joined.reports.sort_by(|left, right| left.component.cmp(&right.component));
    Ok(joined)
}
