use super::{Builtin, Outcome, Refusal, Wanted, function, refuse, variadic};
use crate::config::hcl::convert::{convert, unify};
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("sethaselement", &[Wanted::Set, Wanted::Any], |values| {
        let items = values[0].as_items().unwrap_or_default();
        Ok(Value::Bool(items.iter().any(|item| item.equals(&values[1]) == Some(true))))
    }),
    variadic("setintersection", &[Wanted::Set], Wanted::Set, |values| {
        combine(values, |sets, item| sets.iter().all(|set| has(set, item)))
    }),
    variadic("setproduct", &[], Wanted::Any, product),
    function("setsubtract", &[Wanted::Set, Wanted::Set], |values| {
        combine(values, |sets, item| has(&sets[0], item) && !has(&sets[1], item))
    }),
    variadic("setsymmetricdifference", &[Wanted::Set], Wanted::Set, |values| {
        combine(values, |sets, item| sets.iter().filter(|set| has(set, item)).count() % 2 == 1)
    }),
    variadic("setunion", &[Wanted::Set], Wanted::Set, |values| combine(values, |_, _| true)),
];

/// More combinations than this are refused.
const MAX_PRODUCT: usize = 100_000;

fn has(set: &[Value], item: &Value) -> bool {
    set.iter().any(|other| other.equals(item) == Some(true))
}

/// The elements of all sets, made one type, for which `keep` holds.
fn combine(values: &[Value], keep: fn(&[Vec<Value>], &Value) -> bool) -> Outcome {
    let total: usize = values.iter().filter_map(Value::as_items).map(<[Value]>::len).sum();
    if total > 10_000 {
        return Err("more than 10000 elements".into());
    }
    let types: Vec<Type> = values
        .iter()
        .filter_map(|value| match value {
            // The type of an empty set without a type does not count.
            Value::Set(Type::Any, items) if items.values.is_empty() => None,
            Value::Set(element, _) => Some(element.clone()),
            _ => None,
        })
        .collect();
    let element = if types.is_empty() {
        Type::Any
    } else {
        unify(&types).ok_or_else(|| Refusal::from("the sets have no common type of elements"))?
    };
    let mut sets = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        let items = value.as_items().unwrap_or_default();
        let converted: Result<Vec<Value>, String> = items.iter().map(|item| convert(item, &element)).collect();
        sets.push(converted.or_else(|error| refuse(at, error))?);
    }
    let all = sets.iter().flatten().filter(|item| keep(&sets, item)).cloned().collect();
    Ok(Value::set(element, all))
}

/// Every combination of one element of each; in order if all have one.
fn product(values: &[Value]) -> Outcome {
    if values.len() < 2 {
        return Err("at least two sets or lists are required".into());
    }
    let mut ordered = true;
    let mut element_types = Vec::with_capacity(values.len());
    let mut total = 1usize;
    for (at, value) in values.iter().enumerate() {
        let Some(items) = value.as_items() else { return refuse(at, "a set or list is required") };
        total = total.saturating_mul(items.len());
        element_types.push(match value {
            Value::Set(element, _) => {
                ordered = false;
                element.clone()
            }
            Value::List(element, _) => element.clone(),
            _ if items.is_empty() => Type::Any,
            _ => {
                let types: Vec<Type> = items.iter().map(Value::ty).collect();
                match unify(&types) {
                    Some(element) => element,
                    None => return refuse(at, "the elements have no common type"),
                }
            }
        });
    }
    if total > MAX_PRODUCT {
        return Err(format!("more than {MAX_PRODUCT} combinations").into());
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for (value, element) in values.iter().zip(&element_types) {
        let mut longer = Vec::with_capacity(total);
        for row in &rows {
            for item in value.as_items().unwrap_or_default() {
                let mut row = row.clone();
                row.push(convert(item, element).map_err(Refusal::from)?);
                longer.push(row);
            }
        }
        rows = longer;
    }
    let rows = rows.into_iter().map(Value::tuple).collect();
    let row_type = Type::Tuple(element_types);
    Ok(if ordered { Value::list(row_type, rows) } else { Value::set(row_type, rows) })
}
