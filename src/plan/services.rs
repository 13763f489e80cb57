use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::matrix::Planner;
use super::select::suggestion;
use super::{PlanProblem, PlannedService};
use crate::base::{CellId, ComponentName, Platform};
use crate::config::{ServicePlatform, ServiceSpec};

impl Planner<'_> {
    pub(super) fn check_services(&mut self) {
        for (name, spec) in &self.project.services {
            let known = self.names();
            if !known.contains(&name.as_str()) {
                let problem = PlanProblem::UnknownComponent {
                    name: name.to_string(),
                    wanted_by: Some(format!("[service.{name}]")),
                    help: suggestion(name.as_str(), &known),
                    span: spec.span.clone(),
                };
                self.problems.push(problem);
            } else if self.is_excluded(name) {
                let message = format!("service `{name}` runs from an excluded component");
                self.problems.push(PlanProblem::invalid(message, None, spec.span.clone()));
            }
        }
        for (group, members) in &self.project.groups {
            for member in members {
                let known = self.names();
                if !known.contains(&member.value.as_str()) {
                    let problem = PlanProblem::UnknownComponent {
                        name: member.value.to_string(),
                        wanted_by: Some(format!("group `{group}`")),
                        help: suggestion(member.value.as_str(), &known),
                        span: member.span.clone(),
                    };
                    self.problems.push(problem);
                }
            }
        }
    }

    /// Services in an order in which each comes after those that it needs.
    pub(super) fn services(&mut self) -> IndexMap<ComponentName, PlannedService> {
        let project = self.project;
        let mut planned = IndexMap::new();
        let mut open: Vec<ComponentName> = Vec::new();
        for name in project.services.keys() {
            self.plan_service(name, &mut open, &mut planned);
        }
        planned
    }

    fn plan_service(
        &mut self,
        name: &ComponentName,
        open: &mut Vec<ComponentName>,
        planned: &mut IndexMap<ComponentName, PlannedService>,
    ) {
        let Some(spec) = self.project.services.get(name).filter(|_| !planned.contains_key(name)) else { return };
        if let Some(start) = open.iter().position(|known| known == name) {
            let mut circle: Vec<&str> = open[start..].iter().map(ComponentName::as_str).collect();
            circle.push(name.as_str());
            let message = format!("services need each other: {}", circle.join(" -> "));
            self.problems.push(PlanProblem::invalid(message, None, spec.span.clone()));
            return;
        }
        open.push(name.clone());
        let mut needs = Vec::new();
        for need in &spec.needs {
            if self.project.services.contains_key(&need.value) {
                self.plan_service(&need.value, open, planned);
                needs.push(need.value.clone());
            } else {
                let known: Vec<&str> = self.project.services.keys().map(ComponentName::as_str).collect();
                let message = format!("service `{name}` needs `{}`, which is no service", need.value);
                let help = suggestion(need.value.as_str(), &known);
                self.problems.push(PlanProblem::invalid(message, Some(help), need.span.clone()));
            }
        }
        open.pop();
        if let Some(cell) = self.service_cell(name, spec, &self.build_platform.clone()) {
            let elsewhere = self.service_elsewhere(name, spec, &cell);
            planned.insert(name.clone(), service(cell, elsewhere, spec, needs));
        }
    }

    /// The cell that a service runs from on a builder whose own platform is `native`: what was asked for, else that of this
    /// platform where there is one, else the first.
    ///
    /// `--platform` makes no difference to it: the same image serves the same cells, whatever else is built with them.
    fn service_cell(&mut self, name: &ComponentName, spec: &ServiceSpec, native: &Platform) -> Option<CellId> {
        let platforms = self.declared.get(name)?;
        let mut built = platforms.iter().filter(|platform| self.is_declared(name, platform));
        let cell = |platform: &Platform| CellId::new(name.clone(), platform.clone());
        if let ServicePlatform::One(wanted) = &spec.platform {
            if built.any(|platform| platform == wanted) {
                return Some(cell(wanted));
            }
            let message = format!("service `{name}` is to run as {wanted}, which `{name}` is not built for");
            self.problems.push(PlanProblem::invalid(message, None, spec.span.clone()));
            return None;
        }
        built.clone().find(|platform| *platform == native).or_else(|| built.next()).map(cell)
    }

    /// Where cells are built by a builder of another kind, a native service runs there from another cell than `usual`.
    fn service_elsewhere(
        &mut self,
        name: &ComponentName,
        spec: &ServiceSpec,
        usual: &CellId,
    ) -> BTreeMap<Platform, CellId> {
        let mut elsewhere = BTreeMap::new();
        if spec.platform != ServicePlatform::Native {
            return elsewhere;
        }
        for platform in self.declared_platforms() {
            let native = self.native_platform(&platform);
            if let Some(cell) = self.service_cell(name, spec, &native).filter(|cell| cell != usual) {
                elsewhere.insert(platform, cell);
            }
        }
        elsewhere
    }
}

fn service(
    cell: CellId,
    elsewhere: BTreeMap<Platform, CellId>,
    spec: &ServiceSpec,
    needs: Vec<ComponentName>,
) -> PlannedService {
    PlannedService {
        cell,
        elsewhere,
        same_platform: spec.platform == ServicePlatform::Same,
        port: spec.port,
        ready: spec.ready.as_ref().map(|ready| ready.value.clone()),
        command: spec.command.as_ref().map(|command| command.value.clone()),
        env: spec.env.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
        files: spec.files.iter().map(|(place, path)| (place.clone(), path.value.clone())).collect(),
        hosts: spec.hosts.iter().map(|host| host.value.clone()).collect(),
        needs,
        interval: spec.interval,
        timeout: spec.timeout,
    }
}
