use unicode_segmentation::UnicodeSegmentation as _;

use super::{Builtin, Outcome, Refusal, Wanted, json_text, refuse, text, variadic};
use crate::config::hcl::convert::convert;
use crate::config::hcl::number::Number;
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    variadic("format", &[Wanted::String], Wanted::Nullable, |values| {
        Ok(Value::string(format(text(values, 0), &values[1..])?))
    }),
    variadic("formatlist", &[Wanted::String], Wanted::Nullable, format_list),
];

/// Wider or more precise is refused: it is a way to ask for gigabytes.
const MAX_WIDTH: usize = 10_000;
/// Longer results are refused, those of a list together.
const MAX_BYTES: usize = 16 << 20;

/// `%[index]` `flags` `width` `.precision` `verb`.
#[derive(Debug, Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of printf")]
struct Verb {
    argument: usize,
    zero: bool,
    sharp: bool,
    plus: bool,
    minus: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
    mode: char,
}

fn format(pattern: &str, arguments: &[Value]) -> Result<String, Refusal> {
    let mut result = String::new();
    let mut rest = pattern;
    let mut next = 0usize;
    let mut highest = 0usize;
    while let Some(at) = rest.find('%') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            result.push('%');
            rest = after;
            continue;
        }
        let (verb, after) = parse_verb(rest, next)?;
        rest = after;
        highest = highest.max(verb.argument + 1);
        next = verb.argument + 1;
        let argument = arguments
            .get(verb.argument)
            .ok_or_else(|| Refusal::from(format!("there is no argument {} for `%{}`", verb.argument + 1, verb.mode)))?;
        result.push_str(&formatted(&verb, argument)?);
        if result.len() > MAX_BYTES {
            return Err("the result is too large".into());
        }
    }
    result.push_str(rest);
    if highest < arguments.len() {
        return Err(format!("{} arguments are given, {highest} are used", arguments.len()).into());
    }
    Ok(result)
}

fn parse_verb(text: &str, next: usize) -> Result<(Verb, &str), Refusal> {
    let mut verb = Verb { argument: next, ..Verb::default() };
    let mut rest = text;
    loop {
        match rest.chars().next() {
            Some('0') => verb.zero = true,
            Some('#') => verb.sharp = true,
            Some('+') => verb.plus = true,
            Some('-') => verb.minus = true,
            Some(' ') => verb.space = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        let (width, after) = digits(rest)?;
        verb.width = Some(width);
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) =
            if after.starts_with(|c: char| c.is_ascii_digit()) { digits(after)? } else { (0, after) };
        verb.precision = Some(precision);
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('[') {
        let (index, after) = digits(after)?;
        rest = after.strip_prefix(']').ok_or_else(|| Refusal::from("`[` without `]` in the format"))?;
        verb.argument = index.checked_sub(1).ok_or_else(|| Refusal::from("arguments are counted from 1"))?;
    }
    let mode = rest.chars().next().ok_or_else(|| Refusal::from("the format ends inside a verb"))?;
    verb.mode = mode;
    Ok((verb, &rest[mode.len_utf8()..]))
}

fn digits(text: &str) -> Result<(usize, &str), Refusal> {
    let length = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let value = text[..length].parse().ok().filter(|value| *value <= MAX_WIDTH);
    value.map(|value| (value, &text[length..])).ok_or_else(|| Refusal::from("a width that is missing or too large"))
}

fn formatted(verb: &Verb, argument: &Value) -> Result<String, Refusal> {
    if argument.is_null() && verb.mode != 'v' {
        return Err(format!("null cannot be formatted with `%{}`", verb.mode).into());
    }
    let as_type =
        |wanted: &Type| convert(argument, wanted).map_err(|error| Refusal::from(format!("`%{}`: {error}", verb.mode)));
    match verb.mode {
        'v' => match argument {
            Value::String(own) if !verb.sharp => Ok(pad(verb, own)),
            Value::Number(number) if !verb.sharp => Ok(pad(verb, &number.general_text(None))),
            _ => Ok(pad(verb, &json_text(argument))),
        },
        't' => {
            let value = as_type(&Type::Bool)?;
            Ok(if value.as_bool() == Some(true) { "true" } else { "false" }.to_owned())
        }
        'b' | 'd' | 'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'g' | 'G' => {
            let value = as_type(&Type::Number)?;
            let number = value.as_number().ok_or_else(|| Refusal::from("a number is required"))?;
            if matches!(verb.mode, 'b' | 'd' | 'o' | 'x' | 'X') && !number.is_whole() {
                return Err(format!("`%{}`: a whole number is required", verb.mode).into());
            }
            Ok(pad_number(verb, &format_number(verb, number)))
        }
        's' | 'q' => {
            let value = as_type(&Type::String)?;
            let own = value.as_str().unwrap_or_default();
            let cut: String = match verb.precision {
                Some(length) if length > 0 => own.graphemes(true).take(length).collect(),
                _ => own.to_owned(),
            };
            Ok(pad(verb, &if verb.mode == 'q' { json_text(&Value::string(cut)) } else { cut }))
        }
        other => Err(format!("unknown verb `%{other}`").into()),
    }
}

