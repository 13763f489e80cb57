use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::View;
use super::plain::notices;
use super::tally::{Running, Tally};
use crate::base::{ByteSize, CellId, CellState};
use crate::event::{Event, Execution};
use crate::report::style::{Style, Tone, columns, duration, fit, justified, pad, printable};

/// (columns, rows) of the terminal, asked again before each drawing: windows are resized while a build runs.
pub type TerminalSize = Box<dyn Fn() -> (usize, usize) + Send>;

/// A live view on a terminal: finished cells scroll away upward, a block at the bottom shows what runs and is redrawn in
/// place, failures stay above it until the end.
///
/// ```text
/// built    apphub/amd64                                            3.0 s
/// ✗ failed nginx/arm64      step 2 of 4: RUN apk add nginx         0.4 s
/// ▸ backend/amd64     4/9   RUN go build ./cmd/…                    12 s
///   7 done  3 running  14 waiting  1 failed  1 blocked      31 s, ~70 s left
/// ```
///
/// Escapes used: cursor up, erase below, colours. The block never has more rows than the terminal, so that moving up
/// always reaches its first line.
pub struct Live {
    style: Style,
    size: TerminalSize,
    verbose: bool,
    tally: Tally,
    /// Lines of failed cells, in order.
    failures: Vec<String>,
    transfer: Option<String>,
    waiting: Option<String>,
    /// What the block on the screen holds now, line by line, without escapes counted.
    drawn: Vec<usize>,
    redrawn: Instant,
    dirty: bool,
}

/// Drawing more often than this helps nobody and costs a slow connection its bandwidth.
const FRAME: Duration = Duration::from_millis(100);

impl Live {
    /// A view in `style`, its width replaced by what `size` says.
    pub fn new(style: Style, size: TerminalSize, verbose: bool, now: Instant) -> Self {
        Self {
            style,
            size,
            verbose,
            tally: Tally::new(now),
            failures: Vec::new(),
            transfer: None,
            waiting: None,
            drawn: Vec::new(),
            redrawn: now,
            dirty: false,
        }
    }

    /// Erases the block. Lines that were drawn for a wider window may have been wrapped since.
    fn erase(&mut self, width: usize, text: &mut String) {
        let rows: usize = self.drawn.drain(..).map(|columns| columns.max(1).div_ceil(width.max(1))).sum();
        if rows > 0 {
            let _ = write!(text, "\x1b[{rows}A\r\x1b[J");
        }
    }

