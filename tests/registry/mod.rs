//! The registry client against real registries and against a scripted one that misbehaves.

mod copy;
mod cuts;
mod faults;
mod import;
mod kills;
mod login;
mod make;
mod mirrors;
mod narrow;
mod reading;
mod release;
mod suite;
mod ways;
