use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::state::write_atomically;
use super::{RunError, StateDir};
use crate::base::{
    CellId, CellState, ComponentName, Descriptor, Digest, ErrorClass, Failure, Platform, Reference, SourceText,
};

/// What the last build left beside its results: the times, builders, sizes and failures that `report` shows, and how long
/// each cell took, for the estimate of the next run.
///
/// Kept as JSON in `runs/last.json` of the state directory. Readers of version 1 ignore members they do not know; a record of
/// another version, or one that is cut, counts as none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RunRecord {
    pub(super) schema: String,
    /// Version of the program that ran.
    pub version: String,
    /// Name and tag of the project.
    pub title: String,
    /// When it began, in seconds since 1970.
    pub began: i64,
    /// How long it took.
    pub seconds: f64,
    /// Whether the whole matrix is there.
    pub complete: bool,
    /// Whether names or platforms on the command line left something out.
    pub subset: bool,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Cells that had to be there.
    pub expected: usize,
    /// Cells that were there at the end.
    pub present: usize,
    /// Bytes that came from builders.
    pub received: u64,
    /// Bytes that went to builders.
    pub sent: u64,
    /// The builders that answered.
    pub builders: Vec<RecordedBuilder>,
    /// Every cell, sorted.
    pub cells: Vec<RecordedCell>,
    /// Every index.
    pub indexes: Vec<RecordedIndex>,
    /// The root causes, in the order in which they happened.
    pub failures: Vec<RecordedFailure>,
    /// Seconds of the last good build of each cell, by `NAME/OS/ARCH`; cells of earlier runs are kept.
    pub history: BTreeMap<String, f64>,
    /// How the runs ended for the cells that they left without an image, of this run and of earlier ones.
    pub(super) open: Vec<OpenCell>,
}

/// A cell that is not there, and what the last run did about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenCell {
    pub(super) component: ComponentName,
    pub(super) platform: Platform,
    /// None while its run goes on, and for good if that was killed.
    pub(super) state: Option<CellState>,
    pub(super) reason: Option<String>,
}

/// A builder that answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RecordedBuilder {
    /// Its address.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Platform and how it runs there, in words.
    pub platforms: Vec<(String, String)>,
}

/// What became of a cell, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedCell {
    /// The component or external.
    pub component: ComponentName,
    /// The platform.
    pub platform: Platform,
    /// What became of it.
    pub state: CellState,
    /// Mirrored rather than built.
    #[serde(default)]
    pub external: bool,
    /// Why, where that says something.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether its programs ran through an emulator.
    #[serde(default)]
    pub emulated: bool,
    /// The builder's address.
    #[serde(default)]
    pub builder: Option<String>,
    /// Its image.
    #[serde(default)]
    pub manifest: Option<Digest>,
    /// Seconds from the run's begin to its own; none if its turn never came.
    #[serde(default)]
    pub began: Option<f64>,
    /// Seconds that it took in this run.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// The cells it waited for.
    #[serde(default)]
    pub needs: Vec<CellId>,
    /// The layers of its image, as they lie in the layout.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The steps that lasted longest, with their seconds; the longest first.
    #[serde(default)]
    pub steps: Vec<(String, f64)>,
    /// Its full log.
    #[serde(default)]
    pub log: Option<PathBuf>,
}

impl RecordedCell {
    /// Which cell.
    pub fn id(&self) -> CellId {
        CellId::new(self.component.clone(), self.platform.clone())
    }

    /// Bytes of its layers, compressed.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// An index that was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedIndex {
    /// The component.
    pub component: ComponentName,
    /// Its reference.
    pub reference: Reference,
    /// Its digest.
    pub digest: Digest,
}

/// A root cause as it was told, for telling it again: it is a [`Failure`] like the one that it was made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RecordedFailure {
    /// The cell, where it is about one.
    pub cell: Option<CellId>,
    /// What failed.
    pub title: String,
    class: String,
    cause: Option<String>,
    help: Option<String>,
    exit_code: Option<i32>,
    output: Vec<String>,
    excerpt: Option<RecordedExcerpt>,
    /// The full log.
    pub log: Option<PathBuf>,
}

/// Lines of a file, numbered from 1.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RecordedExcerpt {
    path: PathBuf,
    first: usize,
    last: usize,
    text: String,
}

impl RecordedFailure {
    /// Everything that `error` tells.
    pub(super) fn of(error: &dyn Failure, cell: Option<CellId>, log: Option<PathBuf>) -> Self {
        let excerpt = error.excerpt().or_else(|| {
            error.span().map(|span| {
                let line = span.line();
                (span.source.clone(), line, line)
            })
        });
        Self {
            cell,
            title: error.to_string(),
            class: error.class().word().to_owned(),
            cause: Failure::cause(error).or_else(|| error.source().map(ToString::to_string)),
            help: error.help(),
            exit_code: error.exit_code(),
            output: error.output(),
            excerpt: excerpt.map(|(text, first, last)| RecordedExcerpt {
                path: text.path().to_owned(),
                first,
                last,
                text: text.text().to_owned(),
            }),
            log,
        }
    }
}

