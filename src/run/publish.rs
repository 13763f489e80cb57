use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::fingerprint::{Fingerprint, images};
use super::indexes::{Holes, assemble};
use super::release::journal;
use super::scans::Scans;
use super::status::{included, status};
use super::{CellFailure, CellRecord, RunError, StateDir};
use crate::base::{CellId, ComponentName, Digest, Reference, Tag};
use crate::bundle::{BundleContents, BundleEntry, BundleReport, check_destination, write_bundle};
use crate::event::EventSink;
use crate::plan::{Cell, CellBuild, Component, ContextSource, Plan, Selection, arch_reference};
use crate::registry::{PushForecast, PushOptions, PushReceipt, RegistryClient, Release, ReleaseItem, push_with};
use crate::store::Layout;

/// What is to be published.
#[derive(Debug, Clone, Copy)]
pub struct PushRequest<'a> {
    /// What the command line means: its selected cells go out.
    pub plan: &'a Plan,
    /// The project without names and platforms, to tell a subset from everything.
    pub whole: &'a Plan,
    /// Look behind unchanged tags even if everything was read back a short while ago.
    pub verify: bool,
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// What the registries have now.
    pub receipt: PushReceipt,
    /// How much of the project that is.
    pub extent: Extent,
}

/// How much of a project something is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// Whether names or platforms of a command line narrowed it.
    pub subset: bool,
    /// Its cells, sorted.
    pub cells: Vec<CellId>,
    /// Cells of the whole project, excluded ones not counted.
    pub of: usize,
    /// Components among them that have no name to be pushed under and are only built from.
    pub intermediate: Vec<ComponentName>,
}

impl Extent {
    pub(super) fn new(plan: &Plan, whole: &Plan) -> Self {
        let mut cells: Vec<CellId> = asked(plan).map(|cell| cell.id.clone()).collect();
        cells.sort();
        let intermediate = publishable(plan).filter(|component| component.intermediate);
        let intermediate = intermediate.map(|component| component.name.clone()).collect();
        Self { intermediate, subset: plan.subset.names || plan.subset.platforms, cells, of: whole.expected().count() }
    }
}

/// Publishes the selected cells of a plan to every registry that it names. Refused unless all of them are there.
///
/// A component of which only some platforms are selected is published as an index of just these.
pub async fn push(
    request: &PushRequest<'_>,
    state: &StateDir,
    client: &RegistryClient,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Published, RunError> {
    let PushRequest { plan, whole, verify } = *request;
    plan.require_registries()?;
    let _lock = state.lock_existing(events.as_ref(), cancel).await?;
    let (layout, release) = to_push(plan, whole, state, cancel).await?;
    let options = PushOptions { journal: Some(journal(state).await?), verify, ..PushOptions::default() };
    let receipt = Box::pin(push_with(client, &layout, release, &options, events, cancel)).await?;
    Ok(Published { receipt, extent: Extent::new(plan, whole) })
}

/// What [`push`] would do, by looking only. Refused for the same holes.
pub async fn push_forecast(
    request: &PushRequest<'_>,
    state: &StateDir,
    client: &RegistryClient,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<(PushForecast, Extent), RunError> {
    let PushRequest { plan, whole, verify } = *request;
    plan.require_registries()?;
    let _lock = state.lock_existing(events.as_ref(), cancel).await?;
    let (layout, release) = to_push(plan, whole, state, cancel).await?;
    // Without the journal: what is believed is not found out.
    let options = PushOptions { journal: None, verify, ..PushOptions::default() };
    let mut forecast = Box::pin(crate::registry::forecast(client, &layout, release, &options, events)).await?;
    if let Some(tags) = super::unfinished_release(state)? {
        let text = format!("a push was interrupted while its {} tags moved: that is settled first", tags.len());
        forecast.warnings.push(text);
    }
    Ok((forecast, Extent::new(plan, whole)))
}

/// The layout, and what of it goes where; an error if a cell that is asked for is not there.
async fn to_push(
    plan: &Plan,
    whole: &Plan,
    state: &StateDir,
    cancel: &CancellationToken,
) -> Result<(Layout, Release), RunError> {
    judged(plan, state, "nothing was pushed", &BTreeSet::new(), cancel).await?;
    let (plan, whole, state) = (plan.clone(), whole.clone(), state.clone());
    blocking(move || {
        let layout = Layout::open(state.layout())?;
        let release = release(&plan, &whole, &state, &layout)?;
        Ok((layout, release))
    })
    .await
}

/// What is to be bundled.
#[derive(Debug, Clone, Copy)]
pub struct ExportRequest<'a> {
    /// What the command line means: its selected cells go in.
    pub plan: &'a Plan,
    /// The project without names and platforms, to tell a subset from everything.
    pub whole: &'a Plan,
    /// The file to write.
    pub destination: &'a Path,
    /// Holes that are allowed.
    pub allowed: &'a [AllowedHoles],
}

/// Holes that a command line allows.
#[derive(Debug, Clone)]
pub struct AllowedHoles {
    /// As typed.
    pub pattern: String,
    /// The cells that it means, whether they are there or not.
    pub cells: BTreeSet<CellId>,
}

/// What was bundled.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The file.
    pub report: BundleReport,
    /// How much of the project it holds, its holes counted as held.
    pub extent: Extent,
}

