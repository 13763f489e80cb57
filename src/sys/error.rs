use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::base::{ErrorClass, Failure};

/// Why a child could not be contained or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysError {
    /// A program of ours or of the system could not be executed.
    #[error("cannot run `{}`", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a step of the containment.
    #[error("cannot {stage}")]
    Refused {
        /// The step.
        stage: Stage,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The ids of a user namespace could not be set up.
    #[error("cannot map the ids of a user namespace: {reason}")]
    IdMap {
        /// The words of the tool or of the kernel.
        reason: String,
    },
    /// The supervisor ended without telling why.
    #[error("the supervising process ended before `{}` ran", program.display())]
    SupervisorLost {
        /// What it was to run.
        program: PathBuf,
    },
}

impl Failure for SysError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Builder
    }
}

/// A step on the way to a contained child, in the order they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// `unshare(CLONE_NEWUSER)`
    UserNamespace,
    /// `unshare(CLONE_NEWPID)`
    ProcessNamespace,
    /// `unshare(CLONE_NEWNS)` and making it private
    MountNamespace,
    /// A fresh `/proc` for the process namespace.
    Proc,
    /// Hiding a path of the host.
    Hide,
    /// Executing the program itself.
    Program,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::UserNamespace, Self::ProcessNamespace, Self::MountNamespace, Self::Proc, Self::Hide, Self::Program];

    /// Its name on the pipe between the supervisor and us.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::ProcessNamespace => "process-namespace",
            Self::MountNamespace => "mount-namespace",
            Self::Proc => "proc",
            Self::Hide => "hide",
            Self::Program => "program",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespace => "make a user namespace",
            Self::ProcessNamespace => "make a process namespace",
            Self::MountNamespace => "make a mount namespace",
            Self::Proc => "mount `/proc` in a process namespace",
            Self::Hide => "hide a path of the host in a mount namespace",
            Self::Program => "execute the program",
        })
    }
}
