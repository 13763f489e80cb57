//! Groups, `inherits` and links: from definitions to what was asked for.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::{ComponentName, did_you_mean};
use crate::config::error::ConfigProblem;

use super::entries::Output;
use super::glob;
use super::overrides::{self, Overrides};
use super::project::component_name;
use super::target::{Group, Target};

/// Everything that the files define.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    pub(super) targets: Vec<Target>,
    pub(super) groups: Vec<Group>,
}

/// What was asked for: targets with those that they link to, and groups, by name.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) targets: BTreeMap<String, Target>,
    pub(super) groups: BTreeMap<String, Group>,
}

/// `inherits` deeper than this is refused.
const MAX_DEPTH: usize = 200;

pub(super) fn refused(message: impl Into<String>) -> ConfigProblem {
    ConfigProblem::Invalid { message: message.into(), help: None, span: None }
}

/// Some of the names that there are.
pub(super) fn listed(mut known: Vec<&str>) -> String {
    known.sort_unstable();
    known.dedup();
    known.truncate(12);
    format!("there are {}", known.join(", "))
}

impl Definitions {
    /// Targets of one name made one, groups' members each once.
    #[expect(clippy::single_match_else, reason = "what is there and what is not are told in two arms")]
    pub(super) fn dedupe(&mut self) {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Target> = Vec::with_capacity(self.targets.len());
        for target in std::mem::take(&mut self.targets) {
            match places.get(&target.name) {
                Some(at) => merged[*at].merge(&target),
                None => {
                    places.insert(target.name.clone(), merged.len());
                    merged.push(target);
                }
            }
        }
        self.targets = merged;
        for targets in self.groups.iter_mut().filter_map(|group| group.targets.as_mut()) {
            let mut seen = BTreeSet::new();
            targets.retain(|name| seen.insert(name.clone()));
        }
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The groups and targets that an argument of the command line means.
    fn match_names(&self, argument: &str) -> Result<Vec<String>, ConfigProblem> {
        let pattern = argument.replace('.', "_");
        if !glob::is_pattern(&pattern) {
            return Ok(vec![pattern]);
        }
        let names = self.groups.iter().map(|group| &group.name).chain(self.targets.iter().map(|target| &target.name));
        let found: Vec<String> = names.filter(|name| glob::matches(&pattern, name) == Some(true)).cloned().collect();
        if found.is_empty() { Err(refused(format!("no target matches `{argument}`"))) } else { Ok(found) }
    }

    /// Targets that a name stands for, and the groups on the way to them.
    fn expand(
        &self,
        name: &str,
        seen: &mut HashMap<String, (Vec<String>, Vec<String>)>,
        depth: usize,
    ) -> (Vec<String>, Vec<String>) {
        if let Some(known) = seen.get(name) {
            return known.clone();
        }
        let Some(group) = self.group(name).filter(|_| depth < MAX_DEPTH) else {
            return (vec![name.to_owned()], Vec::new());
        };
        // A group that contains itself is empty at that place: then its name means a target.
        seen.insert(name.to_owned(), (Vec::new(), Vec::new()));
        let mut targets = Vec::new();
        let mut groups = vec![name.to_owned()];
        for member in group.targets.iter().flatten() {
            let (inner, through) = self.expand(member, seen, depth + 1);
            if inner.is_empty() {
                targets.push(member.clone());
            } else {
                targets.extend(inner);
            }
            groups.extend(through);
        }
        seen.insert(name.to_owned(), (targets.clone(), groups.clone()));
        (targets, groups)
    }

    /// What a project of these files is made of: `default` if there is one, else every target that is not hidden; and what
    /// the command line names beside that.
    pub(super) fn asked_by(&self, words: &[String]) -> Vec<String> {
        let default = self.group("default").is_some() || self.targets.iter().any(|target| target.name == "default");
        let mut asked: Vec<String> = if default {
            vec!["default".to_owned()]
        } else {
            let names = self.targets.iter().map(|target| &target.name);
            names.filter(|name| !name.starts_with('_')).cloned().collect()
        };
        for name in self.named(words) {
            if !asked.contains(&name) {
                asked.push(name);
            }
        }
        asked
    }

    /// The targets outside of `selection`. What is wrong with them matters to nobody who does not ask for them.
    pub(super) fn others(&self, selection: &Selection) -> Vec<Target> {
        let rest = self.targets.iter().filter(|target| !selection.targets.contains_key(&target.name));
        rest.filter_map(|target| self.resolve_target(&target.name, &Overrides::default()).ok()).collect()
    }

    /// The targets and groups that words of a command line mean: `NAME`, `NAME/PLATFORM` or a glob, of the name in the
    /// file or of the component that it becomes. A word that means nothing is left to whoever knows every component.
    pub(super) fn named(&self, words: &[String]) -> Vec<String> {
        let all: Vec<(&String, Option<ComponentName>)> = {
            let groups = self.groups.iter().map(|group| (&group.name, None));
            groups.chain(self.targets.iter().map(|target| (&target.name, component_name(&target.name)))).collect()
        };
        let mut found: Vec<String> = Vec::new();
        for word in words {
            let word = word.split('/').next().unwrap_or_default();
            let pattern = word.replace('.', "_");
            let means = |name: &str, component: Option<&ComponentName>| {
                let own = component.map(ComponentName::as_str);
                if glob::is_pattern(&pattern) {
                    glob::matches(&pattern, name) == Some(true)
                        || own.is_some_and(|own| glob::matches(word, own) == Some(true))
                } else {
                    pattern == name || own == Some(word)
                }
            };
            for (name, _) in all.iter().filter(|(name, component)| means(name, component.as_ref())) {
                if !found.contains(name) {
                    found.push((*name).clone());
                }
            }
        }
        found
    }

    /// Every group with the targets that it comes to.
    pub(super) fn expanded_groups(&self) -> Vec<(String, Vec<String>)> {
        let expand = |group: &Group| (group.name.clone(), self.expand(&group.name, &mut HashMap::new(), 0).0);
        self.groups.iter().map(expand).collect()
    }

    /// A target with what it inherits, its overrides and its defaults.
    pub(super) fn resolve_target(&self, name: &str, overrides: &Overrides) -> Result<Target, ConfigProblem> {
        let mut target = self
            .inherited(name, &mut HashMap::new(), overrides, 0)?
            .ok_or_else(|| refused(format!("the target `{name}` inherits from nothing but itself")))?;
        target.inherits = Vec::new();
        if target.context.is_none() {
            let base = target.bases.default.as_deref().filter(|_| target.bases.use_default);
            target.context = Some(base.map_or_else(|| ".".to_owned(), |base| rebased(base, ".")));
        }
        if target.dockerfile.as_deref().is_none_or(str::is_empty) {
            target.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(target)
    }

    /// `None` for a target that is being resolved already: a cycle ends there.
    fn inherited(
        &self,
        name: &str,
        seen: &mut HashMap<String, Option<Target>>,
        overrides: &Overrides,
        depth: usize,
    ) -> Result<Option<Target>, ConfigProblem> {
        if let Some(known) = seen.get(name) {
            return Ok(known.clone());
        }
        if depth > MAX_DEPTH {
            return Err(refused(format!("`inherits` goes more than {MAX_DEPTH} levels deep at `{name}`")));
        }
        let Some(own) = self.targets.iter().find(|target| target.name == name) else {
            return Err(self.unknown_target(name));
        };
        seen.insert(name.to_owned(), None);
        let mut resolved = Target::default();
        for parent in &own.inherits {
            let parent = self.inherited(parent, seen, overrides, depth + 1).map_err(|problem| match problem {
                ConfigProblem::Invalid { message, help, span: None } => {
                    ConfigProblem::Invalid { message, help, span: own.span("inherits").cloned() }
                }
                other => other,
            })?;
            if let Some(parent) = parent {
                resolved.merge(&parent);
            }
        }
        resolved.merge(own);
        // Whom it inherits from is done with; lists that add up would double with every level of a diamond.
        resolved.inherits = Vec::new();
        name.clone_into(&mut resolved.name);
        resolved.spans.insert(super::target::BLOCK, own.span("").cloned().unwrap_or_else(|| no_span(name)));
        if let Some(changes) = overrides.get(name) {
            overrides::apply(&mut resolved, changes)?;
        }
        resolved.normalise();
        seen.insert(name.to_owned(), Some(resolved.clone()));
        Ok(Some(resolved))
    }

    #[expect(clippy::single_match_else, reason = "what is there and what is not are told in two arms")]
    fn unknown_target(&self, name: &str) -> ConfigProblem {
        let names = || self.targets.iter().map(|target| target.name.as_str());
        let help = match did_you_mean(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let groups = self.groups.iter().map(|group| group.name.as_str());
                listed(names().chain(groups).filter(|name| !name.starts_with('_')).collect())
            }
        };
        ConfigProblem::Invalid { message: format!("there is no target `{name}`"), help: Some(help), span: None }
    }

    /// Resolves what the arguments ask for; `default` if they ask for nothing.
    pub(super) fn select(
        &self,
        arguments: &[String],
        overrides: &[String],
        environment: Option<&BTreeMap<String, String>>,
    ) -> Result<Selection, ConfigProblem> {
        let defaults = ["default".to_owned()];
        let arguments = if arguments.is_empty() { &defaults[..] } else { arguments };
        let mut asked: Vec<String> = Vec::new();
        for argument in arguments {
            for name in self.match_names(argument)? {
                if !asked.contains(&name) {
                    asked.push(name);
                }
            }
        }
        let overrides = overrides::parse(overrides, &self.targets, environment)?;
        let mut selection = Selection::default();
        for name in &asked {
            let (targets, groups) = self.expand(name, &mut HashMap::new(), 0);
            for target in targets {
                if let Entry::Vacant(place) = selection.targets.entry(target) {
                    let resolved = self.resolve_target(place.key(), &overrides)?;
                    place.insert(resolved);
                }
            }
            for group in groups.iter().filter_map(|group| self.group(group)) {
                selection.groups.insert(group.name.clone(), group.clone());
            }
        }
        add_default_group(&mut selection, &asked);
        let names: Vec<String> = selection.targets.keys().cloned().collect();
        for name in names {
            self.link(&name, &mut selection.targets, &overrides, &mut Vec::new())?;
        }
        Ok(selection)
    }

    /// Adds the targets that `contexts` refer to, and checks that a target can use them.
    fn link(
        &self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        overrides: &Overrides,
        path: &mut Vec<String>,
    ) -> Result<(), ConfigProblem> {
        path.push(name.to_owned());
        let contexts = targets.get(name).and_then(|target| target.contexts.clone()).unwrap_or_default();
        let span = targets.get(name).and_then(|target| target.span("contexts").cloned());
        let at_contexts = |message: String| ConfigProblem::Invalid { message, help: None, span: span.clone() };
        for other in contexts.values().filter_map(|context| context.strip_prefix("target:")) {
            if other == name {
                return Err(at_contexts(format!("the target `{name}` uses itself as a context")));
            }
            if path.iter().any(|own| own == other) {
                let shown = format!("{} -> {other}", path.join(" -> "));
                return Err(at_contexts(format!("targets use each other as contexts: {shown}")));
            }
            if !targets.contains_key(other) {
                let mut linked = self.resolve_target(other, overrides).map_err(|problem| match problem {
                    ConfigProblem::Invalid { message, help, span: None } => {
                        ConfigProblem::Invalid { message, help, span: span.clone() }
                    }
                    other => other,
                })?;
                linked.outputs = Some(vec![Output::of_kind("cacheonly")]);
                linked.linked = true;
                targets.insert(other.to_owned(), linked);
            }
            self.link(other, targets, overrides, path)?;
            let used = targets.get(other).cloned().unwrap_or_default();
            let Some(target) = targets.get_mut(name) else { continue };
            for entitlement in used.entitlements.iter().flatten() {
                let own = target.entitlements.get_or_insert_default();
                if !own.contains(entitlement) {
                    own.push(entitlement.clone());
                }
            }
            let (own, used) = (target.platforms.as_deref(), used.platforms.as_deref());
            let (own, used) = (own.unwrap_or_default(), used.unwrap_or_default());
            if own.len() > 1 && used.len() > 1 && !own.iter().all(|platform| used.contains(platform)) {
                return Err(at_contexts(format!(
                    "`{name}` cannot use `{other}`: it is for {}, that one only for {}",
                    own.join(", "),
                    used.join(", ")
                )));
            }
        }
        path.pop();
        Ok(())
    }
}

fn no_span(name: &str) -> crate::base::Span {
    crate::base::SourceText::new(name, "").span(0..0)
}

/// The group `default` always lists what was asked for, even where the files define another one.
fn add_default_group(selection: &mut Selection, asked: &[String]) {
    for name in asked {
        if name == "default" && selection.groups.contains_key("default") {
            continue;
        }
        let group = selection
            .groups
            .entry("default".to_owned())
            .or_insert_with(|| Group { name: "default".to_owned(), ..Group::default() });
        group.targets.get_or_insert_default().push(name.clone());
    }
    if let Some(targets) = selection.groups.get_mut("default").and_then(|group| group.targets.as_mut()) {
        targets.sort();
        targets.dedup();
    }
}

/// A context relative to the folder of its file; special and absolute ones stay.
pub(super) fn rebased(base: &str, context: &str) -> String {
    let special = ["cwd://", "target:", "docker-image:", "oci-layout://"].iter().any(|own| context.starts_with(own));
    if base.is_empty()
        || context.is_empty()
        || special
        || context.starts_with('/')
        || crate::config::paths::is_remote(context)
    {
        return context.to_owned();
    }
    crate::config::paths::join_path(base, context)
}

/// Makes contexts relative to the files that set them: `BUILDX_BAKE_FILE_RELATIVE_PATHS`.
pub(super) fn rebase_contexts(definitions: &mut Definitions) {
    let bases: HashMap<String, Option<String>> = definitions
        .targets
        .iter()
        .map(|target| {
            let base = target.bases.context.as_ref().or(target.bases.default.as_ref());
            (target.name.clone(), base.cloned())
        })
        .collect();
    for target in &mut definitions.targets {
        if let Some(Some(base)) = target.bases.context_of.as_ref().and_then(|name| bases.get(name)) {
            target.bases.context = Some(base.clone());
        }
        match (&mut target.context, &target.bases.context) {
            (Some(context), Some(base)) => *context = rebased(base, context),
            (None, _) => target.bases.use_default = target.bases.default.is_some(),
            _ => {}
        }
        for (name, context) in target.contexts.iter_mut().flatten() {
            if let Some(base) = target.bases.contexts.get(name) {
                *context = rebased(base, context);
            }
        }
    }
}
