use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;

use super::number::Number;
use super::types::Type;

/// A value of the language. Cheap to clone: collections are shared.
///
/// `Unknown` stands where the reference implementation has it: the result of unifying something with `null`'s type.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null(Type),
    Unknown(Type),
    String(Arc<str>),
    Number(Number),
    Bool(bool),
    /// Elements of one type.
    List(Type, Arc<Items>),
    /// Elements of one type, sorted, no two equal.
    Set(Type, Arc<Items>),
    /// Elements of one type by key.
    Map(Type, Arc<Entries>),
    /// Elements of any types.
    Tuple(Arc<Items>),
    /// Attributes of any types.
    Object(Arc<Entries>),
}

/// Values in an order, with what they weigh together.
#[derive(Debug, Default)]
pub(crate) struct Items {
    pub(crate) values: Vec<Value>,
    size: Size,
}

/// Values by name, with what they weigh together.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) values: BTreeMap<String, Value>,
    size: Size,
}

/// How large a value is when every shared part is counted each time it appears: what makes `[b, b]` of `b = [a, a]` and
/// so on dangerous, and how deeply it is nested.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    pub(crate) weight: u64,
    pub(crate) depth: u32,
}

impl Size {
    fn around<'a>(values: impl Iterator<Item = &'a Value>) -> Self {
        values.map(Value::size).fold(Self { weight: 1, depth: 1 }, |sum, size| Self {
            weight: sum.weight.saturating_add(size.weight),
            depth: sum.depth.max(size.depth.saturating_add(1)),
        })
    }
}

impl Value {
    /// A text, brought to Unicode's composed form as HCL does.
    pub(crate) fn string(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        if text.is_ascii() { Self::String(text.into()) } else { Self::String(text.nfc().collect::<String>().into()) }
    }

    pub(crate) fn whole(value: usize) -> Self {
        Self::Number(Number::from_usize(value))
    }

    pub(crate) fn null() -> Self {
        Self::Null(Type::Any)
    }

    pub(crate) fn tuple(values: Vec<Self>) -> Self {
        let size = Size::around(values.iter());
        Self::Tuple(Arc::new(Items { values, size }))
    }

    pub(crate) fn list(element: Type, values: Vec<Self>) -> Self {
        let size = Size::around(values.iter());
        Self::List(element, Arc::new(Items { values, size }))
    }

