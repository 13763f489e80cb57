use std::fmt::Write as _;

use super::style::{Style, columns, pad, printable};
use crate::base::ComponentName;
use crate::plan::{ComponentKind, Plan, PlannedVariable, Setting};

/// The graph of components for Graphviz: an arrow from what is needed to what needs it.
pub fn plan_dot(plan: &Plan) -> String {
    let mut out = "digraph plan {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for component in &plan.components {
        let style = match (&component.excluded, &component.kind) {
            (Some(_), _) => " [style=dotted]",
            (None, ComponentKind::External) => " [style=rounded]",
            (None, ComponentKind::Built) => "",
        };
        let _ = writeln!(out, "  \"{}\"{style};", component.name);
    }
    for component in &plan.components {
        for need in &component.needs {
            let style = if need.service { " [style=dashed]" } else { "" };
            let _ = writeln!(out, "  \"{}\" -> \"{}\"{style};", need.name, component.name);
        }
    }
    out + "}\n"
}

/// The graph of components for Mermaid.
pub fn plan_mermaid(plan: &Plan) -> String {
    let mut out = "graph LR\n".to_owned();
    // Names may hold what Mermaid reads as syntax, so nodes have numbers and names are labels.
    let number =
        |name: &ComponentName| plan.components.iter().position(|component| component.name == *name).unwrap_or_default();
    for (at, component) in plan.components.iter().enumerate() {
        let (open, close) = if component.kind == ComponentKind::External { ("([", "])") } else { ("[", "]") };
        let note = if component.excluded.is_some() { " (excluded)" } else { "" };
        let _ = writeln!(out, "  n{at}{open}\"{}{note}\"{close}", component.name);
    }
    for (at, component) in plan.components.iter().enumerate() {
        for need in &component.needs {
            let arrow = if need.service { "-.->" } else { "-->" };
            let _ = writeln!(out, "  n{} {arrow} n{at}", number(&need.name));
        }
    }
    out
}

/// The variables: value, who set it, who uses it. Values that look like secrets are not shown.
pub fn vars_table(plan: &Plan) -> String {
    if plan.vars.is_empty() {
        return "no variables: [vars] is empty, and no ${NAME} has a default\n".to_owned();
    }
    let used = |variable: &PlannedVariable| {
        if variable.used_by.is_empty() { "nothing".to_owned() } else { variable.used_by.join(", ") }
    };
    let mut rows = vec![["variable", "value", "set by", "used by"].map(str::to_owned)];
    rows.extend(
        plan.vars.iter().map(|one| [one.name.clone(), printable(one.shown()), printable(&one.place()), used(one)]),
    );
    aligned(&rows)
}

/// Every setting of a component and where it stands.
pub fn explain_table(settings: &[Setting], style: &Style) -> String {
    let mut rows = vec![["setting", "value", "from"].map(str::to_owned)];
    rows.extend(settings.iter().map(|setting| {
        let from = setting
            .span
            .as_ref()
            .map_or_else(|| "default".to_owned(), |span| format!("{}:{}", style.path(span.path()), span.line()));
        [printable(&setting.key), printable(&setting.value), from]
    }));
    aligned(&rows)
}

/// Columns as wide as what is in them, the last one as it is.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N).map(|at| rows.iter().map(|row| columns(&row[at])).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}
