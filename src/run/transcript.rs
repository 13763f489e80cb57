use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::base::CellState;
use crate::event::{Event, StepId, StepPosition};

/// Turns the events of one cell into whole lines of text, the same for its log file and for a CI log.
///
/// Steps are numbered in the order in which they begin (`#7`), and every line of a step's output carries its number and
/// the seconds since the step began. Output comes in chunks that split lines and characters; a line is told when it is
/// complete or when its step ends. What a carriage return overwrote is kept as a line of its own.
#[derive(Debug)]
pub struct Transcript {
    steps: HashMap<StepId, Step>,
    numbers: usize,
}

/// One line of a transcript, without prefix and line end. May hold any character but those two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The text.
    pub text: String,
    /// How much it matters.
    pub weight: Weight,
}

/// How much a line matters to somebody who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A progress bar's earlier state: overwritten on a terminal, of interest in a full log only.
    Overwritten,
    /// The builder's own plumbing.
    Plumbing,
    /// What the Dockerfile does and says.
    Normal,
}

#[derive(Debug)]
struct Step {
    number: usize,
    weight: Weight,
    name: String,
    began: Instant,
    /// It has ended before: of a step that several solves share, each tells the end.
    ended: bool,
    /// The start of a line whose end has not come.
    partial: Vec<u8>,
}

/// Longer lines are broken: somebody may write gigabytes without a line end.
const LONGEST_LINE: usize = 16 << 10;

impl Default for Transcript {
    fn default() -> Self {
        Self::new()
    }
}

impl Transcript {
    /// A transcript of nothing yet.
    pub fn new() -> Self {
        Self { steps: HashMap::new(), numbers: 0 }
    }

    /// The number and name of a step that has begun.
    pub fn step(&self, step: &StepId) -> Option<(usize, &str)> {
        self.steps.get(step).map(|step| (step.number, step.name.as_str()))
    }

    /// Takes one event of this cell and gives the lines that are complete with it.
    pub fn take(&mut self, event: &Event, now: Instant, mut line: impl FnMut(Line)) {
        match event {
            Event::CellStarted { builder, attempt, .. } => {
                self.steps.clear();
                self.numbers = 0;
                let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                line(Line { text: format!("builder {builder}{again}"), weight: Weight::Plumbing });
            }
            Event::StepStarted { step, name, position, internal, .. } => {
                self.begin(step, name, position.as_ref(), *internal, now, &mut line);
            }
            Event::StepLog { step, bytes, .. } => self.output(step, bytes, now, &mut line),
            Event::StepFinished { step, cached, error, took, .. } => {
                self.end(step, *cached, error.as_deref(), *took, now, &mut line);
            }
            Event::BuildWarning { text, line: at, url, .. } => {
                let at = at.map(|at| format!(" (line {at})")).unwrap_or_default();
                let url = url.as_deref().map(|url| format!(" {url}")).unwrap_or_default();
                line(Line { text: format!("warning: {}{at}{url}", one_line(text)), weight: Weight::Normal });
            }
            Event::Warning { text, .. } => {
                line(Line { text: format!("warning: {}", one_line(text)), weight: Weight::Normal });
            }
            Event::CellFinished { state, took, reason, .. } => {
                let reason = reason.as_deref().map(|reason| format!(": {}", one_line(reason))).unwrap_or_default();
                // How long a cell ran that was cancelled is nobody's measure; most never began.
                let took = if *state == CellState::Cancelled { String::new() } else { format!(" {}", seconds(*took)) };
                line(Line { text: format!("{state}{took}{reason}"), weight: Weight::Normal });
            }
            _ => {}
        }
    }

    fn begin(
        &mut self,
        id: &StepId,
        name: &str,
        position: Option<&StepPosition>,
        internal: bool,
        now: Instant,
        line: &mut impl FnMut(Line),
    ) {
        let weight = if internal { Weight::Plumbing } else { Weight::Normal };
        let name = match position {
            Some(StepPosition { number, of }) => format!("[{number}/{of}] {}", one_line(name)),
            None => one_line(name),
        };
        // A step begins again when several builds share it or a cache miss is found late: one number, one heading.
        if let Some(step) = self.steps.get_mut(id) {
            step.began = now;
            return;
        }
        self.numbers += 1;
        line(Line { text: format!("#{} {name}", self.numbers), weight });
        let step = Step { number: self.numbers, weight, name, began: now, ended: false, partial: Vec::new() };
        self.steps.insert(id.clone(), step);
    }

