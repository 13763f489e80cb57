use super::error::SendError;
use super::follow::follow;
use super::tree::Tree;
use crate::dockerfile::ignore::{IgnoreError, MatchState, PatternMatcher};

/// What of a directory is meant, as the daemon asks for it. The default is all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selection {
    /// Only what these match, and what is beneath.
    pub include: Vec<String>,
    /// Nothing that these match.
    pub exclude: Vec<String>,
    /// Added to `include`, with every symbolic link on the way and what it leads to. Absent is not the same as empty.
    pub follow: Option<Vec<String>>,
}

/// Decides what of a directory is sent.
#[derive(Debug)]
pub(super) struct Filter {
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
}

/// What the children of a directory inherit.
#[derive(Debug, Clone, Default)]
pub(super) struct Inherited {
    include: MatchState,
    exclude: MatchState,
}

/// What becomes of an entry.
#[derive(Debug)]
pub(super) struct Decision {
    /// It is sent.
    pub(super) selected: bool,
    /// For a directory: something below it may be sent.
    pub(super) descend: bool,
    pub(super) inherited: Inherited,
}

impl Filter {
    /// Compiles a selection, reading the links on the ways to follow.
    pub(super) fn new(source_name: &str, selection: &Selection, tree: &Tree) -> Result<Self, SendError> {
        let mut include = selection.include.clone();
        if let Some(paths) = &selection.follow
            && let Some(targets) = follow(tree, paths)?
        {
            include.extend(targets);
            // As in fsutil: a `.` among them means everything.
            include = without_covered(&include).unwrap_or_default();
        }
        let compile = |patterns: &[String]| -> Result<Option<PatternMatcher>, IgnoreError> {
            if patterns.is_empty() { Ok(None) } else { PatternMatcher::new(patterns).map(Some) }
        };
        let failed = |error| SendError::Pattern { source_name: source_name.to_owned(), error };
        Ok(Self { include: compile(&include).map_err(failed)?, exclude: compile(&selection.exclude).map_err(failed)? })
    }

    /// Decides on the entry at `path`, whose directory left `parent`.
    ///
    /// A directory that is not sent can still have something below it that is: an exception, or a longer include pattern.
    /// Only where no pattern can say so is it left unread.
    pub(super) fn decide(&self, path: &str, is_directory: bool, parent: &Inherited) -> Decision {
        let mut decision = Decision { selected: true, descend: is_directory, inherited: Inherited::default() };
        if let Some(include) = &self.include {
            let (matched, state) = include.matches_with_parent(path, &parent.include);
            decision.inherited.include = state;
            if !matched {
                decision.selected = false;
                decision.descend &= is_directory && include.may_match_below(path);
            }
        }
        if let Some(exclude) = &self.exclude {
            let (matched, state) = exclude.matches_with_parent(path, &parent.exclude);
            decision.inherited.exclude = state;
            if matched {
                decision.selected = false;
                decision.descend &= is_directory && exclude.may_except_below(path);
            }
        }
        decision
    }
}

/// Leaves out what lies below the entry before it, in a list that is meant to be sorted (fsutil `dedupePaths`); `None` if the
/// root itself is in it, which is no restriction at all.
pub(super) fn without_covered(paths: &[String]) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        if path == "." {
            return None;
        }
        let last = kept.last().map_or("", String::as_str);
        let covered = path.strip_prefix(last).is_some_and(|rest| rest.starts_with('/'));
        if !covered {
            kept.push(path.clone());
        }
    }
    Some(kept)
}
