use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::base::ErrorClass;
use crate::cli::args::CheckArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::{EventSink, NoEvents};
use crate::report::{counted, findings_text};
use crate::run::{self, Finding, Level, PreflightRequest};

/// `catamaran check`: what can be known to fail before the first solve. Nothing is built; a builder that had to be started
/// is stopped again.
pub(super) async fn check(settings: &Settings, args: CheckArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let findings = tokio::select! {
        findings = Box::pin(look(settings, &args)) => findings,
        () = cancel.cancelled() => return exit::INTERRUPTED,
    };
    let findings = match findings {
        Ok(findings) => findings,
        Err(error) => return console.fail(&error),
    };
    let code = code(&findings);
    console.print(&if settings.json { document(&findings, code) } else { shown(&findings, code, console) });
    code
}

/// Having no builder has a code of its own; everything else that is found beforehand is one.
fn code(findings: &[Finding]) -> u8 {
    let is = |class| findings.iter().any(|finding| finding.level == Level::Error(class));
    if is(ErrorClass::Builder) {
        exit::code(ErrorClass::Builder)
    } else if findings.iter().any(Finding::is_error) {
        exit::code(ErrorClass::Preflight)
    } else {
        exit::DONE
    }
}

async fn look(settings: &Settings, args: &CheckArgs) -> Result<Vec<Finding>, CliError> {
    let project = settings.project_with(&args.select.names)?;
    let plan = Settings::plan(&project, &args.select, &args.to)?;
    let state = settings.state(&project);
    let events: Arc<dyn EventSink> = Arc::new(NoEvents);
    let mut builders = settings.builders(&plan, &state, args.builder.clone(), &events)?;
    builders.connect_timeout = run::PREFLIGHT_LIMIT;
    // Who would have to be asked twice is worth a word.
    let client = settings.registry_trying(Some(1), Arc::clone(&events))?;
    let lock = Settings::lock(&plan)?;
    let inputs = settings.inputs(&plan);
    let (client, lock) = (&client, lock.as_ref());
    let request = PreflightRequest { plan: &plan, builders: &builders, client, lock, inputs: &inputs };
    Ok(Box::pin(run::preflight(&request, &state, &events)).await?)
}

fn shown(findings: &[Finding], code: u8, console: &Console) -> String {
    let mut text = findings_text(findings, &console.out);
    let problems = findings.iter().filter(|finding| finding.is_error()).count();
    let exit = if code == exit::DONE { String::new() } else { format!("  exit {code}") };
    let _ = writeln!(text, "{}. Nothing was built.{exit}", counted(problems, "problem", "problems"));
    text
}

fn document(findings: &[Finding], code: u8) -> String {
    let items = findings.iter().map(|finding| {
        let verdict = match finding.level {
            Level::Fine => "ok",
            Level::Note => "note",
            Level::Warning => "warn",
            Level::Error(_) => "fail",
        };
        let cells: Vec<String> = finding.cells.iter().map(|id| format!("{}/{}", id.component, id.platform)).collect();
        json!({
            "verdict": verdict,
            "subject": finding.subject,
            "text": finding.text,
            "fix": finding.fix,
            "cells": cells,
        })
    });
    let document = json!({
        "schema": "catamaran/check/v1",
        "passed": code == exit::DONE,
        "exit": code,
        "items": items.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
