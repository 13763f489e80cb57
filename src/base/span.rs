use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A text with the path it was read from, so that errors can show where something was written. Cheap to clone.
#[derive(Clone)]
pub struct SourceText {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    text: String,
    /// Where each line begins. Found when first asked for: most texts have nothing wrong with them, and those that have may
    /// have a hundred thousand things.
    lines: OnceLock<Vec<usize>>,
}

impl SourceText {
    /// A text read from `path`; the path is only shown, never opened again.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner { path: path.into(), text: text.into(), lines: OnceLock::new() }) }
    }

    /// Where the text came from.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// 1-based line and column (in characters) of a byte offset; offsets past the end count as the end.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let text = self.text();
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_starts().partition_point(|start| *start <= offset).max(1);
        let line_start = self.line_starts().get(line - 1).copied().unwrap_or(0);
        (line, text[line_start..offset].chars().count() + 1)
    }

    /// Where each line begins, the first one at 0.
    fn line_starts(&self) -> &[usize] {
        self.inner.lines.get_or_init(|| {
            let ends = self.inner.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(ends).collect()
        })
    }

    /// Lines `first` to `last`, 1-based and inclusive, without their ends, as far as they are there.
    pub fn lines(&self, first: usize, last: usize) -> impl Iterator<Item = (usize, &str)> {
        let starts = self.line_starts();
        let end = last.min(starts.len());
        (first.max(1)..=end).filter_map(move |line| {
            let from = starts[line - 1];
            let to = starts.get(line).copied().unwrap_or(self.text().len());
            // What follows the last line end is a line only if something stands there.
            (from < to).then(|| (line, self.text()[from..to].trim_end_matches('\n').trim_end_matches('\r')))
        })
    }

    /// The span of `range` in this text.
    pub fn span(&self, range: Range<usize>) -> Span {
        Span { source: self.clone(), range }
    }

    /// The span of a whole 1-based line; past the end, the empty span at the end.
    pub fn line_span(&self, line: usize) -> Span {
        let start = self.line_starts().get(line.wrapping_sub(1)).copied();
        match (self.lines(line, line).next(), start) {
            (Some((_, content)), Some(start)) => self.span(start..start + content.len()),
            _ => self.span(self.text().len()..self.text().len()),
        }
    }
}

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceText({})", self.path().display())
    }
}

impl PartialEq for SourceText {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || (self.path() == other.path() && self.text() == other.text())
    }
}

impl Eq for SourceText {}

/// A range of bytes in a source text: where a value was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// The text.
    pub source: SourceText,
    /// Byte offsets into it; never trusted to be in bounds.
    pub range: Range<usize>,
}

impl Span {
    /// 1-based line of the start.
    pub fn line(&self) -> usize {
        self.source.line_column(self.range.start).0
    }

    /// Path of the text.
    pub fn path(&self) -> &Path {
        self.source.path()
    }
}

/// `path:line`, the form that editors and CI systems make into a link.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path().display(), self.line())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.range)
    }
}

/// A value with the place where it was written, if it was written anywhere (a default or a flag was not).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Option<Span>,
}

impl<T> Spanned<T> {
    /// A value that stands at `span`.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span: Some(span) }
    }

    /// A value that stands in no file.
    pub const fn unplaced(value: T) -> Self {
        Self { value, span: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters() {
        let source = SourceText::new("a.toml", "one\ntwö = 3\n");
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(4), (2, 1));
        assert_eq!(source.line_column(8), (2, 4));
        assert_eq!(source.line_column(7), (2, 3), "inside a character counts as its start");
        assert_eq!(source.line_column(999), (3, 1));
        assert_eq!(source.line_span(2).range, 4..12);
        assert_eq!(source.line_span(9).range, 13..13);
        assert_eq!(source.line_span(2).to_string(), "a.toml:2");
    }
}
