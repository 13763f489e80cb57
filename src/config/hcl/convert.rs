use std::collections::{BTreeMap, VecDeque};

use super::number::Number;
use super::types::{ObjectType, Type};
use super::value::Value;

/// `value` as `wanted`, or why that is not possible, as the end of a sentence.
pub(crate) fn convert(value: &Value, wanted: &Type) -> Result<Value, String> {
    let ty = value.ty();
    if ty == wanted.of_values() {
        return Ok(value.clone());
    }
    if !can_convert(&ty, wanted) {
        return Err(mismatch(&ty, wanted));
    }
    apply(value, wanted)
}

/// What stands between a type and the wanted one.
pub(crate) fn mismatch(have: &Type, wanted: &Type) -> String {
    if let (Type::Object(have), Type::Object(wanted)) = (have, wanted) {
        for (name, wanted_type) in &wanted.attributes {
            match have.attributes.get(name) {
                None if !wanted.optional.contains(name) => return format!("attribute `{name}` is required"),
                Some(have) if !can_convert(have, wanted_type) => {
                    return format!("attribute `{name}`: {}", mismatch(have, wanted_type));
                }
                _ => {}
            }
        }
    }
    if let (Type::Tuple(have), Type::Tuple(wanted)) = (have, wanted)
        && have.len() != wanted.len()
    {
        return format!("a tuple of {} elements is required, this has {}", wanted.len(), have.len());
    }
    format!("{} is required, this is {}", with_article(&wanted.constraint_name()), with_article(&have.name()))
}

/// Whether a value of type `from` can be tried as `to`.
#[expect(clippy::match_same_arms, reason = "a table of cases reads better in the order of the specification")]
pub(crate) fn can_convert(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (_, Type::Any) => true,
        (Type::Any, _) => true,
        (Type::Number | Type::Bool, Type::String) => true,
        (Type::String, Type::Number | Type::Bool) => true,
        (Type::Object(from), Type::Object(to)) => {
            to.attributes.iter().all(|(name, wanted)| match from.attributes.get(name) {
                None => to.optional.contains(name),
                Some(have) => have == wanted || can_convert(have, wanted),
            })
        }
        (Type::Tuple(from), Type::Tuple(to)) => {
            from.len() == to.len() && from.iter().zip(to).all(|(a, b)| a == b || can_convert(a, b))
        }
        (Type::List(from) | Type::Set(from), Type::List(to)) | (Type::Set(from), Type::Set(to)) => {
            from == to || can_convert(from, to)
        }
        (Type::List(from), Type::Set(to)) | (Type::Map(from), Type::Map(to)) => from == to || can_convert(from, to),
        (Type::Tuple(from), Type::List(to) | Type::Set(to)) => element_type(from.iter(), to).is_some(),
        (Type::Object(from), Type::Map(to)) => element_type(from.attributes.values(), to).is_some(),
        (Type::Map(from), Type::Object(to)) => to
            .attributes
            .iter()
            .all(|(name, wanted)| from.as_ref() == wanted || can_convert(from, wanted) || to.optional.contains(name)),
        _ => from == to && from.is_primitive(),
    }
}

/// The element type that members of several types get in a collection of `wanted`; `None` if they cannot.
fn element_type<'a>(members: impl Iterator<Item = &'a Type>, wanted: &Type) -> Option<Type> {
    let members: Vec<Type> = members.cloned().collect();
    if members.is_empty() {
        return Some(wanted.of_values());
    }
    let element = if *wanted == Type::Any { unify(&members)? } else { wanted.clone() };
    if *wanted == Type::Any && element == Type::Any && members.iter().any(|member| *member != Type::Any) {
        return None;
    }
    members.iter().all(|member| *member == element || can_convert(member, &element)).then_some(element)
}

