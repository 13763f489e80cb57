//! What the daemon may ask of us while it builds: files, secrets, credentials, and a place for its results.
//!
//! A session is a server of ours inside a stream to the daemon. Two kinds are opened: one for each solve, which takes the
//! result into the layout and hands out secrets, credentials and named contexts; and one for each context directory, which
//! sends its files to the solves of all platforms. One file for each service.

mod auth;
mod content;
mod failure;
mod filesync;
mod health;
mod ingest;
mod secrets;
mod ssh;
mod token;
mod tunnel;

pub(crate) use auth::{Auth, Seed};
pub(crate) use content::{Content, LAYOUT_STORE};
pub(crate) use failure::{LocalFailure, LocalFailureSlot};
pub(crate) use filesync::{AskedSlot, FileSync, LocalSource};
pub use filesync::{Inventory, InventoryEntry, LocalTree, Selection};
pub(crate) use health::Health;
pub(crate) use ingest::{Ingests, Receipt};
pub(crate) use secrets::Secrets;
pub(crate) use ssh::Ssh;
pub(crate) use tunnel::Session;