impl RecordedFailure {
    /// Leaves out what of the file lies far behind the place, so that the record stays small.
    pub(super) fn cut(&mut self, bytes: usize) {
        if let Some(excerpt) = &mut self.excerpt
            && excerpt.text.len() > bytes
        {
            excerpt.text = excerpt.text.lines().take(excerpt.last).collect::<Vec<_>>().join("\n");
        }
    }
}

impl std::fmt::Display for RecordedFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for RecordedFailure {}

impl Failure for RecordedFailure {
    fn class(&self) -> ErrorClass {
        ErrorClass::ALL.into_iter().find(|class| class.word() == self.class).unwrap_or(ErrorClass::Internal)
    }

    fn help(&self) -> Option<String> {
        self.help.clone()
    }

    fn cause(&self) -> Option<String> {
        self.cause.clone()
    }

    fn output(&self) -> Vec<String> {
        self.output.clone()
    }

    fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    fn excerpt(&self) -> Option<(SourceText, usize, usize)> {
        let excerpt = self.excerpt.as_ref()?;
        Some((SourceText::new(excerpt.path.clone(), excerpt.text.clone()), excerpt.first, excerpt.last))
    }
}

pub(super) const SCHEMA: &str = "catamaran/run/v1";
/// Ten thousand cells with their layers and steps fit into this.
pub(super) const LIMIT: u64 = 64 << 20;

impl RunRecord {
    /// An empty record of this version.
    pub(super) fn new() -> Self {
        Self { schema: SCHEMA.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), ..Self::default() }
    }

    /// The record of the last build, if there is one that can be used. Only failing to read the disk is an error.
    pub fn load(state: &StateDir) -> Result<Option<Self>, RunError> {
        // A first run that was killed has left nothing but what it had begun.
        Ok(Self::read(state)?.filter(|record| record.began != 0))
    }

    /// What stands in the file, whether a run has come to its end or not.
    pub(super) fn read(state: &StateDir) -> Result<Option<Self>, RunError> {
        let path = state.history();
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(RunError::state("read", &path, source)),
        }
        let record: Option<Self> = serde_json::from_slice(&bytes).ok();
        Ok(record.filter(|record| record.schema == SCHEMA))
    }

    /// Writes the record as one act.
    pub(super) fn save(&self, state: &StateDir) -> Result<(), RunError> {
        let path = state.history();
        let bytes = serde_json::to_vec(self).map_err(|error| RunError::state("write", &path, error.into()))?;
        write_atomically(&path, &bytes).map_err(|source| RunError::state("write", &path, source))
    }

    /// The chain of cells that waited for each other and took longest: with endless builders no run is shorter.
    pub fn critical_path(&self) -> Vec<&RecordedCell> {
        let by_id: BTreeMap<CellId, &RecordedCell> = self.cells.iter().map(|cell| (cell.id(), cell)).collect();
        // Cells are in no order of need, so each is visited until what it needs is known; a circle in a record from
        // elsewhere just ends there.
        let mut best: BTreeMap<CellId, (f64, Option<CellId>)> = BTreeMap::new();
        for cell in &self.cells {
            longest(&cell.id(), &by_id, &mut best, 0);
        }
        let mut next = best.iter().max_by(|a, b| a.1.0.total_cmp(&b.1.0)).map(|(id, _)| id.clone());
        let mut path = Vec::new();
        while let Some(id) = next {
            let Some(cell) = by_id.get(&id) else { break };
            if cell.seconds.is_none() || path.len() > by_id.len() {
                break;
            }
            path.push(*cell);
            next = best.get(&id).and_then(|(_, before)| before.clone());
        }
        path.reverse();
        path
    }
}

/// Chains deeper than this are no real project's.
const DEEPEST: usize = 500;

fn longest(
    id: &CellId,
    by_id: &BTreeMap<CellId, &RecordedCell>,
    best: &mut BTreeMap<CellId, (f64, Option<CellId>)>,
    depth: usize,
) -> f64 {
    if let Some((seconds, _)) = best.get(id) {
        return *seconds;
    }
    let Some(cell) = by_id.get(id) else { return 0.0 };
    if depth > DEEPEST {
        return 0.0;
    }
    best.insert(id.clone(), (0.0, None));
    let before = cell
        .needs
        .iter()
        .map(|need| (longest(need, by_id, best, depth + 1), need))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(seconds, _)| *seconds > 0.0);
    let seconds = cell.seconds.unwrap_or(0.0) + before.map_or(0.0, |(seconds, _)| seconds);
    best.insert(id.clone(), (seconds, before.map(|(_, need)| need.clone())));
    seconds
}
