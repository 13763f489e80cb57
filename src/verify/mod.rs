//! Is the thing complete and of the right kind? Read-only.
