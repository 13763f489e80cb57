//! Names of bake files: variables, values, functions and the attributes of targets, each evaluated when it is needed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::{Span, did_you_mean};
use crate::config::error::ConfigProblem;
use crate::config::hcl::ast::{Attribute, Block, Body, Expression, Form, Step};
use crate::config::hcl::convert::convert;
use crate::config::hcl::eval::{Budget, Evaluator, Fault, Host, Locals, Names, UserFunction, fault, fault_with_help};
use crate::config::hcl::functions::{decode_json, json_text};
use crate::config::hcl::json;
use crate::config::hcl::type_expression;
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

use super::decode::text;
use super::target::{Group, Target};

mod blocks;
mod functions;
mod given;
mod instances;

use functions::read_function;
use given::{csv_map, csv_tuple, csv_values, primitive};

/// What may stand in a bake file, for the JSON syntax, which does not tell blocks from values.
pub(super) const SHAPES: &[json::Shape] = &[
    json::Shape { kind: "target", labelled: true, blocks: &[] },
    json::Shape { kind: "group", labelled: true, blocks: &[] },
    json::Shape { kind: "function", labelled: true, blocks: &[] },
    json::Shape {
        kind: "variable",
        labelled: true,
        blocks: &[json::Shape { kind: "validation", labelled: false, blocks: &[] }],
    },
];

/// Values from outside that variables may take.
pub(super) struct Inputs<'a> {
    /// `--var`: always beats the environment.
    pub(super) vars: &'a BTreeMap<String, String>,
    /// The environment, if it may be looked at.
    pub(super) environment: Option<&'a BTreeMap<String, String>>,
    /// Values that nothing can redefine.
    pub(super) builtins: BTreeMap<String, String>,
    pub(super) host: Host,
}

impl Inputs<'_> {
    fn look_up(&self, name: &str) -> Option<&str> {
        let from_environment = || self.environment.and_then(|environment| environment.get(name));
        self.vars.get(name).or_else(from_environment).map(String::as_str)
    }
}

struct Variable<'a> {
    block: &'a Block,
    default: Option<&'a Attribute>,
}

struct Function<'a> {
    parameters: Vec<String>,
    variadic: Option<String>,
    result: &'a Expression,
    span: &'a Span,
}

/// A block with the values of its matrix axes, if it has any.
struct Instance<'a> {
    block: &'a Block,
    axes: BTreeMap<String, Value>,
    name: String,
}

/// A variable as `--list=variables` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableInfo {
    /// Its name.
    pub name: String,
    /// `description`; empty if there is none.
    pub description: String,
    /// The type's name, if one is declared.
    pub ty: Option<String>,
    /// The value as a text, complex ones as JSON; `None` for null.
    pub value: Option<String>,
}

/// What the value of an attribute was found to be.
type Memo = Result<Option<Value>, Fault>;

/// All names of all files together.
pub(super) struct Scope<'a> {
    inputs: Inputs<'a>,
    variables: BTreeMap<String, Variable<'a>>,
    attributes: BTreeMap<String, &'a Attribute>,
    functions: BTreeMap<String, Function<'a>>,
    instances: Vec<Instance<'a>>,
    /// Positions in `instances` by kind and name.
    by_name: HashMap<(String, String), Vec<usize>>,
    /// Whether targets can be referred to yet: not while their names are being found.
    ready: Cell<bool>,
    values: RefCell<HashMap<String, Result<Value, Fault>>>,
    pending: RefCell<BTreeSet<String>>,
    block_values: RefCell<HashMap<(usize, String), Memo>>,
    block_pending: RefCell<BTreeSet<(usize, String)>>,
    budget: Budget,
}

/// What the files define.
pub(super) struct Evaluated {
    pub(super) targets: Vec<Target>,
    pub(super) groups: Vec<Group>,
    /// For each matrix label, in order, the names that it stands for.
    pub(super) renamed: Vec<(String, Vec<String>)>,
    pub(super) variables: Vec<VariableInfo>,
    /// Whether anything asked for the time.
    pub(super) timed: bool,
}

