use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;

use super::draft::{CellDraft, excluded, mirrored};
use super::references::{self, References};
use super::select::select;
use super::source::{Sources, shown};
use super::{Cell, Component, ComponentKind, Plan, PlanError, PlanOptions, PlanProblem, PlannedService, Subset, graph};
use crate::base::{CellId, ComponentName, Platform, Warning, shown_url};
use crate::config::{AnnotationLevel, ComponentSpec, ContextRef, Project, ReadText};

/// Plans `project`: validates it as a whole and lays out its cells.
///
/// Every problem that can be found independently of the others is in the one error.
pub fn plan(project: &Project, options: &PlanOptions, files: &dyn ReadText) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        project,
        options,
        build_platform: options.build_platform.clone().unwrap_or_else(Platform::host),
        problems: Vec::new(),
        platforms: IndexMap::new(),
        declared: IndexMap::new(),
        brought: Vec::new(),
        references: IndexMap::new(),
        produced: HashMap::new(),
        makers: HashMap::new(),
        warnings: project.warnings.clone(),
        used: BTreeMap::new(),
    };
    planner.lay_out();
    planner.check_services();
    let services = planner.services();
    let mut components = planner.components();
    let mut cells = planner.cells(&mut components, &services, &mut Sources::new(project, files));
    if !planner.problems.is_empty() {
        return Err(planner.problems.into());
    }
    cells = graph::sort(cells).map_err(|circle| planner.cycle(&circle, &components))?;
    let phases = graph::phases(&cells);
    planner.find_intermediates(&mut components, &cells);
    for component in &mut components {
        component.phase = phases.get(&component.name).copied().unwrap_or(1);
    }
    select(project, options, &components, &mut cells, &mut planner.problems);
    if !planner.problems.is_empty() {
        return Err(planner.problems.into());
    }
    let registries = if options.to.is_empty() {
        project.registries.iter().map(|p| p.value.clone()).collect()
    } else {
        options.to.clone()
    };
    Ok(Plan {
        project: project.name.clone(),
        tag: project.tag.value.to_string(),
        file: project.file.clone(),
        root: project.root.clone(),
        platforms: planner.matrix_platforms(),
        registries,
        arch_tags: project.arch_tags,
        epoch: project.epoch,
        components,
        cells,
        services,
        builders: project.builders.clone(),
        finds: project.finds.clone(),
        vars: super::vars::variables(project, planner.used),
        subset: Subset { platforms: options.platforms.is_some(), names: !options.names.is_empty() },
        unselected: references::unselected(project, options),
        warnings: planner.warnings,
    })
}

pub(super) struct Planner<'a> {
    pub(super) project: &'a Project,
    pub(super) options: &'a PlanOptions,
    pub(super) build_platform: Platform,
    pub(super) problems: Vec<PlanProblem>,
    /// The platforms of each component in this plan, sorted.
    pub(super) platforms: IndexMap<ComponentName, Vec<Platform>>,
    /// The same before `--platform`.
    pub(super) declared: IndexMap<ComponentName, Vec<Platform>>,
    /// Cells that `--platform` left out and that are needed all the same, in the order in which that was found.
    pub(super) brought: Vec<CellId>,
    pub(super) references: IndexMap<ComponentName, References>,
    /// Which components publish a name, in its familiar form; for names of one platform with that platform.
    pub(super) produced: HashMap<String, Vec<(ComponentName, Option<Platform>)>>,
    /// Which components are published in a repository, by its host and path.
    pub(super) makers: HashMap<String, Vec<ComponentName>>,
    pub(super) warnings: Vec<Warning>,
    /// Which components use a variable.
    pub(super) used: BTreeMap<String, BTreeSet<String>>,
}

