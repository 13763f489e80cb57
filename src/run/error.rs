use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Crash, ServiceFailure};
use crate::base::{CellId, ComponentName, Digest, ErrorClass, Failure, Platform, Reference, SourceText, Span};
use crate::engine::EngineError;
use crate::verify::Finding;

/// Why a run, or a command over its results, could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file of the state directory could not be used.
    #[error("cannot {action} `{}`", .path.display())]
    State {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The digest that `catamaran.lock` has for a platform is not the one that its digest for all of them leads to.
    #[error("`catamaran.lock` has `{}` for `{reference}` on {platform}, and what it points to has `{}`", digests.0.short(), digests.1.short())]
    LockContradictsItself {
        /// The image.
        reference: Box<Reference>,
        /// The platform.
        platform: Box<Platform>,
        /// What is locked, and what is found.
        digests: Box<(Digest, Digest)>,
    },
    /// A service that a cell needs is not up, or is no more.
    #[error(transparent)]
    Service(Arc<ServiceFailure>),
    /// The builder of a cell did not answer, and no other one may take its place.
    #[error(transparent)]
    NoBuilder(Arc<EngineError>),
    /// The run was stopped before it began.
    #[error("interrupted")]
    Cancelled,
    /// RUN steps cannot be executed on the builder that they would go to.
    #[error(transparent)]
    NoEmulator(Box<NoEmulator>),
    /// A cell takes an image for the platform of its builder, which turns out to be another one than was planned.
    #[error(transparent)]
    OtherNative(Box<OtherNative>),
    /// Something that needs the whole matrix was asked for, and it has holes.
    #[error("{what}: the matrix has holes: {}", cells_in_words(.holes))]
    Incomplete {
        /// What was not done: `nothing was pushed`.
        what: &'static str,
        /// The cells that are missing.
        holes: Vec<CellId>,
    },
    /// Images were to leave that hold nobody knows what: their sources changed while they were built.
    #[error("{what}: what {} holds is not known", cells_in_words(.cells))]
    Unsettled {
        /// What was not done: `nothing was pushed`.
        what: &'static str,
        /// The cells.
        cells: Vec<CellId>,
        /// Of the first one, what changed: ``files of `src` changed while it was built``.
        reason: String,
    },
    /// A hole was allowed where there is none.
    #[error("`--allow-missing {pattern}`: none of these cells is missing")]
    NoHole {
        /// As typed.
        pattern: String,
    },
    /// What shall be copied is not to be had as it should be; whoever made it is not known.
    #[error("`{place}` cannot be copied")]
    Source {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        source: Box<RunError>,
    },
    /// What the lock has for an image is not to be had any more: neither its name nor its tag is wrong.
    #[error("`{reference}` of `{component}` is locked as `{digest}`, which the registry has no more")]
    Gone {
        /// The component or external that takes it.
        component: String,
        /// The image.
        reference: Box<Reference>,
        /// What `catamaran.lock` has.
        digest: Digest,
        /// What the registry said.
        source: Box<RunError>,
    },
    /// An index lists something that is not known to be a manifest.
    #[error("it cannot be copied whole: {reason}")]
    UnknownEntry {
        /// What it lists.
        reason: String,
    },
    /// What shall be copied into a bundle is nothing that a bundle can hold.
    #[error("`{place}` cannot be put into a bundle: {reason}")]
    Unbundled {
        /// Where it is.
        place: String,
        /// What of it does not fit.
        reason: String,
    },
    /// A bundle does not hold what it says, so nothing of it leaves.
    #[error("`{}` is not whole, and nothing was sent: {}", .path.display(), .findings.first().map(ToString::to_string).unwrap_or_default())]
    NotWhole {
        /// The bundle.
        path: PathBuf,
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
    /// A bundle lacks cells, and nobody said that this may be so.
    #[error("`{}` is INCOMPLETE, and nothing was sent: it lacks {}", .path.display(), cells_in_words(.missing))]
    IncompleteBundle {
        /// The bundle.
        path: PathBuf,
        /// The cells.
        missing: Vec<CellId>,
    },
    /// All cells are there, but the index that joins them is not.
    #[error("{what}: the index of {} is missing", .components.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    NoIndex {
        /// What was not done.
        what: &'static str,
        /// The components.
        components: Vec<ComponentName>,
    },
    /// More than one entry of the layout's `index.json` has the name of a component.
    #[error("{what}: `index.json` has the name of {} more than once", .components.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
    DoubledName {
        /// What was not done.
        what: &'static str,
        /// The components.
        components: Vec<ComponentName>,
    },
    /// The images of a component are there, and its index could not be made.
    #[error("the index of `{component}` cannot be made")]
    Index {
        /// The component.
        component: ComponentName,
        /// Why not.
        source: Box<RunError>,
    },
    /// An index refers to something that is not there.
    #[error("what it refers to is not all there: {reason}")]
    Dangling {
        /// What is missing.
        reason: String,
    },
    /// The platforms of an external come from different upstream releases.
    #[error("`{component}` was mirrored at different times, and upstream changed in between")]
    Moved {
        /// The external.
        component: ComponentName,
    },
    /// An image that something is made from is not to be had.
    #[error("{}", base_in_words(.component, .platform.as_deref(), .reference))]
    Base {
        /// The component that needs it.
        component: String,
        /// For which platform, where one is at fault.
        platform: Option<Box<Platform>>,
        /// The image.
        reference: Box<Reference>,
        /// Where it is named.
        span: Option<Span>,
        /// Why not.
        source: Box<RunError>,
    },
    /// A name on the command line that is none of the project's images from outside.
    #[error("`{name}` is no image from outside, and no component that is made from one")]
    UnknownImage {
        /// As typed.
        name: String,
        /// The images there are.
        known: Vec<String>,
    },
    /// The lock does not say what the project takes from outside.
    #[error("`{}` is not up to date: {}", .path.display(), .found.join("; "))]
    Stale {
        /// The lock.
        path: PathBuf,
        /// What it lacks or has too much.
        found: Vec<String>,
    },
    /// Something that a build without a network needs is not there.
    #[error("{what}")]
    NotHere {
        /// What, and for whom.
        what: String,
        /// What to do.
        help: String,
        /// Where it is named.
        span: Option<Span>,
    },
    /// Several independent things went wrong; the first one is told, the rest is in [`Failure::others`].
    #[error("{first}")]
    Several {
        /// What went wrong first.
        first: Box<RunError>,
        /// What else did.
        rest: Vec<RunError>,
    },
    /// A build secret is to come from a variable that is not set.
    #[error(
        "component `{component}`: the secret `{secret}` is to come from the variable `{variable}`, which is not set"
    )]
    NoSecret {
        /// The component.
        component: ComponentName,
        /// The secret's id.
        secret: String,
        /// The variable.
        variable: String,
    },
    /// An ssh agent is wanted and there is none.
    #[error("component `{component}`: the ssh agent `{agent}` is wanted, and SSH_AUTH_SOCK names none")]
    NoAgent {
        /// The component.
        component: ComponentName,
        /// The agent's id.
        agent: String,
    },
    /// A name that has to be made cannot be made.
    #[error("{message}")]
    BadName {
        /// Which, and why.
        message: String,
    },
    /// Another room's error, which says all there is to say.
    #[error(transparent)]
    Room(Box<dyn Failure>),
    /// A bug in catamaran.
    #[error("{message}")]
    Internal {
        /// What was not as it must be.
        message: String,
    },
}