    /// Writes `lines` above the block, to stay.
    fn keep(&mut self, lines: &[String], now: Instant, out: &mut dyn Write) -> io::Result<()> {
        let (width, rows) = (self.size)();
        let mut text = String::new();
        self.erase(width, &mut text);
        for line in lines {
            text.push_str(&self.shown(line));
            text.push('\n');
        }
        self.draw(width, rows, now, &mut text);
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn draw(&mut self, width: usize, rows: usize, now: Instant, text: &mut String) {
        // One column stays free: a full last column wraps on some terminals and not on others.
        let width = width.saturating_sub(1).max(1);
        let mut lines = Vec::new();
        let room = rows.saturating_sub(2).max(1);
        let shown_failures = self.failures.len().min(room / 3);
        let hidden = self.failures.len() - shown_failures;
        lines.extend(self.failures[hidden..].iter().cloned());
        let room = room.saturating_sub(lines.len() + 1);
        let mut running: Vec<(&CellId, &Running)> = self.tally.running.iter().collect();
        running.sort_by_key(|(_, running)| running.began);
        let name_width = running.iter().map(|(cell, _)| columns(&cell.to_string())).max().unwrap_or(0);
        let fits = if running.len() > room { room.saturating_sub(1) } else { running.len() };
        for (cell, running) in &running[..fits] {
            lines.push(self.running_line(cell, running, name_width, width, now));
        }
        if fits < running.len() {
            lines.push(format!("  and {} more", running.len() - fits));
        }
        lines.push(self.summary(width, now));
        for line in lines {
            let line = fit(&self.shown(&line), width, self.style.unicode);
            self.drawn.push(columns(&line));
            let tone = if line.starts_with(self.style.cross()) { Some(Tone::Bad) } else { None };
            text.push_str(&tone.map_or_else(|| line.clone(), |tone| self.style.paint(tone, &line)));
            text.push('\n');
        }
        self.redrawn = now;
        self.dirty = false;
    }

    /// A line as this terminal can show it: where there is no unicode, neither is there any in foreign names.
    fn shown(&self, line: &str) -> String {
        let can = |c: char| if self.style.unicode || c.is_ascii() { c } else { '?' };
        line.chars().map(can).collect()
    }

    fn running_line(&self, cell: &CellId, running: &Running, names: usize, width: usize, now: Instant) -> String {
        let mut left = format!("{} {}", self.style.arrow(), pad(&cell.to_string(), names));
        let mut right = short(now.saturating_duration_since(running.began));
        if let Some(step) = running.step() {
            let position = step.position.as_ref().map(|at| format!("{}/{}", at.number, at.of)).unwrap_or_default();
            let _ = write!(left, "  {} {}", pad(&position, 5), step.name);
            if let Some((done, total)) = step.moved.filter(|(done, _)| *done > 0) {
                let total = total.map(|total| format!(" of {}", ByteSize(total))).unwrap_or_default();
                right = format!("{}{total}  {right}", ByteSize(done));
            }
        }
        let room = width.saturating_sub(columns(&right) + 2);
        justified(&fit(&left, room, self.style.unicode), &right, width).replace('\n', " ")
    }

    fn summary(&self, width: usize, now: Instant) -> String {
        let tally = &self.tally;
        if let Some(text) = self.waiting.as_ref().or(self.transfer.as_ref()) {
            return format!("  {text}");
        }
        let mut parts = vec![
            format!("{} done", tally.done()),
            format!("{} running", tally.running.len()),
            format!("{} waiting", tally.waiting()),
        ];
        for state in [CellState::Failed, CellState::Blocked, CellState::Cancelled] {
            if tally.count(state) > 0 {
                parts.push(format!("{} {state}", tally.count(state)));
            }
        }
        let mut right = short(now.saturating_duration_since(tally.began));
        if let Some(left) = tally.left(now).filter(|left| left.as_secs() > 0) {
            let _ = write!(right, ", ~{} left", short(left));
        }
        let line = justified(&format!("  {}", parts.join("  ")), &right, width);
        line.split('\n').next().unwrap_or_default().to_owned()
    }

    /// The line that stays of a cell that ended; failed ones go to the pinned lines.
    fn ended(&mut self, event: &Event) -> Option<String> {
        let Event::CellFinished { cell, state, execution, took, reason } = event else { return None };
        let width = (self.size)().0.saturating_sub(1).max(1);
        let name = cell.to_string();
        let word =
            if *state == CellState::Failed { format!("{} failed", self.style.cross()) } else { state.to_string() };
        let mut left = format!("{} {}", pad(&word, 8), pad(&name, 22));
        if let Some(reason) = reason {
            let _ = write!(left, " {}", printable(reason));
        }
        let emulated = if matches!(execution, Some(Execution::Emulated(_))) { "emulated " } else { "" };
        let right = if took.is_zero() { String::new() } else { format!("{emulated}{}", duration(*took)) };
        let room = width.saturating_sub(columns(&right) + 2);
        let line = justified(&fit(&left, room, self.style.unicode), &right, width).replace('\n', " ");
        if *state == CellState::Failed {
            self.failures.push(line);
            return None;
        }
        // Blocked cells are counted in the block and listed in the matrix; a line each would bury the failure. Reused ones are
        // told as a number.
        (!matches!(state, CellState::Blocked | CellState::Excluded | CellState::Reused)).then_some(line)
    }
}

/// Whole seconds: tenths that flicker are noise.
fn short(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 100 { format!("{seconds} s") } else { duration(took) }
}

impl View for Live {
    fn event(&mut self, event: &Event, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        self.tally.take(event, now);
        self.dirty = true;
        let mut lines = Vec::new();
        match event {
            Event::Transfer { what, done, total } => {
                let text = format!("{}: {done} of {total}", printable(what));
                if done.0 >= total.0 {
                    self.transfer = None;
                } else {
                    self.transfer = Some(text);
                }
            }
            // Shown in the block while it lasts: whatever comes next ends it.
            Event::Waiting { text } => self.waiting = Some(printable(text)),
            Event::CellFinished { .. } => lines.extend(self.ended(event)),
            Event::BuildWarning { cell, text, line, .. } => {
                let at = line.map(|line| format!(" (line {line})")).unwrap_or_default();
                lines.push(format!("{} {cell}: {}{at}", self.style.paint(Tone::Warn, "warning:"), printable(text)));
            }
            Event::Warning { cell: Some(cell), text } => {
                lines.push(format!("{} {cell}: {}", self.style.paint(Tone::Warn, "warning:"), printable(text)));
            }
            Event::Detail { .. } if !self.verbose => {}
            _ => lines.extend(notices(event)),
        }
        if !matches!(event, Event::Waiting { .. } | Event::Warning { .. } | Event::Detail { .. }) {
            self.waiting = None;
        }
        if !lines.is_empty() {
            self.keep(&lines, now, out)
        } else if now.saturating_duration_since(self.redrawn) >= FRAME {
            self.keep(&[], now, out)
        } else {
            Ok(())
        }
    }

