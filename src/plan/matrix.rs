use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;

use super::references::{self, References};
use super::select::{select, suggestion};
use super::source::{Source, Sources, shown};
use super::{
    Base, Cell, CellBuild, CellWork, Component, ComponentKind, ContextSource, Need, NeedReason, Plan, PlanError,
    PlanOptions, PlanProblem, PlannedContext, PlannedService, Selection, Subset, arch_reference, graph,
};
use crate::base::{CellId, ComponentName, Platform, Reference, Span, Spanned};
use crate::config::{ComponentSpec, ContextRef, Project, ReadText};
use crate::dockerfile::{Facts, StagePlatform, Use, context_name};

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
        references: IndexMap::new(),
        produced: HashMap::new(),
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
    })
}

struct Planner<'a> {
    project: &'a Project,
    options: &'a PlanOptions,
    build_platform: Platform,
    problems: Vec<PlanProblem>,
    /// The platforms of each component in this plan, sorted.
    platforms: IndexMap<ComponentName, Vec<Platform>>,
    references: IndexMap<ComponentName, References>,
    /// Which components publish a name, in its familiar form; for names of one platform with that platform.
    produced: HashMap<String, Vec<(ComponentName, Option<Platform>)>>,
    /// Which components use a variable.
    used: BTreeMap<String, BTreeSet<String>>,
}

