use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Base, PlanProblem, RenderedTemplate};
use crate::base::{ComponentName, Failure as _, Platform, Reference, SourceText, Spanned};
use crate::config::{ComponentSpec, ContextRef, Project, ReadText, render};
use crate::dockerfile::{BuildInputs, Dockerfile, DockerfileProblem, Facts, InstructionKind, context_name};

/// A Dockerfile that was read.
pub(super) struct Source {
    pub(super) file: Dockerfile,
    /// Text to build from in place of the file's.
    pub(super) rendered: Option<Arc<str>>,
    /// The names of all its ARGs.
    args: BTreeSet<String>,
    /// The names of its stages, as contexts are looked up by.
    pub(super) stages: BTreeSet<String>,
    /// The variables that its template uses.
    pub(super) variables: BTreeSet<String>,
}

/// Reads each Dockerfile once, however many components are built from it.
pub(super) struct Sources<'a> {
    pub(super) project: &'a Project,
    pub(super) files: &'a dyn ReadText,
    read: HashMap<PathBuf, Option<Arc<Source>>>,
    templates: HashMap<PathBuf, Option<Arc<RenderedTemplate>>>,
}

/// `path` relative to `root` where it is below it: the form of messages and tables.
pub(super) fn shown(path: &Path, root: &Path) -> PathBuf {
    path.strip_prefix(root).map_or_else(|_| path.to_path_buf(), Path::to_path_buf)
}

impl<'a> Sources<'a> {
    pub(super) fn new(project: &'a Project, files: &'a dyn ReadText) -> Self {
        Self { project, files, read: HashMap::new(), templates: HashMap::new() }
    }

    /// The Dockerfile of a component; nothing if it is missing or broken, which is reported once.
    pub(super) fn get(
        &mut self,
        name: &ComponentName,
        spec: &ComponentSpec,
        problems: &mut Vec<PlanProblem>,
    ) -> Option<Arc<Source>> {
        let path = &spec.dockerfile.value;
        if let Some(inline) = &spec.dockerfile_inline {
            let text: Arc<str> = inline.value.as_str().into();
            // It is no file: the lines are those of the text.
            let place = PathBuf::from(format!("dockerfile-inline of {name}"));
            return parse(name, place, &text, Some(Arc::clone(&text)), problems);
        }
        if let Some(known) = self.read.get(path) {
            return known.clone();
        }
        let source = self.read(name, spec, problems);
        self.read.insert(path.clone(), source.clone());
        source
    }

    /// The template files of a component, rendered; each is read once, and what is wrong with it is reported once.
    pub(super) fn templates(
        &mut self,
        name: &ComponentName,
        spec: &ComponentSpec,
        problems: &mut Vec<PlanProblem>,
    ) -> Vec<Arc<RenderedTemplate>> {
        let mut all = Vec::with_capacity(spec.templates.len());
        for listed in &spec.templates {
            if !self.templates.contains_key(&listed.value) {
                let rendered = self.template(name, listed, problems).map(Arc::new);
                self.templates.insert(listed.value.clone(), rendered);
            }
            all.extend(self.templates.get(&listed.value).cloned().flatten());
        }
        all
    }

    fn template(
        &self,
        name: &ComponentName,
        listed: &Spanned<PathBuf>,
        problems: &mut Vec<PlanProblem>,
    ) -> Option<RenderedTemplate> {
        let path = shown(&listed.value, &self.project.root);
        let text = match self.files.read_text(&listed.value) {
            Ok(text) => text,
            Err(source) => {
                let (component, span) = (name.to_string(), listed.span.clone());
                problems.push(PlanProblem::Unreadable { component, path, source, span });
                return None;
            }
        };
        match render(&SourceText::new(path, text), &self.project.vars) {
            Ok(rendered) => {
                Some(RenderedTemplate { path: listed.value.clone(), text: rendered.text, variables: rendered.used })
            }
            Err(found) => {
                problems.extend(found.into_iter().map(PlanProblem::Template));
                None
            }
        }
    }

    fn read(&self, name: &ComponentName, spec: &ComponentSpec, problems: &mut Vec<PlanProblem>) -> Option<Arc<Source>> {
        let path = &spec.dockerfile.value;
        let short = shown(path, &self.project.root);
        let text = match self.files.read_text(path) {
            Ok(text) => text,
            Err(error) => {
                problems.push(self.unreadable(name, spec, short, error));
                return None;
            }
        };
        if path.extension().is_none_or(|extension| extension != "tpl") {
            return parse(name, short, &text, None, problems);
        }
        match render(&SourceText::new(short.clone(), text), &self.project.vars) {
            Ok(rendered) => {
                let text: Arc<str> = rendered.text.into();
                let source = parse(name, short, &text, Some(Arc::clone(&text)), problems)?;
                Arc::try_unwrap(source).ok().map(|source| Arc::new(Source { variables: rendered.used, ..source }))
            }
            Err(found) => {
                problems.extend(found.into_iter().map(PlanProblem::Template));
                None
            }
        }
    }