/// Evaluates all files, given in order. Every independent problem is in the list of the error.
pub(super) fn evaluate(bodies: &[Body], inputs: Inputs<'_>) -> Result<Evaluated, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    let mut scope = Scope::collect(bodies, inputs, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let variables = scope.check_variables(&mut problems);
    scope.check_functions(&mut problems);
    if !problems.is_empty() {
        return Err(tidy(problems));
    }
    let renamed = scope.find_names(bodies, &mut problems);
    if !problems.is_empty() {
        return Err(tidy(problems));
    }
    scope.ready.set(true);
    let (targets, groups) = scope.decode(&mut problems);
    for (name, attribute) in &scope.attributes {
        if let Err(problem) = scope.global(name, &attribute.name_span) {
            problems.push(*problem);
        }
    }
    if !problems.is_empty() {
        return Err(tidy(problems));
    }
    let timed = scope.host().asked.get();
    Ok(Evaluated { targets, groups, renamed, variables, timed })
}

/// Problems in the order of the text, each once: what several expressions use fails in each of them.
fn tidy(mut problems: Vec<ConfigProblem>) -> Vec<ConfigProblem> {
    use crate::base::Failure as _;
    let place = |problem: &ConfigProblem| {
        problem.span().map(|span| (span.path().to_owned(), span.range.start, problem.to_string()))
    };
    problems.sort_by_cached_key(place);
    problems.dedup_by(|a, b| place(a) == place(b) && a.to_string() == b.to_string());
    problems
}

/// A copy of a problem: what failed once fails the same way for everybody who needs it.
fn copy_of(problem: &ConfigProblem) -> Fault {
    use crate::base::Failure as _;
    Box::new(ConfigProblem::Invalid { message: problem.to_string(), help: problem.help(), span: problem.span() })
}

fn copy_result<T: Clone>(result: &Result<T, Fault>) -> Result<T, Fault> {
    match result {
        Ok(value) => Ok(value.clone()),
        Err(problem) => Err(copy_of(problem)),
    }
}

/// Names that mean blocks, wherever they stand.
const RESERVED: [&str; 2] = ["target", "group"];

impl<'a> Scope<'a> {
    /// Sorts what the files contain; the last definition of a name wins.
    fn collect(bodies: &'a [Body], inputs: Inputs<'a>, problems: &mut Vec<ConfigProblem>) -> Self {
        let mut scope = Self {
            inputs,
            variables: BTreeMap::new(),
            attributes: BTreeMap::new(),
            functions: BTreeMap::new(),
            instances: Vec::new(),
            by_name: HashMap::new(),
            ready: Cell::new(false),
            values: RefCell::default(),
            pending: RefCell::default(),
            block_values: RefCell::default(),
            block_pending: RefCell::default(),
            budget: Budget::default(),
        };
        for body in bodies {
            for attribute in &body.attributes {
                let name = attribute.name.as_str();
                if !RESERVED.contains(&name) && name != "function" && !scope.inputs.builtins.contains_key(name) {
                    scope.attributes.insert(attribute.name.clone(), attribute);
                }
            }
            for block in &body.blocks {
                if let Err(problem) = scope.collect_block(block) {
                    problems.push(*problem);
                }
            }
        }
        scope
    }

    fn collect_block(&mut self, block: &'a Block) -> Result<(), Fault> {
        if !["target", "group", "variable", "function"].contains(&block.kind.as_str()) {
            return Ok(());
        }
        let [(label, label_span)] = &block.labels[..] else {
            let message = format!("a {} has one label, this has {}", block.kind, block.labels.len());
            return Err(fault_with_help(message, format!("write `{} \"name\" {{`", block.kind), &block.span));
        };
        match block.kind.as_str() {
            "variable" => {
                self.check_variable_shape(block)?;
                if !RESERVED.contains(&label.as_str()) && !self.inputs.builtins.contains_key(label) {
                    let default = block.body.attribute("default");
                    self.variables.insert(label.clone(), Variable { block, default });
                }
            }
            "function" => {
                let function = read_function(label, label_span, block)?;
                if !RESERVED.contains(&label.as_str()) {
                    self.functions.insert(label.clone(), function);
                }
            }
            _ => {}
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "it is called like its neighbours")]
    fn check_variable_shape(&self, block: &Block) -> Result<(), Fault> {
        for inner in block.body.blocks.iter().filter(|inner| inner.kind == "validation") {
            for attribute in &inner.body.attributes {
                if !["condition", "error_message"].contains(&attribute.name.as_str()) {
                    let help = "a validation has `condition` and `error_message`";
                    let message = format!("unknown argument `{}`", attribute.name);
                    return Err(fault_with_help(message, help, &attribute.name_span));
                }
            }
        }
        Ok(())
    }

