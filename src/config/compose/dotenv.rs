use std::collections::BTreeMap;

use super::interpolate::substitute;

/// Reads `NAME=value` lines: comments, `export`, single quotes literal, double quotes with escapes, `NAME: value` too.
///
/// `known` is looked up in values and for names that stand alone.
pub(crate) fn parse(text: &str, known: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    let mut rest = text;
    let line = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(values);
        }
        if rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |at| &rest[at..]);
            continue;
        }
        if let Some(after) = rest.strip_prefix("export").filter(|after| after.starts_with([' ', '\t'])) {
            rest = after.trim_start_matches([' ', '\t']);
        }
        let end = rest.find(['=', ':', '\n']).unwrap_or(rest.len());
        let name = rest[..end].trim_end();
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(format!("line {}: `{}` is no name of a variable", line(rest), name.escape_debug()));
        }
        let separator = rest[end..].chars().next();
        if !matches!(separator, Some('=' | ':')) {
            // A name alone takes its value from around.
            if let Some(value) = known.get(name) {
                values.insert(name.to_owned(), value.clone());
            }
            rest = &rest[end..];
            continue;
        }
        let at = line(rest);
        let (value, after) = value(rest[end + 1..].trim_start_matches([' ', '\t', '\r']), &values, known)
            .map_err(|error| format!("line {at}: {error}"))?;
        values.insert(name.to_owned(), value);
        rest = after;
    }
}

/// Reads `NAME=value` lines as they stand: no quotes, no escapes, no variables. Lines that begin with `#` are comments.
pub(crate) fn parse_raw(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.to_owned())).collect()
}

fn value<'a>(
    text: &'a str,
    own: &BTreeMap<String, String>,
    known: &BTreeMap<String, String>,
) -> Result<(String, &'a str), String> {
    let mut all = own.clone();
    all.extend(known.iter().map(|(name, value)| (name.clone(), value.clone())));
    let quote = text.chars().next().filter(|c| *c == '"' || *c == '\'');
    let Some(quote) = quote else {
        let end = text.find('\n').unwrap_or(text.len());
        let line = text[..end].split(" #").next().unwrap_or_default().trim_end();
        return Ok((substitute(line, &all, 0)?, &text[end..]));
    };
    let mut raw = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let value = if quote == '"' { substitute(&unescaped(&raw), &all, 0)? } else { raw };
            return Ok((value, &text[at + 1..]));
        }
        if c == '\\' {
            match chars.next() {
                Some((_, next)) if next == quote => raw.push(next),
                Some((_, next)) => raw.extend(['\\', next]),
                None => raw.push('\\'),
            }
            continue;
        }
        raw.push(c);
    }
    Err("a quote that is not closed".to_owned())
}

#[expect(clippy::match_same_arms, reason = "a table of cases reads better in the order of the specification")]
fn unescaped(raw: &str) -> String {
    let mut result = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => result.push('\u{7}'),
            Some('b') => result.push('\u{8}'),
            Some('f') => result.push('\u{c}'),
            Some('n') => result.push('\n'),
            Some('v') => result.push('\u{b}'),
            Some('r') => result.push('\r'),
            Some('t') => result.push('\t'),
            Some('$') => result.push_str("$$"),
            Some('\\') => result.push('\\'),
            Some(other) => result.extend(['\\', other]),
            None => result.push('\\'),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let known = BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]);
        let text = "# c\nA=1 # x\nexport B='$A'\nC=\"$A\\n$HOME\"\nD: d\nHOME\nE=\n";
        let values = parse(text, &known).expect("values");
        let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["A=1", "B=$A", "C=1\n/h", "D=d", "E=", "HOME=/h"]);
        assert!(parse("A b=1", &known).is_err());
    }
}
