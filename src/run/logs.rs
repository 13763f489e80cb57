use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{StateDir, Transcript};
use crate::base::CellId;
use crate::event::{Event, EventSink};

/// Keeps the full log of every cell in its file, and passes all events on.
///
/// Control characters stay as they are: a log is the program's own output, and who shows it makes it printable. A log that
/// cannot be written is told once and fails nothing.
pub(super) struct CellLogs {
    state: StateDir,
    next: Arc<dyn EventSink>,
    open: Mutex<HashMap<CellId, Open>>,
    services: Mutex<HashMap<String, File>>,
    told: Mutex<bool>,
}

struct Open {
    file: BufWriter<File>,
    transcript: Transcript,
}

impl CellLogs {
    /// Logs below `state`; events go on to `next`.
    pub(super) fn new(state: StateDir, next: Arc<dyn EventSink>) -> Self {
        Self { state, next, open: Mutex::default(), services: Mutex::default(), told: Mutex::new(false) }
    }

    fn create(&self, cell: &CellId) -> std::io::Result<Open> {
        let path = self.state.log(cell);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        Ok(Open { file: BufWriter::new(File::create(path)?), transcript: Transcript::new() })
    }

    fn keep(&self, cell: &CellId, event: &Event) -> std::io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::CellStarted { attempt: 1, .. } = event {
            open.insert(cell.clone(), self.create(cell)?);
        }
        // Cells that never started have no log; what they say at their end is for the matrix.
        let Some(log) = open.get_mut(cell) else { return Ok(()) };
        let mut result = Ok(());
        let file = &mut log.file;
        log.transcript.take(event, Instant::now(), |line| {
            if result.is_ok() {
                result = writeln!(file, "{}", line.text);
            }
        });
        if matches!(event, Event::CellFinished { .. }) {
            result = result.and_then(|()| log.file.flush());
            open.remove(cell);
        } else if matches!(event, Event::StepStarted { .. } | Event::StepFinished { .. }) {
            // Somebody may be following the file; a killed run loses at most the output since the last step.
            result = result.and_then(|()| log.file.flush());
        }
        result
    }

    /// What a service writes goes to its file as it comes: a service is killed, it does not end.
    fn keep_service(&self, service: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(name) = service.parse() else { return Ok(()) };
        let file = match services.entry(service.to_owned()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => {
                let path = self.state.service_log(&name);
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory)?;
                }
                vacant.insert(File::create(path)?)
            }
        };
        file.write_all(bytes)
    }

    /// Says once that logs cannot be written.
    fn complain(&self, path: &Path, error: &std::io::Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *told, true) {
            let text = format!("cannot write the log `{}`: {error}", path.display());
            self.next.emit(Event::Warning { cell: None, text });
        }
    }
}

impl EventSink for CellLogs {
    fn emit(&self, event: Event) {
        let cell = match &event {
            Event::CellStarted { cell, .. }
            | Event::StepStarted { cell, .. }
            | Event::StepLog { cell, .. }
            | Event::StepFinished { cell, .. }
            | Event::BuildWarning { cell, .. }
            | Event::Warning { cell: Some(cell), .. }
            | Event::CellFinished { cell, .. } => Some(cell.clone()),
            _ => None,
        };
        if let Event::ServiceLog { service, bytes, .. } = &event
            && let Err(error) = self.keep_service(service, bytes)
        {
            self.complain(&self.state.root().join("logs").join(service), &error);
        }
        let result = cell.map_or(Ok(()), |cell| self.keep(&cell, &event).map_err(|error| (cell, error)));
        self.next.emit(event);
        if let Err((cell, error)) = result {
            self.complain(&self.state.log(&cell), &error);
        }
    }
}