    fn evaluator(&self) -> Evaluator<'_> {
        Evaluator { names: self, budget: &self.budget }
    }

    fn eval(&self, expression: &Expression, axes: &BTreeMap<String, Value>) -> Result<Value, Fault> {
        self.evaluator().eval(expression, &Locals::new(axes))
    }

    /// Evaluates every variable, used or not, and judges the validations.
    fn check_variables(&self, problems: &mut Vec<ConfigProblem>) -> Vec<VariableInfo> {
        let mut infos = Vec::new();
        for (name, variable) in &self.variables {
            match self.global(name, &variable.block.span).and_then(|value| self.variable_info(name, variable, &value)) {
                Ok(info) => infos.push(info),
                Err(problem) => problems.push(*problem),
            }
        }
        if problems.is_empty() {
            for variable in self.variables.values() {
                for rule in variable.block.body.blocks.iter().filter(|inner| inner.kind == "validation") {
                    if let Err(problem) = self.validate(rule) {
                        problems.push(*problem);
                    }
                }
            }
        }
        infos
    }

    fn variable_info(&self, name: &str, variable: &Variable<'_>, value: &Value) -> Result<VariableInfo, Fault> {
        let none = BTreeMap::new();
        let description = match variable.block.body.attribute("description") {
            Some(attribute) => {
                let value = self.eval(&attribute.value, &none)?;
                text(&value).map_err(|error| fault(error, &attribute.value.span))?.unwrap_or_default()
            }
            None => String::new(),
        };
        let ty = self.declared_type(variable)?;
        let shown = match (value, &ty) {
            (Value::Null(_), _) => None,
            (Value::String(text), _) => Some(text.to_string()),
            (Value::Number(number), None) => Some(number.plain_text(None)),
            (value, _) => Some(json_text(value)),
        };
        let ty = ty.map(|ty| ty.constraint_name());
        Ok(VariableInfo { name: name.to_owned(), description, ty, value: shown })
    }

    fn validate(&self, rule: &Block) -> Result<(), Fault> {
        let none = BTreeMap::new();
        let Some(condition) = rule.body.attribute("condition") else {
            let help = "write `condition = …` in it, or take it out";
            return Err(fault_with_help("a validation without a `condition`", help, &rule.span));
        };
        let span = &condition.value.span;
        let value = self.eval(&condition.value, &none)?;
        if value.is_null() {
            return Err(fault("the condition is null", span));
        }
        let value = convert(&value, &Type::Bool).map_err(|error| fault(format!("the condition: {error}"), span))?;
        if value.as_bool() == Some(true) {
            return Ok(());
        }
        let message =
            rule.body.attribute("error_message").map(|message| self.eval(&message.value, &none)).transpose()?;
        let message = message.as_ref().and_then(Value::as_str).unwrap_or("the value is not allowed").to_owned();
        Err(fault(format!("validation failed: {message}"), span))
    }

    /// The declared type of a variable, if it has one.
    #[expect(clippy::unused_self, reason = "it is called like its neighbours")]
    fn declared_type(&self, variable: &Variable<'_>) -> Result<Option<Type>, Fault> {
        match variable.block.body.attribute("type") {
            None | Some(Attribute { value: Expression { form: Form::Literal(Value::Null(_)), .. }, .. }) => Ok(None),
            Some(attribute) => type_expression::read(&attribute.value).map(Some),
        }
    }

    /// The value of a variable or a top-level value, evaluated once.
    fn global(&self, name: &str, span: &Span) -> Result<Value, Fault> {
        if let Some(known) = self.values.borrow().get(name) {
            return copy_result(known);
        }
        if let Some(builtin) = self.inputs.builtins.get(name) {
            return Ok(Value::string(builtin));
        }
        if !self.attributes.contains_key(name) && !self.variables.contains_key(name) {
            return Err(self.unknown(name, span));
        }
        if !self.pending.borrow_mut().insert(name.to_owned()) {
            return Err(fault(format!("`{name}` depends on itself"), span));
        }
        let result = self.compute(name);
        self.pending.borrow_mut().remove(name);
        let shown = copy_result(&result);
        self.values.borrow_mut().insert(name.to_owned(), result);
        shown
    }

    fn unknown(&self, name: &str, span: &Span) -> Fault {
        let known = self.attributes.keys().chain(self.variables.keys()).map(String::as_str);
        let message = format!("unknown variable `{name}`");
        match did_you_mean(name, known) {
            Some(near) => fault_with_help(message, format!("did you mean `{near}`?"), span),
            None => fault_with_help(message, format!("declare it: `variable \"{name}\" {{ default = \"…\" }}`"), span),
        }
    }

    /// A value from the file, or in its place one from outside if there is a variable of that name.
    fn compute(&self, name: &str) -> Result<Value, Fault> {
        let variable = self.variables.get(name);
        let attribute = self.attributes.get(name).copied();
        // A top-level value of the same name takes the place of default and type.
        let (definition, ty) = match (attribute, variable) {
            (Some(attribute), _) => (Some(attribute), None),
            (None, Some(variable)) => (variable.default, self.declared_type(variable)?),
            (None, None) => (None, None),
        };
        let own = match definition {
            Some(definition) => {
                let value = self.eval(&definition.value, &BTreeMap::new())?;
                let wanted = ty.as_ref().unwrap_or(&Type::Any);
                Some(
                    convert(&value, wanted)
                        .map_err(|error| fault(format!("the default of `{name}`: {error}"), &definition.value.span))?,
                )
            }
            None => None,
        };
        let Some(variable) = variable else { return Ok(own.unwrap_or_else(Value::null)) };
        match self.given_outside(name, own.as_ref(), ty.as_ref()) {
            None => Ok(own.unwrap_or_else(|| ty.map_or_else(|| Value::string(""), |ty| Value::Null(ty.of_values())))),
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => {
                let help = "it was set with `--var` or in the environment";
                Err(fault_with_help(format!("the value given for `{name}`: {error}"), help, &variable.block.span))
            }
        }
    }

    /// The value that `--var` or the environment give a variable, if they do.
    fn given_outside(&self, name: &str, own: Option<&Value>, ty: Option<&Type>) -> Option<Result<Value, String>> {
        let plain = self.inputs.look_up(name);
        let json_name = format!("{name}_JSON");
        let json_taken = self.variables.contains_key(&json_name) || self.inputs.builtins.contains_key(&json_name);
        let json =
            if (plain.is_none() || ty.is_some()) && !json_taken { self.inputs.look_up(&json_name) } else { None };
        let text = json.or(plain)?;
        Some(match ty {
            Some(ty) if json.is_some() => decode_json(text, Some(ty)),
            Some(Type::List(element)) => {
                csv_values(text, element).map(|values| Value::list(element.of_values(), values))
            }
            Some(Type::Set(element)) => csv_values(text, element).map(|values| Value::set(element.of_values(), values)),
            Some(Type::Tuple(types)) => csv_tuple(text, types),
            Some(Type::Map(element)) => csv_map(text, element),
            Some(ty) if ty.is_primitive() => primitive(text, ty),
            Some(ty) => Err(format!("{} cannot be given as a text; set `{json_name}`", ty.constraint_name())),
            None => match own.map(Value::ty) {
                None | Some(Type::Any) => Ok(Value::string(text)),
                Some(ty) if ty.is_primitive() => primitive(text, &ty),
                Some(ty) => Err(format!("{} cannot be given as a text; declare a `type`", ty.name())),
            },
        })
    }
}

impl Names for Scope<'_> {
    fn resolve(&self, name: &str, steps: &[Step], span: &Span) -> Result<(Value, usize), Fault> {
        if RESERVED.contains(&name) {
            if self.ready.get() {
                return self.reference(name, steps, span);
            }
            let message = format!("a {name} cannot be referred to here");
            return Err(fault_with_help(message, "only values of targets and groups can refer to others", span));
        }
        Ok((self.global(name, span)?, 0))
    }

    fn function(&self, name: &str) -> Option<UserFunction<'_>> {
        self.functions.get(name).map(|function| UserFunction {
            parameters: &function.parameters,
            variadic: function.variadic.as_deref(),
            result: function.result,
        })
    }

    fn function_names(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }

    fn host(&self) -> &Host {
        &self.inputs.host
    }
}
