//! The resolved bake in JSON, member by member as `docker buildx bake --print` gives it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::entries::{Attestation, CacheEntry, Output, Policy, RESOURCE_NAMES, Resources, Secret, Ssh};
use super::resolve::Selection;
use super::target::{Group, Target, Texts};

/// Groups and targets; members in the order of the reference.
pub(super) fn document(selection: &Selection) -> Value {
    let mut document = Map::new();
    if !selection.groups.is_empty() {
        let groups = selection.groups.iter().map(|(name, group)| (name.clone(), print_group(group)));
        document.insert("group".to_owned(), Value::Object(groups.collect()));
    }
    let targets = selection.targets.iter().map(|(name, target)| (name.clone(), print_target(target)));
    document.insert("target".to_owned(), Value::Object(targets.collect()));
    Value::Object(document)
}

fn print_group(group: &Group) -> Value {
    let mut members = Map::new();
    if !group.description.is_empty() {
        members.insert("description".to_owned(), json!(group.description));
    }
    members.insert("targets".to_owned(), json!(group.targets));
    Value::Object(members)
}

/// Collects what is set, in order.
struct Members(Map<String, Value>);

impl Members {
    fn set(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn text(&mut self, name: &str, text: Option<&String>) {
        self.set(name, text.map(|text| json!(text)));
    }

    fn list<T>(&mut self, name: &str, items: Option<&Vec<T>>, print: impl Fn(&T) -> Value) {
        let items = items.filter(|items| !items.is_empty());
        self.set(name, items.map(|items| Value::Array(items.iter().map(print).collect())));
    }

    fn texts(&mut self, name: &str, texts: Option<&Texts>) {
        let entries: Map<String, Value> = texts
            .into_iter()
            .flatten()
            .filter_map(|(name, text)| text.as_ref().map(|text| (name.clone(), json!(escaped(text)))))
            .collect();
        self.set(name, Some(entries).filter(|entries| !entries.is_empty()).map(Value::Object));
    }
}

/// Some texts are printed so that they could be read again.
fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

fn print_target(target: &Target) -> Value {
    let mut members = Members(Map::new());
    members.text("description", Some(&target.description).filter(|text| !text.is_empty()));
    members.list("annotations", target.annotations.as_ref(), |text| json!(escaped(text)));
    members.list("attest", target.attest.as_ref(), print_attest);
    members.text("context", target.context.as_ref());
    let contexts = target.contexts.as_ref().filter(|contexts| !contexts.is_empty());
    members.set("contexts", contexts.map(|contexts| json!(contexts)));
    members.text("dockerfile", target.dockerfile.as_ref());
    members.set("dockerfile-inline", target.dockerfile_inline.as_ref().map(|text| json!(escaped(text))));
    members.texts("args", target.args.as_ref());
    members.texts("labels", target.labels.as_ref());
    members.list("tags", target.tags.as_ref(), |text| json!(text));
    members.list("cache-from", target.cache_from.as_ref(), print_cache);
    members.list("cache-to", target.cache_to.as_ref(), print_cache);
    members.text("target", target.target.as_ref());
    members.list("secret", target.secrets.as_ref(), print_secret);
    members.list("ssh", target.ssh.as_ref(), print_ssh);
    members.list("platforms", target.platforms.as_ref(), |text| json!(text));
    members.list("output", target.outputs.as_ref(), print_output);
    members.set("pull", target.pull.map(Value::Bool));
    members.set("no-cache", target.no_cache.map(Value::Bool));
    members.text("network", target.network.as_ref());
    members.list("no-cache-filter", target.no_cache_filter.as_ref(), |text| json!(text));
    members.text("shm-size", target.shm_size.as_ref());
    members.list("ulimits", target.ulimits.as_ref(), |text| json!(text));
    members.set("resources", target.resources.as_ref().map(print_resources));
    members.text("call", target.call.as_ref());
    members.list("entitlements", target.entitlements.as_ref(), |text| json!(text));
    members.texts("extra-hosts", target.extra_hosts.as_ref());
    members.list("policy", target.policy.as_ref(), print_policy);
    Value::Object(members.0)
}

/// Attributes and `type`, names sorted.
fn with_type(attributes: &BTreeMap<String, String>, kind: &str) -> BTreeMap<String, Value> {
    let mut entry: BTreeMap<String, Value> =
        attributes.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    entry.insert("type".to_owned(), json!(kind));
    entry
}

fn print_cache(entry: &CacheEntry) -> Value {
    json!(with_type(&entry.attributes, &entry.kind))
}

fn print_output(output: &Output) -> Value {
    let mut entry = with_type(&output.attributes, &output.kind);
    if !output.destination.is_empty() {
        entry.insert("dest".to_owned(), json!(output.destination));
    }
    json!(entry)
}

fn print_attest(attest: &Attestation) -> Value {
    let mut entry = with_type(&attest.attributes, &attest.kind);
    if attest.disabled {
        entry.insert("disabled".to_owned(), Value::Bool(true));
    }
    json!(entry)
}

fn print_secret(secret: &Secret) -> Value {
    let parts = [("id", &secret.id), ("src", &secret.source), ("env", &secret.environment)];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    Value::Object(parts.map(|(name, text)| (name.to_owned(), json!(text))).collect())
}

fn print_ssh(ssh: &Ssh) -> Value {
    let mut entry = Map::new();
    if !ssh.id.is_empty() {
        entry.insert("id".to_owned(), json!(ssh.id));
    }
    if !ssh.paths.is_empty() {
        entry.insert("paths".to_owned(), json!(ssh.paths));
    }
    Value::Object(entry)
}

fn print_resources(resources: &Resources) -> Value {
    let entries = RESOURCE_NAMES.into_iter().filter_map(|name| {
        let text = resources.texts.get(name).map(|text| json!(text));
        text.or_else(|| resources.numbers.get(name).map(|number| json!(number))).map(|value| (name.to_owned(), value))
    });
    Value::Object(entries.collect())
}

/// The reference prints its own structure here, names and all.
fn print_policy(policy: &Policy) -> Value {
    let files: Vec<Value> = policy.files.iter().map(|file| json!({ "Filename": file, "Data": null })).collect();
    json!({
        "Files": if files.is_empty() { Value::Null } else { Value::Array(files) },
        "Reset": policy.reset,
        "Disabled": policy.disabled,
        "Strict": policy.strict,
        "LogLevel": policy.log_level,
    })
}
