use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::push::{forecast_lines, receipt_lines, tell_all};
use super::watch::watch;
use crate::base::ByteSize;
use crate::cli::args::ImportArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::EventSink;
use crate::registry::PushForecast;
use crate::report::counted;
use crate::run::{self, Import, ImportRequest, Imported, StateDir};
use crate::verify::Depth;

/// What an import came to.
enum Done {
    Looked(PushForecast, Import),
    Imported(Imported),
}

/// `catamaran import`: a bundle into registries, without a project and without unpacking it.
pub(super) async fn import(settings: &Settings, args: ImportArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let progress = watch(settings, args.progress.progress, console);
    let result = work(settings, &args, progress.clone(), cancel).await;
    progress.close();
    match result {
        Ok(Done::Looked(forecast, import)) => {
            tell_all(&forecast.warnings, console);
            if settings.json {
                let members = json!({
                    "dry_run": true, "registries": forecast.registries, "warnings": forecast.warnings,
                });
                console.print(&document(&args, &import, members));
            } else {
                let lines = forecast_lines(&forecast, import.lock.subset);
                console.print(&(proven_line(&import) + &lines + "Nothing was sent.\n"));
            }
            exit::DONE
        }
        Ok(Done::Imported(imported)) => {
            tell_all(&imported.receipt.warnings, console);
            if settings.json {
                let members = serde_json::to_value(&imported.receipt).unwrap_or_default();
                console.print(&document(&args, &imported.import, members));
            } else {
                let subset = imported.import.lock.subset;
                let lines = receipt_lines("imported", &imported.receipt, subset, settings.verbose);
                console.print(&(proven_line(&imported.import) + &lines));
            }
            exit::DONE
        }
        Err(error) => console.fail(&error),
    }
}

async fn work(
    settings: &Settings,
    args: &ImportArgs,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Done, CliError> {
    let file = settings.path(&args.file);
    let client = settings.registry(Arc::clone(&events))?;
    let request = ImportRequest {
        file: &file,
        to: &args.to,
        renames: &args.rename,
        depth: if args.shallow { Depth::Blobs } else { Depth::Layers },
        allow_incomplete: args.allow_incomplete,
    };
    if args.dry_run {
        let (forecast, import) = Box::pin(run::import_forecast(&request, &client, events, cancel)).await?;
        return Ok(Done::Looked(forecast, import));
    }
    let state = settings.state_beside(&file);
    let imported = Box::pin(run::import(&request, &state, &client, events, cancel)).await?;
    if !settings.has_state() {
        forget(&state);
    }
    Ok(Done::Imported(imported))
}

/// Removes what was kept beside the file for another try: there is nothing to try again. What cannot be removed does no harm,
/// and what somebody else put there stays, and the folder with it.
fn forget(state: &StateDir) {
    drop(std::fs::remove_dir_all(state.journal()));
    for name in ["lock", ".gitignore"] {
        drop(std::fs::remove_file(state.root().join(name)));
    }
    drop(std::fs::remove_dir(state.root()));
}

/// `proven    12 images and 31 blobs, 140.2 MB`
fn proven_line(import: &Import) -> String {
    let report = &import.report;
    let mut text = format!(
        "proven   {} and {}, {}\n",
        counted(usize::try_from(report.images).unwrap_or(usize::MAX), "image", "images"),
        counted(usize::try_from(report.blobs).unwrap_or(usize::MAX), "blob", "blobs"),
        ByteSize(report.bytes)
    );
    if !import.lock.complete {
        let missing = counted(import.lock.missing.len(), "cell", "cells");
        let _ = writeln!(text, "         INCOMPLETE: lacks {missing}");
    }
    text
}

fn document(args: &ImportArgs, import: &Import, members: Value) -> String {
    let lock = &import.lock;
    let mut document = json!({
        "schema": "catamaran/import/v1",
        "bundle": args.file.display().to_string(),
        "project": lock.project,
        "tag": lock.tag,
        "complete": lock.complete,
        "subset": lock.subset,
        "missing": lock.missing,
        "images": import.report.images,
        "blobs": import.report.blobs,
        "bytes": import.report.bytes,
    });
    if let (Some(document), Value::Object(mut members)) = (document.as_object_mut(), members) {
        document.append(&mut members);
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
