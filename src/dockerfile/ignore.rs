//! Ignore patterns as Docker reads them: `moby/patternmatcher` with all its corners, and the text of `.dockerignore`.
//!
//! These are not gitignore's rules: patterns are anchored at the root, a pattern that matches a directory holds for all
//! beneath it, `!` makes an exception, and the last pattern that matches decides. What `*`, `?`, `**`, classes and escapes
//! mean follows from a translation to a regular expression of Go, and some of its results surprise; the table of cases in
//! the tests has them.

mod clean;
mod error;
mod expression;
mod index;
mod matcher;
mod parse;
mod pattern;
mod syntax;
#[cfg(test)]
mod tests;

pub use clean::clean_path;
pub use error::IgnoreError;
pub use matcher::{MatchState, PatternMatcher};
pub use parse::DockerIgnore;
pub use syntax::matches_name;
