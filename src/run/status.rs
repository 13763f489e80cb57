use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::last::LastRun;
use super::{CellRecord, CellReport, IndexReport, Matrix, RunError, StateDir};
use crate::base::{CellState, Descriptor, ErrorClass, Failure as _, Platform, Reference};
use crate::image::{ManifestBody, RawManifest, doubled_names, entry_platform, is_attestation, names};
use crate::plan::{Cell, CellWork, Component, Plan, Selection};
use crate::store::{Layout, StoreError};
use crate::verify::{Presence, presence};

/// Compares the plan's matrix with the layout. Needs no builder and writes nothing.
///
/// A cell is there if its record is and everything that its manifest refers to is in the layout with the right sizes. An
/// index counts if `index.json` names it, and nothing else the same, it is there whole, and it joins the images of the cells' records.
pub fn status(plan: &Plan, state: &StateDir) -> Result<Matrix, RunError> {
    let (layout, unusable) = match Layout::open(state.layout()) {
        Ok(layout) => (Some(layout), String::new()),
        // Nothing was ever built here, or what is there is no layout: all cells are missing, whatever their records say.
        Err(StoreError::NotALayout { reason, .. }) => (None, format!("the layout cannot be used: {reason}")),
        Err(StoreError::Absent { .. }) => (None, "there is no layout".to_owned()),
        Err(error) => return Err(error.into()),
    };
    let last = LastRun::load(state);
    let mut cells = Vec::new();
    let mut images = BTreeMap::new();
    for cell in &plan.cells {
        let (report, manifest) = look_at(cell, state, layout.as_ref().ok_or(&unusable), &last)?;
        if let Some(manifest) = manifest {
            images.insert(cell.id.clone(), manifest);
        }
        cells.push(report);
    }
    cells.sort_by(|left, right| left.cell.cmp(&right.cell));
    let mut matrix = Matrix {
        title: title(plan),
        subset: plan.subset.platforms || plan.subset.names,
        cells,
        indexes: Vec::new(),
        unindexed: Vec::new(),
    };
    let entries = match &layout {
        Some(layout) => match names(layout) {
            Ok(entries) => entries.into_iter().collect(),
            Err(error) if error.class() == ErrorClass::Disk => return Err(error.into()),
            // An index.json that cannot be read names nothing.
            Err(_) => BTreeMap::new(),
        },
        None => BTreeMap::new(),
    };
    let doubled = doubled(layout.as_ref());
    for component in included(plan) {
        let of_component = || plan.expected().filter(|cell| cell.id.component == component.name);
        let wanted: Vec<(&Platform, &Descriptor)> =
            of_component().filter_map(|cell| Some((&cell.id.platform, images.get(&cell.id)?))).collect();
        if wanted.len() < of_component().count() {
            continue;
        }
        let found = layout.as_ref().and_then(|layout| {
            let (reference, entry) = entry_of(component, &entries, layout, &wanted, plan.subset.platforms)?;
            let joined = joins(layout, entry, &wanted, plan.subset.platforms);
            joined.filter(|_| !doubled.contains(&reference.to_string())).map(|platforms| IndexReport {
                component: component.name.clone(),
                reference,
                digest: entry.digest,
                platforms,
            })
        });
        match found {
            Some(index) => matrix.indexes.push(index),
            // Names stand for all platforms: those of a part may all be there before there is any.
            None if plan.subset.platforms => {}
            None => matrix.unindexed.push(component.name.clone()),
        }
    }
    matrix.indexes.sort_by(|left, right| left.component.cmp(&right.component));
    Ok(matrix)
}

/// The names that `index.json` has more than once. One that cannot be read names nothing.
pub(super) fn doubled(layout: Option<&Layout>) -> BTreeSet<String> {
    layout.and_then(|layout| doubled_names(layout).ok()).unwrap_or_default()
}

/// `fleet v0.3.8`
pub(super) fn title(plan: &Plan) -> String {
    format!("{} {}", plan.project, plan.tag)
}

/// Whether a matrix that answers a command line shows `cell`: it was selected at least as `least`, or it is excluded and
/// no names asked for others. An excluded cell is never selected, and still has to be seen with its reason.
pub fn is_shown(plan: &Plan, cell: &Cell, least: Selection) -> bool {
    if cell.is_excluded() { !plan.subset.names } else { cell.selection >= least }
}

