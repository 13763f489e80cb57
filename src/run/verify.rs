use std::collections::BTreeMap;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::heal::suspect;
use super::publish::blocking;
use super::status::{entry_of, included};
use super::{CellRecord, RunError, StateDir};
use crate::base::{CellId, ComponentName, Descriptor};
use crate::bundle::BundleReader;
use crate::image::names;
use crate::plan::Plan;
use crate::store::Layout;
use crate::verify::{Depth, ExpectedIndex, Report, verify_layout};

/// What `verify` found.
#[derive(Debug)]
pub struct Verified {
    /// The findings, and how much was looked at.
    pub report: Report,
    /// Components that must be there and that nothing names.
    pub unnamed: Vec<ComponentName>,
    /// Cells that a bundle says it lacks.
    pub declared_missing: Vec<CellId>,
}

/// Proves what the layout holds under the names of the plan's components.
///
/// Nothing in the layout is changed. Damaged blobs are remembered, so that the next build replaces them.
pub async fn verify(
    plan: &Plan,
    state: &StateDir,
    depth: Depth,
    cancel: &CancellationToken,
) -> Result<Verified, RunError> {
    let (plan, state, cancel) = (plan.clone(), state.clone(), cancel.clone());
    blocking(move || {
        let unnamed = || included(&plan).map(|component| component.name.clone()).collect();
        if !state.layout().exists() {
            return Ok(Verified { report: Report::default(), unnamed: unnamed(), declared_missing: Vec::new() });
        }
        let layout = Layout::open(state.layout())?;
        let named: BTreeMap<String, Descriptor> = names(&layout)?.into_iter().collect();
        let mut roots = Vec::new();
        let mut unnamed = Vec::new();
        for component in included(&plan) {
            let mut images = Vec::new();
            for cell in plan.cells.iter().filter(|cell| cell.id.component == component.name) {
                if let Some(record) = CellRecord::load(&state, &cell.id)? {
                    images.push((&cell.id.platform, record.manifest));
                }
            }
            let wanted: Vec<_> = images.iter().map(|(platform, manifest)| (*platform, manifest)).collect();
            let found = entry_of(component, &named, &layout, &wanted, plan.subset.platforms);
            let Some((reference, descriptor)) = found else {
                unnamed.push(component.name.clone());
                continue;
            };
            roots.push(ExpectedIndex {
                component: component.name.clone(),
                reference,
                descriptor: descriptor.clone(),
                platforms: component.platforms.clone(),
                foreign: component.foreign.clone(),
            });
        }
        let report = verify_layout(&layout, &roots, depth, &cancel);
        let damaged = report.findings.iter().filter(|finding| finding.problem.is_blob_damage());
        suspect(&state, damaged.map(|finding| finding.digest))?;
        Ok(Verified { report, unnamed, declared_missing: Vec::new() })
    })
    .await
}

/// Proves what a bundle holds under the names in it.
pub async fn verify_bundle(path: &Path, depth: Depth, cancel: &CancellationToken) -> Result<Verified, RunError> {
    let (path, cancel) = (path.to_owned(), cancel.clone());
    blocking(move || {
        let bundle = BundleReader::open(path)?;
        let lock = bundle.lock();
        let missing =
            lock.missing.iter().map(|cell| CellId::new(cell.component.clone(), cell.platform.clone())).collect();
        let roots: Vec<ExpectedIndex> = bundle
            .entries()
            .into_iter()
            .zip(&lock.images)
            .map(|(entry, image)| ExpectedIndex {
                component: entry.component,
                reference: entry.reference,
                descriptor: entry.index,
                platforms: image.platforms.iter().map(|locked| locked.platform.clone()).collect(),
                foreign: image.foreign.clone(),
            })
            .collect();
        let report = verify_layout(&bundle, &roots, depth, &cancel);
        // Broken blobs would fail this too, and say less.
        if report.findings.is_empty() {
            bundle.check_views()?;
        }
        Ok(Verified { report, unnamed: Vec::new(), declared_missing: missing })
    })
    .await
}
