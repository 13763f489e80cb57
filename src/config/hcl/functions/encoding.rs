use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Builtin, Outcome, Wanted, function, refuse, text};
use crate::config::hcl::csv;
use crate::config::hcl::number::Number;
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("base64decode", &[Wanted::String], |values| {
        let compact: String = text(values, 0).chars().filter(|c| *c != '\n' && *c != '\r').collect();
        let bytes = STANDARD.decode(compact).or_else(|_| refuse(0, "no base64"))?;
        String::from_utf8(bytes).map(Value::string).or_else(|_| refuse(0, "what is encoded is no text"))
    }),
    function("base64encode", &[Wanted::String], |values| Ok(Value::string(STANDARD.encode(text(values, 0))))),
    function("csvdecode", &[Wanted::String], csv_decode),
    function("jsondecode", &[Wanted::String], |values| {
        decode_json(text(values, 0), None).or_else(|error| refuse(0, error))
    }),
    function("jsonencode", &[Wanted::Nullable], |values| Ok(Value::string(json_text(&values[0])))),
    function("urlencode", &[Wanted::String], |values| Ok(Value::string(url_encode(text(values, 0))))),
];

#[expect(clippy::format_push_string, reason = "the text is short")]
fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn csv_decode(values: &[Value]) -> Outcome {
    let mut records = csv::records(text(values, 0)).or_else(|error| refuse(0, error))?.into_iter();
    let Some(header) = records.next() else { return refuse(0, "the line with the names is missing") };
    for (at, name) in header.iter().enumerate() {
        if header[..at].contains(name) {
            return refuse(0, format!("two columns are named `{name}`"));
        }
    }
    let mut rows = Vec::new();
    for record in records {
        if record.len() != header.len() {
            return refuse(0, format!("a line with {} fields, {} have names", record.len(), header.len()));
        }
        let row: BTreeMap<String, Value> = header.iter().cloned().zip(record.iter().map(Value::string)).collect();
        rows.push(Value::object(row));
    }
    let row_type = Type::object(header.into_iter().map(|name| (name, Type::String)).collect());
    Ok(Value::list(row_type, rows))
}

/// A value as JSON on one line: names sorted, `<`, `>` and `&` escaped as Go does it.
pub(crate) fn json_text(value: &Value) -> String {
    let mut json = String::new();
    write_json(value, &mut json);
    json
}

fn write_json(value: &Value, json: &mut String) {
    match value {
        Value::Null(_) | Value::Unknown(_) => json.push_str("null"),
        Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => json.push_str(&number.plain_text(None)),
        Value::String(text) => write_json_string(text, json),
        Value::List(_, items) | Value::Set(_, items) | Value::Tuple(items) => {
            json.push('[');
            for (at, item) in items.values.iter().enumerate() {
                if at > 0 {
                    json.push(',');
                }
                write_json(item, json);
            }
            json.push(']');
        }
        Value::Map(_, entries) | Value::Object(entries) => {
            json.push('{');
            for (at, (name, item)) in entries.values.iter().enumerate() {
                if at > 0 {
                    json.push(',');
                }
                write_json_string(name, json);
                json.push(':');
                write_json(item, json);
            }
            json.push('}');
        }
    }
}

