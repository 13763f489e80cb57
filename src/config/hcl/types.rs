use std::collections::{BTreeMap, BTreeSet};

/// The type of a value, or what a value is to be converted to.
///
/// The type system of HCL: primitives, collections of one element type, and structures with a type for each member.
/// `Any` is the type of `null` alone and the wish "whatever it is".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    String,
    Number,
    Bool,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    Object(ObjectType),
}

/// Attribute types; the optional ones may be absent from what is converted to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ObjectType {
    pub(crate) attributes: BTreeMap<String, Type>,
    pub(crate) optional: BTreeSet<String>,
}

impl Type {
    pub(crate) fn list(element: Self) -> Self {
        Self::List(Box::new(element))
    }

    pub(crate) fn set(element: Self) -> Self {
        Self::Set(Box::new(element))
    }

    pub(crate) fn map(element: Self) -> Self {
        Self::Map(Box::new(element))
    }

    pub(crate) fn object(attributes: BTreeMap<String, Self>) -> Self {
        Self::Object(ObjectType { attributes, optional: BTreeSet::new() })
    }

    pub(crate) const fn is_primitive(&self) -> bool {
        matches!(self, Self::String | Self::Number | Self::Bool)
    }

    /// The same type with every attribute required: the type of values, as opposed to of wishes.
    pub(crate) fn of_values(&self) -> Self {
        match self {
            Self::List(element) => Self::list(element.of_values()),
            Self::Set(element) => Self::set(element.of_values()),
            Self::Map(element) => Self::map(element.of_values()),
            Self::Tuple(elements) => Self::Tuple(elements.iter().map(Self::of_values).collect()),
            Self::Object(object) => Self::object(
                object.attributes.iter().map(|(name, wanted)| (name.clone(), wanted.of_values())).collect(),
            ),
            Self::Any | Self::String | Self::Number | Self::Bool => self.clone(),
        }
    }

    /// The name people use: `list of string`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Any => "dynamic".to_owned(),
            Self::String => "string".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::List(element) => format!("list of {}", element.constraint_name()),
            Self::Set(element) => format!("set of {}", element.constraint_name()),
            Self::Map(element) => format!("map of {}", element.constraint_name()),
            Self::Tuple(_) => "tuple".to_owned(),
            Self::Object(_) => "object".to_owned(),
        }
    }

    /// The name of a wish: `any` in place of `dynamic`.
    pub(crate) fn constraint_name(&self) -> String {
        if *self == Self::Any { "any".to_owned() } else { self.name() }
    }
}
