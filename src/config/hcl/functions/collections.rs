use std::collections::BTreeMap;

use super::{Builtin, Outcome, Refusal, Wanted, function, refuse, text, variadic, whole};
use crate::config::hcl::convert::{convert, unify};
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("chunklist", &[Wanted::List, Wanted::Number], chunk_list),
    variadic("coalesce", &[], Wanted::Nullable, coalesce),
    variadic("coalescelist", &[], Wanted::Nullable, coalesce_list),
    function("compact", &[Wanted::Strings], |values| {
        Ok(Value::strings(items(values, 0).iter().filter_map(Value::as_str).filter(|item| !item.is_empty())))
    }),
    variadic("concat", &[], Wanted::Any, concat),
    function("contains", &[Wanted::Any, Wanted::Any], contains),
    function("distinct", &[Wanted::List], distinct),
    function("element", &[Wanted::Any, Wanted::Number], element),
    function("flatten", &[Wanted::Any], flatten),
    function("hasindex", &[Wanted::Any, Wanted::Any], |values| {
        if sequence(&values[0]).is_none() && !matches!(values[0], Value::Map(..)) {
            return refuse(0, "a list, map or tuple is required");
        }
        Ok(Value::Bool(lookup_element(&values[0], &values[1]).is_some()))
    }),
    function("index", &[Wanted::Any, Wanted::Any], index),
    function("indexof", &[Wanted::Any, Wanted::Any], index_of),
    function("keys", &[Wanted::Any], keys),
    function("length", &[Wanted::Any], length),
    function("lookup", &[Wanted::Any, Wanted::String, Wanted::Any], lookup),
    variadic("merge", &[], Wanted::Nullable, merge),
    function("reverselist", &[Wanted::Any], reverse_list),
    function("slice", &[Wanted::Any, Wanted::Number, Wanted::Number], slice),
    function("values", &[Wanted::Any], values_of),
    function("zipmap", &[Wanted::Strings, Wanted::Any], zip_map),
];

fn items(values: &[Value], at: usize) -> &[Value] {
    values.get(at).and_then(Value::as_items).unwrap_or_default()
}

/// The elements of what has an order: lists and tuples.
fn sequence(value: &Value) -> Option<&[Value]> {
    match value {
        Value::List(_, items) | Value::Tuple(items) => Some(&items.values),
        _ => None,
    }
}

fn element_type(value: &Value) -> Type {
    match value {
        Value::List(element, _) | Value::Set(element, _) | Value::Map(element, _) => element.clone(),
        _ => Type::Any,
    }
}

fn chunk_list(values: &[Value]) -> Outcome {
    let size = whole(values, 1)?;
    let Ok(size) = usize::try_from(size) else { return refuse(1, "must not be negative") };
    let element = element_type(&values[0]);
    let list = |chunk: &[Value]| Value::list(element.clone(), chunk.to_vec());
    let chunks = match (items(values, 0), size) {
        ([], _) => Vec::new(),
        (all, 0) => vec![list(all)],
        (all, size) => all.chunks(size).map(list).collect(),
    };
    Ok(Value::list(Type::list(element.clone()), chunks))
}

fn coalesce(values: &[Value]) -> Outcome {
    let types: Vec<Type> = values.iter().map(Value::ty).collect();
    let wanted = unify(&types).ok_or_else(|| Refusal::from("the arguments have no common type"))?;
    let first = values.iter().find(|value| !value.is_null());
    let first = first.ok_or_else(|| Refusal::from("every argument is null"))?;
    convert(first, &wanted).map_err(Refusal::from)
}

fn coalesce_list(values: &[Value]) -> Outcome {
    for (at, value) in values.iter().enumerate() {
        if !matches!(value.ty(), Type::List(_) | Type::Tuple(_)) {
            return refuse(at, "a list or tuple is required");
        }
    }
    let first = values.iter().find(|value| sequence(value).is_some_and(|items| !items.is_empty()));
    first.cloned().ok_or_else(|| "every list is empty".into())
}

