use std::fmt::Write as _;

use super::style::{Style, Tone, columns, counted, pad, printable};
use crate::base::{ComponentName, Platform, Warning};
use crate::plan::{CellWork, Component, ComponentKind, Plan, Readiness, ServicePort};

/// The plan as people read it: components by phase, externals, what is excluded and why, and the sum.
pub fn plan_table(plan: &Plan, style: &Style) -> String {
    let mut out = headline(plan);
    out.push('\n');
    let mut built: Vec<&Component> = plan
        .components
        .iter()
        .filter(|component| component.kind == ComponentKind::Built && component.excluded.is_none())
        .collect();
    built.sort_by(|a, b| (a.phase, &a.name).cmp(&(b.phase, &b.name)));
    let rows: Vec<[String; 5]> = built.iter().map(|component| row(component, style)).collect();
    table(&rows, style, &mut out);
    if built.iter().any(|component| component.needs.iter().any(|need| need.service)) {
        out.push_str("* runs while these are built\n");
    }
    rest(plan, style, &mut out);
    services(plan, &mut out);
    for cell in plan.brought() {
        let _ = writeln!(out, "needed    {}, left out by --platform, for a service", cell.id);
    }
    if !plan.unselected.is_empty() {
        let names: Vec<&str> = plan.unselected.iter().map(|one| one.name.as_str()).collect();
        let _ = writeln!(out, "only by name  {}", names.join(", "));
    }
    let _ = writeln!(out, "\n{}", sum(plan));
    out
}

/// Warnings, one after the other, as errors are shown but for the first word.
pub fn warnings_text(warnings: &[Warning], style: &Style) -> String {
    let mut out = String::new();
    for warning in warnings {
        let _ = writeln!(out, "{} {}", style.paint(Tone::Warn, "warning:"), printable(&warning.message));
        if let Some(span) = &warning.span {
            let _ = writeln!(out, "  where   {}:{}", style.path(span.path()), span.line());
        }
        if let Some(help) = &warning.help {
            let _ = writeln!(out, "  fix     {}", printable(help));
        }
    }
    out
}

fn headline(plan: &Plan) -> String {
    let platforms: Vec<String> = plan.platforms.iter().map(ToString::to_string).collect();
    let to: Vec<String> = plan.registries.iter().map(ToString::to_string).collect();
    let to = if to.is_empty() { String::new() } else { format!(" to {}", to.join(", ")) };
    let subset = if plan.subset.platforms || plan.subset.names { " (a subset)" } else { "" };
    format!("{} {}{to}, {}{subset}\n", printable(&plan.project), plan.tag, platforms.join(" "))
}

fn row(component: &Component, style: &Style) -> [String; 5] {
    let names = |service: bool, mark: &str| {
        let needs = component.needs.iter().filter(move |need| need.service == service);
        needs.map(|need| format!("{}{mark}", need.name)).collect::<Vec<_>>()
    };
    let mut needs = names(false, "");
    needs.extend(names(true, "*"));
    let bases = if component.fetched.is_some() {
        vec!["(unknown)".to_owned()]
    } else if component.bases.is_empty() {
        vec!["-".to_owned()]
    } else {
        component.bases.iter().map(|base| printable(base)).collect()
    };
    [
        component.phase.to_string(),
        component.name.to_string(),
        match (&component.fetched, &component.dockerfile) {
            (Some((url, path)), _) => printable(&format!("{path} in {url}")),
            (None, Some(path)) => style.path(path),
            (None, None) => "(inline)".to_owned(),
        },
        bases.join(", "),
        needs.join(", "),
    ]
}

fn table(rows: &[[String; 5]], style: &Style, out: &mut String) {
    const HEAD: [&str; 5] = ["phase", "component", "dockerfile", "bases", "needs"];
    if rows.is_empty() {
        return;
    }
    let width =
        |at: usize| rows.iter().map(|row| columns(&row[at])).chain(std::iter::once(HEAD[at].len())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let _ = writeln!(out, "{}", style.paint(Tone::Faint, &line(&HEAD)));
    for row in rows {
        let _ = writeln!(out, "{}", line(&row.each_ref().map(String::as_str)));
    }
}

/// Externals and excluded components, one line each.
fn rest(plan: &Plan, style: &Style, out: &mut String) {
    for component in &plan.components {
        let name = &component.name;
        if let Some(reason) = &component.excluded {
            let dockerfile = component.dockerfile.as_deref().map(|path| style.path(path)).unwrap_or_default();
            let _ = writeln!(out, "excluded  {name}  {dockerfile}  \"{}\"", printable(reason));
        } else if component.kind == ComponentKind::External {
            let platforms: Vec<String> = component.platforms.iter().map(Platform::short).collect();
            let _ = writeln!(out, "external  {name}  {}  {}", source_of(plan, name), platforms.join(" "));
        }
    }
}

/// What runs meanwhile, one line each: from which image, where, and when it counts as up.
fn services(plan: &Plan, out: &mut String) {
    for (name, service) in &plan.services {
        let platform = if service.same_platform { "each platform".to_owned() } else { service.cell.platform.short() };
        let port = match service.port {
            Some(ServicePort::Fixed(port)) => format!("  port {port}"),
            Some(ServicePort::Auto) => "  any free port".to_owned(),
            None => String::new(),
        };
        let ready = match &service.ready {
            Some(Readiness::Http(url)) => format!("  ready when {} answers", printable(url)),
            Some(Readiness::Exec(words)) => format!("  ready when `{}` succeeds", printable(&words.join(" "))),
            Some(Readiness::Tcp(_)) => "  ready when it accepts connections".to_owned(),
            None => String::new(),
        };
        let _ = writeln!(out, "service   {name}  {platform}{port}{ready}");
    }
}

fn source_of(plan: &Plan, name: &ComponentName) -> String {
    plan.cells
        .iter()
        .find(|cell| cell.id.component == *name)
        .and_then(|cell| match &cell.work {
            CellWork::Mirror(reference) => Some(reference.to_string()),
            CellWork::Build(_) | CellWork::Excluded(_) => None,
        })
        .unwrap_or_default()
}

fn sum(plan: &Plan) -> String {
    let mirrored = plan.expected().filter(|cell| matches!(cell.work, CellWork::Mirror(_))).count();
    let expected = plan.expected().count();
    let excluded = plan.components.iter().filter(|component| component.excluded.is_some()).count();
    let mut text =
        format!("{} ({} built, {mirrored} mirrored)", counted(expected, "cell", "cells"), expected - mirrored);
    let _ = write!(text, ", {} excluded", counted(excluded, "component", "components"));
    text
}
