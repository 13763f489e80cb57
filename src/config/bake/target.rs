use std::collections::BTreeMap;

use crate::base::Span;

use super::entries::{Attestation, CacheEntry, Output, Policy, Resources, Secret, Ssh};

/// Texts by name; one without a value is as if it were not there.
pub(crate) type Texts = BTreeMap<String, Option<String>>;

/// A target as one or several blocks give it, or as it is resolved. `None`: not set.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_field_names, reason = "bake calls the stage `target`")]
pub(crate) struct Target {
    /// The name, without which it could not be asked for.
    pub(crate) name: String,
    /// `description`.
    pub(crate) description: String,
    /// `inherits`.
    pub(crate) inherits: Vec<String>,
    /// `annotations`.
    pub(crate) annotations: Option<Vec<String>>,
    /// `attest`.
    pub(crate) attest: Option<Vec<Attestation>>,
    /// `context`.
    pub(crate) context: Option<String>,
    /// `contexts`.
    pub(crate) contexts: Option<BTreeMap<String, String>>,
    /// `dockerfile`.
    pub(crate) dockerfile: Option<String>,
    /// `dockerfile-inline`.
    pub(crate) dockerfile_inline: Option<String>,
    /// `args`.
    pub(crate) args: Option<Texts>,
    /// `labels`.
    pub(crate) labels: Option<Texts>,
    /// `tags`.
    pub(crate) tags: Option<Vec<String>>,
    /// `cache-from`.
    pub(crate) cache_from: Option<Vec<CacheEntry>>,
    /// `cache-to`.
    pub(crate) cache_to: Option<Vec<CacheEntry>>,
    /// `target`.
    pub(crate) target: Option<String>,
    /// `secret`.
    pub(crate) secrets: Option<Vec<Secret>>,
    /// `ssh`.
    pub(crate) ssh: Option<Vec<Ssh>>,
    /// `platforms`.
    pub(crate) platforms: Option<Vec<String>>,
    /// `output`.
    pub(crate) outputs: Option<Vec<Output>>,
    /// `pull`.
    pub(crate) pull: Option<bool>,
    /// `no-cache`.
    pub(crate) no_cache: Option<bool>,
    /// `network`.
    pub(crate) network: Option<String>,
    /// `no-cache-filter`.
    pub(crate) no_cache_filter: Option<Vec<String>>,
    /// `shm-size`.
    pub(crate) shm_size: Option<String>,
    /// `ulimits`.
    pub(crate) ulimits: Option<Vec<String>>,
    /// `resources`.
    pub(crate) resources: Option<Resources>,
    /// `call`.
    pub(crate) call: Option<String>,
    /// `entitlements`.
    pub(crate) entitlements: Option<Vec<String>>,
    /// `extra-hosts`.
    pub(crate) extra_hosts: Option<Texts>,
    /// `policy`.
    pub(crate) policy: Option<Vec<Policy>>,
    /// Where the block begins, and where each attribute that is set was written.
    pub(crate) spans: BTreeMap<&'static str, Span>,
    /// Folders that relative contexts are relative to, where they follow the file.
    pub(crate) bases: Bases,
    /// Reached through another target's `contexts` only.
    pub(crate) linked: bool,
}

/// Folders of the files that set contexts; used only if paths follow the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bases {
    pub(crate) default: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) contexts: BTreeMap<String, String>,
    pub(crate) use_default: bool,
    /// The target whose context this one's refers to, if the whole value is such a reference.
    pub(crate) context_of: Option<String>,
}

/// A group: a name for several targets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: String,
    /// `description`.
    pub(crate) description: String,
    /// `targets`; `None` if that is null.
    pub(crate) targets: Option<Vec<String>>,
}

#[expect(clippy::ref_option, reason = "a field that may be unset is passed on as it is")]
fn replace<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
    if other.is_some() {
        own.clone_from(other);
    }
}

#[expect(clippy::ref_option, reason = "a field that may be unset is passed on as it is")]
fn append<T: Clone>(own: &mut Option<Vec<T>>, other: &Option<Vec<T>>) {
    if let Some(other) = other {
        own.get_or_insert_default().extend(other.iter().cloned());
    }
}

