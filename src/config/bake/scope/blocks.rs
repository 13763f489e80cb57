//! The attributes of targets and groups, and what refers to them.

use super::{Instance, Scope, copy_result};
use crate::base::{Span, did_you_mean};
use crate::config::bake::decode::{
    GROUP_ATTRIBUTES, TARGET_ATTRIBUTES, attribute_value, set_attribute, text, text_list, texts,
};
use crate::config::bake::target::{BLOCK, Group, Target};
use crate::config::error::ConfigProblem;
use crate::config::hcl::ast::{Expression, Form, Step, StepKind};
use crate::config::hcl::eval::{Fault, fault, fault_with_help};
use crate::config::hcl::value::Value;
use std::collections::{BTreeMap, HashMap};

impl Scope<'_> {
    /// Targets and groups as their blocks give them, blocks of one name merged in order.
    #[expect(clippy::single_match_else, reason = "what is there and what is not are told in two arms")]
    pub(super) fn decode(&self, problems: &mut Vec<ConfigProblem>) -> (Vec<Target>, Vec<Group>) {
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
    pub(super) fn reference(&self, kind: &str, steps: &[Step], span: &Span) -> Result<(Value, usize), Fault> {
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
