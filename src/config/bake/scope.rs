//! Names of bake files: variables, values, functions and the attributes of targets, each evaluated when it is needed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::{Span, did_you_mean};
use crate::config::error::ConfigProblem;
use crate::config::hcl::ast::{Attribute, Block, Body, Expression, Form, Step, StepKind};
use crate::config::hcl::convert::convert;
use crate::config::hcl::eval::{Budget, Evaluator, Fault, Host, Locals, Names, UserFunction, fault, fault_with_help};
use crate::config::hcl::functions::{self, decode_json, json_text};
use crate::config::hcl::number::Number;
use crate::config::hcl::type_expression;
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;
use crate::config::hcl::{csv, json};

use super::decode::{GROUP_ATTRIBUTES, TARGET_ATTRIBUTES, attribute_value, set_attribute, text, text_list, texts};
use super::entries::parse_bool;
use super::target::{BLOCK, Group, Target};

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
    fn declared_type(&self, variable: &Variable<'_>) -> Result<Option<Type>, Fault> {
        match variable.block.body.attribute("type") {
            None | Some(Attribute { value: Expression { form: Form::Literal(Value::Null(_)), .. }, .. }) => Ok(None),
            Some(attribute) => type_expression::read(&attribute.value).map(Some),
        }
    }

    /// Checks that every name and function in every function exists, and that none calls itself.
    fn check_functions(&self, problems: &mut Vec<ConfigProblem>) {
        let mut done = BTreeSet::new();
        for name in self.functions.keys() {
            if let Err(problem) = self.check_function(name, &mut Vec::new(), &mut done) {
                problems.push(*problem);
            }
        }
    }

    fn check_function<'s>(
        &'s self,
        name: &'s str,
        path: &mut Vec<&'s str>,
        done: &mut BTreeSet<&'s str>,
    ) -> Result<(), Fault> {
        let Some(function) = self.functions.get(name) else { return Ok(()) };
        if done.contains(name) || functions::exists(name) {
            return Ok(());
        }
        if path.contains(&name) || path.len() > 200 {
            let mut shown: Vec<&str> = path.clone();
            shown.push(name);
            return Err(fault(format!("a function must not call itself: {}", shown.join(" -> ")), function.span));
        }
        path.push(name);
        let mut found: Vec<(bool, &str, &Span)> = Vec::new();
        function.result.walk(&mut Vec::new(), &mut |expression, locals| match &expression.form {
            Form::Variable(variable) => {
                let own = function.parameters.iter().chain(&function.variadic).any(|own| own == variable);
                if !own && !locals.contains(&variable.as_str()) {
                    found.push((false, variable, &expression.span));
                }
            }
            Form::Call(call) => found.push((true, &call.name, &call.name_span)),
            _ => {}
        });
        for (is_call, used, span) in found {
            if is_call {
                if !functions::exists(used) && !self.functions.contains_key(used) {
                    return Err(fault(format!("unknown function `{used}`"), span));
                }
                self.check_function(used, path, done)?;
            } else {
                self.resolve(used, &[], span)?;
            }
        }
        path.pop();
        done.insert(name);
        Ok(())
    }

    /// Finds the names of all blocks: a matrix makes several of one.
    fn find_names(&mut self, bodies: &'a [Body], problems: &mut Vec<ConfigProblem>) -> Vec<(String, Vec<String>)> {
        let mut renamed: Vec<(String, Vec<String>)> = Vec::new();
        for block in bodies.iter().flat_map(|body| &body.blocks) {
            if !RESERVED.contains(&block.kind.as_str()) {
                continue;
            }
            match self.instances_of(block) {
                Ok(instances) => {
                    let label = &block.labels[0].0;
                    let names = instances.iter().map(|instance| instance.name.clone());
                    if block.kind == "target" {
                        match renamed.iter_mut().find(|(own, _)| own == label) {
                            Some((_, all)) => all.extend(names),
                            None => renamed.push((label.clone(), names.collect())),
                        }
                    }
                    for instance in instances {
                        let key = (block.kind.clone(), instance.name.clone());
                        self.by_name.entry(key).or_default().push(self.instances.len());
                        self.instances.push(instance);
                    }
                }
                Err(problem) => problems.push(*problem),
            }
        }
        renamed
    }

    fn instances_of(&self, block: &'a Block) -> Result<Vec<Instance<'a>>, Fault> {
        let (label, label_span) = &block.labels[0];
        check_name(label, label_span)?;
        let matrix = block.body.attribute("matrix");
        let name = block.body.attribute("name");
        if block.kind == "group" {
            if let Some(attribute) = matrix.or(name) {
                return Err(fault(format!("a group has no `{}`", attribute.name), &attribute.name_span));
            }
            return Ok(vec![Instance { block, axes: BTreeMap::new(), name: label.clone() }]);
        }
        let combinations = match matrix {
            Some(matrix) => self.combinations(&matrix.value)?,
            None => vec![BTreeMap::new()],
        };
        let mut instances: Vec<Instance<'a>> = Vec::with_capacity(combinations.len());
        let mut seen = BTreeSet::new();
        for axes in combinations {
            let own = match name {
                None => label.clone(),
                Some(name) if matrix.is_none() => {
                    return Err(fault_with_help(
                        "a `name` needs a `matrix`",
                        "name the target in its label",
                        &name.name_span,
                    ));
                }
                Some(name) => {
                    let value = self.eval(&name.value, &axes)?;
                    let own = text(&value).map_err(|error| fault(format!("the name: {error}"), &name.value.span))?;
                    let own = own.ok_or_else(|| fault("the name is null", &name.value.span))?;
                    check_name(&own, &name.value.span)?;
                    own
                }
            };
            if !seen.insert(own.clone()) {
                let span = name.map_or(label_span, |name| &name.value.span);
                let help = "use every axis of the matrix in `name`";
                return Err(fault_with_help(format!("two combinations are named `{own}`"), help, span));
            }
            instances.push(Instance { block, axes, name: own });
        }
        Ok(instances)
    }

    /// Every combination of one value of each axis.
    fn combinations(&self, matrix: &Expression) -> Result<Vec<BTreeMap<String, Value>>, Fault> {
        /// More targets than this in one block are refused.
        const MAX_COMBINATIONS: usize = 20_000;
        let value = self.eval(matrix, &BTreeMap::new())?;
        let Some(axes) = value.as_entries() else {
            let help = "write `matrix = { axis = [\"a\", \"b\"] }`";
            return Err(fault_with_help("the matrix must be a map of lists", help, &matrix.span));
        };
        let mut combinations = vec![BTreeMap::new()];
        for (axis, values) in axes {
            let Some(elements) = values.elements() else {
                return Err(fault(format!("the axis `{axis}` must be a list"), &matrix.span));
            };
            if combinations.len().saturating_mul(elements.len()) > MAX_COMBINATIONS {
                return Err(fault(format!("more than {MAX_COMBINATIONS} combinations"), &matrix.span));
            }
            let mut longer = Vec::with_capacity(combinations.len() * elements.len());
            for (_, element) in elements {
                for combination in &combinations {
                    let mut combination = combination.clone();
                    combination.insert(axis.clone(), element.clone());
                    longer.push(combination);
                }
            }
            combinations = longer;
        }
        Ok(combinations)
    }

    /// Targets and groups as their blocks give them, blocks of one name merged in order.
    fn decode(&self, problems: &mut Vec<ConfigProblem>) -> (Vec<Target>, Vec<Group>) {
        let mut targets: Vec<Target> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (at, instance) in self.instances.iter().enumerate() {
            if instance.block.kind == "group" {
                match self.decode_group(at, instance) {
                    Ok(group) => match groups.iter_mut().find(|own| own.name == group.name) {
                        Some(own) => *own = group,
                        None => groups.push(group),
                    },
                    Err(problem) => problems.push(*problem),
                }
                continue;
            }
            let target = self.decode_target(at, instance, problems);
            match places.get(instance.name.as_str()) {
                Some(place) => targets[*place].merge(&target),
                None => {
                    places.insert(&instance.name, targets.len());
                    targets.push(target);
                }
            }
        }
        (targets, groups)
    }

    fn decode_target(&self, at: usize, instance: &Instance<'_>, problems: &mut Vec<ConfigProblem>) -> Target {
        let mut target = Target { name: instance.name.clone(), ..Target::default() };
        target.spans.insert(BLOCK, instance.block.span.clone());
        let folder = crate::config::paths::folder_of(&instance.block.span.path().to_string_lossy());
        target.bases.default = Some(folder.clone());
        for name in TARGET_ATTRIBUTES {
            let Some(attribute) = instance.block.body.attribute(name) else { continue };
            let result = self.block_attribute(at, name).and_then(|value| match value {
                Some(value) => set_attribute(&mut target, name, &value)
                    .map_err(|error| fault(format!("`{name}`: {error}"), &attribute.value.span)),
                None => Ok(()),
            });
            match result {
                Ok(()) => {
                    target.spans.insert(name, attribute.value.span.clone());
                }
                Err(problem) => problems.push(*problem),
            }
        }
        if let Some(context) = instance.block.body.attribute("context") {
            target.bases.context = Some(folder.clone());
            target.bases.context_of = context_reference(&context.value);
        }
        let names = target.contexts.iter().flatten().map(|(name, _)| (name.clone(), folder.clone()));
        target.bases.contexts = names.collect();
        target
    }

    fn decode_group(&self, at: usize, instance: &Instance<'_>) -> Result<Group, Fault> {
        let Some(attribute) = instance.block.body.attribute("targets") else {
            let help = "write `targets = [\"name\", …]`";
            return Err(fault_with_help("this group has no `targets`", help, &instance.block.span));
        };
        let value = self.block_attribute(at, "targets")?.unwrap_or_else(Value::null);
        let targets = texts(&value).map_err(|error| fault(format!("`targets`: {error}"), &attribute.value.span))?;
        let description = match (instance.block.body.attribute("description"), self.block_attribute(at, "description")?)
        {
            (Some(attribute), Some(value)) => text(&value)
                .and_then(|text| text.ok_or_else(|| "null is not allowed here".to_owned()))
                .map_err(|error| fault(format!("`description`: {error}"), &attribute.value.span))?,
            _ => String::new(),
        };
        Ok(Group { name: instance.name.clone(), description, targets })
    }

    /// The value of one attribute of one block, evaluated once.
    fn block_attribute(&self, at: usize, name: &str) -> Result<Option<Value>, Fault> {
        let instance = &self.instances[at];
        let Some(attribute) = instance.block.body.attribute(name) else { return Ok(None) };
        let key = (at, name.to_owned());
        if let Some(known) = self.block_values.borrow().get(&key) {
            return copy_result(known);
        }
        if !self.block_pending.borrow_mut().insert(key.clone()) {
            let message = format!("`{}.{}.{name}` refers to itself", instance.block.kind, instance.name);
            return Err(fault(message, &attribute.value.span));
        }
        let result = self.eval(&attribute.value, &instance.axes).map(Some);
        self.block_pending.borrow_mut().remove(&key);
        let shown = copy_result(&result);
        self.block_values.borrow_mut().insert(key, result);
        shown
    }

    /// `target.NAME.ATTRIBUTE` and `target.NAME`; says how many steps were taken.
    fn reference(&self, kind: &str, steps: &[Step], span: &Span) -> Result<(Value, usize), Fault> {
        let name = match steps.first().map(|step| &step.kind) {
            Some(StepKind::Attribute(name)) => name,
            Some(StepKind::Index(_)) => {
                return Err(fault_with_help(
                    format!("a {kind} is referred to by its name"),
                    format!("write `{kind}.name`"),
                    span,
                ));
            }
            None => return Err(fault(format!("`{kind}` is no value by itself"), span)),
        };
        let Some(blocks) = self.by_name.get(&(kind.to_owned(), name.clone())) else {
            let known = self.by_name.keys().filter(|(own, _)| own == kind).map(|(_, name)| name.as_str());
            let message = format!("there is no {kind} `{name}` in these files");
            return Err(match did_you_mean(name, known) {
                Some(near) => fault_with_help(message, format!("did you mean `{near}`?"), &steps[0].span),
                None => fault(message, &steps[0].span),
            });
        };
        let attributes: &[&str] = if kind == "target" { &TARGET_ATTRIBUTES } else { &GROUP_ATTRIBUTES };
        let wanted = match steps.get(1).map(|step| &step.kind) {
            Some(StepKind::Attribute(wanted)) => Some(wanted.clone()),
            Some(StepKind::Index(Value::String(wanted))) => Some(wanted.to_string()),
            _ => None,
        };
        if let Some(wanted) = wanted
            && (attributes.contains(&wanted.as_str()) || wanted == "name")
        {
            return Ok((self.member(kind, name, blocks, &wanted)?, 2));
        }
        // The whole block: every attribute of it.
        let mut entries = BTreeMap::new();
        for attribute in attributes.iter().chain(&["name"]) {
            entries.insert((*attribute).to_owned(), self.member(kind, name, blocks, attribute)?);
        }
        Ok((Value::object(entries), 1))
    }

    /// One attribute of a target or group; of several blocks of one name, the last that has it.
    fn member(&self, kind: &str, name: &str, blocks: &[usize], wanted: &str) -> Result<Value, Fault> {
        let mut target = Target { name: name.to_owned(), ..Target::default() };
        for at in blocks.iter().rev() {
            if let Some(value) = self.block_attribute(*at, wanted)? {
                let body = &self.instances[*at].block.body;
                let span = body.attribute(wanted).map_or(&self.instances[*at].block.span, |own| &own.value.span);
                let problem = |error: String| fault(format!("`{wanted}`: {error}"), span);
                if kind == "group" && wanted == "targets" {
                    return Ok(text_list(texts(&value).map_err(problem)?.as_ref()));
                }
                set_attribute(&mut target, wanted, &value).map_err(problem)?;
                break;
            }
        }
        Ok(attribute_value(&target, wanted))
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

/// Whether the whole expression is another target's context.
fn context_reference(expression: &Expression) -> Option<String> {
    let Form::Traversal(root, steps) = &expression.form else { return None };
    match (root.keyword(), &steps[..]) {
        (
            Some("target"),
            [Step { kind: StepKind::Attribute(name), .. }, Step { kind: StepKind::Attribute(attribute), .. }],
        ) if attribute == "context" => Some(name.clone()),
        _ => None,
    }
}

fn read_function<'a>(name: &str, span: &'a Span, block: &'a Block) -> Result<Function<'a>, Fault> {
    let required = |attribute: &str| {
        let message = format!("the function `{name}` has no `{attribute}`");
        block.body.attribute(attribute).ok_or_else(|| fault(message, &block.span))
    };
    let (params, result) = (required("params")?, required("result")?);
    let Form::Tuple(items) = &params.value.form else {
        return Err(fault("`params` is a list of names", &params.value.span));
    };
    let parameters = items.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
    let variadic = block.body.attribute("variadic_params");
    let variadic = variadic.map(|attribute| parameter(&attribute.value)).transpose()?;
    Ok(Function { parameters, variadic, result: &result.value, span })
}

/// A bare name; in the JSON syntax a text.
fn parameter(expression: &Expression) -> Result<String, Fault> {
    let in_text =
        json::expression_in_text(expression).filter(|_| expression.span.source.text().trim_start().starts_with('{'));
    let keyword = in_text.as_ref().unwrap_or(expression).keyword().map(str::to_owned);
    keyword.ok_or_else(|| fault("a parameter is a bare name", &expression.span))
}

fn check_name(name: &str, span: &Span) -> Result<(), Fault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(());
    }
    let help = "use letters, digits, `_` and `-` only";
    Err(fault_with_help(format!("`{}` cannot be a name", name.escape_debug()), help, span))
}