#[expect(clippy::ref_option, reason = "a field that may be unset is passed on as it is")]
fn overlay(own: &mut Option<Texts>, other: &Option<Texts>) {
    for (name, value) in other.iter().flatten().filter(|(_, value)| value.is_some()) {
        own.get_or_insert_default().insert(name.clone(), value.clone());
    }
}

/// The first place of each key, with the value that comes last.
#[expect(clippy::single_match_else, reason = "what is there and what is not are told in two arms")]
fn last_by_key<T, K: Ord>(entries: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    let mut kept: Vec<T> = Vec::with_capacity(entries.len());
    for entry in entries {
        match places.get(&key(&entry)) {
            Some(at) => kept[*at] = entry,
            None => {
                places.insert(key(&entry), kept.len());
                kept.push(entry);
            }
        }
    }
    kept
}

/// Each entry once. The order is the reference's, which moves the last entry to where a double was.
fn without_doubles<T: PartialEq>(mut entries: Vec<T>) -> Vec<T> {
    for at in (0..entries.len().saturating_sub(1)).rev() {
        let double = (at + 1..entries.len()).find(|other| entries[at] == entries[*other]);
        if let Some(double) = double {
            entries.swap_remove(double);
        }
    }
    entries
}

/// The first of equal texts; empty ones go.
fn distinct(texts: &mut Option<Vec<String>>) {
    if let Some(texts) = texts {
        let mut seen = std::collections::BTreeSet::new();
        texts.retain(|text| !text.is_empty() && seen.insert(text.clone()));
    }
}

fn filled<T>(entries: Option<Vec<T>>, tidy: impl Fn(Vec<T>) -> Vec<T>) -> Option<Vec<T>> {
    entries.filter(|entries| !entries.is_empty()).map(tidy)
}

#[expect(clippy::ref_option, reason = "a field that may be unset is passed on as it is")]
pub(crate) fn merge_cache(own: Option<Vec<CacheEntry>>, other: &Option<Vec<CacheEntry>>) -> Option<Vec<CacheEntry>> {
    let mut merged = own;
    append(&mut merged, other);
    filled(merged, without_doubles)
}

pub(crate) fn merge_outputs(own: Option<Vec<Output>>, other: Vec<Output>) -> Option<Vec<Output>> {
    let mut merged = own;
    append(&mut merged, &Some(other));
    filled(merged, without_doubles)
}

#[expect(clippy::ref_option, reason = "a field that may be unset is passed on as it is")]
pub(crate) fn merge_attests(
    own: Option<Vec<Attestation>>,
    other: &Option<Vec<Attestation>>,
) -> Option<Vec<Attestation>> {
    let mut merged = own;
    append(&mut merged, other);
    filled(merged, |all| last_by_key(all, |attest| attest.kind.clone()))
}

#[expect(clippy::ref_option, reason = "a field that may be unset is passed on as it is")]
pub(crate) fn merge_secrets(own: Option<Vec<Secret>>, other: &Option<Vec<Secret>>) -> Option<Vec<Secret>> {
    let mut merged = own;
    append(&mut merged, other);
    filled(merged, |all| last_by_key(all, |secret| secret.id.clone()))
}

#[expect(clippy::ref_option, reason = "a field that may be unset is passed on as it is")]
pub(crate) fn merge_ssh(own: Option<Vec<Ssh>>, other: &Option<Vec<Ssh>>) -> Option<Vec<Ssh>> {
    let mut merged = own;
    append(&mut merged, other);
    filled(merged, |all| last_by_key(all, |ssh| ssh.id.clone()))
}

