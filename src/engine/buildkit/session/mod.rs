//! What the daemon may ask of us while it builds: files, secrets, credentials, and a place for its results.

mod failure;
mod filesync;

pub(crate) use failure::{LocalFailure, LocalFailureSlot};
pub(crate) use filesync::{FileSync, LocalSource};