/// RUN steps of a platform cannot be executed on the builder that they would go to.
#[derive(Debug, thiserror::Error)]
#[error("no emulator for {platform} on the builder `{builder}`: {} cannot be built", cells_in_words(.cells))]
pub struct NoEmulator {
    /// The platform of the steps.
    pub platform: Platform,
    /// The builder's address.
    pub builder: String,
    /// The cells with such a step.
    pub cells: Vec<CellId>,
    /// The first such step.
    pub span: Span,
    /// For a builder on this machine, what hinders an emulator that is there, and what to do about it.
    pub hindrance: Option<String>,
}

/// A cell takes another component's image for the platform of its builder, and the builder is of another platform.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{cell}` takes `{}` for the platform of its builder: {} was planned, and `{builder}` is {native}",
    .planned.component, .planned.platform
)]
pub struct OtherNative {
    /// The cell.
    pub cell: CellId,
    /// The cell that it was to take.
    pub planned: CellId,
    /// The builder's address.
    pub builder: String,
    /// The builder's own platform.
    pub native: Platform,
    /// The line that takes it.
    pub span: Span,
}

fn base_in_words(component: &str, platform: Option<&Platform>, reference: &Reference) -> String {
    let platform = platform.map(|platform| format!(" for {platform}")).unwrap_or_default();
    format!("`{component}`{platform} is made from `{reference}`, which is not to be had")
}

