use std::error::Error;

use super::{SourceText, Span};

/// What kind of trouble an error is: decides retries and the exit code, so that nobody has to read its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Wrong usage or configuration: the user's files or flags must change.
    Config,
    /// What was asked for is not something this engine, builder or registry can do.
    Unsupported,
    /// Credentials are missing or refused.
    Auth,
    /// The named thing does not exist where it was looked for.
    NotFound,
    /// The other side asked us to slow down, and kept asking.
    RateLimited,
    /// The other side could not be reached or broke off.
    Network,
    /// The registry understood and said no.
    Refused,
    /// Bytes, digests, sizes or platforms are not what they must be.
    Integrity,
    /// The local disk or file system: full, read-only, not permitted.
    Disk,
    /// There is no builder, or it was lost.
    Builder,
    /// A build step failed.
    Build,
    /// Something known beforehand to be missing, such as an emulator.
    Preflight,
    /// A hole in the matrix was found without having seen its cause.
    Incomplete,
    /// The user or the system asked to stop.
    Cancelled,
    /// A bug in catamaran.
    Internal,
}

impl ErrorClass {
    /// What it means that a file of the user's cannot be read: a name of something that is no text file is a mistake in the
    /// project, everything else (permissions, a disk that fails, too many open files) is the machine's.
    pub fn of_unread(kind: std::io::ErrorKind) -> Self {
        use std::io::ErrorKind as Kind;
        let mistake = matches!(
            kind,
            Kind::NotFound
                | Kind::NotADirectory
                | Kind::IsADirectory
                | Kind::InvalidInput
                | Kind::InvalidData
                | Kind::InvalidFilename
                | Kind::FileTooLarge
        );
        if mistake { Self::Config } else { Self::Disk }
    }

    /// Every class.
    pub const ALL: [Self; 15] = [
        Self::Config,
        Self::Unsupported,
        Self::Auth,
        Self::NotFound,
        Self::RateLimited,
        Self::Network,
        Self::Refused,
        Self::Integrity,
        Self::Disk,
        Self::Builder,
        Self::Build,
        Self::Preflight,
        Self::Incomplete,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The word for it in documents and records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unsupported => "unsupported",
            Self::Auth => "auth",
            Self::NotFound => "not-found",
            Self::RateLimited => "rate-limited",
            Self::Network => "network",
            Self::Refused => "refused",
            Self::Integrity => "integrity",
            Self::Disk => "disk",
            Self::Builder => "builder",
            Self::Build => "build",
            Self::Preflight => "preflight",
            Self::Incomplete => "incomplete",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// What every room's error tells beside its message and its source.
///
/// Messages follow one rule: lower case, no full stop, things named in backticks, the source not repeated.
pub trait Failure: Error + Send + Sync + 'static {
    /// What kind of trouble this is.
    fn class(&self) -> ErrorClass;

    /// What to do about it: imperative, one sentence, at most one command.
    fn help(&self) -> Option<String> {
        None
    }

    /// The cause in the words of whoever reported it, where neither the message nor a source says it.
    fn cause(&self) -> Option<String> {
        None
    }

    /// Last lines that the failed program wrote, oldest first.
    fn output(&self) -> Vec<String> {
        Vec::new()
    }

    /// Exit code of the process that failed, where one did.
    fn exit_code(&self) -> Option<i32> {
        None
    }

    /// Where in the user's files it comes from.
    fn span(&self) -> Option<Span> {
        None
    }

    /// Lines of a file that is not on this machine, or not any more, such as the Dockerfile as the builder saw it:
    /// (text, first line, last line), 1-based and inclusive.
    fn excerpt(&self) -> Option<(SourceText, usize, usize)> {
        None
    }

    /// Further independent findings that are reported together with this one.
    fn others(&self) -> Vec<&dyn Failure> {
        Vec::new()
    }
}

/// An error of any room is an error itself, so that it can be a source and be passed on as it is.
impl Error for Box<dyn Failure> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        (**self).source()
    }
}

impl Failure for Box<dyn Failure> {
    fn class(&self) -> ErrorClass {
        (**self).class()
    }

    fn help(&self) -> Option<String> {
        (**self).help()
    }

    fn cause(&self) -> Option<String> {
        Failure::cause(&**self)
    }

    fn output(&self) -> Vec<String> {
        (**self).output()
    }

    fn exit_code(&self) -> Option<i32> {
        (**self).exit_code()
    }

    fn span(&self) -> Option<Span> {
        (**self).span()
    }

    fn excerpt(&self) -> Option<(SourceText, usize, usize)> {
        (**self).excerpt()
    }

    fn others(&self) -> Vec<&dyn Failure> {
        (**self).others()
    }
}
