//! The standard library: every function that bake has.
//!
//! Source: go-cty's `function/stdlib`, the `go-cty-funcs` collection and bake's own additions, by what they do to values.
//! Nothing here reads files or the environment; the clock and the home directory come in with [`Host`].

mod cipher;
mod collections;
mod digests;
mod encoding;
mod formatting;
mod network;
mod numbers;
mod patterns;
mod sets;
mod texts;
mod time;
mod versions;

use crate::base::Span;

use super::convert::convert;
use super::eval::{Fault, NOT_NULL, fault, fault_with_help};
use super::types::Type;
use super::value::Value;

pub(crate) use encoding::{decode_json, json_text};

/// A moment in RFC 3339, given in seconds since 1970-01-01.
pub(crate) fn timestamp(seconds: i64) -> String {
    time::Moment { seconds, nanoseconds: 0, offset: 0 }.rfc3339()
}

/// A function that the language has.
pub(crate) struct Builtin {
    name: &'static str,
    parameters: &'static [Wanted],
    /// What further arguments must be, if any may follow.
    variadic: Option<Wanted>,
    run: fn(&[Value]) -> Outcome,
}

/// What an argument is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    /// Anything, even null.
    Nullable,
    String,
    Number,
    Bool,
    /// A list of strings.
    Strings,
    /// A list of anything.
    List,
    Set,
}

impl Wanted {
    fn ty(self) -> Type {
        match self {
            Self::Any | Self::Nullable => Type::Any,
            Self::String => Type::String,
            Self::Number => Type::Number,
            Self::Bool => Type::Bool,
            Self::Strings => Type::list(Type::String),
            Self::List => Type::list(Type::Any),
            Self::Set => Type::set(Type::Any),
        }
    }
}

impl Wanted {
    /// In a signature.
    const fn word(self) -> &'static str {
        match self {
            Self::Any | Self::Nullable => "value",
            Self::String => "text",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Strings => "texts",
            Self::List => "list",
            Self::Set => "set",
        }
    }
}

impl Builtin {
    /// How it is called: `replace(text, text, text)`.
    fn signature(&self) -> String {
        let mut words: Vec<&str> = self.parameters.iter().map(|wanted| wanted.word()).collect();
        let further = self.variadic.map(|wanted| format!("{}…", wanted.word()));
        words.extend(further.as_deref());
        format!("{}({})", self.name, words.join(", "))
    }
}

/// Functions that other tools with this language have, and what does their work here.
const INSTEAD: [(&str, &str); 16] = [
    ("startswith", "write `can(regex(\"^prefix\", NAME))`"),
    ("endswith", "write `can(regex(\"suffix$\", NAME))`"),
    ("strcontains", "write `can(regex(\"part\", NAME))`"),
    ("tostring", "write `convert(NAME, string)`"),
    ("tonumber", "write `convert(NAME, number)`"),
    ("tobool", "write `convert(NAME, bool)`"),
    ("tolist", "write `convert(NAME, list(string))`"),
    ("toset", "write `convert(NAME, set(string))`"),
    ("tomap", "write `convert(NAME, map(string))`"),
    ("one", "write `NAME[0]`"),
    ("env", "declare a variable of that name: the environment sets it"),
    ("file", "files cannot be read here; declare a variable and set it from outside"),
    ("fileexists", "files cannot be read here"),
    ("templatefile", "files cannot be read here; write the template as a heredoc"),
    ("yamldecode", "there is `jsondecode` and `csvdecode` only"),
    ("sum", "write the numbers with `+`"),
];

/// What to write instead of a function that only other tools have.
pub(crate) fn instead_of(name: &str) -> Option<&'static str> {
    INSTEAD.iter().find(|(own, _)| *own == name).map(|(_, advice)| *advice)
}

/// Evaluated arguments of one call, with the place of each.
pub(crate) struct Arguments<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: &'a Span,
    pub(crate) values: Vec<Value>,
    pub(crate) spans: Vec<&'a Span>,
}

/// What a function gives, or why it cannot.
type Outcome = Result<Value, Refusal>;

/// Why a function has no result, and which argument is to blame, if one is.
#[derive(Debug)]
pub(crate) struct Refusal {
    message: String,
    argument: Option<usize>,
}

