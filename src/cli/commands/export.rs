use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::watch::watch;
use crate::base::{ByteSize, CellId, Printable};
use crate::bundle::BundleReport;
use crate::cli::args::{ExportArgs, SelectArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::EventSink;
use crate::plan::Plan;
use crate::report::{Style, counted};
use crate::run;

/// `catamaran export`: the release as one file.
pub(super) async fn export(settings: &Settings, args: ExportArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let progress = watch(settings, args.progress.progress, console);
    let result = work(settings, &args, progress.clone(), cancel).await;
    progress.close();
    match result {
        Ok(report) => {
            console.tell(&bundle_warnings(&report));
            let text = if settings.json { document(&report) } else { bundle_line(&report, &console.out) };
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
) -> Result<BundleReport, CliError> {
    let project = settings.project()?;
    let select = SelectArgs { names: Vec::new(), platform: args.platform.clone() };
    let plan = Settings::plan(&project, &select, &args.to)?;
    let allowed = allowed(&plan, &args.allow_missing)?;
    let file = settings.path(&args.file);
    Ok(run::export(&plan, &settings.state(&project), &file, &allowed, events, cancel).await?)
}

/// A hole that is allowed by a name that does not exist would allow nothing, and hide the typing error.
fn allowed(plan: &Plan, cells: &[CellId]) -> Result<BTreeSet<CellId>, CliError> {
    for cell in cells {
        if plan.cell(cell).is_none() {
            let known: Vec<String> = plan.cells.iter().map(|cell| cell.id.to_string()).collect();
            let near = crate::base::did_you_mean(&cell.to_string(), known.iter().map(String::as_str));
            return Err(CliError::Unknown {
                message: format!("`--allow-missing {cell}`: there is no such cell"),
                help: near.map(|near| format!("did you mean `{near}`?")),
            });
        }
    }
    Ok(cells.iter().cloned().collect())
}

fn document(report: &BundleReport) -> String {
    let document = json!({
        "schema": "catamaran/export/v1",
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
pub(super) fn bundle_line(report: &BundleReport, style: &Style) -> String {
    let separate = ByteSize(report.bytes.saturating_add(report.saved_bytes));
    let mut text =
        format!("bundle   {}  {} ({separate} as separate archives)", style.path(&report.path), ByteSize(report.bytes));
    if !report.lock.complete {
        let missing = counted(report.lock.missing.len(), "cell", "cells");
        let _ = write!(text, "\n         INCOMPLETE: lacks {missing}");
    }
    text + "\n"
}

pub(super) fn bundle_warnings(report: &BundleReport) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {}", Printable(warning));
    }
    text
}
