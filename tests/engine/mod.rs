//! The BuildKit engine against a real buildkitd.

mod bench;
mod build;
mod ending;
mod failure;
mod named;
mod registry;
