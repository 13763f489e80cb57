//! A `buildkitd` of our own: found, started for one run, and gone with it.
//!
//! In: paths that `cli` found in the environment, and a directory that stays between runs. Out: an address that answers,
//! and the promise that nothing is left of the daemon when its [`StartedBuilder`] is dropped or this process dies: no
//! process, no mount, no port, no socket. How that is kept is the business of `sys`; this module knows `buildkitd`: its
//! flags, its defaults that must not apply, its ways to fail.

mod causes;
mod find;
mod lifetime;
mod logs;
mod options;
mod ready;
mod run_dir;
mod spawn;

pub(super) use find::search_path;
pub use find::{BUILDKITD, find_buildkitd};
pub use lifetime::StartedBuilder;
pub use options::{DaemonOptions, Ids, KeyPair, RegistryRule};