/// Whether `name` is `image` without its registry, with or without the tag.
fn is_tail(image: &str, name: &str) -> bool {
    let ends = |whole: &str| whole.strip_suffix(name).is_some_and(|before| before.ends_with('/'));
    ends(image) || image.rsplit_once(':').is_some_and(|(untagged, _)| ends(untagged))
}

/// Names that a reader takes in at one look; the rest is a count.
fn cells_in_words(cells: &[CellId]) -> String {
    const NAMED: usize = 12;
    let mut text = cells.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if cells.len() > NAMED {
        let _ = write!(text, " and {} more", cells.len() - NAMED);
    }
    text
}

impl RunError {
    pub(super) fn state(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::State { action, path: path.to_owned(), source }
    }

    /// One error out of all that were seen; `None` if there were none.
    pub(super) fn of_many(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let first = errors.next()?;
        let rest: Vec<Self> = errors.collect();
        Some(if rest.is_empty() { first } else { Self::Several { first: Box::new(first), rest } })
    }

    /// Another room's error, passed on as it is.
    pub fn room(error: impl Failure) -> Self {
        Self::Room(Box::new(error))
    }
}

impl From<Crash> for RunError {
    fn from(crash: Crash) -> Self {
        Self::Internal { message: crash.to_string() }
    }
}

macro_rules! from_room {
    ($($error:ty),*) => {$(
        impl From<$error> for RunError {
            fn from(error: $error) -> Self {
                Self::room(error)
            }
        }
    )*};
}

from_room!(
    crate::bundle::BundleError,
    EngineError,
    crate::image::ImageError,
    crate::plan::PlanError,
    crate::registry::RegistryError,
    crate::store::StoreError
);

