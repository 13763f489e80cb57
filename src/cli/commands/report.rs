use std::path::Path;

use crate::cli::args::ReportArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::report::run_page;
use crate::run::{RunError, RunRecord};

/// `catamaran report`: one page about the last build, in a file that needs no other.
pub(super) fn report(settings: &Settings, args: &ReportArgs, console: &Console) -> u8 {
    match work(settings, args, console) {
        Ok(()) => exit::DONE,
        Err(error) => console.fail(&error),
    }
}

fn work(settings: &Settings, args: &ReportArgs, console: &Console) -> Result<(), CliError> {
    let project = settings.project_with(&[])?;
    let state = settings.state(&project);
    let record = RunRecord::load(&state)?.ok_or_else(|| CliError::Absent {
        message: "there is no build to report on".to_owned(),
        help: "run `catamaran build`".to_owned(),
    })?;
    if settings.json {
        let text = serde_json::to_string_pretty(&record).unwrap_or_default();
        console.print(&format!("{text}\n"));
        return Ok(());
    }
    let page = run_page(&record, &console.err.directory);
    if args.output == Path::new("-") {
        console.print(&page);
        return Ok(());
    }
    let path = settings.path(&args.output);
    std::fs::write(&path, page).map_err(|source| RunError::State { action: "write", path: path.clone(), source })?;
    console.print(&format!("wrote {}\n", console.out.path(&path)));
    Ok(())
}
