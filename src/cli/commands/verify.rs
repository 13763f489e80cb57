use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::base::{ByteSize, ErrorClass, Failure as _};
use crate::cli::args::{SelectArgs, ToArgs, VerifyArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::plan::Selector;
use crate::report::{Diagnostic, counted, duration, render_all};
use crate::run::{self, RunError, Verified};
use crate::verify::{Depth, Finding, Problem};

/// `catamaran verify`: every blob hashed, every reference followed, every platform compared.
pub(super) async fn verify(settings: &Settings, args: VerifyArgs, console: &Console, cancel: &CancellationToken) -> u8 {
    let began = Instant::now();
    let depth = if args.shallow { Depth::Blobs } else { Depth::Layers };
    let bundle = bundle(settings, &args);
    let verified = match work(settings, &args, bundle.as_deref(), depth, cancel).await {
        Ok(verified) => verified,
        Err(error) => return console.fail(&error),
    };
    let code = code(&verified);
    if settings.json {
        console.print(&document(&verified, code));
    }
    let findings: Vec<Diagnostic> = verified
        .report
        .findings
        .iter()
        .map(|finding| Diagnostic::of(finding).with_fix(bundle_fix(finding, bundle.as_deref())))
        .collect();
    console.tell(&render_all(&findings, &console.err, None));
    if !verified.unnamed.is_empty() && findings.is_empty() {
        let what = "not proven";
        console.fail(&RunError::NoIndex { what, components: verified.unnamed.clone() });
    }
    if !settings.json {
        let report = &verified.report;
        let right = if code == exit::DONE { duration(began.elapsed()) } else { format!("exit {code}") };
        let mut text = format!(
            "{}{}: {} and {}, {} looked into. {}",
            if verified.subset { "a subset, " } else { "" },
            counted(usize::try_from(report.images).unwrap_or(usize::MAX), "image", "images"),
            counted(usize::try_from(report.blobs).unwrap_or(usize::MAX), "blob", "blobs"),
            ByteSize(report.bytes),
            counted(usize::try_from(report.executables).unwrap_or(usize::MAX), "program", "programs"),
            if findings.is_empty() && !verified.declared_missing.is_empty() {
                "What is there is whole.".to_owned()
            } else if findings.is_empty() && !verified.unnamed.is_empty() {
                // What is not named was not looked at.
                if report.images == 0 { "Nothing is proven." } else { "What is named is whole." }.to_owned()
            } else if findings.is_empty() {
                "All is whole.".to_owned()
            } else {
                counted(findings.len(), "finding.", "findings.")
            },
        );
        if !verified.declared_missing.is_empty() {
            let missing: Vec<String> = verified.declared_missing.iter().map(ToString::to_string).collect();
            let _ = write!(text, "\nINCOMPLETE: lacks {}", missing.join(", "));
        }
        console.print(&format!("{text}  {right}\n"));
    }
    code
}

/// What to do about a finding in a bundle: no build mends a file that came from somewhere else.
fn bundle_fix(finding: &Finding, bundle: Option<&Path>) -> Option<String> {
    let file = bundle?.display();
    let damaged = finding.problem.is_blob_damage() || matches!(finding.problem, Problem::Missing);
    damaged.then(|| format!("get the file again, or write it again where it was built: `catamaran export {file}`"))
}

/// The one file that is meant, if it is one and no name: one that is there, or that is written as files are.
fn bundle(settings: &Settings, args: &VerifyArgs) -> Option<PathBuf> {
    let [target] = &args.targets[..] else { return None };
    let path = settings.path(Path::new(target));
    let is_written = target.starts_with(['.', '/']) || path.extension().is_some_and(|end| end == "tar");
    (is_written || path.is_file()).then_some(path)
}

async fn work(
    settings: &Settings,
    args: &VerifyArgs,
    bundle: Option<&Path>,
    depth: Depth,
    cancel: &CancellationToken,
) -> Result<Verified, CliError> {
    let refused = |message: String, help: &str| CliError::Unknown { message, help: Some(help.to_owned()) };
    if let Some(bundle) = bundle {
        if args.platform.is_some() {
            let message = "`--platform` is about the layout, and a bundle is proven as a whole".to_owned();
            return Err(refused(message, "leave it out"));
        }
        return Ok(run::verify_bundle(bundle, depth, cancel).await?);
    }
    let parsed = |target: &String| {
        let help = "name a component, a component and a platform, or a bundle";
        target.parse::<Selector>().map_err(|error| refused(error.to_string(), help))
    };
    let names = args.targets.iter().map(parsed).collect::<Result<Vec<Selector>, CliError>>()?;
    let project = settings.project_with(&names)?;
    let select = SelectArgs { names, platform: args.platform.clone() };
    let plans = Settings::plans(&project, &select, &ToArgs { to: Vec::new() })?;
    Ok(run::verify(&plans.asked, &plans.whole, &settings.state(&project), depth, cancel).await?)
}

/// Damage before holes: a hole is told by `status` too, damage only here.
fn code(verified: &Verified) -> u8 {
    if verified.report.cancelled {
        return exit::INTERRUPTED;
    }
    // An unscanned layer alone proves no damage, but nothing was proven either.
    if !verified.report.findings.is_empty() {
        return exit::code(ErrorClass::Integrity);
    }
    if !verified.unnamed.is_empty() || !verified.declared_missing.is_empty() {
        return exit::code(ErrorClass::Incomplete);
    }
    exit::DONE
}

fn document(verified: &Verified, code: u8) -> String {
    let report = &verified.report;
    let findings = report.findings.iter().map(|finding| {
        json!({
            "digest": finding.digest,
            "problem": finding.problem.to_string(),
            "class": format!("{:?}", finding.class()).to_lowercase(),
            "affects": finding.affects.iter().map(|affected| json!({
                "component": affected.component,
                "reference": affected.reference,
                "platform": affected.platform,
                "part": affected.part.to_string(),
            })).collect::<Vec<_>>(),
        })
    });
    let document = json!({
        "schema": "catamaran/verify/v1",
        "whole": code == exit::DONE,
        "subset": verified.subset,
        "images": report.images,
        "blobs": report.blobs,
        "bytes": report.bytes,
        "layers": report.layers,
        "executables": report.executables,
        "findings": findings.collect::<Vec<_>>(),
        "unnamed": verified.unnamed,
        "missing": verified.declared_missing.iter()
            .map(|cell| json!({"component": cell.component, "platform": cell.platform})).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
