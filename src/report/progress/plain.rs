use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::View;
use super::ci::Folds;
use super::tally::Tally;
use crate::base::{ByteSize, CellId, CellState, Printable};
use crate::event::{Event, Execution};
use crate::report::style::{counted, duration, printable};
use crate::report::why::not_asked;
use crate::run::{Transcript, Weight};

/// Whole lines with a prefix, for CI logs and files: no carriage returns, no escapes, nothing that is redrawn.
///
/// ```text
/// backend/arm64 | #7 12.41 go: downloading golang.org/x/sys v0.47.0
/// catamaran     | 61 s: 9 done, 3 running (backend/arm64 #7 for 49 s), 14 waiting
/// ```
pub struct Plain {
    tally: Tally,
    transcripts: HashMap<CellId, Transcript>,
    /// Width of the prefixes so far: cells come in any order, so it only grows.
    prefix: usize,
    verbose: bool,
    /// When something was last written.
    written: Instant,
    /// The transfer that was told last, so that each is told once and at its end.
    transfer: Option<String>,
    /// Where headings can be folded: one per cell, its lines below it.
    folds: Option<Folds>,
    kept: HashMap<CellId, Kept>,
}

/// Lines of a cell that are kept back until it ends, so that they can stand under one heading.
#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    bytes: usize,
    /// How often some of it was shown already.
    parts: usize,
}

/// A cell that writes more is shown in parts.
const KEPT: usize = 1 << 20;

/// After this much silence one line says what is still running.
const SILENCE: Duration = Duration::from_secs(30);

/// Who speaks when it is not a cell.
const SELF: &str = "catamaran";

impl Plain {
    /// A view; with `verbose` the builder's plumbing and details are shown too.
    pub fn new(verbose: bool, now: Instant) -> Self {
        Self {
            tally: Tally::new(now),
            transcripts: HashMap::new(),
            prefix: SELF.len(),
            verbose,
            written: now,
            transfer: None,
            folds: None,
            kept: HashMap::new(),
        }
    }

    /// The same under one heading per cell, for a system that folds them.
    #[must_use]
    pub fn folded(self, folds: Option<Folds>) -> Self {
        Self { folds, ..self }
    }

    fn line(&mut self, who: &str, text: &str, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        self.prefix = self.prefix.max(who.len());
        self.written = now;
        // One write per line: another process on the same stream cannot cut it.
        let mut line = format!("{who:width$} | ", width = self.prefix);
        let _ = writeln!(line, "{}", Printable(&text.replace(['\n', '\r'], " ")));
        out.write_all(line.as_bytes())?;
        out.flush()
    }

    fn cell(&mut self, cell: &CellId, event: &Event, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        let least = if self.verbose { Weight::Plumbing } else { Weight::Normal };
        let mut lines = Vec::new();
        self.transcripts.entry(cell.clone()).or_default().take(event, now, |line| {
            if line.weight >= least {
                lines.push(line.text);
            }
        });
        if matches!(event, Event::CellFinished { .. }) {
            self.transcripts.remove(cell);
        }
        let who = cell.to_string();
        if let Some(folds) = self.folds {
            let kept = self.kept.entry(cell.clone()).or_default();
            kept.bytes += lines.iter().map(String::len).sum::<usize>();
            kept.lines.append(&mut lines);
            if let Event::CellFinished { state, took, .. } = event {
                return self.unfold(folds, cell, *state, Some(*took), now, out);
            }
            if kept.bytes > KEPT {
                return self.unfold(folds, cell, CellState::Missing, None, now, out);
            }
            return Ok(());
        }
        lines.iter().try_for_each(|text| self.line(&who, text, now, out))
    }
}

