use std::fmt;

use super::InputKind;
use crate::base::CellId;
use crate::run::CellRecord;

/// What is to be done about a cell.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Its inputs are unchanged and its image is there.
    Fresh(Box<CellRecord>),
    /// It has to be built, for these reasons.
    Stale(Vec<Cause>),
    /// It is fresh if these cells come out as they were.
    Waits(Box<CellRecord>, Vec<CellId>),
}

/// Why a cell has to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No build of it has ended well.
    Never,
    /// `--force`
    Forced,
    /// What it is made of cannot be looked at: `no-cache`, `pull` with a base that may move, a context that may. The sentence.
    Always(&'static str),
    /// Something of its image is not in the layout.
    NotWhole(String),
    /// What it was made from is not known for sure, for this reason.
    Unknown(String),
    /// An input is not what it was.
    Input(Change),
}

/// An input that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub kind: InputKind,
    /// Its name: a path, a variable, a reference.
    pub name: String,
    /// What happened to it.
    pub how: How,
}

/// What happened to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is another one now.
    Changed,
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
}

impl How {
    /// The word for it in messages and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

impl Cause {
    /// The word for it in JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Never => "never-built",
            Self::Forced => "forced",
            Self::Always(_) => "always",
            Self::NotWhole(_) => "not-whole",
            Self::Unknown(_) => "unknown",
            Self::Input(_) => "input",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never built"),
            Self::Forced => f.write_str("forced"),
            Self::Always(sentence) => f.write_str(sentence),
            Self::NotWhole(reason) => write!(f, "its image is not whole: {reason}"),
            Self::Unknown(reason) => f.write_str(reason),
            Self::Input(change) => change.fmt(f),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            // Of these there is one in a cell.
            InputKind::Target | InputKind::Epoch => write!(f, "{} {}", self.kind.word(), self.how.word()),
            InputKind::Engine => f.write_str("this version asks builders in another way"),
            kind => write!(f, "{} `{}` {}", kind.word(), self.name, self.how.word()),
        }
    }
}
