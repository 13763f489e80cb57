use std::collections::BTreeMap;

use super::status::included;
use super::{CellRecord, IndexReport, RunError, StateDir};
use crate::base::{Descriptor, Reference};
use crate::image::{
    Assembled, IndexEntry, ManifestBody, RawManifest, assemble_index, entry_platform, is_attestation, names,
    publish_names, subset_index,
};
use crate::plan::{Cell, Component, ComponentKind, Plan, Selection};
use crate::store::Layout;
use crate::verify::presence;

/// Joins the images of every component whose cells are all there into its index, and makes `index.json` name exactly these.
///
/// `plan` must hold the whole matrix of the project. Works from the cells' records, so that equal records give equal indexes
/// whatever was built in this run. Names of components that have a hole, of earlier tags and of components that are gone
/// are taken away: a name in `index.json` stands for something complete.
pub(super) fn name_complete_indexes(
    plan: &Plan,
    state: &StateDir,
    layout: &Layout,
) -> Result<Vec<IndexReport>, RunError> {
    let mut reports = Vec::new();
    let mut set: Vec<(Reference, Descriptor)> = Vec::new();
    for component in included(plan) {
        let Some(assembled) = assemble(plan, component, state, layout, Holes::Refuse)? else { continue };
        let Some(reference) = component.references.first() else { continue };
        reports.push(IndexReport {
            component: component.name.clone(),
            reference: reference.clone(),
            digest: assembled.descriptor.digest,
            platforms: platforms_of(&assembled)?,
        });
        set.push((reference.clone(), assembled.descriptor));
    }
    // What can be built by name only is judged when it is named; until then what is there of it stays.
    let unselected = plan.unselected.iter().flat_map(|one| &one.references);
    let known: Vec<String> =
        set.iter().map(|(reference, _)| reference).chain(unselected).map(ToString::to_string).collect();
    let gone: Vec<Reference> = names(layout)?
        .into_iter()
        .filter(|(name, _)| !known.contains(name))
        .filter_map(|(name, _)| name.parse().ok())
        .collect();
    publish_names(layout, &set, &gone)?;
    reports.sort_by(|left, right| left.component.cmp(&right.component));
    Ok(reports)
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
    let mut upstream = None;
    // An excluded cell is never selected; names may mean some platforms of a component only.
    let asked = |cell: &&Cell| cell.id.component == component.name && cell.selection == Selection::Selected;
    for cell in plan.cells.iter().filter(asked) {
        let present = match CellRecord::load(state, &cell.id)? {
            Some(record) if presence(layout, &record.manifest)?.is_complete() => Some(record),
            _ => None,
        };
        let Some(record) = present else {
            match holes {
                Holes::Refuse => return Ok(None),
                Holes::Skip => continue,
            }
        };
        upstream = record.upstream.or(upstream);
        entries.push(IndexEntry {
            platform: cell.id.platform.clone(),
            manifest: record.manifest,
            attestations: record.attestations,
        });
    }
    if entries.is_empty() {
        return Ok(None);
    }
    if component.kind == ComponentKind::External
        && let Some(upstream) = upstream
    {
        let platforms: Vec<_> = entries.iter().map(|entry| entry.platform.clone()).collect();
        return Ok(Some(subset_index(layout, &upstream, &platforms)?));
    }
    Ok(Some(assemble_index(layout, entries, &BTreeMap::new())?))
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
