//! Text to syntax tree with spans, and ignore patterns; nothing is executed, no file is opened.
//!
//! In: the text of a Dockerfile (BuildKit's reference of the language: Dockerfile frontend 1.x). Out: its directives,
//! instructions, heredocs and stages with the place of each, and, for one target and platform, what it needs from outside.
//! Flags and, under a foreign `# syntax`, instructions that are not known here are kept and left for the builder to judge.

mod error;

pub use error::{DockerfileError, DockerfileProblem};
