use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::{CellDraft, cell_build};
use super::matrix::Planner;
use super::source::Source;
use super::{Base, Need, NeedReason, PlanProblem};
use crate::base::{ComponentName, Platform, Reference, Spanned};
use crate::config::{ComponentSpec, ContextRef};
use crate::dockerfile::{StagePlatform, Use, context_name};

impl Planner<'_> {
    /// Takes the facts of a Dockerfile into a cell: arguments, edges that it implies, bases, what executes.
    pub(super) fn build(
        &mut self,
        name: &ComponentName,
        spec: &ComponentSpec,
        source: &Arc<Source>,
        cell: &mut CellDraft,
        needs: &mut Vec<Need>,
        bases: &mut Vec<String>,
    ) {
        let mut args = source.arguments(self.project, spec);
        let platforms = (&cell.id.platform.clone(), &self.build_platform.clone());
        let Some(facts) = source.facts(name, spec, &args, platforms, &mut self.problems) else { return };
        // Variables that no stage of this target declares are not passed: they would only split the builder's cache.
        args.retain(|name, _| spec.args.contains_key(name) || facts.args.contains(name));
        let from_vars = args.keys().filter(|name| !spec.args.contains_key(*name));
        for variable in source.variables.iter().chain(from_vars) {
            self.used.entry(variable.clone()).or_default().insert(name.to_string());
        }
        let declared: BTreeMap<String, &Spanned<ContextRef>> =
            spec.contexts.iter().map(|(name, context)| (context_name(name), context)).collect();
        for used in &facts.uses {
            match declared.get(&context_name(&used.name)) {
                Some(context) => self.declared_use(used, context, cell),
                None => self.outside_use(name, used, source, cell, needs, bases),
            }
        }
        cell.work = Some(cell_build(spec, source, args, &facts));
    }

    /// A use of a declared context. Where a stage of another platform uses another component, that platform's cell is
    /// wanted there; the builder looks a context up as `NAME::PLATFORM` first (moby/buildkit frontend/dockerui).
    pub(super) fn declared_use(&mut self, used: &Use, context: &Spanned<ContextRef>, cell: &mut CellDraft) {
        let ContextRef::Component(other) = &context.value else { return };
        let platform = self.platform_of(used);
        if platform != cell.id.platform
            && let Some(other) = self.cell_of(other, platform, &cell.id.clone(), Some(&used.span))
        {
            cell.context_for_platform(&context_name(&used.name), other);
        }
    }

    pub(super) fn platform_of(&self, used: &Use) -> Platform {
        match &used.platform {
            StagePlatform::Fixed(platform) => platform.clone(),
            StagePlatform::Builder => self.build_platform.clone(),
        }
    }

    /// A use of an image by name: one that this project produces, or one from outside.
    pub(super) fn outside_use(
        &mut self,
        name: &ComponentName,
        used: &Use,
        source: &Source,
        cell: &mut CellDraft,
        needs: &mut Vec<Need>,
        bases: &mut Vec<String>,
    ) {
        let reference: Reference = match used.name.parse() {
            Ok(reference) => reference,
            Err(error) => {
                if !source.file.directives.is_foreign() {
                    let problem = PlanProblem::invalid(
                        format!("component `{name}`: {error}"),
                        Some("name an image, a stage above it, or a context of the component".to_owned()),
                        Some(used.span.clone()),
                    );
                    self.push_once(problem);
                }
                return;
            }
        };
        // An image of one's own name is the one from outside that it is made from.
        let mut candidates: Vec<(ComponentName, Option<Platform>)> =
            self.produced.get(&reference.familiar()).cloned().unwrap_or_default();
        candidates.retain(|(candidate, _)| candidate != name);
        match candidates.as_slice() {
            [] => {
                if !bases.contains(&used.name) {
                    bases.push(used.name.clone());
                }
                let platform = match &used.platform {
                    StagePlatform::Fixed(platform) => Some(platform.clone()),
                    StagePlatform::Builder => None,
                };
                cell.bases.push(Base { reference, platform, span: used.span.clone() });
            }
            [(other, single)] => {
                let platform = single.clone().unwrap_or_else(|| self.platform_of(used));
                if !self.check_need(name, other, format!("`{name}`"), Some(&used.span)) {
                    return;
                }
                let Some(found) = self.cell_of(other, platform, &cell.id.clone(), Some(&used.span)) else { return };
                cell.need(found.clone());
                cell.context_for_platform(&context_name(&used.name), found);
                let need =
                    Need { name: other.clone(), service: false, reason: NeedReason::Inferred(used.name.clone()) };
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
            [(first, _), (second, _), ..] => {
                let message = format!("component `{name}`: `{}` may be `{first}` or `{second}`", used.name);
                let help = format!("say which: contexts = {{ \"{}\" = \"component:{first}\" }}", used.name);
                self.push_once(PlanProblem::invalid(message, Some(help), Some(used.span.clone())));
            }
        }
    }
}
