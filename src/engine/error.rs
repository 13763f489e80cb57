use crate::base::{CellId, ErrorClass, Failure, Platform, SourceText, Span};

/// Why an engine did not make an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A step of the Dockerfile failed, or the builder refused the Dockerfile.
    #[error("{}", .step.as_deref().map_or_else(|| "the builder refused it".to_owned(), |step| format!("failed at {step}")))]
    Build {
        /// The step as people read it: `step 2 of 4: RUN apk add nginx`.
        step: Option<String>,
        /// The cause in the builder's words, without its wrapping.
        message: String,
        /// Exit code of the failed process, where there was one.
        exit_code: Option<i32>,
        /// The Dockerfile as the builder saw it, with first and last line (1-based) of the failed instruction.
        excerpt: Option<(SourceText, usize, usize)>,
        /// Last lines of the step's output.
        output: Vec<String>,
    },
    /// There is no builder at an address, or none that this side can speak to.
    #[error("no builder answers at `{address}`{}: {reason}", .origin.as_ref().map(|origin| format!(" ({})", origin.name)).unwrap_or_default())]
    Unreachable {
        /// The address.
        address: String,
        /// Why, in the words of whoever said it.
        reason: String,
        /// What that means, as far as types tell.
        hindrance: Hindrance,
        /// Who named the builder, where the caller said so.
        origin: Option<Box<Origin>>,
    },
    /// A builder cannot be meant by an address, or with these certificates.
    #[error("the builder `{address}` cannot be used: {reason}")]
    Settings {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: String,
        /// What to write instead.
        help: String,
    },
    /// The builder went away while it was building.
    #[error("the builder at `{address}` was lost: {reason}")]
    Lost {
        /// The address.
        address: String,
        /// Why, as far as it is known.
        reason: String,
    },
    /// The builder met the directory of a snapshot that its own data base does not know: a daemon that was killed while it
    /// made one leaves it. Meeting it also removes it, so the same build passes the next time.
    #[error("the builder stumbled over a snapshot that it left when it was killed")]
    StaleSnapshot {
        /// The builder's words.
        message: String,
    },
    /// No builder was named and none could be started.
    #[error("cannot start a builder: {reason}")]
    CannotStart {
        /// Why.
        reason: String,
        /// What to do.
        help: String,
        /// Last lines of its log, where it got so far.
        output: Vec<String>,
    },
    /// The disk of the builder is full.
    #[error("{}: the builder's disk is full", .step.as_deref().unwrap_or("it cannot be built"))]
    BuilderDisk {
        /// The step, where it is known.
        step: Option<String>,
        /// The builder's words.
        message: String,
    },
    /// The result is for another platform than was asked for.
    #[error("the image is for {found}, not {wanted}")]
    WrongPlatform {
        /// Asked for.
        wanted: Platform,
        /// What its config says.
        found: String,
    },
    /// An image that stands for a base is for another platform than the cell.
    #[error("the base image `{name}` is for {found}, not {wanted}")]
    WrongBase {
        /// Its name in the Dockerfile.
        name: String,
        /// The cell's platform.
        wanted: Box<Platform>,
        /// What its config or index says.
        found: String,
        /// The FROM that names it, where that is known.
        span: Option<Box<Span>>,
    },
    /// A stage takes an image of the layout for a platform that it was not built for.
    #[error("`{name}` is wanted for {wanted} and there only for {given}")]
    NoContext {
        /// Its name in the Dockerfile.
        name: String,
        /// The platform of the stage.
        wanted: Box<Platform>,
        /// The platforms that there are.
        given: String,
        /// The line that takes it.
        span: Box<Span>,
    },
    /// The builder sent something that is not what it must be.
    #[error("the builder's result is not usable: {reason}")]
    BadResult {
        /// What is wrong with it.
        reason: String,
    },
    /// A base image could not be had from its registry.
    #[error("cannot get the base image `{image}`: {message}")]
    Base {
        /// The image.
        image: String,
        /// The registry's or builder's words.
        message: String,
        /// The Dockerfile as the builder saw it, with first and last line (1-based).
        excerpt: Option<(SourceText, usize, usize)>,
    },
    /// A file of the context cannot be sent.
    #[error("cannot send `{path}` to the builder: {reason}")]
    Context {
        /// The file, made printable.
        path: String,
        /// Why.
        reason: String,
        /// Whether the file system is to blame rather than the file's name or kind.
        disk: bool,
    },
    /// The layout could not take the result.
    #[error("cannot store the result")]
    Store(#[source] crate::store::StoreError),
    /// A service did not come up.
    #[error("service `{service}` is not up: {reason}")]
    Service {
        /// Its name.
        service: String,
        /// Why, in the words of whoever said it.
        reason: String,
        /// What to do, where that is known.
        help: Option<String>,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
    /// The start of a service was stopped.
    #[error("the start of service `{service}` was cancelled")]
    ServiceCancelled {
        /// Its name.
        service: String,
    },
    /// The build was stopped.
    #[error("`{cell}` was cancelled")]
    Cancelled {
        /// The cell.
        cell: CellId,
    },
}

/// What stands between this side and a builder, as far as the types of errors tell: words decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hindrance {
    /// Nobody answers, or nothing is known.
    Absent,
    /// Its certificate is of an authority that was not given.
    Authority,
    /// Its certificate holds another name, or is out of date.
    Certificate,
    /// It wants another client certificate than it got, or any.
    Client,
    /// Certificate and key of this side do not belong together, or are none.
    Identity,
    /// It ended a connection in plain without a word, as a daemon that speaks TLS does.
    WantsTls,
    /// It does not speak TLS.
    SpeaksPlain,
    /// A file with certificates cannot be used.
    File,
}

