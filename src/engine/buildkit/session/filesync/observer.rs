use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::LocalFailureSlot;
use super::AskedSlot;
use super::filter::Selection;
use super::walk::LeftOut;
use crate::base::CellId;
use crate::event::{Event, EventSink};

/// Where a transfer tells what happens. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Observer {
    /// Bytes of file contents.
    pub(super) sent: Arc<AtomicU64>,
    pub(super) failure: LocalFailureSlot,
    pub(super) asked: AskedSlot,
    warnings: Option<Arc<Warnings>>,
}

struct Warnings {
    events: Arc<dyn EventSink>,
    cell: Option<CellId>,
    /// One directory is read several times in a build.
    said: Mutex<HashSet<String>>,
}

impl Observer {
    pub(super) fn new(sent: Arc<AtomicU64>, failure: LocalFailureSlot) -> Self {
        Self { sent, failure, asked: AskedSlot::default(), warnings: None }
    }

    pub(super) fn warn_to(&mut self, events: Arc<dyn EventSink>, cell: Option<CellId>) {
        self.warnings = Some(Arc::new(Warnings { events, cell, said: Mutex::default() }));
    }

    /// Notes what the daemon asks for, before anything of it is read.
    pub(super) fn asked(&self, source_name: &str, selection: &Selection) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert((source_name.to_owned(), selection.clone()));
    }

    /// Warns, once, of what is not sent although it is selected.
    pub(super) fn left_out(&self, source_name: &str, left_out: &LeftOut) {
        let Some(warnings) = self.warnings.as_ref().filter(|_| left_out.count > 0) else { return };
        let mut text = format!("left out of `{source_name}`, as no image holds such: {}", left_out.examples.join(", "));
        let more = left_out.count - left_out.examples.len();
        if more > 0 {
            text = format!("{text} and {more} more");
        }
        let new = warnings.said.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone());
        if new {
            warnings.events.emit(Event::Warning { cell: warnings.cell.clone(), text });
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("sent", &self.sent).field("failure", &self.failure).finish_non_exhaustive()
    }
}
