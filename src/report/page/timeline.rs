use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::html::{percent, text};
use crate::base::{CellId, CellState};
use crate::report::style::duration;
use crate::run::{RecordedCell, RunRecord};

/// Height of a row of bars, in pixels.
const ROW: usize = 25;

/// The time line: for each builder the cells that it built, as bars in as few rows as they need.
pub(super) fn timeline(record: &RunRecord, critical: &BTreeSet<CellId>, out: &mut String) {
    let timed = |cell: &&RecordedCell| cell.began.is_some() && cell.seconds.is_some();
    let mut lanes: BTreeMap<&str, Vec<&RecordedCell>> = BTreeMap::new();
    for cell in record.cells.iter().filter(timed) {
        let lane = if cell.external { "registries" } else { cell.builder.as_deref().unwrap_or("no builder") };
        lanes.entry(lane).or_default().push(cell);
    }
    if lanes.is_empty() {
        return;
    }
    out.push_str("<section id=\"timeline\"><h2>Time line</h2>\n");
    let end = record.cells.iter().filter_map(|cell| Some(cell.began? + cell.seconds?)).fold(0.1, f64::max);
    let step = tick(end);
    for (lane, cells) in &lanes {
        let version = record.builders.iter().find(|builder| builder.address == *lane).map(|builder| &*builder.version);
        let _ = writeln!(
            out,
            "<div class=\"lane\"><b>{} <span>{}</span></b>",
            text(lane),
            text(version.unwrap_or_default())
        );
        bars(cells, critical, end, step, out);
        axis(end, step, out);
        out.push_str("</div>\n");
    }
    out.push_str(
        "<div class=\"key\"><span><i class=\"bar\"></i>built</span><span><i class=\"bar r\"></i>reused</span>\
         <span><i class=\"bar f\"></i>failed</span><span><i class=\"bar e\"></i>emulated</span>\
         <span><i class=\"bar c\"></i>on the critical path</span></div></section>\n",
    );
}

fn bars(cells: &[&RecordedCell], critical: &BTreeSet<CellId>, end: f64, step: f64, out: &mut String) {
    let mut cells: Vec<(f64, f64, &RecordedCell)> =
        cells.iter().filter_map(|cell| Some((cell.began?, cell.seconds?, *cell))).collect();
    cells.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Each bar goes into the first row that is free again.
    let mut rows: Vec<f64> = Vec::new();
    let mut text_of_bars = String::new();
    for (began, seconds, cell) in cells {
        let row = rows.iter().position(|free| *free <= began + 0.001).unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(0.0);
        }
        rows[row] = began + seconds;
        let kind = match cell.state {
            CellState::Reused => " r",
            CellState::Failed | CellState::Missing => " f",
            CellState::Blocked | CellState::Cancelled => " w",
            CellState::Built | CellState::Mirrored | CellState::Excluded => "",
        };
        let emulated = if cell.emulated { " e" } else { "" };
        let path = if critical.contains(&cell.id()) { " c" } else { "" };
        let name = text(&cell.id().to_string());
        let took = shown(seconds);
        let how = if cell.emulated { ", emulated" } else { "" };
        let _ = writeln!(
            text_of_bars,
            "<div class=\"bar{kind}{emulated}{path}\" style=\"left:{:.3}%;width:{:.3}%;top:{}px\" \
             title=\"{name}: {} in {took}{how}\">{name}</div>",
            percent(began, end),
            percent(seconds, end),
            row * ROW + 3,
            cell.state,
        );
    }
    let _ = writeln!(
        out,
        "<div class=\"track\" style=\"height:{}px;--tick:{:.3}%\">\n{text_of_bars}</div>",
        rows.len() * ROW + 3,
        percent(step, end)
    );
}

fn axis(end: f64, step: f64, out: &mut String) {
    out.push_str("<div class=\"axis\">");
    let mut at = 0.0;
    while at <= end {
        let place = percent(at, end);
        // The last label would hang over the edge.
        let class = if place > 96.0 { " class=\"end\"" } else { "" };
        let label = if at < 0.001 { "0".to_owned() } else { short(at) };
        let _ = write!(out, "<span{class} style=\"left:{place:.3}%\">{label}</span>");
        at += step;
    }
    out.push_str("</div>\n");
}

/// A round distance of ticks, five to ten of them.
fn tick(end: f64) -> f64 {
    const ROUND: [f64; 16] =
        [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];
    ROUND.into_iter().find(|step| end / step <= 10.0).unwrap_or(end / 8.0)
}

fn short(seconds: f64) -> String {
    if seconds < 60.0 {
        let digits = usize::from(seconds.fract() > 0.001);
        return format!("{seconds:.digits$} s");
    }
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()).replace(" 0 s", "").replace(" 0 m", "")
}

/// Seconds as people read them.
pub(super) fn shown(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for end in [0.1, 0.7, 3.0, 59.0, 61.0, 1000.0, 9999.0, 1e6] {
            let ticks = end / tick(end);
            assert!((1.0..=10.0).contains(&ticks), "{end}: {ticks}");
        }
    }
}
