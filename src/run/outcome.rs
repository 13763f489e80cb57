use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::RunError;
use crate::base::{
    CellId, CellState, ComponentName, Digest, ErrorClass, Failure, Platform, Reference, SourceText, Span,
};
use crate::engine::EngineError;

/// Every cell in exactly one state: what a run ends with, and what `status` finds.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// Name and tag of the project.
    pub title: String,
    /// Whether names or platforms on the command line left something out.
    pub subset: bool,
    /// Sorted by component, then platform.
    pub cells: Vec<CellReport>,
    /// One for each component whose cells are all there, sorted by component.
    pub indexes: Vec<IndexReport>,
    /// Components whose cells are all there, and whose index is not.
    pub unindexed: Vec<ComponentName>,
}

/// What is known of one cell.
#[derive(Debug, Clone)]
pub struct CellReport {
    /// The cell.
    pub cell: CellId,
    /// What became of it.
    pub state: CellState,
    /// Mirrored rather than built.
    pub external: bool,
    /// Digest of its image's manifest, where it is in the layout.
    pub digest: Option<Digest>,
    /// Why it is in this state, where that says something.
    pub reason: Option<String>,
    /// Whether its programs ran through an emulator.
    pub emulated: bool,
    /// Address of the builder that made it.
    pub builder: Option<String>,
    /// How long its build took.
    pub took: Option<Duration>,
    /// Its full log.
    pub log: Option<PathBuf>,
}

impl CellReport {
    /// A cell of which only the state is known.
    pub const fn new(cell: CellId, state: CellState, external: bool) -> Self {
        Self {
            cell,
            state,
            external,
            digest: None,
            reason: None,
            emulated: false,
            builder: None,
            took: None,
            log: None,
        }
    }
}

/// The image index of one component, as `index.json` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexReport {
    /// The component or external.
    pub component: ComponentName,
    /// Its full reference with the first prefix.
    pub reference: Reference,
    /// Digest of the index.
    pub digest: Digest,
    /// The platforms in it, in the order of its entries.
    pub platforms: Vec<Platform>,
}

impl Matrix {
    /// Cells that must be there: all but the excluded ones.
    pub fn expected(&self) -> usize {
        self.cells.len() - self.count(CellState::Excluded)
    }

    /// Cells that are there whole.
    pub fn present(&self) -> usize {
        self.cells.iter().filter(|cell| cell.state.is_good() && cell.state != CellState::Excluded).count()
    }

    /// Whether nothing is missing: the only state in which anything is pushed, bundled, or exits with 0.
    pub fn is_complete(&self) -> bool {
        self.unindexed.is_empty() && self.cells.iter().all(|cell| cell.state.is_good())
    }

    /// Number of cells in `state`.
    pub fn count(&self, state: CellState) -> usize {
        self.cells.iter().filter(|cell| cell.state == state).count()
    }

    /// The cells that are not there.
    pub fn holes(&self) -> impl Iterator<Item = &CellReport> {
        self.cells.iter().filter(|cell| !cell.state.is_good())
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every cell that was asked for.
    pub matrix: Matrix,
    /// The root causes, in the order in which they happened.
    pub failures: Vec<CellFailure>,
    /// What went wrong beside the cells: a full disk under the indexes, no builder.
    pub error: Option<RunError>,
    /// How long it took, waiting for another run included.
    pub took: Duration,
    /// Bytes of blobs that came from builders.
    pub received: u64,
    /// Bytes of context files that went to builders.
    pub sent: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Outcome {
    /// The class that decides the exit code: that of the first root cause, an interrupt before all.
    pub fn class(&self) -> Option<ErrorClass> {
        if self.interrupted {
            return Some(ErrorClass::Cancelled);
        }
        if let Some(first) = self.failures.first() {
            return Some(first.class());
        }
        if let Some(error) = &self.error {
            return Some(error.class());
        }
        (!self.matrix.is_complete()).then_some(ErrorClass::Incomplete)
    }
}

/// A cell that failed, and why. Tells everything that its error tells, with the cell's name before it.
#[derive(Debug)]
pub struct CellFailure {
    /// The cell.
    pub cell: CellId,
    /// Its full log, where it has one.
    pub log: Option<PathBuf>,
    /// Why it failed.
    pub error: Box<dyn Failure>,
    /// What to do about it, where the files of this machine tell more than the error.
    pub advice: Option<String>,
}

impl fmt::Display for CellFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error: &(dyn Error + 'static) = &*self.error;
        match error.downcast_ref() {
            // `failed at step 2 of 4` has its verb.
            Some(EngineError::Build { step: Some(_), .. }) => write!(f, "{} {}", self.cell, self.error),
            _ => write!(f, "{} failed: {}", self.cell, self.error),
        }
    }
}

impl Error for CellFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Failure for CellFailure {
    fn class(&self) -> ErrorClass {
        self.error.class()
    }

    fn help(&self) -> Option<String> {
        self.advice.clone().or_else(|| self.error.help())
    }

    fn cause(&self) -> Option<String> {
        Failure::cause(&*self.error)
    }

    fn output(&self) -> Vec<String> {
        self.error.output()
    }

    fn exit_code(&self) -> Option<i32> {
        self.error.exit_code()
    }

    fn span(&self) -> Option<Span> {
        self.error.span()
    }

    fn excerpt(&self) -> Option<(SourceText, usize, usize)> {
        self.error.excerpt()
    }
}
