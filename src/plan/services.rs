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
        if let Some(cell) = self.service_cell(name, spec) {
            planned.insert(name.clone(), service(cell, spec, needs));
        }
    }

    /// The cell that a service runs from: what was asked for, else that of the builder's platform where there is one, else
    /// the first.
    fn service_cell(&mut self, name: &ComponentName, spec: &ServiceSpec) -> Option<CellId> {
        let platforms = self.platforms.get(name)?;
        let built: Vec<&Platform> = platforms.iter().filter(|platform| self.is_built(name, platform)).collect();
        if let ServicePlatform::One(wanted) = &spec.platform {
            if built.contains(&wanted) {
                return Some(CellId::new(name.clone(), wanted.clone()));
            }
            let message = format!("service `{name}` is to run as {wanted}, which `{name}` is not built for");
            self.problems.push(PlanProblem::invalid(message, None, spec.span.clone()));
            return None;
        }
        let native = built.iter().find(|platform| ***platform == self.build_platform);
        let platform = native.or_else(|| built.first())?;
        Some(CellId::new(name.clone(), (*platform).clone()))
    }
}

fn service(cell: CellId, spec: &ServiceSpec, needs: Vec<ComponentName>) -> PlannedService {
    PlannedService {
        cell,
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
