use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::style::{Style, counted, duration, printable};
use super::{Diagnostic, matrix_sentence};
use crate::base::{CellState, ComponentName, Platform};
use crate::run::{CellReport, Outcome};

/// Rows of the table; GitHub takes a megabyte in all.
const ROWS: usize = 300;
/// Failures that are told in full.
const WHOLE: usize = 20;

/// What a build came to, in Markdown, for the summary page of a CI job.
pub fn job_summary(outcome: &Outcome, extra: &[String], style: &Style) -> String {
    let matrix = &outcome.matrix;
    let mark = if outcome.class().is_none() { "✅" } else { "❌" };
    let mut text = format!("### {mark} {}\n\n", inline(&matrix.title));
    let sentence = matrix_sentence(matrix, "", style);
    let _ = writeln!(text, "{} {}\n", inline(sentence.trim()), duration(outcome.took));
    for line in extra {
        let _ = writeln!(text, "{}\n", inline(line));
    }
    table(outcome, &mut text);
    let failures: Vec<Diagnostic> = outcome.failures.iter().map(Diagnostic::of_cell).collect();
    let plain = Style { color: false, width: 100, ..style.clone() };
    for failure in failures.iter().take(WHOLE) {
        let _ = write!(text, "\n{}", fenced(&failure.render(&plain, None)));
    }
    if failures.len() > WHOLE {
        let _ = writeln!(text, "\nand {} more", failures.len() - WHOLE);
    }
    if let Some(error) = &outcome.error {
        let _ = write!(text, "\n{}", fenced(&Diagnostic::of(error).render(&plain, None)));
    }
    text
}

fn table(outcome: &Outcome, text: &mut String) {
    let cells = &outcome.matrix.cells;
    let mut platforms: Vec<&Platform> = cells.iter().map(|cell| &cell.cell.platform).collect();
    platforms.sort();
    platforms.dedup();
    let mut rows: BTreeMap<&ComponentName, Vec<&CellReport>> = BTreeMap::new();
    for cell in cells {
        rows.entry(&cell.cell.component).or_default().push(cell);
    }
    if rows.len() > ROWS {
        // What is wrong must be among what is shown.
        rows.retain(|_, cells| cells.iter().any(|cell| !cell.state.is_good()));
    }
    if rows.is_empty() {
        return;
    }
    let head: Vec<String> = platforms.iter().map(|platform| platform.short()).collect();
    let _ = writeln!(text, "| | {} |\n|---|{}", head.join(" | "), "---|".repeat(platforms.len()));
    for (component, cells) in rows.iter().take(ROWS) {
        let _ = write!(text, "| {component} |");
        for platform in &platforms {
            let cell = cells.iter().find(|cell| cell.cell.platform == **platform);
            let _ = write!(text, " {} |", cell.map_or_else(|| "-".to_owned(), |cell| shown(cell)));
        }
        text.push('\n');
    }
    if rows.len() > ROWS {
        let _ = writeln!(text, "\nand {} more", counted(rows.len() - ROWS, "component", "components"));
    }
}

fn shown(cell: &CellReport) -> String {
    let took = cell.took.map(|took| format!(" {}", duration(took))).unwrap_or_default();
    let emulated = if cell.emulated { ", emulated" } else { "" };
    match cell.state {
        CellState::Failed | CellState::Missing => format!("**{}**", cell.state),
        CellState::Blocked => format!("{} by {}", cell.state, inline(cell.reason.as_deref().unwrap_or("?"))),
        state => format!("{state}{took}{emulated}"),
    }
}

/// Foreign text in a line of Markdown: nothing in it is a link, a table border or HTML.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Foreign text as a block of code, in a fence that is longer than any in it.
fn fenced(text: &str) -> String {
    let mut longest = 2;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::CellId;
    use crate::run::Matrix;

    #[test]
    fn a_summary_is_a_table_and_foreign_text_is_text() {
        let id = CellId::new("web".parse().expect("a name"), "arm64".parse().expect("a platform"));
        let mut cell = CellReport::new(id, CellState::Blocked, false);
        cell.reason = Some("<script>|`x`".to_owned());
        let matrix = Matrix { title: "demo *v1*".to_owned(), cells: vec![cell], ..Matrix::default() };
        let text = job_summary(&Outcome { matrix, ..Outcome::default() }, &[], &Style::plain("/"));
        assert!(text.starts_with("### ❌ demo \\*v1\\*\n"), "{text}");
        assert!(text.contains("| | arm64 |\n|---|---|\n| web | blocked by &lt;script>\\|\\`x\\` |\n"), "{text}");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(fenced("a\n````\nb"), "`````text\na\n````\nb\n`````\n");
    }
}
