//! What comes from outside: externals that are mirrored, bases that are locked, builds without a network.

mod mirror;
mod upstream;
