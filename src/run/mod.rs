//! The conductor: carries values from room to room, and decides what runs when.
//!
//! In: a plan, engines, a layout. Out: an outcome in which every cell is in exactly one state. Each room does its part and
//! knows nothing of the next one; what goes from one to the other goes through here. This room must not know terminals,
//! arguments or the environment.

mod build;
mod builders;
mod cell;
mod cells;
mod copied;
mod copy;
mod dependents;
mod error;
mod fingerprint;
mod heal;
mod history;
mod import;
mod indexes;
mod judge;
mod last;
mod lock;
mod logs;
mod meet;
mod mirror;
mod moved;
mod named;
mod outcome;
mod outdated;
mod outside;
mod owners;
mod place;
mod posts;
mod prefetch;
mod preflight;
mod publish;
mod record;
mod recorder;
mod referrers;
mod release;
mod scans;
mod scheduler;
mod services;
mod sizes;
mod state;
mod status;
mod task;
mod templates;
mod transcript;
mod verify;
mod wanted;
mod why;

pub use build::{BuildOptions, build};
pub use builders::{BuilderSettings, Builders, Fallback, Starter};
pub use cell::Inputs;
pub use copy::{Copied, CopyRequest, copy};
pub use error::{NoEmulator, OtherNative, RunError};
pub use fingerprint::{Cause, Change, Fingerprint, How, Input, InputKind, Standing};
pub use heal::suspect;
pub use history::{RecordedBuilder, RecordedCell, RecordedFailure, RecordedIndex, RunRecord};
pub use import::{Import, ImportRequest, Imported, Rename, import, import_forecast};
pub use lock::{Bases, LockEntry, LockRequest, Locked, fetched, lock, stale, write_lock};
pub use outcome::{CellFailure, CellReport, IndexReport, Matrix, Outcome};
pub use place::Place;
pub use prefetch::{Prefetched, prefetch};
pub use preflight::{Finding, LIMIT as PREFLIGHT_LIMIT, Level, PreflightRequest, at_start, preflight};
pub use publish::{AllowedHoles, ExportRequest, Exported, Extent, Published, PushRequest, export, push, push_forecast};
pub use record::CellRecord;
pub use recorder::Recorder;
pub use release::{settle_release, unfinished_release};
pub use scheduler::{
    Crash, Graph, InvalidGraph, Limits, Node, OnFailure, Stopped, Verdict, Verdicts, Way, Worker, schedule,
};
pub use services::ServiceFailure;
pub use sizes::{Sizes, sizes};
pub use state::{StateDir, StateLock};
pub use status::{is_shown, status};
pub use transcript::{Line, Transcript, Weight};
pub use verify::{Verified, verify, verify_bundle};
pub use why::{Foresight, why};

#[cfg(test)]
mod tests;