fn concat(values: &[Value]) -> Outcome {
    if values.is_empty() {
        return Err("at least one list is required".into());
    }
    let types: Vec<Type> = values.iter().map(Value::ty).collect();
    if types.iter().all(|ty| matches!(ty, Type::List(_)))
        && let Some(Type::List(element)) = unify(&types)
    {
        let mut all = Vec::new();
        for item in values.iter().filter_map(sequence).flatten() {
            all.push(convert(item, &element).map_err(Refusal::from)?);
        }
        return Ok(Value::list(*element, all));
    }
    let mut all = Vec::new();
    for (at, value) in values.iter().enumerate() {
        match sequence(value) {
            Some(items) => all.extend(items.iter().cloned()),
            None => return refuse(at, format!("a list or tuple is required, this is {}", value.ty().name())),
        }
    }
    Ok(Value::tuple(all))
}

fn contains(values: &[Value]) -> Outcome {
    let Some(items) = values[0].as_items() else { return refuse(0, "a list, tuple or set is required") };
    Ok(Value::Bool(items.iter().any(|item| values[1].equals(item) == Some(true))))
}

fn distinct(values: &[Value]) -> Outcome {
    let mut kept: Vec<Value> = Vec::new();
    let all = items(values, 0);
    if all.len() > 20_000 {
        return refuse(0, "more than 20000 elements");
    }
    for item in all {
        if !kept.iter().any(|seen| seen.equals(item) == Some(true)) {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(element_type(&values[0]), kept))
}

fn element(values: &[Value]) -> Outcome {
    let at = whole(values, 1)?;
    let Some(items) = sequence(&values[0]) else {
        return refuse(0, format!("a list or tuple is required, this is {}", values[0].ty().name()));
    };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if length == 0 {
        return refuse(0, "the list is empty");
    }
    let at = usize::try_from(at.rem_euclid(length)).unwrap_or(0);
    Ok(items[at].clone())
}

fn flatten(values: &[Value]) -> Outcome {
    if values[0].as_items().is_none() {
        return refuse(0, "a list, set or tuple is required");
    }
    let mut flat = Vec::new();
    flatten_into(&values[0], &mut flat);
    Ok(Value::tuple(flat))
}

fn flatten_into(value: &Value, flat: &mut Vec<Value>) {
    for item in value.as_items().unwrap_or_default() {
        if item.as_items().is_some() {
            flatten_into(item, flat);
        } else {
            flat.push(item.clone());
        }
    }
}

/// The element with a key of the right type.
fn lookup_element<'a>(collection: &'a Value, key: &Value) -> Option<&'a Value> {
    match collection {
        Value::List(..) | Value::Tuple(_) => sequence(collection)?.get(key.as_number()?.to_usize()?),
        Value::Map(_, entries) => entries.values.get(key.as_str()?),
        _ => None,
    }
}

fn index(values: &[Value]) -> Outcome {
    match (&values[0], &values[1]) {
        (Value::List(..) | Value::Tuple(_), Value::Number(_)) | (Value::Map(..), Value::String(_)) => {
            match lookup_element(&values[0], &values[1]) {
                Some(found) => Ok(found.clone()),
                None => refuse(1, "there is no such element"),
            }
        }
        (Value::List(..) | Value::Tuple(_), _) => refuse(1, "the key must be a number"),
        (Value::Map(..), _) => refuse(1, "the key must be a text"),
        _ => refuse(0, "a list, map or tuple is required"),
    }
}

fn index_of(values: &[Value]) -> Outcome {
    let Some(items) = sequence(&values[0]) else { return refuse(0, "a list or tuple is required") };
    match items.iter().position(|item| item.equals(&values[1]) == Some(true)) {
        Some(at) => Ok(Value::whole(at)),
        None => Err("there is no such element".into()),
    }
}

fn keys(values: &[Value]) -> Outcome {
    match &values[0] {
        Value::Map(_, entries) => Ok(Value::strings(entries.values.keys())),
        Value::Object(entries) => Ok(Value::tuple(entries.values.keys().map(Value::string).collect())),
        _ => refuse(0, "a map or object is required"),
    }
}

