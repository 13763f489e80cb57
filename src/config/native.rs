use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::document::{Entry, Node, Table, Value};
use super::git;
use super::project::{BuilderSpec, ComponentSpec, ContextRef, ExternalSpec, ServiceSpec};
use super::reader::{Reading, TableReader, resolve};
use super::service::service;
use super::templates::templates;
use super::vary;
use crate::base::{
    ComponentName, Epoch, InvalidPlatform, Platform, Prefix, Reference, Repository, Span, Spanned, Tag, did_you_mean,
};

mod component;

pub(super) use component::COMPONENT_KEYS;
use component::component;

/// What the tables of a project file say, before defaults.
#[derive(Default)]
pub(super) struct Native {
    pub(super) name: Option<Spanned<String>>,
    pub(super) platforms: Option<(Vec<Spanned<Platform>>, Span)>,
    pub(super) image: Option<Spanned<String>>,
    pub(super) tag: Option<Spanned<Tag>>,
    pub(super) registries: Vec<Spanned<Prefix>>,
    pub(super) context: Option<Spanned<ContextRef>>,
    pub(super) arch_tags: bool,
    pub(super) epoch: Option<Epoch>,
    pub(super) labels: IndexMap<String, Spanned<String>>,
    /// `metadata`: what git says, under the names of the image specification.
    pub(super) metadata: Option<Vec<(&'static str, Spanned<String>)>>,
    pub(super) discover: Option<DiscoverSpec>,
    /// Template files of every component.
    pub(super) templates: Vec<Spanned<PathBuf>>,
    pub(super) components: IndexMap<ComponentName, RawComponent>,
    pub(super) externals: IndexMap<ComponentName, ExternalSpec>,
    pub(super) services: IndexMap<ComponentName, ServiceSpec>,
    pub(super) builders: IndexMap<String, BuilderSpec>,
    pub(super) groups: IndexMap<String, Vec<Spanned<ComponentName>>>,
}

/// `[discover]`.
pub(super) struct DiscoverSpec {
    /// Globs of folders, relative to `directory`.
    pub(super) roots: Vec<Spanned<String>>,
    /// Paths or globs of files that are left out, with the reason.
    pub(super) exclude: IndexMap<String, Spanned<String>>,
    /// Folder of the file that holds them.
    pub(super) directory: PathBuf,
}

/// A `[component.*]` before defaults.
pub(super) struct RawComponent {
    /// Its header; none for one that was found.
    pub(super) header: Option<Span>,
    pub(super) dockerfile: Option<Spanned<PathBuf>>,
    pub(super) context: Option<Spanned<ContextRef>>,
    /// Everything else; its `dockerfile` and `context` are placeholders.
    pub(super) rest: ComponentSpec,
}

/// Fills `{component}`, `{git}` and `{date}` into names and tags.
pub(super) struct NameTemplate<'a> {
    root: &'a Path,
    epoch: Option<Epoch>,
    /// What git says, asked once.
    described: OnceCell<Result<String, String>>,
}

