//! Progress while a run works: one consumer that owns the stream it writes to.
//!
//! Workers hand events to a [`Progress`] from any thread; one thread of its own turns them into text. The queue between
//! them is short: a terminal that does not take text slows the run down rather than filling memory.

pub(super) mod ci;
mod events;
mod live;
mod plain;
mod tally;

pub use ci::Folds;
pub use events::EventLines;
pub use live::{Live, TerminalSize};
pub use plain::Plain;

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::event::{Event, EventSink};

/// Turns events into text, one kind of stream each. Runs on one thread; time comes in, so that tests have their own.
pub trait View: Send {
    /// Takes one event and writes what is to be seen of it.
    fn event(&mut self, event: &Event, now: Instant, out: &mut dyn Write) -> std::io::Result<()>;

    /// Called when nothing happened for [`View::tick`].
    fn idle(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()>;

    /// How long it wants to wait for the next event before [`View::idle`] is called.
    fn tick(&self) -> Duration;

    /// The run is over: removes what is not to stay.
    fn finish(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()>;
}

/// Takes events from all workers and shows them through one [`View`].
pub struct Progress {
    /// Gone when the progress was closed.
    queue: Mutex<Option<SyncSender<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Chunks of output are some kilobytes at most, so this bounds the memory of the queue to a few megabytes.
const QUEUE: usize = 256;

impl Progress {
    /// Starts to show events through `view` on `out`.
    pub fn start(view: impl View + 'static, out: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || show(view, out, &receiver));
        // Without a thread there is no progress to see, and nothing else is lost.
        Self { queue: Mutex::new(Some(sender)), thread: Mutex::new(thread.ok()) }
    }

    /// Shows what is queued and restores the terminal. Later events are forgotten. Idempotent.
    pub fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A view that panicked has shown its panic; the run's result does not depend on it.
            drop(thread.join());
        }
    }
}

impl EventSink for Progress {
    fn emit(&self, event: Event) {
        let sender = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sender) = sender {
            drop(sender.send(event));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread's work. A stream that cannot be written to (closed pipe, gone terminal) ends the showing, never the run:
/// events are still taken, so that nobody waits.
fn show(mut view: impl View, mut out: impl Write, events: &Receiver<Event>) {
    let mut writable = true;
    loop {
        let result = match events.recv_timeout(view.tick()) {
            Ok(event) if writable => view.event(&event, Instant::now(), &mut out),
            Err(RecvTimeoutError::Timeout) if writable => view.idle(Instant::now(), &mut out),
            Ok(_) | Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        writable &= result.is_ok();
    }
    if writable {
        // The last chance to tell nobody: the stream is gone or the process ends.
        drop(view.finish(Instant::now(), &mut out).and_then(|()| out.flush()));
    }
}
