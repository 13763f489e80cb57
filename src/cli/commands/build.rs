use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::export::bundle_line;
use super::push::{pushed_lines, tell_all, tell_warnings};
use super::watch::watch;
use super::why::warn_of_outdated;
use crate::base::{CellState, Failure};
use crate::bundle::check_destination;
use crate::cli::args::BuildArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::settings::Plans;
use crate::cli::{Console, Settings};
use crate::event::{Event, EventSink};
use crate::plan::{Plan, Selection};
use crate::report::{
    Delivered, Diagnostic, build_document, buildx_metadata, duration, job_summary, matrix_sentence, matrix_table,
    render_all, render_error,
};
use crate::run::{
    self, BuildOptions, ExportRequest, Exported, OnFailure, Outcome, Published, PushRequest, Recorder, RunError,
    StateDir,
};

/// `catamaran build`: plan, build, judge, publish, report.
pub(super) async fn build(settings: &Settings, args: BuildArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let (plans, state) = match prepare(settings, &args) {
        Ok(prepared) => prepared,
        Err(error) => {
            if settings.json {
                let code = exit::code(error.class());
                console.print(&build_document(&Outcome::default(), &Delivered::default(), Some(&error), code));
            }
            return console.fail(&error);
        }
    };
    console.warn_of(&plans.asked.warnings);
    console.tell_findings(&run::at_start(&plans.asked, &state));
    let progress = watch(settings, args.progress.progress, console);
    let recorder = Arc::new(Recorder::new(progress.clone(), &plans.asked, &state));
    let events: Arc<dyn EventSink> = recorder.clone();
    let mut done = work(settings, &args, &plans, &state, &events, cancel).await;
    progress.close();
    leave(settings, &args, &plans, &state, &recorder, &mut done, console);
    let code = done.code();
    if settings.json {
        console.print(&done.document(code));
        done.tell_failures(console, None);
    } else {
        done.show(&args, settings.verbose, console, code);
    }
    code
}

/// What a build leaves beside its results: the record for `report`, the metadata file, and what a CI system shows.
fn leave(
    settings: &Settings,
    args: &BuildArgs,
    plans: &Plans,
    state: &StateDir,
    recorder: &Recorder,
    done: &mut Done,
    console: &Console,
) {
    if state.root().is_dir()
        && let Err(error) = recorder.finish(&done.outcome, &plans.asked, state)
    {
        // What was built is there all the same; only the story of it is not.
        console.warn(&error.to_string());
    }
    if let Some(file) = &args.metadata_file {
        let matrix = &done.outcome.matrix;
        let text = buildx_metadata(&plans.asked, matrix, &run::sizes(state, matrix));
        let path = settings.path(file);
        if let Err(source) = std::fs::write(&path, text) {
            done.error.get_or_insert(RunError::State { action: "write", path, source });
        }
    }
    if let Some(workspace) = settings.environment.github_workspace() {
        let told: String =
            done.outcome.failures.iter().map(|one| Diagnostic::of_cell(one).annotation(&workspace)).collect();
        console.tell(&told);
    }
    if let Some(path) = settings.environment.job_summary() {
        let text = job_summary(&done.outcome, &done.deliveries(console), &console.err);
        let written = std::fs::File::options().create(true).append(true).open(&path);
        if let Err(error) = written.and_then(|mut file| file.write_all(text.as_bytes())) {
            console.warn(&format!("cannot write the job's summary `{}`: {error}", path.display()));
        }
    }
}

/// Everything that is known before anything is contacted.
fn prepare(settings: &Settings, args: &BuildArgs) -> Result<(Plans, StateDir), CliError> {
    let project = settings.project_with(&args.select.names)?;
    let mut plans = Settings::plans(&project, &args.select, &args.to)?;
    plans.forced = Settings::forced(&project, &plans.asked, &args.force)?;
    if args.push {
        plans.judged.require_registries().map_err(RunError::from)?;
    }
    if let Some(file) = &args.export {
        check_destination(&settings.path(file)).map_err(RunError::from)?;
    }
    check_allowed(&plans.asked, &args.allow)?;
    let state = settings.state(&project);
    Ok((plans, state))
}

