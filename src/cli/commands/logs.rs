use std::fs::File;
use std::io::{BufRead as _, BufReader};

use crate::base::{CellId, Platform, Printable, did_you_mean};
use crate::cli::args::{LogsArgs, SelectArgs, ToArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::plan::{Plan, Selector};

/// `catamaran logs`: the full log of a cell's last build, its control characters made visible.
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
    // The words of a selector are a cell's, too: a target of a bake file may be known by its name only.
    let named = [Selector::of(args.cell.as_str())];
    let project = settings.project_with(&named)?;
    let everything = SelectArgs { names: Vec::new(), platform: None };
    let plan = Settings::plan(&project, &everything, &ToArgs { to: Vec::new() })?;
    let cell = find(&plan, &args.cell)?;
    let path = settings.state(&project).log(&cell);
    let file = File::open(&path).map_err(|_| CliError::Absent {
        message: format!("there is no log of {cell}: it was never built here"),
        help: format!("run `catamaran build {cell}`"),
    })?;
    let mut lines = BufReader::new(file).split(b'\n');
    // Line by line: a log may be larger than memory.
    while let Some(Ok(line)) = lines.next() {
        console.print(&format!("{}\n", Printable(&String::from_utf8_lossy(&line))));
    }
    Ok(())
}

/// The cell that `text` means: `NAME/PLATFORM`, or `NAME` where it has only one platform.
fn find(plan: &Plan, text: &str) -> Result<CellId, CliError> {
    let (name, platform) = text.split_once('/').map_or((text, None), |(name, platform)| (name, Some(platform)));
    let platform = match platform {
        Some(text) => {
            Some(text.parse::<Platform>().map_err(|error: crate::base::InvalidPlatform| CliError::Unknown {
                message: error.to_string(),
                help: error.suggestion().map(|near| format!("did you mean `{near}`?")),
            })?)
        }
        None => None,
    };
    let of_name: Vec<&CellId> =
        plan.cells.iter().map(|cell| &cell.id).filter(|id| id.component.as_str() == name).collect();
    let matching: Vec<&&CellId> =
        of_name.iter().filter(|id| platform.as_ref().is_none_or(|wanted| *wanted == id.platform)).collect();
    match matching[..] {
        [cell] => Ok((*cell).clone()),
        [] => {
            let known: Vec<String> = if of_name.is_empty() {
                plan.components.iter().map(|component| component.name.to_string()).collect()
            } else {
                of_name.iter().map(ToString::to_string).collect()
            };
            let near = did_you_mean(if of_name.is_empty() { name } else { text }, known.iter().map(String::as_str));
            Err(CliError::Unknown {
                message: format!("there is no cell `{text}`"),
                help: near.map_or_else(
                    || Some(format!("there are {}", known.join(", "))),
                    |near| Some(format!("did you mean `{near}`?")),
                ),
            })
        }
        [first, ..] => Err(CliError::Unknown {
            message: format!("`{text}` has several platforms"),
            help: Some(format!("name one, such as `catamaran logs {first}`")),
        }),
    }
}
