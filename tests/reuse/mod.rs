//! Builds after builds: what is reused, what is not, and that the answer is right.

mod edits;
mod no_op;
mod outdated;
mod templates;
mod why;

use crate::support::daemon::Daemon;

fn builder() -> &'static str {
    Daemon::shared().address()
}

/// Nobody listens there: a builder that is asked for anything fails the run.
const NOBODY: &str = "tcp://127.0.0.1:1";
