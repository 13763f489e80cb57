//! Bake and compose files to resolved targets, and those to a `Project`.
//!
//! In: [`BakeRequest`], which names the files, the environment that may be used, and what a command line added. Out: a
//! [`Resolved`] bake, which [`print_bake`] writes as `docker buildx bake --print` does and [`load_bake`] makes a
//! [`Project`](crate::config::Project) of. The reference is buildx 0.36: where its answer is plainly a bug, what the user
//! meant is done; `docs/bake-differences.md` lists those places.

#![expect(
    clippy::unnecessary_box_returns,
    reason = "problems are large and travel through every `Result` of the evaluator"
)]

mod decode;
mod entries;
mod files;
mod glob;
mod load;
mod overrides;
mod print;
mod project;
mod resolve;
mod scope;
mod solve;
mod target;
mod validate;

pub(crate) use entries::{Attestation, CacheEntry, Entry, Output, Secret, Ssh, parse_bool};
pub(crate) use load::is_asked_for;
pub use load::{BakeRequest, Resolved, load_bake, print_bake, resolve};
pub(crate) use solve::{Finding, solve_spec};
pub(crate) use target::{
    BLOCK, Bases, Target, Texts, merge_attests, merge_cache, merge_outputs, merge_secrets, merge_ssh,
};
pub(crate) use validate::{check_ulimit, parse_size};
