use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::lock::whole;
use super::watch::watch;
use crate::base::{ByteSize, Platform};
use crate::cli::args::PrefetchArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::EventSink;
use crate::report::counted;
use crate::run::{self, Prefetched};

/// `catamaran prefetch`: everything that comes from outside into the layout, so that the network may go.
pub(super) async fn prefetch(
    settings: &Settings,
    args: &PrefetchArgs,
    console: &Console,
    cancel: &CancellationToken,
) -> u8 {
    let progress = watch(settings, args.progress.progress, console);
    let events: Arc<dyn EventSink> = progress.clone();
    let result = work(settings, &events, cancel).await;
    progress.close();
    match result {
        Ok(done) => {
            console.print(&if settings.json { document(&done) } else { lines(&done) });
            exit::DONE
        }
        Err(error) => console.fail(&error),
    }
}

async fn work(
    settings: &Settings,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Prefetched, CliError> {
    let plan = whole(settings)?;
    let project = settings.project_with(&[])?;
    let client = settings.registry(Arc::clone(events))?;
    let known = Settings::lock(&plan)?;
    let state = settings.state(&project);
    Ok(Box::pin(run::prefetch(&plan, &state, known, &client, events, cancel)).await?)
}

fn lines(done: &Prefetched) -> String {
    let mut text = String::new();
    for (reference, platforms) in &done.images {
        let platforms: Vec<String> = platforms.iter().map(Platform::short).collect();
        let _ = writeln!(text, "  {reference}  {}", platforms.join(" "));
    }
    let _ = writeln!(
        text,
        "{} in the layout: {} of {}, {} fetched",
        counted(done.images.len(), "image", "images"),
        ByteSize(done.bytes),
        counted(done.blobs, "blob", "blobs"),
        ByteSize(done.fetched)
    );
    text
}

fn document(done: &Prefetched) -> String {
    let images: BTreeMap<String, Vec<String>> = done
        .images
        .iter()
        .map(|(reference, platforms)| (reference.familiar(), platforms.iter().map(ToString::to_string).collect()))
        .collect();
    let document = json!({
        "schema": "catamaran/prefetch/v1",
        "images": images,
        "blobs": done.blobs,
        "bytes": done.bytes,
        "fetched": done.fetched,
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
