//! The BuildKit engine: drives `buildkitd` over gRPC.
//!
//! In: a request. Out: an image in the layout. One connection to the daemon carries, for each cell, a solve, its status and a
//! session in which the daemon calls us back: it reads the context, asks for secrets and credentials, and brings the blobs
//! of the result that the layout lacks. The protocols are in `proto/`. Must not know registries, plans or projects.

mod attributes;
mod connect;
mod context;
pub mod daemon;
mod engine;
mod fault;
mod gateway;
mod identity;
mod mask;
mod named;
mod proto;
mod recipe;
mod result;
mod session;
mod solve;
mod start;
mod status;
mod words;

pub use attributes::SETTINGS;
pub use connect::{BuilderGuard, ConnectOptions, TlsFiles};
pub use engine::BuildKitEngine;
pub use session::{Inventory, InventoryEntry, LocalTree, Selection};
pub use start::{StartOptions, start};
