use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::base::{ByteSize, ErrorClass, Failure, Platform};
use crate::cli::args::{CheckArgs, ToArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::{Event, EventSink, Execution};
use crate::plan::{Cell, Plan, Selection};
use crate::report::{Tone, counted, duration};
use crate::run::{Builders, NoEmulator, RunError, StateDir};
use crate::store::Layout;

/// One thing that was looked at.
struct Item {
    verdict: Verdict,
    subject: String,
    text: String,
    fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail(ErrorClass),
}

/// Less free space than this is worth a word before a build.
const LITTLE_SPACE: u64 = 2_000_000_000;

/// `catamaran check`: what can be known to fail before the first solve. Nothing is built; a builder that had to be started
/// is stopped again.
pub(super) async fn check(settings: &Settings, args: CheckArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let items = tokio::select! {
        items = look(settings, &args) => items,
        () = cancel.cancelled() => return exit::INTERRUPTED,
    };
    let items = match items {
        Ok(items) => items,
        Err(error) => return console.fail(&error),
    };
    let first = items.iter().find_map(|item| match item.verdict {
        Verdict::Fail(class) => Some(class),
        Verdict::Ok | Verdict::Warn => None,
    });
    // Having no builder has a code of its own; everything else that is found beforehand is one.
    let code = match first {
        None => exit::DONE,
        Some(ErrorClass::Builder) => exit::code(ErrorClass::Builder),
        Some(_) => exit::code(ErrorClass::Preflight),
    };
    console.print(&if settings.json { document(&items, code) } else { shown(&items, code, console) });
    code
}

async fn look(settings: &Settings, args: &CheckArgs) -> Result<Vec<Item>, CliError> {
    let project = settings.project_with(&args.select.names)?;
    let plan = Settings::plan(&project, &args.select, &ToArgs { to: Vec::new() })?;
    let state = settings.state(&project);
    state.create()?;
    let mut items = vec![disk(&state)];
    items.extend(builders(settings, args, &plan, &state).await?);
    Ok(items)
}

fn disk(state: &StateDir) -> Item {
    let item = |verdict, text: String| Item { verdict, subject: "disk".to_owned(), text, fix: None };
    match crate::sys::free_bytes(state.root()) {
        Ok(free) if free < LITTLE_SPACE => item(Verdict::Warn, format!("{} free", ByteSize(free))),
        Ok(free) => item(Verdict::Ok, format!("{} free", ByteSize(free))),
        Err(error) => item(Verdict::Warn, format!("cannot tell how much is free: {error}")),
    }
}

async fn builders(settings: &Settings, args: &CheckArgs, plan: &Plan, state: &StateDir) -> Result<Vec<Item>, CliError> {
    let selected: Vec<&Cell> =
        plan.cells.iter().filter(|cell| cell.selection > Selection::Unselected && cell.build().is_some()).collect();
    let platforms: Vec<Platform> = selected.iter().map(|cell| cell.id.platform.clone()).collect();
    if platforms.is_empty() {
        return Ok(Vec::new());
    }
    let ready = Arc::new(std::sync::Mutex::new(Vec::new()));
    let events: Arc<dyn EventSink> = {
        let ready = Arc::clone(&ready);
        Arc::new(move |event: Event| {
            if let Event::BuilderReady { address, version, platforms } = event {
                ready.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((address, version, platforms));
            }
        })
    };
    let began = Instant::now();
    let layout = Layout::create(state.layout()).map_err(RunError::from)?;
    let wanted = settings.builders(plan, state, args.builder.clone(), &events)?;
    let builders = match Builders::connect(plan, &platforms, &wanted, &layout, events.as_ref()).await {
        Ok(builders) => builders,
        Err(error) => return Ok(vec![failed("builder", &error)]),
    };
    let took = duration(began.elapsed());
    let missing = builders.missing_emulators(selected.iter().copied());
    builders.close().await;
    let ready = std::mem::take(&mut *ready.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let mut items = Vec::new();
    for (address, version, platforms) in ready {
        let text = format!("{address}  {version}  {took}");
        items.push(Item { verdict: Verdict::Ok, subject: "builder".to_owned(), text, fix: None });
        let lacks = |platform: &Platform| missing.iter().any(|one| one.platform == *platform && one.builder == address);
        let fine = platforms.iter().filter(|(platform, _)| !lacks(platform));
        items.extend(fine.map(|(platform, execution)| judge(platform, execution, &selected)));
    }
    items.extend(missing.into_iter().map(no_emulator));
    Ok(items)
}

/// Whether the cells of a platform can run what they have to run: what `build` would say, for every platform.
fn judge(platform: &Platform, execution: &Execution, selected: &[&Cell]) -> Item {
    let count = selected.iter().filter(|cell| cell.id.platform == *platform).count();
    let cells = counted(count, "cell", "cells");
    let subject = platform.short();
    let text = if *execution == Execution::Absent {
        format!("no emulator, and none needed: none of {cells} runs anything of it")
    } else {
        format!("{execution}, {cells}")
    };
    Item { verdict: Verdict::Ok, subject, text, fix: None }
}

/// RUN steps that cannot be executed, which need not be of their cell's own platform.
fn no_emulator(missing: NoEmulator) -> Item {
    let subject = missing.platform.short();
    let text = format!("no emulator on the builder: {} cannot run", counted(missing.cells.len(), "cell", "cells"));
    let fix = RunError::NoEmulator(Box::new(missing)).help();
    Item { verdict: Verdict::Fail(ErrorClass::Preflight), subject, text, fix }
}

fn failed(subject: &str, error: &dyn Failure) -> Item {
    Item {
        verdict: Verdict::Fail(error.class()),
        subject: subject.to_owned(),
        text: error.to_string(),
        fix: error.help(),
    }
}

fn shown(items: &[Item], code: u8, console: &Console) -> String {
    let style = &console.out;
    let mut text = String::new();
    for item in items {
        let word = match item.verdict {
            Verdict::Ok => style.paint(Tone::Good, "ok  "),
            Verdict::Warn => style.paint(Tone::Warn, "warn"),
            Verdict::Fail(_) => style.paint(Tone::Bad, "FAIL"),
        };
        let _ = writeln!(text, "{word}  {:<12}  {}", item.subject, crate::base::Printable(&item.text));
        for line in item.fix.iter().flat_map(|fix| fix.lines()) {
            let _ = writeln!(text, "{:20}fix: {}", "", crate::base::Printable(line));
        }
    }
    let problems = items.iter().filter(|item| matches!(item.verdict, Verdict::Fail(_))).count();
    let exit = if code == exit::DONE { String::new() } else { format!("  exit {code}") };
    let _ = writeln!(text, "{}. Nothing was built.{exit}", counted(problems, "problem", "problems"));
    text
}

fn document(items: &[Item], code: u8) -> String {
    let items = items.iter().map(|item| {
        let verdict = match item.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail(_) => "fail",
        };
        json!({"verdict": verdict, "subject": item.subject, "text": item.text, "fix": item.fix})
    });
    let document = json!({
        "schema": "catamaran/check/v1",
        "passed": code == exit::DONE,
        "exit": code,
        "items": items.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
