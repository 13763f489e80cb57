use std::collections::BTreeMap;

use regex::{Captures, Regex, RegexBuilder};

use super::{Builtin, Outcome, Refusal, Wanted, function, refuse, text};
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("regex", &[Wanted::String, Wanted::String], |values| {
        let pattern = compile(text(values, 0), 0)?;
        result_type(&pattern)?;
        let found = pattern.captures(text(values, 1));
        found.map(|captures| result(&pattern, &captures)).ok_or_else(|| "the pattern matches nothing".into())
    }),
    function("regexall", &[Wanted::String, Wanted::String], |values| {
        let pattern = compile(text(values, 0), 0)?;
        let element = result_type(&pattern)?;
        let all = pattern.captures_iter(text(values, 1)).map(|captures| result(&pattern, &captures)).collect();
        Ok(Value::list(element, all))
    }),
    function("regex_replace", &[Wanted::String, Wanted::String, Wanted::String], replace),
];

/// A pattern in RE2's syntax, in which classes such as `\d` are ASCII.
fn compile(pattern: &str, argument: usize) -> Result<Regex, Refusal> {
    let translated = translate(pattern);
    RegexBuilder::new(&translated)
        .size_limit(4 << 20)
        .build()
        .or_else(|error| refuse(argument, format!("no pattern: {}", last_line(&error.to_string()))))
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

/// From RE2's syntax to that of the `regex` crate, where both mean different things by the same text.
fn translate(pattern: &str) -> String {
    let mut result = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    let mut class_start = false;
    while let Some(c) = chars.next() {
        let first_in_class = std::mem::take(&mut class_start);
        match c {
            '\\' => match chars.next() {
                Some('d') => result.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('D') => result.push_str("[^0-9]"),
                Some('w') => result.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('W') => result.push_str("[^0-9A-Za-z_]"),
                Some('s') => result.push_str(if in_class { "\\t\\n\\f\\r " } else { "[\\t\\n\\f\\r ]" }),
                Some('S') => result.push_str("[^\\t\\n\\f\\r ]"),
                Some('b') if !in_class => result.push_str("(?-u:\\b)"),
                Some('Q') if !in_class => {
                    let mut literal = String::new();
                    while chars.peek().is_some() && !literal.ends_with("\\E") {
                        literal.extend(chars.next());
                    }
                    result.push_str(&regex::escape(literal.strip_suffix("\\E").unwrap_or(&literal)));
                }
                Some('C') => result.push('.'),
                Some(other) => result.extend(['\\', other]),
                None => result.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                class_start = true;
                result.push('[');
                if chars.peek() == Some(&'^') {
                    result.extend(chars.next());
                }
            }
            // Inside a class a bracket is a bracket, unless it begins a named class.
            '[' if chars.peek() != Some(&':') => result.push_str("\\["),
            '[' => {
                result.push('[');
                for c in chars.by_ref() {
                    result.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ']' if in_class && first_in_class => result.push_str("\\]"),
            ']' if in_class => {
                in_class = false;
                result.push(']');
            }
            // Set operations are the crate's own invention.
            '&' | '~' if in_class => result.extend(['\\', c]),
            '-' if in_class && chars.peek() == Some(&'-') => result.push_str("\\-"),
            c => result.push(c),
        }
    }
    result
}

/// A text without groups, a tuple for groups without names, an object for groups with names.
fn result_type(pattern: &Regex) -> Result<Type, Refusal> {
    let groups: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    let named: Vec<&str> = groups.iter().copied().flatten().collect();
    match (groups.len(), named.len()) {
        (0, _) => Ok(Type::String),
        (all, 0) => Ok(Type::Tuple(vec![Type::String; all])),
        (all, named_count) if all == named_count => {
            Ok(Type::object(named.into_iter().map(|name| (name.to_owned(), Type::String)).collect()))
        }
        _ => refuse(0, "groups with and without names cannot be mixed"),
    }
}

fn result(pattern: &Regex, captures: &Captures<'_>) -> Value {
    let group = |at: usize| captures.get(at).map_or(Value::Null(Type::String), |found| Value::string(found.as_str()));
    let names: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    if names.is_empty() {
        return group(0);
    }
    if names.iter().any(Option::is_some) {
        let entries: BTreeMap<String, Value> = names
            .iter()
            .enumerate()
            .filter_map(|(at, name)| name.map(|name| (name.to_owned(), group(at + 1))))
            .collect();
        return Value::object(entries);
    }
    Value::tuple((1..=names.len()).map(group).collect())
}

fn replace(values: &[Value]) -> Outcome {
    let pattern = compile(text(values, 1), 1)?;
    let replaced = pattern.replace_all(text(values, 0), text(values, 2));
    if replaced.len() > 16 << 20 {
        return Err("the result is too large".into());
    }
    Ok(Value::string(replaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_re2() {
        for (pattern, text, expected) in [
            (r"\d+", "٣12", "12"),
            (r"[^\d]+", "12ab", "ab"),
            (r"[[]a", "[a", "[a"),
            (r"[]a]+", "]a", "]a"),
            (r"[[:alpha:]-]+", "1a-b", "a-b"),
            (r"\Qa.b\E+", "a.bb", "a.bb"),
            (r"(?i)AB", "ab", "ab"),
        ] {
            let found = compile(pattern, 0).expect(pattern);
            assert_eq!(found.find(text).map(|found| found.as_str()), Some(expected), "{pattern}");
        }
    }
}