impl<S: Into<String>> From<S> for Refusal {
    fn from(message: S) -> Self {
        Self { message: message.into(), argument: None }
    }
}

fn refuse<T>(argument: usize, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { message: message.into(), argument: Some(argument) })
}

const fn function(name: &'static str, parameters: &'static [Wanted], run: fn(&[Value]) -> Outcome) -> Builtin {
    Builtin { name, parameters, variadic: None, run }
}

const fn variadic(
    name: &'static str,
    parameters: &'static [Wanted],
    rest: Wanted,
    run: fn(&[Value]) -> Outcome,
) -> Builtin {
    Builtin { name, parameters, variadic: Some(rest), run }
}

const TABLES: [&[Builtin]; 12] = [
    cipher::FUNCTIONS,
    collections::FUNCTIONS,
    digests::FUNCTIONS,
    encoding::FUNCTIONS,
    formatting::FUNCTIONS,
    network::FUNCTIONS,
    numbers::FUNCTIONS,
    patterns::FUNCTIONS,
    sets::FUNCTIONS,
    texts::FUNCTIONS,
    time::FUNCTIONS,
    versions::FUNCTIONS,
];

/// The functions that the evaluator itself knows, because their arguments are not simply values.
const SPECIAL: [&str; 5] = ["try", "can", "convert", "timestamp", "homedir"];

/// The builtin of that name.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    TABLES.iter().flat_map(|table| table.iter()).find(|builtin| builtin.name == name)
}

/// Whether the language has a function of that name.
pub(crate) fn exists(name: &str) -> bool {
    SPECIAL.contains(&name) || find(name).is_some()
}

/// Names of all builtins.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().flat_map(|table| table.iter()).map(|builtin| builtin.name).chain(SPECIAL)
}

/// Calls a builtin: counts, converts and checks the arguments, then runs it.
pub(crate) fn call(builtin: &Builtin, arguments: &Arguments<'_>) -> Result<Value, Fault> {
    let (wanted, given) = (builtin.parameters.len(), arguments.values.len());
    if given < wanted || given > wanted && builtin.variadic.is_none() {
        let least = if builtin.variadic.is_some() { "at least " } else { "" };
        let plural = if wanted == 1 { "" } else { "s" };
        let verb = if given == 1 { "is" } else { "are" };
        let message = format!("`{}` takes {least}{wanted} argument{plural}, {given} {verb} given", arguments.name);
        return Err(fault_with_help(message, format!("write `{}`", builtin.signature()), arguments.name_span));
    }
    let mut values = Vec::with_capacity(given);
    for (at, value) in arguments.values.iter().enumerate() {
        let Some(kind) = builtin.parameters.get(at).copied().or(builtin.variadic) else { break };
        if value.is_null() && kind != Wanted::Nullable {
            return Err(fault_with_help(
                format!("an argument of `{}` is null", arguments.name),
                NOT_NULL,
                arguments.spans[at],
            ));
        }
        let value = convert(value, &kind.ty()).map_err(|error| {
            let help = format!("it is used as `{}`", builtin.signature());
            fault_with_help(format!("an argument of `{}`: {error}", arguments.name), help, arguments.spans[at])
        })?;
        values.push(value);
    }
    if values.iter().any(Value::is_unknown) {
        return Ok(Value::Unknown(Type::Any));
    }
    (builtin.run)(&values).map_err(|refusal| {
        let span = refusal.argument.and_then(|at| arguments.spans.get(at).copied()).unwrap_or(arguments.name_span);
        fault(format!("`{}`: {}", arguments.name, refusal.message), span)
    })
}

/// The text of an argument that was converted to one.
fn text(values: &[Value], at: usize) -> &str {
    values.get(at).and_then(Value::as_str).unwrap_or_default()
}

/// The number of an argument that was converted to one.
fn number(values: &[Value], at: usize) -> Result<&super::number::Number, Refusal> {
    values.get(at).and_then(Value::as_number).ok_or_else(|| Refusal::from("a number is required"))
}

/// A whole number that fits.
fn whole(values: &[Value], at: usize) -> Result<i64, Refusal> {
    let whole = number(values, at)?.to_i64();
    whole.ok_or(Refusal { message: "a whole number is required".to_owned(), argument: Some(at) })
}
