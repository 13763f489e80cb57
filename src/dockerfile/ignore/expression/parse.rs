use super::{Atom, Class, Expression, Malformed, Piece};

/// Go refuses more repetitions than this (`regexp/syntax`: `parseRepeat`).
const MOST_REPETITIONS: u32 = 1000;

/// Compiles the expression that a pattern was translated to.
///
/// It holds what `pattern::translate` writes: `^`, `$`, `[^/]*`, `[^/]`, `(.*/)?`, `.*`, and what it lets through from the
/// pattern: classes, escapes, and `|` and `{n,m}`, which moby means to quote but does not (its table of characters to quote
/// has room for the first 64 only).
pub(in super::super) fn parse(text: &str) -> Result<Expression, Malformed> {
    let mut parser = Parser { rest: text, alternatives: vec![Vec::new()], repeated: false };
    while !parser.rest.is_empty() {
        parser.step()?;
    }
    Ok(Expression::new(&parser.alternatives))
}

struct Parser<'a> {
    rest: &'a str,
    alternatives: Vec<Vec<Piece>>,
    /// The last thing read was a repetition: another one is not allowed behind it.
    repeated: bool,
}

impl Parser<'_> {
    fn step(&mut self) -> Result<(), Malformed> {
        let repeated = std::mem::take(&mut self.repeated);
        if let Some(rest) = self.rest.strip_prefix("(.*/)?") {
            self.rest = rest;
            self.push(Atom::Directories);
            self.repeated = true;
            return Ok(());
        }
        if let Some((least, most, rest)) = repetition(self.rest) {
            let too_many = |count: u32| count > MOST_REPETITIONS;
            if repeated || too_many(least) || most.is_some_and(|most| too_many(most) || most < least) {
                return Err(Malformed);
            }
            self.rest = rest;
            return self.repeat(least, most);
        }
        let c = self.take()?;
        match c {
            '^' => self.push(Atom::Begin),
            '$' => self.push(Atom::End),
            '.' => self.push(Atom::Any),
            '|' => self.alternatives.push(Vec::new()),
            '*' if repeated => return Err(Malformed),
            '*' => return self.repeat(0, None),
            '[' => {
                let class = self.class()?;
                self.push(Atom::Class(class));
            }
            '\\' => self.escape()?,
            '(' | ')' | '?' | '+' => return Err(Malformed),
            c => self.push(Atom::Character(c)),
        }
        Ok(())
    }

    fn take(&mut self) -> Result<char, Malformed> {
        let c = self.rest.chars().next().ok_or(Malformed)?;
        self.rest = &self.rest[c.len_utf8()..];
        Ok(c)
    }

    fn push(&mut self, atom: Atom) {
        if let Some(last) = self.alternatives.last_mut() {
            last.push(Piece { atom, least: 1, most: Some(1) });
        }
    }

    fn repeat(&mut self, least: u32, most: Option<u32>) -> Result<(), Malformed> {
        let piece = self.alternatives.last_mut().and_then(|pieces| pieces.last_mut()).ok_or(Malformed)?;
        piece.least = least;
        piece.most = most;
        self.repeated = true;
        Ok(())
    }

    /// What stands behind a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), Malformed> {
        let Some(letter) = self.rest.chars().next() else { return Err(Malformed) };
        let behind = &self.rest[letter.len_utf8()..];
        let atom = match letter {
            'A' => Atom::Begin,
            'z' => Atom::End,
            'b' => Atom::Boundary(true),
            'B' => Atom::Boundary(false),
            'C' => return Err(Malformed),
            'Q' => {
                let (quoted, rest) = behind.split_once(r"\E").unwrap_or((behind, ""));
                self.rest = rest;
                quoted.chars().for_each(|c| self.push(Atom::Character(c)));
                return Ok(());
            }
            _ => {
                let mut class = Class::default();
                let atom = if self.class_escape(&mut class)? {
                    Atom::Class(class)
                } else {
                    Atom::Character(self.character_escape()?)
                };
                self.push(atom);
                return Ok(());
            }
        };
        self.rest = behind;
        self.push(atom);
        Ok(())
    }

    /// Reads `pL`, `P{Greek}`, `d` and the like behind a backslash; leaves everything as it was if there is none.
    fn class_escape(&mut self, class: &mut Class) -> Result<bool, Malformed> {
        let Some(letter) = self.rest.chars().next() else { return Ok(false) };
        let behind = &self.rest[letter.len_utf8()..];
        if letter == 'p' || letter == 'P' {
            let (name, rest) = if let Some(braced) = behind.strip_prefix('{') {
                braced.split_once('}').ok_or(Malformed)?
            } else {
                behind.split_at(behind.chars().next().ok_or(Malformed)?.len_utf8())
            };
            class.add_property(name, letter == 'P')?;
            self.rest = rest;
            return Ok(true);
        }
        if class.add_perl(letter) {
            self.rest = behind;
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads the one character that stands behind a backslash.
    fn character_escape(&mut self) -> Result<char, Malformed> {
        let c = self.take()?;
        Ok(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => return self.hexadecimal(),
            '0'..='7' => return self.octal(c),
            // A letter or digit without a meaning is refused, so that it can get one; punctuation stands for itself.
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return Err(Malformed),
        })
    }

    fn octal(&mut self, first: char) -> Result<char, Malformed> {
        let is_octal = |rest: &str| rest.starts_with(|c| ('0'..='7').contains(&c));
        if first != '0' && !is_octal(self.rest) {
            // A reference to a group, which Go's expressions do not have.
            return Err(Malformed);
        }
        let mut value = first.to_digit(8).ok_or(Malformed)?;
        for _ in 0..2 {
            if !is_octal(self.rest) {
                break;
            }
            value = value * 8 + self.take()?.to_digit(8).ok_or(Malformed)?;
        }
        char::from_u32(value).ok_or(Malformed)
    }

    fn hexadecimal(&mut self) -> Result<char, Malformed> {
        let digits = if let Some(braced) = self.rest.strip_prefix('{') {
            let (digits, rest) = braced.split_once('}').ok_or(Malformed)?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2).ok_or(Malformed)?;
            self.rest = rest;
            digits
        };
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Malformed);
        }
        u32::from_str_radix(digits.trim_start_matches('0'), 16)
            .or(if digits.chars().all(|c| c == '0') { Ok(0) } else { Err(Malformed) })
            .and_then(|value| char::from_u32(value).ok_or(Malformed))
    }

    /// Reads a class behind its `[`.
    fn class(&mut self) -> Result<Class, Malformed> {
        let mut class = Class::default();
        if let Some(rest) = self.rest.strip_prefix('^') {
            class.negated = true;
            self.rest = rest;
        }
        let mut first = true;
        loop {
            if !first && let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                return Ok(class);
            }
            first = false;
            if let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|named| named.split_once(":]")) {
                class.add_posix(name)?;
                self.rest = rest;
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\') {
                let whole = self.rest;
                self.rest = rest;
                if self.class_escape(&mut class)? {
                    continue;
                }
                self.rest = whole;
            }
            let low = self.class_character()?;
            // A `-` at the very end stands for itself.
            let high = match self.rest.strip_prefix('-') {
                Some(rest) if !rest.is_empty() && !rest.starts_with(']') => {
                    self.rest = rest;
                    self.class_character()?
                }
                _ => low,
            };
            if high < low {
                return Err(Malformed);
            }
            class.add_range(low, high);
        }
    }

    fn class_character(&mut self) -> Result<char, Malformed> {
        match self.take()? {
            '\\' => self.character_escape(),
            c => Ok(c),
        }
    }
}

/// Reads `{n}`, `{n,}` or `{n,m}`: (least, most, what follows). Anything else in braces stands for itself.
fn repetition(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (inside, rest) = text.strip_prefix('{')?.split_once('}')?;
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let padded = digits.len() > 1 && digits.starts_with('0');
        // What does not fit is as refused as what is merely too large.
        (plain && !padded).then(|| digits.parse().unwrap_or(u32::MAX))
    };
    match inside.split_once(',') {
        None => number(inside).map(|count| (count, Some(count), rest)),
        Some((least, "")) => number(least).map(|least| (least, None, rest)),
        Some((least, most)) => Some((number(least)?, Some(number(most)?), rest)),
    }
}
