//! Compose files to one model: documents merged in order, `include` and `extends` resolved, values interpolated.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::SourceText;
use crate::config::error::ConfigProblem;
use crate::config::files::ReadText;
use crate::config::paths::{folder_of, join_path};

use super::casts::cast;
use super::dotenv;
use super::interpolate::{interpolate, substitute};
use super::merge::merge;
use super::paths::{default_contexts, resolve_paths};
use super::running;
use super::schema;
use super::yaml::{self, Kind, Mark, Node};

/// Where files are and what they may use.
#[derive(Clone)]
pub(crate) struct Surroundings<'a> {
    /// The working directory: every path is relative to it.
    pub(crate) directory: &'a Path,
    /// For interpolation.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) reader: &'a dyn ReadText,
}

/// Files that include or extend each other deeper than this are refused.
const MAX_DEPTH: usize = 20;

type Problems = Vec<ConfigProblem>;

/// The environment with what `.env` in `folder` adds to it.
pub(crate) fn with_dotenv(
    reader: &dyn ReadText,
    directory: &Path,
    folder: &str,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ConfigProblem> {
    let path = join_path(folder, ".env");
    let Ok(text) = reader.read_text(&directory.join(&path)) else { return Ok(environment.clone()) };
    let values = dotenv::parse(&text, environment).map_err(|error| invalid(format!("`{path}`: {error}"), None))?;
    let mut all = values;
    all.extend(environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(all)
}

fn invalid(message: String, node: Option<&Node>) -> ConfigProblem {
    ConfigProblem::Invalid { message, help: None, span: node.map(|node| node.span.clone()) }
}

/// The environment in which a project's name is known: the top-level `name`, or what was set outside.
fn named<'a>(texts: &[SourceText], surroundings: &Surroundings<'a>) -> Surroundings<'a> {
    let mut named = surroundings.clone();
    for document in texts.iter().filter_map(|text| yaml::parse(text).ok()).flatten() {
        if let Some(name) = document.get("name").and_then(Node::as_str)
            && let Ok(name) = substitute(name, &surroundings.environment, 0)
            && !name.is_empty()
        {
            named.environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name);
        }
    }
    named
}

/// Reads files as one project; all paths in the result are relative to the working directory.
pub(crate) fn load(texts: &[SourceText], surroundings: &Surroundings<'_>) -> Result<Node, Problems> {
    let surroundings = &named(texts, surroundings);
    let mut model = None;
    for text in texts {
        let mut open = vec![text.path().to_string_lossy().into_owned()];
        model = Some(load_file(text, model, surroundings, "", &mut open)?);
    }
    let model = model.ok_or_else(|| vec![invalid("no compose file".to_owned(), None)])?;
    let empty = ["services", "secrets"].iter().all(|name| model.get(name).is_none());
    if empty {
        let message = "this compose file has no services".to_owned();
        let span = Some(model.span.clone());
        return Err(vec![ConfigProblem::Invalid { message, help: None, span }]);
    }
    Ok(model)
}

/// Puts the documents of a file over `model`; the paths that they hold are relative to `folder`.
fn load_file(
    text: &SourceText,
    model: Option<Node>,
    surroundings: &Surroundings<'_>,
    folder: &str,
    open: &mut Vec<String>,
) -> Result<Node, Problems> {
    let mut model = model;
    for mut document in read(text, surroundings)? {
        resolve_paths(&mut document, folder, &surroundings.environment);
        include(&mut document, surroundings, folder, open)?;
        apply_extends(&mut document, surroundings)?;
        model = Some(match model {
            Some(model) => merge(model, document, ""),
            None => document,
        });
    }
    model.ok_or_else(|| vec![invalid(format!("`{}` is empty", text.path().display()), None)])
}

/// The documents of a file, interpolated, each a mapping.
fn read(text: &SourceText, surroundings: &Surroundings<'_>) -> Result<Vec<Node>, Problems> {
    let mut documents = yaml::parse(text).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    for document in &mut documents {
        if document.as_map().is_none() {
            problems.push(invalid(format!("a compose file is a mapping, this is {}", document.what()), Some(document)));
        }
        interpolate(document, &surroundings.environment, &mut problems);
        cast(document, &mut Vec::new(), &mut problems);
        running::check(document, &mut problems);
        schema::check_names(document, &mut problems);
        forget_resets(document);
    }
    if problems.is_empty() { Ok(documents) } else { Err(problems) }
}

