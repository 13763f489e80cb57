//! One HTML page about a run, whole in itself: no script, no request, nothing but text from outside.

mod html;
mod sizes;
mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use html::{percent, text};
use timeline::shown;

use super::Diagnostic;
use super::style::{Style, counted};
use crate::base::{ByteSize, CellId, CellState, ComponentName, Platform};
use crate::run::{RecordedCell, RunRecord};

/// Failures that are told in full.
const FAILURES: usize = 50;
/// Slow steps that are listed.
const STEPS: usize = 12;

/// The page about a run. Paths are told relative to `directory`.
pub fn run_page(record: &RunRecord, directory: &Path) -> String {
    let critical = record.critical_path();
    let on_path: BTreeSet<CellId> = critical.iter().map(|cell| cell.id()).collect();
    let mut out = String::with_capacity(64 << 10);
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{}</title><style>{}</style></head><body><main>",
        text(&record.title),
        include_str!("page/style.css")
    );
    head(record, &critical, &mut out);
    failures(record, directory, &mut out);
    matrix(record, &mut out);
    timeline::timeline(record, &on_path, &mut out);
    path(record, &critical, &mut out);
    steps(record, &mut out);
    emulated(record, &mut out);
    sizes::sizes(record, &mut out);
    builders(record, &mut out);
    let _ = writeln!(out, "<footer>Written by catamaran {}.</footer>\n</main></body></html>", text(&record.version));
    out
}

