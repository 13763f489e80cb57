//! Builders that catamaran starts itself: a real `buildkitd`, as root and as an ordinary user.

mod absent;
mod addresses;
mod bases;
pub(crate) mod bench;
mod chained;
mod child;
mod engine;
mod failures;
mod lifetime;
mod ports;
mod schedule;
mod shared;
