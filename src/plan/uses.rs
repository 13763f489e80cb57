use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::{CellDraft, cell_build, declared_build};
use super::matrix::Planner;
use super::source::Source;
use super::{Base, ContextSource, Need, NeedReason, PlanProblem};
use crate::base::{CellId, ComponentName, Platform, Reference, Span};
use crate::config::{BuilderSpec, ComponentSpec, ContextRef};
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
        let platforms = (&cell.id.platform.clone(), &self.native_platform(&cell.id.platform));
        let Some(facts) = source.facts(name, spec, &args, platforms, &mut self.problems) else { return };
        // Variables that no stage of this target declares are not passed: they would only split the builder's cache.
        args.retain(|name, _| spec.args.contains_key(name) || facts.args.contains(name));
        let from_vars = args.keys().filter(|name| !spec.args.contains_key(*name));
        let templates = cell.templates.iter().flat_map(|template| &template.variables);
        for variable in source.variables.iter().chain(templates).chain(from_vars) {
            self.used.entry(variable.clone()).or_default().insert(name.to_string());
        }
        for (name, context) in &spec.contexts {
            if let ContextRef::Component(other) = &context.value {
                let looked_up = context_name(name);
                let uses: Vec<&Use> = facts.uses.iter().filter(|used| context_name(&used.name) == looked_up).collect();
                let judged = !source.file.directives.is_foreign();
                self.declared_uses((name, other, context.span.as_ref()), &uses, judged, cell);
            }
        }
        let declared: BTreeMap<String, &ContextRef> =
            spec.contexts.iter().map(|(name, context)| (context_name(name), &context.value)).collect();
        for used in &facts.uses {
            let image = match declared.get(&context_name(&used.name)) {
                None => &used.name,
                Some(ContextRef::Remote(url)) => match url.strip_prefix("docker-image://") {
                    Some(image) => image,
                    None => continue,
                },
                Some(ContextRef::Component(_) | ContextRef::Directory(_)) => continue,
            };
            self.outside_use(name, (used, image), source, cell, needs, bases);
        }
        self.check_triggers(name, source);
        let several = self.has_several(spec);
        cell.work = Some(cell_build(spec, source, args, &facts, (&cell.id.platform, several)));
    }

    /// A cell whose Dockerfile the builder fetches: what the project file declares is all that is known of it.
    pub(super) fn build_fetched(&mut self, spec: &ComponentSpec, cell: &mut CellDraft) {
        for (name, context) in &spec.contexts {
            if let ContextRef::Component(other) = &context.value {
                self.declared_uses((name, other, context.span.as_ref()), &[], false, cell);
            }
        }
        let several = self.has_several(spec);
        cell.work = Some(declared_build(spec, (&cell.id.platform, several)));
    }

    fn has_several(&self, spec: &ComponentSpec) -> bool {
        spec.platforms.as_ref().unwrap_or(&self.project.platforms).len() > 1
    }

    /// The uses of a context that is another component: for each platform that a stage wants it for, that platform's cell.
    ///
    /// Of a context that nothing uses, or may use in a way that is not ours to judge, the cell's own platform is meant.
    fn declared_uses(
        &mut self,
        (key, other, span): (&str, &ComponentName, Option<&Span>),
        uses: &[&Use],
        judged: bool,
        cell: &mut CellDraft,
    ) {
        let own = cell.id.platform.clone();
        for used in uses {
            let platform = self.platform_of(used, &own);
            // The declaration is at fault for its own platform, the line of the Dockerfile for any other.
            let place = if platform == own { span } else { Some(&used.span) };
            if let Some(found) = self.cell_of(other, platform, &cell.id.clone(), place) {
                cell.take(key, found, used);
            }
        }
        if uses.is_empty() {
            if let Some(found) = self.cell_of(other, own, &cell.id.clone(), span) {
                cell.context(key, found);
            }
        } else if !judged && self.is_needed(other, &own, &own) {
            cell.context(key, CellId::new(other.clone(), own));
        }
    }

    fn platform_of(&self, used: &Use, cell: &Platform) -> Platform {
        match &used.platform {
            StagePlatform::Fixed(platform) => platform.clone(),
            StagePlatform::Builder => self.native_platform(cell),
        }
    }

    /// The platform of the builder that builds cells of `platform`, as far as that is known before it is asked: this
    /// machine's, unless a builder of the project takes other platforms only.
    pub(super) fn native_platform(&self, platform: &Platform) -> Platform {
        let takes = |builder: &&BuilderSpec| builder.platforms.iter().any(|taken| taken.value == *platform);
        let Some(builder) = self.project.builders.values().find(takes) else { return self.build_platform.clone() };
        let mut taken = builder.platforms.iter().map(|taken| &taken.value);
        let own = taken.clone().find(|taken| **taken == self.build_platform);
        own.or_else(|| taken.next()).unwrap_or(&self.build_platform).clone()
    }

    /// A use of an `image` by name, or through a named context that stands for it: one that this project produces, or one
    /// from outside.
    fn outside_use(
        &mut self,
        name: &ComponentName,
        (used, image): (&Use, &str),
        source: &Source,
        cell: &mut CellDraft,
        needs: &mut Vec<Need>,
        bases: &mut Vec<String>,
    ) {
        let reference: Reference = match image.parse() {
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
                if !self.is_meant_from_outside(name, (used, image), &reference) {
                    return;
                }
                if !bases.iter().any(|known| known == image) {
                    bases.push(image.to_owned());
                }
                let platform = match &used.platform {
                    StagePlatform::Fixed(platform) => Some(platform.clone()),
                    StagePlatform::Builder => None,
                };
                let context = (image != used.name).then(|| context_name(&used.name));
                let names_stage = context.is_none() && source.stages.contains(&context_name(&used.name));
                cell.bases.push(Base { reference, platform, span: used.span.clone(), names_stage, context });
            }
            [(other, single)] => {
                let platform = single.clone().unwrap_or_else(|| self.platform_of(used, &cell.id.platform));
                if !self.check_need(name, other, format!("`{name}`"), Some(&used.span)) {
                    return;
                }
                let Some(found) = self.cell_of(other, platform, &cell.id.clone(), Some(&used.span)) else { return };
                let key = context_name(&used.name);
                // What stood for an image of this project by its name now stands for the image itself.
                cell.contexts.retain(|context| {
                    context_name(&context.name) != key || !matches!(context.source, ContextSource::Remote(_))
                });
                cell.take(&key, found, used);
                let need = Need { name: other.clone(), service: false, reason: NeedReason::Inferred(image.to_owned()) };
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
            [(first, _), (second, _), ..] => {
                let message = format!("component `{name}`: `{image}` may be `{first}` or `{second}`");
                let help = format!("say which: contexts = {{ \"{}\" = \"component:{first}\" }}", used.name);
                self.push_once(PlanProblem::invalid(message, Some(help), Some(used.span.clone())));
            }
        }
    }
}
