use crate::cli::args::{ToArgs, WhyArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::report::{why_document, why_text};
use crate::run::{self, Bases, Foresight};

/// `catamaran why`: what the next build would do about each cell, and why; nothing is built and no builder is asked.
pub(super) fn why(settings: &Settings, args: &WhyArgs, console: &Console) -> u8 {
    let found = match look(settings, args) {
        Ok(found) => found,
        Err(error) => return console.fail(&error),
    };
    let few = !args.select.names.is_empty() || settings.verbose;
    console.print(&if settings.json { why_document(&found) } else { why_text(&found, few, &console.out) });
    exit::DONE
}

fn look(settings: &Settings, args: &WhyArgs) -> Result<Vec<Foresight>, CliError> {
    let project = settings.project_with(&args.select.names)?;
    let plan = Settings::plan(&project, &args.select, &ToArgs { to: Vec::new() })?;
    let force = Settings::forced(&project, &plan, &args.force)?;
    let bases = Bases::new(Settings::lock(&plan)?.unwrap_or_default());
    Ok(run::why(&plan, &settings.state(&project), &bases, &force)?)
}
