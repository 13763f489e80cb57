//! `[component.NAME]`: its keys, and those of `platform.*` and `secrets.*` below it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    NameTemplate, RawComponent, context, foreign, named_context, names_list, narrower, platform_help, reason,
    registries, texts,
};
use crate::base::{Platform, Spanned};
use crate::config::document::{Entry, Node, Value};
use crate::config::project::{ComponentSpec, SecretSpec, Variation};
use crate::config::reader::{Reading, TableReader, resolve};
use crate::config::solve_keys;
use crate::config::templates::templates;
use crate::config::vary::Varied;

/// Every key of a component, in the order of the documentation.
pub(in crate::config) const COMPONENT_KEYS: [&str; 34] = [
    "inherits",
    "matrix",
    "dockerfile",
    "dockerfile-inline",
    "context",
    "target",
    "needs",
    "contexts",
    "args",
    "labels",
    "no-cache",
    "platforms",
    "foreign",
    "templates",
    "exclude",
    "image",
    "tag",
    "tags",
    "registry",
    "platform",
    "secrets",
    "ssh",
    "extra-hosts",
    "annotations",
    "network",
    "entitlements",
    "shm-size",
    "ulimits",
    "no-cache-filter",
    "pull",
    "cache-from",
    "cache-to",
    "attest",
    "cgroup-parent",
];

pub(super) fn component(
    reading: &mut Reading<'_>,
    names: &NameTemplate<'_>,
    varied: &Varied,
    environment: &BTreeMap<String, String>,
) -> RawComponent {
    let mut reader = TableReader::new(format!("[component.{}]", varied.name), &varied.table);
    // Resolved before.
    reader.take("inherits");
    reader.take("matrix");
    let (dockerfile, written) = dockerfile_of(reading, &mut reader);
    let context_spec = reader.take("context").and_then(|node| context(reading, "context", node));
    let mut spec = ComponentSpec::new(Some(varied.key.clone()));
    // Whether the context is fetched is known when the defaults are filled in.
    spec.dockerfile_fetched = written;
    spec.dockerfile_inline =
        reader.take("dockerfile-inline").and_then(|node| reading.nonempty("dockerfile-inline", node));
    if let (Some(_), Some(text)) = (&dockerfile, &spec.dockerfile_inline)
        && let Some(span) = &text.span
    {
        let help = "keep one of them: the text, or the file".to_owned();
        reading.invalid(span, "there is a `dockerfile` as well".to_owned(), help);
    }
    spec.target = reader.take("target").and_then(|node| reading.nonempty("target", node));
    spec.needs = reader.take("needs").map(|node| names_list(reading, "needs", node)).unwrap_or_default();
    if let Some(table) = reader.take("contexts").and_then(|node| reading.table("contexts", node)) {
        for (key, entry) in &table.entries {
            if let Some(context) = named_context(reading, key, &entry.node) {
                spec.contexts.insert(key.clone(), context);
            }
        }
    }
    if let Some(node) = reader.take("args") {
        args(reading, node, &mut spec);
    }
    spec.labels = reader.take("labels").map(|node| texts(reading, "labels", node)).unwrap_or_default();
    spec.no_cache = reader.take("no-cache").and_then(|node| reading.flag("no-cache", node)).unwrap_or_default();
    spec.platforms = reader.take("platforms").map(|node| narrower(reading, node));
    spec.foreign = reader.take("foreign").map(|node| foreign(reading, node)).unwrap_or_default();
    spec.templates = reader.take("templates").map(|node| templates(reading, node)).unwrap_or_default();
    spec.exclude = reader.take("exclude").and_then(|node| reason(reading, node));
    spec.image = reader.take("image").and_then(|node| reading.nonempty("image", node));
    spec.tag = reader.take("tag").and_then(|node| names.tag(reading, node));
    for item in reader.take("tags").map(|node| reading.list("tags", node)).unwrap_or_default() {
        spec.tags.extend(names.tag(reading, item));
    }
    spec.registries = reader.take("registry").map(|node| registries(reading, node));
    if let Some(table) = reader.take("platform").and_then(|node| reading.table("platform", node)) {
        for (key, entry) in &table.entries {
            variation(reading, &varied.name, key, entry, &mut spec);
        }
    }
    if let Some(table) = reader.take("secrets").and_then(|node| reading.table("secrets", node)) {
        for (id, entry) in &table.entries {
            if let Some(secret) = secret(reading, id, &entry.node) {
                spec.secrets.insert(id.clone(), secret);
            }
        }
    }
    for item in reader.take("ssh").map(|node| reading.list("ssh", node)).unwrap_or_default() {
        if let Some(id) = reading.nonempty("ssh", item) {
            spec.ssh.insert(id.value, None);
        }
    }
    if let Some(node) = reader.take("extra-hosts") {
        spec.extra_hosts =
            texts(reading, "extra-hosts", node).into_iter().map(|(host, address)| (host, address.value)).collect();
    }
    solve_keys::read(&mut reader, reading, &mut spec, environment);
    reader.finish(reading);
    RawComponent { header: Some(varied.key.clone()), dockerfile, context: context_spec, rest: spec }
}

