//! The functions of a file.

use super::{Function, Scope};
use crate::base::Span;
use crate::config::error::ConfigProblem;
use crate::config::hcl::ast::{Block, Expression, Form};
use crate::config::hcl::eval::{Fault, Names as _, fault};
use crate::config::hcl::functions;
use crate::config::hcl::json;
use std::collections::BTreeSet;

impl Scope<'_> {
    /// Checks that every name and function in every function exists, and that none calls itself.
    pub(super) fn check_functions(&self, problems: &mut Vec<ConfigProblem>) {
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
}

pub(super) fn read_function<'a>(name: &str, span: &'a Span, block: &'a Block) -> Result<Function<'a>, Fault> {
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
