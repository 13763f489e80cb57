//! Variables in words, as Docker's frontend expands them (moby/buildkit frontend/dockerfile/shell): quotes, escapes,
//! `$NAME`, `${NAME}`, `${NAME[:]-word}`, `+`, `?`, `#`, `##`, `%`, `%%`, `/`, `//`.

use std::iter::Peekable;
use std::str::Chars;

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote or brace that does not end.
    #[error("`{open}` is not closed")]
    Unclosed {
        /// What was opened.
        open: char,
    },
    /// `${…}` of no known form.
    #[error("`${{{text}` is not a substitution")]
    Malformed {
        /// What stands in the braces so far.
        text: String,
    },
    /// `${NAME:?message}` of a variable that is not set.
    #[error("`{name}` is not set: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message written for this case.
        message: String,
    },
    /// Variables that are made of each other, beyond all memory.
    #[error("it becomes longer than 1 MiB")]
    TooLong,
    /// Substitutions within substitutions, deeper than anyone writes.
    #[error("substitutions are nested too deeply")]
    TooDeep,
}

/// A word with its variables replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text; an unset variable is nothing.
    pub text: String,
    /// The variables without a value and without a default of their own, each once.
    pub unset: Vec<String>,
}

const MAX_DEPTH: usize = 32;

/// Values are matched against patterns up to this length: the work grows with its square.
const MAX_VALUE: usize = 512;

/// What a word may become: values that are made of each other double with every line.
const MAX_BYTES: usize = 1 << 20;

/// Replaces the variables of `word` by what `lookup` gives, and takes quotes and escapes off.
pub fn expand(word: &str, escape: char, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, ExpandError> {
    let mut expander = Expander { chars: word.chars().peekable(), escape, lookup, unset: Vec::new(), depth: 0 };
    let text = expander.until(None)?;
    Ok(Expanded { text, unset: expander.unset })
}

struct Expander<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: Vec<String>,
    depth: usize,
}

