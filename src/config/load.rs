use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::discover::{Discovery, dependency, header_or_root};
use super::document::{Entry, Table, Value, parse_toml};
use super::files::{DiskFiles, ReadText};
use super::native::{self, Native};
use super::paths::fetched_dockerfile;
use super::project::{ComponentSpec, ContextRef, ExternalSpec, Find, LoadRequest, Project};
use super::reader::{Reading, resolve};
use super::solve::{AnnotationLevel, AnnotationSpec};
use super::template::render;
use super::vars::Scope;
use super::{ConfigError, ConfigProblem};
use crate::base::{Epoch, Reference, SourceText, Spanned, Tag};

/// The name of the project file.
pub(crate) const PROJECT_FILE: &str = "catamaran.toml";

/// Finds the project file (walking up from the request's directory unless files are named), reads and validates it.
///
/// Every problem that can be found independently of the others is in the one error. Paths in messages are relative to the
/// project's folder where they are below it.
pub fn load(request: &LoadRequest) -> Result<Project, ConfigError> {
    if super::bake::is_asked_for(request)? {
        return super::bake::load_bake(request);
    }
    if let Some(first) = request.overrides.first() {
        return Err(ConfigError::from(ConfigProblem::Invalid {
            message: format!("`--set {first}` overrides a target of a bake file, and this is a project file"),
            help: Some(
                "set a variable (`--set NAME=VALUE`) that the file uses, or name a bake file with `-f`".to_owned(),
            ),
            span: None,
        }));
    }
    let directory = std::path::absolute(&request.directory).unwrap_or_else(|_| request.directory.clone());
    let paths = if request.files.is_empty() {
        vec![find(&directory)?]
    } else {
        request.files.iter().map(|file| resolve(&directory, &file.to_string_lossy())).collect()
    };
    let file = paths.first().cloned().unwrap_or_default();
    let root = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let shown = |path: &Path| path.strip_prefix(&root).map_or_else(|_| path.to_path_buf(), Path::to_path_buf);

    let mut problems = Vec::new();
    let mut table = Table::default();
    for path in &paths {
        match read_table(path, &shown) {
            Ok(read) => table.overlay(read),
            Err(_) if is_dockerfile(path) => problems.push(no_project_file(path, &shown(path))),
            Err(mut found) => problems.append(&mut found),
        }
    }
    if !problems.is_empty() {
        return Err(problems.into());
    }

    let mut scope = Scope::new(request);
    scope.read(table.entries.get("vars"), &DiskFiles, &shown, &mut problems);
    let vars = scope.variables(&table);
    let epoch = source_date_epoch(request, &mut problems);
    let mut reading = Reading::new(Box::new(|name| scope.get(name)));
    let mut native = native::read(&table, &root, epoch, &request.environment, &mut reading);
    problems.append(&mut reading.problems);
    drop(reading);
    let finds = discover(&mut native, &root, &vars, &mut problems);
    let platforms_span = table.entries.get("platforms").map(|entry: &Entry| entry.node.span.clone());
    let mut project = finish(native, finds, file, root, vars);
    (project.mentioned, project.defaults) = scope.uses(&table);
    for (group, entry) in group_keys(&table) {
        if project.components.keys().chain(project.externals.keys()).any(|name| name.as_str() == group) {
            problems.push(ConfigProblem::Invalid {
                message: format!("`{group}` is both a group and a component"),
                help: Some("give one of them another name: on a command line a name means one thing".to_owned()),
                span: Some(entry.key.clone()),
            });
        }
    }
    if project.platforms.is_empty()
        && problems.is_empty()
        && let Some(span) = platforms_span
    {
        problems.push(ConfigProblem::Invalid {
            message: "`platforms` is empty".to_owned(),
            help: Some("name what to build for, such as platforms = [\"linux/amd64\", \"linux/arm64\"]".to_owned()),
            span: Some(span),
        });
    }
    if problems.is_empty() { Ok(project) } else { Err(problems.into()) }
}

/// Whether somebody used `-f` as `docker build` has it.
fn is_dockerfile(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_file() && (name.contains("dockerfile") || name.contains("containerfile"))
}

