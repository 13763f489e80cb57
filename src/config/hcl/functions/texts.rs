use unicode_segmentation::UnicodeSegmentation as _;

use super::{Builtin, Outcome, Wanted, function, refuse, text, variadic, whole};
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("basename", &[Wanted::String], |values| Ok(Value::string(basename(text(values, 0))))),
    function("chomp", &[Wanted::String], |values| Ok(Value::string(text(values, 0).trim_end_matches(['\n', '\r'])))),
    function("dirname", &[Wanted::String], |values| Ok(Value::string(dirname(text(values, 0))))),
    function("indent", &[Wanted::Number, Wanted::String], indent),
    variadic("join", &[Wanted::String], Wanted::Strings, join),
    function("lower", &[Wanted::String], |values| Ok(Value::string(lower(text(values, 0))))),
    function("replace", &[Wanted::String, Wanted::String, Wanted::String], |values| {
        Ok(Value::string(text(values, 0).replace(text(values, 1), text(values, 2))))
    }),
    function("reverse", &[Wanted::String], |values| {
        Ok(Value::string(text(values, 0).graphemes(true).rev().collect::<String>()))
    }),
    function("sanitize", &[Wanted::String], |values| Ok(Value::string(sanitize(text(values, 0))))),
    function("sort", &[Wanted::Strings], sort),
    function("split", &[Wanted::String, Wanted::String], split),
    function("strlen", &[Wanted::String], |values| Ok(Value::whole(text(values, 0).graphemes(true).count()))),
    function("substr", &[Wanted::String, Wanted::Number, Wanted::Number], substr),
    function("title", &[Wanted::String], |values| Ok(Value::string(title(text(values, 0))))),
    function("trim", &[Wanted::String, Wanted::String], |values| {
        let set: Vec<char> = text(values, 1).chars().collect();
        Ok(Value::string(text(values, 0).trim_matches(&set[..])))
    }),
    function("trimprefix", &[Wanted::String, Wanted::String], |values| {
        Ok(Value::string(text(values, 0).strip_prefix(text(values, 1)).unwrap_or_else(|| text(values, 0))))
    }),
    function("trimspace", &[Wanted::String], |values| Ok(Value::string(text(values, 0).trim()))),
    function("trimsuffix", &[Wanted::String, Wanted::String], |values| {
        Ok(Value::string(text(values, 0).strip_suffix(text(values, 1)).unwrap_or_else(|| text(values, 0))))
    }),
    function("upper", &[Wanted::String], |values| Ok(Value::string(upper(text(values, 0))))),
    // These want a kind of value that no expression can make, so that nobody can call them.
    function("byteslen", &[Wanted::Any], |_| refuse(0, "bytes are required")),
    function("bytesslice", &[Wanted::Any, Wanted::Number, Wanted::Number], |_| refuse(0, "bytes are required")),
];

/// One character for one, as in Go: no `ß` to `SS`.
fn upper(text: &str) -> String {
    text.chars().map(|c| single(c.to_uppercase(), c)).collect()
}

fn lower(text: &str) -> String {
    text.chars().map(|c| single(c.to_lowercase(), c)).collect()
}

fn single(mut mapped: impl Iterator<Item = char>, own: char) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(c), None) => c,
        // Longer mappings are special cases that one-to-one mapping leaves alone, or maps to the first.
        (Some(c), Some(_)) if own == 'İ' => c,
        _ => own,
    }
}

/// The first letter of each word in upper case; what is no letter, digit, underscore or quote separates words.
fn title(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .map(|c| {
            let starts = if before.is_ascii() {
                !(before.is_ascii_alphanumeric() || before == '_' || before == '\'')
            } else {
                !before.is_alphanumeric() && before.is_whitespace()
            };
            // Go counts an apostrophe as a separator, too: it is no letter, digit or underscore.
            let starts = starts || before == '\'';
            before = c;
            if starts { single(c.to_uppercase(), c) } else { c }
        })
        .collect()
}

fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

/// Last part of a slash-separated path.
fn basename(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/".to_owned();
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned()
}

/// All but the last part of a slash-separated path, tidied.
fn dirname(path: &str) -> String {
    crate::config::paths::clean_path(path.rfind('/').map_or("", |at| &path[..=at]))
}

fn indent(values: &[Value]) -> Outcome {
    let spaces = whole(values, 0)?;
    let Ok(spaces) = usize::try_from(spaces) else { return refuse(0, "must not be negative") };
    if spaces > 10_000 {
        return refuse(0, "more than 10000 spaces");
    }
    let lines = text(values, 1).matches('\n').count();
    if lines.saturating_mul(spaces) > 16 << 20 {
        return Err("the result is too large".into());
    }
    Ok(Value::string(text(values, 1).replace('\n', &format!("\n{}", " ".repeat(spaces)))))
}

fn join(values: &[Value]) -> Outcome {
    if values.len() < 2 {
        return Err("at least one list is required".into());
    }
    let mut parts = Vec::new();
    for (at, list) in values.iter().enumerate().skip(1) {
        for item in list.as_items().unwrap_or_default() {
            match item.as_str() {
                Some(part) => parts.push(part),
                None => return refuse(at, "an element is null"),
            }
        }
    }
    Ok(Value::string(parts.join(text(values, 0))))
}

fn sort(values: &[Value]) -> Outcome {
    let items = values[0].as_items().unwrap_or_default();
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item.as_str() {
            Some(part) => texts.push(part),
            None => return refuse(0, "an element is null"),
        }
    }
    texts.sort_unstable();
    Ok(Value::strings(texts))
}

#[expect(clippy::unnecessary_wraps, reason = "functions of one table share a signature")]
fn split(values: &[Value]) -> Outcome {
    let (separator, whole) = (text(values, 0), text(values, 1));
    if separator.is_empty() {
        return Ok(Value::strings(whole.chars().map(String::from)));
    }
    Ok(Value::list(Type::String, whole.split(separator).map(Value::string).collect()))
}

/// `length` user-perceived characters from `offset`; both may be negative: from the end, and up to the end.
fn substr(values: &[Value]) -> Outcome {
    let (mut offset, length) = (whole(values, 1)?, whole(values, 2)?);
    let clusters: Vec<&str> = text(values, 0).graphemes(true).collect();
    let total = i64::try_from(clusters.len()).unwrap_or(i64::MAX);
    if offset < 0 {
        offset = offset.saturating_add(total);
    } else if length == 0 {
        return Ok(Value::string(""));
    }
    let start = usize::try_from(offset).unwrap_or(0).min(clusters.len());
    let rest = &clusters[start..];
    // A length of zero after a negative offset means everything, as the reference implementation has it.
    let taken = match usize::try_from(length) {
        Ok(0) | Err(_) => rest,
        Ok(length) => &rest[..length.min(rest.len())],
    };
    Ok(Value::string(taken.concat()))
}
