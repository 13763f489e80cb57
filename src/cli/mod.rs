//! Arguments, environment and files in; exit code out.