fn no_project_file(path: &Path, shown: &Path) -> ConfigProblem {
    ConfigProblem::Invalid {
        message: format!("`{}` is a Dockerfile, and `-f` names a project file", path.display()),
        help: Some(format!("list it in a `{PROJECT_FILE}`:\n[component.NAME]\ndockerfile = \"{}\"", shown.display())),
        span: None,
    }
}

/// The names of `[group]`.
fn group_keys(table: &Table) -> impl Iterator<Item = (&String, &Entry)> {
    let groups = match table.entries.get("group").map(|entry| &entry.node.value) {
        Some(Value::Table(groups)) => Some(&groups.entries),
        _ => None,
    };
    groups.into_iter().flatten()
}

/// The nearest project file in `directory` or above it.
fn find(directory: &Path) -> Result<PathBuf, ConfigProblem> {
    directory
        .ancestors()
        .map(|folder| folder.join(PROJECT_FILE))
        .find(|path| path.is_file())
        .ok_or_else(|| ConfigProblem::NoProject { directory: directory.to_path_buf() })
}

fn read_table(path: &Path, shown: &dyn Fn(&Path) -> PathBuf) -> Result<Table, Vec<ConfigProblem>> {
    let text = DiskFiles
        .read_text(path)
        .map_err(|source| vec![ConfigProblem::Unreadable { path: path.to_path_buf(), source, span: None }])?;
    let directory: Arc<Path> = path.parent().unwrap_or_else(|| Path::new("")).into();
    parse_toml(&SourceText::new(shown(path), text), &directory)
}

fn source_date_epoch(request: &LoadRequest, problems: &mut Vec<ConfigProblem>) -> Option<Epoch> {
    let text = request.environment.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(epoch) => Some(epoch),
        Err(error) => {
            problems.push(ConfigProblem::Invalid {
                message: format!("SOURCE_DATE_EPOCH: {error}"),
                help: Some("set it to a number, such as the output of `git log -1 --format=%ct`".to_owned()),
                span: None,
            });
            None
        }
    }
}

