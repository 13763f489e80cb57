//! The names of targets and groups: a matrix makes several of one block.

use super::{Instance, RESERVED, Scope};
use crate::base::Span;
use crate::config::bake::decode::text;
use crate::config::error::ConfigProblem;
use crate::config::hcl::ast::{Block, Body, Expression};
use crate::config::hcl::eval::{Fault, fault, fault_with_help};
use crate::config::hcl::value::Value;
use std::collections::{BTreeMap, BTreeSet};

impl<'a> Scope<'a> {
    /// Finds the names of all blocks: a matrix makes several of one.
    pub(super) fn find_names(
        &mut self,
        bodies: &'a [Body],
        problems: &mut Vec<ConfigProblem>,
    ) -> Vec<(String, Vec<String>)> {
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
}

pub(super) fn check_name(name: &str, span: &Span) -> Result<(), Fault> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(allowed) {
        return Ok(());
    }
    let help = "use letters, digits, `_` and `-` only";
    Err(fault_with_help(format!("`{}` cannot be a name", name.escape_debug()), help, span))
}
