use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};

use serde::Deserialize;

use super::history::{LIMIT, OpenCell, SCHEMA};
use super::{CellReport, RunError, RunRecord, StateDir};
use crate::base::{CellId, CellState};

/// How the runs ended for cells that they left without an image: what `status` says instead of "never built".
///
/// Kept in the record of the last build ([`RunRecord`]), for people only: no decision hangs on it. A file that cannot be
/// understood is the same as none.
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

/// As much of the record as is looked at here: there may be megabytes of it.
#[derive(Deserialize)]
struct Written {
    schema: String,
    #[serde(default)]
    open: Vec<OpenCell>,
}

impl LastRun {
    /// What is known of earlier runs.
    pub(super) fn load(state: &StateDir) -> Self {
        let read = || -> io::Result<Written> {
            let mut bytes = Vec::new();
            File::open(state.history())?.take(LIMIT).read_to_end(&mut bytes)?;
            Ok(serde_json::from_slice(&bytes)?)
        };
        let cells = match read() {
            Ok(written) if written.schema == SCHEMA => written.open,
            _ => Vec::new(),
        };
        let entry = |cell: OpenCell| {
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

    /// As the record has it, sorted.
    pub(super) fn open(&self) -> Vec<OpenCell> {
        let cell = |(cell, ended): (&CellId, &Ended)| OpenCell {
            component: cell.component.clone(),
            platform: cell.platform.clone(),
            state: ended.state,
            reason: ended.reason.clone(),
        };
        self.cells.iter().map(cell).collect()
    }

    /// Puts it into the record of the last build, which stays what it is otherwise, as one act.
    pub(super) fn save(&self, state: &StateDir) -> Result<(), RunError> {
        let open = self.open();
        let mut record = RunRecord::read(state)?.unwrap_or_else(RunRecord::new);
        // Where earlier versions kept it.
        drop(std::fs::remove_file(state.root().join("last-run.json")));
        if record.open == open {
            return Ok(());
        }
        record.open = open;
        record.save(state)
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
        // A first run that was killed is none that could be told of.
        assert!(RunRecord::load(&state).expect("it can be read").is_none());
        // Of two records there is one, and either leaves alone what is the other's.
        let record = RunRecord { began: 7, title: "demo".to_owned(), open: last.open(), ..RunRecord::new() };
        record.save(&state).expect("it can be written");
        let mut last = LastRun::load(&state);
        last.outdate(&[cell("web")], "it is old");
        last.save(&state).expect("it can be written");
        let record = RunRecord::load(&state).expect("it can be read").expect("it is there");
        assert_eq!((record.began, record.title.as_str(), record.open.len()), (7, "demo", 3));
        assert_eq!(LastRun::load(&state).why(&cell("web")).as_deref(), Some("it is old"));
        std::fs::write(state.history(), "{\"schema\":\"catamaran/ru").expect("writable");
        assert_eq!(LastRun::load(&state).why(&names[0]), None);
    }
}