/// Reads a whole project table. `root` is where git is asked.
pub(super) fn read(
    table: &Table,
    root: &Path,
    epoch: Option<Epoch>,
    environment: &BTreeMap<String, String>,
    reading: &mut Reading<'_>,
) -> Native {
    let mut reader = TableReader::new("the project file".to_owned(), table);
    let mut out = Native { epoch, ..Native::default() };
    out.name = reader.take("name").and_then(|node| reading.nonempty("name", node));
    out.platforms = reader.take("platforms").map(|node| (platforms(reading, node), node.span.clone()));
    if let Some(node) = reader.take("epoch") {
        epoch_key(reading, node, root, &mut out);
    }
    out.image = reader.take("image").and_then(|node| reading.nonempty("image", node));
    let names = NameTemplate { root, epoch: out.epoch, described: OnceCell::new() };
    out.tag = reader.take("tag").and_then(|node| names.tag(reading, node));
    out.registries = reader.take("registry").map(|node| registries(reading, node)).unwrap_or_default();
    out.context = reader.take("context").and_then(|node| context(reading, "context", node));
    out.arch_tags = reader.take("arch-tags").and_then(|node| reading.flag("arch-tags", node)).unwrap_or_default();
    out.metadata = reader.take("metadata").and_then(|node| metadata(reading, node, root));
    out.labels = reader.take("labels").map(|node| texts(reading, "labels", node)).unwrap_or_default();
    // Read beforehand: everything else may use it.
    reader.take("vars");
    out.templates = reader.take("templates").map(|node| templates(reading, node)).unwrap_or_default();
    out.discover = reader.take("discover").and_then(|node| discover(reading, node));
    reader.take("component");
    reader.take("settings");
    vary::check_settings(table, &mut reading.problems);
    let varied = vary::vary(table, reading);
    for one in varied.components {
        let name = component_name(reading, "component", &one.name, &one.key);
        let (Some(name), raw) = (name, component(reading, &names, &one, environment)) else { continue };
        if out.components.contains_key(&name) {
            let help = "give the matrix another `name`".to_owned();
            reading.invalid(&one.key, format!("there are two components `{name}`"), help);
        }
        out.components.insert(name, raw);
    }
    for (name, entry) in tables(reading, reader.take("external"), "external") {
        let (Some(name), Some(spec)) = (name, external(reading, &name_of(entry), entry)) else { continue };
        out.externals.insert(name, spec);
    }
    for (name, entry) in tables(reading, reader.take("service"), "service") {
        let (Some(name), Some(spec)) = (name, service(reading, &name_of(entry), entry)) else { continue };
        out.services.insert(name, spec);
    }
    if let Some(node) = reader.take("builder") {
        for (name, entry) in reading.table("builder", node).map(|table| &table.entries).into_iter().flatten() {
            if let Some(spec) = builder(reading, name, entry) {
                out.builders.insert(name.clone(), spec);
            }
        }
    }
    if let Some(node) = reader.take("group") {
        for (name, entry) in reading.table("group", node).map(|table| &table.entries).into_iter().flatten() {
            out.groups.insert(name.clone(), names_list(reading, name, &entry.node));
        }
    }
    for (name, members) in varied.groups {
        let members = members.iter().filter_map(|member| Some(Spanned::unplaced(member.parse().ok()?)));
        out.groups.insert(name, members.collect());
    }
    out.groups = flattened(&out);
    reader.finish(reading);
    out
}

/// Groups with the components of the groups that they name, each component once. A group that holds itself adds nothing.
fn flattened(native: &Native) -> IndexMap<String, Vec<Spanned<ComponentName>>> {
    let of = |group: &str| {
        let (mut members, mut seen) = (Vec::new(), BTreeSet::from([group.to_owned()]));
        let mut open: Vec<&Spanned<ComponentName>> = native.groups.get(group).into_iter().flatten().rev().collect();
        while let Some(member) = open.pop() {
            let name = member.value.as_str();
            match native.groups.get(name).filter(|_| !native.components.contains_key(&member.value)) {
                Some(inner) if seen.insert(name.to_owned()) => open.extend(inner.iter().rev()),
                Some(_) => {}
                None if members.iter().any(|known: &Spanned<ComponentName>| known.value == member.value) => {}
                None => members.push(member.clone()),
            }
        }
        members
    };
    native.groups.keys().map(|group| (group.clone(), of(group))).collect()
}

/// The last part of a header, as written, for messages.
fn name_of(entry: &Entry) -> String {
    entry.key.source.text().get(entry.key.range.clone()).unwrap_or_default().to_owned()
}

/// The sub-tables of `[kind.*]`, each with its name where it is a valid one.
fn tables<'n>(
    reading: &mut Reading<'_>,
    node: Option<&'n Node>,
    kind: &str,
) -> Vec<(Option<ComponentName>, &'n Entry)> {
    let Some(table) = node.and_then(|node| reading.table(kind, node)) else { return Vec::new() };
    table.entries.iter().map(|(name, entry)| (component_name(reading, kind, name, &entry.key), entry)).collect()
}

fn component_name(reading: &mut Reading<'_>, kind: &str, name: &str, span: &Span) -> Option<ComponentName> {
    match name.parse::<ComponentName>() {
        Ok(name) => Some(name),
        Err(error) => {
            let lower: String = name.to_lowercase().replace([' ', '/'], "-");
            let help = lower.parse::<ComponentName>().ok().map(|_| format!("write [{kind}.{lower}]"));
            reading.invalid(span, error.to_string(), help);
            None
        }
    }
}

fn epoch_key(reading: &mut Reading<'_>, node: &Node, root: &Path, out: &mut Native) {
    let Some(text) = reading.text("epoch", node) else { return };
    if text.value != "git" {
        let help = "write epoch = \"git\", or set SOURCE_DATE_EPOCH to a number of seconds".to_owned();
        reading.invalid(&node.span, format!("`epoch` cannot be `{}`", text.value), help);
    } else if out.epoch.is_none() {
        // SOURCE_DATE_EPOCH, where it is set, was said later than the file was written.
        match git::commit_time(root) {
            Ok(epoch) => out.epoch = Some(epoch),
            Err(error) => reading.invalid(
                &node.span,
                format!("`epoch = \"git\"` has no commit to take the time from: {error}"),
                "commit first, or set SOURCE_DATE_EPOCH".to_owned(),
            ),
        }
    }
}

