use std::sync::Arc;
use std::time::Instant;

use crate::cli::args::ProgressKind;
use crate::cli::console::{asked, terminal_size};
use crate::cli::{Console, Settings};
use crate::report::{EventLines, Live, Plain, Progress, TerminalSize};

/// Starts to show progress on stderr.
pub(super) fn watch(settings: &Settings, kind: ProgressKind, console: &Console) -> Arc<Progress> {
    let now = Instant::now();
    let stderr = std::io::stderr();
    let live = match kind {
        ProgressKind::Auto => settings.environment.live(),
        ProgressKind::Tty => true,
        ProgressKind::Plain => false,
        ProgressKind::Json => {
            return Arc::new(Progress::start(EventLines::new(console.stream().unwrap_or(now)), stderr));
        }
    };
    if live {
        let fallback = terminal_size(&settings.environment);
        let size: TerminalSize = Box::new(move || asked().unwrap_or(fallback));
        Arc::new(Progress::start(Live::new(console.err.clone(), size, settings.verbose, now), stderr))
    } else {
        Arc::new(Progress::start(Plain::new(settings.verbose, now).folded(settings.environment.folds()), stderr))
    }
}