impl Target {
    /// Puts `other` over this one, attribute by attribute: used for blocks of one name, for files and for `inherits`.
    pub(super) fn merge(&mut self, other: &Self) {
        replace(&mut self.dockerfile, &other.dockerfile);
        replace(&mut self.dockerfile_inline, &other.dockerfile_inline);
        self.merge_contexts(other);
        overlay(&mut self.args, &other.args);
        overlay(&mut self.labels, &other.labels);
        overlay(&mut self.extra_hosts, &other.extra_hosts);
        replace(&mut self.tags, &other.tags);
        replace(&mut self.target, &other.target);
        replace(&mut self.call, &other.call);
        append(&mut self.annotations, &other.annotations);
        self.attest = merge_attests(self.attest.take(), &other.attest);
        append(&mut self.policy, &other.policy);
        self.secrets = merge_secrets(self.secrets.take(), &other.secrets);
        self.ssh = merge_ssh(self.ssh.take(), &other.ssh);
        replace(&mut self.platforms, &other.platforms);
        if other.cache_from.is_some() {
            self.cache_from = merge_cache(self.cache_from.take(), &other.cache_from);
        }
        replace(&mut self.cache_to, &other.cache_to);
        replace(&mut self.outputs, &other.outputs);
        replace(&mut self.pull, &other.pull);
        replace(&mut self.no_cache, &other.no_cache);
        replace(&mut self.network, &other.network);
        append(&mut self.no_cache_filter, &other.no_cache_filter);
        replace(&mut self.shm_size, &other.shm_size);
        append(&mut self.ulimits, &other.ulimits);
        if let Some(resources) = &other.resources {
            self.resources.get_or_insert_default().overlay(resources);
        }
        if !other.description.is_empty() {
            self.description.clone_from(&other.description);
        }
        append(&mut self.entitlements, &other.entitlements);
        self.inherits.extend(other.inherits.iter().cloned());
        self.spans.extend(other.spans.iter().map(|(name, span)| (*name, span.clone())));
    }

    fn merge_contexts(&mut self, other: &Self) {
        if other.bases.default.is_some() {
            self.bases.default.clone_from(&other.bases.default);
            self.bases.use_default = other.bases.use_default;
        }
        if other.context.is_some() {
            self.context.clone_from(&other.context);
            self.bases.context.clone_from(&other.bases.context);
            self.bases.context_of.clone_from(&other.bases.context_of);
        }
        for (name, context) in other.contexts.iter().flatten() {
            self.contexts.get_or_insert_default().insert(name.clone(), context.clone());
            match other.bases.contexts.get(name) {
                Some(base) => self.bases.contexts.insert(name.clone(), base.clone()),
                None => self.bases.contexts.remove(name),
            };
        }
    }

    /// Removes doubles and empty entries; `network = "host"` needs an entitlement.
    pub(super) fn normalise(&mut self) {
        distinct(&mut self.annotations);
        self.attest = merge_attests(self.attest.take(), &None);
        distinct(&mut self.tags);
        self.secrets = merge_secrets(self.secrets.take(), &None);
        self.ssh = merge_ssh(self.ssh.take(), &None);
        distinct(&mut self.platforms);
        self.cache_from = merge_cache(self.cache_from.take(), &None);
        self.cache_to = merge_cache(self.cache_to.take(), &None);
        self.outputs = filled(self.outputs.take(), without_doubles);
        distinct(&mut self.no_cache_filter);
        distinct(&mut self.ulimits);
        if self.network.as_deref() == Some("host") {
            self.entitlements.get_or_insert_default().push("network.host".to_owned());
        }
        distinct(&mut self.entitlements);
        if let Some(contexts) = &mut self.contexts {
            contexts.retain(|_, context| !context.is_empty());
        }
        self.contexts = self.contexts.take().filter(|contexts| !contexts.is_empty());
    }

    /// Where an attribute was written, or else the target.
    pub(crate) fn span(&self, attribute: &str) -> Option<&Span> {
        self.spans.get(attribute).or_else(|| self.spans.get(BLOCK))
    }
}

/// The key of a target's own place among those of its attributes.
pub(crate) const BLOCK: &str = "";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_go_in_the_reference_order() {
        assert_eq!(without_doubles(vec!["a", "a", "b", "c", "d"]), ["a", "d", "b", "c"]);
        assert_eq!(without_doubles(vec!["a", "b", "a"]), ["a", "b"]);
        assert_eq!(last_by_key(vec![("x", 1), ("y", 2), ("x", 3)], |entry| entry.0), [("x", 3), ("y", 2)]);
    }
}
