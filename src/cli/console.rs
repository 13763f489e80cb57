use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use super::exit;
use super::{CliError, Environment};
use crate::base::{CellId, Failure, Warning};
use crate::report::{
    Style, error_lines, finding_line, findings_text, render_error, stream_head, warning_line, warnings_text,
};
use crate::run::Finding;

/// The two streams: results on stdout, everything else on stderr.
///
/// A reader that goes away (`catamaran plan | head`) ends the output and nothing else: no panic, no error.
#[derive(Debug, Clone)]
pub(super) struct Console {
    /// How text is shown on stdout.
    pub(super) out: Style,
    /// How text is shown on stderr.
    pub(super) err: Style,
    /// Since when stderr is a stream of events, where it is one: a program reads it, line by line.
    stream: Option<Instant>,
}

impl Console {
    /// The streams of this process; `root` is the project's folder.
    pub(super) fn new(environment: &Environment, root: &Path) -> Self {
        let style = |terminal: bool| Style {
            color: environment.color(terminal),
            unicode: environment.unicode(),
            width: if terminal { terminal_size(environment).0.clamp(40, 120) } else { 80 },
            directory: environment.directory.clone(),
            root: root.to_owned(),
        };
        Self { out: style(environment.stdout_terminal), err: style(environment.stderr_terminal), stream: None }
    }

    /// The streams of a process that does not know its surroundings.
    pub(super) fn unknowing() -> Self {
        let style = Style::plain("/");
        Self { out: style.clone(), err: style, stream: None }
    }

    /// The same with stderr as a stream of events, which is begun: from here on all that is told becomes events.
    pub(super) fn streaming(self) -> Self {
        let console = Self { stream: Some(Instant::now()), ..self };
        console.write(&stream_head());
        console
    }

    /// Since when stderr is a stream of events, if it is one.
    pub(super) const fn stream(&self) -> Option<Instant> {
        self.stream
    }

    /// Writes a result.
    pub(super) fn print(&self, text: &str) {
        if let Err(error) = write_all(&mut io::stdout().lock(), text)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            std::process::exit(self.fail(&CliError::Unwritten(error)).into());
        }
    }

    /// Writes what is not a result, for people: a stream of events has none of it.
    pub(super) fn tell(&self, text: &str) {
        if self.stream.is_none() {
            self.write(text);
        }
    }

    /// Tells that something is not as it might be, and fails nothing.
    pub(super) fn warn(&self, text: &str) {
        self.warn_of(&[Warning { message: text.to_owned(), help: None, span: None }]);
    }

    /// Tells what a project's files say and what does not come to pass.
    pub(super) fn warn_of(&self, warnings: &[Warning]) {
        self.write(&match self.stream {
            Some(began) => warnings.iter().map(|warning| warning_line(warning, began.elapsed())).collect(),
            None => warnings_text(warnings, &self.err),
        });
    }

    /// Tells what was found before a run.
    pub(super) fn tell_findings(&self, findings: &[Finding]) {
        self.write(&match self.stream {
            Some(began) => findings.iter().map(|finding| finding_line(finding, began.elapsed())).collect(),
            None => findings_text(findings, &self.err),
        });
    }

    /// Tells errors to a program that reads the stream of events; to nobody else.
    pub(super) fn stream_error(&self, error: &dyn Failure, cell: Option<&CellId>) {
        if self.stream.is_some() {
            self.write(&error_lines(error, cell));
        }
    }

    #[expect(clippy::unused_self, reason = "who has no console has no business with the streams")]
    fn write(&self, text: &str) {
        // Without a stderr there is nobody to tell.
        drop(write_all(&mut io::stderr().lock(), text));
    }

    /// Tells an error with everything that belongs to it, and gives its exit code.
    pub(super) fn fail(&self, error: &dyn Failure) -> u8 {
        let code = exit::code(error.class());
        self.stream_error(error, None);
        self.tell(&render_error(error, &self.err, code));
        code
    }
}

fn write_all(stream: &mut impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).and_then(|()| stream.flush())
}

/// (columns, rows) of the terminal on stderr, else on stdout; 80 by 24 where neither knows.
pub(super) fn terminal_size(environment: &Environment) -> (usize, usize) {
    let number = |name: &str| environment.get(name).and_then(|value| value.parse::<usize>().ok());
    let (columns, rows) = asked().unwrap_or((80, 24));
    (number("COLUMNS").unwrap_or(columns), number("LINES").unwrap_or(rows))
}

/// What the terminal itself says now.
pub(super) fn asked() -> Option<(usize, usize)> {
    let stderr = rustix::termios::tcgetwinsize(io::stderr());
    let size = stderr.or_else(|_| rustix::termios::tcgetwinsize(io::stdout())).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}
