//! What workers tell the world while they work.
//!
//! In: nothing. Out: one enum and one trait. Every worker emits; exactly one consumer, in `report`, owns the terminal, the
//! JSON stream or the CI log. Events carry facts in the order they became known to their emitter; nothing is decided from
//! them. This room knows only the vocabulary.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{ByteSize, CellId, CellState, Platform};

/// Identifies a step within one attempt at one cell: the builder's digest of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StepId(pub Arc<str>);

/// The position of a step in its Dockerfile stage, where the builder tells it: `[builder 2/4]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepPosition {
    /// Number of the step, from 1.
    pub number: u32,
    /// Steps of its stage.
    pub of: u32,
}

/// Which of a step's output streams a log chunk came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// File descriptor 1.
    Out,
    /// File descriptor 2.
    Err,
}

/// How a platform's programs run on a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Execution {
    /// By the processor itself.
    Native,
    /// Through an interpreter such as `qemu-aarch64`.
    Emulated(String),
    /// Not at all: no RUN step of this platform can work.
    Absent,
}

/// A fact about a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A run begins: what is going to be done.
    RunStarted {
        /// Name and tag of the project, for the headline.
        title: String,
        /// Components and externals of these cells.
        components: usize,
        /// Platforms of these cells.
        platforms: Vec<Platform>,
        /// Cells that this run is to bring about, excluded ones not counted.
        cells: usize,
        /// Whether names or platforms on the command line left something out.
        subset: bool,
        /// Those of the cells that the platforms on the command line left out, and that others need to be built: services run
        /// from them. They are no part of what the run is about.
        needed: Vec<CellId>,
    },
    /// How long cells took the last time, for an estimate. Comes soon after the start of the run, if at all.
    Expected {
        /// Cells of this run with the time that their last good build took; those that were never built are not among them.
        cells: Vec<(CellId, Duration)>,
    },
    /// A builder answered.
    BuilderReady {
        /// Its address.
        address: String,
        /// Its version, as it says.
        version: String,
        /// How it runs each platform that is asked for.
        platforms: Vec<(Platform, Execution)>,
    },
    /// Work on a cell begins.
    CellStarted {
        /// The cell.
        cell: CellId,
        /// The builder's address.
        builder: String,
        /// 1 for the first try.
        attempt: u32,
    },
    /// A step of a cell begins, or begins again.
    StepStarted {
        /// The cell.
        cell: CellId,
        /// The step.
        step: StepId,
        /// What it does, as the builder names it without its position: `RUN apk add nginx`.
        name: String,
        /// Where it stands in its stage.
        position: Option<StepPosition>,
        /// The builder's own plumbing, of no interest unless it fails or lasts.
        internal: bool,
    },
    /// A step moved bytes.
    StepProgress {
        /// The cell.
        cell: CellId,
        /// The step.
        step: StepId,
        /// What is moved, such as `transferring context`.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// A step wrote output; chunks may split lines and characters.
    StepLog {
        /// The cell.
        cell: CellId,
        /// The step.
        step: StepId,
        /// Which stream.
        stream: LogStream,
        /// The bytes as they came.
        bytes: bytes::Bytes,
    },
    /// A step ended.
    StepFinished {
        /// The cell.
        cell: CellId,
        /// The step.
        step: StepId,
        /// The builder had its result already.
        cached: bool,
        /// Its error, where it has one. Not a verdict on the cell: cache imports may fail, siblings are cancelled.
        error: Option<String>,
        /// How long it ran.
        took: Duration,
    },
    /// The builder warns about a Dockerfile.
    BuildWarning {
        /// The cell.
        cell: CellId,
        /// The warning in one line.
        text: String,
        /// Where the builder explains it.
        url: Option<String>,
        /// First line of the Dockerfile that it is about.
        line: Option<u32>,
    },
    /// A cell ended, in this state.
    CellFinished {
        /// The cell.
        cell: CellId,
        /// What became of it.
        state: CellState,
        /// How it was run.
        execution: Option<Execution>,
        /// How long it took, waiting not counted.
        took: Duration,
        /// For a failed cell, the step and what it did; for a blocked one, the failed cell; for an excluded one, the
        /// declared reason.
        reason: Option<String>,
    },
    /// A service is up: cells that need it may start.
    ServiceReady {
        /// Its name.
        service: String,
        /// The builder that it runs in.
        builder: String,
        /// Where containers of that builder reach it, with the port where it has one: `127.0.0.1:8099`.
        address: String,
        /// How long it took.
        took: Duration,
    },
    /// A service wrote output; chunks may split lines and characters.
    ServiceLog {
        /// Its name.
        service: String,
        /// Which stream.
        stream: LogStream,
        /// The bytes as they came.
        bytes: bytes::Bytes,
    },
    /// A service ended.
    ServiceEnded {
        /// Its name.
        service: String,
        /// Why: `it was stopped`, `exit code 1`.
        reason: String,
    },
    /// Cells whose inputs are unchanged and whose images are there: nothing is done about them. Each was told as finished.
    Reused {
        /// How many.
        cells: usize,
        /// Of how many that the run is to bring about.
        of: usize,
        /// References that they are built from and that nothing fixes to a digest: whether these moved was not asked.
        unlocked: Vec<String>,
    },
    /// Blobs move to or from a registry, or into a bundle.
    Transfer {
        /// What is moved where: `push 127.0.0.1:5000/fleet`.
        what: String,
        /// Bytes moved so far.
        done: ByteSize,
        /// Bytes in all.
        total: ByteSize,
    },
    /// Something is being waited for, in words: another run's lock, a slow registry.
    Waiting {
        /// The words.
        text: String,
    },
    /// Something a person should know that fails nothing.
    Warning {
        /// The cell it is about, if one.
        cell: Option<CellId>,
        /// The words.
        text: String,
    },
    /// Something worth a line with `-v`.
    Detail {
        /// The words.
        text: String,
    },
}

/// Takes events. Called from any thread; must not block for long and must not fail.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

/// A sink that forgets everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl EventSink for NoEvents {
    fn emit(&self, _event: Event) {}
}

impl<F: Fn(Event) + Send + Sync> EventSink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Emulated(interpreter) => write!(f, "emulated ({interpreter})"),
            Self::Absent => f.write_str("no emulator"),
        }
    }
}