/// Converts a value for which [`can_convert`] holds; the value itself may still be unfit.
fn apply(value: &Value, wanted: &Type) -> Result<Value, String> {
    if *wanted == Type::Any {
        return Ok(value.clone());
    }
    match value {
        Value::Null(_) => return Ok(Value::Null(wanted.of_values())),
        Value::Unknown(_) => return Ok(Value::Unknown(wanted.of_values())),
        _ => {}
    }
    match (value, wanted) {
        (Value::Number(number), Type::String) => Ok(Value::string(number.plain_text(None))),
        (Value::Bool(value), Type::String) => Ok(Value::string(if *value { "true" } else { "false" })),
        (Value::String(text), Type::Number) => {
            Number::parse(text).map(Value::Number).ok_or_else(|| "a number is required".to_owned())
        }
        (Value::String(text), Type::Bool) => match &**text {
            "true" | "1" => Ok(Value::Bool(true)),
            "false" | "0" => Ok(Value::Bool(false)),
            other if ["true", "false"].contains(&other.to_lowercase().as_str()) => {
                Err(format!("a bool is required; write `{}` in lower case", other.to_lowercase()))
            }
            _ => Err("a bool is required".to_owned()),
        },
        (_, Type::List(element)) => sequence(value, element, false),
        (_, Type::Set(element)) => sequence(value, element, true),
        (_, Type::Map(element)) => to_map(value, element),
        (_, Type::Tuple(types)) => {
            let items = value.as_items().unwrap_or_default();
            let values = items.iter().zip(types).map(|(item, ty)| convert_member(item, ty));
            Ok(Value::tuple(values.collect::<Result<_, _>>()?))
        }
        (_, Type::Object(object)) => to_object(value, object),
        _ => Ok(value.clone()),
    }
}

fn convert_member(value: &Value, wanted: &Type) -> Result<Value, String> {
    if value.ty() == wanted.of_values() { Ok(value.clone()) } else { apply(value, wanted) }
}

#[expect(clippy::single_match_else, reason = "what is there and what is not are told in two arms")]
fn sequence(value: &Value, element: &Type, as_set: bool) -> Result<Value, String> {
    let items = value.as_items().unwrap_or_default();
    let own_type = match value {
        Value::List(own, _) | Value::Set(own, _) => Some(own),
        _ => None,
    };
    let wanted = match own_type {
        Some(_) => element.clone(),
        None => {
            let types: Vec<Type> = items.iter().map(Value::ty).collect();
            element_type(types.iter(), element).ok_or("the elements have no common type")?
        }
    };
    let mut values = items
        .iter()
        .enumerate()
        .map(|(at, item)| convert_member(item, &wanted).map_err(|error| format!("element {at}: {error}")))
        .collect::<Result<Vec<_>, _>>()?;
    let types: Vec<Type> = values.iter().map(Value::ty).collect();
    let common = match own_type {
        Some(own) if values.is_empty() && wanted == Type::Any => own.clone(),
        _ if values.is_empty() => wanted.of_values(),
        _ => common_type(&types)?,
    };
    for value in &mut values {
        *value = convert_member(value, &common)?;
    }
    Ok(if as_set { Value::set(common, values) } else { Value::list(common, values) })
}

fn common_type(types: &[Type]) -> Result<Type, String> {
    let first = types.first().cloned().unwrap_or(Type::Any);
    if types.iter().all(|ty| *ty == first) {
        return Ok(first);
    }
    unify(types).ok_or_else(|| "the elements have no common type".to_owned())
}

fn to_map(value: &Value, element: &Type) -> Result<Value, String> {
    let empty = BTreeMap::new();
    let entries = value.as_entries().unwrap_or(&empty);
    let wanted = match value {
        Value::Map(own, _) if entries.is_empty() && *element == Type::Any => own.clone(),
        Value::Map(..) => element.clone(),
        _ => {
            let types: Vec<Type> = entries.values().map(Value::ty).collect();
            element_type(types.iter(), element).ok_or("the elements have no common type")?
        }
    };
    let mut values = BTreeMap::new();
    for (name, member) in entries {
        let member = convert_member(member, &wanted).map_err(|error| format!("element `{name}`: {error}"))?;
        values.insert(name.clone(), member);
    }
    let types: Vec<Type> = values.values().map(Value::ty).collect();
    let common = if types.is_empty() { wanted.of_values() } else { common_type(&types)? };
    for member in values.values_mut() {
        *member = convert_member(member, &common)?;
    }
    Ok(Value::map(common, values))
}

fn to_object(value: &Value, wanted: &ObjectType) -> Result<Value, String> {
    let empty = BTreeMap::new();
    let entries = value.as_entries().unwrap_or(&empty);
    let mut values = BTreeMap::new();
    for (name, ty) in &wanted.attributes {
        let member = match entries.get(name) {
            Some(member) => convert(member, ty).map_err(|error| format!("attribute `{name}`: {error}"))?,
            None if wanted.optional.contains(name) => Value::Null(ty.of_values()),
            None => return Err(format!("attribute `{name}` is required")),
        };
        values.insert(name.clone(), member);
    }
    Ok(Value::object(values))
}