/// `!reset` inside lists means that the item is not there; in mappings it is needed for merging.
fn forget_resets(node: &mut Node) {
    match &mut node.kind {
        Kind::List(items) => {
            items.retain(|item| item.mark != Some(Mark::Reset));
            for item in items {
                forget_resets(item);
            }
        }
        Kind::Map(entries) => {
            for (_, value) in entries {
                forget_resets(value);
            }
        }
        _ => {}
    }
}

pub(super) fn entry_mut<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    match &mut node.kind {
        Kind::Map(entries) => entries.iter_mut().find(|(own, _)| own == name).map(|(_, node)| node),
        _ => None,
    }
}

fn remove(node: &mut Node, name: &str) -> Option<Node> {
    let Kind::Map(entries) = &mut node.kind else { return None };
    let at = entries.iter().position(|(own, _)| own == name)?;
    Some(entries.remove(at).1)
}

fn text_list(node: Option<&Node>) -> Vec<String> {
    match node.map(|node| &node.kind) {
        Some(Kind::Text(text)) => vec![text.clone()],
        Some(Kind::List(items)) => items.iter().filter_map(Node::scalar).collect(),
        _ => Vec::new(),
    }
}

/// Reads the files of `include` and puts their services and secrets beside those of the document.
fn include(
    document: &mut Node,
    surroundings: &Surroundings<'_>,
    folder: &str,
    open: &mut Vec<String>,
) -> Result<(), Problems> {
    let Some(list) = remove(document, "include") else { return Ok(()) };
    let Kind::List(items) = &list.kind else {
        if list.kind == Kind::Null {
            return Ok(());
        }
        return Err(vec![invalid(format!("`include` must be a list, this is {}", list.what()), Some(&list))]);
    };
    for item in items {
        let paths = match &item.kind {
            Kind::Text(path) => vec![path.clone()],
            _ => text_list(item.get("path")),
        };
        let Some(first) = paths.first() else {
            return Err(vec![invalid("an include without a `path`".to_owned(), Some(item))]);
        };
        let main = join_path(folder, first);
        if open.contains(&main) || open.len() > MAX_DEPTH {
            open.push(main);
            return Err(vec![invalid(format!("files include each other: {}", open.join(" -> ")), Some(item))]);
        }
        let project = item.get("project_directory").and_then(Node::scalar);
        let inner_folder = project.map_or_else(|| folder_of(&main), |project| join_path(folder, &project));
        let mut inner = surroundings.clone();
        inner.environment = include_environment(item, surroundings, folder, &inner_folder)?;
        open.push(main);
        let mut model = None;
        for path in &paths {
            let text = read_text(&join_path(folder, path), surroundings, item)?;
            model = Some(load_file(&text, model, &inner, &inner_folder, open)?);
        }
        open.pop();
        if let Some(mut model) = model {
            default_contexts(&mut model, &inner_folder);
            import(document, model);
        }
    }
    Ok(())
}

fn include_environment(
    item: &Node,
    surroundings: &Surroundings<'_>,
    folder: &str,
    inner_folder: &str,
) -> Result<BTreeMap<String, String>, Problems> {
    let files = text_list(item.get("env_file"));
    if files.is_empty() {
        let read = with_dotenv(surroundings.reader, surroundings.directory, inner_folder, &surroundings.environment);
        return read.map_err(|problem| vec![problem]);
    }
    let mut all = BTreeMap::new();
    for file in files.iter().filter(|file| *file != "/dev/null") {
        let text = read_text(&join_path(folder, file), surroundings, item)?;
        let mut known = all.clone();
        known.extend(surroundings.environment.clone());
        let values = dotenv::parse(text.text(), &known)
            .map_err(|error| vec![invalid(format!("`{file}`: {error}"), Some(item))])?;
        all.extend(values);
    }
    all.extend(surroundings.environment.clone());
    Ok(all)
}

