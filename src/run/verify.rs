use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::heal::suspect;
use super::publish::{asked, blocking, publishable};
use super::status::{doubled, entry_of, joins};
use super::{CellRecord, RunError, StateDir};
use crate::base::{CellId, ComponentName, Descriptor, Platform, Reference};
use crate::bundle::BundleReader;
use crate::image::names;
use crate::plan::{Cell, Component, Plan};
use crate::store::Layout;
use crate::verify::{Affected, Depth, ExpectedIndex, Finding, Part, Problem, Report, verify_layout};

/// What `verify` found.
#[derive(Debug)]
pub struct Verified {
    /// The findings, and how much was looked at.
    pub report: Report,
    /// Components that must be there and that nothing names.
    pub unnamed: Vec<ComponentName>,
    /// Cells that a bundle says it lacks.
    pub declared_missing: Vec<CellId>,
    /// Whether it is about a part of the project only: of the layout, because names or platforms said so, or of a bundle
    /// that holds no more.
    pub subset: bool,
}

/// Proves what the layout holds under the names of the plan's components, as far as its cells are selected.
///
/// `whole` is the plan without names and platforms: it says what else an index may hold.
/// Nothing in the layout is changed. Damaged blobs are remembered, so that the next build replaces them.
pub async fn verify(
    plan: &Plan,
    whole: &Plan,
    state: &StateDir,
    depth: Depth,
    cancel: &CancellationToken,
) -> Result<Verified, RunError> {
    let (plan, whole, state, cancel) = (plan.clone(), whole.clone(), state.clone(), cancel.clone());
    let subset = plan.subset.names || plan.subset.platforms;
    blocking(move || {
        let unnamed = || publishable(&plan).map(|component| component.name.clone()).collect();
        if !state.layout().exists() {
            let report = Report::default();
            return Ok(Verified { report, unnamed: unnamed(), declared_missing: Vec::new(), subset });
        }
        let layout = Layout::open(state.layout())?;
        let named: BTreeMap<String, Descriptor> = names(&layout)?.into_iter().collect();
        let doubled = doubled(Some(&layout));
        let (mut roots, mut misnamed, mut unnamed) = (Vec::new(), Vec::new(), Vec::new());
        for component in publishable(&plan) {
            let of_component = |cell: &&Cell| cell.id.component == component.name;
            let selected = || asked(&plan).filter(of_component);
            let platforms: Vec<Platform> = selected().map(|cell| cell.id.platform.clone()).collect();
            let others = whole.expected().filter(of_component).map(|cell| cell.id.platform.clone());
            let unasked: Vec<Platform> = others.filter(|platform| !platforms.contains(platform)).collect();
            let mut images = Vec::new();
            for cell in selected() {
                if let Some(record) = CellRecord::load(&state, &cell.id)? {
                    images.push((&cell.id.platform, record.manifest));
                }
            }
            let wanted: Vec<_> = images.iter().map(|(platform, manifest)| (*platform, manifest)).collect();
            let found = entry_of(component, &named, &layout, &wanted, !unasked.is_empty());
            let Some((reference, descriptor)) = found else {
                unnamed.push(component.name.clone());
                continue;
            };
            if doubled.contains(&reference.to_string()) {
                misnamed.push(about_name(component, &reference, descriptor, Problem::DoubledName));
            } else if wanted.len() < platforms.len() {
                // Nothing says which image it should hold there.
                unnamed.push(component.name.clone());
            } else if joins(&layout, descriptor, &wanted, !unasked.is_empty()).is_none() {
                let problem = Problem::WrongName { found: Some(descriptor.digest) };
                misnamed.push(about_name(component, &reference, descriptor, problem));
            }
            roots.push(ExpectedIndex {
                component: component.name.clone(),
                reference,
                descriptor: descriptor.clone(),
                platforms,
                unasked,
                foreign: component.foreign.clone(),
            });
        }
        let mut report = verify_layout(&layout, &roots, depth, &cancel);
        // A hole or damage in an index also makes it another one than the records say: told once, by its cause.
        let told: BTreeSet<ComponentName> =
            report.findings.iter().flat_map(|finding| &finding.affects).map(|one| one.component.clone()).collect();
        let caused = |finding: &Finding| finding.affects.iter().any(|one| told.contains(&one.component));
        misnamed.retain(|finding| finding.problem == Problem::DoubledName || !caused(finding));
        report.findings.extend(misnamed);
        let damaged = report.findings.iter().filter(|finding| finding.problem.is_blob_damage());
        suspect(&state, damaged.map(|finding| finding.digest))?;
        Ok(Verified { report, unnamed, declared_missing: Vec::new(), subset })
    })
    .await
}

/// A finding about what `index.json` has under the name of `component`.
fn about_name(component: &Component, reference: &Reference, found: &Descriptor, problem: Problem) -> Finding {
    let affected =
        Affected { component: component.name.clone(), reference: reference.clone(), platform: None, part: Part::Index };
    Finding { problem, digest: found.digest, affects: vec![affected] }
}

/// Proves what a bundle holds under the names in it.
pub async fn verify_bundle(path: &Path, depth: Depth, cancel: &CancellationToken) -> Result<Verified, RunError> {
    let (path, cancel) = (path.to_owned(), cancel.clone());
    blocking(move || verify_opened(&BundleReader::open(path)?, depth, &cancel)).await
}

/// Proves a bundle that is open. Blocks.
pub(super) fn verify_opened(
    bundle: &BundleReader,
    depth: Depth,
    cancel: &CancellationToken,
) -> Result<Verified, RunError> {
    let lock = bundle.lock();
    let declared_missing =
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
            unasked: Vec::new(),
            foreign: image.foreign.clone(),
        })
        .collect();
    let report = verify_layout(bundle, &roots, depth, cancel);
    // Broken blobs would fail this too, and say less.
    if report.findings.is_empty() && !report.cancelled {
        bundle.check_views()?;
    }
    Ok(Verified { report, unnamed: Vec::new(), declared_missing, subset: lock.subset })
}