/// A type's name in a sentence.
pub(crate) fn with_article(name: &str) -> String {
    match name {
        "any" | "dynamic" => name.to_owned(),
        "object" => "an object".to_owned(),
        _ => format!("a {name}"),
    }
}

/// The one type that values of all `types` can be converted to, if there is one.
///
/// Structures stay structures where their members agree one by one, and become collections where they do not.
pub(crate) fn unify(types: &[Type]) -> Option<Type> {
    let count = |test: fn(&Type) -> bool| types.iter().filter(|ty| test(ty)).count();
    let total = types.len();
    if total == 0 {
        return None;
    }
    let any = count(|ty| *ty == Type::Any);
    let maps = count(|ty| matches!(ty, Type::Map(_)));
    let lists = count(|ty| matches!(ty, Type::List(_)));
    let sets = count(|ty| matches!(ty, Type::Set(_)));
    let objects = count(|ty| matches!(ty, Type::Object(_)));
    let tuples = count(|ty| matches!(ty, Type::Tuple(_)));
    for (same, kind) in [(maps, Type::map as fn(Type) -> Type), (lists, Type::list), (sets, Type::set)] {
        if same > 0 && same + any == total {
            if any > 0 {
                return Some(Type::Any);
            }
            let elements: Vec<Type> = types.iter().filter_map(element_of).cloned().collect();
            let unified = kind(unify(&elements)?);
            return types.iter().all(|ty| *ty == unified || can_convert(ty, &unified)).then_some(unified);
        }
    }
    if maps > 0
        && maps + objects + any == total
        && let Some(unified @ Type::Map(_)) = as_collections(types)
    {
        return Some(unified);
    }
    if lists > 0
        && lists + tuples + any == total
        && let Some(unified @ Type::List(_)) = as_collections(types)
    {
        return Some(unified);
    }
    if objects > 0 && objects + any == total {
        return if any > 0 { Some(Type::Any) } else { unify_objects(types) };
    }
    if tuples > 0 && tuples + any == total {
        return if any > 0 { Some(Type::Any) } else { unify_tuples(types) };
    }
    if objects > 0 && tuples > 0 {
        return None;
    }
    by_preference(types)
        .into_iter()
        .map(|at| &types[at])
        .find(|wanted| types.iter().all(|ty| ty == *wanted || can_convert(ty, wanted)))
        .cloned()
}

fn element_of(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Map(element) | Type::List(element) | Type::Set(element) => Some(element),
        _ => None,
    }
}

/// Unifies structures among collections of their kind, after making collections of them.
fn as_collections(types: &[Type]) -> Option<Type> {
    let structures: Vec<Type> =
        types.iter().filter(|ty| matches!(ty, Type::Object(_) | Type::Tuple(_))).cloned().collect();
    let collection = members_collection(&structures)?;
    let mapped: Vec<Type> = types
        .iter()
        .map(|ty| if matches!(ty, Type::Object(_) | Type::Tuple(_)) { collection.clone() } else { ty.clone() })
        .collect();
    unify(&mapped)
}

/// The list or map type that can hold all members of all these tuples or objects.
fn members_collection(types: &[Type]) -> Option<Type> {
    let members: Vec<Type> = types
        .iter()
        .flat_map(|ty| match ty {
            Type::Tuple(members) => members.clone(),
            Type::Object(object) => object.attributes.values().cloned().collect(),
            _ => Vec::new(),
        })
        .collect();
    let element = unify(&members)?;
    let collection = match types.first()? {
        Type::Tuple(_) => Type::list(element),
        _ => Type::map(element),
    };
    types.iter().all(|ty| can_convert(ty, &collection)).then_some(collection)
}