fn format_number(verb: &Verb, number: &Number) -> String {
    let digits = match verb.mode {
        'b' | 'd' | 'o' | 'x' | 'X' => {
            let whole = number.truncate();
            let (_, value) = whole.to_natural().unwrap_or_default();
            let base = match verb.mode {
                'b' => 2,
                'd' => 10,
                'o' => 8,
                _ => 16,
            };
            let prefix = match (verb.sharp, verb.mode) {
                (true, 'b') => "0b",
                (true, 'o') => "0",
                (true, 'x' | 'X') => "0x",
                _ => "",
            };
            let digits = format!("{prefix}{}", value.to_base(base));
            let digits = if verb.mode == 'X' { digits.to_uppercase() } else { digits };
            if whole.is_negative() { format!("-{digits}") } else { digits }
        }
        'e' => number.exponent_text(Some(verb.precision.unwrap_or(6))),
        'E' => number.exponent_text(Some(verb.precision.unwrap_or(6))).to_uppercase(),
        'f' => number.plain_text(Some(verb.precision.unwrap_or(6))),
        'G' => number.general_text(verb.precision).to_uppercase(),
        _ => number.general_text(verb.precision),
    };
    match (digits.starts_with(['-', '+']), verb.plus, verb.space) {
        (false, true, _) => format!("+{digits}"),
        (false, false, true) => format!(" {digits}"),
        _ => digits,
    }
}

/// Pads with zeros between sign and digits where asked for.
fn pad_number(verb: &Verb, digits: &str) -> String {
    if !verb.zero || verb.minus {
        return pad(&Verb { zero: false, ..*verb }, digits);
    }
    let missing = verb.width.unwrap_or(0).saturating_sub(digits.chars().count());
    let sign = digits.len() - digits.trim_start_matches(['-', '+', ' ']).len();
    let (sign, digits) = digits.split_at(sign.min(1));
    format!("{sign}{}{digits}", "0".repeat(missing))
}

/// Pads to the width, counted in user-perceived characters.
fn pad(verb: &Verb, own: &str) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(own.graphemes(true).count());
    let fill = if verb.zero { "0" } else { " " }.repeat(missing);
    if verb.minus { format!("{own}{fill}") } else { format!("{fill}{own}") }
}

fn format_list(values: &[Value]) -> Outcome {
    let arguments = &values[1..];
    let mut length = None;
    for (at, argument) in arguments.iter().enumerate() {
        if let Some(items) = argument.as_items() {
            match length {
                Some(length) if length != items.len() => {
                    return refuse(at + 1, format!("has {} elements, another list has {length}", items.len()));
                }
                _ => length = Some(items.len()),
            }
        }
    }
    let mut results = Vec::new();
    let mut total = 0;
    for at in 0..length.unwrap_or(1) {
        let row: Vec<Value> = arguments
            .iter()
            .map(|argument| argument.as_items().and_then(|items| items.get(at)).unwrap_or(argument).clone())
            .collect();
        let line = format(text(values, 0), &row);
        let line = line.map_err(|refusal| format!("element {at}: {}", refusal.message))?;
        total += line.len();
        if total > MAX_BYTES {
            return Err("the result is too large".into());
        }
        results.push(Value::string(line));
    }
    Ok(Value::list(Type::String, results))
}
