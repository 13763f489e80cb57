use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{CellBuild, Component, ContextSource, Plan};
use crate::base::{CellId, ComponentName, NetworkMode, Platform, SolveOptions, shown_url};
use crate::config::{Project, SecretSpec};

/// The plan as a bake file in JSON that builds the same images: a target for each component, or for each of its platforms
/// that differ, references as tags, and edges as `contexts`. Services, externals and needs without a context have no
/// counterpart in bake.
///
/// Paths are relative to the project's folder, where bake has to be started. All texts are escaped: bake reads templates.
pub fn bake_document(project: &Project, plan: &Plan) -> Value {
    let mut targets: BTreeMap<String, Value> = BTreeMap::new();
    let mut members: BTreeMap<&ComponentName, Vec<String>> = BTreeMap::new();
    let mut names: BTreeMap<&CellId, String> = BTreeMap::new();
    // What is needed first: whoever needs it refers to the names of its targets.
    let mut components: Vec<&Component> = plan.components.iter().collect();
    components.sort_by_key(|component| component.phase);
    for component in components {
        let mut distinct: Vec<(Map<String, Value>, Vec<&CellId>)> = Vec::new();
        for cell in plan.cells.iter().filter(|cell| cell.id.component == component.name) {
            let Some(build) = cell.build() else { continue };
            let target = target(plan, build, &names);
            match distinct.iter_mut().find(|(known, _)| *known == target) {
                Some((_, cells)) => cells.push(&cell.id),
                None => distinct.push((target, vec![&cell.id])),
            }
        }
        let several = distinct.len() > 1;
        for (mut target, cells) in distinct {
            let name = target_name(&component.name, cells.first().filter(|_| several).map(|id| &id.platform));
            let tags: Vec<String> = component.references.iter().map(ToString::to_string).collect();
            let platforms: Vec<String> = cells.iter().map(|id| id.platform.to_string()).collect();
            target.insert("tags".to_owned(), json!(tags));
            target.insert("platforms".to_owned(), json!(platforms));
            targets.insert(name.clone(), Value::Object(target));
            names.extend(cells.into_iter().map(|id| (id, name.clone())));
            members.entry(&component.name).or_default().push(name);
        }
    }
    let mut groups: BTreeMap<String, Value> = BTreeMap::new();
    groups.insert("default".to_owned(), json!({ "targets": members.values().flatten().collect::<Vec<_>>() }));
    for (name, of) in project.groups.iter().filter(|(name, _)| *name != "default") {
        let all: Vec<&String> = of.iter().filter_map(|member| members.get(&member.value)).flatten().collect();
        groups.insert(name.replace('.', "_"), json!({ "targets": all }));
    }
    for (component, names) in members.iter().filter(|(_, names)| names.len() > 1) {
        groups.entry(target_name(component, None)).or_insert_with(|| json!({ "targets": names }));
    }
    json!({ "group": groups, "target": targets })
}

/// A name that bake takes: no dots, no slashes.
fn target_name(component: &ComponentName, platform: Option<&Platform>) -> String {
    let suffix = platform.map(|platform| format!("_{}", platform.short().replace('/', "-"))).unwrap_or_default();
    format!("{}{suffix}", component.as_str().replace('.', "_"))
}

fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

fn texts<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    Value::Object(pairs.into_iter().map(|(name, value)| (name.clone(), json!(escaped(value)))).collect())
}

/// `path` as seen from `from`.
fn relative(path: &Path, from: &Path) -> String {
    let common = path.components().zip(from.components()).take_while(|(left, right)| left == right).count();
    let up = from.components().skip(common).map(|_| std::path::Component::ParentDir);
    let parts: std::path::PathBuf = up.chain(path.components().skip(common)).collect();
    if parts.as_os_str().is_empty() { ".".to_owned() } else { escaped(&parts.to_string_lossy()) }
}

fn target(plan: &Plan, build: &CellBuild, names: &BTreeMap<&CellId, String>) -> Map<String, Value> {
    let mut out = Map::new();
    let mut set = |name: &str, value: Value| {
        let empty = match &value {
            Value::Object(entries) => entries.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Null => true,
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if !empty {
            out.insert(name.to_owned(), value);
        }
    };
    let source = |source: &ContextSource| match source {
        ContextSource::Directory(path) => relative(path, &plan.root),
        ContextSource::Remote(url) => escaped(&shown_url(url)),
        ContextSource::Cell(other) => format!("target:{}", names.get(other).map_or("", String::as_str)),
    };
    set("context", json!(source(&build.context)));
    match (&build.rendered, &build.context) {
        _ if build.fetched.is_some() => set("dockerfile", json!(build.fetched.as_deref().map(escaped))),
        (Some(text), _) => set("dockerfile-inline", json!(escaped(text))),
        (None, ContextSource::Directory(context)) => set("dockerfile", json!(relative(&build.dockerfile, context))),
        (None, _) => set("dockerfile", json!(escaped(&build.dockerfile.to_string_lossy()))),
    }
    // A stage of another platform has its own entry, which bake has no name for: the target stands for all of its platforms.
    let contexts = build.contexts.iter().map(|context| {
        let name = context.name.split("::").next().unwrap_or_default();
        (name.to_owned(), json!(source(&context.source)))
    });
    set("contexts", Value::Object(contexts.collect()));
    set("args", texts(&build.args));
    set("labels", texts(&build.labels));
    set("target", json!(build.target.as_deref().map(escaped)));
    let secrets = build.secrets.iter().map(|(id, secret)| match secret {
        SecretSpec::File(path) => json!({ "id": escaped(id), "src": relative(path, &plan.root) }),
        SecretSpec::Environment(name) => json!({ "id": escaped(id), "env": escaped(name) }),
    });
    set("secret", secrets.collect());
    let ssh = build.ssh.iter().map(|(id, path)| match path {
        Some(path) => json!({ "id": escaped(id), "paths": [relative(path, &plan.root)] }),
        None => json!({ "id": escaped(id) }),
    });
    set("ssh", ssh.collect());
    set("extra-hosts", texts(build.extra_hosts.iter().map(|(name, address)| (name, address))));
    set("no-cache", json!(build.no_cache.then_some(true)));
    options(&build.options, &mut set);
    out
}

fn options(options: &SolveOptions, set: &mut impl FnMut(&str, Value)) {
    let annotations = options.annotations.iter().map(|(key, value)| json!(escaped(&format!("manifest:{key}={value}"))));
    set("annotations", annotations.collect());
    set("attest", options.attestations.iter().map(|(kind, settings)| json!(attest(kind, settings))).collect());
    set(
        "network",
        match options.network {
            NetworkMode::Default => Value::Null,
            NetworkMode::Host => json!("host"),
            NetworkMode::None => json!("none"),
        },
    );
    set("entitlements", json!(options.entitlements));
    set("shm-size", json!(options.shm_bytes.map(|bytes| bytes.to_string())));
    set("ulimits", json!(options.ulimits));
    set("no-cache-filter", json!(options.no_cache_stages));
    set("pull", json!(options.pull.then_some(true)));
}

fn attest(kind: &str, settings: &str) -> String {
    let comma = if settings.is_empty() { "" } else { "," };
    escaped(&format!("type={kind}{comma}{settings}"))
}