/// A JSON string as Go writes it.
#[expect(clippy::format_push_string, reason = "the text is short")]
fn write_json_string(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                json.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

/// JSON as a value: of the type that it has by itself, or of the wanted one.
pub(crate) fn decode_json(text: &str, wanted: Option<&Type>) -> Result<Value, String> {
    // `arbitrary_precision` is off, so numbers are taken from the raw text: all their digits count.
    let raw: Box<serde_json::value::RawValue> =
        serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    decode_raw(&raw, wanted, 0)
}

fn decode_raw(raw: &serde_json::value::RawValue, wanted: Option<&Type>, depth: usize) -> Result<Value, String> {
    if depth > 200 {
        return Err("nested too deeply".to_owned());
    }
    let text = raw.get().trim();
    let mismatch = |what: &str| Err(format!("{what} is required"));
    match (text.as_bytes().first(), wanted) {
        (Some(b'n'), _) => Ok(Value::Null(wanted.map_or(Type::Any, Type::of_values))),
        (_, Some(Type::Any)) => decode_any(text, depth),
        (Some(b'{'), None | Some(Type::Map(_) | Type::Object(_))) => decode_object(text, wanted, depth),
        (Some(b'['), None | Some(Type::List(_) | Type::Set(_) | Type::Tuple(_))) => decode_array(text, wanted, depth),
        (Some(b'{' | b'['), Some(other)) => mismatch(&other.name()),
        (_, Some(other)) if !other.is_primitive() => mismatch(&other.name()),
        (Some(b'"'), _) => {
            let text: String = serde_json::from_str(text).map_err(|error| error.to_string())?;
            let value = Value::string(text);
            wanted.map_or(Ok(value.clone()), |wanted| crate::config::hcl::convert::convert(&value, wanted))
        }
        (Some(b't' | b'f'), _) => {
            let value = Value::Bool(text == "true");
            match wanted {
                Some(Type::Number) => mismatch("a number"),
                Some(wanted) => crate::config::hcl::convert::convert(&value, wanted),
                None => Ok(value),
            }
        }
        _ => match wanted {
            Some(Type::String) => Ok(Value::string(text)),
            Some(Type::Bool) => mismatch("a bool"),
            _ => Number::parse(text).map(Value::Number).ok_or_else(|| "a number that is too large".to_owned()),
        },
    }
}

type Raw = Box<serde_json::value::RawValue>;

fn decode_array(text: &str, wanted: Option<&Type>, depth: usize) -> Result<Value, String> {
    let items: Vec<Raw> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let element = match wanted {
        Some(Type::List(element) | Type::Set(element)) => Some(element.as_ref()),
        Some(Type::Tuple(types)) => {
            if types.len() != items.len() {
                return Err(format!("{} elements are required, there are {}", types.len(), items.len()));
            }
            let values = items.iter().zip(types).map(|(item, ty)| decode_raw(item, Some(ty), depth + 1));
            return Ok(Value::tuple(values.collect::<Result<_, _>>()?));
        }
        _ => None,
    };
    let values = items.iter().map(|item| decode_raw(item, element, depth + 1)).collect::<Result<Vec<_>, _>>()?;
    Ok(match wanted {
        Some(Type::List(element)) => Value::list(element.of_values(), values),
        Some(Type::Set(element)) => Value::set(element.of_values(), values),
        _ => Value::tuple(values),
    })
}

fn decode_object(text: &str, wanted: Option<&Type>, depth: usize) -> Result<Value, String> {
    let members: BTreeMap<String, Raw> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut values = BTreeMap::new();
    for (name, member) in &members {
        let wanted = match wanted {
            Some(Type::Map(element)) => Some(element.as_ref()),
            Some(Type::Object(object)) => {
                Some(object.attributes.get(name).ok_or_else(|| format!("there is no attribute `{name}`"))?)
            }
            _ => None,
        };
        let value = decode_raw(member, wanted, depth + 1).map_err(|error| format!("`{name}`: {error}"))?;
        values.insert(name.clone(), value);
    }
    match wanted {
        Some(Type::Map(element)) => Ok(Value::map(element.of_values(), values)),
        Some(Type::Object(object)) => {
            for (name, ty) in &object.attributes {
                values.entry(name.clone()).or_insert_with(|| Value::Null(ty.of_values()));
            }
            Ok(Value::object(values))
        }
        _ => Ok(Value::object(values)),
    }
}

/// A value of any type names its type: `{"value": …, "type": …}`.
fn decode_any(text: &str, depth: usize) -> Result<Value, String> {
    let members: BTreeMap<String, Raw> =
        serde_json::from_str(text).map_err(|_| "an object with `value` and `type` is required".to_owned())?;
    let part = |name: &str| members.get(name).ok_or_else(|| format!("`{name}` is missing"));
    let ty: serde_json::Value = serde_json::from_str(part("type")?.get()).map_err(|error| error.to_string())?;
    let ty = json_type(&ty, 0).ok_or("`type` names no type")?;
    decode_raw(part("value")?, Some(&ty), depth + 1)
}

/// A type as the reference implementation writes it in JSON: `"string"`, `["list", "string"]`.
fn json_type(json: &serde_json::Value, depth: usize) -> Option<Type> {
    if depth > 50 {
        return None;
    }
    if let Some(name) = json.as_str() {
        return match name {
            "string" => Some(Type::String),
            "number" => Some(Type::Number),
            "bool" => Some(Type::Bool),
            "dynamic" => Some(Type::Any),
            _ => None,
        };
    }
    let parts = json.as_array()?;
    let inner = parts.get(1)?;
    let element = || json_type(inner, depth + 1);
    match parts.first()?.as_str()? {
        "list" => Some(Type::list(element()?)),
        "set" => Some(Type::set(element()?)),
        "map" => Some(Type::map(element()?)),
        "tuple" => {
            let members = inner.as_array()?.iter().map(|member| json_type(member, depth + 1));
            Some(Type::Tuple(members.collect::<Option<_>>()?))
        }
        "object" => {
            let members = inner.as_object()?.iter();
            let members = members.map(|(name, member)| Some((name.clone(), json_type(member, depth + 1)?)));
            Some(Type::object(members.collect::<Option<_>>()?))
        }
        _ => None,
    }
}
