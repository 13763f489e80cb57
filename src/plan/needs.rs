use indexmap::IndexMap;

use super::draft::CellDraft;
use super::matrix::Planner;
use super::select::suggestion;
use super::source::shown;
use super::{Component, ContextSource, Need, NeedReason, PlanProblem, PlannedContext, PlannedService};
use crate::base::{CellId, ComponentName, Platform, Span, Spanned};
use crate::config::{ComponentSpec, ContextRef, ReadText};

impl Planner<'_> {
    pub(super) fn check_context(&mut self, name: &ComponentName, spec: &ComponentSpec, files: &dyn ReadText) {
        let mut check = |what: String, context: &Spanned<ContextRef>| {
            if let ContextRef::Directory(path) = &context.value
                && !files.is_directory(path)
            {
                let short = shown(path, &self.project.root);
                let message = format!("component `{name}`: {what} `{}` is not a directory", short.display());
                let help = "paths are relative to the file that holds them".to_owned();
                self.problems.push(PlanProblem::invalid(message, Some(help), context.span.clone()));
            }
        };
        check("the context".to_owned(), &spec.context);
        for (key, context) in &spec.contexts {
            check(format!("the context `{key}`"), context);
        }
    }

    /// What `needs` and `contexts` say, each checked.
    pub(super) fn declared_needs(
        &mut self,
        name: &ComponentName,
        spec: &ComponentSpec,
        services: &IndexMap<ComponentName, PlannedService>,
    ) -> Vec<Need> {
        let mut needs = Vec::new();
        for need in &self.members(&spec.needs) {
            let place = format!("`needs` of `{name}`");
            if self.check_need(name, &need.value, place, need.span.as_ref()) {
                let service = services.contains_key(&need.value);
                needs.push(Need { name: need.value.clone(), service, reason: NeedReason::Declared });
            }
        }
        for (key, context) in &spec.contexts {
            let ContextRef::Component(other) = &context.value else { continue };
            if self.check_need(name, other, format!("`contexts` of `{name}`"), context.span.as_ref()) {
                needs.push(Need { name: other.clone(), service: false, reason: NeedReason::Context(key.clone()) });
            }
        }
        needs
    }

    /// `needs` with the groups among them replaced by their members.
    pub(super) fn members(&self, needs: &[Spanned<ComponentName>]) -> Vec<Spanned<ComponentName>> {
        let one = |need: &Spanned<ComponentName>| {
            let known = self.platforms.contains_key(&need.value);
            match self.project.groups.get(need.value.as_str()).filter(|_| !known) {
                None => vec![need.clone()],
                Some(members) => members
                    .iter()
                    .map(|member| Spanned { value: member.value.clone(), span: need.span.clone() })
                    .collect(),
            }
        };
        needs.iter().flat_map(one).collect()
    }

    pub(super) fn check_need(
        &mut self,
        name: &ComponentName,
        other: &ComponentName,
        place: String,
        span: Option<&Span>,
    ) -> bool {
        let known = self.names();
        if !known.contains(&other.as_str()) {
            let help = suggestion(other.as_str(), &known);
            let problem = PlanProblem::UnknownComponent {
                name: other.to_string(),
                wanted_by: Some(place),
                help,
                span: span.cloned(),
            };
            self.problems.push(problem);
            return false;
        }
        if self.is_excluded(other) && !self.is_excluded(name) {
            let message = format!("`{name}` needs `{other}`, which is excluded");
            let help = format!("exclude `{name}` too, or take it out of {place}");
            self.problems.push(PlanProblem::invalid(message, Some(help), span.cloned()));
            return false;
        }
        true
    }

    /// The edges and contexts of one cell that the project file declares, but for other components' images: which
    /// platforms of those are wanted, the Dockerfile says.
    pub(super) fn declared_edges(
        &mut self,
        spec: &ComponentSpec,
        services: &IndexMap<ComponentName, PlannedService>,
        cell: &mut CellDraft,
    ) {
        for need in &self.members(&spec.needs) {
            if services.contains_key(&need.value) {
                self.service_edge(&need.value, services, cell);
            } else if self.is_needed(&need.value, &cell.id.platform, &cell.id.platform) {
                // A need that is not built for this platform is nothing to wait for.
                cell.need(CellId::new(need.value.clone(), cell.id.platform.clone()));
            }
        }
        for (key, context) in &spec.contexts {
            let source = match &context.value {
                ContextRef::Directory(path) => ContextSource::Directory(path.clone()),
                ContextRef::Remote(url) => ContextSource::Remote(url.clone()),
                ContextRef::Component(_) => continue,
            };
            cell.contexts.push(PlannedContext { name: key.clone(), source });
        }
    }

    /// The edges to a service and, before it, to those that it needs.
    fn service_edge(
        &mut self,
        name: &ComponentName,
        services: &IndexMap<ComponentName, PlannedService>,
        cell: &mut CellDraft,
    ) {
        let Some(service) = services.get(name).filter(|_| !cell.services.contains(name)) else { return };
        for need in &service.needs {
            self.service_edge(need, services, cell);
        }
        let source = service.cell_for(&cell.id.platform);
        if self.is_declared(name, &source.platform) {
            self.bring(&source);
            cell.need(source);
            cell.services.push(name.clone());
        } else {
            let message = format!("{} needs service `{name}`, which is not built for that platform", cell.id);
            let help = format!("leave `platform = \"same\"` out of [service.{name}], or build `{name}` for it too");
            let span = self.project.services.get(name).and_then(|spec| spec.span.clone());
            self.problems.push(PlanProblem::invalid(message, Some(help), span));
        }
    }

    /// The cell of `other` for `platform`; that there is none is a problem of `wanted_by`.
    pub(super) fn cell_of(
        &mut self,
        other: &ComponentName,
        platform: Platform,
        wanted_by: &CellId,
        span: Option<&Span>,
    ) -> Option<CellId> {
        // Unknown and excluded ones are reported where the need is checked.
        if !self.platforms.contains_key(other) || self.is_excluded(other) {
            return None;
        }
        if self.is_needed(other, &platform, &wanted_by.platform) {
            return Some(CellId::new(other.clone(), platform));
        }
        let left_out = self.options.platforms.as_ref().is_some_and(|asked| !asked.contains(&platform));
        let message = format!("`{wanted_by}` takes `{other}` for `{platform}`, which is not built");
        let help = if left_out {
            format!("ask for it too: --platform {platform}")
        } else {
            format!("build `{other}` for `{platform}`, or `{}` for fewer platforms", wanted_by.component)
        };
        self.problems.push(PlanProblem::invalid(message, Some(help), span.cloned()));
        None
    }

    pub(super) fn cycle(&self, circle: &[ComponentName], components: &[Component]) -> PlanProblem {
        let path = circle.iter().map(ToString::to_string).collect();
        // The edge from the first to the second: the declared place if there is one.
        let span = circle.first().zip(circle.get(1)).and_then(|(from, to)| {
            let spec = self.project.components.get(from)?;
            let declared = spec.needs.iter().find(|need| need.value == *to).and_then(|need| need.span.clone());
            let context = spec.contexts.values().find(|context| context.value == ContextRef::Component(to.clone()));
            declared
                .or_else(|| context.and_then(|context| context.span.clone()))
                .or_else(|| components.iter().find(|component| component.name == *from)?.span.clone())
        });
        PlanProblem::Cycle { path, span }
    }
}
