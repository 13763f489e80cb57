//! A project file out of bake and compose files: what they resolve to, written down.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::tree::Tree;
use super::writer::{key, quoted};
use super::{Note, Proposal};
use crate::base::{CacheSpec, ComponentName, NetworkMode, Platform, Reference};
use crate::config::bake::load_bake;
use crate::config::solve::AnnotationLevel;
use crate::config::{ComponentSpec, ContextRef, LoadRequest, Project, SecretSpec};

/// The proposal that means what the bake and compose files of `tree` mean; nothing where they make no component, and a note
/// where they cannot be understood.
///
/// They are read without an environment: variables stand as their defaults, and no secret of whoever runs this is written.
pub(super) fn carried(root: &Path, tree: &Tree, notes: &mut Vec<Note>) -> Option<Proposal> {
    let first = tree.others.first()?;
    let request = LoadRequest { directory: root.to_path_buf(), ..LoadRequest::default() };
    let project = match load_bake(&request) {
        Ok(project) if project.components.is_empty() => return None,
        Ok(project) => project,
        Err(error) => {
            let text = error.to_string();
            notes.push(Note::new(first, format!("not understood: {}", text.lines().next().unwrap_or_default())));
            return None;
        }
    };
    let mut writer = Writer { root: &project.root, file: first, notes: Vec::new() };
    let text = writer.text(&project);
    let mut notes = [std::mem::take(notes), writer.notes].concat();
    for other in &tree.others {
        notes.push(Note::new(
            other,
            "carried over: variables are written as their defaults, `--set` has no hold on them",
        ));
    }
    for name in project.unselected.keys() {
        notes.push(Note::new(first, format!("the target `{name}` is outside of `default`: not carried over")));
    }
    notes.extend(project.warnings.iter().map(|warning| Note::new(first, warning.message.clone())));
    let built: BTreeSet<&Path> = project.components.values().map(|spec| spec.dockerfile.value.as_path()).collect();
    for path in tree.folders.values().flat_map(|folder| folder.mains.iter().chain(&folder.variants)) {
        if !built.contains(project.root.join(path).as_path()) {
            notes.push(Note::new(path, "no target is built from it: left out"));
        }
    }
    notes.sort();
    notes.dedup();
    Some(Proposal { text, components: project.components.len(), notes })
}

struct Writer<'a> {
    root: &'a Path,
    file: &'a Path,
    notes: Vec<Note>,
}

/// The references of a component as a project file has them.
struct Names {
    prefixes: Vec<String>,
    image: String,
    tags: Vec<String>,
}

