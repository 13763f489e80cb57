//! The conductor: carries values from room to room, and decides what runs when.
//!
//! In: a plan, engines, a layout. Out: an outcome in which every cell is in exactly one state. Each room does its part and
//! knows nothing of the next one; what goes from one to the other goes through here. This room must not know terminals,
//! arguments or the environment.

mod error;
mod outcome;
mod record;
mod scheduler;
mod state;
mod transcript;

pub use error::RunError;
pub use outcome::{CellFailure, CellReport, IndexReport, Matrix, Outcome};
pub use record::CellRecord;
pub use scheduler::{
    Crash, Graph, InvalidGraph, Limits, Node, OnFailure, Stopped, Verdict, Verdicts, Worker, schedule,
};
pub use state::{StateDir, StateLock};
pub use transcript::{Line, Transcript, Weight};
