use indexmap::IndexMap;

use super::PlanProblem;
use super::matrix::Planner;
use super::references;
use super::select::suggestion;
use crate::base::{ComponentName, Platform, Span, Spanned};

impl Planner<'_> {
    /// All declared platforms, the project's first.
    pub(super) fn declared_platforms(&self) -> Vec<Platform> {
        let mut all: Vec<Platform> = self.project.platforms.iter().map(|platform| platform.value.clone()).collect();
        let own = self.project.components.values().map(|spec| &spec.platforms);
        for platform in own.chain(self.project.externals.values().map(|spec| &spec.platforms)).flatten().flatten() {
            if !all.contains(&platform.value) {
                all.push(platform.value.clone());
            }
        }
        all
    }

    /// The platforms of the matrix, after `--platform`.
    pub(super) fn matrix_platforms(&self) -> Vec<Platform> {
        let mut all = self.declared_platforms();
        all.retain(|platform| !self.is_left_out(platform));
        all
    }

    /// Works out platforms and names of every component.
    pub(super) fn lay_out(&mut self) {
        let declared = self.declared_platforms();
        for asked in self.options.platforms.iter().flatten() {
            if !declared.contains(asked) && !declared.is_empty() {
                let shown: Vec<String> = declared.iter().map(ToString::to_string).collect();
                let known: Vec<&str> = shown.iter().map(String::as_str).collect();
                let help = suggestion(&asked.to_string(), &known).replace("there are", "its platforms are");
                let message = format!("no component of `{}` is built for `{asked}`", self.project.name);
                self.problems.push(PlanProblem::invalid(message, Some(help), None));
            }
        }
        let (project, options) = (self.project, self.options);
        for (name, spec) in &project.components {
            self.lay_out_one(name, spec.platforms.as_deref(), spec.span.as_ref());
            let found = references::of_component(project, options, name, spec, &mut self.problems);
            self.references.insert(name.clone(), found);
        }
        for (name, spec) in &project.externals {
            if project.components.contains_key(name) {
                let message = format!("`{name}` is both a component and an external");
                let help = Some("give one of them another name".to_owned());
                self.problems.push(PlanProblem::invalid(message, help, spec.span.clone()));
                continue;
            }
            self.lay_out_one(name, spec.platforms.as_deref(), spec.span.as_ref());
            let found = references::of_external(project, options, name, spec, &mut self.problems);
            self.references.insert(name.clone(), found);
        }
        if project.components.is_empty() && project.externals.is_empty() {
            let help = "write [component.NAME] with dockerfile = \"…\", or run `catamaran init`".to_owned();
            let message = format!("`{}` has no components", project.name);
            self.problems.push(PlanProblem::invalid(message, Some(help), None));
        } else if declared.is_empty() {
            // Told once for the project, not once for each component.
            self.problems.retain(|problem| !matches!(problem, PlanProblem::NoPlatforms { .. }));
            self.problems.push(PlanProblem::NoPlatforms { project: project.name.clone(), span: None });
        }
        let published: IndexMap<_, _> = self
            .references
            .iter()
            .filter(|(name, _)| !self.is_excluded(name))
            .map(|(name, found)| (name.clone(), found.clone()))
            .collect();
        references::check_collisions(&published, &self.platforms, project.arch_tags, &mut self.problems);
        self.index_names();
    }

    pub(super) fn lay_out_one(&mut self, name: &ComponentName, own: Option<&[Spanned<Platform>]>, span: Option<&Span>) {
        let project = self.project;
        let mut platforms: Vec<Platform> = match own {
            None => project.platforms.iter().map(|platform| platform.value.clone()).collect(),
            Some(own) => own.iter().map(|platform| platform.value.clone()).collect(),
        };
        if let Some(spec) = project.components.get(name) {
            for (platform, variation) in &spec.variations {
                if !platforms.contains(platform) {
                    let message = format!("`{name}` is not for `{platform}`, so nothing can be different there");
                    let help = "add it to the platforms, or take the table out".to_owned();
                    self.problems.push(PlanProblem::invalid(message, Some(help), variation.span.clone()));
                }
            }
        }
        for platform in own.into_iter().flatten() {
            let known = project.platforms.iter().any(|known| known.value == platform.value);
            if !known && !project.platforms.is_empty() {
                let message = format!("`{name}` is for `{}`, which is no platform of the project", platform.value);
                let help = format!("add it to the project's platforms, or take it out of `{name}`");
                self.problems.push(PlanProblem::invalid(message, Some(help), platform.span.clone()));
            }
        }
        if platforms.is_empty() && !self.is_excluded(name) {
            self.problems.push(PlanProblem::NoPlatforms { project: name.to_string(), span: span.cloned() });
        }
        platforms.sort();
        self.declared.insert(name.clone(), platforms.clone());
        platforms.retain(|platform| !self.is_left_out(platform));
        self.platforms.insert(name.clone(), platforms);
    }
}
