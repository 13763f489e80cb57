use std::cell::Cell;
use std::collections::BTreeMap;

use crate::base::Span;
use crate::config::error::ConfigProblem;

use super::ast::{Call, Expression, For, Form, Operator, Step};
use super::convert::{convert, unify, with_article};
use super::functions::{self, Arguments};
use super::type_expression;
use super::types::Type;
use super::value::Value;

mod operators;

pub(crate) use operators::follow;
use operators::{append, binary, index, logical, operand};

/// What to do about files that ask for too much.
const SIMPLER: &str = "look for values that multiply each other, and make them smaller";

/// What to do about an argument that is null.
pub(crate) const NOT_NULL: &str = "give it a value, or a default: `coalesce(NAME, \"\")`";

/// Why an expression has no value.
pub(crate) type Fault = Box<ConfigProblem>;

/// Names that an expression can use beside those that `for` and functions define.
pub(crate) trait Names {
    /// The value of a name, and how many of the steps after it have been taken on the way.
    ///
    /// `target.app.tags` is answered as a whole, since a target is evaluated attribute by attribute.
    fn resolve(&self, name: &str, steps: &[Step], span: &Span) -> Result<(Value, usize), Fault>;

    /// A function that the file defines.
    fn function(&self, name: &str) -> Option<UserFunction<'_>>;

    /// Names of all functions that the file defines, for suggestions.
    fn function_names(&self) -> Vec<String>;

    /// The machine, for the functions that ask about it.
    fn host(&self) -> &Host;
}

/// What functions may know about the machine; handed in, since this room does not look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// Seconds since 1970-01-01 in UTC: `timestamp()`.
    pub(crate) now: i64,
    /// Whether `timestamp()` was called.
    pub(crate) asked: Cell<bool>,
    /// The home directory: `homedir()`.
    pub(crate) home: String,
}

/// A function of the file: its parameters and the expression for its result.
#[derive(Clone, Copy)]
pub(crate) struct UserFunction<'a> {
    pub(crate) parameters: &'a [String],
    pub(crate) variadic: Option<&'a str>,
    pub(crate) result: &'a Expression,
}

/// Names that an expression defines for its inner parts, innermost first.
#[derive(Clone, Copy)]
pub(crate) struct Locals<'a> {
    outer: Option<&'a Locals<'a>>,
    names: &'a BTreeMap<String, Value>,
    /// The element that a splat looks at.
    item: Option<&'a Value>,
}

impl<'a> Locals<'a> {
    pub(crate) const fn new(names: &'a BTreeMap<String, Value>) -> Self {
        Self { outer: None, names, item: None }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.names.get(name).or_else(|| self.outer.and_then(|outer| outer.find(name)))
    }

    fn item(&self) -> Option<&Value> {
        self.item.or_else(|| self.outer.and_then(Self::item))
    }
}

/// What one evaluation may cost: a few lines can otherwise ask for more than any machine has.
#[derive(Debug)]
pub(crate) struct Budget {
    steps: Cell<u64>,
    depth: Cell<u32>,
}

/// Steps that all files of one invocation may take together: seconds of work, thousands of times what real files need.
const MAX_STEPS: u64 = 10_000_000;
/// Expressions inside expressions, through variables and functions too.
const MAX_DEPTH: u32 = 1_200;
/// Parts of one value, and how deeply they nest.
const MAX_WEIGHT: u64 = 4_000_000;
const MAX_VALUE_DEPTH: u32 = 400;

impl Default for Budget {
    fn default() -> Self {
        Self { steps: Cell::new(MAX_STEPS), depth: Cell::new(0) }
    }
}

impl Budget {
    fn spend(&self, steps: u64, span: &Span) -> Result<(), Fault> {
        let left = self.steps.get().checked_sub(steps);
        self.steps.set(left.unwrap_or(0));
        let message = "the files ask for more computation than is sensible";
        left.map(|_| ()).ok_or_else(|| fault_with_help(message, SIMPLER, span))
    }
}

