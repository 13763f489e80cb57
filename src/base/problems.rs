use std::error::Error;
use std::fmt;

use super::{ErrorClass, Failure, Span};

/// One finding of a room that looks for several at once.
pub trait Problem: Failure {
    /// The finding that stands for none: a refusal without a reason is a bug, and must not end in a panic.
    fn unexplained() -> Self;
}

/// Everything that was found wrong, reported together. Never empty.
///
/// As an error it is its first finding; the others come with [`Failure::others`].
#[derive(Debug)]
pub struct Problems<P> {
    first: Box<P>,
    others: Vec<P>,
}

impl<P> Problems<P> {
    /// All findings, the first one first.
    pub fn problems(&self) -> impl Iterator<Item = &P> {
        std::iter::once(&*self.first).chain(&self.others)
    }
}

impl<P: Problem> From<Vec<P>> for Problems<P> {
    fn from(problems: Vec<P>) -> Self {
        let mut problems = problems.into_iter();
        let first = problems.next().unwrap_or_else(P::unexplained);
        Self { first: Box::new(first), others: problems.collect() }
    }
}

impl<P: Problem> From<P> for Problems<P> {
    fn from(problem: P) -> Self {
        Self { first: Box::new(problem), others: Vec::new() }
    }
}

impl<P: fmt::Display> fmt::Display for Problems<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)
    }
}

impl<P: Problem> Error for Problems<P> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.first.source()
    }
}

impl<P: Problem> Failure for Problems<P> {
    fn class(&self) -> ErrorClass {
        self.first.class()
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
