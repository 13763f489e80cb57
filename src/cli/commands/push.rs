use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::watch::watch;
use super::why::warn_of_outdated;
use crate::base::ByteSize;
use crate::cli::args::PushArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::EventSink;
use crate::registry::{PushForecast, PushReceipt};
use crate::report::counted;
use crate::run::{self, Extent, Published, PushRequest, RunError};

/// `catamaran push`: publishes the release, or with names and platforms a subset of it, and says so.
pub(super) async fn push(settings: &Settings, args: PushArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let progress = watch(settings, args.progress.progress, console);
    if args.dry_run {
        let result = look(settings, &args, progress.clone(), cancel).await;
        progress.close();
        return match result {
            Ok((forecast, extent)) => show_forecast(&forecast, &extent, settings.json, console),
            Err(error) => console.fail(&error),
        };
    }
    let result = work(settings, &args, progress.clone(), cancel).await;
    progress.close();
    match result {
        Ok(published) => {
            tell_warnings(&published, console);
            if settings.json {
                console.print(&document(&published));
            } else {
                console.print(&pushed_lines(&published, settings.verbose));
            }
            exit::DONE
        }
        Err(error) => console.fail(&error),
    }
}

async fn work(
    settings: &Settings,
    args: &PushArgs,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Published, CliError> {
    let project = settings.project_with(&args.select.names)?;
    let plans = Settings::plans(&project, &args.select, &args.to)?;
    let client = settings.registry(Arc::clone(&events))?;
    let request = PushRequest { plan: &plans.asked, whole: &plans.whole, verify: args.verify };
    let state = settings.state(&project);
    let published = Box::pin(run::push(&request, &state, &client, Arc::clone(&events), cancel)).await?;
    warn_of_outdated(settings, &plans.asked, &state, &events).await;
    Ok(published)
}

async fn look(
    settings: &Settings,
    args: &PushArgs,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<(PushForecast, Extent), CliError> {
    let project = settings.project_with(&args.select.names)?;
    let plans = Settings::plans(&project, &args.select, &args.to)?;
    let client = settings.registry(Arc::clone(&events))?;
    let request = PushRequest { plan: &plans.asked, whole: &plans.whole, verify: args.verify };
    let state = settings.state(&project);
    let looking = Box::pin(run::push_forecast(&request, &state, &client, events, cancel));
    // Nothing is open while it looks: it can be left at any moment.
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RunError::Cancelled.into()),
        looked = looking => Ok(looked?),
    }
}

fn show_forecast(forecast: &PushForecast, extent: &Extent, as_json: bool, console: &Console) -> u8 {
    tell_all(&forecast.warnings, console);
    if as_json {
        let mut document = opening(extent);
        document["dry_run"] = json!(true);
        document["registries"] = serde_json::to_value(&forecast.registries).unwrap_or_default();
        document["warnings"] = json!(forecast.warnings);
        console.print(&(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"));
        return exit::DONE;
    }
    let text = forecast_lines(forecast, extent.subset) + &intermediate_line(extent) + &subset_line(extent);
    console.print(&(text + "Nothing was sent.\n"));
    exit::DONE
}

/// What would be done at each registry.
pub(super) fn forecast_lines(forecast: &PushForecast, subset: bool) -> String {
    let mut text = String::new();
    for one in &forecast.registries {
        let tags = one.tags_created + one.tags_moved + one.tags_unchanged;
        let _ = writeln!(
            text,
            "would push   {}, {} at {}{}: {} new, {} moved, {} unchanged",
            counted(one.repositories, "repository", "repositories"),
            counted(tags, "tag", "tags"),
            one.registry,
            if subset { " (a subset)" } else { "" },
            one.tags_created,
            one.tags_moved,
            one.tags_unchanged
        );
        let _ = writeln!(
            text,
            "             {} to send ({}), {} already there ({}), {} to mount ({})",
            ByteSize(one.bytes_sent),
            counted(one.sends, "blob", "blobs"),
            ByteSize(one.bytes_present),
            counted(one.present, "blob", "blobs"),
            ByteSize(one.bytes_mounted),
            counted(one.mounts, "blob", "blobs")
        );
    }
    text
}

pub(super) fn tell_warnings(published: &Published, console: &Console) {
    tell_all(&published.receipt.warnings, console);
}

pub(super) fn tell_all(warnings: &[String], console: &Console) {
    for warning in warnings {
        console.warn(warning);
    }
}

/// What every document of a push begins with.
fn opening(extent: &Extent) -> serde_json::Value {
    let Extent { subset, cells, of, intermediate } = extent;
    let cells = cells.iter().map(|cell| json!({"component": cell.component, "platform": cell.platform}));
    json!({
        "schema": "catamaran/push/v1",
        "subset": subset,
        "expected": of,
        "cells": cells.collect::<Vec<_>>(),
        "intermediate": intermediate,
    })
}

fn document(published: &Published) -> String {
    let mut document = opening(&published.extent);
    let members = serde_json::to_value(&published.receipt).unwrap_or_default();
    if let (Some(document), serde_json::Value::Object(mut members)) = (document.as_object_mut(), members) {
        document.append(&mut members);
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// What was published where, and what it cost.
pub(super) fn pushed_lines(published: &Published, verbose: bool) -> String {
    let extent = &published.extent;
    receipt_lines("pushed", &published.receipt, extent.subset, verbose)
        + &intermediate_line(extent)
        + &subset_line(extent)
}

/// What is at the registries now, and what it cost.
pub(super) fn receipt_lines(verb: &str, receipt: &PushReceipt, subset: bool, verbose: bool) -> String {
    let mut registries: Vec<&str> = receipt.repositories.iter().map(|one| one.repository.host()).collect();
    registries.sort_unstable();
    registries.dedup();
    let mut repositories: Vec<String> = receipt.repositories.iter().map(|one| one.repository.to_string()).collect();
    repositories.sort();
    repositories.dedup();
    if repositories.is_empty() {
        return "nothing to push: no cell is asked for that is not excluded\n".to_owned();
    }
    let tags: usize = receipt.repositories.iter().map(|one| one.tags.len()).sum();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{verb:<8} {}, {} at {}{}",
        counted(repositories.len(), "repository", "repositories"),
        counted(tags, "tag", "tags"),
        registries.join(", "),
        if subset { " (a subset)" } else { "" }
    );
    let _ = writeln!(
        text,
        "         {} sent, {} already there, {} mounted",
        ByteSize(receipt.bytes_sent),
        ByteSize(receipt.bytes_present),
        ByteSize(receipt.bytes_mounted)
    );
    if verbose {
        let _ = writeln!(
            text,
            "         {}, tags moved within {} ms",
            counted(usize::try_from(receipt.requests).unwrap_or(usize::MAX), "request", "requests"),
            receipt.tag_window_ms
        );
    }
    text
}

/// `Not pushed, only built from: base (no tags).`
fn intermediate_line(extent: &Extent) -> String {
    if extent.intermediate.is_empty() {
        return String::new();
    }
    let names = extent.intermediate.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("Not pushed, only built from: {names} (no tags).\n")
}

/// `A subset, just what was named: 1 of 26 cells (nginx/arm64).`
pub(super) fn subset_line(extent: &Extent) -> String {
    const NAMED: usize = 12;
    if !extent.subset {
        return String::new();
    }
    let mut names = extent.cells.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if extent.cells.len() > NAMED {
        let _ = write!(names, " and {} more", extent.cells.len() - NAMED);
    }
    let of = counted(extent.of, "cell", "cells");
    format!("A subset, just what was named: {} of {of} ({names}).\n", extent.cells.len())
}