/// `metadata = "git"`: the commit and where it comes from (image-spec, "Pre-Defined Annotation Keys").
fn metadata(reading: &mut Reading<'_>, node: &Node, root: &Path) -> Option<Vec<(&'static str, Spanned<String>)>> {
    let text = reading.text("metadata", node)?;
    if text.value != "git" {
        let help = "write metadata = \"git\", or leave it out".to_owned();
        reading.invalid(&node.span, format!("`metadata` cannot be `{}`", text.value), help);
        return None;
    }
    let placed = |value: String| Spanned::new(value, node.span.clone());
    match git::revision(root) {
        Ok(revision) => {
            let mut found = vec![("org.opencontainers.image.revision", placed(revision))];
            found.extend(git::source(root).map(|source| ("org.opencontainers.image.source", placed(source))));
            Some(found)
        }
        Err(error) => {
            let help = "commit first, or leave it out".to_owned();
            reading.invalid(&node.span, format!("`metadata = \"git\"` has no commit to tell of: {error}"), help);
            None
        }
    }
}

impl NameTemplate<'_> {
    /// Replaces `{…}` in `text`; `component` is the name where there is one.
    pub(super) fn fill(
        &self,
        reading: &mut Reading<'_>,
        text: &Spanned<String>,
        component: Option<&str>,
    ) -> Option<String> {
        let span = text.span.as_ref()?;
        let mut out = String::new();
        let mut rest = text.value.as_str();
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let Some(close) = rest[open..].find('}') else {
                reading.invalid(span, "a `{` is not closed".to_owned(), None);
                return None;
            };
            let name = &rest[open + 1..open + close];
            out.push_str(&self.value(reading, span, name, component)?);
            rest = &rest[open + close + 1..];
        }
        out.push_str(rest);
        Some(out)
    }

    fn value(&self, reading: &mut Reading<'_>, span: &Span, name: &str, component: Option<&str>) -> Option<String> {
        match (name, component) {
            ("component", Some(component)) => Some(component.to_owned()),
            ("git", _) => self
                .described
                .get_or_init(|| git::describe(self.root).map_err(|error| error.to_string()))
                .as_ref()
                .map_err(|error| {
                    let help = "write a tag, or take it from a variable: \"${TAG:-dev}\"".to_owned();
                    reading.invalid(span, format!("`{{git}}` has no description: {error}"), help);
                })
                .ok()
                .cloned(),
            ("date", _) => {
                let Some(epoch) = self.epoch else {
                    let help =
                        "set epoch = \"git\" or SOURCE_DATE_EPOCH: a date of today would give every run other names";
                    reading.invalid(span, "`{date}` needs a time".to_owned(), help.to_owned());
                    return None;
                };
                let seconds = i64::try_from(epoch.seconds()).ok()?;
                let time = jiff::Timestamp::from_second(seconds).ok()?;
                Some(time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y%m%d").to_string())
            }
            _ => {
                let known: &[&str] = if component.is_some() { &["component", "git", "date"] } else { &["git", "date"] };
                let help = did_you_mean(name, known.iter().copied()).map_or_else(
                    || {
                        format!(
                            "{} can stand in braces here",
                            known.iter().map(|k| format!("{{{k}}}")).collect::<Vec<_>>().join(", ")
                        )
                    },
                    |near| format!("did you mean `{{{near}}}`?"),
                );
                reading.invalid(span, format!("`{{{name}}}` stands for nothing here"), help);
                None
            }
        }
    }

    fn tag(&self, reading: &mut Reading<'_>, node: &Node) -> Option<Spanned<Tag>> {
        let text = reading.nonempty("tag", node)?;
        let filled = self.fill(reading, &text, None)?;
        match filled.parse() {
            Ok(tag) => Some(Spanned { value: tag, span: text.span }),
            Err(error) => {
                reading.invalid(&node.span, format!("`tag`: {error}"), None);
                None
            }
        }
    }
}

/// A list of platforms, each once.
pub(super) fn platforms(reading: &mut Reading<'_>, node: &Node) -> Vec<Spanned<Platform>> {
    let mut out: Vec<Spanned<Platform>> = Vec::new();
    for item in reading.list("platforms", node) {
        let Some(text) = reading.text("platforms", item) else { continue };
        match text.value.parse::<Platform>() {
            // Two spellings of one platform are one platform, as on a command line.
            Ok(platform) if out.iter().any(|known| known.value == platform) => {}
            Ok(platform) => out.push(Spanned { value: platform, span: text.span }),
            Err(error) => {
                let help = platform_help(&error);
                reading.invalid(&item.span, error.to_string(), help);
            }
        }
    }
    out
}

