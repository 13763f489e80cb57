/// Whether a name matches a pattern of `*`, `?`, `[…]` and `\`; `None` if the pattern is malformed.
///
/// Go's `path.Match`, without its rules about slashes: names have none.
pub(super) fn matches(pattern: &str, name: &str) -> Option<bool> {
    let pattern: Vec<Piece> = parse(pattern)?;
    let name: Vec<char> = name.chars().collect();
    // Which prefixes of the name the pieces so far can match: linear in pattern times name.
    let mut reachable = vec![false; name.len() + 1];
    reachable[0] = true;
    for piece in &pattern {
        let mut next = vec![false; name.len() + 1];
        match piece {
            Piece::Any => {
                let mut seen = false;
                for (at, slot) in next.iter_mut().enumerate() {
                    seen = seen || reachable[at];
                    *slot = seen;
                }
            }
            Piece::One(test) => {
                for (at, c) in name.iter().enumerate() {
                    next[at + 1] = reachable[at] && test.holds(*c);
                }
            }
        }
        reachable = next;
    }
    Some(reachable[name.len()])
}

/// Whether the text is more than a plain name.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', ']'])
}

enum Piece {
    Any,
    One(Test),
}

enum Test {
    All,
    Char(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Test {
    fn holds(&self, c: char) -> bool {
        match self {
            Self::All => true,
            Self::Char(own) => *own == c,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

fn parse(pattern: &str) -> Option<Vec<Piece>> {
    let mut chars = pattern.chars().peekable();
    let mut pieces = Vec::new();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => Piece::Any,
            '?' => Piece::One(Test::All),
            '\\' => Piece::One(Test::Char(chars.next()?)),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
                        break;
                    }
                    let low = class_char(&mut chars)?;
                    let high = if chars.next_if_eq(&'-').is_some() { class_char(&mut chars)? } else { low };
                    ranges.push((low, high));
                }
                Piece::One(Test::Class { negated, ranges })
            }
            c => Piece::One(Test::Char(c)),
        });
    }
    Some(pieces)
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_like_path_match() {
        for (pattern, name, expected) in [
            ("*", "a", Some(true)),
            ("app-*", "app-1-2", Some(true)),
            ("a?c", "abc", Some(true)),
            ("a?c", "ac", Some(false)),
            ("[a-c]x", "bx", Some(true)),
            ("[^a]x", "ax", Some(false)),
            ("[", "a", None),
            ("[]a]", "]", None),
            ("a\\*", "a*", Some(true)),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
