//! Text to syntax tree with spans, and ignore patterns; nothing is executed, no file is opened.
//!
//! In: the text of a Dockerfile (BuildKit's reference of the language: Dockerfile frontend 1.x). Out: its directives,
//! instructions, heredocs and stages with the place of each, and, for one target and platform, what it needs from outside.
//! Flags and, under a foreign `# syntax`, instructions that are not known here are kept and left for the builder to judge.

mod error;
mod expand;
mod facts;
mod heredoc;
pub mod ignore;
mod instruction;
mod lexer;
mod parser;

pub use error::{DockerfileError, DockerfileProblem};
pub use expand::{ExpandError, Expanded, expand};
pub use facts::{BuildInputs, Facts, StagePlatform, Use, UsedBy, context_name};
pub use heredoc::Heredoc;
pub use instruction::{Flag, Instruction, InstructionKind, Mount, Word};
pub use lexer::Directives;
pub use parser::{Dockerfile, Stage};

#[cfg(test)]
mod tests;