fn head(record: &RunRecord, critical: &[&RecordedCell], out: &mut String) {
    let (class, verdict) = if record.complete {
        ("good", "complete".to_owned())
    } else if record.interrupted {
        ("bad", "interrupted".to_owned())
    } else {
        ("bad", format!("{} of {}", record.present, counted(record.expected, "cell", "cells")))
    };
    let began = jiff::Timestamp::from_second(record.began)
        .map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
        .unwrap_or_default();
    let subset = if record.subset { ", a subset" } else { "" };
    let states: Vec<String> = CellState::ALL
        .iter()
        .map(|state| (state, record.cells.iter().filter(|cell| cell.state == *state).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let _ = writeln!(
        out,
        "<header><h1>{}</h1><span class=\"verdict {class}\">{verdict}</span><p class=\"lead\">{began}, {}{subset}</p></header>",
        text(&record.title),
        states.join(", ")
    );
    let work: f64 = record.cells.iter().filter_map(|cell| cell.seconds).sum();
    let longest: f64 = critical.iter().filter_map(|cell| cell.seconds).sum();
    let emulated = record.cells.iter().filter(|cell| cell.emulated).count();
    let facts = [
        (format!("{} / {}", record.present, record.expected), "cells there"),
        (shown(record.seconds), "from start to end"),
        (shown(work), "of work in cells"),
        (shown(longest), "on the critical path"),
        (emulated.to_string(), "cells emulated"),
        (ByteSize(record.received).to_string(), "came from builders"),
    ];
    out.push_str("<div class=\"facts\">");
    for (value, what) in facts {
        let _ = write!(out, "<div><b>{value}</b><span>{what}</span></div>");
    }
    out.push_str("</div>\n");
}

fn failures(record: &RunRecord, directory: &Path, out: &mut String) {
    if record.failures.is_empty() {
        return;
    }
    let style = Style::plain(directory);
    let _ = writeln!(out, "<section id=\"failures\"><h2>What failed</h2>");
    for failure in record.failures.iter().take(FAILURES) {
        Diagnostic::of(failure).with_log(failure.log.clone()).html(&style, out);
    }
    if record.failures.len() > FAILURES {
        let _ = write!(out, "<p>and {} more</p>", record.failures.len() - FAILURES);
    }
    let count = |state| record.cells.iter().filter(|cell| cell.state == state).count();
    let after: Vec<String> = [CellState::Blocked, CellState::Cancelled]
        .into_iter()
        .filter(|state| count(*state) > 0)
        .map(|state| format!("{} {state}", count(state)))
        .collect();
    if !after.is_empty() {
        let _ = write!(out, "<p class=\"note\">Because of that: {}.</p>", after.join(", "));
    }
    out.push_str("</section>\n");
}

impl Diagnostic {
    fn html(&self, style: &Style, out: &mut String) {
        let _ = writeln!(out, "<div class=\"failure\"><h3>{}</h3><dl>", text(&self.title));
        let row = |out: &mut String, label: &str, value: &str| {
            let _ = writeln!(out, "<dt>{label}</dt><dd>{value}</dd>");
        };
        if !self.causes.is_empty() {
            let causes: Vec<String> = self.causes.iter().map(|cause| text(cause)).collect();
            row(out, "cause", &causes.join("<br>"));
        }
        if let Some(place) = &self.place {
            let mut code = String::new();
            for (number, line) in &place.lines {
                let tag = if (place.first..=place.last).contains(number) { "mark" } else { "span" };
                let _ = write!(code, "<{tag}>{number:>4}  {}</{tag}>", text(&line.replace('\t', "    ")));
            }
            let where_ = format!("{}:{}", text(&style.path(&place.path)), place.first);
            row(out, "where", &format!("<code>{where_}</code><pre>{code}</pre>"));
        }
        if !self.output.is_empty() {
            let skipped = self.output.len().saturating_sub(super::diagnostic::OUTPUT_LINES);
            let lines: Vec<String> = self.output.iter().skip(skipped).map(|line| text(line)).collect();
            row(out, "output", &format!("<pre>{}</pre>", lines.join("\n")));
        }
        if let Some(why) = &self.why {
            let id = self.known.map(|id| format!(" <span class=\"absent\">{id}</span>")).unwrap_or_default();
            row(out, "why", &format!("{}{id}", text(why)));
        }
        if let Some(fix) = self.fix.as_deref().or(self.advice) {
            row(out, "fix", &fix.lines().map(text).collect::<Vec<_>>().join("<br>"));
        }
        if let Some(log) = &self.log {
            row(out, "log", &format!("<code>{}</code>", text(&style.path(log))));
        }
        out.push_str("</dl></div>\n");
    }
}

fn matrix(record: &RunRecord, out: &mut String) {
    let mut platforms: Vec<&Platform> = record.cells.iter().map(|cell| &cell.platform).collect();
    platforms.sort();
    platforms.dedup();
    let mut rows: BTreeMap<&ComponentName, Vec<&RecordedCell>> = BTreeMap::new();
    for cell in &record.cells {
        rows.entry(&cell.component).or_default().push(cell);
    }
    if rows.is_empty() {
        return;
    }
    out.push_str("<section id=\"matrix\"><h2>Matrix</h2>\n<div class=\"scroll\"><table><tr><th>component</th>");
    for platform in &platforms {
        let _ = write!(out, "<th>{}</th>", text(&platform.short()));
    }
    out.push_str("</tr>\n");
    for (component, cells) in rows {
        let external =
            if cells.iter().any(|cell| cell.external) { " <span class=\"absent\">external</span>" } else { "" };
        let _ = write!(out, "<tr><td>{}{external}</td>", text(component.as_str()));
        for platform in &platforms {
            match cells.iter().find(|cell| cell.platform == **platform) {
                Some(cell) => chip(cell, out),
                None => out.push_str("<td class=\"absent\">-</td>"),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div></section>\n");
}

fn chip(cell: &RecordedCell, out: &mut String) {
    let detail = match (cell.state, cell.seconds) {
        (CellState::Blocked, _) => format!("by {}", cell.reason.as_deref().unwrap_or("?")),
        (CellState::Built | CellState::Failed, Some(seconds)) => shown(seconds),
        _ => String::new(),
    };
    let emulated = if cell.emulated { ", emulated" } else { "" };
    let title = cell.reason.as_deref().unwrap_or_default();
    let _ = write!(
        out,
        "<td><span class=\"chip {state}\" title=\"{}\">{state} <i>{}{emulated}</i></span></td>",
        text(title),
        text(&detail),
        state = cell.state,
    );
}

fn path(record: &RunRecord, critical: &[&RecordedCell], out: &mut String) {
    let longest: f64 = critical.iter().filter_map(|cell| cell.seconds).sum();
    if longest <= 0.0 {
        return;
    }
    let _ = writeln!(
        out,
        "<section id=\"path\"><h2>Critical path</h2>\n<p>These cells waited for each other, {} in a row: with any number of \
         builders no run of this is shorter ({:.0} % of this one).</p><ol class=\"path\">",
        shown(longest),
        percent(longest, record.seconds)
    );
    for cell in critical {
        let seconds = cell.seconds.unwrap_or(0.0);
        let step = cell.steps.first().map(|(name, took)| format!("<small>{}, {}</small>", text(name), shown(*took)));
        let _ = writeln!(
            out,
            "<li><span>{}</span><span class=\"meter\"><i style=\"width:{:.2}%\"></i></span><span class=\"n\">{}</span>{}</li>",
            text(&cell.id().to_string()),
            percent(seconds, longest),
            shown(seconds),
            step.unwrap_or_default()
        );
    }
    out.push_str("</ol></section>\n");
}

fn steps(record: &RunRecord, out: &mut String) {
    let mut steps: Vec<(&RecordedCell, &str, f64)> = record
        .cells
        .iter()
        .flat_map(|cell| cell.steps.iter().map(move |(name, took)| (cell, name.as_str(), *took)))
        .collect();
    steps.sort_by(|a, b| b.2.total_cmp(&a.2));
    if steps.is_empty() {
        return;
    }
    out.push_str("<section id=\"steps\"><h2>Slowest steps</h2>\n<table><tr><th>cell</th><th>step</th><th class=\"n\">time</th></tr>\n");
    for (cell, name, took) in steps.iter().take(STEPS) {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"mono\">{}</td><td class=\"n\">{}</td></tr>",
            text(&cell.id().to_string()),
            text(name),
            shown(*took)
        );
    }
    out.push_str("</table></section>\n");
}

/// What emulation cost, by comparison with the same component where it ran natively.
fn emulated(record: &RunRecord, out: &mut String) {
    let emulated: Vec<&RecordedCell> =
        record.cells.iter().filter(|cell| cell.emulated && cell.seconds.is_some()).collect();
    if emulated.is_empty() {
        return;
    }
    out.push_str(
        "<section id=\"emulated\"><h2>Emulated</h2>\n<table><tr><th>cell</th><th class=\"n\">time</th>\
         <th class=\"n\">native twin</th><th class=\"n\">factor</th></tr>\n",
    );
    for cell in emulated {
        let twin = record
            .cells
            .iter()
            .find(|other| other.component == cell.component && !other.emulated && other.state == CellState::Built)
            .and_then(|other| other.seconds);
        let seconds = cell.seconds.unwrap_or(0.0);
        let factor = twin.filter(|twin| *twin > 0.0).map(|twin| format!("{:.1}", seconds / twin)).unwrap_or_default();
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{factor}</td></tr>",
            text(&cell.id().to_string()),
            shown(seconds),
            twin.map(shown).unwrap_or_default()
        );
    }
    out.push_str("</table><p class=\"note\">A native builder for these platforms would save most of the difference.</p></section>\n");
}

fn builders(record: &RunRecord, out: &mut String) {
    if record.builders.is_empty() {
        return;
    }
    out.push_str("<section id=\"builders\"><h2>Builders</h2>\n<table>");
    for builder in &record.builders {
        let platforms: Vec<String> =
            builder.platforms.iter().map(|(platform, how)| format!("{} {}", text(platform), text(how))).collect();
        let _ = writeln!(
            out,
            "<tr><td class=\"mono\">{}</td><td>{}</td><td>{}</td></tr>",
            text(&builder.address),
            text(&builder.version),
            platforms.join(", ")
        );
    }
    out.push_str("</table></section>\n");
}
