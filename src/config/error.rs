use std::path::PathBuf;

use crate::base::{ErrorClass, Failure, Problem, Problems, Span};

/// One thing that is wrong with the project's files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// No project file in the directory or above it.
    #[error("no `catamaran.toml` in `{}` or in any directory above it", directory.display())]
    NoProject {
        /// Where the search began.
        directory: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
        /// Where it is named, if in a file.
        span: Option<Span>,
    },
    /// A file is not what its language allows.
    #[error("{message}")]
    Syntax {
        /// The parser's words.
        message: String,
        /// Where.
        span: Span,
    },
    /// A key that does not exist in this table.
    #[error("unknown key `{key}` in {table}")]
    UnknownKey {
        /// As written.
        key: String,
        /// The table, in words: `[component.nginx]`.
        table: String,
        /// The key that was probably meant, or the keys there are.
        help: String,
        /// Where.
        span: Span,
    },
    /// A file that looks like a Dockerfile and belongs to nothing.
    #[error("`{}` belongs to nothing", path.display())]
    Unclassified {
        /// The file.
        path: PathBuf,
        /// `component` or `external`.
        key: &'static str,
        /// The name that it would have.
        name: String,
        /// The line that refers to it.
        refers: String,
    },
    /// A value of the wrong type or outside what is allowed.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// What to write instead.
        help: Option<String>,
        /// Where, if it was written in a file.
        span: Option<Span>,
    },
}

/// Everything that was found wrong, in the order of the files. Never empty.
pub type ConfigError = Problems<ConfigProblem>;

impl Problem for ConfigProblem {
    fn unexplained() -> Self {
        Self::Invalid { message: "the project was refused without a reason".to_owned(), help: None, span: None }
    }
}

impl Failure for ConfigProblem {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreadable { source, .. } => ErrorClass::of_unread(source.kind()),
            _ => ErrorClass::Config,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoProject { .. } => Some("write one with `catamaran init`, or name a file with `-f FILE`".to_owned()),
            Self::UnknownKey { help, .. } => Some(help.clone()),
            Self::Unclassified { path, key, name, refers } => Some(format!(
                "is it a component?     [{key}.{name}]\n                       {refers}\n\
                 is it to be left out?  [discover]\n                       exclude = {{ \"{}\" = \"why\" }}",
                path.display()
            )),
            Self::Invalid { help, .. } => help.clone(),
            Self::Unreadable { .. } | Self::Syntax { .. } => None,
        }
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::NoProject { .. } | Self::Unclassified { .. } => None,
            Self::Unreadable { span, .. } | Self::Invalid { span, .. } => span.clone(),
            Self::Syntax { span, .. } | Self::UnknownKey { span, .. } => Some(span.clone()),
        }
    }
}