/// Adds what the roots of `[discover]` hold to the components and externals.
fn discover(
    native: &mut Native,
    root: &Path,
    vars: &IndexMap<String, super::Variable>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<Find> {
    let Some(spec) = &native.discover else { return Vec::new() };
    let read_dependency = |path: &Path| read_dependency(path, root, vars);
    let discovery = Discovery {
        spec,
        root,
        components: &mut native.components,
        externals: &mut native.externals,
        read_dependency: &read_dependency,
        problems,
        finds: Vec::new(),
    };
    discovery.run()
}

/// The external that a `dependency.conf` names; a template is rendered first.
fn read_dependency(
    path: &Path,
    root: &Path,
    vars: &IndexMap<String, super::Variable>,
) -> Result<ExternalSpec, Vec<ConfigProblem>> {
    let shown = path.strip_prefix(root).unwrap_or(path).to_path_buf();
    let text = DiskFiles
        .read_text(path)
        .map_err(|source| vec![ConfigProblem::Unreadable { path: shown.clone(), source, span: None }])?;
    let mut source = SourceText::new(shown, text);
    if path.extension().is_some_and(|extension| extension == "tpl") {
        source = SourceText::new(source.path(), render(&source, vars)?.text);
    }
    let invalid = |message: String, line: usize| {
        let help = "write one image reference; comments begin with `#`".to_owned();
        vec![ConfigProblem::Invalid { message, help: Some(help), span: Some(source.line_span(line)) }]
    };
    let image =
        dependency(source.text()).map_err(|reason| invalid(format!("this is not a dependency: {reason}"), 1))?;
    let offset = source.text().find(image).unwrap_or_default();
    let span = source.span(offset..offset + image.len());
    let reference: Reference = image.parse().map_err(|error| invalid(format!("{error}"), span.line()))?;
    Ok(ExternalSpec {
        span: Some(span.clone()),
        image: Spanned::new(reference, span),
        platforms: None,
        published: None,
        foreign: Vec::new(),
        exclude: None,
    })
}

/// What git says as labels, and as annotations of manifests and index; what is written wins.
fn add_metadata(
    spec: &mut ComponentSpec,
    metadata: &[(&'static str, Spanned<String>)],
    epoch: Option<Epoch>,
    tag: Option<&Spanned<Tag>>,
) {
    let mut all: Vec<(&str, Spanned<String>)> = metadata.to_vec();
    let time = epoch.and_then(|epoch| jiff::Timestamp::from_second(i64::try_from(epoch.seconds()).ok()?).ok());
    all.extend(time.map(|time| ("org.opencontainers.image.created", Spanned::unplaced(time.to_string()))));
    if let Some(tag) = spec.tag.as_ref().or(tag) {
        let version = Spanned { value: tag.value.to_string(), span: tag.span.clone() };
        all.push(("org.opencontainers.image.version", version));
    }
    for (key, value) in all {
        for level in [AnnotationLevel::Manifest, AnnotationLevel::Index] {
            if !spec.solve.annotations.iter().any(|own| own.key == key && own.level == level) {
                let (key, value) = (key.to_owned(), value.value.clone());
                spec.solve.annotations.push(AnnotationSpec { level, platform: None, key, value });
            }
        }
        spec.labels.entry(key.to_owned()).or_insert(value);
    }
}

/// Fills in the defaults.
fn finish(
    native: Native,
    finds: Vec<Find>,
    file: PathBuf,
    root: PathBuf,
    vars: IndexMap<String, super::Variable>,
) -> Project {
    let context = native.context.unwrap_or_else(|| Spanned::unplaced(ContextRef::Directory(root.clone())));
    let tag = native.tag.clone();
    let components = native.components.into_iter().map(|(name, raw)| {
        let mut spec = raw.rest;
        spec.span = header_or_root(raw.header.as_ref(), native.discover.as_ref());
        let own = raw.context.unwrap_or_else(|| context.clone());
        spec.dockerfile = raw.dockerfile.unwrap_or_else(|| {
            let folder = match &own.value {
                ContextRef::Directory(path) => path.clone(),
                ContextRef::Component(_) | ContextRef::Remote(_) => root.clone(),
            };
            if spec.dockerfile_inline.is_none() {
                spec.dockerfile_fetched = Some("Dockerfile".to_owned());
            }
            Spanned { value: folder.join("Dockerfile"), span: raw.header.clone() }
        });
        spec.dockerfile_fetched = spec.dockerfile_fetched.and_then(|path| fetched_dockerfile(&own.value, &path));
        for variation in spec.variations.values_mut() {
            variation.dockerfile_fetched =
                variation.dockerfile_fetched.take().and_then(|path| fetched_dockerfile(&own.value, &path));
        }
        spec.context = own;
        for (key, value) in &native.labels {
            spec.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        for template in &native.templates {
            if !spec.templates.iter().any(|own| own.value == template.value) {
                spec.templates.push(template.clone());
            }
        }
        if let Some(metadata) = &native.metadata {
            add_metadata(&mut spec, metadata, native.epoch, tag.as_ref());
        }
        (name, spec)
    });
    let folder_name = root.file_name().map(|name| name.to_string_lossy().into_owned());
    Project {
        name: native.name.map_or_else(|| folder_name.unwrap_or_else(|| "project".to_owned()), |name| name.value),
        platforms: native.platforms.map(|(platforms, _)| platforms).unwrap_or_default(),
        image: native.image.unwrap_or_else(|| Spanned::unplaced("{component}".to_owned())),
        tag: native.tag.unwrap_or_else(|| Spanned::unplaced(Tag::latest())),
        registries: native.registries,
        arch_tags: native.arch_tags,
        epoch: native.epoch,
        vars,
        components: components.collect(),
        externals: native.externals,
        services: native.services,
        builders: native.builders,
        groups: native.groups,
        mentioned: std::collections::BTreeSet::new(),
        defaults: IndexMap::new(),
        finds,
        unselected: IndexMap::new(),
        warnings: Vec::new(),
        file,
        root,
    }
}
