//! Files to one `Project`, with the span of every value.
//!
//! In: a [`LoadRequest`] (where to look, which files, which environment, which overrides). Out: a [`Project`] whose values
//! are validated one by one and remember where they were written. What needs more than one value at a time (cycles,
//! references to other components, Dockerfiles) is judged by `plan`. The only disk access is reading, in `files` and
//! `discover`; nothing here reads the environment: what of it may be used comes in with the request.

mod bake;
mod cache;
mod compose;
mod discover;
mod document;
mod error;
mod files;
mod git;
mod hcl;
pub mod init;
mod interpolate;
mod load;
mod lock;
mod native;
mod paths;
mod project;
mod reader;
mod schema;
mod service;
mod solve;
mod solve_keys;
mod template;
mod templates;
mod vars;
mod vary;
mod versions;

pub use bake::{BakeRequest, Resolved, load_bake, print_bake, resolve as resolve_bake};
pub use error::{ConfigError, ConfigProblem};
pub use files::{DiskFiles, ReadText};
pub use load::load;
pub use lock::{LOCK_FILE, LockFile, LockedImage};
pub use paths::{is_pinned, is_remote};
pub use project::{
    BuilderSpec, ComponentSpec, ContextRef, ExternalSpec, Find, FindOutcome, LoadRequest, Origin, Project, Readiness,
    SecretSpec, ServicePlatform, ServicePort, ServiceSpec, Variable, Variation,
};
pub use schema::project_schema;
pub use solve::{AnnotationLevel, AnnotationSpec, SolveSpec};
pub use template::{Rendered, render};

#[cfg(test)]
mod tests;
