//! Everything that is tested from outside: one binary, so that it is linked once.

mod architecture;
mod bake;
mod builder;
mod bundle;
mod cli;
mod engine;
mod faults;
mod fleet;
mod fuzz;
mod locking;
mod plan;
mod registry;
mod reuse;
mod services;
mod store;
mod story;
mod support;
mod verify;