impl Writer<'_> {
    fn text(&mut self, project: &Project) -> String {
        let mut out = format!("name      = {}\n", quoted(&project.name));
        let platforms: Vec<&Platform> = project.platforms.iter().map(|platform| &platform.value).collect();
        let _ = writeln!(out, "platforms = {}", list(platforms.iter().map(ToString::to_string)));
        let alike = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let groups = project.groups.iter().filter(|(name, members)| {
            // A target's own spelling is no group.
            let alias = members.len() == 1 && members.iter().all(|member| alike(member.value.as_str()) == alike(name));
            *name != "default"
                && !alias
                && name.parse().map_or(true, |name| !project.components.contains_key::<ComponentName>(&name))
        });
        let mut groups = groups.peekable();
        if groups.peek().is_some() {
            out.push_str("\n[group]\n");
        }
        for (name, members) in groups {
            let _ = writeln!(out, "{} = {}", key(name), list(members.iter().map(|member| member.value.to_string())));
        }
        for (name, spec) in &project.components {
            let _ = write!(out, "\n[component.{}]\n", key(name.as_str()));
            for (name, value) in self.component(name, spec, &platforms) {
                let _ = writeln!(out, "{name} = {value}");
            }
        }
        out
    }

    fn not(&mut self, name: &ComponentName, what: &str) {
        self.notes.push(Note::new(self.file, format!("`{name}`: {what}: not carried over")));
    }

    /// Keys and values of a component, in the order of the documentation.
    fn component(
        &mut self,
        name: &ComponentName,
        spec: &ComponentSpec,
        platforms: &[&Platform],
    ) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        match (&spec.dockerfile_fetched, &spec.dockerfile_inline) {
            (Some(path), _) => out.push(("dockerfile", quoted(path))),
            (None, Some(text)) => out.push(("dockerfile-inline", quoted(&text.value))),
            (None, None) => out.push(("dockerfile", quoted(&self.path(&spec.dockerfile.value)))),
        }
        match &spec.context.value {
            ContextRef::Component(other) => self.not(name, &format!("the context is `{other}`")),
            other => out.push(("context", quoted(&self.context(other)))),
        }
        out.extend(spec.target.iter().map(|target| ("target", quoted(&target.value))));
        let contexts = spec.contexts.iter().map(|(name, value)| (name, self.context(&value.value)));
        out.extend(table(contexts).map(|text| ("contexts", text)));
        out.extend(table(spec.args.iter().map(|(name, value)| (name, value.value.clone()))).map(|text| ("args", text)));
        let labels = spec.labels.iter().map(|(name, value)| (name, value.value.clone()));
        out.extend(table(labels).map(|text| ("labels", text)));
        let own: Vec<&Platform> = spec.platforms.iter().flatten().map(|platform| &platform.value).collect();
        if !own.is_empty() && own != platforms {
            out.push(("platforms", list(own.iter().map(ToString::to_string))));
        }
        self.names(name, spec, &mut out);
        let secrets = spec.secrets.iter().map(|(id, secret)| match &secret.value {
            SecretSpec::File(path) => format!("{} = {{ file = {} }}", key(id), quoted(&self.path(path))),
            SecretSpec::Environment(variable) => format!("{} = {{ env = {} }}", key(id), quoted(variable)),
        });
        let secrets: Vec<String> = secrets.collect();
        if !secrets.is_empty() {
            out.push(("secrets", format!("{{ {} }}", secrets.join(", "))));
        }
        if !spec.ssh.is_empty() {
            out.push(("ssh", list(spec.ssh.keys().cloned())));
        }
        if spec.ssh.values().any(Option::is_some) {
            self.not(name, "a socket or key of `ssh`, which is taken from the agent");
        }
        let hosts: BTreeSet<&String> = spec.extra_hosts.iter().map(|(host, _)| host).collect();
        if hosts.len() < spec.extra_hosts.len() {
            self.not(name, "a host with several addresses");
        }
        let mut seen = BTreeSet::new();
        let hosts = spec.extra_hosts.iter().filter(|(host, _)| seen.insert(host));
        out.extend(table(hosts.map(|(host, address)| (host, address.clone()))).map(|text| ("extra-hosts", text)));
        if spec.no_cache {
            out.push(("no-cache", "true".to_owned()));
        }
        out.extend(spec.exclude.iter().map(|reason| ("exclude", quoted(&reason.value))));
        self.solve(name, spec, &mut out);
        out
    }

    fn solve(&mut self, name: &ComponentName, spec: &ComponentSpec, out: &mut Vec<(&'static str, String)>) {
        let options = &spec.solve.options;
        let annotations = spec.solve.annotations.iter().map(|one| {
            let level = match one.level {
                AnnotationLevel::Manifest => "manifest",
                AnnotationLevel::ManifestDescriptor => "manifest-descriptor",
                AnnotationLevel::Index => "index",
                AnnotationLevel::IndexDescriptor => "index-descriptor",
            };
            let platform = one.platform.as_ref().map(|platform| format!("[{platform}]")).unwrap_or_default();
            format!("{level}{platform}:{}={}", one.key, one.value)
        });
        let attest = options.attestations.iter().map(|(kind, settings)| {
            let comma = if settings.is_empty() { "" } else { "," };
            format!("type={kind}{comma}{settings}")
        });
        for (key, texts) in [
            ("annotations", annotations.collect::<Vec<_>>()),
            ("attest", attest.collect()),
            ("cache-from", options.cache_from.iter().map(cache).collect()),
            ("cache-to", options.cache_to.iter().map(cache).collect()),
            ("entitlements", options.entitlements.iter().cloned().collect()),
            ("no-cache-filter", options.no_cache_stages.clone()),
            ("ulimits", options.ulimits.clone()),
        ] {
            if !texts.is_empty() {
                out.push((key, list(texts.into_iter())));
            }
        }
        match options.network {
            NetworkMode::Default => {}
            NetworkMode::Host => out.push(("network", quoted("host"))),
            NetworkMode::None => out.push(("network", quoted("none"))),
        }
        out.extend(options.shm_bytes.map(|bytes| ("shm-size", quoted(&bytes.to_string()))));
        out.extend(options.cgroup_parent.iter().map(|parent| ("cgroup-parent", quoted(parent))));
        if options.pull {
            out.push(("pull", "true".to_owned()));
        }
        for limit in options.resources.keys() {
            self.not(name, &format!("the limit `{limit}`"));
        }
    }

    fn names(&mut self, name: &ComponentName, spec: &ComponentSpec, out: &mut Vec<(&'static str, String)>) {
        let references: Vec<&Reference> = spec.references.iter().flatten().map(|reference| &reference.value).collect();
        if references.is_empty() {
            return;
        }
        let (names, rest) = split(&references);
        for other in rest {
            self.not(name, &format!("the name `{other}`"));
        }
        if names.prefixes.is_empty() {
            self.notes.push(Note::new(self.file, format!("`{name}`: its name says no registry; `--to PREFIX` does")));
        } else {
            out.push(("registry", list(names.prefixes.into_iter())));
        }
        if names.image != name.as_str() {
            out.push(("image", quoted(&names.image)));
        }
        let mut tags = names.tags.into_iter();
        out.extend(tags.next().filter(|tag| tag != "latest").map(|tag| ("tag", quoted(&tag))));
        let more: Vec<String> = tags.collect();
        if !more.is_empty() {
            out.push(("tags", list(more.into_iter())));
        }
    }

    fn context(&self, context: &ContextRef) -> String {
        match context {
            ContextRef::Component(name) => format!("component:{name}"),
            ContextRef::Directory(path) => self.path(path),
            ContextRef::Remote(url) => url.clone(),
        }
    }

    /// A path as seen from the project file.
    fn path(&self, path: &Path) -> String {
        if path.is_relative() {
            return path.display().to_string();
        }
        let common = path.components().zip(self.root.components()).take_while(|(left, right)| left == right).count();
        let up = self.root.components().skip(common).map(|_| std::path::Component::ParentDir);
        let parts: PathBuf = up.chain(path.components().skip(common)).collect();
        if parts.as_os_str().is_empty() { ".".to_owned() } else { parts.display().to_string() }
    }
}

/// The first reference's repository under every prefix, and its tags; and the references that are not among their product.
fn split(references: &[&Reference]) -> (Names, Vec<String>) {
    let parts = |reference: &Reference| {
        let repository = reference.repository().to_string();
        let tag = reference.tag().map_or("latest", |tag| tag.as_str()).to_owned();
        match repository.rsplit_once('/') {
            Some((prefix, image)) => (Some(prefix.to_owned()), image.to_owned(), tag),
            None => (None, repository, tag),
        }
    };
    let all: Vec<(Option<String>, String, String)> = references.iter().map(|reference| parts(reference)).collect();
    let (first, image, _) = all[0].clone();
    let tags_of = |prefix: &Option<String>| -> Vec<String> {
        let mut tags = Vec::new();
        for (other, name, tag) in &all {
            if other == prefix && *name == image && !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    };
    let tags = tags_of(&first);
    let mut prefixes: Vec<Option<String>> = Vec::new();
    for (prefix, _, _) in &all {
        let mut own = tags_of(prefix);
        own.sort();
        let mut wanted = tags.clone();
        wanted.sort();
        if own == wanted && prefix.is_some() == first.is_some() && !prefixes.contains(prefix) {
            prefixes.push(prefix.clone());
        }
    }
    let rest = all.iter().zip(references).filter(|((prefix, name, _), _)| *name != image || !prefixes.contains(prefix));
    let rest = rest.map(|(_, reference)| reference.to_string()).collect();
    (Names { prefixes: prefixes.into_iter().flatten().collect(), image, tags }, rest)
}

/// `type=…,key=value,…`; a value with a comma or a quote is quoted.
fn cache(entry: &CacheSpec) -> String {
    let pairs = entry.attributes.iter().map(|(key, value)| {
        let pair = format!("{key}={value}");
        if pair.contains([',', '"']) { format!("\"{}\"", pair.replace('"', "\"\"")) } else { pair }
    });
    std::iter::once(format!("type={}", entry.kind)).chain(pairs).collect::<Vec<_>>().join(",")
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
}

/// An inline table; nothing for an empty one.
fn table<'t>(pairs: impl Iterator<Item = (&'t String, String)>) -> Option<String> {
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{} = {}", key(name), quoted(&value))).collect();
    (!pairs.is_empty()).then(|| format!("{{ {} }}", pairs.join(", ")))
}
