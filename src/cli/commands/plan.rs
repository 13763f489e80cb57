use crate::cli::args::{GraphFormat, PlanArgs};
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::plan::{Plan, bake_document, explain};
use crate::report::{explain_table, plan_document, plan_dot, plan_mermaid, plan_table, vars_table};

/// `catamaran plan`: the resolved matrix, or one view of it; nothing is contacted.
pub(super) fn plan(settings: &Settings, args: &PlanArgs, console: &Console) -> u8 {
    match text(settings, args, console) {
        Ok(text) => {
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

fn text(settings: &Settings, args: &PlanArgs, console: &Console) -> Result<String, CliError> {
    if args.print.is_some() && !settings.prints_project() {
        return settings.print_bake(&args.select.names);
    }
    let project = settings.project_with(&args.select.names)?;
    let plan: Plan = Settings::plan(&project, &args.select, &args.to)?;
    if let Some(name) = &args.explain {
        let parsed = name.parse().ok();
        let found = parsed.map(|name| explain(&project, &name)).unwrap_or_default();
        if found.is_empty() {
            let known = plan.components.iter().map(|component| component.name.as_str());
            let help = crate::base::did_you_mean(name, known).map(|near| format!("did you mean `{near}`?"));
            return Err(CliError::Unknown { message: format!("unknown component `{name}`"), help });
        }
        return Ok(explain_table(&found, &console.out));
    }
    console.warn_of(&plan.warnings);
    if args.print.is_some() {
        // A `Value` has string keys and finite numbers only: nothing in it can fail to be written.
        return Ok(serde_json::to_string_pretty(&bake_document(&project, &plan)).unwrap_or_default() + "\n");
    }
    Ok(match (args.graph, args.vars, settings.json) {
        (Some(GraphFormat::Dot), _, _) => plan_dot(&plan),
        (Some(GraphFormat::Mermaid), _, _) => plan_mermaid(&plan),
        (None, true, _) => vars_table(&plan),
        (None, false, true) => plan_document(Some(&plan), None),
        (None, false, false) => plan_table(&plan, &console.out),
    })
}
