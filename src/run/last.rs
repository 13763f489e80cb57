use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use serde::{Deserialize, Serialize};

use super::{CellReport, RunError, StateDir};
use crate::base::{CellId, CellState, ComponentName, Platform};

/// How the runs ended for cells that they left without an image: what `status` says instead of "never built".
///
/// Kept in `last-run.json` of the state directory, for people only: no decision hangs on it. A file that cannot be understood
/// is the same as none.
#[derive(Debug, Default)]
pub(super) struct LastRun {
    cells: BTreeMap<CellId, Ended>,
}

#[derive(Debug, Clone)]
struct Ended {
    /// None while its run goes on, and for good if that was killed.
    state: Option<CellState>,
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    schema: String,
    cells: Vec<WrittenCell>,
}

#[derive(Serialize, Deserialize)]
struct WrittenCell {
    component: ComponentName,
    platform: Platform,
    state: Option<CellState>,
    reason: Option<String>,
}

const SCHEMA: &str = "catamaran/last-run/v1";

/// Some 150 bytes a cell; a file over this is not one.
const LIMIT: u64 = 16 << 20;

impl LastRun {
    /// What is known of earlier runs.
    pub(super) fn load(state: &StateDir) -> Self {
        let read = || -> io::Result<Written> {
            let mut bytes = Vec::new();
            File::open(state.last_run())?.take(LIMIT).read_to_end(&mut bytes)?;
            Ok(serde_json::from_slice(&bytes)?)
        };
        let cells = match read() {
            Ok(written) if written.schema == SCHEMA => written.cells,
            _ => Vec::new(),
        };
        let entry = |cell: WrittenCell| {
            (CellId::new(cell.component, cell.platform), Ended { state: cell.state, reason: cell.reason })
        };
        Self { cells: cells.into_iter().map(entry).collect() }
    }

    /// A run takes these cells on: until it says more, it was stopped before they were made.
    pub(super) fn begin<'a>(&mut self, cells: impl IntoIterator<Item = &'a CellId>) {
        let begun = Ended { state: None, reason: None };
        self.cells.extend(cells.into_iter().map(|cell| (cell.clone(), begun.clone())));
    }

    /// These cells do not fit what is built now, for this reason.
    pub(super) fn outdate(&mut self, cells: &[CellId], reason: &str) {
        let ended = Ended { state: Some(CellState::Missing), reason: Some(reason.to_owned()) };
        self.cells.extend(cells.iter().map(|cell| (cell.clone(), ended.clone())));
    }

    /// A run has ended so for these cells. Of one that is there nothing needs to be said.
    pub(super) fn end(&mut self, cells: &[CellReport]) {
        for report in cells {
            if report.state.is_good() {
                self.cells.remove(&report.cell);
            } else {
                let ended = Ended { state: Some(report.state), reason: report.reason.clone() };
                self.cells.insert(report.cell.clone(), ended);
            }
        }
    }

    /// Writes it as one act, not durably: after a power cut an older one is good enough.
    pub(super) fn save(&self, state: &StateDir) -> Result<(), RunError> {
        let cell = |(cell, ended): (&CellId, &Ended)| WrittenCell {
            component: cell.component.clone(),
            platform: cell.platform.clone(),
            state: ended.state,
            reason: ended.reason.clone(),
        };
        let written = Written { schema: SCHEMA.to_owned(), cells: self.cells.iter().map(cell).collect() };
        let path = state.last_run();
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(state.root())?;
            file.write_all(&serde_json::to_vec(&written)?)?;
            file.persist(&path).map(drop).map_err(|failed| failed.error)
        };
        write().map_err(|source| RunError::state("write", &path, source))
    }

    /// Why `cell` has no image, as far as runs have told.
    pub(super) fn why(&self, cell: &CellId) -> Option<String> {
        let ended = self.cells.get(cell)?;
        let about = |text: &str| match &ended.reason {
            Some(reason) => format!("{text}: {reason}"),
            None => text.to_owned(),
        };
        Some(match ended.state {
            Some(CellState::Failed) => about("failed in the last run"),
            Some(CellState::Blocked) => match &ended.reason {
                Some(waited) => format!("waited for {waited} in the last run"),
                None => "blocked in the last run".to_owned(),
            },
            Some(CellState::Cancelled) => about("cancelled in the last run"),
            Some(CellState::Missing) => return ended.reason.clone(),
            Some(_) => return None,
            None => "the last run was stopped before it was there".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> CellId {
        CellId::new(text.parse().expect("a name"), "arm64".parse().expect("a platform"))
    }

    #[test]
    fn a_run_is_remembered_for_what_it_left_open() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path());
        let mut last = LastRun::load(&state);
        assert_eq!(last.why(&cell("web")), None);
        let names = ["base", "web", "job", "killed"].map(cell);
        last.begin(&names);
        let report = |at: usize, state, reason: Option<&str>| {
            let mut report = CellReport::new(names[at].clone(), state, false);
            report.reason = reason.map(str::to_owned);
            report
        };
        last.end(&[
            report(0, CellState::Failed, Some("step 2 of 4: RUN false")),
            report(1, CellState::Blocked, Some("base/arm64")),
            report(2, CellState::Built, None),
        ]);
        last.save(&state).expect("it can be written");
        let last = LastRun::load(&state);
        assert_eq!(last.why(&names[0]).as_deref(), Some("failed in the last run: step 2 of 4: RUN false"));
        assert_eq!(last.why(&names[1]).as_deref(), Some("waited for base/arm64 in the last run"));
        assert_eq!(last.why(&names[2]), None);
        assert_eq!(last.why(&names[3]).as_deref(), Some("the last run was stopped before it was there"));
        std::fs::write(state.last_run(), "{\"schema\":\"catamaran/la").expect("writable");
        assert_eq!(LastRun::load(&state).why(&names[0]), None);
    }
}