impl Planner<'_> {
    pub(super) fn names(&self) -> Vec<&str> {
        let built = self.project.components.keys().map(ComponentName::as_str);
        built.chain(self.project.externals.keys().map(ComponentName::as_str)).collect()
    }

    pub(super) fn is_excluded(&self, name: &ComponentName) -> bool {
        match self.project.components.get(name) {
            Some(spec) => spec.exclude.is_some(),
            None => self.project.externals.get(name).is_some_and(|spec| spec.exclude.is_some()),
        }
    }

    /// Whether `name` has a cell for `platform` that is not excluded, asked for or not.
    pub(super) fn is_declared(&self, name: &ComponentName, platform: &Platform) -> bool {
        let alone = self.project.components.get(name).and_then(|spec| spec.variations.get(platform));
        self.declared.get(name).is_some_and(|all| all.contains(platform))
            && !self.is_excluded(name)
            && alone.is_none_or(|variation| variation.exclude.is_none())
    }

    /// Whether `--platform` leaves a platform out.
    pub(super) fn is_left_out(&self, platform: &Platform) -> bool {
        self.options.platforms.as_ref().is_some_and(|asked| !asked.contains(platform))
    }

    /// Whether a cell of platform `by` can need the cell of `name` for `platform`. That one is brought along where it was left
    /// out and so was the one that needs it.
    pub(super) fn is_needed(&mut self, name: &ComponentName, platform: &Platform, by: &Platform) -> bool {
        let there = self.is_declared(name, platform) && (!self.is_left_out(platform) || self.is_left_out(by));
        if there {
            self.bring(&CellId::new(name.clone(), platform.clone()));
        }
        there
    }

    /// Sees to it that a cell is in the plan that is needed, even if `--platform` leaves it out.
    pub(super) fn bring(&mut self, cell: &CellId) {
        if self.is_left_out(&cell.platform) && !self.brought.contains(cell) {
            self.brought.push(cell.clone());
        }
    }

    fn components(&self) -> Vec<Component> {
        let common = |name: &ComponentName| {
            let found = self.references.get(name).cloned().unwrap_or_default();
            (found.all, (found.addressed, found.path), self.platforms.get(name).cloned().unwrap_or_default())
        };
        let built = self.project.components.iter().map(|(name, spec)| {
            let (references, (addressed, path), platforms) = common(name);
            Component {
                name: name.clone(),
                kind: ComponentKind::Built,
                references,
                addressed,
                intermediate: false,
                path,
                dockerfile: (spec.dockerfile_inline.is_none() && spec.dockerfile_fetched.is_none())
                    .then(|| shown(&spec.dockerfile.value, &self.project.root)),
                fetched: fetched(spec),
                platforms,
                foreign: spec.foreign.iter().map(|glob| glob.value.clone()).collect(),
                excluded: spec.exclude.as_ref().map(|reason| reason.value.clone()),
                phase: 1,
                bases: Vec::new(),
                needs: Vec::new(),
                annotations: spec.solve.annotations_of(AnnotationLevel::Index, None),
                span: spec.span.clone(),
            }
        });
        let externals = self.project.externals.iter().filter(|(name, _)| !self.project.components.contains_key(*name));
        let mirrored = externals.map(|(name, spec)| {
            let (references, (addressed, path), platforms) = common(name);
            Component {
                name: name.clone(),
                kind: ComponentKind::External,
                references,
                addressed,
                intermediate: false,
                path,
                dockerfile: None,
                fetched: None,
                platforms,
                foreign: spec.foreign.iter().map(|glob| glob.value.clone()).collect(),
                excluded: spec.exclude.as_ref().map(|reason| reason.value.clone()),
                phase: 1,
                bases: vec![spec.image.value.to_string()],
                needs: Vec::new(),
                annotations: BTreeMap::new(),
                span: spec.span.clone(),
            }
        });
        built.chain(mirrored).collect()
    }

    fn cells(
        &mut self,
        components: &mut [Component],
        services: &IndexMap<ComponentName, PlannedService>,
        sources: &mut Sources<'_>,
    ) -> Vec<Cell> {
        let mut cells = Vec::new();
        for component in &mut *components {
            let spec = self.project.components.get(&component.name);
            if let Some(spec) = spec.filter(|_| component.excluded.is_none()) {
                self.check_context(&component.name, spec, sources.files);
                component.needs = self.declared_needs(&component.name, spec, services);
            }
            for platform in component.platforms.clone() {
                cells.extend(self.cell(component, platform, services, sources));
            }
        }
        // Each of these may need more of them.
        let mut at = 0;
        while let Some(id) = self.brought.get(at).cloned() {
            at += 1;
            if let Some(component) = components.iter_mut().find(|component| component.name == id.component) {
                cells.extend(self.cell(component, id.platform, services, sources));
            }
        }
        cells
    }

    fn cell(
        &mut self,
        component: &mut Component,
        platform: Platform,
        services: &IndexMap<ComponentName, PlannedService>,
        sources: &mut Sources<'_>,
    ) -> Option<Cell> {
        let name = component.name.clone();
        let id = CellId::new(name.clone(), platform);
        if let Some(reason) = &component.excluded {
            return Some(excluded(id, reason.clone()));
        }
        if let Some(external) = self.project.externals.get(&name) {
            return Some(mirrored(id, external.image.value.clone()));
        }
        let spec = &*self.project.components.get(&name)?.on(&id.platform);
        if let Some(reason) = &spec.exclude {
            return Some(excluded(id, reason.value.clone()));
        }
        let mut cell = CellDraft::new(id);
        self.declared_edges(spec, services, &mut cell);
        cell.templates = sources.templates(&name, spec, &mut self.problems);
        if spec.dockerfile_fetched.is_some() {
            self.build_fetched(spec, &mut cell);
        } else if let Some(source) = sources.get(&name, spec, &mut self.problems) {
            self.build(&name, spec, &source, &mut cell, &mut component.needs, &mut component.bases);
        }
        Some(cell.finish())
    }

    /// Adds a problem that each platform of a component would repeat.
    pub(super) fn push_once(&mut self, problem: PlanProblem) {
        let text = problem.to_string();
        if !self.problems.iter().any(|known| known.to_string() == text) {
            self.problems.push(problem);
        }
    }
}

/// Where the Dockerfile of a component is that the builder fetches.
fn fetched(spec: &ComponentSpec) -> Option<(String, String)> {
    match (&spec.context.value, &spec.dockerfile_fetched) {
        (ContextRef::Remote(url), Some(path)) => Some((shown_url(url).into_owned(), path.clone())),
        _ => None,
    }
}
