use std::fmt::Write as _;

use super::style::{Style, Tone};
use crate::base::{CellId, Printable};
use crate::run::{Finding, Level};

/// Cells of one finding that are named; the rest is counted. `--json` names all.
const NAMED: usize = 4;

/// What was found before a run, one finding after the other, each with its cells and its fix.
///
/// ```text
/// ok    disk     812.3 GB free
/// FAIL  arm64    nothing here runs its programs
///                cells: web/arm64
///                fix: install qemu-user-static
/// ```
pub fn findings_text(findings: &[Finding], style: &Style) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or_default().clamp(7, 28);
    for finding in findings {
        let word = match finding.level {
            Level::Fine => style.paint(Tone::Good, "ok  "),
            Level::Note => style.paint(Tone::Faint, "note"),
            Level::Warning => style.paint(Tone::Warn, "warn"),
            Level::Error(_) => style.paint(Tone::Bad, "FAIL"),
        };
        let _ =
            writeln!(text, "{word}  {:<width$}  {}", Printable(&finding.subject).to_string(), Printable(&finding.text));
        let at = width + 8;
        if finding.level != Level::Fine && !finding.cells.is_empty() {
            let _ = writeln!(text, "{:at$}cells: {}", "", named(&finding.cells));
        }
        for (number, line) in finding.fix.iter().flat_map(|fix| fix.lines()).enumerate() {
            let mark = if number == 0 { "fix: " } else { "     " };
            let _ = writeln!(text, "{:at$}{mark}{}", "", Printable(line));
        }
    }
    text
}

fn named(cells: &[CellId]) -> String {
    let mut text = cells.iter().take(NAMED).map(CellId::to_string).collect::<Vec<_>>().join(", ");
    if let Some(rest) = cells.len().checked_sub(NAMED).filter(|rest| *rest > 0) {
        let _ = write!(text, " and {rest} more");
    }
    text
}