fn platform_help(error: &InvalidPlatform) -> String {
    error.suggestion().map_or_else(
        || "write it as os/arch, such as `linux/amd64` or `linux/arm64`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    )
}

fn registries(reading: &mut Reading<'_>, node: &Node) -> Vec<Spanned<Prefix>> {
    let mut out: Vec<Spanned<Prefix>> = Vec::new();
    for item in reading.list("registry", node) {
        let Some(prefix) = reading.parsed::<Prefix>("registry", item) else { continue };
        if out.iter().any(|known| known.value == prefix.value) {
            reading.invalid(&item.span, format!("`{}` is listed twice", prefix.value), "keep one of them".to_owned());
        } else {
            out.push(prefix);
        }
    }
    out
}

pub(super) fn names_list(reading: &mut Reading<'_>, key: &str, node: &Node) -> Vec<Spanned<ComponentName>> {
    let items = reading.list(key, node);
    items.iter().filter_map(|item| reading.parsed::<ComponentName>(key, item)).collect()
}

/// A table of texts; numbers and booleans have one text they can mean.
pub(super) fn texts(reading: &mut Reading<'_>, key: &str, node: &Node) -> IndexMap<String, Spanned<String>> {
    let Some(table) = reading.table(key, node) else { return IndexMap::new() };
    let mut out = IndexMap::new();
    for (name, entry) in &table.entries {
        let value = match &entry.node.value {
            Value::Integer(number) => Some(Spanned::new(number.to_string(), entry.node.span.clone())),
            Value::Bool(value) => Some(Spanned::new(value.to_string(), entry.node.span.clone())),
            _ => reading.text(name, &entry.node),
        };
        if let Some(value) = value {
            out.insert(name.clone(), value);
        }
    }
    out
}

/// Whether a context is for the builder to fetch.
fn is_remote(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.starts_with("github.com/")
}

fn context(reading: &mut Reading<'_>, key: &str, node: &Node) -> Option<Spanned<ContextRef>> {
    let text = reading.nonempty(key, node)?;
    let value = if is_remote(&text.value) {
        ContextRef::Remote(text.value)
    } else {
        ContextRef::Directory(resolve(&node.directory, &text.value))
    };
    Some(Spanned { value, span: text.span })
}

fn named_context(reading: &mut Reading<'_>, key: &str, node: &Node) -> Option<Spanned<ContextRef>> {
    let text = reading.nonempty(key, node)?;
    let Some((scheme, name)) = text.value.split_once(':').filter(|(_, rest)| !rest.starts_with("//")) else {
        return context(reading, key, node);
    };
    match scheme {
        "component" => match name.parse() {
            Ok(name) => Some(Spanned { value: ContextRef::Component(name), span: text.span }),
            Err(error) => {
                reading.invalid(&node.span, error.to_string(), None);
                None
            }
        },
        "target" | "service" => {
            reading.invalid(
                &node.span,
                format!("`{scheme}:` names nothing in this file"),
                format!("write \"component:{name}\""),
            );
            None
        }
        _ => context(reading, key, node),
    }
}

fn discover(reading: &mut Reading<'_>, node: &Node) -> Option<DiscoverSpec> {
    let table = reading.table("discover", node)?;
    let mut reader = TableReader::new("[discover]".to_owned(), table);
    let roots = reader.take("roots").map(|node| reading.list("roots", node)).unwrap_or_default();
    let roots: Vec<_> = roots.iter().filter_map(|item| reading.nonempty("roots", item)).collect();
    let exclude = reader.take("exclude").map(|node| texts(reading, "exclude", node)).unwrap_or_default();
    reader.finish(reading);
    Some(DiscoverSpec { roots, exclude, directory: node.directory.to_path_buf() })
}

fn external(reading: &mut Reading<'_>, name: &str, entry: &Entry) -> Option<ExternalSpec> {
    let table = reading.table(name, &entry.node)?;
    let mut reader = TableReader::new(format!("[external.{name}]"), table);
    let image_node = reader.take("image");
    let image = image_node.and_then(|node| reading.parsed::<Reference>("image", node));
    let platforms = reader.take("platforms").map(|node| narrower(reading, node));
    let published = reader.take("as").and_then(|node| published(reading, node));
    let foreign = reader.take("foreign").map(|node| foreign(reading, node)).unwrap_or_default();
    let exclude = reader.take("exclude").and_then(|node| reason(reading, node));
    reader.finish(reading);
    if image_node.is_none() {
        let help = "write image = \"redis:7-alpine\"".to_owned();
        reading.invalid(&entry.key, format!("[external.{name}] has no `image`"), help);
    }
    Some(ExternalSpec { span: Some(entry.key.clone()), image: image?, platforms, published, foreign, exclude })
}

fn published(reading: &mut Reading<'_>, node: &Node) -> Option<Spanned<(Repository, Tag)>> {
    let reference = reading.parsed::<Reference>("as", node)?.value;
    let local = reference.repository().registry().is_none() && reference.digest().is_none();
    let Some(tag) = reference.tag().cloned().filter(|_| local) else {
        let help = "write as = \"repository:tag\"; the registry is the project's".to_owned();
        reading.invalid(&node.span, "`as` must be a repository and a tag".to_owned(), help);
        return None;
    };
    Some(Spanned::new((reference.repository().clone(), tag), node.span.clone()))
}

fn builder(reading: &mut Reading<'_>, name: &str, entry: &Entry) -> Option<BuilderSpec> {
    let table = reading.table(name, &entry.node)?;
    let mut reader = TableReader::new(format!("[builder.{name}]"), table);
    let address_node = reader.take("address");
    let address = address_node.and_then(|node| reading.nonempty("address", node));
    let platforms = reader.take("platforms").map(|node| narrower(reading, node)).unwrap_or_default();
    let capacity = reader.take("capacity").and_then(|node| capacity(reading, node));
    let ca = reader.take("ca").and_then(|node| reading.path("ca", node)).map(|path| path.value);
    let cert = reader.take_entry("cert");
    let key = reader.take_entry("key");
    let mut path = |entry: Option<&Entry>, name| entry.and_then(|entry| reading.path(name, &entry.node));
    let (cert_path, key_path) = (path(cert, "cert"), path(key, "key"));
    if let (Some(one), None) | (None, Some(one)) = (cert, key) {
        let help = "give cert and key together".to_owned();
        reading.invalid(&one.key, format!("[builder.{name}] has one half of a client identity"), help);
    }
    reader.finish(reading);
    if address_node.is_none() {
        let help = "write address = \"tcp://host:1234\" or \"unix:///path\"".to_owned();
        reading.invalid(&entry.key, format!("[builder.{name}] has no `address`"), help);
    }
    let identity = cert_path.zip(key_path).map(|(cert, key)| (cert.value, key.value));
    Some(BuilderSpec { address: address?, platforms, capacity, ca, identity })
}

/// A number of cells; what nobody can mean is refused.
fn capacity(reading: &mut Reading<'_>, node: &Node) -> Option<usize> {
    if let Value::Integer(number @ 1..=1000) = &node.value {
        return usize::try_from(*number).ok();
    }
    reading.invalid(&node.span, "`capacity` must be a number from 1 to 1000".to_owned(), None);
    None
}

/// Globs of programs for other processors. One for everything would be the end of the check, not an exception to it.
fn foreign(reading: &mut Reading<'_>, node: &Node) -> Vec<Spanned<String>> {
    let mut globs = Vec::new();
    for item in reading.list("foreign", node) {
        let Some(glob) = reading.nonempty("foreign", item) else { continue };
        if glob.value.chars().all(|c| matches!(c, '*' | '/' | '?')) {
            let help = "name the programs: foreign = [\"usr/bin/qemu-*-static\"]".to_owned();
            reading.invalid(&item.span, format!("`foreign` cannot be `{}`: that is every file", glob.value), help);
        } else {
            globs.push(glob);
        }
    }
    globs
}

/// Platforms of one component: a list that is there must name one.
fn narrower(reading: &mut Reading<'_>, node: &Node) -> Vec<Spanned<Platform>> {
    let before = reading.problems.len();
    let found = platforms(reading, node);
    if found.is_empty() && reading.problems.len() == before {
        let help = "name a platform, or leave it out of the matrix: exclude = \"why\"".to_owned();
        reading.invalid(&node.span, "`platforms` is empty".to_owned(), help);
    }
    found
}

fn reason(reading: &mut Reading<'_>, node: &Node) -> Option<Spanned<String>> {
    if let Value::Bool(_) = node.value {
        reading.invalid(
            &node.span,
            "`exclude` must say why".to_owned(),
            "write exclude = \"retired 2026-10\"".to_owned(),
        );
        return None;
    }
    reading.nonempty("exclude", node)
}