impl Planner<'_> {
    fn names(&self) -> Vec<&str> {
        let built = self.project.components.keys().map(ComponentName::as_str);
        built.chain(self.project.externals.keys().map(ComponentName::as_str)).collect()
    }

    fn is_excluded(&self, name: &ComponentName) -> bool {
        match self.project.components.get(name) {
            Some(spec) => spec.exclude.is_some(),
            None => self.project.externals.get(name).is_some_and(|spec| spec.exclude.is_some()),
        }
    }

    /// Whether `name` has a cell for `platform` that is not left out.
    fn is_built(&self, name: &ComponentName, platform: &Platform) -> bool {
        let alone = self.project.components.get(name).and_then(|spec| spec.variations.get(platform));
        self.platforms.get(name).is_some_and(|all| all.contains(platform))
            && !self.is_excluded(name)
            && alone.is_none_or(|variation| variation.exclude.is_none())
    }

    /// All declared platforms, the project's first.
    fn declared_platforms(&self) -> Vec<Platform> {
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
    fn matrix_platforms(&self) -> Vec<Platform> {
        let mut all = self.declared_platforms();
        if let Some(asked) = &self.options.platforms {
            all.retain(|platform| asked.contains(platform));
        }
        all
    }

    /// Works out platforms and names of every component.
    fn lay_out(&mut self) {
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

    fn lay_out_one(&mut self, name: &ComponentName, own: Option<&[Spanned<Platform>]>, span: Option<&Span>) {
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
        if let Some(asked) = &self.options.platforms {
            platforms.retain(|platform| asked.contains(platform));
        }
        platforms.sort();
        self.platforms.insert(name.clone(), platforms);
    }

    /// Every name under which something of this project is published, with and without its registry.
    fn index_names(&mut self) {
        for (name, found) in &self.references {
            let written = self.project.components.get(name).is_some_and(|spec| spec.references.is_some());
            let mut names: BTreeSet<(String, Option<Platform>)> = BTreeSet::new();
            for reference in &found.all {
                let mut both = vec![reference.clone()];
                if !written && let Some(local) = local_name(self.project, name, reference) {
                    both.push(local);
                }
                for reference in both {
                    if self.project.arch_tags {
                        for platform in self.platforms.get(name).into_iter().flatten() {
                            if let Ok(single) = arch_reference(&reference, platform) {
                                names.insert((single.familiar(), Some(platform.clone())));
                            }
                        }
                    }
                    names.insert((reference.familiar(), None));
                }
            }
            for (familiar, platform) in names {
                self.produced.entry(familiar).or_default().push((name.clone(), platform));
            }
        }
    }

    fn check_services(&mut self) {
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
    fn services(&self) -> IndexMap<ComponentName, PlannedService> {
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

    fn components(&self) -> Vec<Component> {
        let common = |name: &ComponentName| {
            let found = self.references.get(name).cloned().unwrap_or_default();
            (found.all, found.addressed, self.platforms.get(name).cloned().unwrap_or_default())
        };
        let built = self.project.components.iter().map(|(name, spec)| {
            let (references, addressed, platforms) = common(name);
            Component {
                name: name.clone(),
                kind: ComponentKind::Built,
                references,
                addressed,
                dockerfile: spec.dockerfile_inline.is_none().then(|| shown(&spec.dockerfile.value, &self.project.root)),
                platforms,
                excluded: spec.exclude.as_ref().map(|reason| reason.value.clone()),
                phase: 1,
                bases: Vec::new(),
                needs: Vec::new(),
                span: spec.span.clone(),
            }
        });
        let externals = self.project.externals.iter().filter(|(name, _)| !self.project.components.contains_key(*name));
        let mirrored = externals.map(|(name, spec)| {
            let (references, addressed, platforms) = common(name);
            Component {
                name: name.clone(),
                kind: ComponentKind::External,
                references,
                addressed,
                dockerfile: None,
                platforms,
                excluded: spec.exclude.as_ref().map(|reason| reason.value.clone()),
                phase: 1,
                bases: vec![spec.image.value.to_string()],
                needs: Vec::new(),
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
        for component in components {
            let name = component.name.clone();
            let external = self.project.externals.get(&name).map(|spec| spec.image.value.clone());
            let simple = match (&component.excluded, external) {
                (Some(reason), _) => Some(CellWork::Excluded(reason.clone())),
                (None, Some(image)) => Some(CellWork::Mirror(image)),
                (None, None) => None,
            };
            if let Some(work) = simple {
                cells.extend(component.platforms.iter().map(|platform| Cell {
                    id: CellId::new(name.clone(), platform.clone()),
                    needs: Vec::new(),
                    services: Vec::new(),
                    work: work.clone(),
                    selection: Selection::Unselected,
                }));
                continue;
            }
            let Some(spec) = self.project.components.get(&name) else { continue };
            self.check_context(&name, spec, sources.files);
            let declared = self.declared_needs(&name, spec, services);
            let mut needs = declared;
            for platform in component.platforms.clone() {
                let spec = &*spec.on(&platform);
                let id = CellId::new(name.clone(), platform);
                if let Some(reason) = &spec.exclude {
                    cells.push(excluded(id, reason.value.clone()));
                    continue;
                }
                let mut cell = CellDraft::new(id);
                self.declared_edges(spec, services, &mut cell);
                if let Some(source) = sources.get(&name, spec, &mut self.problems) {
                    self.build(&name, spec, &source, &mut cell, &mut needs, &mut component.bases);
                }
                cells.push(cell.finish());
            }
            component.needs = needs;
        }
        cells
    }

    fn check_context(&mut self, name: &ComponentName, spec: &ComponentSpec, files: &dyn ReadText) {
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
    fn declared_needs(
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
    fn members(&self, needs: &[Spanned<ComponentName>]) -> Vec<Spanned<ComponentName>> {
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

    fn check_need(&mut self, name: &ComponentName, other: &ComponentName, place: String, span: Option<&Span>) -> bool {
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

    /// The edges and contexts of one cell that the project file declares.
    fn declared_edges(
        &mut self,
        spec: &ComponentSpec,
        services: &IndexMap<ComponentName, PlannedService>,
        cell: &mut CellDraft,
    ) {
        for need in &self.members(&spec.needs) {
            if let Some(service) = services.get(&need.value) {
                cell.need(service.cell.clone());
                cell.services.push(need.value.clone());
            } else if self.is_built(&need.value, &cell.id.platform) {
                // A need that is not built for this platform is nothing to wait for.
                cell.need(CellId::new(need.value.clone(), cell.id.platform.clone()));
            }
        }
        for (key, context) in &spec.contexts {
            let source = match &context.value {
                ContextRef::Directory(path) => ContextSource::Directory(path.clone()),
                ContextRef::Remote(url) => ContextSource::Remote(url.clone()),
                ContextRef::Component(other) => {
                    let platform = cell.id.platform.clone();
                    let Some(other) = self.cell_of(other, platform, &cell.id, context.span.as_ref()) else { continue };
                    cell.need(other.clone());
                    ContextSource::Cell(other)
                }
            };
            cell.contexts.push(PlannedContext { name: key.clone(), source });
        }
    }

    /// The cell of `other` for `platform`; that there is none is a problem of `wanted_by`.
    fn cell_of(
        &mut self,
        other: &ComponentName,
        platform: Platform,
        wanted_by: &CellId,
        span: Option<&Span>,
    ) -> Option<CellId> {
        // Unknown and excluded ones are reported where the need is checked.
        let platforms = self.platforms.get(other)?;
        if self.is_excluded(other) {
            return None;
        }
        if platforms.contains(&platform) && self.is_built(other, &platform) {
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

    /// Takes the facts of a Dockerfile into a cell: arguments, edges that it implies, bases, what executes.
    fn build(
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
    fn declared_use(&mut self, used: &Use, context: &Spanned<ContextRef>, cell: &mut CellDraft) {
        let ContextRef::Component(other) = &context.value else { return };
        let platform = self.platform_of(used);
        if platform != cell.id.platform
            && let Some(other) = self.cell_of(other, platform, &cell.id.clone(), Some(&used.span))
        {
            cell.context_for_platform(&context_name(&used.name), other);
        }
    }

    fn platform_of(&self, used: &Use) -> Platform {
        match &used.platform {
            StagePlatform::Fixed(platform) => platform.clone(),
            StagePlatform::Builder => self.build_platform.clone(),
        }
    }

    /// A use of an image by name: one that this project produces, or one from outside.
    fn outside_use(
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

    /// Adds a problem that each platform of a component would repeat.
    fn push_once(&mut self, problem: PlanProblem) {
        let text = problem.to_string();
        if !self.problems.iter().any(|known| known.to_string() == text) {
            self.problems.push(problem);
        }
    }

    fn cycle(&self, circle: &[ComponentName], components: &[Component]) -> PlanProblem {
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

/// The name without a registry that a reference has locally: IMAGE:TAG.
fn local_name(project: &Project, name: &ComponentName, reference: &Reference) -> Option<Reference> {
    let tag = reference.tag()?;
    let path = match (project.components.get(name), project.externals.get(name)) {
        (Some(spec), _) => spec.image.as_ref().unwrap_or(&project.image).value.replace("{component}", name.as_str()),
        (None, Some(spec)) => spec.published.as_ref().map_or_else(|| name.to_string(), |p| p.value.0.path().to_owned()),
        (None, None) => return None,
    };
    path.parse::<crate::base::Repository>().ok().map(|repository| repository.tagged(tag.clone()))
}

fn excluded(id: CellId, reason: String) -> Cell {
    let work = CellWork::Excluded(reason);
    Cell { id, needs: Vec::new(), services: Vec::new(), work, selection: Selection::Unselected }
}

/// A cell while its parts are put together.
struct CellDraft {
    id: CellId,
    needs: Vec<CellId>,
    services: Vec<ComponentName>,
    contexts: Vec<PlannedContext>,
    bases: Vec<Base>,
    work: Option<CellBuild>,
}

impl CellDraft {
    const fn new(id: CellId) -> Self {
        Self { id, needs: Vec::new(), services: Vec::new(), contexts: Vec::new(), bases: Vec::new(), work: None }
    }

    fn need(&mut self, id: CellId) {
        if !self.needs.contains(&id) {
            self.needs.push(id);
        }
    }

    /// The context `name` is `source`; under `NAME::PLATFORM` where that is not the cell's own platform.
    fn context_for_platform(&mut self, name: &str, source: CellId) {
        self.need(source.clone());
        let name =
            if source.platform == self.id.platform { name.to_owned() } else { format!("{name}::{}", source.platform) };
        let context = PlannedContext { name, source: ContextSource::Cell(source) };
        if !self.contexts.contains(&context) {
            self.contexts.push(context);
        }
    }

    /// A cell whose Dockerfile could not be read is never seen: its problem is reported instead.
    fn finish(self) -> Cell {
        let work = match self.work {
            Some(build) => CellWork::Build(Box::new(CellBuild { contexts: self.contexts, bases: self.bases, ..build })),
            None => CellWork::Excluded("its Dockerfile cannot be read".to_owned()),
        };
        Cell { id: self.id, needs: self.needs, services: self.services, work, selection: Selection::Unselected }
    }
}

fn cell_build(spec: &ComponentSpec, source: &Source, args: BTreeMap<String, String>, facts: &Facts) -> CellBuild {
    let context = match &spec.context.value {
        ContextRef::Directory(path) => ContextSource::Directory(path.clone()),
        ContextRef::Remote(url) => ContextSource::Remote(url.clone()),
        // A main context is a directory or a URL; components are named contexts.
        ContextRef::Component(name) => ContextSource::Remote(format!("component:{name}")),
    };
    let executes = facts.executes.iter().filter_map(|(platform, span)| match platform {
        StagePlatform::Fixed(platform) => Some((platform.clone(), span.clone())),
        StagePlatform::Builder => None,
    });
    CellBuild {
        context,
        dockerfile: spec.dockerfile.value.clone(),
        rendered: source.rendered.clone(),
        target: spec.target.as_ref().map(|target| target.value.clone()),
        args,
        labels: spec.labels.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
        contexts: Vec::new(),
        secrets: spec.secrets.iter().map(|(id, secret)| (id.clone(), secret.value.clone())).collect(),
        ssh: spec.ssh.iter().map(|(id, socket)| (id.clone(), socket.clone())).collect(),
        extra_hosts: spec.extra_hosts.clone(),
        no_cache: spec.no_cache,
        executes: executes.collect(),
        bases: Vec::new(),
    }
}