impl Expander<'_> {
    /// Expands up to `stop`, which is consumed, or to the end of the word.
    fn until(&mut self, stop: Option<char>) -> Result<String, ExpandError> {
        let mut out = String::new();
        loop {
            match self.chars.next() {
                None if stop.is_none() => return Ok(out),
                None => return Err(ExpandError::Unclosed { open: '{' }),
                Some(c) if Some(c) == stop => return Ok(out),
                Some('\'') => self.single(&mut out)?,
                Some('"') => self.double(&mut out)?,
                Some('$') => self.dollar(&mut out)?,
                Some(c) if c == self.escape => out.extend(self.chars.next().or(Some(c))),
                Some(c) => out.push(c),
            }
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), ExpandError> {
        loop {
            match self.chars.next() {
                None => return Err(ExpandError::Unclosed { open: '\'' }),
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
            }
        }
    }

    fn double(&mut self, out: &mut String) -> Result<(), ExpandError> {
        loop {
            match self.chars.next() {
                None => return Err(ExpandError::Unclosed { open: '"' }),
                Some('"') => return Ok(()),
                Some('$') => self.dollar(out)?,
                // Only what would mean something in double quotes can be escaped there.
                Some(c) if c == self.escape => match self.chars.peek().copied() {
                    Some(next) if next == '"' || next == '$' || next == self.escape => {
                        self.chars.next();
                        out.push(next);
                    }
                    _ => out.push(c),
                },
                Some(c) => out.push(c),
            }
        }
    }

    fn dollar(&mut self, out: &mut String) -> Result<(), ExpandError> {
        if out.len() > MAX_BYTES {
            return Err(ExpandError::TooLong);
        }
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                out.push('$');
            } else {
                out.push_str(&self.value(&name).unwrap_or_default());
            }
            return Ok(());
        }
        self.chars.next();
        let name = self.name();
        if name.is_empty() {
            return Err(ExpandError::Malformed {
                text: self.chars.peek().map(ToString::to_string).unwrap_or_default(),
            });
        }
        if self.depth >= MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        self.depth += 1;
        let text = self.substitution(&name);
        self.depth -= 1;
        out.push_str(&text?);
        Ok(())
    }

    /// What follows the name in `${name…}`, the closing brace included.
    fn substitution(&mut self, name: &str) -> Result<String, ExpandError> {
        let malformed = |rest: Option<char>| match rest {
            None => ExpandError::Unclosed { open: '{' },
            Some(c) => ExpandError::Malformed { text: format!("{name}{c}") },
        };
        match self.chars.next() {
            Some('}') => Ok(self.value(name).unwrap_or_default()),
            Some(':') => {
                let operator = self.chars.next();
                let word = self.until(Some('}'))?;
                let value = (self.lookup)(name).filter(|value| !value.is_empty());
                choose(name, operator, value, word).ok_or_else(|| malformed(operator))?
            }
            operator @ Some('-' | '+' | '?') => {
                let word = self.until(Some('}'))?;
                let value = (self.lookup)(name);
                choose(name, operator, value, word).ok_or_else(|| malformed(operator))?
            }
            Some(side @ ('#' | '%')) => {
                let longest = self.chars.next_if_eq(&side).is_some();
                let pattern: Vec<char> = self.until(Some('}'))?.chars().collect();
                let value = self.value(name).unwrap_or_default();
                Ok(trimmed(&value, &pattern, side == '#', longest))
            }
            Some('/') => {
                let all = self.chars.next_if_eq(&'/').is_some();
                let both = self.until(Some('}'))?;
                let (pattern, replacement) = both.split_once('/').unwrap_or((&both, ""));
                let value = self.value(name).unwrap_or_default();
                Ok(replaced(&value, &pattern.chars().collect::<Vec<_>>(), replacement, all))
            }
            other => Err(malformed(other)),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.peek().copied() {
            let fits = c == '_' || c.is_ascii_alphabetic() || (c.is_ascii_digit() && !name.is_empty());
            if !fits {
                break;
            }
            name.push(c);
            self.chars.next();
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() && !self.unset.iter().any(|known| known == name) {
            self.unset.push(name.to_owned());
        }
        value
    }
}

/// The result of `-`, `+` or `?`; nothing if the operator is another.
fn choose(
    name: &str,
    operator: Option<char>,
    value: Option<String>,
    word: String,
) -> Option<Result<String, ExpandError>> {
    match operator? {
        '-' => Some(Ok(value.unwrap_or(word))),
        '+' => Some(Ok(value.map(|_| word).unwrap_or_default())),
        '?' => Some(value.ok_or(ExpandError::Required { name: name.to_owned(), message: word })),
        _ => None,
    }
}

/// Whether `pattern` (`*` and `?`) matches all of `text`. Linear in memory, quadratic in time at worst.
fn matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn trimmed(value: &str, pattern: &[char], front: bool, longest: bool) -> String {
    let chars: Vec<char> = value.chars().take(MAX_VALUE).collect();
    let lengths: Vec<usize> = if longest { (0..=chars.len()).rev().collect() } else { (0..=chars.len()).collect() };
    for length in lengths {
        let (part, kept) = if front {
            (&chars[..length], &chars[length..])
        } else {
            (&chars[chars.len() - length..], &chars[..chars.len() - length])
        };
        if matches(pattern, part) {
            return kept.iter().collect();
        }
    }
    value.to_owned()
}

fn replaced(value: &str, pattern: &[char], replacement: &str, all: bool) -> String {
    let chars: Vec<char> = value.chars().take(MAX_VALUE).collect();
    let mut out = String::new();
    let mut at = 0;
    let mut done = pattern.is_empty();
    while at < chars.len() {
        let hit = if done { None } else { (at + 1..=chars.len()).rev().find(|end| matches(pattern, &chars[at..*end])) };
        if let Some(end) = hit {
            out.push_str(replacement);
            at = end;
            done = !all;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(word: &str) -> String {
        let lookup = |name: &str| match name {
            "V" => Some("v1.2.3".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        expand(word, '\\', &lookup).map_or_else(|error| format!("error: {error}"), |expanded| expanded.text)
    }

    #[test]
    fn follows_the_frontend() {
        for (word, text) in [
            ("a:$V", "a:v1.2.3"),
            ("a:${V}-x", "a:v1.2.3-x"),
            ("${U}", ""),
            ("${U:-d}", "d"),
            ("${EMPTY:-d}${EMPTY-e}", "d"),
            ("${V:+x}${U:+y}${EMPTY+z}", "xz"),
            ("${U:-${V}}", "v1.2.3"),
            ("'$V'", "$V"),
            ("\"$V\"", "v1.2.3"),
            ("\\$V", "$V"),
            ("a$", "a$"),
            ("$1", "$1"),
            ("${V#v}", "1.2.3"),
            ("${V%.*}", "v1.2"),
            ("${V%%.*}", "v1"),
            ("${V##*.}", "3"),
            ("${V/./-}", "v1-2.3"),
            ("${V//./-}", "v1-2-3"),
            ("${U:?set it}", "error: `U` is not set: set it"),
            ("${V", "error: `{` is not closed"),
            ("\"x", "error: `\"` is not closed"),
        ] {
            assert_eq!(expanded(word), text, "{word}");
        }
        assert_eq!(
            expanded(&format!("{}x{}", "${U:-".repeat(1000), "}".repeat(1000))),
            "error: substitutions are nested too deeply"
        );
    }

    proptest::proptest! {
        #[test]
        fn is_total(word in "[$V{}:+#%/'\"\\\\a?*-]{0,40}") {
            drop(expand(&word, '\\', &|name| (name == "V").then(|| "vaV*".to_owned())));
        }

        #[test]
        fn plain_words_are_themselves(word in "[a-z0-9./:_@-]{0,40}") {
            assert_eq!(expanded(&word), word);
        }
    }
}
