use crate::base::ErrorClass;

/// A known failure: how it is recognised, what it means and what helps.
///
/// An entry applies to an error if all it asks for is so: the error's class is one of `classes` (where any are named), the
/// exit code of the failed process one of `exits` (where any are named), and one of the `words` stands in the cause or in a
/// line of the output (where there are any).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Entry {
    /// `C301`. Stable: an id is never given to another failure, also after its entry is gone.
    pub id: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// Classes of errors that it may explain; any, if there are none.
    pub classes: &'static [ErrorClass],
    /// Exit codes of the failed process that it explains; any, if there are none.
    pub exits: &'static [i32],
    /// What others say when it happens, each within one line, in any case; `*` stands for anything.
    pub words: &'static [&'static str],
    /// Why it happens, in a sentence or two.
    pub means: &'static str,
    /// What to do: imperative, at most one command.
    pub fix: &'static str,
    /// An original message, as its author wrote it.
    pub seen: &'static str,
}

impl Entry {
    /// An entry that is recognised by `words`.
    pub(super) const fn new(id: &'static str, title: &'static str, words: &'static [&'static str]) -> Self {
        Self { id, title, classes: &[], exits: &[], words, means: "", fix: "", seen: "" }
    }

    /// Only errors of these classes.
    pub(super) const fn of(self, classes: &'static [ErrorClass]) -> Self {
        Self { classes, ..self }
    }

    /// Only processes that ended with one of these codes.
    pub(super) const fn exits(self, exits: &'static [i32]) -> Self {
        Self { exits, ..self }
    }

    /// Why it happens.
    pub(super) const fn means(self, means: &'static str) -> Self {
        Self { means, ..self }
    }

    /// What helps.
    pub(super) const fn fix(self, fix: &'static str) -> Self {
        Self { fix, ..self }
    }

    /// An original message.
    pub(super) const fn seen(self, seen: &'static str) -> Self {
        Self { seen, ..self }
    }
}
