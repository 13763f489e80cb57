use crate::cli::args::PlanArgs;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::report::{plan_document, plan_table};

/// `catamaran plan`: the resolved matrix; nothing is contacted.
pub(super) fn plan(settings: &Settings, args: &PlanArgs, console: &Console) -> u8 {
    let plan = settings.project().and_then(|project| Settings::plan(&project, &args.select, &args.to));
    match plan {
        Ok(plan) => {
            let text = if settings.json { plan_document(Some(&plan), None) } else { plan_table(&plan, &console.out) };
            console.print(&text);
            exit::DONE
        }
        Err(error) => {
            if settings.json {
                console.print(&plan_document(None, Some(&error)));
            }
            console.fail(&error)
        }
    }
}