    pub(crate) fn strings<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self::list(Type::String, texts.into_iter().map(Self::string).collect())
    }

    /// A set: sorted, equal values once.
    pub(crate) fn set(element: Type, mut values: Vec<Self>) -> Self {
        values.sort_by(Self::set_order);
        values.dedup_by(|a, b| a.set_order(b) == Ordering::Equal);
        let size = Size::around(values.iter());
        Self::Set(element, Arc::new(Items { values, size }))
    }

    pub(crate) fn map(element: Type, values: BTreeMap<String, Self>) -> Self {
        let size = Size::around(values.values());
        Self::Map(element, Arc::new(Entries { values, size }))
    }

    pub(crate) fn object(values: BTreeMap<String, Self>) -> Self {
        let size = Size::around(values.values());
        Self::Object(Arc::new(Entries { values, size }))
    }

    pub(crate) fn size(&self) -> Size {
        match self {
            Self::String(text) => Size { weight: 1 + text.len() as u64 / 16, depth: 1 },
            Self::List(_, items) | Self::Set(_, items) | Self::Tuple(items) => items.size,
            Self::Map(_, entries) | Self::Object(entries) => entries.size,
            Self::Null(_) | Self::Unknown(_) | Self::Number(_) | Self::Bool(_) => Size { weight: 1, depth: 1 },
        }
    }

    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Null(ty) | Self::Unknown(ty) => ty.clone(),
            Self::String(_) => Type::String,
            Self::Number(_) => Type::Number,
            Self::Bool(_) => Type::Bool,
            Self::List(element, _) => Type::list(element.clone()),
            Self::Set(element, _) => Type::set(element.clone()),
            Self::Map(element, _) => Type::map(element.clone()),
            Self::Tuple(items) => Type::Tuple(items.values.iter().map(Self::ty).collect()),
            Self::Object(entries) => {
                Type::object(entries.values.iter().map(|(name, value)| (name.clone(), value.ty())).collect())
            }
        }
    }

    pub(crate) const fn is_null(&self) -> bool {
        matches!(self, Self::Null(_))
    }

    pub(crate) const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) const fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of a list, set or tuple.
    pub(crate) fn as_items(&self) -> Option<&[Self]> {
        match self {
            Self::List(_, items) | Self::Set(_, items) | Self::Tuple(items) => Some(&items.values),
            _ => None,
        }
    }

    /// The elements of a map or object.
    pub(crate) fn as_entries(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Map(_, entries) | Self::Object(entries) => Some(&entries.values),
            _ => None,
        }
    }

    /// (key, value) of every element: numbers for sequences, the element itself for sets, names in order for the rest.
    pub(crate) fn elements(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Set(_, items) => Some(items.values.iter().map(|value| (value.clone(), value.clone())).collect()),
            Self::List(_, items) | Self::Tuple(items) => {
                Some(items.values.iter().enumerate().map(|(at, value)| (Self::whole(at), value.clone())).collect())
            }
            Self::Map(_, entries) | Self::Object(entries) => {
                Some(entries.values.iter().map(|(name, value)| (Self::string(name), value.clone())).collect())
            }
            _ => None,
        }
    }

    /// `==` of the language: the same type and the same content; `null` equals `null`. `None` where something is unknown.
    #[expect(clippy::match_same_arms, reason = "a table of cases reads better in the order of the specification")]
    pub(crate) fn equals(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Unknown(_), _) | (_, Self::Unknown(_)) => None,
            (Self::Null(_), Self::Null(_)) => Some(true),
            (Self::Null(_), _) | (_, Self::Null(_)) => Some(false),
            (Self::String(a), Self::String(b)) => Some(a == b),
            (Self::Number(a), Self::Number(b)) => Some(a == b),
            (Self::Bool(a), Self::Bool(b)) => Some(a == b),
            (Self::Tuple(a), Self::Tuple(b)) => {
                if a.values.len() != b.values.len() {
                    return Some(false);
                }
                all_equal(a.values.iter().zip(&b.values))
            }
            (Self::List(x, a), Self::List(y, b)) | (Self::Set(x, a), Self::Set(y, b)) => {
                if x != y || a.values.len() != b.values.len() {
                    return Some(false);
                }
                all_equal(a.values.iter().zip(&b.values))
            }
            (Self::Map(x, _), Self::Map(y, _)) if x != y => Some(false),
            (Self::Map(_, a), Self::Map(_, b)) | (Self::Object(a), Self::Object(b)) => {
                if !a.values.keys().eq(b.values.keys()) {
                    return Some(false);
                }
                all_equal(a.values.values().zip(b.values.values()))
            }
            _ => Some(false),
        }
    }

    /// An order among the elements of one set: texts by code point, numbers by size, `false` first, `null` last.
    fn set_order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Null(_), Self::Null(_)) | (Self::Unknown(_), Self::Unknown(_)) => Ordering::Equal,
            (Self::Null(_) | Self::Unknown(_), _) => Ordering::Greater,
            (_, Self::Null(_) | Self::Unknown(_)) => Ordering::Less,
            _ => match (self.as_items(), other.as_items(), self.as_entries(), other.as_entries()) {
                (Some(a), Some(b), _, _) => lexical(a.iter().zip(b), a.len().cmp(&b.len())),
                (_, _, Some(a), Some(b)) => {
                    a.keys().cmp(b.keys()).then_with(|| lexical(a.values().zip(b.values()), Ordering::Equal))
                }
                _ => Ordering::Equal,
            },
        }
    }
}

fn lexical<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>, otherwise: Ordering) -> Ordering {
    pairs.map(|(a, b)| a.set_order(b)).find(|order| *order != Ordering::Equal).unwrap_or(otherwise)
}

fn all_equal<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Option<bool> {
    for (a, b) in pairs {
        if !a.equals(b)? {
            return Some(false);
        }
    }
    Some(true)
}
