//! Findings on planted faults, in layouts and in bundles.

mod faults;
mod flips;
