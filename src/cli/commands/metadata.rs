use crate::base::Failure as _;
use crate::cli::args::{SelectArgs, ToArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::plan::Selection;
use crate::report::metadata_document;
use crate::run::{self, RunRecord};

/// `catamaran metadata`: what is there, for other programs. Needs no builder; a hole is a state in it and no error.
pub(super) fn metadata(settings: &Settings, args: &SelectArgs, console: &Console) -> u8 {
    match text(settings, args) {
        Ok(text) => {
            console.print(&text);
            exit::DONE
        }
        Err(error) => {
            let code = exit::code(error.class());
            console.fail(&error);
            code
        }
    }
}

fn text(settings: &Settings, args: &SelectArgs) -> Result<String, CliError> {
    let project = settings.project_with(&args.names)?;
    let plan = Settings::plan(&project, args, &ToArgs { to: Vec::new() })?;
    let state = settings.state(&project);
    let mut matrix = run::status(&plan, &state)?;
    let asked =
        |id: &crate::base::CellId| plan.cell(id).is_some_and(|cell| run::is_shown(&plan, cell, Selection::Selected));
    matrix.cells.retain(|report| asked(&report.cell));
    let record = RunRecord::load(&state)?;
    Ok(metadata_document(&plan, &matrix, &run::sizes(&state, &matrix), record.as_ref()))
}
