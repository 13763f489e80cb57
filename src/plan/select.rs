use std::collections::{BTreeSet, HashMap};

use super::{Cell, CellWork, Component, PlanOptions, PlanProblem, Selection, Selector};
use crate::base::{CellId, ComponentName, Platform, did_you_mean, glob_matches, is_glob};
use crate::config::Project;

/// Marks which of the sorted `cells` the names on the command line mean, and what those need.
pub(super) fn select(
    project: &Project,
    options: &PlanOptions,
    components: &[Component],
    cells: &mut [Cell],
    problems: &mut Vec<PlanProblem>,
) {
    // What was only brought along is needed at most.
    let asked = |cell: &Cell| options.platforms.as_ref().is_none_or(|asked| asked.contains(&cell.id.platform));
    if options.names.is_empty() {
        for cell in cells.iter_mut().filter(|cell| !cell.is_excluded()) {
            cell.selection = if asked(cell) { Selection::Selected } else { Selection::Required };
        }
        return;
    }
    for selector in &options.names {
        match matching(project, selector, components, cells, &asked) {
            Ok(found) => found.into_iter().for_each(|at| cells[at].selection = Selection::Selected),
            Err(problem) => problems.push(problem),
        }
    }
    let index: HashMap<CellId, usize> = cells.iter().enumerate().map(|(at, cell)| (cell.id.clone(), at)).collect();
    // Needs come before what needs them, so one pass from the end reaches everything.
    for at in (0..cells.len()).rev() {
        if cells[at].selection == Selection::Unselected {
            continue;
        }
        for need in cells[at].needs.clone() {
            if let Some(need) = index.get(&need) {
                cells[*need].selection = cells[*need].selection.max(Selection::Required);
            }
        }
    }
}

/// The numbers of the cells that one selector means.
fn matching(
    project: &Project,
    selector: &Selector,
    components: &[Component],
    cells: &[Cell],
    asked: &dyn Fn(&Cell) -> bool,
) -> Result<Vec<usize>, PlanProblem> {
    let (name, platform) =
        selector.text.split_once('/').map_or((selector.text.as_str(), None), |(name, platform)| (name, Some(platform)));
    let names = component_names(project, selector, name, components)?;
    let wanted = platform
        .map(PlatformPattern::new)
        .transpose()
        .map_err(|(message, help)| PlanProblem::invalid(message, help, None))?;
    let of_names = || cells.iter().enumerate().filter(|(_, cell)| names.contains(&cell.id.component) && asked(cell));
    let found: Vec<usize> = of_names()
        .filter(|(_, cell)| {
            !cell.is_excluded() && wanted.as_ref().is_none_or(|wanted| wanted.matches(&cell.id.platform))
        })
        .map(|(at, _)| at)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let excluded = of_names().find_map(|(_, cell)| match &cell.work {
        CellWork::Excluded(reason) => Some(reason),
        CellWork::Build(_) | CellWork::Mirror(_) => None,
    });
    let (message, help) = match (excluded, platform) {
        (Some(reason), _) => {
            (format!("`{selector}` is excluded: {reason}"), "take its `exclude` out to build it".to_owned())
        }
        (None, Some(platform)) => {
            let known: BTreeSet<String> = of_names().map(|(_, cell)| cell.id.platform.to_string()).collect();
            let known: Vec<String> = known.into_iter().collect();
            (format!("`{name}` is not built for `{platform}`"), format!("its platforms are {}", known.join(", ")))
        }
        (None, None) => (
            format!("`{selector}` has no cells on the platforms that were asked for"),
            "leave --platform out, or name another component".to_owned(),
        ),
    };
    Err(PlanProblem::invalid(message, Some(help), None))
}

fn component_names<'a>(
    project: &'a Project,
    selector: &Selector,
    name: &str,
    components: &'a [Component],
) -> Result<BTreeSet<&'a ComponentName>, PlanProblem> {
    // A group comes before a component of the same name, which is often one of its members: bake has it so.
    let members = project.groups.get(name).into_iter().flatten();
    let mut names: BTreeSet<&ComponentName> = members.map(|member| &member.value).collect();
    if names.is_empty() {
        let named = |known: &str| known == name || is_glob(name) && glob_matches(name, known);
        names.extend(components.iter().map(|component| &component.name).filter(|known| named(known.as_str())));
    }
    if !names.is_empty() {
        return Ok(names);
    }
    let known: Vec<&str> = components
        .iter()
        .map(|component| component.name.as_str())
        .chain(project.unselected.keys().map(ComponentName::as_str))
        .chain(project.groups.keys().map(String::as_str))
        .collect();
    Err(PlanProblem::UnknownComponent {
        name: selector.text.clone(),
        wanted_by: None,
        help: suggestion(name, &known),
        span: None,
    })
}

/// `did you mean …`, or the names there are.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    if let Some(near) = did_you_mean(name, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let mut listed: Vec<String> = known.iter().take(12).map(|name| format!("`{name}`")).collect();
    if known.len() > listed.len() {
        listed.push(format!("and {} more", known.len() - listed.len()));
    }
    if listed.is_empty() { "there are no components".to_owned() } else { format!("there are {}", listed.join(", ")) }
}

enum PlatformPattern {
    Exact(Platform),
    Glob(String),
}

impl PlatformPattern {
    fn new(text: &str) -> Result<Self, (String, Option<String>)> {
        if is_glob(text) {
            return Ok(Self::Glob(text.to_owned()));
        }
        text.parse().map(Self::Exact).map_err(|error: crate::base::InvalidPlatform| {
            (error.to_string(), error.suggestion().map(|near| format!("did you mean `{near}`?")))
        })
    }

    fn matches(&self, platform: &Platform) -> bool {
        match self {
            Self::Exact(wanted) => wanted == platform,
            Self::Glob(pattern) => {
                glob_matches(pattern, &platform.to_string()) || glob_matches(pattern, &platform.short())
            }
        }
    }
}
