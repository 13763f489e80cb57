//! The one offline file: its bytes, its refusals, and every importer that must read it.

mod daemons;
mod format;
mod importers;
