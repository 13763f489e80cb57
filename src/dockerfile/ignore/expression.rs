//! The part of Go's regular expressions that a translated pattern can hold, parsed and run.
//!
//! Go's syntax, not that of the `regex` crate: `\<` is a plain `<` there, `\w` is ASCII, `\Q…\E` quotes. A program here is a
//! few dozen bytes and compiles at once, where an ignore file can have tens of thousands of patterns; running it visits each
//! character of the path once for each state that is alive, so that no pattern can make it slow beyond that.

mod class;
mod parse;
mod program;

pub(super) use class::Class;
pub(super) use parse::parse;
pub(super) use program::Expression;

use super::syntax::Malformed;

/// What matches at one place.
#[derive(Debug, Clone)]
pub(super) enum Atom {
    /// This character.
    Character(char),
    /// Any character but a line feed.
    Any,
    /// One of a set of characters.
    Class(Class),
    /// Nothing or any text up to a `/`, and that: `(.*/)?`.
    Directories,
    /// The begin of the text.
    Begin,
    /// The end of the text.
    End,
    /// A place between a word character and another one (`true`), or not between (`false`).
    Boundary(bool),
}

/// An atom and how often it stands there.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) atom: Atom,
    pub(super) least: u32,
    /// No limit if absent.
    pub(super) most: Option<u32>,
}
