use crate::base::ErrorClass;
use crate::cli::args::{SelectArgs, ToArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::plan::Selection;
use crate::report::{matrix_table, status_document, status_sentence};
use crate::run::{self, Matrix, RunError};

/// `catamaran status`: the expected matrix against the layout; needs no builder.
pub(super) fn status(settings: &Settings, args: &SelectArgs, console: &Console) -> u8 {
    let (matrix, unfinished) = match look(settings, args) {
        Ok(found) => found,
        Err(error) => return console.fail(&error),
    };
    let code = if matrix.is_complete() { exit::DONE } else { exit::code(ErrorClass::Incomplete) };
    if settings.json {
        console.print(&status_document(&matrix, unfinished));
        return code;
    }
    let right = if code == exit::DONE { String::new() } else { format!("exit {code}") };
    let table = matrix_table(&matrix, &console.out);
    console.print(&format!("{table}\n{}", status_sentence(&matrix, &right, &console.out)));
    if let Some(tags) = unfinished {
        console
            .warn(&format!("a push was interrupted while its {tags} tags moved: `catamaran push` settles that first"));
    }
    if !matrix.unindexed.is_empty() {
        let error = RunError::NoIndex { what: "not complete", components: matrix.unindexed.clone() };
        console.fail(&error);
    }
    code
}

fn look(settings: &Settings, args: &SelectArgs) -> Result<(Matrix, Option<usize>), CliError> {
    let project = settings.project_with(&args.names)?;
    let plan = Settings::plan(&project, args, &ToArgs { to: Vec::new() })?;
    let state = settings.state(&project);
    let mut matrix = run::status(&plan, &state)?;
    let unfinished = run::unfinished_release(&state)?.map(|tags| tags.len());
    // Names are a question about these cells; whether another one is there is not part of it.
    let asked =
        |id: &crate::base::CellId| plan.cell(id).is_some_and(|cell| run::is_shown(&plan, cell, Selection::Selected));
    matrix.cells.retain(|report| asked(&report.cell));
    let named =
        |component: &crate::base::ComponentName| matrix.cells.iter().any(|report| report.cell.component == *component);
    let indexes = std::mem::take(&mut matrix.indexes);
    matrix.indexes = indexes.into_iter().filter(|index| named(&index.component)).collect();
    let unindexed = std::mem::take(&mut matrix.unindexed);
    matrix.unindexed = unindexed.into_iter().filter(|component| named(component)).collect();
    Ok((matrix, unfinished))
}
