use crate::base::{ErrorClass, Failure, Span};

/// One thing that is plainly broken in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DockerfileProblem {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Where.
    pub span: Span,
}

/// Everything that was found broken in one Dockerfile, in its order. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", first.message)]
pub struct DockerfileError {
    first: Box<DockerfileProblem>,
    others: Vec<DockerfileProblem>,
}

impl DockerfileError {
    pub(super) fn new(first: DockerfileProblem, others: Vec<DockerfileProblem>) -> Self {
        Self { first: Box::new(first), others }
    }

    /// All problems, the first one first.
    pub fn into_problems(self) -> impl Iterator<Item = DockerfileProblem> {
        std::iter::once(*self.first).chain(self.others)
    }
}

impl Failure for DockerfileProblem {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn help(&self) -> Option<String> {
        self.help.clone()
    }

    fn span(&self) -> Option<Span> {
        Some(self.span.clone())
    }
}

impl Failure for DockerfileError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn help(&self) -> Option<String> {
        self.first.help()
    }

    fn span(&self) -> Option<Span> {
        self.first.span()
    }

    fn others(&self) -> Vec<&dyn Failure> {
        self.others.iter().map(|problem| problem as &dyn Failure).collect()
    }
}
