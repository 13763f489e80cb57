use super::expression::{Expression, parse};
use super::syntax::{Malformed, check};
use super::{IgnoreError, clean_path};

/// One pattern, compiled.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// Its text, cleaned, without the `!`.
    pub(super) text: Box<str>,
    /// It makes an exception.
    pub(super) exception: bool,
    pub(super) kind: Kind,
}

/// How a pattern matches, as moby chooses it for speed. It shows: an unquoted `^` is a character in the first three and an
/// assertion in the last.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// The path itself.
    Exact,
    /// Paths that begin with this many bytes of the text: a trailing `**`.
    Prefix(usize),
    /// Paths that end with the text from this byte on: a leading `**`. If a `/` stands there, what follows it alone, too.
    Suffix(usize),
    /// Paths that match this expression.
    Glob(Expression),
}

impl Pattern {
    /// Compiles one pattern as it was written; `None` for a blank one.
    pub(super) fn compile(written: &str) -> Result<Option<Self>, IgnoreError> {
        let trimmed = written.trim();
        if trimmed.is_empty() {
            return Ok(None);
        }
        // The `!` is still there: `!a/../b` loses it together with the `a`, as it does in moby.
        let cleaned = clean_path(trimmed);
        let (exception, text) = cleaned.strip_prefix('!').map_or((false, cleaned.as_str()), |text| (true, text));
        if text.is_empty() {
            return Err(IgnoreError::BareException);
        }
        let kind = check(text, ".")
            .and_then(|_| translate(text))
            .map_err(|Malformed| IgnoreError::Malformed { pattern: text.to_owned() })?;
        Ok(Some(Self { text: text.into(), exception, kind }))
    }

    /// Whether it matches this path, parents not considered.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => *self.text == *path,
            Kind::Prefix(length) => path.as_bytes().starts_with(&self.text.as_bytes()[..*length]),
            Kind::Suffix(start) => {
                let suffix = &self.text.as_bytes()[*start..];
                path.as_bytes().ends_with(suffix)
                    || suffix.strip_prefix(b"/").is_some_and(|name| name == path.as_bytes())
            }
            Kind::Glob(expression) => expression.is_match(path),
        }
    }

    /// What every path that matches begins with.
    pub(super) fn literal_prefix(&self) -> &str {
        match &self.kind {
            Kind::Exact => &self.text,
            Kind::Prefix(length) => &self.text[..*length],
            Kind::Suffix(_) => "",
            // Alternatives are not anchored, and a repetition can make the character before it optional.
            Kind::Glob(_) if self.text.contains(['|', '{', '\u{feff}']) => "",
            Kind::Glob(_) => self.text.split(['*', '?', '[', ']', '\\', '^']).next().unwrap_or_default(),
        }
    }

    /// Whether each `/`-separated part of the text that has no `*` or `?` stands for a part of the path: no classes,
    /// escapes or alternatives that could reach over a `/`.
    pub(super) fn is_plain(&self) -> bool {
        let special: &[char] = match &self.kind {
            Kind::Glob(_) => &['\\', '[', ']', '{', '}', '|', '^', '\u{feff}'],
            // The byte order mark shifts what is cut off from a `**`.
            Kind::Exact | Kind::Prefix(_) | Kind::Suffix(_) => &['\u{feff}'],
        };
        !self.text.contains(special)
    }
}

/// Translates a cleaned pattern the way moby does, step by step: the steps are what defines the meaning of patterns.
fn translate(text: &str) -> Result<Kind, Malformed> {
    #[derive(PartialEq)]
    enum Detected {
        Exact,
        Prefix,
        Suffix,
        Expression,
    }
    // Go's `text/scanner` drops a byte order mark.
    let scanned = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut expression = String::from("^");
    let mut detected = Detected::Exact;
    let mut characters = scanned.chars().peekable();
    let mut first = true;
    while let Some(c) = characters.next() {
        match c {
            '*' if characters.next_if_eq(&'*').is_some() => {
                // `**/` is the same as `**`.
                characters.next_if_eq(&'/');
                if characters.peek().is_some() {
                    expression.push_str("(.*/)?");
                    detected = Detected::Expression;
                } else if detected == Detected::Exact {
                    detected = Detected::Prefix;
                } else {
                    expression.push_str(".*");
                    detected = Detected::Expression;
                }
                if first {
                    detected = Detected::Suffix;
                }
            }
            '*' => {
                expression.push_str("[^/]*");
                detected = Detected::Expression;
            }
            '?' => {
                expression.push_str("[^/]");
                detected = Detected::Expression;
            }
            '.' | '+' | '(' | ')' | '$' => expression.extend(['\\', c]),
            '\\' => {
                expression.push('\\');
                if let Some(escaped) = characters.next() {
                    expression.push(escaped);
                    detected = Detected::Expression;
                }
            }
            '[' | ']' => {
                expression.push(c);
                detected = Detected::Expression;
            }
            c => expression.push(c),
        }
        first = false;
    }
    Ok(match detected {
        Detected::Exact => Kind::Exact,
        Detected::Prefix => Kind::Prefix(text.len() - 2),
        Detected::Suffix => Kind::Suffix(2),
        Detected::Expression => {
            expression.push('$');
            Kind::Glob(parse(&expression)?)
        }
    })
}
