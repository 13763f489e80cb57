//! Texts from outside as values of the types that variables have.

use crate::config::bake::entries::parse_bool;
use crate::config::hcl::csv;
use crate::config::hcl::number::Number;
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;
use std::collections::BTreeMap;

/// A text as `strconv` reads it into a string, a bool or a number.
pub(super) fn primitive(text: &str, ty: &Type) -> Result<Value, String> {
    match ty {
        Type::Bool => parse_bool(text).map(Value::Bool),
        Type::Number => parse_float(text).map(|value| Value::Number(Number::from_f64(value))),
        _ => Ok(Value::string(text)),
    }
}

/// Go's `strconv.ParseFloat`: decimal with `_` between digits, or hexadecimal with a binary exponent.
fn parse_float(text: &str) -> Result<f64, String> {
    let refused = || format!("`{text}` is no number");
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if (0..bytes.len()).any(|at| bytes[at] == b'_' && !(at > 0 && digit(at - 1) && digit(at + 1))) {
        return Err(refused());
    }
    let compact = text.replace('_', "");
    let (sign, body) = match compact.as_bytes().first() {
        Some(b'-') => (-1.0, &compact[1..]),
        Some(b'+') => (1.0, &compact[1..]),
        _ => (1.0, compact.as_str()),
    };
    let value = match body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        Some(hex) => hex_float(hex).ok_or_else(refused)?,
        None if body.starts_with(|c: char| c.is_ascii_digit() || c == '.') => body.parse().map_err(|_| refused())?,
        None => return Err(refused()),
    };
    if f64::is_finite(value) { Ok(sign * value) } else { Err(refused()) }
}

fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 14 {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()? * 4;
    #[expect(clippy::cast_precision_loss, reason = "14 hexadecimal digits are rounded as any number is")]
    Some(value as f64 * 2f64.powi(exponent.checked_sub(places)?))
}

pub(super) fn csv_values(text: &str, element: &Type) -> Result<Vec<Value>, String> {
    if !element.is_primitive() {
        return Err(format!("a list of {} cannot be given as a text", element.constraint_name()));
    }
    csv::fields(text, ',')?.iter().map(|field| primitive(field, element)).collect()
}

pub(super) fn csv_tuple(text: &str, types: &[Type]) -> Result<Value, String> {
    let fields = csv::fields(text, ',')?;
    if fields.len() != types.len() {
        return Err(format!("{} values are required, there are {}", types.len(), fields.len()));
    }
    let values = fields.iter().zip(types).map(|(field, ty)| {
        if ty.is_primitive() { primitive(field, ty) } else { Err(format!("{} cannot be given as a text", ty.name())) }
    });
    Ok(Value::tuple(values.collect::<Result<_, _>>()?))
}

pub(super) fn csv_map(text: &str, element: &Type) -> Result<Value, String> {
    if !element.is_primitive() {
        return Err(format!("a map of {} cannot be given as a text", element.constraint_name()));
    }
    let mut entries = BTreeMap::new();
    for field in csv::fields(text, ',')? {
        match &csv::fields(&field, ':')?[..] {
            [key, value] => entries.insert(key.clone(), primitive(value, element)?),
            _ => return Err(format!("`{field}` is no `key:value`")),
        };
    }
    Ok(Value::map(element.of_values(), entries))
}
