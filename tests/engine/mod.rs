//! The BuildKit engine against a real buildkitd.

mod bench;
mod build;
