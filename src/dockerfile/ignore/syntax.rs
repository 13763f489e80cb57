//! Go's `filepath.Match`: decides which patterns are refused, and matches names when paths are followed.

/// A pattern is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Whether `name`, a single name without `/`, matches the shell pattern. A malformed pattern matches nothing.
pub fn matches_name(pattern: &str, name: &str) -> bool {
    check(pattern, name) == Ok(true)
}

/// Matches as `filepath.Match` does, errors included.
///
/// That function looks at a pattern piece by piece, up to the first that does not match, so that it overlooks mistakes
/// behind. Being stricter would refuse ignore files that builders accept.
pub(super) fn check(pattern: &str, name: &str) -> Result<bool, Malformed> {
    let mut pattern = pattern;
    let mut name = name;
    'pieces: while !pattern.is_empty() {
        let (star, piece, rest) = next_piece(pattern);
        pattern = rest;
        if star && piece.is_empty() {
            return Ok(!name.contains('/'));
        }
        if let Some(left) = match_piece(piece, name)?
            && (left.is_empty() || !pattern.is_empty())
        {
            name = left;
            continue;
        }
        if star {
            for (index, c) in name.char_indices() {
                if c == '/' {
                    break;
                }
                if let Some(left) = match_piece(piece, &name[index + c.len_utf8()..])?
                    && (left.is_empty() || !pattern.is_empty())
                {
                    name = left;
                    continue 'pieces;
                }
            }
        }
        return Ok(false);
    }
    Ok(name.is_empty())
}

/// Takes the stars at the front and what follows up to the next star: (were there stars, the piece, the rest).
fn next_piece(pattern: &str) -> (bool, &str, &str) {
    let body = pattern.trim_start_matches('*');
    let star = body.len() < pattern.len();
    let mut in_class = false;
    let mut escaped = false;
    for (index, c) in body.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match c {
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '*' if !in_class => return (star, &body[..index], &body[index..]),
            _ => {}
        }
    }
    (star, body, "")
}

/// Matches a piece without stars at the front of `name`, giving what is left of it. The whole piece is always read, so that
/// its mistakes show whether or not it matches.
fn match_piece<'a>(piece: &str, name: &'a str) -> Result<Option<&'a str>, Malformed> {
    let mut piece = piece;
    // What is left of the name, or `None` once it did not match.
    let mut left = Some(name);
    while let Some(first) = piece.chars().next() {
        let next = left.and_then(|left| left.chars().next());
        if next.is_none() {
            left = None;
        }
        let fits = match first {
            '[' => {
                let (rest, hit) = match_class(&piece[1..], next)?;
                piece = rest;
                hit
            }
            '?' => {
                piece = &piece[1..];
                next != Some('/')
            }
            _ => {
                if first == '\\' {
                    piece = &piece[1..];
                }
                let literal = piece.chars().next().ok_or(Malformed)?;
                piece = &piece[literal.len_utf8()..];
                next == Some(literal)
            }
        };
        left = if fits { left.zip(next).map(|(left, next)| &left[next.len_utf8()..]) } else { None };
    }
    Ok(left)
}

/// Reads a class behind its `[`: (what follows it, whether `next` is in it).
fn match_class(class: &str, next: Option<char>) -> Result<(&str, bool), Malformed> {
    let negated = class.starts_with('^');
    let mut class = class.strip_prefix('^').unwrap_or(class);
    let mut hit = false;
    let mut ranges = 0;
    loop {
        if ranges > 0
            && let Some(rest) = class.strip_prefix(']')
        {
            return Ok((rest, hit != negated));
        }
        let (low, rest) = class_character(class)?;
        let (high, rest) = match rest.strip_prefix('-') {
            Some(rest) => class_character(rest)?,
            None => (low, rest),
        };
        hit |= next.is_some_and(|next| low <= next && next <= high);
        ranges += 1;
        class = rest;
    }
}

/// One character of a class, perhaps escaped. There must be more behind it: at least the `]`.
fn class_character(class: &str) -> Result<(char, &str), Malformed> {
    let mut characters = class.chars();
    let c = match characters.next() {
        None | Some('-' | ']') => return Err(Malformed),
        Some('\\') => characters.next().ok_or(Malformed)?,
        Some(c) => c,
    };
    let rest = characters.as_str();
    if rest.is_empty() { Err(Malformed) } else { Ok((c, rest)) }
}
