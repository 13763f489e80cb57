use indexmap::IndexMap;

use super::matrix::Planner;
use super::select::suggestion;
use super::{PlanProblem, PlannedService};
use crate::base::{CellId, ComponentName};

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

    /// The cell that each service runs from: of the builder's platform where there is one, else the first.
    pub(super) fn services(&self) -> IndexMap<ComponentName, PlannedService> {
        let services = self.project.services.iter().filter_map(|(name, spec)| {
            let platforms = self.platforms.get(name)?;
            let mut built = platforms.iter().filter(|platform| self.is_built(name, platform));
            let native = platforms.iter().find(|all| **all == self.build_platform && self.is_built(name, all));
            let platform = native.or_else(|| built.next())?;
            let ready = spec.ready.as_ref().map(|ready| ready.value.clone());
            let cell = CellId::new(name.clone(), platform.clone());
            Some((name.clone(), PlannedService { cell, port: spec.port, ready }))
        });
        services.collect()
    }
}
