use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::push::{subset_line, tell_all};
use super::watch::watch;
use super::why::warn_of_outdated;
use crate::base::ByteSize;
use crate::cli::args::{ExportArgs, SelectArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::config::Project;
use crate::event::EventSink;
use crate::plan::{Selection, Selector};
use crate::report::{Style, counted};
use crate::run::{self, AllowedHoles, ExportRequest, Exported};

/// `catamaran export`: the release as one file, or with names and platforms a subset of it, and says so.
pub(super) async fn export(settings: &Settings, args: ExportArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let progress = watch(settings, args.progress.progress, console);
    let result = work(settings, &args, progress.clone(), cancel).await;
    progress.close();
    match result {
        Ok(exported) => {
            tell_all(&exported.report.warnings, console);
            let text = if settings.json { document(&exported) } else { bundle_line(&exported, &console.out) };
            console.print(&text);
            exit::DONE
        }
        Err(error) => console.fail(&error),
    }
}

async fn work(
    settings: &Settings,
    args: &ExportArgs,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Exported, CliError> {
    let project = settings.project_with(&args.select.names)?;
    let plans = Settings::plans(&project, &args.select, &args.to)?;
    let mut allowed = Vec::new();
    for pattern in &args.allow_missing {
        allowed.push(allowed_holes(&project, pattern, args)?);
    }
    let file = settings.path(&args.file);
    let request = ExportRequest { plan: &plans.asked, whole: &plans.whole, destination: &file, allowed: &allowed };
    let state = settings.state(&project);
    let exported = run::export(&request, &state, Arc::clone(&events), cancel).await?;
    warn_of_outdated(settings, &plans.asked, &state, &events).await;
    Ok(exported)
}

/// The cells that one `--allow-missing` means, found as names of the command line are: a name that does not exist would
/// allow nothing, and hide the typing error.
fn allowed_holes(project: &Project, pattern: &Selector, args: &ExportArgs) -> Result<AllowedHoles, CliError> {
    let select = SelectArgs { names: vec![pattern.clone()], platform: args.select.platform.clone() };
    let plan = Settings::plan(project, &select, &args.to)?;
    let meant = plan.cells.iter().filter(|cell| cell.selection == Selection::Selected).map(|cell| cell.id.clone());
    Ok(AllowedHoles { pattern: pattern.to_string(), cells: meant.collect() })
}

fn document(exported: &Exported) -> String {
    let Exported { report, extent } = exported;
    let document = json!({
        "schema": "catamaran/export/v1",
        "subset": extent.subset,
        "expected": extent.of,
        "cells": extent.cells.iter()
            .map(|cell| json!({"component": cell.component, "platform": cell.platform})).collect::<Vec<_>>(),
        "path": report.path.display().to_string(),
        "bytes": report.bytes,
        "blobs": report.blobs,
        "saved_bytes": report.saved_bytes,
        "lock_digest": report.lock_digest,
        "complete": report.lock.complete,
        "missing": report.lock.missing.iter()
            .map(|cell| json!({"component": cell.component, "platform": cell.platform})).collect::<Vec<_>>(),
        "images": report.lock.images.len(),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// `bundle   release.tar  2.1 GB (5.9 GB as separate archives)`
pub(super) fn bundle_line(exported: &Exported, style: &Style) -> String {
    let report = &exported.report;
    let separate = ByteSize(report.bytes.saturating_add(report.saved_bytes));
    let mut text =
        format!("bundle   {}  {} ({separate} as separate archives)", style.path(&report.path), ByteSize(report.bytes));
    if !report.lock.complete {
        let missing = counted(report.lock.missing.len(), "cell", "cells");
        let _ = write!(text, "\n         INCOMPLETE: lacks {missing}");
    }
    text + "\n" + &subset_line(&exported.extent)
}