/// The components whose indexes must be there.
pub(super) fn included(plan: &Plan) -> impl Iterator<Item = &Component> {
    plan.components.iter().filter(|component| component.excluded.is_none())
}

/// A cell by its record, and its manifest if all of it is there.
fn look_at(
    cell: &Cell,
    state: &StateDir,
    layout: Result<&Layout, &String>,
    last: &LastRun,
) -> Result<(CellReport, Option<Descriptor>), RunError> {
    let external = matches!(cell.work, CellWork::Mirror(_));
    let mut report = CellReport::new(cell.id.clone(), CellState::Missing, external);
    if let CellWork::Excluded(reason) = &cell.work {
        report.state = CellState::Excluded;
        report.reason = Some(reason.clone());
        return Ok((report, None));
    }
    let Some(record) = CellRecord::load(state, &cell.id)? else {
        report.reason = Some(last.why(&cell.id).unwrap_or_else(|| "never built".to_owned()));
        return Ok((report, None));
    };
    let layout = match layout {
        Ok(layout) => layout,
        Err(reason) => {
            report.reason = Some(reason.clone());
            return Ok((report, None));
        }
    };
    let mut found = presence(layout, &record.manifest)?;
    for attestation in &record.attestations {
        if found.is_complete() {
            found = presence(layout, attestation)?;
        }
    }
    match found {
        Presence::Complete { .. } => {
            report.state = if external { CellState::Mirrored } else { CellState::Built };
            report.digest = Some(record.manifest.digest);
            report.emulated = record.emulated;
            report.builder.clone_from(&record.builder);
            report.took = Duration::try_from_secs_f64(record.seconds).ok();
            let log = state.log(&cell.id);
            report.log = log.exists().then_some(log);
            Ok((report, Some(record.manifest)))
        }
        Presence::Incomplete { missing, reason } => {
            report.reason = reason.or_else(|| {
                let first = missing.first()?;
                Some(format!("blob `{}` is missing or has the wrong size", first.digest))
            });
            Ok((report, None))
        }
    }
}

/// The entry of `index.json` that stands for a component, and its name there.
///
/// Its own reference first. Else the same repository and tag under another prefix, if it joins the `wanted` images: `build
/// --to PREFIX` names what it made by where it was going, and a later command without `--to` asks about the same release.
pub(super) fn entry_of<'a>(
    component: &Component,
    entries: &'a BTreeMap<String, Descriptor>,
    layout: &Layout,
    wanted: &[(&Platform, &Descriptor)],
    subset: bool,
) -> Option<(Reference, &'a Descriptor)> {
    let expected = component.references.first()?;
    if let Some(entry) = entries.get(&expected.to_string()) {
        return Some((expected.clone(), entry));
    }
    let last = |reference: &Reference| reference.repository().path().rsplit('/').next().map(str::to_owned);
    entries.iter().find_map(|(name, entry)| {
        let reference: Reference = name.parse().ok()?;
        let same = reference.tag() == expected.tag() && last(&reference) == last(expected);
        (same && joins(layout, entry, wanted, subset).is_some()).then_some((reference, entry))
    })
}

/// The platforms of the index behind `entry`, if it joins exactly the `wanted` images and is there whole. Where a `subset` of
/// the platforms is asked about, the index may hold more.
pub(super) fn joins(
    layout: &Layout,
    entry: &Descriptor,
    wanted: &[(&Platform, &Descriptor)],
    subset: bool,
) -> Option<Vec<Platform>> {
    let raw = RawManifest::read(layout, entry).ok()?;
    let ManifestBody::Index { manifests, .. } = &raw.parsed else { return None };
    let images: Vec<(Platform, &Descriptor)> = manifests
        .iter()
        .filter(|image| !is_attestation(image))
        .filter_map(|image| Some((entry_platform(image)?.ok()?, image)))
        .collect();
    let has = |(platform, manifest): &(&Platform, &Descriptor)| {
        images.iter().any(|(known, image)| known == *platform && image.digest == manifest.digest)
    };
    let whole = presence(layout, entry).ok()?.is_complete();
    let exact = !wanted.is_empty() && (subset || images.len() == wanted.len());
    (whole && exact && wanted.iter().all(has)).then(|| images.into_iter().map(|(platform, _)| platform).collect())
}