/// A text as `strconv` reads it into a string, a bool or a number.
fn primitive(text: &str, ty: &Type) -> Result<Value, String> {
    match ty {
        Type::Bool => parse_bool(text).map(Value::Bool),
        Type::Number => parse_float(text).map(|value| Value::Number(Number::from_f64(value))),
        _ => Ok(Value::string(text)),
    }
}

/// Go's `strconv.ParseFloat`: decimal with `_` between digits, or hexadecimal with a binary exponent.
fn parse_float(text: &str) -> Result<f64, String> {
    let refused = || format!("`{text}` is no number");
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if (0..bytes.len()).any(|at| bytes[at] == b'_' && !(at > 0 && digit(at - 1) && digit(at + 1))) {
        return Err(refused());
    }
    let compact = text.replace('_', "");
    let (sign, body) = match compact.as_bytes().first() {
        Some(b'-') => (-1.0, &compact[1..]),
        Some(b'+') => (1.0, &compact[1..]),
        _ => (1.0, compact.as_str()),
    };
    let value = match body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        Some(hex) => hex_float(hex).ok_or_else(refused)?,
        None if body.starts_with(|c: char| c.is_ascii_digit() || c == '.') => body.parse().map_err(|_| refused())?,
        None => return Err(refused()),
    };
    if f64::is_finite(value) { Ok(sign * value) } else { Err(refused()) }
}

fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 14 {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()? * 4;
    #[expect(clippy::cast_precision_loss, reason = "14 hexadecimal digits are rounded as any number is")]
    Some(value as f64 * 2f64.powi(exponent.checked_sub(places)?))
}

fn csv_values(text: &str, element: &Type) -> Result<Vec<Value>, String> {
    if !element.is_primitive() {
        return Err(format!("a list of {} cannot be given as a text", element.constraint_name()));
    }
    csv::fields(text, ',')?.iter().map(|field| primitive(field, element)).collect()
}

fn csv_tuple(text: &str, types: &[Type]) -> Result<Value, String> {
    let fields = csv::fields(text, ',')?;
    if fields.len() != types.len() {
        return Err(format!("{} values are required, there are {}", types.len(), fields.len()));
    }
    let values = fields.iter().zip(types).map(|(field, ty)| {
        if ty.is_primitive() { primitive(field, ty) } else { Err(format!("{} cannot be given as a text", ty.name())) }
    });
    Ok(Value::tuple(values.collect::<Result<_, _>>()?))
}

fn csv_map(text: &str, element: &Type) -> Result<Value, String> {
    if !element.is_primitive() {
        return Err(format!("a map of {} cannot be given as a text", element.constraint_name()));
    }
    let mut entries = BTreeMap::new();
    for field in csv::fields(text, ',')? {
        match &csv::fields(&field, ':')?[..] {
            [key, value] => entries.insert(key.clone(), primitive(value, element)?),
            _ => return Err(format!("`{field}` is no `key:value`")),
        };
    }
    Ok(Value::map(element.of_values(), entries))
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
