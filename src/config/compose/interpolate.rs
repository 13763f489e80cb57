use std::collections::BTreeMap;

use crate::config::error::ConfigProblem;

use super::yaml::{Kind, Node};

/// Replaces `$NAME` and `${NAME…}` in every text below `node`; keys stay as they are.
pub(crate) fn interpolate(node: &mut Node, environment: &BTreeMap<String, String>, problems: &mut Vec<ConfigProblem>) {
    match &mut node.kind {
        Kind::Text(text) if text.contains('$') => match substitute(text, environment, 0) {
            Ok(replaced) => *text = replaced,
            Err(message) => {
                let help = message.contains("no variable").then(|| "a literal `$` is written `$$`".to_owned());
                problems.push(ConfigProblem::Invalid { message, help, span: Some(node.span.clone()) });
            }
        },
        Kind::List(items) => items.iter_mut().for_each(|item| interpolate(item, environment, problems)),
        Kind::Map(entries) => entries.iter_mut().for_each(|(_, value)| interpolate(value, environment, problems)),
        _ => {}
    }
}

/// Nested defaults deeper than this are refused.
const MAX_DEPTH: usize = 50;
/// A text longer than this after replacement is refused.
const MAX_LENGTH: usize = 4 << 20;

/// The text with everything replaced; an unset name is empty.
pub(crate) fn substitute(text: &str, environment: &BTreeMap<String, String>, depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err("`${…}` nested too deeply".to_owned());
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = closing_brace(inner).ok_or_else(|| format!("`${{{inner}` is no variable: `}}` is missing"))?;
            result.push_str(&braced(&inner[..end], environment, depth)?);
            rest = &inner[end + 1..];
        } else {
            let length = name_length(rest);
            if length == 0 {
                result.push('$');
            }
            result.push_str(environment.get(&rest[..length]).map_or("", String::as_str));
            rest = &rest[length..];
        }
        if result.len() > MAX_LENGTH {
            return Err("the text becomes too long".to_owned());
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn name_length(text: &str) -> usize {
    let starts = text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    if !starts {
        return 0;
    }
    text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len())
}

/// The brace that closes one that is open, other pairs skipped.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// `NAME`, `NAME-default`, `NAME:-default`, `NAME+other`, `NAME:+other`, `NAME?error`, `NAME:?error`.
#[expect(clippy::single_match_else, reason = "what is there and what is not are told in two arms")]
fn braced(inner: &str, environment: &BTreeMap<String, String>, depth: usize) -> Result<String, String> {
    let length = name_length(inner);
    let (name, rest) = inner.split_at(length);
    let refused = || format!("`${{{inner}}}` is no variable");
    if name.is_empty() {
        return Err(refused());
    }
    let value = environment.get(name);
    if rest.is_empty() {
        return Ok(value.cloned().unwrap_or_default());
    }
    let (strict, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
    let mut chars = rest.chars();
    let operator = chars.next().ok_or_else(refused)?;
    let word = chars.as_str();
    let present = value.filter(|value| !strict || !value.is_empty());
    match operator {
        '-' => match present {
            Some(value) => Ok(value.clone()),
            None => substitute(word, environment, depth + 1),
        },
        '+' => match present {
            Some(_) => substitute(word, environment, depth + 1),
            None => Ok(value.cloned().unwrap_or_default()),
        },
        '?' => match present {
            Some(value) => Ok(value.clone()),
            None => {
                let message = substitute(word, environment, depth + 1)?;
                let message = if message.is_empty() { String::new() } else { format!(": {message}") };
                Err(format!("the variable `{name}` is required{message}"))
            }
        },
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_every_operator() {
        let environment = BTreeMap::from([("A".to_owned(), "a".to_owned()), ("E".to_owned(), String::new())]);
        let shown = |text: &str| substitute(text, &environment, 0).unwrap_or_else(|error| format!("error: {error}"));
        for (text, expected) in [
            ("$A-${A}", "a-a"),
            ("${U-d}${E-d}${U:-d}${E:-d}", "ddd"),
            ("${A+x}${E+x}${U+x}${A:+x}${E:+x}", "xxx"),
            ("${U:-${V:-n}}", "n"),
            ("$$A $1 $", "$A $1 $"),
            ("${U:?why}", "error: the variable `U` is required: why"),
            ("${A", "error: `${A` is no variable: `}` is missing"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
