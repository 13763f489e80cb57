use crate::base::{ErrorClass, Failure, Printable};

/// Why patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgnoreError {
    /// A pattern has no meaning: a class without end, a trailing backslash, a range that runs backwards.
    #[error("the ignore pattern `{}` is malformed", Printable(.pattern))]
    Malformed {
        /// The pattern, cleaned.
        pattern: String,
    },
    /// An exception without anything behind its `!`.
    #[error("the ignore pattern `!` names nothing")]
    BareException,
    /// A line of an ignore file that the builder would refuse to read.
    #[error("line {line} of the ignore file is longer than 64 KiB")]
    LongLine {
        /// Its number, from 1.
        line: usize,
    },
}

impl Failure for IgnoreError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } => {
                Some("close every `[` and write a literal `[` or `\\` behind a backslash".to_owned())
            }
            Self::BareException => Some("name what the exception is for, or take the line out".to_owned()),
            Self::LongLine { .. } => None,
        }
    }
}