fn length(values: &[Value]) -> Outcome {
    match &values[0] {
        Value::Map(_, entries) => Ok(Value::whole(entries.values.len())),
        value => match value.as_items() {
            Some(items) => Ok(Value::whole(items.len())),
            None => refuse(0, format!("a list, map, set or tuple is required, this is {}", value.ty().name())),
        },
    }
}

fn lookup(values: &[Value]) -> Outcome {
    let key = text(values, 1);
    match &values[0] {
        Value::Object(entries) => Ok(entries.values.get(key).unwrap_or(&values[2]).clone()),
        Value::Map(element, entries) => {
            let default = convert(&values[2], element)
                .or_else(|_| refuse(2, "the default must have the type of the map's elements"))?;
            Ok(entries.values.get(key).cloned().unwrap_or(default))
        }
        _ => refuse(0, "a map or object is required"),
    }
}

fn merge(values: &[Value]) -> Outcome {
    let mut merged = BTreeMap::new();
    for (at, value) in values.iter().enumerate() {
        if value.is_null() && matches!(value.ty(), Type::Any) {
            // The reference implementation knows no type for this result; only null can be merged with it.
            continue;
        }
        match value.as_entries() {
            Some(entries) => merged.extend(entries.iter().map(|(name, value)| (name.clone(), value.clone()))),
            None if value.is_null() => {}
            None => return refuse(at, format!("a map or object is required, this is {}", value.ty().name())),
        }
    }
    let types: Vec<Type> = values.iter().map(Value::ty).collect();
    match types.first() {
        Some(Type::Map(element)) if types.iter().all(|ty| *ty == types[0]) => {
            Ok(Value::map(element.as_ref().clone(), merged))
        }
        _ => Ok(Value::object(merged)),
    }
}

fn reverse_list(values: &[Value]) -> Outcome {
    let Some(items) = values[0].as_items() else {
        return refuse(0, format!("a list or tuple is required, this is {}", values[0].ty().name()));
    };
    let reversed = items.iter().rev().cloned().collect();
    Ok(match &values[0] {
        Value::Tuple(_) => Value::tuple(reversed),
        other => Value::list(element_type(other), reversed),
    })
}

fn slice(values: &[Value]) -> Outcome {
    let Some(items) = sequence(&values[0]) else { return refuse(0, "a list or tuple is required") };
    let position = |at: usize| -> Result<usize, Refusal> {
        match usize::try_from(whole(values, at)?) {
            Ok(position) if position <= items.len() => Ok(position),
            _ => refuse(at, format!("must be from 0 to {}", items.len())),
        }
    };
    let (start, end) = (position(1)?, position(2)?);
    if start > end {
        return refuse(1, "the start must not be after the end");
    }
    let part = items[start..end].to_vec();
    Ok(match &values[0] {
        Value::Tuple(_) => Value::tuple(part),
        other => Value::list(element_type(other), part),
    })
}

fn values_of(values: &[Value]) -> Outcome {
    match &values[0] {
        Value::Map(element, entries) => Ok(Value::list(element.clone(), entries.values.values().cloned().collect())),
        Value::Object(entries) => Ok(Value::tuple(entries.values.values().cloned().collect())),
        _ => refuse(0, "a map or object is required"),
    }
}

fn zip_map(values: &[Value]) -> Outcome {
    let names = items(values, 0);
    let Some(members) = sequence(&values[1]) else { return refuse(1, "a list or tuple is required") };
    if names.len() != members.len() {
        return Err(format!("{} keys for {} values", names.len(), members.len()).into());
    }
    let mut zipped = BTreeMap::new();
    for (name, member) in names.iter().zip(members) {
        let Some(name) = name.as_str() else { return refuse(0, "a key is null") };
        zipped.insert(name.to_owned(), member.clone());
    }
    Ok(match &values[1] {
        Value::List(element, _) => Value::map(element.clone(), zipped),
        _ => Value::object(zipped),
    })
}
