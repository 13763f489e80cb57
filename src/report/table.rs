use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::style::{Style, Tone, columns, counted, duration, fit, justified, pad, printable};
use crate::base::{CellState, ComponentName, Platform};
use crate::run::{CellReport, Matrix};

/// The matrix as a table: a line per component, a column per platform, every cell's state in words.
///
/// ```text
///                    amd64           arm64
/// apphub             built    3.0 s  built    7.1 s  e
/// nginx              built    1.1 s  FAILED   step 2 of 4
/// ```
///
/// Where that is wider than the terminal, a line per cell. Ends in a line end.
pub fn matrix_table(matrix: &Matrix, style: &Style) -> String {
    let mut platforms: Vec<&Platform> = matrix.cells.iter().map(|cell| &cell.cell.platform).collect();
    platforms.sort();
    platforms.dedup();
    let mut rows: BTreeMap<&ComponentName, Vec<&CellReport>> = BTreeMap::new();
    for cell in &matrix.cells {
        rows.entry(&cell.cell.component).or_default().push(cell);
    }
    let name_width = matrix.cells.iter().map(|cell| columns(&label(cell))).max().unwrap_or(0);
    let state_width = matrix.cells.iter().map(|cell| word(cell).len()).max().unwrap_or(0);
    // Every platform has the same share of the line; less than a few words of a reason would say nothing.
    let share = style.width.saturating_sub(name_width) / platforms.len().max(1);
    let most = share.saturating_sub(GAP + state_width + 1).max(DETAIL);
    let detail_width = |platform: &Platform| {
        let cells = matrix.cells.iter().filter(|cell| cell.cell.platform == *platform);
        cells.map(|cell| columns(&detail(cell))).max().unwrap_or(0).min(most)
    };
    let details: Vec<usize> = platforms.iter().map(|platform| detail_width(platform)).collect();
    let width = name_width + details.iter().map(|detail| GAP + state_width + 1 + detail).sum::<usize>();
    let mut out = String::new();
    if width > style.width || platforms.len() < 2 {
        list(matrix, style, &mut out);
    } else {
        let mut head = pad("", name_width);
        for (platform, detail) in platforms.iter().zip(&details) {
            head.push_str(&pad("", GAP));
            head.push_str(&pad(&platform.short(), state_width + 1 + detail));
        }
        out.push_str(head.trim_end());
        out.push('\n');
        for cells in rows.values() {
            let mut line = pad(&cells.first().map(|cell| label(cell)).unwrap_or_default(), name_width);
            for (platform, detail_width) in platforms.iter().zip(&details) {
                line.push_str(&pad("", GAP));
                match cells.iter().find(|cell| cell.cell.platform == **platform) {
                    Some(cell) => {
                        line.push_str(&painted_word(cell, state_width, style));
                        line.push(' ');
                        line.push_str(&pad(&fit(&detail(cell), *detail_width, style.unicode), *detail_width));
                    }
                    // A narrower platform list is declared, so there is no cell and no hole.
                    None => line.push_str(&pad("-", state_width + 1 + detail_width)),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    if matrix.cells.iter().any(|cell| cell.emulated) {
        out.push_str("e = emulated\n");
    }
    out
}

/// Columns between two cells.
const GAP: usize = 2;
/// The fewest columns of a cell's detail in the table; the whole of it is in the list, the errors and the JSON.
const DETAIL: usize = 12;

fn list(matrix: &Matrix, style: &Style, out: &mut String) {
    let ids: Vec<String> = matrix.cells.iter().map(|cell| cell.cell.to_string()).collect();
    let width = ids.iter().map(|id| columns(id)).max().unwrap_or(0);
    let state_width = matrix.cells.iter().map(|cell| word(cell).len()).max().unwrap_or(0);
    for (cell, id) in matrix.cells.iter().zip(&ids) {
        let line = format!("{}  {} ", pad(id, width), painted_word(cell, state_width, style));
        let room = style.width.saturating_sub(width + state_width + 3);
        out.push_str(format!("{line}{}", fit(&detail(cell), room, style.unicode)).trim_end());
        out.push('\n');
    }
}

fn label(cell: &CellReport) -> String {
    if cell.external { format!("{} (external)", cell.cell.component) } else { cell.cell.component.to_string() }
}

/// What must be seen without colour is in capitals.
fn word(cell: &CellReport) -> String {
    match cell.state {
        CellState::Failed | CellState::Missing => cell.state.word().to_uppercase(),
        state => state.word().to_owned(),
    }
}

fn painted_word(cell: &CellReport, width: usize, style: &Style) -> String {
    let tone = match cell.state {
        CellState::Built | CellState::Reused | CellState::Mirrored => Tone::Good,
        CellState::Excluded => Tone::Faint,
        CellState::Failed | CellState::Missing => Tone::Bad,
        CellState::Blocked | CellState::Cancelled => Tone::Warn,
    };
    style.paint(tone, &pad(&word(cell), width))
}

fn detail(cell: &CellReport) -> String {
    let mut text = match (&cell.reason, cell.took) {
        (Some(reason), _) => printable(reason),
        // Its build took that long once, and nothing now.
        (None, Some(_)) if cell.state == CellState::Reused => String::new(),
        (None, Some(took)) => format!("{:>6}", duration(took)),
        (None, None) => String::new(),
    };
    if cell.emulated {
        text.push_str("  e");
    }
    text
}

/// `24 of 26 cells: 22 built, 1 failed, 1 blocked. 11 indexes.`, with how long it took at the right.
///
/// A complete matrix names all its states, an incomplete one only what is wrong with it.
pub fn matrix_sentence(matrix: &Matrix, right: &str, style: &Style) -> String {
    let complete = matrix.is_complete();
    let counts: Vec<String> = CellState::ALL
        .iter()
        .filter(|state| complete || !state.is_good())
        .map(|state| (state, matrix.count(*state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let mut text = format!("{} of {}", matrix.present(), counted(matrix.expected(), "cell", "cells"));
    if matrix.subset {
        text.push_str(" (a subset)");
    }
    if counts.is_empty() {
        text.push('.');
    } else {
        let _ = write!(text, ": {}.", counts.join(", "));
    }
    if !matrix.indexes.is_empty() {
        let _ = write!(text, " {}.", counted(matrix.indexes.len(), "index", "indexes"));
    }
    justified(&text, right, style.width).trim_end().to_owned() + "\n"
}

/// What `status` says: one sentence, and the holes by name.
pub fn status_sentence(matrix: &Matrix, right: &str, style: &Style) -> String {
    const NAMED: usize = 12;
    let holes: Vec<String> = matrix.holes().map(|cell| cell.cell.to_string()).collect();
    if holes.is_empty() {
        return matrix_sentence(matrix, right, style);
    }
    let more = if holes.len() > NAMED { format!(" and {} more", holes.len() - NAMED) } else { String::new() };
    let subset = if matrix.subset { " (a subset)" } else { "" };
    let text = format!(
        "{} of {}{subset}. missing: {}{more}",
        matrix.present(),
        counted(matrix.expected(), "cell", "cells"),
        holes.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")
    );
    justified(&text, right, style.width).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::CellId;

    fn cell(name: &str, platform: &str, state: CellState) -> CellReport {
        CellReport::new(CellId::new(name.parse().expect("a name"), platform.parse().expect("a platform")), state, false)
    }

    fn matrix() -> Matrix {
        let mut apphub = cell("apphub", "amd64", CellState::Built);
        apphub.took = Some(Duration::from_secs(3));
        let mut emulated = cell("apphub", "arm64", CellState::Built);
        emulated.took = Some(Duration::from_millis(7100));
        emulated.emulated = true;
        let mut failed = cell("nginx", "arm64", CellState::Failed);
        failed.reason = Some("step 2 of 4".to_owned());
        let mut blocked = cell("gateway", "arm64", CellState::Blocked);
        blocked.reason = Some("nginx/arm64".to_owned());
        let mut redis = cell("redis", "amd64", CellState::Mirrored);
        redis.external = true;
        Matrix { cells: vec![apphub, emulated, blocked, failed, redis], ..Matrix::default() }
    }

    #[test]
    fn every_cell_is_in_the_table_in_one_state() {
        let shown = matrix_table(&matrix(), &Style::plain("/"));
        let expected = "\x20                 amd64            arm64
apphub            built     3.0 s  built     7.1 s  e
gateway           -                blocked  nginx/arm64
nginx             -                FAILED   step 2 of 4
redis (external)  mirrored         -
e = emulated
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_narrow_terminal_gets_a_line_per_cell() {
        let style = Style { width: 32, ..Style::plain("/") };
        let shown = matrix_table(&matrix(), &style);
        assert!(shown.lines().all(|line| columns(line) <= 32), "{shown}");
        assert!(shown.contains("nginx/arm64    FAILED   step"), "{shown}");
    }

    #[test]
    fn sentences_count_what_matters() {
        let style = Style::plain("/");
        assert_eq!(matrix_sentence(&matrix(), "", &style).trim_end(), "3 of 5 cells: 1 failed, 1 blocked.");
        assert_eq!(
            status_sentence(&matrix(), "exit 4", &style),
            "3 of 5 cells. missing: gateway/arm64, nginx/arm64                         exit 4\n"
        );
        let good = Matrix { cells: vec![cell("a", "amd64", CellState::Built)], ..Matrix::default() };
        assert_eq!(matrix_sentence(&good, "1.0 s", &style).len(), 81);
    }
}
