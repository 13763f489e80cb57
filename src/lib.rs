//! Builds a repository's container images for every platform through `buildkitd`, proves that none is missing, and
//! publishes or bundles them as one release.
//!
//! One straight flow, room by room, in the order of the modules below; `ARCHITECTURE.md` has the floor plan and
//! `tests/architecture.rs` holds its direction. The library never prints, never reads the environment and never exits:
//! only [`cli`] and [`report`] know that a terminal exists.

pub mod base;
pub mod bundle;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod dockerfile;
pub mod engine;
pub mod event;
pub mod image;
pub mod plan;
pub mod registry;
pub mod report;
pub mod run;
pub mod store;
pub mod sys;
pub mod verify;
