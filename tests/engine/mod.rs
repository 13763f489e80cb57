//! The BuildKit engine against a real buildkitd.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod bench;
mod build;
mod context;
mod ending;
mod failure;
mod named;
mod registry;
mod service;
mod session;
mod transport;
