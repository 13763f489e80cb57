use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::owners::Owners;
use super::status::included;
use super::{CellRecord, IndexReport, RunError, StateDir};
use crate::base::{Descriptor, ErrorClass, Failure as _, MediaKind, Reference};
use crate::image::{
    Assembled, IndexEntry, ManifestBody, RawManifest, assemble_index, entry_platform, is_attestation, names,
    publish_names, subset_index,
};
use crate::plan::{Cell, CellBuild, Component, ComponentKind, Plan, Selection};
use crate::store::Layout;
use crate::verify::{Presence, presence};

/// What came of joining.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The indexes that are named now, sorted by component.
    pub(super) reports: Vec<IndexReport>,
    /// Why components whose cells are there have none. One component's trouble is none of the others'.
    pub(super) troubles: Vec<RunError>,
    /// Names that another project on the same state directory has too, in sentences.
    pub(super) shared: Vec<String>,
}

/// Joins the images of every component whose cells are all there into its index, and makes `index.json` name exactly these.
///
/// `plan` must hold the whole matrix of the project. Works from the cells' records, so that equal records give equal indexes
/// whatever was built in this run. Names of components that have a hole, of earlier tags and of components that are gone
/// are taken away: a name in `index.json` stands for something complete. Names that another project on this state directory
/// wrote stay.
pub(super) fn name_complete_indexes(plan: &Plan, state: &StateDir, layout: &Layout) -> Result<Joined, RunError> {
    let mut joined = Joined::default();
    let mut set: Vec<(Reference, Descriptor)> = Vec::new();
    for component in included(plan) {
        match whole_index(plan, component, state, layout) {
            Ok(Some((report, index))) => {
                set.push((report.reference.clone(), index));
                joined.reports.push(report);
            }
            Ok(None) => {}
            Err(error) if error.class() == ErrorClass::Disk => return Err(error),
            Err(error) => {
                joined.troubles.push(RunError::Index { component: component.name.clone(), source: Box::new(error) });
            }
        }
    }
    // What can be built by name only is judged when it is named; until then what is there of it stays.
    let unselected = plan.unselected.iter().flat_map(|one| &one.references);
    let known: BTreeSet<String> =
        set.iter().map(|(reference, _)| reference).chain(unselected).map(ToString::to_string).collect();
    let mut owners = Owners::load(state)?;
    let others = owners.others(plan, state);
    let gone: Vec<Reference> = names(layout)?
        .into_iter()
        .filter(|(name, _)| !known.contains(name) && !others.contains_key(name.as_str()))
        .filter_map(|(name, _)| name.parse().ok())
        .collect();
    joined.shared = known
        .iter()
        .filter_map(|name| {
            let file = others.get(name.as_str())?.display();
            Some(format!(
                "`{name}` is a name of `{file}` too, which uses the same state directory: the last build wins"
            ))
        })
        .collect();
    publish_names(layout, &set, &gone)?;
    owners.set(plan, known, state)?;
    joined.reports.sort_by(|left, right| left.component.cmp(&right.component));
    Ok(joined)
}

/// The index of one component, proven to be there with all that it refers to; `None` where a cell is not.
pub(super) fn whole_index(
    plan: &Plan,
    component: &Component,
    state: &StateDir,
    layout: &Layout,
) -> Result<Option<(IndexReport, Descriptor)>, RunError> {
    let Some(assembled) = assemble(plan, component, state, layout, Holes::Refuse)? else { return Ok(None) };
    let Some(reference) = component.references.first() else { return Ok(None) };
    if let Presence::Incomplete { missing, reason } = presence(layout, &assembled.descriptor)? {
        let first = missing.first().map(|blob| format!("`{}` is not in the layout", blob.digest));
        return Err(RunError::Dangling { reason: reason.or(first).unwrap_or_default() });
    }
    let report = IndexReport {
        component: component.name.clone(),
        reference: reference.clone(),
        digest: assembled.descriptor.digest,
        platforms: platforms_of(&assembled)?,
    };
    Ok(Some((report, assembled.descriptor)))
}

/// What a cell that is not there means for its component's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holes {
    /// There is no index.
    Refuse,
    /// The index has one entry less.
    Skip,
}

/// The index of the cells of one component that the plan selects, in the layout; `None` if it has none.
pub(super) fn assemble(
    plan: &Plan,
    component: &Component,
    state: &StateDir,
    layout: &Layout,
    holes: Holes,
) -> Result<Option<Assembled>, RunError> {
    let mut entries = Vec::new();
    let mut upstreams: Vec<Option<Descriptor>> = Vec::new();
    // An excluded cell is never selected; names may mean some platforms of a component only.
    let asked = |cell: &&Cell| cell.id.component == component.name && cell.selection == Selection::Selected;
    for cell in plan.cells.iter().filter(asked) {
        let present = match CellRecord::load(state, &cell.id)? {
            Some(record) if is_whole(layout, &record)? => Some(record),
            _ => None,
        };
        let Some(record) = present else {
            match holes {
                Holes::Refuse => return Ok(None),
                Holes::Skip => continue,
            }
        };
        if !upstreams.contains(&record.upstream) {
            upstreams.push(record.upstream);
        }
        entries.push(IndexEntry {
            platform: cell.id.platform.clone(),
            manifest: record.manifest,
            annotations: cell.build().and_then(entry_annotations),
            attestations: record.attestations,
        });
    }
    if entries.is_empty() {
        return Ok(None);
    }
    if component.kind != ComponentKind::External {
        return Ok(Some(assemble_index(layout, entries, &component.annotations)?));
    }
    match upstreams.as_slice() {
        // Parts of two upstream releases are no release.
        [_, _, ..] => Err(RunError::Moved { component: component.name.clone() }),
        [Some(upstream)] if upstream.kind() == MediaKind::Index => {
            let platforms: Vec<_> = entries.iter().map(|entry| entry.platform.clone()).collect();
            Ok(Some(subset_index(layout, upstream, &platforms)?))
        }
        // Upstream has no index: a single image.
        _ => Ok(Some(assemble_index(layout, entries, &component.annotations)?)),
    }
}

/// Whether a cell's image is there with everything it refers to, what is said about it included.
pub(super) fn is_whole(layout: &Layout, record: &CellRecord) -> Result<bool, RunError> {
    for manifest in std::iter::once(&record.manifest).chain(&record.attestations) {
        if !presence(layout, manifest)?.is_complete() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn entry_annotations(build: &CellBuild) -> Option<IndexMap<String, String>> {
    let annotations = &build.entry_annotations;
    (!annotations.is_empty()).then(|| annotations.clone().into_iter().collect())
}

pub(super) fn platforms_of(assembled: &Assembled) -> Result<Vec<crate::base::Platform>, RunError> {
    let raw = RawManifest::parse(assembled.bytes.clone(), &assembled.descriptor.media_type)?;
    let ManifestBody::Index { manifests, .. } = &raw.parsed else { return Ok(Vec::new()) };
    Ok(manifests
        .iter()
        .filter(|entry| !is_attestation(entry))
        .filter_map(|entry| entry_platform(entry)?.ok())
        .collect())
}
