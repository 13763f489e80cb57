use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::push::{receipt_lines, tell_all};
use super::watch::watch;
use crate::base::{Digest, Platform};
use crate::cli::args::CopyArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::settings::parse_platform;
use crate::cli::{Console, Settings};
use crate::event::EventSink;
use crate::run::{self, Copied, CopyRequest, Place};

/// `catamaran copy`: one image or index from here to there, digests kept.
pub(super) async fn copy(settings: &Settings, args: CopyArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let progress = watch(settings, args.progress.progress, console);
    let result = work(settings, &args, progress.clone(), cancel).await;
    progress.close();
    match result {
        Ok(copied) => {
            if let Some(receipt) = &copied.receipt {
                tell_all(&receipt.warnings, console);
            }
            let text = if settings.json { document(&args, &copied) } else { lines(&args, &copied, settings.verbose) };
            console.print(&text);
            exit::DONE
        }
        Err(error) => console.fail(&error),
    }
}

async fn work(
    settings: &Settings,
    args: &CopyArgs,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Copied, CliError> {
    let typed = args.platform.iter().flatten();
    let platforms: Vec<Platform> = typed.map(|text| parse_platform(text)).collect::<Result<_, _>>()?;
    let from = settings.path(Path::new(""));
    let (source, destination) =
        (args.source.clone().from_directory(&from), args.destination.clone().from_directory(&from));
    check_name(&source, &destination, &from)?;
    check_name(&destination, &source, &from)?;
    let client = settings.registry(Arc::clone(&events))?;
    let referrers = args.referrers;
    let request = CopyRequest { source: &source, destination: &destination, platforms: &platforms, referrers };
    // The same copy goes on in the same place, others do not meet it there.
    let key = Digest::of(format!("{source}\n{destination}\n{platforms:?}")).hex();
    let state = settings.state_of_copy(&key[..16]);
    let copied = Box::pin(run::copy(&request, &state, &client, events, cancel)).await?;
    // What cannot be removed does no harm.
    drop(std::fs::remove_dir_all(state.root()));
    Ok(copied)
}

/// A name of Docker Hub that is also a file or layout here, as `release.tar:web`: whoever typed it meant that. Not where
/// it is the other side of the same copy: `alpine` may well go to the layout `alpine`, and again.
fn check_name(place: &Place, other: &Place, from: &Path) -> Result<(), CliError> {
    let Place::Registry(reference) = place else { return Ok(()) };
    let typed = reference.to_string();
    let path = typed.split([':', '@']).next().unwrap_or_default();
    let here = from.join(path);
    let is_other = matches!(other, Place::Layout { path, .. } | Place::Bundle { path, .. } if *path == here);
    if is_other || reference.repository().host() != "docker.io" {
        return Ok(());
    }
    let is_bundle = here.extension().is_some_and(|extension| extension == "tar") && here.is_file();
    let kind = match here.join("oci-layout").is_file() {
        true => "oci",
        false if is_bundle => "bundle",
        false => return Ok(()),
    };
    Err(CliError::Unknown {
        message: format!("`{typed}` would be asked for at `{}`, and `{path}` is here", reference.repository().host()),
        help: Some(format!("write `{kind}:{typed}`")),
    })
}

/// `copied   sha256:…  linux/amd64, linux/arm64`
fn lines(args: &CopyArgs, copied: &Copied, verbose: bool) -> String {
    let platforms = copied.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("copied   {} to {}\n", args.source, args.destination);
    let subset = if copied.subset { " (a subset)" } else { "" };
    let _ = writeln!(text, "         {}  {platforms}{subset}", copied.digest);
    if let Some(manifest) = copied.index_of {
        let _ = writeln!(text, "         an index made for the single image {manifest}: a bundle holds indexes");
    }
    if copied.elsewhere > 0 {
        let layers = if copied.elsewhere == 1 { "1 layer stays" } else { &format!("{} layers stay", copied.elsewhere) };
        let _ = writeln!(text, "         {layers} where the `urls` say: foreign layers are not copied");
    }
    if copied.referrers > 0 {
        let _ = writeln!(text, "         {} that refer to it", copied.referrers);
    }
    if let Some(receipt) = &copied.receipt {
        text += &receipt_lines("pushed", receipt, copied.subset, verbose);
    }
    text
}

fn document(args: &CopyArgs, copied: &Copied) -> String {
    let mut document = json!({
        "schema": "catamaran/copy/v1",
        "source": args.source.to_string(),
        "destination": args.destination.to_string(),
    });
    let members = serde_json::to_value(copied).unwrap_or_default();
    if let (Some(document), serde_json::Value::Object(mut members)) = (document.as_object_mut(), members) {
        document.append(&mut members);
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_is_meant_but_for_the_other_side_and_other_registries() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["alpine", "quay.io/a/b"] {
            let layout = folder.path().join(name);
            std::fs::create_dir_all(&layout).expect("a folder");
            std::fs::write(layout.join("oci-layout"), "{}").expect("written");
        }
        let place = |text: &str| text.parse::<Place>().expect("a place").from_directory(folder.path());
        let check = |one: &str, other: &str| check_name(&place(one), &place(other), folder.path());
        assert!(check("alpine:3", "oci:elsewhere:x").is_err());
        assert!(check("alpine:3", "oci:alpine:3").is_ok());
        assert!(check("quay.io/a/b:1", "oci:elsewhere:x").is_ok());
    }
}
