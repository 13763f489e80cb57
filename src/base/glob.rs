/// Whether `text` has a character that [`glob_matches`] gives a meaning to.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether all of `text` matches `pattern`: `*` any run, `?` one character, `[a-c]` and `[!a-c]` one of a class.
///
/// `/` is a character like any other. Linear in memory, and in time the product of both lengths at worst.
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(&pattern[p..], text[t]),
            Some(c) if *c == text[t] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(step), _) => (p, t) = (p + step, t + 1),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Length of the class that `pattern` begins with, if `c` is of it. An unclosed class matches a `[`.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let Some(end) = pattern.iter().skip(2).position(|c| *c == ']').map(|at| at + 2) else {
        return (c == '[').then_some(1);
    };
    let (negated, members) = match pattern[1] {
        '!' | '^' => (true, &pattern[2..end]),
        _ => (false, &pattern[1..end]),
    };
    let mut hit = false;
    let mut at = 0;
    while at < members.len() {
        if members.get(at + 1) == Some(&'-') && at + 2 < members.len() {
            hit |= (members[at]..=members[at + 2]).contains(&c);
            at += 3;
        } else {
            hit |= members[at] == c;
            at += 1;
        }
    }
    (hit != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("ap*ub", "apphub", true),
            ("ap*ub", "apphuB", false),
            ("?ginx", "nginx", true),
            ("[m-o]ginx", "nginx", true),
            ("[!m-o]ginx", "nginx", false),
            ("a[", "a[", true),
            ("*a*b*c*", "xxaxxbxxc", true),
            ("linux/*", "linux/arm64", true),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!glob_matches(&"*a".repeat(500), &"a".repeat(400)), "in a bounded time");
    }
}