    fn output(&mut self, id: &StepId, bytes: &[u8], now: Instant, line: &mut impl FnMut(Line)) {
        let Some(step) = self.steps.get_mut(id) else { return };
        for &byte in bytes {
            match byte {
                b'\n' => step.flush(now, step.weight, line),
                // Part of a line end, or the start of the next state of a progress bar: the next byte tells.
                _ if step.partial.last() == Some(&b'\r') => {
                    step.flush(now, Weight::Overwritten, line);
                    step.partial.push(byte);
                }
                _ => step.partial.push(byte),
            }
            if step.partial.len() >= LONGEST_LINE {
                step.flush(now, step.weight, line);
            }
        }
    }

    fn end(
        &mut self,
        id: &StepId,
        cached: bool,
        error: Option<&str>,
        took: Duration,
        now: Instant,
        line: &mut impl FnMut(Line),
    ) {
        let Some(step) = self.steps.get_mut(id) else { return };
        if !step.partial.is_empty() {
            step.flush(now, step.weight, line);
        }
        if std::mem::replace(&mut step.ended, true) && error.is_none() {
            return;
        }
        let number = step.number;
        let (text, weight) = match (error, cached) {
            (Some(error), _) => (format!("#{number} ERROR {}", one_line(error)), Weight::Normal),
            (None, true) => (format!("#{number} CACHED"), step.weight),
            (None, false) => (format!("#{number} DONE {}", seconds(took)), step.weight),
        };
        line(Line { text, weight });
    }
}

impl Step {
    fn flush(&mut self, now: Instant, weight: Weight, line: &mut impl FnMut(Line)) {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        // A line that was only a carriage return was never seen by anybody.
        if !(text.is_empty() && weight == Weight::Overwritten) {
            let since = now.saturating_duration_since(self.began).as_secs_f64();
            line(Line { text: format!("#{} {since:.2} {text}", self.number).trim_end().to_owned(), weight });
        }
    }
}

/// `text` without line ends, so that one message stays one line.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::CellId;
    use crate::event::LogStream;

    fn cell() -> CellId {
        CellId::new("nginx".parse().expect("a name"), "arm64".parse().expect("a platform"))
    }

    fn id() -> StepId {
        StepId(Arc::from("sha256:1"))
    }

    fn log(bytes: &[u8]) -> Event {
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        Event::StepLog { cell: cell(), step: id(), stream: LogStream::Out, bytes }
    }

    fn lines_of(chunks: &[&[u8]]) -> Vec<(String, Weight)> {
        let now = Instant::now();
        let mut lines = Vec::new();
        let mut transcript = Transcript::new();
        let mut take = |event: &Event| transcript.take(event, now, |line| lines.push((line.text, line.weight)));
        take(&Event::StepStarted {
            cell: cell(),
            step: id(),
            name: "RUN make".to_owned(),
            position: Some(StepPosition { number: 2, of: 4 }),
            internal: false,
        });
        for chunk in chunks {
            take(&log(chunk));
        }
        take(&Event::StepFinished {
            cell: cell(),
            step: id(),
            cached: false,
            error: None,
            took: Duration::from_millis(1234),
        });
        lines
    }

    #[test]
    fn split_lines_and_characters_are_joined() {
        let lines = lines_of(&[b"gr\xc3", b"\xbc\xc3\x9fe\r", b"\nrest"]);
        let texts: Vec<&str> = lines.iter().map(|line| line.0.as_str()).collect();
        assert_eq!(texts, ["#1 [2/4] RUN make", "#1 0.00 grüße", "#1 0.00 rest", "#1 DONE 1.2 s"]);
    }

    #[test]
    fn a_progress_bar_is_kept_but_marked() {
        let lines = lines_of(&[b"10%\r50%\r100%\n"]);
        let expected = [
            ("#1 0.00 10%".to_owned(), Weight::Overwritten),
            ("#1 0.00 50%".to_owned(), Weight::Overwritten),
            ("#1 0.00 100%".to_owned(), Weight::Normal),
        ];
        assert_eq!(lines[1..4], expected);
    }

    #[test]
    fn an_endless_line_is_broken() {
        let long = vec![b'x'; 3 * LONGEST_LINE];
        assert_eq!(lines_of(&[&long]).len(), 5);
    }
}