/// Who named a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `[builder.arm]`
    pub name: String,
    /// What to do there.
    pub help: String,
}

impl EngineError {
    /// Nobody answers at `address`.
    pub fn unreachable(address: impl Into<String>, reason: impl Into<String>) -> Self {
        let hindrance = Hindrance::Absent;
        Self::Unreachable { address: address.into(), reason: reason.into(), hindrance, origin: None }
    }
}

impl Failure for EngineError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Build { .. } | Self::Context { disk: false, .. } | Self::Service { .. } => ErrorClass::Build,
            Self::Unreachable { .. } | Self::Lost { .. } | Self::StaleSnapshot { .. } | Self::CannotStart { .. } => {
                ErrorClass::Builder
            }
            Self::WrongPlatform { .. } | Self::WrongBase { .. } | Self::BadResult { .. } => ErrorClass::Integrity,
            Self::Settings { .. } => ErrorClass::Config,
            Self::NoContext { .. } => ErrorClass::Preflight,
            Self::Base { .. } => ErrorClass::Refused,
            Self::Context { disk: true, .. } | Self::BuilderDisk { .. } => ErrorClass::Disk,
            Self::Store(error) => error.class(),
            Self::Cancelled { .. } | Self::ServiceCancelled { .. } => ErrorClass::Cancelled,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::CannotStart { help, .. } | Self::Settings { help, .. } => Some(help.clone()),
            Self::Service { help, .. } => help.clone(),
            Self::Unreachable { origin: Some(origin), .. } => Some(origin.help.clone()),
            Self::Unreachable { .. } => {
                Some("start it, or leave out `--builder` and BUILDKIT_HOST to have one started for the run".to_owned())
            }
            Self::Lost { .. } | Self::StaleSnapshot { .. } => {
                Some("run the same command again: finished cells are kept".to_owned())
            }
            Self::WrongPlatform { wanted, .. } => {
                Some(format!("check that every FROM of the final stage has {wanted}, and that none pins `--platform`"))
            }
            Self::WrongBase { wanted, .. } => {
                Some(format!("use a base that has {wanted}, and no `--platform` in the FROM of the final stage"))
            }
            Self::NoContext { wanted, .. } => {
                Some(format!("build it for {wanted} too, or name another `--platform` here"))
            }
            Self::Store(error) => error.help(),
            _ => None,
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Build { message, .. } | Self::StaleSnapshot { message } | Self::BuilderDisk { message, .. } => {
                Some(message.clone())
            }
            _ => None,
        }
    }

    fn output(&self) -> Vec<String> {
        match self {
            Self::Build { output, .. } | Self::CannotStart { output, .. } | Self::Service { output, .. } => {
                output.clone()
            }
            _ => Vec::new(),
        }
    }

    fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Build { exit_code, .. } => *exit_code,
            _ => None,
        }
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::WrongBase { span, .. } => span.as_deref().cloned(),
            Self::NoContext { span, .. } => Some((**span).clone()),
            _ => None,
        }
    }

    fn excerpt(&self) -> Option<(SourceText, usize, usize)> {
        match self {
            Self::Build { excerpt, .. } | Self::Base { excerpt, .. } => excerpt.clone(),
            _ => None,
        }
    }
}
