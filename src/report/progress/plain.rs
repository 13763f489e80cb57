use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::View;
use super::tally::Tally;
use crate::base::{ByteSize, CellId, CellState, Printable};
use crate::event::{Event, Execution};
use crate::report::style::{counted, printable};
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
}

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
        }
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
        lines.iter().try_for_each(|text| self.line(&who, text, now, out))
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
        let text = heartbeat(&self.tally, now);
        self.line(SELF, &text, now, out)
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn finish(&mut self, _now: Instant, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
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
        Event::RunStarted { title, components, platforms, cells, subset } => {
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
            vec![format!("{}: {text}{subset}", printable(title))]
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
        Event::Reused { cells, of } if cells == of => vec![format!("nothing to do: {cells} reused")],
        Event::Reused { cells, of } => vec![format!("{cells} of {} reused", counted(*of, "cell", "cells"))],
        Event::Waiting { text } | Event::Detail { text } => vec![printable(text)],
        Event::Warning { text, .. } => vec![format!("warning: {}", printable(text))],
        _ => Vec::new(),
    }
}

/// `61 s: 9 done, 3 running (backend/arm64 #7 for 49 s), 14 waiting`
fn heartbeat(tally: &Tally, now: Instant) -> String {
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
                format!("{cell} #{} for {} s{moved}", step.number, since(step.began))
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
}