/// Evaluates expressions with given names.
pub(crate) struct Evaluator<'a> {
    pub(crate) names: &'a dyn Names,
    pub(crate) budget: &'a Budget,
}

/// A problem at a place.
pub(crate) fn fault(message: impl Into<String>, span: &Span) -> Fault {
    Box::new(ConfigProblem::Invalid { message: message.into(), help: None, span: Some(span.clone()) })
}

/// A problem at a place, with what to do about it.
pub(crate) fn fault_with_help(message: impl Into<String>, help: impl Into<String>, span: &Span) -> Fault {
    Box::new(ConfigProblem::Invalid { message: message.into(), help: Some(help.into()), span: Some(span.clone()) })
}

impl Evaluator<'_> {
    /// The value of an expression.
    pub(crate) fn eval(&self, expression: &Expression, locals: &Locals<'_>) -> Result<Value, Fault> {
        self.budget.spend(1, &expression.span)?;
        let depth = self.budget.depth.get();
        if depth >= MAX_DEPTH {
            let message = "expressions refer to each other too deeply";
            return Err(fault_with_help(message, SIMPLER, &expression.span));
        }
        self.budget.depth.set(depth + 1);
        let result = self.eval_form(expression, locals);
        self.budget.depth.set(depth);
        let value = result?;
        let size = value.size();
        if size.weight > MAX_WEIGHT || size.depth > MAX_VALUE_DEPTH {
            return Err(fault_with_help("a value that is too large or too deeply nested", SIMPLER, &expression.span));
        }
        Ok(value)
    }

    fn eval_form(&self, expression: &Expression, locals: &Locals<'_>) -> Result<Value, Fault> {
        let span = &expression.span;
        match &expression.form {
            Form::Literal(value) => Ok(value.clone()),
            Form::Template(parts) => self.template(parts, span, locals),
            Form::Wrapped(inner) | Form::Parentheses(inner) => self.eval(inner, locals),
            Form::Joined(inner) => self.joined(inner, span, locals),
            Form::Variable(name) => self.variable(name, &[], span, locals),
            Form::Item => Ok(locals.item().cloned().unwrap_or(Value::Unknown(Type::Any))),
            Form::Traversal(from, steps) => match &from.form {
                Form::Variable(name) => self.variable(name, steps, &from.span, locals),
                _ => follow(self.eval(from, locals)?, steps),
            },
            Form::Index(from, key) => index(&self.eval(from, locals)?, &self.eval(key, locals)?, &key.span),
            Form::Splat(source, each) => self.splat(source, each, locals),
            Form::Call(call) => self.call(call, span, locals),
            Form::Conditional(parts) => self.conditional(parts, locals),
            Form::Chain(first, others) => self.chain(first, others, locals),
            Form::Negate(inner) => {
                let value = operand(&self.eval(inner, locals)?, &Type::Number, &inner.span)?;
                Ok(value.as_number().map_or(value.clone(), |number| Value::Number(number.negate())))
            }
            Form::Not(inner) => {
                let value = operand(&self.eval(inner, locals)?, &Type::Bool, &inner.span)?;
                Ok(value.as_bool().map_or(value.clone(), |value| Value::Bool(!value)))
            }
            Form::Tuple(values) => {
                let values = values.iter().map(|value| self.eval(value, locals)).collect::<Result<_, _>>()?;
                Ok(Value::tuple(values))
            }
            Form::Object(items) => self.object(items, false, locals),
            Form::JsonObject(items) => self.object(items, true, locals),
            Form::For(each) => self.for_each(each, span, locals),
            Form::Broken(problem) => {
                let (message, span) = (problem.to_string(), span);
                Err(fault(message, span))
            }
        }
    }

    fn variable(&self, name: &str, steps: &[Step], span: &Span, locals: &Locals<'_>) -> Result<Value, Fault> {
        if let Some(value) = locals.find(name) {
            return follow(value.clone(), steps);
        }
        let (value, taken) = self.names.resolve(name, steps, span)?;
        follow(value, steps.get(taken..).unwrap_or_default())
    }

    fn template(&self, parts: &[Expression], span: &Span, locals: &Locals<'_>) -> Result<Value, Fault> {
        let mut text = String::new();
        let mut known = true;
        for part in parts {
            let value = self.eval(part, locals)?;
            if value.is_unknown() {
                known = false;
                continue;
            }
            append(&mut text, &value, &part.span)?;
        }
        self.budget.spend(text.len() as u64 / 64, span)?;
        Ok(if known { Value::string(text) } else { Value::Unknown(Type::String) })
    }

    fn joined(&self, inner: &Expression, span: &Span, locals: &Locals<'_>) -> Result<Value, Fault> {
        let value = self.eval(inner, locals)?;
        let mut text = String::new();
        for item in value.as_items().unwrap_or_default() {
            append(&mut text, item, span)?;
        }
        self.budget.spend(text.len() as u64 / 64, span)?;
        Ok(Value::string(text))
    }

    fn object(&self, items: &[(Expression, Expression)], unique: bool, locals: &Locals<'_>) -> Result<Value, Fault> {
        let mut values = BTreeMap::new();
        for (key, value) in items {
            let name = self.key(key, locals)?;
            let value = self.eval(value, locals)?;
            if values.insert(name.clone(), value).is_some() && unique {
                return Err(fault(format!("`{name}` appears twice in this object"), &key.span));
            }
        }
        Ok(Value::object(values))
    }

    fn key(&self, key: &Expression, locals: &Locals<'_>) -> Result<String, Fault> {
        let value = self.eval(key, locals)?;
        if value.is_null() {
            return Err(fault("the key is null", &key.span));
        }
        let text = convert(&value, &Type::String).map_err(|error| fault(format!("the key: {error}"), &key.span))?;
        text.as_str().map(str::to_owned).ok_or_else(|| fault("the key is not known", &key.span))
    }

    fn for_each(&self, each: &For, span: &Span, locals: &Locals<'_>) -> Result<Value, Fault> {
        let collection = self.eval(&each.collection, locals)?;
        if collection.is_null() {
            return Err(fault("`for` over null", &each.collection.span));
        }
        if collection.is_unknown() {
            return Ok(Value::Unknown(Type::Any));
        }
        let Some(elements) = collection.elements() else {
            let message = format!("`for` needs a list or a map, this is {}", with_article(&collection.ty().name()));
            return Err(fault_with_help(message, "put it in brackets: `[for v in [NAME]: v]`", &each.collection.span));
        };
        self.budget.spend(elements.len() as u64, span)?;
        let mut values = Vec::new();
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (key, value) in elements {
            let mut names = BTreeMap::new();
            if let Some(key_name) = &each.key_name {
                names.insert(key_name.clone(), key);
            }
            names.insert(each.value_name.clone(), value);
            let inner = Locals { outer: Some(locals), names: &names, item: None };
            if let Some(condition) = &each.condition
                && !self.condition(condition, &inner)?
            {
                continue;
            }
            let Some(key) = &each.key else {
                values.push(self.eval(&each.result, &inner)?);
                continue;
            };
            let name = self.key(key, &inner)?;
            let value = self.eval(&each.result, &inner)?;
            let group = groups.entry(name.clone()).or_default();
            if !group.is_empty() && !each.group {
                let help = "write `...` after the value to collect them in a list";
                return Err(fault_with_help(format!("two elements have the key `{name}`"), help, &key.span));
            }
            group.push(value);
        }
        if each.key.is_none() {
            return Ok(Value::tuple(values));
        }
        let entries = groups.into_iter().map(|(name, mut group)| match group.pop() {
            Some(only) if !each.group => (name, only),
            last => (name, Value::tuple(group.into_iter().chain(last).collect())),
        });
        Ok(Value::object(entries.collect()))
    }

    fn condition(&self, condition: &Expression, locals: &Locals<'_>) -> Result<bool, Fault> {
        let value = self.eval(condition, locals)?;
        if value.is_null() {
            return Err(fault("the condition is null", &condition.span));
        }
        let value =
            convert(&value, &Type::Bool).map_err(|error| fault(format!("the condition: {error}"), &condition.span))?;
        value.as_bool().ok_or_else(|| fault("the condition is not known", &condition.span))
    }

    fn splat(&self, source: &Expression, each: &Expression, locals: &Locals<'_>) -> Result<Value, Fault> {
        let value = self.eval(source, locals)?;
        let sequence = matches!(value.ty(), Type::List(_) | Type::Set(_) | Type::Tuple(_));
        if value.is_null() {
            return if sequence { Err(fault("`*` of null", &source.span)) } else { Ok(Value::tuple(Vec::new())) };
        }
        if value.is_unknown() {
            return Ok(Value::Unknown(Type::Any));
        }
        let single = std::slice::from_ref(&value);
        let items = value.as_items().unwrap_or(single);
        let names = BTreeMap::new();
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let inner = Locals { outer: Some(locals), names: &names, item: Some(item) };
            results.push(self.eval(each, &inner)?);
        }
        if matches!(value, Value::List(..) | Value::Set(..)) {
            let element = results.first().map_or(Type::Any, Value::ty);
            if results.iter().any(|result| result.ty() != element) {
                return Err(fault("the elements that `*` gives have different types", &each.span));
            }
            return Ok(Value::list(element, results));
        }
        Ok(Value::tuple(results))
    }

    fn conditional(&self, parts: &[Expression; 3], locals: &Locals<'_>) -> Result<Value, Fault> {
        let [condition, yes, no] = parts;
        // Both are evaluated, since both have a say in the type of the result; an error in the other one is none.
        let branches = [self.eval(yes, locals), self.eval(no, locals)];
        let wanted = match (&branches[0], &branches[1]) {
            (Ok(Value::Null(Type::Any)), Ok(other)) | (Ok(other), Ok(Value::Null(Type::Any))) => other.ty(),
            (Ok(a), Ok(b)) if a.ty() != Type::Any && b.ty() != Type::Any => {
                let (a, b) = (a.ty(), b.ty());
                unify(&[a.clone(), b.clone()]).ok_or_else(|| {
                    let message = format!("the two results have no common type: {} and {}", a.name(), b.name());
                    fault(message, &Span { range: yes.span.range.start..no.span.range.end, ..yes.span.clone() })
                })?
            }
            _ => Type::Any,
        };
        let chosen = usize::from(!self.condition(condition, locals)?);
        let span = &parts[chosen + 1].span;
        let [yes, no] = branches;
        let value = if chosen == 0 { yes } else { no }?;
        convert(&value, &wanted).map_err(|error| fault(error, span))
    }

    fn chain(
        &self,
        first: &Expression,
        others: &[(Operator, Expression)],
        locals: &Locals<'_>,
    ) -> Result<Value, Fault> {
        let mut left = self.eval(first, locals);
        let mut span = first.span.clone();
        for (operator, operand) in others {
            let right = self.eval(operand, locals);
            left = match operator {
                Operator::Or | Operator::And => logical(*operator, left, &span, right, &operand.span),
                _ => binary(*operator, &left?, &span, &right?, &operand.span),
            };
            span.range.end = operand.span.range.end.max(span.range.end);
        }
        left
    }

    fn call(&self, call: &Call, span: &Span, locals: &Locals<'_>) -> Result<Value, Fault> {
        match (call.name.as_str(), call.expand) {
            ("try", false) => return self.try_each(call, span, locals),
            ("can", false) if call.arguments.len() == 1 => {
                return Ok(Value::Bool(self.eval(&call.arguments[0], locals).is_ok()));
            }
            ("convert", false) if call.arguments.len() == 2 => {
                let value = self.eval(&call.arguments[0], locals)?;
                // Here no attribute is optional, unlike in a variable's type.
                let wanted = type_expression::read(&call.arguments[1])?.of_values();
                return convert(&value, &wanted).map_err(|error| fault(error, &call.arguments[0].span));
            }
            ("timestamp", _) if call.arguments.is_empty() => {
                self.names.host().asked.set(true);
                return Ok(Value::string(functions::timestamp(self.names.host().now)));
            }
            ("homedir", _) if call.arguments.is_empty() => return Ok(Value::string(&self.names.host().home)),
            ("try" | "can" | "convert" | "timestamp" | "homedir", _) => {
                let help = match call.name.as_str() {
                    "try" => "write `try(VALUE, …)`",
                    "can" => "write `can(VALUE)`",
                    "convert" => "write `convert(VALUE, TYPE)`, such as `convert(\"1\", number)`",
                    _ => "it takes none",
                };
                return Err(fault_with_help(format!("wrong arguments for `{}`", call.name), help, span));
            }
            _ => {}
        }
        let arguments = self.arguments(call, locals)?;
        // A builtin cannot be redefined: bake ignores such a definition without a word.
        if let Some(builtin) = functions::find(&call.name) {
            let result = functions::call(builtin, &arguments)?;
            self.budget.spend(result.size().weight, span)?;
            return Ok(result);
        }
        let Some(function) = self.names.function(&call.name) else {
            return Err(self.unknown_function(call));
        };
        self.call_user(call, function, arguments)
    }

    fn arguments<'b>(&self, call: &'b Call, locals: &Locals<'_>) -> Result<Arguments<'b>, Fault> {
        let mut values = Vec::with_capacity(call.arguments.len());
        let mut spans = Vec::with_capacity(call.arguments.len());
        for (at, argument) in call.arguments.iter().enumerate() {
            let value = self.eval(argument, locals)?;
            if call.expand && at + 1 == call.arguments.len() {
                let Some(items) = value.as_items() else {
                    return Err(fault("`...` needs a list or tuple", &argument.span));
                };
                values.extend(items.iter().cloned());
                spans.resize(values.len(), &argument.span);
            } else {
                values.push(value);
                spans.push(&argument.span);
            }
        }
        Ok(Arguments { name: &call.name, name_span: &call.name_span, values, spans })
    }

    fn try_each(&self, call: &Call, span: &Span, locals: &Locals<'_>) -> Result<Value, Fault> {
        let mut last = None;
        for argument in &call.arguments {
            match self.eval(argument, locals) {
                Ok(value) => return Ok(value),
                Err(problem) => last = Some(problem),
            }
        }
        match last {
            None => Err(fault_with_help("`try` has no argument", "write `try(NAME, \"default\")`", span)),
            Some(problem) => Err(fault(format!("no argument of `try` has a value; the last one: {problem}"), span)),
        }
    }

    fn unknown_function(&self, call: &Call) -> Fault {
        let own = self.names.function_names();
        let builtins: Vec<&str> = functions::names().collect();
        let candidates = builtins.into_iter().chain(own.iter().map(String::as_str));
        let message = format!("unknown function `{}`", call.name);
        let near = crate::base::did_you_mean(&call.name, candidates);
        let help = match (functions::instead_of(&call.name), near) {
            (Some(advice), _) => advice.to_owned(),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("define it: `function \"{}\" {{`, with `params` and `result`", call.name),
        };
        fault_with_help(message, help, &call.name_span)
    }

    fn call_user(&self, call: &Call, function: UserFunction<'_>, arguments: Arguments<'_>) -> Result<Value, Fault> {
        let wanted = function.parameters.len();
        let given = arguments.values.len();
        if given < wanted || given > wanted && function.variadic.is_none() {
            let message = format!("`{}` takes {wanted} arguments, {given} are given", call.name);
            let help = format!("it is defined as `{}({})`", call.name, function.parameters.join(", "));
            return Err(fault_with_help(message, help, &call.name_span));
        }
        if let Some(at) = arguments.values.iter().position(Value::is_null) {
            let message = format!("an argument of `{}` is null", call.name);
            return Err(fault_with_help(message, NOT_NULL, arguments.spans[at]));
        }
        let mut values = arguments.values.into_iter();
        let mut names: BTreeMap<String, Value> =
            function.parameters.iter().cloned().zip(values.by_ref().take(wanted)).collect();
        if let Some(variadic) = function.variadic {
            names.insert(variadic.to_owned(), Value::tuple(values.collect()));
        }
        self.eval(function.result, &Locals::new(&names))
    }
}
