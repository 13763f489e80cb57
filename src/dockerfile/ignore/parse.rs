use super::{IgnoreError, PatternMatcher, clean_path};

/// The frontend reads ignore files with Go's `bufio.Scanner`, which gives up on a line of this length.
const LONGEST_LINE: usize = 64 * 1024;

/// The patterns of a `.dockerignore`, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerIgnore {
    patterns: Vec<String>,
}

impl DockerIgnore {
    /// Reads the text of an ignore file as the Dockerfile frontend does (`moby/patternmatcher` `ignorefile`).
    ///
    /// A byte order mark is dropped, and so are lines that start with `#` (not with a blank before it) and empty ones.
    /// Patterns are trimmed, cleaned, and lose one leading `/`, also behind their `!`. They are not compiled yet: a malformed
    /// one is found by [`Self::matcher`].
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.split('\n').enumerate() {
            if line.len() >= LONGEST_LINE {
                return Err(IgnoreError::LongLine { line: index + 1 });
            }
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (sign, rest) = line.strip_prefix('!').map_or(("", line), |rest| ("!", rest.trim()));
            let mut pattern = if rest.is_empty() { String::new() } else { clean_path(rest) };
            if pattern.len() > 1 && pattern.starts_with('/') {
                pattern.remove(0);
            }
            patterns.push(format!("{sign}{pattern}"));
        }
        Ok(Self { patterns })
    }

    /// The patterns, exceptions with their `!`.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// A matcher that says what is left out.
    pub fn matcher(&self) -> Result<PatternMatcher, IgnoreError> {
        PatternMatcher::new(&self.patterns)
    }
}
