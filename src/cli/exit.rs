use crate::base::ErrorClass;

/// Everything asked for is there.
pub(super) const DONE: u8 = 0;
/// An error of the program or the machine.
pub(super) const FAILURE: u8 = 1;
/// A command line that cannot be understood.
pub(super) const USAGE: u8 = 2;
/// Stopped by a signal.
pub(super) const INTERRUPTED: u8 = 130;

/// The exit code of a class of errors: the public table, and the only place that knows its numbers.
pub(super) const fn code(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Config => USAGE,
        ErrorClass::Build => 3,
        ErrorClass::Incomplete => 4,
        // What a builder cannot do is found out before anything is built, or not at all.
        ErrorClass::Preflight | ErrorClass::Unsupported => 5,
        ErrorClass::Auth
        | ErrorClass::NotFound
        | ErrorClass::RateLimited
        | ErrorClass::Network
        | ErrorClass::Refused => 6,
        ErrorClass::Integrity => 7,
        ErrorClass::Builder => 8,
        ErrorClass::Cancelled => INTERRUPTED,
        ErrorClass::Disk | ErrorClass::Internal => FAILURE,
    }
}

/// The table as `--help` shows it.
pub(super) const TABLE: &str = "\
Exit codes:
    0  everything asked for is there
    1  an error of the program or the machine (disk full, permission)
    2  usage or configuration
    3  a cell failed to build
    4  the matrix is incomplete
    5  preflight failed
    6  a registry refused or could not be reached
    7  verification failed: corrupt, wrong platform, digest mismatch
    8  no builder, or the builder was lost
  130  interrupted";
