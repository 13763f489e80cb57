//! What operators and steps make of values.

use std::collections::BTreeMap;

use super::{Fault, fault, fault_with_help};
use crate::base::Span;
use crate::config::hcl::ast::{Operator, Step, StepKind};
use crate::config::hcl::convert::{convert, with_article};
use crate::config::hcl::number::Number;
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

pub(super) fn append(text: &mut String, value: &Value, span: &Span) -> Result<(), Fault> {
    if value.is_null() {
        return Err(fault_with_help(
            "null cannot be part of a text",
            "give it a default: `${coalesce(NAME, \"\")}`",
            span,
        ));
    }
    let part = convert(value, &Type::String).map_err(|_| {
        let message = format!("{} cannot be part of a text", with_article(&value.ty().name()));
        let help = if value.as_items().is_some() {
            "join its elements: `${join(\",\", NAME)}`"
        } else {
            "take one of its values: `${NAME.key}`, or write all of it: `${jsonencode(NAME)}`"
        };
        fault_with_help(message, help, span)
    })?;
    text.push_str(part.as_str().unwrap_or_default());
    Ok(())
}

/// An operand of a given type, which is not null.
pub(super) fn operand(value: &Value, wanted: &Type, span: &Span) -> Result<Value, Fault> {
    if value.is_null() {
        return Err(fault_with_help("this is null", "give it a value, or a default: `coalesce(NAME, 0)`", span));
    }
    convert(value, wanted).map_err(|error| {
        let help = match (value, wanted) {
            (Value::String(_), Type::Number) => {
                "write numbers without quotes; texts are joined by writing \"${a}${b}\""
            }
            (_, Type::Bool) => "compare it with something: `NAME == \"value\"`",
            _ => "only numbers can be calculated with",
        };
        fault_with_help(error, help, span)
    })
}

/// `&&` and `||`: one side can decide alone, even if the other has no value.
pub(super) fn logical(
    operator: Operator,
    left: Result<Value, Fault>,
    left_span: &Span,
    right: Result<Value, Fault>,
    right_span: &Span,
) -> Result<Value, Fault> {
    let left = left.and_then(|value| operand(&value, &Type::Bool, left_span));
    let right = right.and_then(|value| operand(&value, &Type::Bool, right_span));
    let decisive = operator == Operator::Or;
    for side in [&left, &right] {
        if let Ok(value) = side
            && value.as_bool() == Some(decisive)
        {
            return Ok(value.clone());
        }
    }
    match (left?, right?) {
        (Value::Bool(_), Value::Bool(_)) => Ok(Value::Bool(!decisive)),
        _ => Ok(Value::Unknown(Type::Bool)),
    }
}

pub(super) fn binary(
    operator: Operator,
    left: &Value,
    left_span: &Span,
    right: &Value,
    right_span: &Span,
) -> Result<Value, Fault> {
    if matches!(operator, Operator::Equal | Operator::NotEqual) {
        let equal = left.equals(right);
        return Ok(
            equal.map_or(Value::Unknown(Type::Bool), |equal| Value::Bool(equal == (operator == Operator::Equal)))
        );
    }
    let left = operand(left, &Type::Number, left_span)?;
    let right = operand(right, &Type::Number, right_span)?;
    let (Some(a), Some(b)) = (left.as_number(), right.as_number()) else {
        return Ok(Value::Unknown(Type::Any));
    };
    let number = |result: Result<Number, _>| {
        result.map(Value::Number).map_err(|_| fault("the operation has no result", right_span))
    };
    match operator {
        Operator::Greater => Ok(Value::Bool(a > b)),
        Operator::GreaterOrEqual => Ok(Value::Bool(a >= b)),
        Operator::Less => Ok(Value::Bool(a < b)),
        Operator::LessOrEqual => Ok(Value::Bool(a <= b)),
        Operator::Add => number(a.add(b)),
        Operator::Subtract => number(a.subtract(b)),
        Operator::Multiply => number(a.multiply(b)),
        Operator::Divide => number(a.divide(b)),
        _ => number(a.modulo(b)),
    }
}

/// Takes steps from a value: names and literal keys.
pub(crate) fn follow(mut value: Value, steps: &[Step]) -> Result<Value, Fault> {
    for step in steps {
        value = match &step.kind {
            StepKind::Attribute(name) => attribute(&value, name, &step.span)?,
            StepKind::Index(key) => index(&value, key, &step.span)?,
        };
    }
    Ok(value)
}

pub(super) fn attribute(value: &Value, name: &str, span: &Span) -> Result<Value, Fault> {
    match value {
        Value::Null(_) => Err(fault(format!("null has no attribute `{name}`"), span)),
        Value::Unknown(_) => Ok(Value::Unknown(Type::Any)),
        Value::Map(_, entries) | Value::Object(entries) => {
            entries.values.get(name).cloned().ok_or_else(|| missing(name, &entries.values, span))
        }
        other => Err(fault(format!("{} has no attributes", with_article(&other.ty().name())), span)),
    }
}

/// A name that a map or object does not have.
pub(super) fn missing(name: &str, entries: &BTreeMap<String, Value>, span: &Span) -> Fault {
    let message = format!("there is no `{name}` in it");
    let help = match crate::base::did_you_mean(name, entries.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if entries.is_empty() => "it is empty".to_owned(),
        None => {
            let known: Vec<&str> = entries.keys().map(String::as_str).take(20).collect();
            format!("it has {}", known.join(", "))
        }
    };
    fault_with_help(message, help, span)
}

pub(super) fn index(value: &Value, key: &Value, span: &Span) -> Result<Value, Fault> {
    if value.is_null() {
        return Err(fault("null has no elements", span));
    }
    if key.is_null() {
        return Err(fault("the key is null", span));
    }
    if value.is_unknown() || key.is_unknown() {
        return Ok(Value::Unknown(Type::Any));
    }
    let as_key = |wanted: &Type| convert(key, wanted).map_err(|error| fault(format!("the key: {error}"), span));
    match value {
        Value::List(_, items) | Value::Tuple(items) => {
            let key = as_key(&Type::Number)?;
            let number = key.as_number();
            let found = number.and_then(Number::to_usize).and_then(|at| items.values.get(at));
            found.cloned().ok_or_else(|| {
                let shown = number.map(|number| number.general_text(None)).unwrap_or_default();
                let help = match items.values.len() {
                    0 => "the list is empty".to_owned(),
                    count => format!("elements are counted from 0: the last one is {}", count - 1),
                };
                fault_with_help(format!("there is no element {shown}"), help, span)
            })
        }
        Value::Map(_, entries) | Value::Object(entries) => {
            let key = as_key(&Type::String)?;
            let name = key.as_str().unwrap_or_default();
            entries.values.get(name).cloned().ok_or_else(|| missing(name, &entries.values, span))
        }
        Value::Set(..) => Err(fault("elements of a set have no keys", span)),
        other => Err(fault(format!("{} has no elements", with_article(&other.ty().name())), span)),
    }
}