fn unify_objects(types: &[Type]) -> Option<Type> {
    let objects: Vec<&ObjectType> = types
        .iter()
        .filter_map(|ty| match ty {
            Type::Object(object) => Some(object),
            _ => None,
        })
        .collect();
    let first = objects.first()?;
    if !objects.iter().all(|object| object.attributes.keys().eq(first.attributes.keys())) {
        return members_collection(types);
    }
    let mut attributes = BTreeMap::new();
    for name in first.attributes.keys() {
        let across: Vec<Type> = objects.iter().map(|object| object.attributes[name].clone()).collect();
        attributes.insert(name.clone(), unify(&across)?);
    }
    let unified = Type::object(attributes);
    if types.iter().all(|ty| *ty == unified || can_convert(ty, &unified)) {
        return Some(unified);
    }
    members_collection(types)
}

fn unify_tuples(types: &[Type]) -> Option<Type> {
    let tuples: Vec<&Vec<Type>> = types
        .iter()
        .filter_map(|ty| match ty {
            Type::Tuple(members) => Some(members),
            _ => None,
        })
        .collect();
    let length = tuples.first()?.len();
    if tuples.iter().any(|members| members.len() != length) {
        return members_collection(types);
    }
    let members = (0..length)
        .map(|at| unify(&tuples.iter().map(|members| members[at].clone()).collect::<Vec<_>>()))
        .collect::<Option<Vec<_>>>()?;
    let unified = Type::Tuple(members);
    if types.iter().all(|ty| *ty == unified || can_convert(ty, &unified)) {
        return Some(unified);
    }
    members_collection(types)
}

/// Positions of the types, the more general ones first, else in their order.
fn by_preference(types: &[Type]) -> Vec<usize> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); types.len()];
    let mut waiting = vec![0usize; types.len()];
    // Quadratic, so that only as many distinct types as anybody writes are compared.
    let distinct: Vec<usize> = (0..types.len()).filter(|at| !types[..*at].contains(&types[*at])).take(64).collect();
    for (position, &i) in distinct.iter().enumerate() {
        for &j in &distinct[position + 1..] {
            match generality(&types[i], &types[j]) {
                std::cmp::Ordering::Less => {
                    after[i].push(j);
                    waiting[j] += 1;
                }
                std::cmp::Ordering::Greater => {
                    after[j].push(i);
                    waiting[i] += 1;
                }
                std::cmp::Ordering::Equal => {}
            }
        }
    }
    let mut ready: VecDeque<usize> = distinct.iter().copied().filter(|at| waiting[*at] == 0).collect();
    let mut order = Vec::with_capacity(distinct.len());
    while let Some(at) = ready.pop_front() {
        order.push(at);
        for &next in &after[at] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.push_back(next);
            }
        }
    }
    order
}

/// `Less` if `a` is the more general type, to be tried first.
#[expect(clippy::match_same_arms, reason = "a table of cases reads better in the order of the specification")]
fn generality(a: &Type, b: &Type) -> std::cmp::Ordering {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match (a, b) {
        (Type::Any, Type::Any) => Equal,
        (_, Type::Any) => Less,
        (Type::Any, _) => Greater,
        (Type::String, Type::Number | Type::Bool) => Less,
        (Type::Number | Type::Bool, Type::String) => Greater,
        (Type::List(a), Type::List(b)) | (Type::Set(a), Type::Set(b)) | (Type::Map(a), Type::Map(b)) => {
            generality(a, b)
        }
        (Type::Tuple(_) | Type::List(_), Type::Set(_)) | (Type::List(_), Type::Tuple(_)) => Less,
        (Type::Set(_), Type::Tuple(_) | Type::List(_)) | (Type::Tuple(_), Type::List(_)) => Greater,
        (Type::Map(_), Type::Object(_)) => Less,
        (Type::Object(_), Type::Map(_)) => Greater,
        (Type::Tuple(a), Type::Tuple(b)) if a.len() == b.len() => {
            one_sided(a.iter().zip(b).map(|(a, b)| generality(a, b)))
        }
        (Type::Object(a), Type::Object(b)) if a.attributes.keys().eq(b.attributes.keys()) => {
            one_sided(a.attributes.values().zip(b.attributes.values()).map(|(a, b)| generality(a, b)))
        }
        _ => Equal,
    }
}

fn one_sided(orders: impl Iterator<Item = std::cmp::Ordering>) -> std::cmp::Ordering {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let mut seen = Equal;
    for order in orders {
        match (seen, order) {
            (_, Equal) => {}
            (Equal, order) => seen = order,
            (Less, Greater) | (Greater, Less) => return Equal,
            _ => {}
        }
    }
    seen
}
