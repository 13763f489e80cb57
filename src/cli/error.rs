use std::io;
use std::path::PathBuf;

use crate::base::{ErrorClass, Failure, SourceText, Span};

/// Why a command did not get to its work, or what its work said.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// `-C` names no directory.
    #[error("there is no directory `{}`", .path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A file with certificate authorities cannot be used.
    #[error("cannot use the certificates in `{}`", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be read or a file not be written.
    #[error("cannot use `{}`", .path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// `--platform` without a platform.
    #[error("`--platform` names no platform")]
    NoPlatform,
    /// Something that was named on the command line is not in the project.
    #[error("{message}")]
    Unknown {
        /// What.
        message: String,
        /// What was probably meant.
        help: Option<String>,
    },
    /// Builds ask for more than builds may usually do, and nobody allowed it.
    #[error("{} asks for `{entitlement}`, which is not allowed", .components.join(", "))]
    NotAllowed {
        /// What.
        entitlement: String,
        /// Who.
        components: Vec<String>,
    },
    /// A file that was asked for is not there.
    #[error("{message}")]
    Absent {
        /// What.
        message: String,
        /// What to do.
        help: String,
    },
    /// The surroundings of the process cannot be read.
    #[error("cannot find the working directory")]
    Surroundings(#[source] io::Error),
    /// A result has nowhere to go.
    #[error("cannot write the result")]
    Unwritten(#[source] io::Error),
    /// Another room's error.
    #[error(transparent)]
    Room(Box<dyn Failure>),
}

macro_rules! from_room {
    ($($error:ty),*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::Room(Box::new(error))
            }
        }
    )*};
}

from_room!(crate::config::ConfigError, crate::plan::PlanError, crate::registry::RegistryError, crate::run::RunError);

impl Failure for CliError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoDirectory { .. }
            | Self::Certificates { .. }
            | Self::NoPlatform
            | Self::NotAllowed { .. }
            | Self::Unknown { .. } => ErrorClass::Config,
            Self::Absent { .. } => ErrorClass::Incomplete,
            Self::Surroundings(_) | Self::Unusable { .. } | Self::Unwritten(_) => ErrorClass::Disk,
            Self::Room(error) => error.class(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoPlatform => {
                Some("write at least one, such as `--platform linux/amd64`, or leave it out".to_owned())
            }
            Self::NotAllowed { entitlement, .. } => Some(format!(
                "add `--allow {entitlement}` if its Dockerfile is trusted with this machine, or take it out of the file"
            )),
            Self::Unknown { help, .. } => help.clone(),
            Self::Absent { help, .. } => Some(help.clone()),
            Self::Room(error) => error.help(),
            Self::NoDirectory { .. }
            | Self::Certificates { .. }
            | Self::Surroundings(_)
            | Self::Unusable { .. }
            | Self::Unwritten(_) => None,
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Room(error) => Failure::cause(error),
            _ => None,
        }
    }

    fn output(&self) -> Vec<String> {
        match self {
            Self::Room(error) => error.output(),
            _ => Vec::new(),
        }
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::Room(error) => error.span(),
            _ => None,
        }
    }

    fn excerpt(&self) -> Option<(SourceText, usize, usize)> {
        match self {
            Self::Room(error) => error.excerpt(),
            _ => None,
        }
    }

    fn others(&self) -> Vec<&dyn Failure> {
        match self {
            Self::Room(error) => error.others(),
            _ => Vec::new(),
        }
    }
}
