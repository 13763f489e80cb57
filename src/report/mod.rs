//! Outcome and events to table, JSON and progress.
