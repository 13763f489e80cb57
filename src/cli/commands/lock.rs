use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::watch::watch;
use crate::base::{Digest, Failure as _, Platform};
use crate::cli::args::{LockArgs, ProgressKind, ToArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::config::{LOCK_FILE, LockFile, LockedImage};
use crate::event::EventSink;
use crate::plan::Plan;
use crate::report::counted;
use crate::run::{self, LockEntry, LockRequest, Locked, RunError};

/// A lock that was looked at or written.
struct Done {
    path: PathBuf,
    locked: Locked,
    written: bool,
}

/// `catamaran lock`: what the project takes from outside, by digest, beside its file.
pub(super) async fn lock(settings: &Settings, args: &LockArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let result = if args.check { check(settings) } else { write(settings, args, console, cancel).await };
    match result {
        Ok(done) => {
            console.print(&if settings.json { document(&done) } else { lines(&done) });
            exit::DONE
        }
        Err(error) => {
            if settings.json {
                let code = exit::code(error.class());
                let failed = json!({"schema": "catamaran/lock/v1", "exit": code, "error": error.to_string()});
                console.print(&(serde_json::to_string_pretty(&failed).unwrap_or_default() + "\n"));
            }
            console.fail(&error)
        }
    }
}

/// The whole matrix: a lock says the same for everybody.
pub(super) fn whole(settings: &Settings) -> Result<Plan, CliError> {
    let project = settings.project_with(&[])?;
    let select = crate::cli::args::SelectArgs { names: Vec::new(), platform: None };
    Settings::plan(&project, &select, &ToArgs { to: Vec::new() })
}

fn check(settings: &Settings) -> Result<Done, CliError> {
    let plan = whole(settings)?;
    let path = LockFile::path_beside(&plan.file);
    let known = Settings::lock(&plan)?;
    let mut found = run::stale(&plan, known.as_ref().unwrap_or(&LockFile::default()));
    if known.is_none() && !found.is_empty() {
        found = vec!["there is none".to_owned()];
    }
    if !found.is_empty() {
        return Err(RunError::Stale { path: PathBuf::from(LOCK_FILE), found }.into());
    }
    let locked = Locked { lock: known.unwrap_or_default(), fetched: run::fetched(&plan), ..Locked::default() };
    Ok(Done { path, locked, written: false })
}

async fn write(
    settings: &Settings,
    args: &LockArgs,
    console: &Console,
    cancel: &CancellationToken,
) -> Result<Done, CliError> {
    let plan = whole(settings)?;
    let path = LockFile::path_beside(&plan.file);
    let progress = watch(settings, ProgressKind::Auto, console);
    let events: Arc<dyn EventSink> = progress.clone();
    let client = settings.registry(events)?;
    let request = LockRequest { known: Settings::lock(&plan)?, update: args.update.clone() };
    let locked = tokio::select! {
        locked = run::lock(&plan, &request, &client) => locked,
        () = cancel.cancelled() => Err(RunError::Cancelled),
    };
    progress.close();
    let locked = locked?;
    // A project that takes nothing from outside needs no file that says so.
    let written =
        if locked.lock.is_empty() && request.known.is_none() { false } else { run::write_lock(&path, &locked.lock)? };
    Ok(Done { path, locked, written })
}

fn lines(done: &Done) -> String {
    let mut text = String::new();
    for entry in done.locked.changes() {
        let _ = writeln!(text, "{}", line(entry));
    }
    for local in &done.locked.local {
        let _ = writeln!(text, "  not locked: {local} is a name of this machine");
    }
    for (name, url) in &done.locked.fetched {
        let _ =
            writeln!(text, "  not locked: what {name} is made from, whose Dockerfile the builder fetches from {url}");
    }
    let images = counted(done.locked.lock.images().count(), "image", "images");
    let changed = done.locked.changes().count();
    let what = match (done.written, changed) {
        (true, 0) => "written".to_owned(),
        (true, _) => format!("{} changed", counted(changed, "image", "images")),
        (false, _) => "up to date".to_owned(),
    };
    let _ = writeln!(text, "{LOCK_FILE}: {images}, {what}");
    text
}

/// `  + docker.io/library/alpine:3.22  sha256:…  amd64 arm64  (web)`
fn line(entry: &LockEntry) -> String {
    let name = entry.reference.familiar();
    let now = |image: &LockedImage| {
        let platforms: Vec<String> = image.platforms.keys().map(Platform::short).collect();
        format!("{}  {}  ({})", short(&image.digest), platforms.join(" "), entry.users.join(", "))
    };
    match (&entry.before, &entry.now) {
        (None, Some(image)) => format!("  + {name}  {}", now(image)),
        (Some(before), Some(image)) if before.digest != image.digest => {
            format!("  ~ {name}  {} -> {}", short(&before.digest), now(image))
        }
        (Some(_), Some(image)) => format!("  ~ {name}  {}", now(image)),
        (_, None) => format!("  - {name}"),
    }
}

fn short(digest: &Digest) -> String {
    format!("sha256:{}", digest.short())
}

fn document(done: &Done) -> String {
    let image = |image: &LockedImage| {
        let platforms = image.platforms.iter().map(|(platform, digest)| (platform.to_string(), digest.to_string()));
        json!({"digest": image.digest, "platforms": platforms.collect::<std::collections::BTreeMap<_, _>>()})
    };
    let entries = done.locked.entries.iter().map(|entry| {
        json!({
            "reference": entry.reference.familiar(),
            "before": entry.before.as_ref().map(image),
            "now": entry.now.as_ref().map(image),
            "used_by": entry.users,
        })
    });
    let document: Value = json!({
        "schema": "catamaran/lock/v1",
        "file": done.path,
        "written": done.written,
        "images": entries.collect::<Vec<_>>(),
        "unknown": done.locked.fetched.iter().map(|(name, url)| json!({"component": name, "context": url})).collect::<Vec<_>>(),
        "local": done.locked.local.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
