//! The BuildKit engine against a real buildkitd.

mod auth;
mod bench;
mod build;
mod context;
mod ending;
mod failure;
mod named;
mod registry;
mod session;
mod transport;
