//! Everything that is tested from outside: one binary, so that it is linked once.

mod architecture;
mod builder;
mod bundle;
mod engine;
mod faults;
mod plan;
mod registry;
mod support;
mod verify;
