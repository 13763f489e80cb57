use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::ByteSize;
use crate::event::{Event, EventSink};

/// How far a transfer is, told at most ten times a second.
pub struct Meter {
    what: String,
    done: AtomicU64,
    total: u64,
    started: Instant,
    /// Milliseconds after `started` when it was last told.
    told: AtomicU64,
    events: Arc<dyn EventSink>,
}

const INTERVAL: Duration = Duration::from_millis(100);

impl Meter {
    /// Counts to `total` bytes, telling `events` as [`Event::Transfer`] of `what`.
    pub fn new(what: String, total: u64, events: Arc<dyn EventSink>) -> Self {
        Self { what, done: AtomicU64::new(0), total, started: Instant::now(), told: AtomicU64::new(0), events }
    }

    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let told = self.told.load(Ordering::Relaxed);
        let due = now >= told.saturating_add(u64::try_from(INTERVAL.as_millis()).unwrap_or(100));
        // Whoever wins the exchange tells; the others have nothing newer to say.
        if (due || done >= self.total)
            && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.tell(done);
        }
    }

    pub(super) fn take_back(&self, bytes: u64) {
        let _ = self.done.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |done| Some(done.saturating_sub(bytes)));
    }

    /// Tells the end, whatever was counted on the way.
    pub fn finish(&self) {
        self.tell(self.total);
    }

    fn tell(&self, done: u64) {
        self.events.emit(Event::Transfer {
            what: self.what.clone(),
            done: ByteSize(done.min(self.total)),
            total: ByteSize(self.total),
        });
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({}, {} of {})", self.what, self.done.load(Ordering::Relaxed), self.total)
    }
}
