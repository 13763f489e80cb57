//! Compose files: what they say about building images, as bake targets.
//!
//! In: texts with their paths, the environment for interpolation. Out: one target per service with a `build`. Everything
//! about running services has no meaning here and is left out; inside `build` an unknown key is an error. Source: the
//! Compose Specification ("Build Specification", "Interpolation", "Merge") and how bake reads it.

mod casts;
pub(crate) mod convert;
pub(crate) mod dotenv;
pub(crate) mod interpolate;
pub(crate) mod load;
pub(crate) mod merge;
mod paths;
mod running;
pub(crate) mod schema;
mod timestamp;
pub(crate) mod yaml;
