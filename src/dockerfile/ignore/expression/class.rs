use regex::Regex;

use super::Malformed;

type Ranges = &'static [(char, char)];

const DIGIT: Ranges = &[('0', '9')];
const SPACE: Ranges = &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')];
const WORD: Ranges = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];

/// POSIX classes by name, ASCII only (Go `regexp/syntax`: Kinds of single characters).
const POSIX: &[(&str, Ranges)] = &[
    ("alnum", &[('0', '9'), ('A', 'Z'), ('a', 'z')]),
    ("alpha", &[('A', 'Z'), ('a', 'z')]),
    ("ascii", &[('\0', '\u{7f}')]),
    ("blank", &[('\t', '\t'), (' ', ' ')]),
    ("cntrl", &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')]),
    ("digit", DIGIT),
    ("graph", &[('!', '~')]),
    ("lower", &[('a', 'z')]),
    ("print", &[(' ', '~')]),
    ("punct", &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
    ("space", &[('\t', '\r'), (' ', ' ')]),
    ("upper", &[('A', 'Z')]),
    ("word", WORD),
    ("xdigit", &[('0', '9'), ('A', 'F'), ('a', 'f')]),
];

/// A set of characters.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Class {
    pub(super) negated: bool,
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
enum Item {
    Range(char, char),
    /// Characters in, or if negated not in, fixed ranges.
    Named(Ranges, bool),
    /// A property of Unicode. Rare enough to be left to the `regex` crate's tables.
    Property(Box<Regex>),
}

impl Class {
    pub(super) fn contains(&self, c: char) -> bool {
        let hit = self.items.iter().any(|item| match item {
            Item::Range(low, high) => *low <= c && c <= *high,
            Item::Named(ranges, negated) => ranges.iter().any(|(low, high)| *low <= c && c <= *high) != *negated,
            Item::Property(expression) => expression.is_match(c.encode_utf8(&mut [0; 4])),
        });
        hit != self.negated
    }

    pub(super) fn add_range(&mut self, low: char, high: char) {
        self.items.push(Item::Range(low, high));
    }

    /// Adds what `\d`, `\D`, `\s`, `\S`, `\w` or `\W` stands for; false if `letter` is none of these.
    pub(super) fn add_perl(&mut self, letter: char) -> bool {
        let ranges = match letter.to_ascii_lowercase() {
            'd' => DIGIT,
            's' => SPACE,
            'w' => WORD,
            _ => return false,
        };
        self.items.push(Item::Named(ranges, letter.is_ascii_uppercase()));
        true
    }

    /// Adds the POSIX class of a name that may begin with `^`.
    pub(super) fn add_posix(&mut self, name: &str) -> Result<(), Malformed> {
        let plain = name.strip_prefix('^').unwrap_or(name);
        let (_, ranges) = POSIX.iter().find(|(known, _)| *known == plain).ok_or(Malformed)?;
        self.items.push(Item::Named(ranges, plain.len() < name.len()));
        Ok(())
    }

    /// Adds the characters with a property of Unicode (category or script), or those without it.
    pub(super) fn add_property(&mut self, name: &str, negated: bool) -> Result<(), Malformed> {
        let plain = name.strip_prefix('^').unwrap_or(name);
        let negated = negated != (plain.len() < name.len());
        if plain.is_empty() || !plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Malformed);
        }
        let letter = if negated { 'P' } else { 'p' };
        let expression = Regex::new(&format!(r"\A\{letter}{{{plain}}}\z")).map_err(|_| Malformed)?;
        self.items.push(Item::Property(Box::new(expression)));
        Ok(())
    }
}
