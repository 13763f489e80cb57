use std::io::{self, Write};
use std::path::Path;

use super::Environment;
use super::exit;
use crate::base::Failure;
use crate::report::{Style, render_error};

/// The two streams: results on stdout, everything else on stderr.
///
/// A reader that goes away (`catamaran plan | head`) ends the output and nothing else: no panic, no error.
#[derive(Debug, Clone)]
pub(super) struct Console {
    /// How text is shown on stdout.
    pub(super) out: Style,
    /// How text is shown on stderr.
    pub(super) err: Style,
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
        Self { out: style(environment.stdout_terminal), err: style(environment.stderr_terminal) }
    }

    /// Writes a result.
    pub(super) fn print(&self, text: &str) {
        if let Err(error) = write_all(&mut io::stdout().lock(), text)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.tell(&format!("error: cannot write the result: {error}\n"));
            std::process::exit(exit::FAILURE.into());
        }
    }

    /// Writes what is not a result.
    #[expect(clippy::unused_self, reason = "who has no console has no business with the streams")]
    pub(super) fn tell(&self, text: &str) {
        // Without a stderr there is nobody to tell.
        drop(write_all(&mut io::stderr().lock(), text));
    }

    /// Tells an error with everything that belongs to it, and gives its exit code.
    pub(super) fn fail(&self, error: &dyn Failure) -> u8 {
        let code = exit::code(error.class());
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