    fn idle(&mut self, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        // Seconds go on without events.
        let second = Duration::from_secs(1);
        if self.dirty || now.saturating_duration_since(self.redrawn) >= second {
            self.keep(&[], now, out)
        } else {
            Ok(())
        }
    }

    fn tick(&self) -> Duration {
        FRAME
    }

    fn finish(&mut self, _now: Instant, out: &mut dyn Write) -> io::Result<()> {
        let width = (self.size)().0;
        let mut text = String::new();
        self.erase(width, &mut text);
        // The failures are told in full afterwards; these lines say when they happened among the others.
        for line in self.failures.drain(..) {
            text.push_str(&self.style.paint(Tone::Bad, &line));
            text.push('\n');
        }
        out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::StepId;

    /// What a terminal of this size would show: lines, cursor up, erase below; wraps like a real one.
    struct Screen {
        width: usize,
        lines: Vec<String>,
        row: usize,
    }

    impl Screen {
        fn feed(&mut self, bytes: &[u8]) {
            let text = String::from_utf8(bytes.to_vec()).expect("text");
            let mut rest = text.as_str();
            while let Some(c) = rest.chars().next() {
                if let Some(escape) = rest.strip_prefix("\x1b[") {
                    let end = escape.find(|c: char| c.is_ascii_alphabetic()).expect("an escape ends");
                    match escape.as_bytes()[end] {
                        b'A' => self.row -= escape[..end].parse::<usize>().expect("rows"),
                        b'J' => self.lines.truncate(self.row),
                        b'm' => {}
                        other => panic!("unknown escape {other}"),
                    }
                    rest = &escape[end + 1..];
                    continue;
                }
                self.lines.resize(self.lines.len().max(self.row + 1), String::new());
                match c {
                    '\n' => self.row += 1,
                    '\r' => {}
                    c => self.lines[self.row].push(c),
                }
                rest = &rest[c.len_utf8()..];
            }
            assert!(self.lines.iter().all(|line| columns(line) < self.width), "a line wraps: {:?}", self.lines);
        }
    }

    fn cell(name: &str) -> CellId {
        CellId::new(name.parse().expect("a name"), "arm64".parse().expect("a platform"))
    }

    fn started(name: &str) -> [Event; 2] {
        let step = Event::StepStarted {
            cell: cell(name),
            step: StepId(Arc::from(name)),
            name: "RUN a step with a long name \x1b[2J that clears the screen if it is obeyed".to_owned(),
            position: None,
            internal: false,
        };
        [Event::CellStarted { cell: cell(name), builder: "unix:///b".to_owned(), attempt: 1 }, step]
    }

    fn ended(name: &str, state: CellState, reason: Option<&str>) -> Event {
        let took = Duration::from_secs(3);
        Event::CellFinished { cell: cell(name), state, execution: None, took, reason: reason.map(str::to_owned) }
    }

    fn shown(width: usize, rows: usize, color: bool) -> Screen {
        let now = Instant::now();
        let style = Style { color, ..Style::plain("/") };
        let mut view = Live::new(style, Box::new(move || (width, rows)), false, now);
        let mut screen = Screen { width, lines: Vec::new(), row: 0 };
        let mut events: Vec<Event> = (0..30).flat_map(|number| started(&format!("component-{number}"))).collect();
        events.push(ended("component-0", CellState::Built, None));
        events.push(ended("component-1", CellState::Failed, Some("step 2 of 4: RUN false")));
        events.push(ended("component-2", CellState::Built, None));
        for (at, event) in events.iter().enumerate() {
            let mut out = Vec::new();
            let later = now + FRAME * u32::try_from(at).expect("few");
            view.event(event, later, &mut out).expect("a vector takes everything");
            assert!(view.drawn.len() < rows, "the block has more rows than the terminal");
            screen.feed(&out);
        }
        let mut out = Vec::new();
        view.finish(now, &mut out).expect("a vector takes everything");
        assert_eq!(String::from_utf8_lossy(&out).contains("\x1b[1;31m"), color, "colour where it was not wanted");
        screen.feed(&out);
        screen
    }

    #[test]
    fn what_stays_is_each_cell_once_and_failures_last() {
        for (width, rows) in [(80, 24), (40, 24), (100, 6)] {
            for color in [false, true] {
                let screen = shown(width, rows, color);
                assert_eq!(screen.lines.len(), 3, "{:?}", screen.lines);
                assert!(screen.lines[0].starts_with("built    component-0/arm64"), "{:?}", screen.lines);
                assert!(screen.lines[1].starts_with("built    component-2/arm64"), "{:?}", screen.lines);
                assert!(screen.lines[2].starts_with("x failed component-1/arm64"), "{:?}", screen.lines);
            }
        }
    }
}
