use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::watch::watch;
use crate::base::ByteSize;
use crate::cli::args::PushArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::event::EventSink;
use crate::registry::PushReceipt;
use crate::report::counted;
use crate::run;

/// `catamaran push`: publishes the release, or with names just these components, and says so.
pub(super) async fn push(settings: &Settings, args: PushArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let progress = watch(settings, args.progress.progress, console);
    let result = work(settings, &args, progress.clone(), cancel).await;
    progress.close();
    match result {
        Ok((receipt, part)) => {
            for warning in &receipt.warnings {
                console.tell(&format!("warning: {}\n", crate::base::Printable(warning)));
            }
            if settings.json {
                console.print(&document(&receipt, part));
            } else {
                let part = if part { "just what was named; the release is more\n" } else { "" };
                console.print(&format!("{}{part}", pushed_lines(&receipt)));
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
) -> Result<(PushReceipt, bool), CliError> {
    let project = settings.project()?;
    let plan = Settings::plan(&project, &args.select, &args.to)?;
    let client = settings.registry(Arc::clone(&events))?;
    let receipt = Box::pin(run::push(&plan, &settings.state(&project), &client, events, cancel)).await?;
    Ok((receipt, plan.subset.names || plan.subset.platforms))
}

fn document(receipt: &PushReceipt, part: bool) -> String {
    let mut document = json!({"schema": "catamaran/push/v1", "subset": part});
    let members = serde_json::to_value(receipt).unwrap_or_default();
    if let (Some(document), serde_json::Value::Object(mut members)) = (document.as_object_mut(), members) {
        document.append(&mut members);
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// What was published where, and what it cost.
pub(super) fn pushed_lines(receipt: &PushReceipt) -> String {
    let mut registries: Vec<&str> = receipt.repositories.iter().map(|one| one.repository.host()).collect();
    registries.sort_unstable();
    registries.dedup();
    let mut repositories: Vec<String> = receipt.repositories.iter().map(|one| one.repository.to_string()).collect();
    repositories.sort();
    repositories.dedup();
    let tags: usize = receipt.repositories.iter().map(|one| one.tags.len()).sum();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "pushed   {}, {} at {}",
        counted(repositories.len(), "repository", "repositories"),
        counted(tags, "tag", "tags"),
        registries.join(", ")
    );
    let _ = writeln!(
        text,
        "         {} sent, {} already there, {} mounted",
        ByteSize(receipt.bytes_sent),
        ByteSize(receipt.bytes_present),
        ByteSize(receipt.bytes_mounted)
    );
    text
}
