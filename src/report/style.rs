use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::Printable;

/// How text is shown on one stream: what it can show, how wide it is, and where the reader stands.
#[derive(Debug, Clone)]
pub struct Style {
    /// Whether escape sequences for colour are understood and wanted.
    pub color: bool,
    /// Whether `✗ ▸` may be used; else `x >`.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
    /// The reader's directory: paths below it are shown relative to it.
    pub directory: PathBuf,
    /// The project's folder: relative paths start there.
    pub root: PathBuf,
}

/// What a piece of text means; every meaning has one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something failed.
    Bad,
    /// Something is there.
    Good,
    /// Worth a second look.
    Warn,
    /// Of secondary interest.
    Faint,
    /// A name that the eye should find.
    Strong,
}

impl Style {
    /// No colour, no unicode, 80 columns: what a file or a test gets.
    pub fn plain(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self { color: false, unicode: false, width: 80, root: directory.clone(), directory }
    }

    /// `text` in the look of `tone`. Legible without it: colour never carries meaning alone.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Bad => "1;31",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The mark of a failure.
    pub const fn cross(&self) -> &'static str {
        if self.unicode { "✗" } else { "x" }
    }

    /// The mark of something running.
    pub const fn arrow(&self) -> &'static str {
        if self.unicode { "▸" } else { ">" }
    }

    /// A path as the reader would type it, its control characters made visible.
    pub fn path(&self, path: &Path) -> String {
        let path = &self.root.join(path);
        let shown = path.strip_prefix(&self.directory).ok().filter(|rest| !rest.as_os_str().is_empty()).unwrap_or(path);
        printable(&shown.to_string_lossy())
    }
}

/// `text` from outside as one line: control characters visible, tabs and line ends as spaces.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split(['\n', '\r', '\t']) {
        if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
        let _ = write!(out, "{}", Printable(part));
    }
    out
}

/// `3.0 s`, `98.2 s`, `1 m 41 s`, `2 h 3 m`: never more than two numbers.
pub fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..100 => format!("{:.1} s", took.as_secs_f64()),
        100..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1 cell`, `26 cells`; words that do not take an `s` are given whole.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Columns that a text takes: combining marks none, East Asian wide characters and emoji two.
///
/// An approximation by ranges: it decides where lines are cut, never what they say.
pub(super) fn columns(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f
            | 0xff00..=0xff60
            | 0x1f300..=0x1faff
            | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

/// The start of `text` that fits into `width` columns, ending in `…` (or `~`) where something was cut.
pub(super) fn fit(text: &str, width: usize, unicode: bool) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += columns(c.encode_utf8(&mut [0; 4]));
        if used > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push(if unicode { '…' } else { '~' });
    }
    out
}

/// `text` in lines of at most `width` columns, broken at blanks; a word that is wider has a line of its own.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `text` and spaces up to `width` columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    let mut out = text.to_owned();
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(columns(text))));
    out
}

/// `left` and, where it fits into `width` columns, `right` at the right edge; else `right` on a line of its own.
pub(super) fn justified(left: &str, right: &str, width: usize) -> String {
    let (left_columns, right_columns) = (columns(left), columns(right));
    if left_columns + right_columns + 2 <= width {
        format!("{left}{}{right}", " ".repeat(width - left_columns - right_columns))
    } else {
        format!("{left}\n{}{right}", " ".repeat(width.saturating_sub(right_columns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_numbers_at_most() {
        let shown = |seconds: f64| duration(Duration::from_secs_f64(seconds));
        assert_eq!(shown(0.08), "0.1 s");
        assert_eq!(shown(98.24), "98.2 s");
        assert_eq!(shown(101.0), "1 m 41 s");
        assert_eq!(shown(7380.0), "2 h 3 m");
    }

    #[test]
    fn cut_text_fits_and_says_so() {
        assert_eq!(fit("abcdef", 6, true), "abcdef");
        assert_eq!(fit("abcdefg", 6, true), "abcde…");
        assert_eq!(fit("漢字漢字", 5, false), "漢字~");
        assert_eq!(fit("abc", 0, true), "");
    }

    #[test]
    fn escapes_from_outside_are_shown_not_obeyed() {
        assert_eq!(printable("a\x1b[2Jb\r\nc"), "a\\u{1b}[2Jb c");
    }

    #[test]
    fn paths_below_the_reader_are_relative() {
        let style = Style::plain("/home/me/project");
        assert_eq!(style.path(Path::new("/home/me/project/src/Dockerfile")), "src/Dockerfile");
        assert_eq!(style.path(Path::new("/etc/hosts")), "/etc/hosts");
    }
}
