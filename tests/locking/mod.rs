//! What comes from outside: externals that are mirrored, bases that are locked, builds without a network.

mod lock;
mod mirror;
mod moving;
mod offline;
mod upstream;
