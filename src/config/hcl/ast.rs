use crate::base::Span;

use super::value::Value;
use crate::config::error::ConfigProblem;

/// A file's or block's content: arguments and blocks in the order written.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) blocks: Vec<Block>,
}

impl Body {
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// `name = value`.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) value: Expression,
}

/// `kind "label" { … }`.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) labels: Vec<(String, Span)>,
    /// The first line: kind and labels.
    pub(crate) span: Span,
    pub(crate) body: Body,
}

/// An expression with the place where it stands.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) form: Form,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum Form {
    Literal(Value),
    /// Parts one after the other, as a text.
    Template(Vec<Expression>),
    /// `"${x}"`: the value itself, not its text.
    Wrapped(Box<Expression>),
    /// The elements of a tuple one after the other, as a text: `%{ for }`.
    Joined(Box<Expression>),
    Variable(String),
    /// The element that a splat is looking at.
    Item,
    Traversal(Box<Expression>, Vec<Step>),
    Index(Box<Expression>, Box<Expression>),
    /// `source[*].each`; the steps are in `each`, with [`Form::Item`] in place of the element.
    Splat(Box<Expression>, Box<Expression>),
    Call(Call),
    Conditional(Box<[Expression; 3]>),
    /// Operators of one precedence from left to right, kept flat so that long chains do not nest.
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
    Negate(Box<Expression>),
    Not(Box<Expression>),
    Tuple(Vec<Expression>),
    Object(Vec<(Expression, Expression)>),
    /// An object of the JSON form, where no key may appear twice.
    JsonObject(Vec<(Expression, Expression)>),
    For(Box<For>),
    Parentheses(Box<Expression>),
    /// A text of the JSON form that is no template; an error only if it is evaluated.
    Broken(Box<ConfigProblem>),
}

/// One step of `a.b[0]`.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum StepKind {
    Attribute(String),
    Index(Value),
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) arguments: Vec<Expression>,
    /// `f(list...)`.
    pub(crate) expand: bool,
}

/// `[for key, value in collection : result if condition]` or `{for … : key => result...}`.
#[derive(Debug)]
pub(crate) struct For {
    pub(crate) key_name: Option<String>,
    pub(crate) value_name: String,
    pub(crate) collection: Expression,
    pub(crate) key: Option<Expression>,
    pub(crate) result: Expression,
    pub(crate) condition: Option<Expression>,
    pub(crate) group: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Expression {
    /// The single identifier that the expression is, if it is one: a parameter, a type, a key.
    pub(crate) fn keyword(&self) -> Option<&str> {
        match &self.form {
            Form::Variable(name) => Some(name),
            _ => None,
        }
    }

    /// Calls `visit` for every expression inside, this one first, with the names that `for` defines around it.
    pub(crate) fn walk<'a>(&'a self, locals: &mut Vec<&'a str>, visit: &mut dyn FnMut(&'a Self, &[&'a str])) {
        visit(self, locals);
        match &self.form {
            Form::Template(parts) | Form::Tuple(parts) => parts.iter().for_each(|part| part.walk(locals, visit)),
            Form::Wrapped(inner)
            | Form::Joined(inner)
            | Form::Negate(inner)
            | Form::Not(inner)
            | Form::Parentheses(inner)
            | Form::Traversal(inner, _) => inner.walk(locals, visit),
            Form::Index(a, b) | Form::Splat(a, b) => {
                a.walk(locals, visit);
                b.walk(locals, visit);
            }
            Form::Call(call) => call.arguments.iter().for_each(|argument| argument.walk(locals, visit)),
            Form::Conditional(parts) => parts.iter().for_each(|part| part.walk(locals, visit)),
            Form::Chain(first, others) => {
                first.walk(locals, visit);
                for (_, operand) in others {
                    operand.walk(locals, visit);
                }
            }
            Form::Object(items) | Form::JsonObject(items) => {
                for (key, value) in items {
                    key.walk(locals, visit);
                    value.walk(locals, visit);
                }
            }
            Form::For(each) => {
                each.collection.walk(locals, visit);
                let before = locals.len();
                locals.extend(each.key_name.as_deref());
                locals.push(&each.value_name);
                for inner in each.key.iter().chain([&each.result]).chain(&each.condition) {
                    inner.walk(locals, visit);
                }
                locals.truncate(before);
            }
            Form::Literal(_) | Form::Variable(_) | Form::Item | Form::Broken(_) => {}
        }
    }
}