fn read_text(path: &str, surroundings: &Surroundings<'_>, node: &Node) -> Result<SourceText, Problems> {
    match surroundings.reader.read_text(&surroundings.directory.join(path)) {
        Ok(text) => Ok(SourceText::new(path, text)),
        Err(source) => {
            Err(vec![ConfigProblem::Unreadable { path: path.into(), source, span: Some(node.span.clone()) }])
        }
    }
}

/// Services and secrets of an included file; what the document itself says of one of that name goes over it.
fn import(document: &mut Node, mut model: Node) {
    for section in ["services", "secrets"] {
        let Some(Kind::Map(entries)) =
            entry_mut(&mut model, section).map(|node| std::mem::replace(&mut node.kind, Kind::Null))
        else {
            continue;
        };
        if entry_mut(document, section).is_none()
            && let Kind::Map(own) = &mut document.kind
        {
            let empty = Node { kind: Kind::Map(Vec::new()), span: model.span.clone(), mark: None };
            own.push((section.to_owned(), empty));
        }
        let Some(Kind::Map(own)) = entry_mut(document, section).map(|node| &mut node.kind) else { continue };
        for (name, value) in entries {
            match own.iter_mut().find(|(taken, _)| *taken == name) {
                None => own.push((name, value)),
                Some((_, taken)) => *taken = merge(value, taken.clone(), &format!("{section}.*")),
            }
        }
    }
}

/// Puts every service over the one that it extends.
fn apply_extends(document: &mut Node, surroundings: &Surroundings<'_>) -> Result<(), Problems> {
    let Some(services) = document.get("services").cloned() else { return Ok(()) };
    let Some(entries) = services.as_map() else {
        if services.kind == Kind::Null {
            return Ok(());
        }
        return Err(vec![invalid(
            format!("`services` must be a mapping, this is {}", services.what()),
            Some(&services),
        )]);
    };
    let mut resolved = Vec::with_capacity(entries.len());
    let mut problems = Vec::new();
    for (name, _) in entries {
        match extended(name, &services, surroundings, &mut Vec::new()) {
            Ok(service) => resolved.push((name.clone(), service)),
            Err(found) => problems.extend(found),
        }
    }
    if let Some(own) = entry_mut(document, "services") {
        own.kind = Kind::Map(resolved);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn extended(
    name: &str,
    services: &Node,
    surroundings: &Surroundings<'_>,
    path: &mut Vec<String>,
) -> Result<Node, Problems> {
    let Some(service) = services.get(name) else {
        return Err(vec![invalid(format!("there is no service `{name}` to extend"), Some(services))]);
    };
    let mut service = service.clone();
    let Some(extends) = remove(&mut service, "extends") else { return Ok(service) };
    let file = extends.get("file").and_then(Node::scalar);
    let base_name = match &extends.kind {
        Kind::Text(base) => Some(base.clone()),
        _ => extends.get("service").and_then(Node::scalar),
    };
    let Some(base_name) = base_name else {
        return Err(vec![invalid("`extends` names no `service`".to_owned(), Some(&extends))]);
    };
    let here = format!("{}:{name}", service.span.path().display());
    if path.contains(&here) || path.len() > MAX_DEPTH {
        path.push(here);
        return Err(vec![invalid(format!("services extend each other: {}", path.join(" -> ")), Some(&extends))]);
    }
    path.push(here);
    let base = match file {
        None => {
            if services.get(&base_name).is_none() {
                return Err(vec![invalid(format!("there is no service `{base_name}` to extend"), Some(&extends))]);
            }
            extended(&base_name, services, surroundings, path)?
        }
        Some(file) => {
            let text = read_text(&file, surroundings, &extends)?;
            let mut model: Option<Node> = None;
            for document in read(&text, surroundings)? {
                model = Some(match model {
                    Some(model) => merge(model, document, ""),
                    None => document,
                });
            }
            let mut model = model.unwrap_or_else(|| extends.clone());
            resolve_paths(&mut model, &folder_of(&file), &surroundings.environment);
            let Some(others) = model.get("services").filter(|others| others.get(&base_name).is_some()) else {
                let message = format!("there is no service `{base_name}` in `{file}`");
                return Err(vec![invalid(message, Some(&extends))]);
            };
            extended(&base_name, others, surroundings, path)?
        }
    };
    path.pop();
    Ok(merge(base, service, "services.*"))
}