impl Plain {
    /// Shows what was kept of a cell under its heading; what failed stays unfolded. Without a time the cell goes on.
    fn unfold(
        &mut self,
        folds: Folds,
        cell: &CellId,
        state: CellState,
        took: Option<Duration>,
        now: Instant,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(kept) = self.kept.remove(cell) else { return Ok(()) };
        let who = cell.to_string();
        let heading = match took {
            Some(took) if took.is_zero() => format!("{state} {who}"),
            Some(took) => format!("{state} {who}  {}", duration(took)),
            None => format!("{who}, part {}", kept.parts + 1),
        };
        let folded = state != CellState::Failed && !kept.lines.is_empty();
        let seconds = now.saturating_duration_since(self.tally.began).as_secs();
        let id = format!("{}-{}-{}", cell.component, cell.platform.file_stem(), kept.parts);
        let mut text = if folded { folds.open(&id, &heading, seconds) } else { format!("{heading}\n") };
        self.prefix = self.prefix.max(who.len());
        for line in &kept.lines {
            let line = Printable(&line.replace(['\n', '\r'], " ")).to_string();
            let _ = writeln!(text, "{who:width$} | {}", folds.harmless(&line), width = self.prefix);
        }
        if folded {
            text.push_str(&folds.close(&id, seconds));
        }
        if took.is_none() {
            self.kept.insert(cell.clone(), Kept { parts: kept.parts + 1, ..Kept::default() });
        }
        self.written = now;
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl View for Plain {
    fn event(&mut self, event: &Event, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        self.tally.take(event, now);
        if let Event::CellFinished { state: CellState::Reused, .. } = event
            && !self.verbose
        {
            // A thousand lines of nothing would hide the one that counts; they are told as a number.
            return Ok(());
        }
        if let Some(cell) = cell_of(event) {
            return self.cell(&cell.clone(), event, now, out);
        }
        match event {
            Event::Transfer { what, done, total } => {
                // Starts and ends; what lies between is for terminals.
                if done.0 >= total.0 || self.transfer.as_deref() != Some(what) {
                    self.transfer = (done.0 < total.0).then(|| what.clone());
                    let text = format!("{}: {done} of {total}", printable(what));
                    return self.line(SELF, &text, now, out);
                }
                Ok(())
            }
            Event::Detail { .. } if !self.verbose => Ok(()),
            _ => notices(event).iter().try_for_each(|text| self.line(SELF, text, now, out)),
        }
    }

    fn idle(&mut self, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        if now.saturating_duration_since(self.written) < SILENCE || self.tally.running.is_empty() {
            return Ok(());
        }
        let text = heartbeat(&self.tally, &self.transcripts, now);
        self.line(SELF, &text, now, out)
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn finish(&mut self, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        let Some(folds) = self.folds else { return Ok(()) };
        let mut cells: Vec<CellId> = self.kept.keys().cloned().collect();
        cells.sort();
        cells.iter().try_for_each(|cell| self.unfold(folds, cell, CellState::Cancelled, Some(Duration::ZERO), now, out))
    }
}

/// The cell that an event belongs to, if its transcript tells it.
pub(super) fn cell_of(event: &Event) -> Option<&CellId> {
    match event {
        Event::CellStarted { cell, .. }
        | Event::StepStarted { cell, .. }
        | Event::StepProgress { cell, .. }
        | Event::StepLog { cell, .. }
        | Event::StepFinished { cell, .. }
        | Event::BuildWarning { cell, .. }
        | Event::CellFinished { cell, .. } => Some(cell),
        Event::Warning { cell, .. } => cell.as_ref(),
        _ => None,
    }
}

/// What events of the whole run say, in lines: both views use the same words.
pub(super) fn notices(event: &Event) -> Vec<String> {
    match event {
        Event::RunStarted { title, components, platforms, cells, subset, needed } => {
            let components_text = counted(*components, "component", "components");
            let platforms_text = counted(platforms.len(), "platform", "platforms");
            let cells_text = counted(*cells, "cell", "cells");
            let subset = if *subset { " (a subset)" } else { "" };
            // A component may have fewer platforms than the project: then it is no product, and must not look like one.
            let text = if components * platforms.len() == *cells {
                format!("{components_text} x {platforms_text} = {cells_text}")
            } else {
                format!("{components_text} on {platforms_text}, {cells_text}")
            };
            let needed = needed.iter().map(|cell| format!("needed   {cell}, for a service"));
            std::iter::once(format!("{}: {text}{subset}", printable(title))).chain(needed).collect()
        }
        Event::BuilderReady { address, version, platforms } => {
            let how: Vec<String> = platforms
                .iter()
                .map(|(platform, execution)| match execution {
                    Execution::Absent => format!("{platform} not at all"),
                    execution => format!("{platform} {execution}"),
                })
                .collect();
            vec![
                format!("builder  {}  {}", printable(address), printable(version)),
                format!("         {}", how.join(", ")),
            ]
        }
        Event::Reused { cells, of, unlocked } => {
            let all = if cells == of {
                format!("nothing to do: {cells} reused")
            } else {
                format!("{cells} of {} reused", counted(*of, "cell", "cells"))
            };
            std::iter::once(all).chain(not_asked(unlocked).map(|text| format!("         {text}"))).collect()
        }
        Event::ServiceReady { service, address, took, .. } => {
            vec![format!("service {} ready at {} ({})", printable(service), printable(address), duration(*took))]
        }
        Event::Waiting { text } | Event::Detail { text } => vec![printable(text)],
        Event::Warning { text, .. } => vec![format!("warning: {}", printable(text))],
        _ => Vec::new(),
    }
}

/// `61 s: 9 done, 3 running (backend/arm64 #7 for 49 s), 14 waiting`
fn heartbeat(tally: &Tally, transcripts: &HashMap<CellId, Transcript>, now: Instant) -> String {
    const NAMED: usize = 4;
    let since = |began: Instant| now.saturating_duration_since(began).as_secs();
    let mut running: Vec<_> = tally.running.iter().collect();
    running.sort_by_key(|(_, running)| running.began);
    let mut names: Vec<String> = running
        .iter()
        .take(NAMED)
        .map(|(cell, running)| match running.step() {
            Some(step) => {
                let moved = step.moved.map(|(done, _)| format!(", {}", ByteSize(done))).unwrap_or_default();
                // The number that the step's own lines have.
                let number = transcripts.get(*cell).and_then(|transcript| transcript.step(&step.id));
                let number = number.map(|(number, _)| format!(" #{number}")).unwrap_or_default();
                format!("{cell}{number} for {} s{moved}", since(step.began))
            }
            None => format!("{cell} for {} s", since(running.began)),
        })
        .collect();
    if running.len() > NAMED {
        names.push("…".to_owned());
    }
    let mut text = format!("{} s: {} done", since(tally.began), tally.done());
    let _ = write!(text, ", {} running ({})", running.len(), names.join(", "));
    for state in [CellState::Failed, CellState::Blocked] {
        if tally.count(state) > 0 {
            let _ = write!(text, ", {} {state}", tally.count(state));
        }
    }
    let _ = write!(text, ", {} waiting", tally.waiting());
    if let Some(left) = tally.left(now) {
        let _ = write!(text, ", about {} s left", left.as_secs());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{LogStream, StepId};

    fn cell() -> CellId {
        CellId::new("backend".parse().expect("a name"), "arm64".parse().expect("a platform"))
    }

    fn events() -> Vec<Event> {
        let step = StepId(Arc::from("a"));
        vec![
            Event::RunStarted {
                title: "fleet v1".to_owned(),
                components: 1,
                platforms: vec!["arm64".parse().expect("a platform")],
                cells: 3,
                subset: false,
                needed: Vec::new(),
            },
            Event::CellStarted { cell: cell(), builder: "unix:///b".to_owned(), attempt: 1 },
            Event::StepStarted {
                cell: cell(),
                step: step.clone(),
                name: "RUN go build".to_owned(),
                position: None,
                internal: false,
            },
            Event::StepLog {
                cell: cell(),
                step,
                stream: LogStream::Out,
                bytes: bytes::Bytes::from_static(b"half \x1b[2J"),
            },
        ]
    }

    #[test]
    fn lines_are_whole_and_prefixed_and_silence_is_broken() {
        let now = Instant::now();
        let mut view = Plain::new(false, now);
        let mut out = Vec::new();
        for event in events() {
            view.event(&event, now, &mut out).expect("a vector takes everything");
        }
        view.idle(now + Duration::from_secs(29), &mut out).expect("a vector takes everything");
        view.idle(now + Duration::from_secs(61), &mut out).expect("a vector takes everything");
        view.idle(now + Duration::from_secs(62), &mut out).expect("a vector takes everything");
        let end = Event::StepFinished {
            cell: cell(),
            step: StepId(Arc::from("a")),
            cached: false,
            error: None,
            took: Duration::from_secs(62),
        };
        view.event(&end, now + Duration::from_secs(62), &mut out).expect("a vector takes everything");
        let expected = "\
catamaran | fleet v1: 1 component on 1 platform, 3 cells
backend/arm64 | #1 RUN go build
catamaran     | 61 s: 0 done, 1 running (backend/arm64 #1 for 61 s), 2 waiting
backend/arm64 | #1 62.00 half \\u{1b}[2J
backend/arm64 | #1 DONE 62.0 s
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_step_that_begins_again_keeps_its_number_in_every_line() {
        let now = Instant::now();
        let mut view = Plain::new(false, now);
        let mut out = Vec::new();
        let mut all = events();
        let begun = all[2].clone();
        let end = Event::StepFinished {
            cell: cell(),
            step: StepId(Arc::from("a")),
            cached: false,
            error: None,
            took: Duration::ZERO,
        };
        all.extend([end, begun]);
        for event in all {
            view.event(&event, now, &mut out).expect("a vector takes everything");
        }
        view.idle(now + Duration::from_secs(61), &mut out).expect("a vector takes everything");
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("(backend/arm64 #1 for 61 s)"), "{text}");
    }

    #[test]
    fn a_service_that_is_up_is_told_in_the_words_of_both_views() {
        let ready = Event::ServiceReady {
            service: "hub".to_owned(),
            builder: "unix:///b".to_owned(),
            address: "127.0.0.1:8099".to_owned(),
            took: Duration::from_millis(300),
        };
        assert_eq!(notices(&ready), ["service hub ready at 127.0.0.1:8099 (0.3 s)"]);
        let now = Instant::now();
        let mut out = Vec::new();
        Plain::new(false, now).event(&ready, now, &mut out).expect("a vector takes everything");
        assert_eq!(String::from_utf8_lossy(&out), "catamaran | service hub ready at 127.0.0.1:8099 (0.3 s)\n");
    }

    fn folded(folds: Folds) -> String {
        let now = Instant::now();
        let mut view = Plain::new(false, now).folded(Some(folds));
        let mut out = Vec::new();
        let step = StepId(Arc::from("a"));
        let log = |text: &'static [u8]| Event::StepLog {
            cell: cell(),
            step: step.clone(),
            stream: LogStream::Out,
            bytes: bytes::Bytes::from_static(text),
        };
        let mut all = events();
        all.push(log(b"\n::error::forged\n##[group]forged\n"));
        all.push(Event::CellFinished {
            cell: cell(),
            state: CellState::Built,
            execution: None,
            took: Duration::from_secs(3),
            reason: None,
        });
        for event in all {
            view.event(&event, now, &mut out).expect("a vector takes everything");
        }
        view.finish(now, &mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_cell_is_one_group_where_groups_are_folded() {
        let shown = folded(Folds::GitHub);
        let expected = "\
catamaran | fleet v1: 1 component on 1 platform, 3 cells
::group::built backend/arm64  3.0 s
backend/arm64 | #1 RUN go build
backend/arm64 | #1 0.00 half \\u{1b}[2J
backend/arm64 | #1 0.00 ::error::forged
backend/arm64 | #1 0.00 # #[group]forged
backend/arm64 | built 3.0 s
::endgroup::
";
        assert_eq!(shown, expected);
        // No step's output can give the system an order of its own.
        let orders = shown.lines().filter(|line| line.trim_start().starts_with("::") || line.contains("##[")).count();
        assert_eq!(orders, 2);
        let shown = folded(Folds::GitLab { epoch: 1000 });
        assert!(shown.contains(
            "\x1b[0Ksection_start:1000:backend-linux-arm64-0[collapsed=true]\r\x1b[0Kbuilt backend/arm64  3.0 s\n"
        ));
        assert!(shown.ends_with("\x1b[0Ksection_end:1000:backend-linux-arm64-0\r\x1b[0K\n"));
    }
}
