use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::change::{Cause, Change, How, Standing};
use super::contents::{Contents, Ignores, on_all_cores};
use super::listing::Listing;
use super::sources::{Directory, always};
use super::{Fingerprint, Input, InputKind, Sources};
use crate::base::{CellId, Digest};
use crate::engine::RenderedFile;
use crate::engine::buildkit::Selection;
use crate::plan::{Cell, CellBuild, Plan};
use crate::run::{Bases, CellRecord, RunError, StateDir};
use crate::store::Layout;
use crate::verify::{Presence, presence};

/// What is to be done about each of a run's cells.
#[derive(Debug, Default)]
pub(in crate::run) struct Judgement {
    /// Cells that are built; externals are always brought again.
    pub(in crate::run) standings: BTreeMap<CellId, Standing>,
    /// Where their inputs come from, for those whose Dockerfile can be read.
    pub(in crate::run) sources: BTreeMap<CellId, Arc<Sources>>,
}

/// Everything about one cell that can be found without the others.
struct Alone<'a> {
    cell: &'a Cell,
    sources: Result<Arc<Sources>, String>,
    record: Option<CellRecord>,
    causes: Vec<Cause>,
    parts: Vec<Part>,
}

/// Some files of a cell: the input's name, and where to look.
struct Part {
    name: String,
    place: Place,
}

type Place = (PathBuf, Vec<PathBuf>, Vec<RenderedFile>, Selection);

/// A listing's digest, or why there is none.
type Found = HashMap<Place, Result<Digest, String>>;

/// Compares what `selected` would be made from now with what the images that are there were made from.
///
/// Cells of `force` are built whatever is there. `selected` must be in the order of the plan: needs come first. Reads files and the layout; asks no builder.
pub(in crate::run) fn judge(
    plan: &Plan,
    selected: &[&Cell],
    state: &StateDir,
    layout: Option<&Layout>,
    bases: &Bases,
    force: &BTreeSet<CellId>,
    contents: &Contents,
) -> Result<Judgement, RunError> {
    let ignores = Ignores::default();
    let built: Vec<(&Cell, &CellBuild)> = selected.iter().filter_map(|cell| Some((*cell, cell.build()?))).collect();
    let alone = on_all_cores(&built, |(cell, build)| -> Result<Alone<'_>, RunError> {
        let sources = Sources::new(plan, cell, build, state, bases).map(Arc::new);
        let record = CellRecord::load(state, &cell.id)?;
        let mut causes = Vec::new();
        if force.contains(&cell.id) {
            causes.push(Cause::Forced);
        } else {
            causes.extend(always(build).map(Cause::Always));
        }
        match &record {
            None => causes.insert(0, Cause::Never),
            Some(record) => causes.extend(hole(layout, record)?),
        }
        let parts = match (&sources, record.as_ref().and_then(|record| record.fingerprint.as_ref())) {
            (Ok(sources), Some(fingerprint)) => parts(sources, fingerprint, &ignores),
            _ => Vec::new(),
        };
        Ok(Alone { cell, sources, record, causes, parts })
    });
    let alone = alone.into_iter().collect::<Result<Vec<_>, _>>()?;
    let places: BTreeSet<&Place> = alone.iter().flat_map(|alone| &alone.parts).map(|part| &part.place).collect();
    let places: Vec<&Place> = places.into_iter().collect();
    let digests = on_all_cores(&places, |(directory, excluded, rendered, selection)| {
        contents.list(directory, excluded, rendered, selection).map(|(listing, _)| listing.digest())
    });
    let found: Found = places.into_iter().cloned().zip(digests).collect();
    let mut judgement = Judgement::default();
    for alone in alone {
        if let Ok(sources) = &alone.sources {
            judgement.sources.insert(alone.cell.id.clone(), Arc::clone(sources));
        }
        let id = alone.cell.id.clone();
        let standing = alone.judge(&found, &judgement.standings, state, contents)?;
        judgement.standings.insert(id, standing);
    }
    Ok(judgement)
}

/// What is missing of a record's image, if anything is.
fn hole(layout: Option<&Layout>, record: &CellRecord) -> Result<Option<Cause>, RunError> {
    let Some(layout) = layout else { return Ok(Some(Cause::NotWhole("there is no layout".to_owned()))) };
    for root in std::iter::once(&record.manifest).chain(&record.attestations) {
        if let Presence::Incomplete { missing, reason } = presence(layout, root)? {
            let blob = missing.first().map(|blob| format!("blob `{}` is missing or has the wrong size", blob.digest));
            return Ok(Some(Cause::NotWhole(reason.or(blob).unwrap_or_default())));
        }
    }
    Ok(None)
}

/// Where to look for the files that an image was made from.
fn parts(sources: &Sources, fingerprint: &Fingerprint, ignores: &Ignores) -> Vec<Part> {
    let mut parts = Vec::new();
    for read in &fingerprint.reads {
        let Some(Directory { path, excluded, rendered, .. }) = sources.directory(read.context.as_deref()) else {
            continue;
        };
        let excludes = sources.excludes(read.context.as_deref(), ignores);
        for (name, selection) in read.parts(&excludes) {
            parts.push(Part { name, place: (path.clone(), excluded.clone(), rendered.clone(), selection) });
        }
    }
    parts
}

