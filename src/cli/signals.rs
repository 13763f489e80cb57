use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Console;
use super::exit;

/// Turns signals into a token: the first SIGINT or SIGTERM cancels it, the second ends the process at once. With `at_once`
/// the first one does: for commands that neither write nor start anything, and compute without looking at the token.
///
/// Ending at once is safe: a builder that was started goes with this process, and what is on the disk is whole at any time.
pub(super) fn listen(console: Console, at_once: bool) -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    // Without handlers the default action of both signals stands: the process ends.
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else { return token };
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if at_once {
                end_now();
            }
            if first {
                cancel.cancel();
                let text = "stopping; once more to stop at once";
                match console.stream() {
                    Some(_) => console.warn(text),
                    None => console.tell(&format!("catamaran: {text}\n")),
                }
            }
        }
        // Whoever reads our words may have stopped: they must not keep us.
        std::thread::spawn(move || {
            let text = "stopped at once, without a matrix: `catamaran status` shows what is there";
            match console.stream() {
                Some(_) => console.warn(text),
                None => console.tell(&format!("catamaran: {text}\n")),
            }
            end_now();
        });
        tokio::time::sleep(LAST_WORD).await;
        end_now();
    });
    token
}

/// How long the last words may take.
const LAST_WORD: Duration = Duration::from_millis(200);

#[expect(clippy::exit, reason = "the second signal asks for exactly this: no unwinding, no waiting")]
fn end_now() -> ! {
    std::process::exit(exit::INTERRUPTED.into())
}
