//! Files to one `Project`, with the span of every value.
//!
//! In: a [`LoadRequest`] (where to look, which files, which environment, which overrides). Out: a [`Project`] whose values
//! are validated one by one and remember where they were written. What needs more than one value at a time (cycles,
//! references to other components, Dockerfiles) is judged by `plan`. The only disk access is reading, in `files` and
//! `discover`; nothing here reads the environment: what of it may be used comes in with the request.

mod error;
mod files;
mod project;

pub use error::{ConfigError, ConfigProblem};
pub use files::{DiskFiles, ReadText};
pub use project::{
    BuilderSpec, ComponentSpec, ContextRef, ExternalSpec, LoadRequest, Origin, Project, Readiness, SecretSpec,
    ServiceSpec, Variable,
};

/// Finds the project file (walking up from the request's directory unless files are named), reads and validates it.
///
/// Every problem that can be found independently of the others is in the one error.
pub fn load(request: &LoadRequest) -> Result<Project, ConfigError> {
    Err(ConfigError::from(vec![ConfigProblem::NoProject { directory: request.directory.clone() }]))
}