/// A file that was fetched from somewhere must not get at this machine because it says so: as bake, the user has to.
fn check_allowed(plan: &Plan, allowed: &[String]) -> Result<(), CliError> {
    let asked = plan.cells.iter().filter(|cell| cell.selection != Selection::Unselected);
    let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (id, build) in asked.filter_map(|cell| Some((&cell.id, cell.build()?))) {
        for entitlement in &build.options.entitlements {
            let kind = entitlement.split('=').next().unwrap_or_default();
            if !allowed.iter().any(|one| one == entitlement || one == kind) {
                wanted.entry(entitlement).or_default().insert(format!("`{}`", id.component));
            }
        }
    }
    match wanted.pop_first() {
        None => Ok(()),
        Some((entitlement, components)) => Err(CliError::NotAllowed {
            entitlement: entitlement.to_owned(),
            components: components.into_iter().collect(),
        }),
    }
}

/// What a build came to, with what was done with its results.
struct Done {
    outcome: Outcome,
    pushed: Option<Published>,
    bundle: Option<Exported>,
    /// Why the results were not delivered.
    error: Option<RunError>,
}

async fn work(
    settings: &Settings,
    args: &BuildArgs,
    plans: &Plans,
    state: &StateDir,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Done {
    let mut done = Done { outcome: Outcome::default(), pushed: None, bundle: None, error: None };
    let (options, client) = match options(settings, args, plans, state, events) {
        Ok(options) => options,
        Err(error) => {
            done.error = Some(RunError::room(error));
            return done;
        }
    };
    // One lock over all of it: what is bundled and pushed is what this run built, not what another one built meanwhile.
    let held;
    let state = if args.push || args.export.is_some() {
        match state.hold(events.as_ref(), cancel).await {
            Ok(taken) => {
                held = taken;
                &held
            }
            Err(error) => {
                done.error = Some(error);
                return done;
            }
        }
    } else {
        state
    };
    // A release that hangs between two versions must not wait until this one is built.
    if args.push {
        match Box::pin(run::settle_release(state, &client, Arc::clone(events), cancel)).await {
            Ok(settled) => {
                if let Some(text) = settled.and_then(|settled| settled.sentence()) {
                    events.emit(Event::Warning { cell: None, text });
                }
            }
            // The push will say it, if it comes to that.
            Err(error) => events.emit(Event::Warning { cell: None, text: error.to_string() }),
        }
    }
    done.outcome = Box::pin(run::build(&plans.asked, &plans.whole, state, &options, Arc::clone(events), cancel)).await;
    if done.outcome.class().is_some() {
        return done;
    }
    if args.push || args.export.is_some() {
        // Somebody may have gone on working while it was built.
        warn_of_outdated(settings, &plans.judged, state, events).await;
    }
    // The bundle first: a push is seen by others, and what fails should fail before that.
    if let Some(file) = &args.export {
        let file = settings.path(file);
        let request = ExportRequest { plan: &plans.judged, whole: &plans.whole, destination: &file, allowed: &[] };
        match run::export(&request, state, Arc::clone(events), cancel).await {
            Ok(exported) => done.bundle = Some(exported),
            Err(error) => {
                done.error = Some(error);
                return done;
            }
        }
    }
    if args.push {
        let request = PushRequest { plan: &plans.judged, whole: &plans.whole, verify: false };
        match Box::pin(run::push(&request, state, &client, Arc::clone(events), cancel)).await {
            Ok(published) => done.pushed = Some(published),
            Err(error) => done.error = Some(error),
        }
    }
    done
}

fn options(
    settings: &Settings,
    args: &BuildArgs,
    plans: &Plans,
    state: &StateDir,
    events: &Arc<dyn EventSink>,
) -> Result<(BuildOptions, crate::registry::RegistryClient), CliError> {
    let registry = settings.registry(Arc::clone(events))?;
    let options = BuildOptions {
        builders: settings.builders(&plans.asked, state, args.builder.clone(), events)?,
        registry: registry.clone(),
        lock: Settings::lock(&plans.whole)?,
        offline: args.offline,
        jobs: args.jobs.map(usize::from),
        on_failure: if args.fail_fast { OnFailure::Stop } else { OnFailure::KeepGoing },
        inputs: settings.inputs(&plans.asked),
        force: plans.forced.clone(),
    };
    Ok((options, registry))
}

impl Done {
    /// The code of the first root cause.
    fn code(&self) -> u8 {
        let delivery = self.error.as_ref().map(Failure::class);
        self.outcome.class().or(delivery).map_or(exit::DONE, exit::code)
    }

    fn delivered(&self) -> Delivered {
        let pushed = self.pushed.iter().flat_map(|published| &published.receipt.repositories).flat_map(|repository| {
            repository
                .tags
                .iter()
                .map(|tag| (format!("{}:{}", repository.repository, tag.tag), repository.index.to_string()))
        });
        Delivered {
            pushed: pushed.collect(),
            bundle: self.bundle.as_ref().map(|bundle| (bundle.report.path.display().to_string(), bundle.report.bytes)),
        }
    }

    /// The matrix, then what went wrong, then the sentence that a reader in a hurry looks for: every run ends so, also one
    /// that did not come to its cells.
    fn show(&self, args: &BuildArgs, verbose: bool, console: &Console, code: u8) {
        let matrix = &self.outcome.matrix;
        if matrix.cells.is_empty() {
            return self.tell_failures(console, Some(code));
        }
        console.print(&matrix_table(matrix, &console.out));
        self.tell_failures(console, None);
        let right = if code == exit::DONE { duration(self.outcome.took) } else { format!("exit {code}") };
        let mut text = String::from("\n");
        text.push_str(&matrix_sentence(matrix, &right, &console.out));
        if let Some(bundle) = &self.bundle {
            text.push_str(&bundle_line(bundle, &console.out));
        }
        if let Some(published) = &self.pushed {
            tell_warnings(published, console);
            text.push_str(&pushed_lines(published, verbose));
        } else if args.push {
            text.push_str("Nothing was pushed.\n");
        }
        if self.bundle.is_none() && args.export.is_some() {
            text.push_str("No bundle was written.\n");
        }
        if let Some(bundle) = &self.bundle {
            tell_all(&bundle.report.warnings, console);
        }
        console.print(&text);
    }

    fn document(&self, code: u8) -> String {
        let error = self.error.as_ref().or(self.outcome.error.as_ref());
        build_document(&self.outcome, &self.delivered(), error.map(|error| error as &dyn Failure), code)
    }

    /// What was delivered, in lines.
    fn deliveries(&self, console: &Console) -> Vec<String> {
        let bundle = self.bundle.as_ref().map(|bundle| bundle_line(bundle, &console.err));
        let pushed = self.pushed.as_ref().map(|published| pushed_lines(published, false));
        let lines =
            bundle.into_iter().chain(pushed).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.collect()
    }

    /// The same as [`Done::tell_failures`], for programs: an object a line.
    fn stream_failures(&self, console: &Console) {
        if let Some(text) = self.interruption() {
            console.warn(&text);
        }
        for failure in &self.outcome.failures {
            console.stream_error(failure, Some(&failure.cell));
        }
        for error in [&self.outcome.error, &self.error].into_iter().flatten() {
            console.stream_error(error, None);
        }
    }

    /// That somebody stopped the run, and what it came to.
    fn interruption(&self) -> Option<String> {
        let cancelled = self.outcome.matrix.count(CellState::Cancelled);
        let rest = if cancelled > 0 { format!("; {cancelled} cells were cancelled") } else { String::new() };
        self.outcome.interrupted.then(|| format!("interrupted{rest}"))
    }

    /// The root causes, then what went wrong beside the cells. What was blocked or cancelled is only counted.
    fn tell_failures(&self, console: &Console, code: Option<u8>) {
        if console.stream().is_some() {
            return self.stream_failures(console);
        }
        let failures: Vec<Diagnostic> = self.outcome.failures.iter().map(Diagnostic::of_cell).collect();
        if !failures.is_empty() {
            console.tell(&format!("\n{}", render_all(&failures, &console.err, None)));
        }
        if let Some(text) = self.interruption() {
            console.tell(&format!("{text}\n"));
        }
        for error in [&self.outcome.error, &self.error].into_iter().flatten() {
            let text = if let Some(code) = code {
                render_error(error, &console.err, code)
            } else {
                let error: &dyn Failure = error;
                let all: Vec<Diagnostic> = std::iter::once(error).chain(error.others()).map(Diagnostic::of).collect();
                render_all(&all, &console.err, None)
            };
            console.tell(&text);
        }
    }
}
