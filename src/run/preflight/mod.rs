//! What can be known to fail before the first solve: all findings at once, each with the cells that it touches and the fix.
//!
//! Every probe is bounded, all of them run at the same time, and none of them changes anything: a builder that had to be
//! started is ended again, an upload that shows whether a push is allowed is ended without a byte.

mod contexts;
mod doors;
mod emulation;
mod finding;
mod machine;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

pub use finding::{Finding, Level};

use super::publish::blocking;
use super::{BuilderSettings, Inputs, RunError, StateDir};
use crate::config::LockFile;
use crate::event::EventSink;
use crate::plan::{Cell, Plan, Selection};
use crate::registry::RegistryClient;
use crate::store::Layout;

/// How long one question to somebody else may take.
pub const LIMIT: Duration = Duration::from_secs(5);

/// What is looked at.
pub struct PreflightRequest<'a> {
    /// What would be built.
    pub plan: &'a Plan,
    /// By whom.
    pub builders: &'a BuilderSettings,
    /// Speaks to registries; best one that tries once only.
    pub client: &'a RegistryClient,
    /// What the images from outside are known to be.
    pub lock: Option<&'a LockFile>,
    /// What comes from outside the project.
    pub inputs: &'a Inputs,
}

/// Looks at everything. Findings come in a fixed order: this machine, contexts, builders, bases, registries.
///
/// # Errors
/// Only where the state directory cannot be used; everything else is a finding.
pub async fn preflight(
    request: &PreflightRequest<'_>,
    state: &StateDir,
    events: &Arc<dyn EventSink>,
) -> Result<Vec<Finding>, RunError> {
    let PreflightRequest { plan, builders, client, lock, inputs } = *request;
    let selected = selected(plan);
    state.create()?;
    let layout = Layout::create(state.layout())?;
    let mut findings = machine(state, &selected, machine::LITTLE_SPACE);
    findings.extend(machine::ports(plan, &selected, builders));
    findings.extend(secrets::unset(&selected, inputs));
    // The walk over the contexts may meet a slow disk: it goes on beside the questions.
    let owned: Vec<Cell> = selected.iter().map(|cell| (*cell).clone()).collect();
    let root = state.root().to_owned();
    let walk = blocking(move || Ok([contexts::sources(&owned), contexts::cases(&owned, &root)].concat()));
    let (contexts, builder, bases, targets) = futures_util::join!(
        walk,
        emulation::builders(plan, &selected, builders, &layout, events),
        doors::bases(plan, &selected, lock, &layout, client),
        doors::targets(plan, &selected, client),
    );
    findings.extend(contexts::fetched(plan, &selected));
    findings.extend(contexts?);
    findings.extend(builder);
    findings.extend(bases);
    findings.extend(targets);
    Ok(finding::joined(findings))
}

/// The part of it that asks nobody and takes no time: what is worth a word at the start of every build.
pub fn at_start(plan: &Plan, state: &StateDir) -> Vec<Finding> {
    machine(state, &selected(plan), machine::NO_SPACE)
        .into_iter()
        .filter(|finding| finding.level != Level::Fine)
        .collect()
}

fn machine(state: &StateDir, selected: &[&Cell], little: u64) -> Vec<Finding> {
    std::iter::once(machine::disk(state, selected, little)).chain(machine::files()).collect()
}

fn selected(plan: &Plan) -> Vec<&Cell> {
    plan.cells.iter().filter(|cell| !cell.is_excluded() && cell.selection > Selection::Unselected).collect()
}