impl Failure for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::State { .. } => ErrorClass::Disk,
            Self::Cancelled => ErrorClass::Cancelled,
            Self::NoEmulator(_) | Self::OtherNative(_) | Self::NotHere { .. } => ErrorClass::Preflight,
            Self::Service(failure) => failure.class,
            Self::NoBuilder(error) => error.class(),
            Self::NotWhole { .. } | Self::LockContradictsItself { .. } => ErrorClass::Integrity,
            Self::Incomplete { .. }
            | Self::Unsettled { .. }
            | Self::IncompleteBundle { .. }
            | Self::NoIndex { .. }
            | Self::DoubledName { .. }
            | Self::Dangling { .. }
            | Self::Moved { .. } => ErrorClass::Incomplete,
            Self::Index { source, .. }
            | Self::Base { source, .. }
            | Self::Gone { source, .. }
            | Self::Source { source, .. } => source.class(),
            Self::Several { first, .. } => first.class(),
            Self::NoSecret { .. }
            | Self::NoAgent { .. }
            | Self::BadName { .. }
            | Self::Unbundled { .. }
            | Self::UnknownEntry { .. }
            | Self::UnknownImage { .. }
            | Self::NoHole { .. }
            | Self::Stale { .. } => ErrorClass::Config,
            Self::Room(error) => error.class(),
            Self::Internal { .. } => ErrorClass::Internal,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::State { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("check who owns the state directory, or choose another with `--state DIR`".to_owned())
            }
            Self::State { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some("choose a place that can be written with `--state DIR`".to_owned())
            }
            Self::State { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, then run the same command again: finished cells are kept".to_owned())
            }
            Self::NoEmulator(missing) if missing.hindrance.is_some() => missing.hindrance.clone(),
            Self::NoEmulator(missing) => Some(format!(
                "install an emulator on it (Debian: `apt install qemu-user-static`), or name a builder that runs \
                 {platform}:\n[builder.NAME] address = \"tcp://…\" platforms = [\"{platform}\"]",
                platform = missing.platform
            )),
            Self::OtherNative(other) => Some(format!(
                "name that platform first in the builder's list:\n[builder.NAME] address = \"{}\" platforms = [\"{}\", …]",
                other.builder, other.native
            )),
            Self::Incomplete { .. } | Self::NoIndex { .. } | Self::DoubledName { .. } | Self::Dangling { .. } => {
                Some("run `catamaran build`".to_owned())
            }
            Self::Unsettled { .. } => Some(
                "run `catamaran build`, which makes them again; what is written to all the time belongs into .dockerignore"
                    .to_owned(),
            ),
            Self::NotWhole { .. } => {
                Some("get the file again; `catamaran verify FILE` shows all that is wrong with it".to_owned())
            }
            Self::Source { source, .. } => match source.class() {
                ErrorClass::Incomplete | ErrorClass::Integrity => {
                    Some("get it again from where it was made: only what is whole is copied".to_owned())
                }
                _ => source.help(),
            },
            Self::Gone { reference, .. } => {
                Some(format!("take what it is now: `catamaran lock --update {reference}`"))
            }
            Self::UnknownEntry { .. } => {
                Some("name the platforms that you want with `--platform`: their images are copied without it".to_owned())
            }
            Self::Unbundled { .. } => {
                Some("copy it to a registry or into a layout (`oci:DIR`): they keep it as it stands".to_owned())
            }
            Self::IncompleteBundle { .. } => {
                Some("get the whole one, or publish what is there with `--allow-incomplete`".to_owned())
            }
            Self::Moved { component } => Some(format!("mirror all of it: `catamaran build {component}`")),
            Self::Index { source, .. } | Self::Base { source, .. } => source.help(),
            Self::UnknownImage { known, .. } if known.is_empty() => {
                Some("this project takes nothing from outside".to_owned())
            }
            Self::UnknownImage { name, known } if known.iter().any(|image| is_tail(image, name)) => {
                Some(format!("the registry's host is part of a name: there are {}", known.join(", ")))
            }
            Self::UnknownImage { known, .. } => Some(format!("there are {}", known.join(", "))),
            Self::Stale { .. } => Some("run `catamaran lock`, and commit what it writes".to_owned()),
            Self::LockContradictsItself { reference, .. } => {
                Some(format!("half of it is from elsewhere, as after a merge: `catamaran lock --update '{reference}'`"))
            }
            Self::NotHere { help, .. } => Some(help.clone()),
            Self::Several { first, .. } => first.help(),
            Self::NoHole { .. } => Some("leave it out; `catamaran status` shows what is missing".to_owned()),
            Self::NoSecret { variable, .. } => Some(format!("set {variable}, or name a file for the secret")),
            Self::Service(failure) => failure.help.clone(),
            Self::NoBuilder(error) => error.help(),
            Self::NoAgent { .. } => Some("start one with `eval $(ssh-agent)` and add a key to it".to_owned()),
            Self::Room(error) => error.help(),
            Self::State { .. } | Self::Cancelled | Self::BadName { .. } => None,
            Self::Internal { .. } => Some("this is a bug in catamaran: please report it with this text".to_owned()),
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::Room(error) => Failure::cause(error),
            Self::NoBuilder(error) => Failure::cause(error.as_ref()),
            Self::Unsettled { reason, .. } => Some(reason.clone()),
            Self::Service(failure) => failure.felt.as_ref().map(|felt| format!("felt by the build, which {felt}")),
            Self::Several { first, .. } => std::error::Error::source(first.as_ref())
                .map(ToString::to_string)
                .or_else(|| Failure::cause(first.as_ref())),
            _ => None,
        }
    }

    fn output(&self) -> Vec<String> {
        match self {
            Self::Room(error) => error.output(),
            Self::NoBuilder(error) => error.output(),
            Self::Service(failure) => failure.output.clone(),
            _ => Vec::new(),
        }
    }

    fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Room(error) => error.exit_code(),
            _ => None,
        }
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::NoEmulator(missing) => Some(missing.span.clone()),
            Self::OtherNative(other) => Some(other.span.clone()),
            Self::Base { span, .. } | Self::NotHere { span, .. } => span.clone(),
            Self::Several { first, .. } => first.span(),
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
            Self::NotWhole { findings, .. } => findings.iter().skip(1).map(|one| one as &dyn Failure).collect(),
            Self::Several { rest, .. } => rest.iter().map(|error| error as &dyn Failure).collect(),
            _ => Vec::new(),
        }
    }
}
