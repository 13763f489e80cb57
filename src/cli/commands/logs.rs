use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use crate::base::{CellId, CellState, Printable};
use crate::cli::args::{LogsArgs, SelectArgs, ToArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::plan::Selection;
use crate::run::{RecordedCell, RunError, RunRecord, StateDir};

/// Longer lines are shown in pieces: a log may hold gigabytes without a line end.
const LINE: u64 = 1 << 20;

/// `catamaran logs`: the full logs of the last builds of cells, control characters made visible. With several, each has a
/// heading.
pub(super) fn logs(settings: &Settings, args: &LogsArgs, console: &Console) -> u8 {
    match show(settings, args, console) {
        Ok(()) => exit::DONE,
        Err(error) => console.fail(&error),
    }
}

fn show(settings: &Settings, args: &LogsArgs, console: &Console) -> Result<(), CliError> {
    if settings.json {
        return Err(CliError::Unknown {
            message: "`logs` has no JSON form".to_owned(),
            help: Some("leave out `--json`: a log is text".to_owned()),
        });
    }
    let project = settings.project_with(&args.names)?;
    let select = SelectArgs { names: args.names.clone(), platform: None };
    let plan = Settings::plan(&project, &select, &ToArgs { to: Vec::new() })?;
    let state = settings.state(&project);
    let selected = plan.cells.iter().filter(|cell| cell.selection == Selection::Selected).map(|cell| &cell.id);
    let mut cells: Vec<&CellId> = selected.collect();
    cells.sort();
    if args.failed {
        let failed = failed(&state)?;
        cells.retain(|cell| failed.contains(cell));
        if cells.is_empty() {
            console.tell(if args.names.is_empty() {
                "no cell failed in the last build\n"
            } else {
                "none of these cells failed in the last build\n"
            });
            return Ok(());
        }
    }
    let there: Vec<&CellId> = cells.iter().copied().filter(|cell| state.log(cell).is_file()).collect();
    if there.is_empty() {
        let names: Vec<String> = cells.iter().take(3).map(ToString::to_string).collect();
        let more = if cells.len() > names.len() { " and others" } else { "" };
        return Err(CliError::Absent {
            message: format!("there is no log of {}{more}: never built here", names.join(", ")),
            help: format!("run `catamaran build {}`", names.first().map_or("", String::as_str)),
        });
    }
    for (at, cell) in there.iter().enumerate() {
        if there.len() > 1 {
            let space = if at > 0 { "\n" } else { "" };
            console.print(&format!("{space}==> {cell} <==\n"));
        }
        print(&state.log(cell), console)?;
    }
    Ok(())
}

/// The cells that failed in the last build.
fn failed(state: &StateDir) -> Result<Vec<CellId>, CliError> {
    let record = RunRecord::load(state)?.unwrap_or_default();
    Ok(record.cells.iter().filter(|cell| cell.state == CellState::Failed).map(RecordedCell::id).collect())
}

/// Line by line: a log may be larger than memory.
fn print(path: &Path, console: &Console) -> Result<(), CliError> {
    let read = |source| RunError::State { action: "read", path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(read)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE).read_until(b'\n', &mut line).map_err(read)? == 0 {
            return Ok(());
        }
        let end = if line.last() == Some(&b'\n') { line.len() - 1 } else { line.len() };
        console.print(&format!("{}\n", Printable(&String::from_utf8_lossy(&line[..end]))));
    }
}
