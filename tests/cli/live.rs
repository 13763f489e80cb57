//! What a terminal shows: a thousand scripted cells on a VT100, and the program itself on a real pseudo-terminal.

use std::num::NonZero;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use catamaran::base::{CellId, CellState};
use catamaran::event::{Event, StepId, StepPosition};
use catamaran::report::{Live, Style, View};

use crate::support::daemon::Daemon;
use crate::support::project::{PROGRAM, Project, SHELL};

const CELLS: usize = 1000;
const AT_ONCE: usize = 60;

fn cell(number: usize) -> CellId {
    CellId::new(format!("component-{number:04}").parse().expect("a name"), "arm64".parse().expect("a platform"))
}

fn started(number: usize) -> [Event; 3] {
    let step = StepId(Arc::from(format!("step {number}").as_str()));
    let name = "RUN go build -o /out/漢字 ./cmd/… \x1b[2J\x1b[H and much more that fits nowhere".to_owned();
    let position = Some(StepPosition { number: 4, of: 9 });
    [
        Event::CellStarted { cell: cell(number), builder: "unix:///b".to_owned(), attempt: 1 },
        Event::StepStarted { cell: cell(number), step: step.clone(), name, position, internal: false },
        Event::StepProgress { cell: cell(number), step, what: "sending".to_owned(), done: 31_000_000, total: None },
    ]
}

fn ended(number: usize) -> Event {
    let failed = number % 100 == 7;
    Event::CellFinished {
        cell: cell(number),
        state: if failed { CellState::Failed } else { CellState::Built },
        execution: None,
        took: Duration::from_secs(3),
        reason: failed.then(|| "step 4 of 9: RUN go build".to_owned()),
    }
}

fn some(size: u16) -> NonZero<u16> {
    NonZero::new(size).expect("a size")
}

/// A terminal. As in a real one the line discipline makes a carriage return and a line feed of every line feed.
struct Terminal {
    screen: vt100::Parser,
}

impl Terminal {
    fn new(columns: u16, rows: u16) -> Self {
        Self { screen: vt100::Parser::new(some(rows), some(columns), 20_000) }
    }

    fn show(&mut self, bytes: &[u8]) {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        self.screen.process(text.replace('\n', "\r\n").as_bytes());
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.screen.screen().size().1;
        self.screen.screen().rows(0, columns.into()).map(|line| line.trim_end().to_owned()).collect()
    }
}

/// A thousand cells, sixty at once, with a window of this size, in the middle of which it becomes another one.
fn run(size: (u16, u16), then: Option<(u16, u16)>, unicode: bool, color: bool) -> (Vec<String>, Vec<String>) {
    let columns = Arc::new(AtomicUsize::new(size.0.into()));
    let rows = Arc::new(AtomicUsize::new(size.1.into()));
    let asked = (Arc::clone(&columns), Arc::clone(&rows));
    let now = Instant::now();
    let style = Style { color, unicode, width: size.0.into(), ..Style::plain("/") };
    let window = move || (asked.0.load(Ordering::Relaxed), asked.1.load(Ordering::Relaxed));
    let mut view = Live::new(style, Box::new(window), false, now);
    let mut terminal = Terminal::new(size.0, size.1);
    let wrote = Arc::new(Mutex::new(Vec::new()));
    let mut tick = 0_u32;
    let mut feed = |terminal: &mut Terminal, event: &Event| {
        tick += 1;
        let mut out = Vec::new();
        view.event(event, now + Duration::from_millis(50) * tick, &mut out).expect("a vector takes everything");
        wrote.lock().expect("ours").extend_from_slice(&out);
        terminal.show(&out);
    };
    let first = Event::RunStarted {
        title: "big v1".to_owned(),
        components: CELLS,
        platforms: Vec::new(),
        cells: CELLS,
        subset: false,
        needed: Vec::new(),
    };
    feed(&mut terminal, &first);
    let took = Duration::from_secs(3);
    feed(&mut terminal, &Event::Expected { cells: (0..CELLS).map(|number| (cell(number), took)).collect() });
    let mut middle = Vec::new();
    for number in 0..CELLS + AT_ONCE {
        if number < CELLS {
            for event in started(number) {
                feed(&mut terminal, &event);
            }
        }
        if number >= AT_ONCE {
            feed(&mut terminal, &ended(number - AT_ONCE));
        }
        if number == CELLS / 2 {
            middle = terminal.lines();
            if let Some((new_columns, new_rows)) = then {
                columns.store(new_columns.into(), Ordering::Relaxed);
                rows.store(new_rows.into(), Ordering::Relaxed);
                terminal.screen.screen_mut().set_size(some(new_rows), some(new_columns));
            }
        }
    }
    let mut out = Vec::new();
    view.finish(now, &mut out).expect("a vector takes everything");
    terminal.show(&out);
    let wrote = wrote.lock().expect("ours");
    assert_eq!(wrote.windows(5).any(|part| part == b"\x1b[1;3"), color, "colour where it was not wanted");
    assert_eq!(wrote.is_ascii(), !unicode, "characters that the terminal may not have");
    (middle, terminal.lines())
}

