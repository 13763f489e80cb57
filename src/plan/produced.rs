use std::collections::BTreeSet;

use super::matrix::Planner;
use super::source::Source;
use super::{Cell, Component, PlanOptions, PlanProblem, arch_reference, references};
use crate::base::{ComponentName, Platform, Reference, Repository, Warning};
use crate::config::Project;
use crate::dockerfile::{InstructionKind, Use};

impl Planner<'_> {
    /// Every name under which something of this project is published, with and without its registry.
    pub(super) fn index_names(&mut self) {
        for (name, found) in &self.references {
            let written = self.is_written(name);
            let mut names: BTreeSet<(String, Option<Platform>)> = BTreeSet::new();
            for reference in found.all.iter().chain(&self.declared_references(name)) {
                let mut both = vec![reference.clone()];
                if !written && let Some(local) = local_name(self.project, name, reference) {
                    both.push(local);
                }
                for reference in both {
                    if self.project.arch_tags {
                        for platform in self.declared.get(name).into_iter().flatten() {
                            if let Ok(single) = arch_reference(&reference, platform) {
                                names.insert((single.familiar(), Some(platform.clone())));
                            }
                        }
                    }
                    names.insert((reference.familiar(), None));
                    let makers = self.makers.entry(familiar(reference.repository())).or_default();
                    if self.project.components.contains_key(name) && !makers.contains(name) {
                        makers.push(name.clone());
                    }
                }
            }
            for (familiar, platform) in names {
                self.produced.entry(familiar).or_default().push((name.clone(), platform));
            }
        }
    }

    /// The references that `--to` took the place of: where a release goes does not change what it is made from.
    fn declared_references(&self, name: &ComponentName) -> Vec<Reference> {
        if self.options.to.is_empty() {
            return Vec::new();
        }
        let (project, options, mut known) = (self.project, PlanOptions::default(), Vec::new());
        let found = match (project.components.get(name), project.externals.get(name)) {
            (Some(spec), _) => references::of_component(project, &options, name, spec, &mut known),
            (None, Some(spec)) => references::of_external(project, &options, name, spec, &mut known),
            (None, None) => return Vec::new(),
        };
        found.all
    }

    /// Whether the project has whole references of it, as bake and compose files do.
    fn is_written(&self, name: &ComponentName) -> bool {
        self.project.components.get(name).is_some_and(|spec| spec.references.is_some())
    }

    /// Marks the components that have no name of their own and are built from.
    pub(super) fn find_intermediates(&self, components: &mut [Component], cells: &[Cell]) {
        let needed: BTreeSet<&ComponentName> =
            cells.iter().flat_map(|cell| &cell.needs).map(|cell| &cell.component).collect();
        for component in components {
            let spec = self.project.components.get(&component.name);
            let is_nameless = spec.and_then(|spec| spec.references.as_ref()).is_some_and(Vec::is_empty);
            component.intermediate = is_nameless && !component.addressed && needed.contains(&component.name);
        }
    }

    /// Refuses triggers that take from an image of this project: they run where the image is built from, in another component
    /// or even another project, and nothing there says what they take.
    pub(super) fn check_triggers(&mut self, name: &ComponentName, source: &Source) {
        let instructions = source.file.stages.iter().flat_map(|stage| &stage.instructions);
        for trigger in instructions.filter(|instruction| instruction.kind == InstructionKind::OnBuild) {
            let text = source.file.source.text().get(trigger.range.clone()).unwrap_or_default();
            for taken in triggered(text) {
                let familiar = taken.parse::<Reference>().map(|reference| reference.familiar());
                let makers = familiar.ok().and_then(|familiar| self.produced.get(&familiar));
                let Some((maker, _)) = makers.and_then(|makers| makers.first()) else { continue };
                let message = format!(
                    "component `{name}`: a trigger takes from `{taken}`, which `{maker}` makes: that is not followed"
                );
                let help = format!("take it here, or in each Dockerfile that is built from `{name}`");
                let span = Some(source.file.source.span(trigger.range.clone()));
                self.push_once(PlanProblem::invalid(message, Some(help), span));
            }
        }
    }

    /// Tells of an image from outside whose name is one of this project's but for the tag: it is an earlier release as often
    /// as it is a slip, and the two look alike. Where it can hardly be meant it is a problem, and false is returned.
    pub(super) fn is_meant_from_outside(
        &mut self,
        name: &ComponentName,
        (used, image): (&Use, &str),
        reference: &Reference,
    ) -> bool {
        let repository = reference.repository();
        let makers = self.makers.get(&familiar(repository)).cloned().unwrap_or_default();
        // A component is made from another image of its own name on purpose; and nobody writes a digest by mistake.
        let Some(maker) = makers.iter().find(|maker| *maker != name).filter(|_| reference.digest().is_none()) else {
            return true;
        };
        let found = self.references.get(maker);
        let made = found.and_then(|found| found.all.first()).map(ToString::to_string).unwrap_or_default();
        let edge = format!("contexts = {{ \"{}\" = \"component:{maker}\" }}", used.name);
        // `nginx` may be anybody's; `platform-nginx` is what this project calls its own.
        let is_own = repository.registry().is_none() && repository.path() != maker.as_str();
        if !self.is_written(maker) && (is_own || reference.tag().is_none()) {
            let message = format!("component `{name}`: `{image}` is no image of this project, which makes `{made}`");
            let outside = match repository.registry() {
                None => format!("docker.io/{}:TAG", repository.remote_path()),
                Some(_) => format!("{image}:TAG"),
            };
            let help = format!("for the component: {edge}; for one from outside: `{outside}`");
            self.push_once(PlanProblem::invalid(message, Some(help), Some(used.span.clone())));
            return false;
        }
        // Who writes `docker.io/` knows that it is not the one of this project.
        if !(repository.host() == "docker.io" && repository.registry().is_some()) {
            let message =
                format!("component `{name}` is made from `{image}` from outside, not from `{made}` of this project");
            let warning = Warning {
                message,
                help: Some(format!("if the component is meant: {edge}")),
                span: Some(used.span.clone()),
            };
            if !self.warnings.iter().any(|known| known.message == warning.message) {
                self.warnings.push(warning);
            }
        }
        true
    }
}

/// What a trigger (`ONBUILD …`) takes from elsewhere: the names after `from=`.
fn triggered(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split([' ', '\t', '\n', ',', '\\']);
    words.filter_map(|word| word.strip_prefix("--from=").or_else(|| word.strip_prefix("from=")))
}

/// The repository as registries know it, with the host that is meant.
fn familiar(repository: &Repository) -> String {
    format!("{}/{}", repository.host(), repository.remote_path())
}

/// The name without a registry that a reference has locally: IMAGE:TAG.
pub(super) fn local_name(project: &Project, name: &ComponentName, reference: &Reference) -> Option<Reference> {
    let tag = reference.tag()?;
    let path = match (project.components.get(name), project.externals.get(name)) {
        (Some(spec), _) => spec.image.as_ref().unwrap_or(&project.image).value.replace("{component}", name.as_str()),
        (None, Some(spec)) => spec.published.as_ref().map_or_else(|| name.to_string(), |p| p.value.0.path().to_owned()),
        (None, None) => return None,
    };
    path.parse::<Repository>().ok().map(|repository| repository.tagged(tag.clone()))
}
