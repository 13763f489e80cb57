use std::ops::Range;

use super::heredoc::{self, Heredoc};
use crate::base::{SourceText, Span, Spanned};

/// The parser directives at the head of a file (`# syntax=…`, `# escape=…`, `# check=…`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The frontend that is to read the file.
    pub syntax: Option<Spanned<String>>,
    /// The character that joins lines and escapes: `\`, or `` ` ``.
    pub escape: char,
    /// Settings of the builder's linter, as written.
    pub check: Option<Spanned<String>>,
}

impl Directives {
    /// Whether another frontend than Docker's own reads this file, so that its language may be any.
    pub fn is_foreign(&self) -> bool {
        self.syntax.as_ref().is_some_and(|syntax| {
            let image = syntax.value.trim();
            let image = image.strip_prefix("docker.io/").unwrap_or(image);
            let name = image.split(['@', ':']).next().unwrap_or(image);
            name != "docker/dockerfile" && name != "docker/dockerfile-upstream"
        })
    }
}

/// One instruction's text with its continuations joined, and the heredocs that follow it.
#[derive(Debug, Clone)]
pub(super) struct LogicalLine {
    /// The joined text, comments and line ends left out.
    pub(super) text: String,
    /// Where each piece of `text` came from: (offset in `text`, offset in the file), ascending.
    pieces: Vec<(usize, usize)>,
    /// Bytes of the file that it covers, heredocs included.
    pub(super) range: Range<usize>,
    /// Its heredocs, in the order of their markers.
    pub(super) heredocs: Vec<Heredoc>,
}

impl LogicalLine {
    /// The bytes of the file that `range` of the joined text came from.
    pub(super) fn source_range(&self, range: Range<usize>) -> Range<usize> {
        let place = |offset: usize| {
            let at = self.pieces.partition_point(|piece| piece.0 <= offset).saturating_sub(1);
            self.pieces.get(at).map_or(self.range.start, |piece| piece.1 + (offset - piece.0))
        };
        // The end is placed by the last byte inside, which keeps it on the line it belongs to.
        let start = place(range.start);
        let end = if range.end > range.start { place(range.end - 1) + 1 } else { start };
        start..end
    }
}

/// A heredoc whose end never came.
#[derive(Debug)]
pub(super) struct Unterminated {
    pub(super) name: String,
    pub(super) span: Span,
}

/// The lines of a file as the parser wants them.
pub(super) struct Lexed {
    pub(super) directives: Directives,
    /// Directives that are written twice or hold a value that is not allowed: (span, message, help).
    pub(super) bad_directives: Vec<(Span, String, String)>,
    pub(super) lines: Vec<LogicalLine>,
    pub(super) unterminated: Option<Unterminated>,
}

/// A physical line: its bytes in the file without the line end.
struct Physical {
    start: usize,
    end: usize,
}

/// Splits a file into directives and logical lines. Total: every text has a result.
pub(super) fn lex(source: &SourceText) -> Lexed {
    let text = source.text();
    let physical = physical_lines(text);
    let (directives, bad_directives, mut next) = directives(source, &physical);
    let mut lines = Vec::new();
    let mut unterminated = None;
    while next < physical.len() {
        let line = &text[physical[next].start..physical[next].end];
        if is_blank(line) || is_comment(line) {
            next += 1;
            continue;
        }
        let (mut logical, after) = join(text, &physical, next, directives.escape);
        next = after;
        for marker in heredoc::markers(&logical.text) {
            let body_start = physical.get(next).map_or(text.len(), |line| line.start);
            let end = physical[next..].iter().position(|line| marker.ends_at(&text[line.start..line.end]));
            let Some(length) = end else {
                let span = source.span(logical.source_range(marker.range.clone()));
                unterminated = Some(Unterminated { name: marker.name, span });
                next = physical.len();
                break;
            };
            let last = &physical[next + length];
            logical.range.end = last.end;
            logical.heredocs.push(marker.with_body(body_start..last.start));
            next += length + 1;
        }
        lines.push(logical);
    }
    Lexed { directives, bad_directives, lines, unterminated }
}

fn physical_lines(text: &str) -> Vec<Physical> {
    // A byte order mark is no part of the first line.
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut lines = Vec::new();
    for line in text[start..].split_inclusive('\n') {
        let content = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        lines.push(Physical { start, end: start + content.len() });
        start += line.len();
    }
    lines
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Directives stand before everything else, one per line; the first line that is none ends them.
fn directives(source: &SourceText, physical: &[Physical]) -> (Directives, Vec<(Span, String, String)>, usize) {
    let mut found = Directives { syntax: None, escape: '\\', check: None };
    let mut bad = Vec::new();
    let mut escape_seen = false;
    let mut next = 0;
    for line in physical {
        let content = &source.text()[line.start..line.end];
        // `#!` lets a Dockerfile be run as a script and is passed over.
        if next == 0 && content.starts_with("#!") {
            next += 1;
            continue;
        }
        let Some((name, value, offset)) = directive(content) else { break };
        let at = line.start + offset;
        let span = source.span(at..at + value.len());
        let twice = match name.as_str() {
            "syntax" => found.syntax.replace(Spanned::new(value.to_owned(), span.clone())).is_some(),
            "check" => found.check.replace(Spanned::new(value.to_owned(), span.clone())).is_some(),
            "escape" => {
                match value {
                    "\\" => found.escape = '\\',
                    "`" => found.escape = '`',
                    _ => bad.push((
                        span.clone(),
                        format!("`{value}` cannot be the escape character"),
                        "write `\\` or a backtick".to_owned(),
                    )),
                }
                std::mem::replace(&mut escape_seen, true)
            }
            _ => break,
        };
        if twice {
            bad.push((span, format!("a second `{name}` directive"), "keep one of them".to_owned()));
        }
        next += 1;
    }
    (found, bad, next)
}

/// `# name = value`: the lower-cased name, the value and its offset in the line.
fn directive(line: &str) -> Option<(String, &str, usize)> {
    let rest = line.trim_start().strip_prefix('#')?;
    let (name, value) = rest.split_once('=')?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let offset = line.len() - value.trim_start().len();
    let value = value.trim();
    (!value.is_empty()).then(|| (name.to_ascii_lowercase(), value, offset))
}

/// Joins the line at `first` with its continuations; returns it and the number of the line after it.
///
/// Between continued lines, comments and blank lines are passed over (BuildKit warns about the blank ones).
fn join(text: &str, physical: &[Physical], first: usize, escape: char) -> (LogicalLine, usize) {
    let mut joined = String::new();
    let mut pieces = Vec::new();
    let mut end = physical[first].end;
    let mut next = first;
    let indent = text[physical[first].start..end].len() - text[physical[first].start..end].trim_start().len();
    let start = physical[first].start + indent;
    while next < physical.len() {
        let line = &physical[next];
        let begin = if next == first { start } else { line.start };
        let content = &text[begin..line.end];
        next += 1;
        if next > first + 1 && (is_comment(content) || is_blank(content)) {
            continue;
        }
        pieces.push((joined.len(), begin));
        end = line.end;
        if let Some(kept) = continued(content, escape) {
            joined.push_str(kept);
        } else {
            joined.push_str(content);
            break;
        }
    }
    (LogicalLine { text: joined, pieces, range: start..end, heredocs: Vec::new() }, next)
}

/// What a line adds if it goes on: it ends in one escape character (two of them escape each other), blanks may follow.
fn continued(line: &str, escape: char) -> Option<&str> {
    let kept = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!kept.ends_with(escape)).then_some(kept)
}
