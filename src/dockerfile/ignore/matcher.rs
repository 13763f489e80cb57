use super::IgnoreError;
use super::index::Index;
use super::pattern::{Kind, Pattern};

/// Patterns in their order, ready to match.
///
/// Cheap for any number of patterns: a path meets only those that an index finds for it.
#[derive(Debug, Clone)]
pub struct PatternMatcher {
    patterns: Vec<Pattern>,
    index: Index,
    reach: Reach,
    exception_reach: Reach,
}

/// Which patterns matched a directory: what its children inherit. The default is that of the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchState(Vec<u32>);

impl PatternMatcher {
    /// Compiles patterns; blank ones are dropped, the first malformed one is an error.
    ///
    /// moby finds some mistakes only when a path comes to the pattern; here every one is found at once.
    pub fn new<P: AsRef<str>>(patterns: &[P]) -> Result<Self, IgnoreError> {
        let mut compiled = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            compiled.extend(Pattern::compile(pattern.as_ref())?);
        }
        Ok(Self {
            index: Index::new(&compiled),
            reach: Reach::new(compiled.iter().filter(|pattern| !pattern.exception)),
            exception_reach: Reach::new(compiled.iter().filter(|pattern| pattern.exception)),
            patterns: compiled,
        })
    }

    /// Whether the last pattern that matches `path` or a directory above it is no exception.
    ///
    /// `path` is relative and clean, with `/` between its parts. For a walk use [`Self::matches_with_parent`], which differs
    /// in a corner.
    pub fn matches(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let mut found = Vec::new();
        let last = ends.filter_map(|end| {
            self.index.collect(&self.patterns, &path[..end], &mut found);
            found.last().copied()
        });
        last.max().is_some_and(|last| !self.patterns[last as usize].exception)
    }

    /// The same while walking: what matched the directory that holds `path` is given, and what holds for `path` comes back.
    ///
    /// moby's walk does not note that a pattern matches a directory when an earlier one has already, and then that pattern
    /// is not inherited: with `a`, `!a/b`, `*` the walk keeps `a/b` although `*` matches `a`. So it is here, because what a
    /// builder is sent decides its cache keys.
    pub fn matches_with_parent(&self, path: &str, parent: &MatchState) -> (bool, MatchState) {
        let mut own = Vec::new();
        self.index.collect(&self.patterns, path, &mut own);
        let mut state = MatchState(Vec::with_capacity(own.len() + parent.0.len()));
        let mut matched = false;
        let mut own = own.into_iter().peekable();
        let mut inherited = parent.0.iter().copied().peekable();
        loop {
            let (number, is_inherited) = match (own.peek(), inherited.peek()) {
                (None, None) => break,
                (Some(mine), Some(theirs)) if mine < theirs => (*mine, false),
                (Some(mine), None) => (*mine, false),
                (_, Some(theirs)) => (*theirs, true),
            };
            own.next_if_eq(&number);
            inherited.next_if_eq(&number);
            let exception = self.patterns[number as usize].exception;
            if is_inherited || exception == matched {
                state.0.push(number);
                matched = !exception;
            }
        }
        (matched, state)
    }

    /// Whether there is any pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern could match something below `directory` that does not match it already. May say yes in vain.
    pub fn may_match_below(&self, directory: &str) -> bool {
        self.reach.goes_below(directory)
    }

    /// Whether an exception could match something below `directory`. May say yes in vain.
    pub fn may_except_below(&self, directory: &str) -> bool {
        self.exception_reach.goes_below(directory)
    }
}

/// Where patterns can match, by what their paths must begin with.
#[derive(Debug, Clone, Default)]
struct Reach {
    /// Begins of all patterns, sorted.
    begins: Vec<Box<str>>,
    /// Begins of those patterns that can go on with anything, sorted; without those that another one covers.
    open: Vec<Box<str>>,
}

impl Reach {
    fn new<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> Self {
        let mut reach = Self::default();
        for pattern in patterns {
            let begin = pattern.literal_prefix();
            reach.begins.push(begin.into());
            if !matches!(pattern.kind, Kind::Exact) {
                reach.open.push(begin.into());
            }
        }
        reach.begins.sort_unstable();
        reach.begins.dedup();
        reach.open.sort_unstable();
        reach.open.dedup_by(|longer, kept| longer.starts_with(&**kept));
        reach
    }

    fn goes_below(&self, directory: &str) -> bool {
        let inside = format!("{directory}/");
        let first = self.begins.partition_point(|begin| **begin < *inside);
        if self.begins.get(first).is_some_and(|begin| begin.starts_with(&inside)) {
            return true;
        }
        // No begin covers another, so that the only one that `inside` can begin with is the last that sorts before it.
        let behind = self.open.partition_point(|begin| **begin <= *inside);
        behind > 0 && inside.starts_with(&*self.open[behind - 1])
    }
}
