use std::collections::{BTreeMap, BTreeSet};

use super::ast::{Expression, Form};
use super::eval::{Fault, fault, fault_with_help};
use super::json::expression_in_text;
use super::types::{ObjectType, Type};

const HELP: &str = "there are string, number, bool, any, list(…), set(…), map(…), tuple([…]) and object({…})";

/// Reads a type: `list(string)`, `object({ name = string, port = optional(number) })`.
///
/// In the JSON syntax the same stands in a string.
pub(crate) fn read(expression: &Expression) -> Result<Type, Fault> {
    let inner = expression_in_text(expression);
    match inner {
        // A quoted type is JSON's way only: in the native syntax the text would be a value.
        Some(inner)
            if expression.span.source.text().get(expression.span.range.clone()).is_some_and(is_json_text)
                && is_json_file(expression) =>
        {
            read_type(&inner)
        }
        _ => read_type(expression),
    }
}

fn is_json_text(text: &str) -> bool {
    text.starts_with('"')
}

/// Whether the expression comes from a file in JSON syntax, which begins with a brace.
fn is_json_file(expression: &Expression) -> bool {
    expression.span.source.text().trim_start().starts_with('{')
}

fn read_type(expression: &Expression) -> Result<Type, Fault> {
    let span = &expression.span;
    match &expression.form {
        Form::Variable(name) => match name.as_str() {
            "string" => Ok(Type::String),
            "number" => Ok(Type::Number),
            "bool" => Ok(Type::Bool),
            "any" => Ok(Type::Any),
            "list" | "set" | "map" => {
                Err(fault_with_help(format!("`{name}` of what?"), format!("write `{name}(string)`"), span))
            }
            other => Err(fault_with_help(format!("unknown type `{other}`"), HELP, span)),
        },
        Form::Call(call) => {
            let [argument] = &call.arguments[..] else {
                return Err(fault(format!("`{}` takes one argument", call.name), span));
            };
            match call.name.as_str() {
                "list" => Ok(Type::list(read_type(argument)?)),
                "set" => Ok(Type::set(read_type(argument)?)),
                "map" => Ok(Type::map(read_type(argument)?)),
                "tuple" => read_tuple(argument),
                "object" => read_object(argument),
                other => Err(fault_with_help(format!("unknown type `{other}`"), HELP, span)),
            }
        }
        _ => Err(fault_with_help("a type is required here", HELP, span)),
    }
}

fn read_tuple(argument: &Expression) -> Result<Type, Fault> {
    let Form::Tuple(elements) = &argument.form else {
        return Err(fault("`tuple` takes a list of types in brackets", &argument.span));
    };
    Ok(Type::Tuple(elements.iter().map(read_type).collect::<Result<_, _>>()?))
}

fn read_object(argument: &Expression) -> Result<Type, Fault> {
    let Form::Object(items) = &argument.form else {
        return Err(fault("`object` takes names with types in braces", &argument.span));
    };
    let mut attributes = BTreeMap::new();
    let mut optional = BTreeSet::new();
    for (key, wanted) in items {
        let name = match &key.form {
            Form::Literal(value) => value.as_str().map(str::to_owned),
            _ => None,
        };
        let name = name.ok_or_else(|| fault("a name is required", &key.span))?;
        let wanted = match &wanted.form {
            Form::Call(call) if call.name == "optional" => {
                let [inner] = &call.arguments[..] else {
                    return Err(fault("`optional` takes a type and nothing else", &wanted.span));
                };
                optional.insert(name.clone());
                read_type(inner)?
            }
            _ => read_type(wanted)?,
        };
        attributes.insert(name, wanted);
    }
    Ok(Type::Object(ObjectType { attributes, optional }))
}