/// Writes the selected cells of a plan into one file. Refused unless all of them are there, except for holes that are
/// allowed: a bundle with such a hole is stamped INCOMPLETE. Allowing a hole where there is none is refused too: whoever
/// typed that expects something that is not so.
pub async fn export(
    request: &ExportRequest<'_>,
    state: &StateDir,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Exported, RunError> {
    let ExportRequest { plan, whole, destination, allowed } = *request;
    check_destination(destination)?;
    let _lock = state.lock_existing(events.as_ref(), cancel).await?;
    let every: BTreeSet<CellId> = allowed.iter().flat_map(|holes| &holes.cells).cloned().collect();
    let holes = judged(plan, state, "nothing was written", &every, cancel).await?;
    if let Some(idle) = allowed.iter().find(|one| !holes.iter().any(|hole| one.cells.contains(hole))) {
        return Err(RunError::NoHole { pattern: idle.pattern.clone() });
    }
    let extent = Extent::new(plan, whole);
    let (plan, state, destination) = (plan.clone(), state.clone(), destination.to_owned());
    let cancel = cancel.clone();
    let written = blocking(move || {
        let layout = Layout::open(state.layout())?;
        let contents = contents(&plan, &state, &layout, holes)?;
        write_bundle(&layout, &contents, &destination, events.as_ref(), &cancel).map_err(RunError::from)
    });
    Ok(Exported { report: written.await?, extent })
}

/// [`judge`], and the layers of everything that will leave were looked into, by the run that made it or now.
async fn judged(
    plan: &Plan,
    state: &StateDir,
    what: &'static str,
    allowed: &BTreeSet<CellId>,
    cancel: &CancellationToken,
) -> Result<Vec<CellId>, RunError> {
    let (holes, records, scans) = {
        let (plan, state, allowed) = (plan.clone(), state.clone(), allowed.clone());
        blocking(move || {
            let holes = judge(&plan, &state, what, &allowed)?;
            let layout = Layout::open(state.layout())?;
            let mut records = Vec::new();
            let leaves = |cell: &&Cell| {
                let published = publishable(&plan).any(|component| component.name == cell.id.component);
                published && !holes.contains(&cell.id) && !cell.is_excluded()
            };
            for cell in plan.cells.iter().filter(leaves) {
                records.extend(CellRecord::load(&state, &cell.id)?.map(|record| (cell.id.clone(), record)));
            }
            Ok((holes, records, Scans::load(&plan, &state, &layout)))
        })
        .await?
    };
    let mut result = Ok(holes);
    for (cell, record) in records {
        if let Err(error) = scans.accept(&cell, &record.manifest, cancel).await {
            result = Err(match error {
                RunError::Cancelled => error,
                _ => RunError::room(CellFailure { cell, log: None, error: Box::new(error), advice: None }),
            });
            break;
        }
    }
    // Layers that are looked into again cost time and nothing else.
    drop(scans.save());
    result
}

/// The barrier before everything that leaves this machine: refuses a matrix with holes that were not allowed by name.
///
/// Returns the holes that were.
fn judge(
    plan: &Plan,
    state: &StateDir,
    what: &'static str,
    allowed: &BTreeSet<CellId>,
) -> Result<Vec<CellId>, RunError> {
    let matrix = status(plan, state)?;
    let holes = matrix.holes().map(|cell| cell.cell.clone()).filter(|id| asked(plan).any(|cell| cell.id == *id));
    let holes: Vec<CellId> = holes.collect();
    let (accepted, refused): (Vec<CellId>, Vec<CellId>) = holes.into_iter().partition(|id| allowed.contains(id));
    if !refused.is_empty() {
        return Err(RunError::Incomplete { what, holes: refused });
    }
    refuse_unsettled(plan, state, what, &accepted)?;
    // The index goes out by the records, not by that entry; but what is in the layout is in doubt.
    let doubled = super::status::doubled(Layout::open(state.layout()).ok().as_ref());
    let in_doubt = |component: &&Component| {
        component.references.first().is_some_and(|reference| doubled.contains(&reference.to_string()))
    };
    let components: Vec<_> = publishable(plan).filter(in_doubt).map(|component| component.name.clone()).collect();
    if !components.is_empty() {
        return Err(RunError::DoubledName { what, components });
    }
    // What goes out has the name under which it was built: with another tag, arguments may be others too.
    let nameless = |component: &&Component| matrix.unindexed.contains(&component.name);
    let components: Vec<_> = publishable(plan).filter(nameless).map(|component| component.name.clone()).collect();
    if components.is_empty() { Ok(accepted) } else { Err(RunError::NoIndex { what, components }) }
}

/// Refuses images whose sources changed while the builder read them, and what is made from such images: they may be half of
/// one state and half of another, of sources as they never were. That they are whole as images does not help whoever gets them.
/// The same holds for two images of which one was made from a file before and one after it changed.
fn refuse_unsettled(plan: &Plan, state: &StateDir, what: &'static str, holes: &[CellId]) -> Result<(), RunError> {
    let mut unsettled: BTreeMap<&CellId, String> = BTreeMap::new();
    let mut states = States::default();
    // In the order of the plan, needs come first.
    for cell in plan.cells.iter().filter(|cell| !holes.contains(&cell.id)) {
        let Some(build) = cell.build() else { continue };
        let print = CellRecord::load(state, &cell.id)?.and_then(|record| record.fingerprint);
        let reason = print.and_then(|print| print.unsettled.clone().or_else(|| states.other(cell, build, &print)));
        let inherited = || {
            let found = images(plan, cell, build).into_iter().find_map(|(_, _, from)| unsettled.get_key_value(&from));
            found.map(|(from, reason)| format!("{from}: {reason}"))
        };
        if let Some(reason) = reason.or_else(inherited) {
            unsettled.insert(&cell.id, reason);
        }
    }
    let cells: Vec<CellId> =
        asked(plan).map(|cell| &cell.id).filter(|id| unsettled.contains_key(id)).cloned().collect();
    match cells.first().and_then(|first| unsettled.remove(first)) {
        Some(reason) => Err(RunError::Unsettled { what, cells, reason }),
        None => Ok(()),
    }
}

/// What files were when images were made from them: (directory, its own ignore file) and path, to digest and the cell.
#[derive(Default)]
struct States(BTreeMap<(PathBuf, PathBuf, String), (Digest, CellId)>);

impl States {
    /// What of this cell's files was otherwise when another one was built from them. Templates may be filled in for each
    /// cell alone: where there are any, nothing can be told.
    fn other(&mut self, cell: &Cell, build: &CellBuild, print: &Fingerprint) -> Option<String> {
        let ContextSource::Directory(directory) = &build.context else { return None };
        if !build.templates.is_empty() {
            return None;
        }
        let mut own = build.dockerfile.clone().into_os_string();
        own.push(".dockerignore");
        let own = Some(PathBuf::from(own)).filter(|path| path.is_file()).unwrap_or_default();
        let mut found = None;
        for (name, digest) in print.main_files() {
            let place = (directory.clone(), own.clone(), name.to_owned());
            let (known, of) = self.0.entry(place).or_insert_with(|| (digest, cell.id.clone()));
            if *known != digest && found.is_none() {
                found = Some(format!("`{name}` changed between this and {of}"));
            }
        }
        found
    }
}

/// The cells that a command's names and platforms mean. What they need is not among them: it was built, not asked for.
pub(super) fn asked(plan: &Plan) -> impl Iterator<Item = &Cell> {
    plan.cells.iter().filter(|cell| cell.selection == Selection::Selected)
}

/// The components of these cells.
pub(super) fn publishable(plan: &Plan) -> impl Iterator<Item = &Component> {
    included(plan).filter(|component| asked(plan).any(|cell| cell.id.component == component.name))
}

/// Whether a component has platforms that are not asked for: its index is then not the one that its tag stands for.
fn is_part(plan: &Plan, whole: &Plan, component: &Component) -> bool {
    let count = |plan: &Plan| asked(plan).filter(|cell| cell.id.component == component.name).count();
    count(plan) < count(whole)
}

fn release(plan: &Plan, whole: &Plan, state: &StateDir, layout: &Layout) -> Result<Release, RunError> {
    let mut items = Vec::new();
    for component in publishable(plan).filter(|component| !component.intermediate) {
        let index = assemble(plan, component, state, layout, Holes::Refuse)?.ok_or_else(|| changed(component))?;
        for reference in &component.references {
            items.push(ReleaseItem {
                component: component.name.clone(),
                index: index.descriptor.clone(),
                repository: reference.repository().clone(),
                tags: vec![tag_of(reference)],
                partial: is_part(plan, whole, component),
            });
        }
        if plan.arch_tags {
            items.extend(arch_items(plan, component, state)?);
        }
    }
    Ok(Release { items: joined(items) })
}

/// One tag per platform that shows the platform's own manifest.
fn arch_items(plan: &Plan, component: &Component, state: &StateDir) -> Result<Vec<ReleaseItem>, RunError> {
    let mut items = Vec::new();
    for cell in asked(plan).filter(|cell| cell.id.component == component.name) {
        let record = CellRecord::load(state, &cell.id)?.ok_or_else(|| changed(component))?;
        for reference in &component.references {
            let suffixed = arch_reference(reference, &cell.id.platform)
                .map_err(|error| RunError::BadName { message: error.to_string() })?;
            items.push(ReleaseItem {
                component: component.name.clone(),
                index: record.manifest.clone(),
                repository: suffixed.repository().clone(),
                tags: vec![tag_of(&suffixed)],
                partial: false,
            });
        }
    }
    Ok(items)
}

/// Items of one repository and one target as one item with all their tags.
fn joined(items: Vec<ReleaseItem>) -> Vec<ReleaseItem> {
    let mut out: Vec<ReleaseItem> = Vec::new();
    for item in items {
        let same =
            |known: &&mut ReleaseItem| known.repository == item.repository && known.index.digest == item.index.digest;
        match out.iter_mut().find(same) {
            Some(known) => known.tags.extend(item.tags),
            None => out.push(item),
        }
    }
    out
}

fn tag_of(reference: &Reference) -> Tag {
    reference.tag().cloned().unwrap_or_else(Tag::latest)
}

fn contents(plan: &Plan, state: &StateDir, layout: &Layout, holes: Vec<CellId>) -> Result<BundleContents, RunError> {
    let mut entries = Vec::new();
    for component in publishable(plan) {
        let rule = if holes.iter().any(|hole| hole.component == component.name) { Holes::Skip } else { Holes::Refuse };
        let index = match assemble(plan, component, state, layout, rule)? {
            Some(index) => index,
            // None of its cells is there, and that was allowed.
            None if rule == Holes::Skip => continue,
            None => return Err(changed(component)),
        };
        let reference = component.references.first().ok_or_else(|| changed(component))?;
        let reference = if reference.tag().is_some() { reference.clone() } else { reference.with_tag(Tag::latest()) };
        entries.push(BundleEntry {
            component: component.name.clone(),
            reference,
            path: Some(component.path.clone()),
            index: index.descriptor,
            foreign: component.foreign.clone(),
        });
    }
    let default_platform = plan
        .platforms
        .first()
        .cloned()
        .ok_or_else(|| RunError::Internal { message: "a plan without platforms was exported".to_owned() })?;
    Ok(BundleContents {
        subset: plan.subset.names || plan.subset.platforms,
        project: plan.project.clone(),
        tag: plan.tag.clone(),
        entries,
        default_platform,
        incomplete: holes,
    })
}

/// Another run changed the state directory between two looks at it.
fn changed(component: &Component) -> RunError {
    RunError::NoIndex { what: "nothing was published", components: vec![component.name.clone()] }
}

/// Work on the disk, away from the reactor.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RunError::Internal { message: error.to_string() })?
}
