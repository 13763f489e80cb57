//! What known failures mean, and what helps against each.
//!
//! In: an error with its class, exit code and words. Out: at most one [`Entry`] that explains it. Only this room reads the
//! words of others, and only to explain them: classes, exit codes, retries and states are decided before it is asked, from
//! types. An error that it does not know is shown as it is. Pure: no files, no time, no state.

mod builder;
mod dockerfile;
mod entry;
mod machine;
mod matching;
mod packages;
mod page;
mod registry;
mod step;

pub use entry::Entry;
pub use matching::{entries, entry, explain};
pub use page::page;

#[cfg(test)]
mod tests;
