use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::cli::args::{ToArgs, WhyArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::{Event, EventSink};
use crate::plan::Plan;
use crate::report::{why_document, why_text};
use crate::run::{self, Bases, Cause, Foresight, Standing, StateDir};

/// `catamaran why`: what the next build would do about each cell, and why; nothing is built and no builder is asked.
pub(super) fn why(settings: &Settings, args: &WhyArgs, console: &Console) -> u8 {
    let found = match look(settings, args) {
        Ok(found) => found,
        Err(error) => return console.fail(&error),
    };
    let few = !args.select.names.is_empty() || settings.verbose;
    console.print(&if settings.json { why_document(&found) } else { why_text(&found, few, &console.out) });
    exit::DONE
}

/// Warns of cells that are published and were made from other sources than there are now. Nothing is rebuilt behind anybody's
/// back, but who forgot to build shall hear of it. Reads files, away from the reactor.
pub(super) async fn warn_of_outdated(settings: &Settings, plan: &Plan, state: &StateDir, events: &Arc<dyn EventSink>) {
    let (plan, state, scratch) = (plan.clone(), state.clone(), settings.environment.scratch());
    let text = tokio::task::spawn_blocking(move || outdated(&plan, &state, &scratch)).await;
    // What cannot be looked at is told by the next build.
    if let Ok(Some(text)) = text {
        events.emit(Event::Warning { cell: None, text });
    }
}

fn outdated(plan: &Plan, state: &StateDir, scratch: &Path) -> Option<String> {
    const NAMED: usize = 6;
    let look = || -> Result<Vec<Foresight>, CliError> {
        let bases = Bases::new(Settings::lock(plan)?.unwrap_or_default());
        Ok(run::why(plan, state, &bases, &BTreeSet::new(), scratch)?)
    };
    let is_old = |found: &Foresight| match &found.standing {
        Some(Standing::Stale(causes)) => causes.iter().any(|cause| matches!(cause, Cause::Input(_))),
        _ => false,
    };
    let old: Vec<String> = look().ok()?.into_iter().filter(is_old).map(|found| found.cell.to_string()).collect();
    let more = if old.len() > NAMED { format!(" and {} more", old.len() - NAMED) } else { String::new() };
    let names = old.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let text = format!("made from other sources than there are now: {names}{more} (see `catamaran why`)");
    (!old.is_empty()).then_some(text)
}

fn look(settings: &Settings, args: &WhyArgs) -> Result<Vec<Foresight>, CliError> {
    let project = settings.project_with(&args.select.names)?;
    let plan = Settings::plan(&project, &args.select, &ToArgs { to: Vec::new() })?;
    let force = Settings::forced(&project, &plan, &args.force)?;
    let bases = Bases::new(Settings::lock(&plan)?.unwrap_or_default());
    Ok(run::why(&plan, &settings.state(&project), &bases, &force, &settings.environment.scratch())?)
}