    fn unreadable(
        &self,
        name: &ComponentName,
        spec: &ComponentSpec,
        path: PathBuf,
        source: std::io::Error,
    ) -> PlanProblem {
        let component = name.to_string();
        let span = spec.dockerfile.span.clone();
        if source.kind() != std::io::ErrorKind::NotFound {
            return PlanProblem::Unreadable { component, path, source, span };
        }
        // The two usual mistakes: the template beside it, and a path meant relative to the context.
        let written = &spec.dockerfile.value;
        let mut candidates = vec![PathBuf::from(format!("{}.tpl", written.display()))];
        if let (ContextRef::Directory(context), Ok(relative)) =
            (&spec.context.value, written.strip_prefix(&self.project.root))
        {
            candidates.push(context.join(relative));
        }
        let near = candidates.iter().find(|path| *path != written && self.files.read_text(path).is_ok());
        let help = near.map_or_else(
            || "paths are relative to the file that holds them: write dockerfile = \"path/to/Dockerfile\"".to_owned(),
            |near| format!("there is `{0}`: write dockerfile = \"{0}\"", shown(near, &self.project.root).display()),
        );
        PlanProblem::MissingDockerfile { component, path, help, span }
    }
}

fn parse(
    name: &ComponentName,
    path: PathBuf,
    text: &str,
    rendered: Option<Arc<str>>,
    problems: &mut Vec<PlanProblem>,
) -> Option<Arc<Source>> {
    match Dockerfile::parse(&SourceText::new(path, text)) {
        Ok(file) => {
            let instructions = file.global.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
            let args = instructions
                .filter_map(|instruction| match &instruction.kind {
                    InstructionKind::Arg(declared) => Some(declared),
                    _ => None,
                })
                .flatten()
                .map(|(name, _)| name.text.clone())
                .collect();
            let stages = file.stages.iter().filter_map(|stage| stage.name.as_deref()).map(context_name).collect();
            Some(Arc::new(Source { file, rendered, args, stages, variables: BTreeSet::new() }))
        }
        Err(error) => {
            problems.extend(error.into_problems().map(|problem| broken(name, problem)));
            None
        }
    }
}

fn broken(name: &ComponentName, problem: DockerfileProblem) -> PlanProblem {
    PlanProblem::Dockerfile { component: name.to_string(), problem }
}

impl Source {
    /// Build arguments of a component: its own, and variables of the project under the names that the Dockerfile declares.
    pub(super) fn arguments(&self, project: &Project, spec: &ComponentSpec) -> BTreeMap<String, String> {
        let named = self.args.iter().filter_map(|name| Some((name.clone(), project.vars.get(name)?.value.clone())));
        let own = spec.args.iter().map(|(name, value)| (name.clone(), value.value.clone()));
        named.chain(own).collect()
    }

    /// The frontend image that the file or `BUILDKIT_SYNTAX` names; what follows it on the line is the frontend's own.
    pub(super) fn frontend(&self, args: &BTreeMap<String, String>) -> Option<Base> {
        let written = self.file.directives.syntax.as_ref();
        let name = args.get("BUILDKIT_SYNTAX").or_else(|| written.map(|syntax| &syntax.value))?;
        // What is no image (`dockerfile.v0`) is the builder's own; a name that is none at all is the builder's to refuse.
        let reference: Reference = name.split_whitespace().next()?.parse().ok()?;
        let own = reference.repository().registry().is_none() && reference.repository().path() == "dockerfile.v0";
        let span = written.and_then(|syntax| syntax.span.clone()).unwrap_or_else(|| self.file.source.line_span(1));
        (!own).then_some(Base { reference, platform: None, span, names_stage: false, context: None })
    }

    /// What building it for `platform` involves; nothing if names cannot be made out, which is reported.
    pub(super) fn facts(
        &self,
        name: &ComponentName,
        spec: &ComponentSpec,
        args: &BTreeMap<String, String>,
        (platform, build_platform): (&Platform, &Platform),
        problems: &mut Vec<PlanProblem>,
    ) -> Option<Facts> {
        let contexts = spec.contexts.keys().map(|name| context_name(name)).collect();
        let inputs = BuildInputs {
            target: spec.target.as_ref().map(|target| target.value.as_str()),
            args,
            platform,
            build_platform,
            contexts: &contexts,
        };
        match self.file.facts(&inputs) {
            Ok(facts) => Some(facts),
            Err(error) => {
                for problem in error.into_problems() {
                    // The same line fails for every platform in the same words.
                    let told = problems.iter().any(
                        |known| matches!(known, PlanProblem::Dockerfile { problem: known, .. } if *known == problem),
                    );
                    if !told {
                        problems.push(self.place_target(name, spec, problem));
                    }
                }
                None
            }
        }
    }

    /// A target that does not exist is the project file's mistake, not the Dockerfile's.
    fn place_target(&self, name: &ComponentName, spec: &ComponentSpec, problem: DockerfileProblem) -> PlanProblem {
        let Some(target) = spec.target.as_ref().filter(|_| problem.message.starts_with("there is no stage")) else {
            return broken(name, problem);
        };
        let message = format!("component `{name}`: {} in `{}`", problem.message, self.file.source.path().display());
        PlanProblem::invalid(message, problem.help(), target.span.clone())
    }
}