fn judge(size: (u16, u16)) {
    let (middle, end) = run(size, None, true, true);
    let shown = middle.join("\n");
    let rows = usize::from(size.1);
    assert_eq!(middle.len(), rows);
    // The block is at the bottom: its last line counts, and the cursor waits below.
    let summary = &middle[rows - 2];
    assert!(summary.contains(" done") && summary.contains("running"), "{shown}");
    assert!(size.0 < 80 || summary.contains(" left"), "{shown}");
    let running: Vec<&String> = middle.iter().filter(|line| line.starts_with('▸')).collect();
    assert!(running.len() >= 3 && running.iter().all(|line| line.ends_with(" s")), "{shown}");
    assert!(
        size.0 < 80 || running.iter().all(|line| line.contains("4/9   RUN go build") && line.contains("31 MB")),
        "{shown}"
    );
    assert!(middle.iter().any(|line| line.starts_with("  and ") && line.ends_with(" more")), "{shown}");
    assert!(middle.iter().any(|line| line.starts_with("✗ failed component-0407/arm64")), "{shown}");
    assert!(middle.iter().filter(|line| line.contains(" done  ")).count() == 1, "an old block was left:\n{shown}");
    // At the end the failures stay, and nothing of the block does.
    let shown = end.join("\n");
    assert!(end.iter().any(|line| line.starts_with("✗ failed component-0907/arm64")), "{shown}");
    assert!(!end.iter().any(|line| line.starts_with('▸') || line.contains(" running")), "{shown}");
}

#[test]
fn a_thousand_cells_fit_into_24_rows() {
    judge((80, 24));
}

#[test]
fn a_thousand_cells_fit_into_a_tiny_window() {
    judge((40, 10));
}

#[test]
fn a_window_may_be_resized_under_a_run() {
    for (from, to) in [((80, 24), (120, 40)), ((80, 24), (40, 10)), ((120, 40), (80, 24))] {
        let (_, end) = run(from, Some(to), true, true);
        let shown = end.join("\n");
        assert!(end.iter().any(|line| line.starts_with("✗ failed component-0907/arm64")), "{shown}");
        assert!(!end.iter().any(|line| line.starts_with('▸') || line.contains(" running")), "{shown}");
    }
}

#[test]
fn without_colour_and_unicode_it_says_the_same() {
    let (middle, end) = run((80, 24), None, false, false);
    let shown = middle.join("\n");
    assert!(middle.iter().any(|line| line.starts_with("x failed component-0407/arm64")), "{shown}");
    assert!(middle.iter().filter(|line| line.starts_with("> ")).count() >= 3, "{shown}");
    assert!(end.iter().any(|line| line.starts_with("x failed component-0907/arm64")), "{}", end.join("\n"));
}

#[test]
fn the_program_draws_on_a_real_terminal() {
    let dockerfile = format!("{SHELL}RUN echo it works; sleep 2\n");
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\"]\n[component.web]\n";
    let project = Project::with_shell(config, &[("Dockerfile", &dockerfile)]);
    let build = format!("stty cols 80 rows 24; exec {PROGRAM} build --builder {}", Daemon::shared().address());
    for (locale, mark) in [("C.UTF-8", '▸'), ("C", '>')] {
        project.write("Dockerfile", &format!("{dockerfile}RUN echo {locale}; sleep 1\n"));
        // util-linux' `script` runs a command on a terminal of its own and passes on what it shows.
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", &build, "/dev/null"]).current_dir(project.root());
        command.env_remove("CI").env("TERM", "xterm").env("LC_ALL", locale).env("NO_COLOR", "1");
        let output = command.stdin(Stdio::null()).output().expect("`script` is part of every Debian");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains(&format!("{mark} web/amd64")) && text.contains(&format!("RUN echo {locale}")), "{text}");
        assert!(!text.contains("\x1b[1;3") && !text.contains("\x1b[0m"), "colour where it was not wanted: {text}");
        let mut screen = vt100::Parser::new(some(24), some(80), 1000);
        screen.process(&output.stdout);
        let shown = screen.screen().contents();
        assert!(!shown.contains(&format!("{mark} web")) && !shown.contains("waiting"), "the block was left:\n{shown}");
        assert!(shown.contains("built    web/amd64") && shown.contains("1 of 1 cell: 1 built."), "{shown}");
    }
}
