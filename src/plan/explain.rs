use crate::base::{ComponentName, Span, shown_url};
use crate::config::{ComponentSpec, ContextRef, Project, SecretSpec};

/// One setting of a component and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, as in the project file: `args.VERSION`.
    pub key: String,
    /// The value after interpolation.
    pub value: String,
    /// Where it stands; none for a default.
    pub span: Option<Span>,
}

/// Every setting of `name` with its place; empty if there is no such component or external.
///
/// Defaults are told as such: they are settings too, and most surprises are defaults.
pub fn explain(project: &Project, name: &ComponentName) -> Vec<Setting> {
    let mut out = Vec::new();
    let mut add = |key: String, value: String, span: Option<Span>| out.push(Setting { key, value, span });
    if let Some(spec) = project.externals.get(name) {
        add("image".to_owned(), spec.image.value.to_string(), spec.image.span.clone());
        if let Some(published) = &spec.published {
            add("as".to_owned(), format!("{}:{}", published.value.0, published.value.1), published.span.clone());
        }
        let platforms = spec.platforms.as_ref().unwrap_or(&project.platforms);
        for platform in platforms {
            add("platforms".to_owned(), platform.value.to_string(), platform.span.clone());
        }
        if let Some(reason) = &spec.exclude {
            add("exclude".to_owned(), reason.value.clone(), reason.span.clone());
        }
    }
    if let Some(spec) = project.components.get(name) {
        built(project, spec, &mut add);
    }
    out
}

fn context(project: &Project, value: &ContextRef) -> String {
    match value {
        ContextRef::Component(name) => format!("component:{name}"),
        ContextRef::Directory(path) if *path == project.root => ".".to_owned(),
        ContextRef::Directory(path) => path.strip_prefix(&project.root).unwrap_or(path).display().to_string(),
        ContextRef::Remote(url) => shown_url(url).into_owned(),
    }
}

fn built(project: &Project, spec: &ComponentSpec, add: &mut dyn FnMut(String, String, Option<Span>)) {
    let shown = |path: &std::path::Path| path.strip_prefix(&project.root).unwrap_or(path).display().to_string();
    let dockerfile = match (&spec.dockerfile_fetched, &spec.dockerfile_inline) {
        (Some(path), _) => format!("{path} (in the context)"),
        (None, Some(_)) => "(inline)".to_owned(),
        (None, None) => shown(&spec.dockerfile.value),
    };
    add("dockerfile".to_owned(), dockerfile, spec.dockerfile.span.clone());
    add("context".to_owned(), context(project, &spec.context.value), spec.context.span.clone());
    if let Some(target) = &spec.target {
        add("target".to_owned(), target.value.clone(), target.span.clone());
    }
    for platform in spec.platforms.as_ref().unwrap_or(&project.platforms) {
        add("platforms".to_owned(), platform.value.to_string(), platform.span.clone());
    }
    if let Some(references) = &spec.references {
        for reference in references {
            add("tags".to_owned(), reference.value.to_string(), reference.span.clone());
        }
    } else {
        let image = spec.image.as_ref().unwrap_or(&project.image);
        add("image".to_owned(), image.value.clone(), image.span.clone());
        let tag = spec.tag.as_ref().unwrap_or(&project.tag);
        add("tag".to_owned(), tag.value.to_string(), tag.span.clone());
        for tag in &spec.tags {
            add("tags".to_owned(), tag.value.to_string(), tag.span.clone());
        }
        for prefix in spec.registries.as_ref().unwrap_or(&project.registries) {
            add("registry".to_owned(), prefix.value.to_string(), prefix.span.clone());
        }
    }
    for need in &spec.needs {
        add("needs".to_owned(), need.value.to_string(), need.span.clone());
    }
    for (key, value) in &spec.contexts {
        add(format!("contexts.{key}"), context(project, &value.value), value.span.clone());
    }
    for (key, value) in &spec.args {
        add(format!("args.{key}"), value.value.clone(), value.span.clone());
    }
    for (key, value) in &spec.labels {
        add(format!("labels.{key}"), value.value.clone(), value.span.clone());
    }
    for (id, secret) in &spec.secrets {
        let value = match &secret.value {
            SecretSpec::File(path) => format!("file {}", shown(path)),
            SecretSpec::Environment(name) => format!("environment {name}"),
        };
        add(format!("secrets.{id}"), value, secret.span.clone());
    }
    if spec.no_cache {
        add("no-cache".to_owned(), "true".to_owned(), spec.span.clone());
    }
    for template in &spec.templates {
        add("templates".to_owned(), shown(&template.value), template.span.clone());
    }
    if let Some(reason) = &spec.exclude {
        add("exclude".to_owned(), reason.value.clone(), reason.span.clone());
    }
    for (platform, variation) in &spec.variations {
        let key = |name: &str| format!("platform.{platform}.{name}");
        if let Some(dockerfile) = &variation.dockerfile {
            let fetched = variation.dockerfile_fetched.as_ref().map(|path| format!("{path} (in the context)"));
            let text = fetched.unwrap_or_else(|| shown(&dockerfile.value));
            add(key("dockerfile"), text, dockerfile.span.clone());
        }
        if let Some(target) = &variation.target {
            add(key("target"), target.value.clone(), target.span.clone());
        }
        for (name, value) in &variation.args {
            add(key(&format!("args.{name}")), value.value.clone(), value.span.clone());
        }
        if let Some(reason) = &variation.exclude {
            add(key("exclude"), reason.value.clone(), reason.span.clone());
        }
    }
}