/// `dockerfile` as a file of this machine, and as written.
fn dockerfile_of(
    reading: &mut Reading<'_>,
    reader: &mut TableReader<'_>,
) -> (Option<Spanned<PathBuf>>, Option<String>) {
    let Some(node) = reader.take("dockerfile") else { return (None, None) };
    match reading.nonempty("dockerfile", node) {
        Some(text) => {
            let path = resolve(&node.directory, &text.value);
            (Some(Spanned { value: path, span: text.span }), Some(text.value))
        }
        None => (None, None),
    }
}

/// `[component.NAME.platform."linux/arm64"]`: what is different there.
fn variation(reading: &mut Reading<'_>, name: &str, key: &str, entry: &Entry, spec: &mut ComponentSpec) {
    let platform: Platform = match key.parse() {
        Ok(platform) => platform,
        Err(error) => {
            let help = platform_help(&error);
            reading.invalid(&entry.key, error.to_string(), help);
            return;
        }
    };
    let Some(table) = reading.table(key, &entry.node) else { return };
    let mut reader = TableReader::new(format!("[component.{name}.platform.\"{key}\"]"), table);
    let (dockerfile, dockerfile_fetched) = dockerfile_of(reading, &mut reader);
    let variation = Variation {
        span: Some(entry.key.clone()),
        dockerfile,
        dockerfile_fetched,
        target: reader.take("target").and_then(|node| reading.nonempty("target", node)),
        args: reader.take("args").map(|node| texts(reading, "args", node)).unwrap_or_default(),
        exclude: reader.take("exclude").and_then(|node| reason(reading, node)),
    };
    reader.finish(reading);
    if spec.variations.insert(platform.clone(), variation).is_some() {
        reading.invalid(&entry.key, format!("`{platform}` is described twice"), "join the two tables".to_owned());
    }
}

/// `args = { NAME = "value" }`, or `args = ["NAME"]` for variables under their own names.
fn args(reading: &mut Reading<'_>, node: &Node, spec: &mut ComponentSpec) {
    if let Value::List(items) = &node.value {
        for item in items {
            let Some(name) = reading.nonempty("args", item) else { continue };
            if let Some(value) = reading.interpolated(&format!("${{{}}}", name.value), &item.span) {
                spec.args.insert(name.value, Spanned { value, span: name.span });
            }
        }
        return;
    }
    spec.args = texts(reading, "args", node);
}

fn secret(reading: &mut Reading<'_>, id: &str, node: &Node) -> Option<Spanned<SecretSpec>> {
    let help = format!("write {id} = {{ env = \"NAME\" }} or {id} = {{ file = \"path\" }}");
    let Value::Table(table) = &node.value else {
        reading.invalid(&node.span, format!("the secret `{id}` must say where its value is"), help);
        return None;
    };
    let mut reader = TableReader::new(format!("the secret `{id}`"), table);
    let env = reader.take("env").and_then(|node| reading.nonempty("env", node));
    let file = reader.take("file").and_then(|node| reading.path("file", node));
    reader.finish(reading);
    let value = match (env, file) {
        (Some(name), None) => SecretSpec::Environment(name.value),
        (None, Some(path)) => SecretSpec::File(path.value),
        _ => {
            reading.invalid(&node.span, format!("the secret `{id}` must come from one place"), help);
            return None;
        }
    };
    Some(Spanned::new(value, node.span.clone()))
}
