//! Writes a project file for a repository that has none, from what is found in it.
//!
//! In: a folder. Out: the text of a `catamaran.toml` that means the same as what was found, and notes about everything that
//! was left out, with the reason. Nothing is written to disk here.

mod asked;
mod carried;
mod tree;
mod writer;

use std::path::{Path, PathBuf};

pub use writer::propose;

/// A project file that was not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The text of the file.
    pub text: String,
    /// Components that it describes, externals included.
    pub components: usize,
    /// What was left out or decided, and why.
    pub notes: Vec<Note>,
}

/// Something that a person should know about a proposal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The file it is about, relative to the folder.
    pub path: PathBuf,
    /// What became of it and why.
    pub text: String,
}

impl Note {
    fn new(path: &Path, text: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), text: text.into() }
    }
}