impl Alone<'_> {
    fn judge(
        mut self,
        found: &Found,
        earlier: &BTreeMap<CellId, Standing>,
        state: &StateDir,
        contents: &Contents,
    ) -> Result<Standing, RunError> {
        let sources = match &self.sources {
            Ok(sources) => Arc::clone(sources),
            Err(reason) => {
                self.causes.push(Cause::Unknown(reason.clone()));
                return Ok(Standing::Stale(self.causes));
            }
        };
        let Some(record) = self.record.take() else { return Ok(Standing::Stale(self.causes)) };
        let Some(fingerprint) = &record.fingerprint else {
            self.causes.push(Cause::Unknown("it is not known what it was made from".to_owned()));
            return Ok(Standing::Stale(self.causes));
        };
        self.causes.extend(fingerprint.unsettled.clone().map(Cause::Unknown));
        let mut waits = Vec::new();
        let mut images = BTreeMap::new();
        for need in sources.needs() {
            match earlier.get(need) {
                Some(Standing::Fresh(record)) => {
                    images.insert(need, record.manifest.digest);
                }
                Some(Standing::Stale(_) | Standing::Waits(..)) => waits.push(need.clone()),
                // An external is brought again. What is not asked for is taken as it is.
                None => match CellRecord::load(state, need)? {
                    Some(record) if record.upstream.is_none() => {
                        images.insert(need, record.manifest.digest);
                    }
                    _ => waits.push(need.clone()),
                },
            }
        }
        let mut now = sources.own.clone();
        now.extend(sources.image_inputs(|cell| images.get(cell).copied()));
        let mut unreadable = Vec::new();
        for part in &self.parts {
            match found.get(&part.place) {
                Some(Ok(digest)) => {
                    now.push(Input { kind: InputKind::Files, name: part.name.clone(), digest: *digest });
                }
                Some(Err(reason)) => unreadable.push(Cause::Unknown(reason.clone())),
                None => {}
            }
        }
        let now = Fingerprint::new(now, Vec::new(), None).inputs;
        // Whether what it waits for is another one is not known yet.
        let open = sources.image_inputs(|cell| waits.contains(cell).then(|| Digest::of("")));
        let is_open = |input: &Input| open.iter().any(|open| (open.kind, &open.name) == (input.kind, &input.name));
        let before: Vec<&Input> = fingerprint.inputs.iter().filter(|input| !is_open(input)).collect();
        for change in differences(&before, &now, !unreadable.is_empty()) {
            self.causes.extend(self.refined(change, &before, contents).into_iter().map(Cause::Input));
        }
        self.causes.extend(unreadable);
        self.causes.dedup();
        Ok(if !self.causes.is_empty() {
            Standing::Stale(self.causes)
        } else if waits.is_empty() {
            Standing::Fresh(Box::new(record))
        } else {
            Standing::Waits(Box::new(record), waits)
        })
    }

    /// The files behind a change of some of them.
    fn refined(&self, change: Change, before: &[&Input], contents: &Contents) -> Vec<Change> {
        let part = self.parts.iter().find(|part| part.name == change.name);
        let (InputKind::Files, How::Changed, Some(part)) = (change.kind, change.how, part) else { return vec![change] };
        let old = before.iter().find(|input| input.kind == InputKind::Files && input.name == change.name);
        let Some(old) = old else { return vec![change] };
        let (directory, excluded, rendered, selection) = &part.place;
        match contents.list(directory, excluded, rendered, selection) {
            Ok((now, _)) => Listing::changes(Listing::kept(&contents.listings, &old.digest).as_ref(), &now, old),
            Err(_) => vec![change],
        }
    }
}

/// What differs between two sorted lists. Files that could not be read are not `Removed`: that is told otherwise.
fn differences(before: &[&Input], now: &[Input], unreadable: bool) -> Vec<Change> {
    let key = |input: &Input| (input.kind, input.name.clone());
    let old: BTreeMap<_, _> = before.iter().map(|input| (key(input), input.digest)).collect();
    let new: BTreeMap<_, _> = now.iter().map(|input| (key(input), input.digest)).collect();
    let change = |(kind, name): &(InputKind, String), how| Change { kind: *kind, name: name.clone(), how };
    let gone = old
        .keys()
        .filter(|key| !(new.contains_key(*key) || unreadable && key.0 == InputKind::Files))
        .map(|key| change(key, How::Removed));
    let other = new.iter().filter_map(|(key, digest)| match old.get(key) {
        None => Some(change(key, How::Added)),
        Some(known) if known != digest => Some(change(key, How::Changed)),
        Some(_) => None,
    });
    let mut all: Vec<Change> = gone.chain(other).collect();
    all.sort_by(|left, right| (left.kind, &left.name).cmp(&(right.kind, &right.name)));
    all
}
