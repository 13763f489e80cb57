//! `--set PATTERN.KEY[.SUB][+]=VALUE`.

use std::collections::BTreeMap;

use crate::base::did_you_mean;
use crate::config::error::ConfigProblem;

use super::entries::{Attestation, CacheEntry, Entry, Output, Policy, Secret, Ssh, parse_bool};
use super::glob;
use super::target::{Target, merge_attests, merge_cache, merge_outputs, merge_secrets, merge_ssh};

/// What all flags for one key of one target say together.
#[derive(Debug, Clone, Default)]
pub(super) struct Override {
    /// The last value, for keys that hold one.
    value: String,
    /// All values, for keys that hold a list.
    values: Vec<String>,
    /// Whether the last flag of the key was `+=`.
    append: bool,
}

/// By target, then by key with its dots.
pub(super) type Overrides = BTreeMap<String, BTreeMap<String, Override>>;

/// Keys whose values add up.
const LISTS: [&str; 13] = [
    "output",
    "cache-to",
    "cache-from",
    "tags",
    "platform",
    "secrets",
    "ssh",
    "attest",
    "entitlements",
    "annotations",
    "policy",
    // The reference loses the values of these two and empties the list.
    "no-cache-filter",
    "ulimits",
];

/// Everything that can be overridden.
const KEYS: [&str; 29] = [
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "dockerfile",
    "entitlements",
    "extra-hosts",
    "labels",
    "load",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platform",
    "policy",
    "pull",
    "push",
    "resources",
    "secret",
    "secrets",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// Reads all flags; patterns are matched against the names of all targets.
pub(super) fn parse(
    flags: &[String],
    targets: &[Target],
    environment: Option<&BTreeMap<String, String>>,
) -> Result<Overrides, ConfigProblem> {
    let mut overrides = Overrides::new();
    for flag in flags {
        let (left, value) = flag.split_once('=').map_or((flag.as_str(), None), |(left, value)| (left, Some(value)));
        let append = left.ends_with('+');
        let key = left.strip_suffix('+').unwrap_or(left);
        let mut parts = key.splitn(3, '.');
        let pattern = parts.next().unwrap_or_default();
        let Some(name) = parts.next() else {
            return Err(refused(format!("`--set {flag}`: write it as `TARGET.KEY=VALUE`")));
        };
        let sub = parts.next();
        if value.is_none() && name != "args" {
            return Err(refused(format!("`--set {flag}`: `=VALUE` is missing")));
        }
        if ["resources", "secret", "args", "contexts"].contains(&name) && sub.is_none() {
            return Err(refused(format!("`--set {flag}`: write it as `TARGET.{name}.NAME=VALUE`")));
        }
        if ["resources", "secret"].contains(&name) && append {
            return Err(refused(format!("`--set {flag}`: `{name}` cannot be appended to")));
        }
        let value = match (value, sub) {
            (Some(value), _) => value.to_owned(),
            // Without a value, a build argument is copied from the environment, if it is there.
            (None, Some(variable)) => match environment.and_then(|environment| environment.get(variable)) {
                Some(value) => value.clone(),
                None if environment.is_some() => continue,
                None => String::new(),
            },
            (None, None) => continue,
        };
        let own_key = sub.map_or_else(|| name.to_owned(), |sub| format!("{name}.{sub}"));
        for target in matching(pattern, targets)? {
            let entry = overrides.entry(target).or_default().entry(own_key.clone()).or_default();
            if LISTS.contains(&name) {
                entry.append = append;
                entry.values.push(value.clone());
            } else {
                entry.value.clone_from(&value);
            }
        }
    }
    Ok(overrides)
}

fn refused(message: String) -> ConfigProblem {
    ConfigProblem::Invalid { message, help: None, span: None }
}

fn unknown_key(target: &str, key: &str, name: &str) -> ConfigProblem {
    // The attribute of a file and the key of this flag differ in these.
    let help = match name {
        "platforms" => "the key is called `platform`".to_owned(),
        "description" | "inherits" | "matrix" | "name" | "dockerfile-inline" => {
            format!("`{name}` can only be written in the file")
        }
        _ => did_you_mean(name, KEYS)
            .map_or_else(|| format!("there are {}", KEYS.join(", ")), |near| format!("did you mean `{near}`?")),
    };
    let message = format!("`--set {target}.{key}`: there is no key `{name}`");
    ConfigProblem::Invalid { message, help: Some(help), span: None }
}

fn matching(pattern: &str, targets: &[Target]) -> Result<Vec<String>, ConfigProblem> {
    if targets.iter().any(|target| target.name == pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut names = Vec::new();
    for target in targets {
        match glob::matches(pattern, &target.name) {
            Some(true) => names.push(target.name.clone()),
            Some(false) => {}
            None => return Err(refused(format!("`{pattern}` is no pattern"))),
        }
    }
    if names.is_empty() {
        let known: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let help = match did_you_mean(pattern, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => super::resolve::listed(known),
        };
        let message = format!("no target matches `{pattern}`");
        return Err(ConfigProblem::Invalid { message, help: Some(help), span: None });
    }
    Ok(names)
}

fn entries<E: Entry>(values: &[String]) -> Result<Vec<E>, String> {
    let mut entries = Vec::new();
    for value in values.iter().filter(|value| !value.is_empty()) {
        entries.extend(E::from_text(value)?);
    }
    Ok(entries)
}

fn list(own: &mut Option<Vec<String>>, change: &Override) {
    if !change.append {
        *own = Some(Vec::new());
    }
    own.get_or_insert_default().extend(change.values.iter().cloned());
}

/// Puts the overrides of one target over it.
pub(super) fn apply(target: &mut Target, changes: &BTreeMap<String, Override>) -> Result<(), ConfigProblem> {
    let mut secrets = Vec::new();
    for (key, change) in changes {
        let (name, sub) = key.split_once('.').map_or((key.as_str(), None), |(name, sub)| (name, Some(sub)));
        match (name, sub) {
            ("secret", Some(id)) => secrets.push((id, change)),
            _ if !KEYS.contains(&name) => return Err(unknown_key(&target.name, key, name)),
            _ => apply_one(target, name, sub, change)
                .map_err(|error| refused(format!("`--set {}.{key}`: {error}", target.name)))?,
        }
    }
    for (id, change) in secrets {
        edit_secret(target, id, &change.value)
            .map_err(|error| refused(format!("`--set {}.secret.{id}`: {error}", target.name)))?;
    }
    Ok(())
}

fn apply_one(target: &mut Target, name: &str, sub: Option<&str>, change: &Override) -> Result<(), String> {
    let value = || Some(change.value.clone());
    let named = || sub.map(str::to_owned).ok_or_else(|| format!("write it as `{name}.NAME=VALUE`"));
    match name {
        "context" => target.context = value(),
        "dockerfile" => target.dockerfile = value(),
        "target" => target.target = value(),
        "call" => target.call = value(),
        "shm-size" => target.shm_size = value(),
        "network" => target.network = value(),
        "args" => {
            target.args.get_or_insert_default().insert(named()?, value());
        }
        "labels" => {
            target.labels.get_or_insert_default().insert(named()?, value());
        }
        "extra-hosts" => {
            target.extra_hosts.get_or_insert_default().insert(named()?, value());
        }
        "contexts" => {
            target.contexts.get_or_insert_default().insert(named()?, change.value.clone());
        }
        "tags" => list(&mut target.tags, change),
        "platform" => list(&mut target.platforms, change),
        "no-cache-filter" => list(&mut target.no_cache_filter, change),
        "ulimits" => list(&mut target.ulimits, change),
        "entitlements" => target.entitlements.get_or_insert_default().extend(change.values.iter().cloned()),
        "annotations" => target.annotations.get_or_insert_default().extend(change.values.iter().cloned()),
        "pull" => target.pull = Some(parse_bool(&change.value)?),
        "no-cache" => target.no_cache = Some(parse_bool(&change.value)?),
        "push" => set_push(target, parse_bool(&change.value)?),
        "load" => set_load(target, parse_bool(&change.value)?),
        "resources" => target.resources.get_or_insert_default().set(&named()?, &change.value)?,
        _ => apply_entries(target, name, change)?,
    }
    Ok(())
}

fn apply_entries(target: &mut Target, name: &str, change: &Override) -> Result<(), String> {
    let (values, append) = (&change.values, change.append);
    match name {
        "cache-from" | "cache-to" => {
            let new: Vec<CacheEntry> = entries(values)?;
            let own = if name == "cache-from" { &mut target.cache_from } else { &mut target.cache_to };
            *own = if append { merge_cache(own.take(), &Some(new)) } else { Some(new) };
        }
        "output" => {
            let new: Vec<Output> = entries(values)?;
            target.outputs = if append { merge_outputs(target.outputs.take(), new) } else { Some(new) };
        }
        "secrets" => {
            let new: Option<Vec<Secret>> = Some(entries(values)?);
            target.secrets = if append { merge_secrets(target.secrets.take(), &new) } else { new };
        }
        "ssh" => {
            let new: Option<Vec<Ssh>> = Some(entries(values)?);
            target.ssh = if append { merge_ssh(target.ssh.take(), &new) } else { new };
        }
        "attest" => {
            let new: Vec<Attestation> = entries(values)?;
            target.attest = merge_attests(target.attest.take(), &Some(new));
        }
        "policy" => {
            let new: Vec<Policy> = entries(values)?;
            if !append {
                target.policy = None;
            }
            target.policy.get_or_insert_default().extend(new);
        }
        other => return Err(format!("there is no key `{other}`")),
    }
    Ok(())
}

fn edit_secret(target: &mut Target, id: &str, value: &str) -> Result<(), String> {
    let declared = target.secrets.iter_mut().flatten().find(|secret| secret.id == id);
    let Some(secret) = declared else { return Err("no such secret is declared".to_owned()) };
    let new = Secret::from_text(value)?.pop().unwrap_or_default();
    if !new.id.is_empty() && new.id != id {
        return Err(format!("the value names another secret, `{}`", new.id));
    }
    secret.environment = new.environment;
    secret.source = new.source;
    Ok(())
}

/// `--push`: an image exporter that pushes, unless something else than docker is exported already.
fn set_push(target: &mut Target, push: bool) {
    let outputs = target.outputs.get_or_insert_default();
    if !push {
        let mut at = 0;
        while at < outputs.len() {
            match outputs[at].kind.as_str() {
                "registry" => {
                    outputs.swap_remove(at);
                    continue;
                }
                "image" => {
                    outputs[at].attributes.insert("push".to_owned(), "false".to_owned());
                }
                _ => {}
            }
            at += 1;
        }
        return;
    }
    let only_docker = outputs.iter().all(|output| output.kind == "docker");
    for output in outputs.iter_mut().filter(|output| output.kind == "image") {
        output.attributes.insert("push".to_owned(), "true".to_owned());
    }
    if only_docker {
        let mut image = Output::of_kind("image");
        image.attributes.insert("push".to_owned(), "true".to_owned());
        outputs.push(image);
    }
}

/// `--load`: a docker exporter, unless there is one without a file, or something that is no image is exported.
fn set_load(target: &mut Target, load: bool) {
    let outputs = target.outputs.get_or_insert_default();
    let satisfied = outputs.iter().any(|output| match output.kind.as_str() {
        "docker" => output.destination.is_empty(),
        "image" | "registry" | "oci" => false,
        _ => true,
    });
    if load && !satisfied {
        outputs.push(Output::of_kind("docker"));
    }
}
