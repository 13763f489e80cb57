//! Components that are written once and meant several times: settings they inherit, and matrices they spread over.
//! Works on tables before their values are read, so every value keeps its place.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::ConfigProblem;
use super::document::{Entry, Node, Table, Value};
use super::interpolate::name_length;
use super::reader::{Reading, TableReader};
use crate::base::{Span, did_you_mean};

/// A component's table after inheritance and for one combination of its matrix.
pub(super) struct Varied {
    pub(super) name: String,
    pub(super) key: Span,
    pub(super) table: Table,
}

/// The outcome for all components.
pub(super) struct AllVaried {
    pub(super) components: Vec<Varied>,
    /// The members of each component that is a matrix, under its own name.
    pub(super) groups: IndexMap<String, Vec<String>>,
}

/// Settings within settings, and combinations of a matrix, beyond what anyone writes.
const MAX_DEPTH: usize = 32;
const MAX_COMBINATIONS: usize = 4096;

/// Resolves `inherits` and `matrix` of every component.
pub(super) fn vary(root: &Table, reading: &mut Reading<'_>) -> AllVaried {
    let mut out = AllVaried { components: Vec::new(), groups: IndexMap::new() };
    let tables = |key: &str| match root.entries.get(key).map(|entry| &entry.node.value) {
        Some(Value::Table(table)) => Some(table),
        _ => None,
    };
    let Some(components) = tables("component") else { return out };
    let inheritance = Inheritance { settings: tables("settings"), components };
    for (name, entry) in &components.entries {
        let Value::Table(own) = &entry.node.value else {
            reading.invalid(
                &entry.node.span,
                format!("`{name}` must be a table, not {}", entry.node.value.kind()),
                None,
            );
            continue;
        };
        let Some(table) = inheritance.resolve(name, own, reading, &mut Vec::new()) else { continue };
        match table.entries.get("matrix") {
            None => out.components.push(Varied { name: name.clone(), key: entry.key.clone(), table }),
            Some(matrix) => {
                let varied = spread(name, entry, &table, &matrix.node, reading);
                out.groups.insert(name.clone(), varied.iter().map(|varied| varied.name.clone()).collect());
                out.components.extend(varied);
            }
        }
    }
    out
}

struct Inheritance<'a> {
    settings: Option<&'a Table>,
    components: &'a Table,
}

impl Inheritance<'_> {
    /// `own` laid over everything it inherits, in order. What a component is (its matrix, its exclusion) is not inherited.
    fn resolve(&self, name: &str, own: &Table, reading: &mut Reading<'_>, path: &mut Vec<String>) -> Option<Table> {
        let Some(inherits) = own.entries.get("inherits") else { return Some(own.clone()) };
        if path.iter().any(|above| above == name) || path.len() > MAX_DEPTH {
            path.push(name.to_owned());
            let message = format!("settings inherit each other in a circle: {}", path.join(" -> "));
            reading.invalid(&inherits.node.span, message, "take one of them out".to_owned());
            return None;
        }
        path.push(name.to_owned());
        let mut merged = Table::default();
        for item in reading.list("inherits", &inherits.node) {
            let parent = reading.nonempty("inherits", item)?;
            let settings = self.settings.and_then(|settings| settings.entries.get(&parent.value));
            let component = self.components.entries.get(&parent.value);
            let (Some(found), of_component) = (settings.or(component), settings.is_none()) else {
                self.unknown(&parent.value, &item.span, reading);
                return None;
            };
            let Value::Table(table) = &found.node.value else { continue };
            let mut resolved = self.resolve(&parent.value, table, reading, path)?;
            resolved.entries.shift_remove("inherits");
            if of_component {
                resolved.entries.shift_remove("matrix");
                resolved.entries.shift_remove("exclude");
            }
            merged.overlay(resolved);
        }
        path.pop();
        merged.overlay(own.clone());
        Some(merged)
    }

    fn unknown(&self, name: &str, span: &Span, reading: &mut Reading<'_>) {
        let known = self.settings.into_iter().chain([self.components]).flat_map(|table| table.entries.keys());
        let help = did_you_mean(name, known.map(String::as_str))
            .map_or_else(|| format!("write [settings.{name}]"), |near| format!("did you mean `{near}`?"));
        reading.invalid(span, format!("there are no settings `{name}`"), help);
    }
}

/// One combination: axis and value.
type Combination = IndexMap<String, String>;

/// A component per combination of `[component.NAME.matrix]`.
fn spread(name: &str, header: &Entry, table: &Table, node: &Node, reading: &mut Reading<'_>) -> Vec<Varied> {
    let Some(matrix) = reading.table("matrix", node) else { return Vec::new() };
    let mut reader = TableReader::new(format!("[component.{name}.matrix]"), matrix);
    let axes = reader.take("axes").map(|node| axes(reading, node));
    let mut combinations = match &axes {
        Some(axes) => product(axes, node, reading),
        None => Vec::new(),
    };
    let axes = axes.unwrap_or_default();
    for item in reader.take("exclude").map(|node| reading.list("exclude", node)).unwrap_or_default() {
        let Some(rule) = combination(reading, item) else { continue };
        let before = combinations.len();
        combinations.retain(|all| !rule.iter().all(|(axis, value)| all.get(axis) == Some(value)));
        if combinations.len() == before {
            let help = "write it as the axes do, or take it out".to_owned();
            reading.invalid(&item.span, "this combination does not occur".to_owned(), help);
        }
    }
    for item in reader.take("include").map(|node| reading.list("include", node)).unwrap_or_default() {
        let Some(added) = combination(reading, item) else { continue };
        let missing: Vec<&str> = axes.keys().filter(|axis| !added.contains_key(*axis)).map(String::as_str).collect();
        if !missing.is_empty() {
            reading.invalid(&item.span, format!("this combination has no `{}`", missing.join("`, `")), None);
        } else if !combinations.contains(&added) {
            combinations.push(added);
        }
    }
    let pattern = reader.take("name").and_then(|node| reading.nonempty("name", node));
    reader.finish(reading);
    if combinations.is_empty() && reading.problems.is_empty() {
        let help = "write axes = { NAME = [\"value\", …] }".to_owned();
        reading.invalid(&node.span, format!("the matrix of `{name}` has no combinations"), help);
    }
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for values in combinations {
        let own = pattern.as_ref().map_or_else(
            || std::iter::once(name).chain(values.values().map(String::as_str)).collect::<Vec<_>>().join("-"),
            |pattern| filled(&pattern.value, &values),
        );
        if !seen.insert(own.clone()) {
            let help = "use every axis in its `name`".to_owned();
            reading.invalid(&node.span, format!("two combinations of `{name}` are called `{own}`"), help);
            continue;
        }
        let mut table = table.clone();
        table.entries.shift_remove("matrix");
        fill(&mut table, &values);
        out.push(Varied { name: own, key: header.key.clone(), table });
    }
    out
}

fn axes(reading: &mut Reading<'_>, node: &Node) -> IndexMap<String, Vec<String>> {
    let mut axes = IndexMap::new();
    let Some(table) = reading.table("axes", node) else { return axes };
    for (axis, entry) in &table.entries {
        let reserved = ["component", "git", "date"].contains(&axis.as_str());
        if reserved || name_length(axis) != axis.len() {
            let help =
                "begin with a letter, then letters, digits and `_`; component, git and date are taken".to_owned();
            reading.invalid(&entry.key, format!("`{axis}` cannot be the name of an axis"), help);
            continue;
        }
        let values: Vec<String> =
            reading.list(axis, &entry.node).iter().filter_map(|item| scalar(reading, axis, item)).collect();
        if values.is_empty() {
            reading.invalid(&entry.node.span, format!("the axis `{axis}` has no values"), None);
        }
        axes.insert(axis.clone(), values);
    }
    axes
}

fn product(axes: &IndexMap<String, Vec<String>>, node: &Node, reading: &mut Reading<'_>) -> Vec<Combination> {
    let count = axes.values().try_fold(1_usize, |count, values| count.checked_mul(values.len()));
    if count.is_none_or(|count| count > MAX_COMBINATIONS) {
        reading.invalid(&node.span, format!("a matrix of more than {MAX_COMBINATIONS} combinations"), None);
        return Vec::new();
    }
    if axes.is_empty() {
        return Vec::new();
    }
    let mut all = vec![Combination::new()];
    for (axis, values) in axes {
        all = all
            .into_iter()
            .flat_map(|base| {
                values.iter().map(move |value| {
                    let mut next = base.clone();
                    next.insert(axis.clone(), value.clone());
                    next
                })
            })
            .collect();
    }
    all
}

fn combination(reading: &mut Reading<'_>, node: &Node) -> Option<Combination> {
    let table = reading.table("a combination", node)?;
    let values =
        table.entries.iter().filter_map(|(axis, entry)| Some((axis.clone(), scalar(reading, axis, &entry.node)?)));
    Some(values.collect())
}

/// A text, or a number or boolean as the text it is written as.
fn scalar(reading: &mut Reading<'_>, key: &str, node: &Node) -> Option<String> {
    match &node.value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Text(_) | Value::Other(_) | Value::List(_) | Value::Table(_) => {
            reading.nonempty(key, node).map(|text| text.value)
        }
    }
}

/// `text` with `{axis}` replaced; `${axis}` is a variable and stays.
fn filled(text: &str, values: &Combination) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let hit = values.iter().find_map(|(axis, value)| {
            let after = rest[open + 1..].strip_prefix(axis.as_str())?.strip_prefix('}')?;
            (!rest[..open].ends_with('$')).then_some((value, after))
        });
        if let Some((value, after)) = hit {
            out.push_str(&rest[..open]);
            out.push_str(value);
            rest = after;
        } else {
            out.push_str(&rest[..=open]);
            rest = &rest[open + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// Fills the axes into every text of a component.
fn fill(table: &mut Table, values: &Combination) {
    let mut waiting: Vec<&mut Node> = table.entries.values_mut().map(|entry| &mut entry.node).collect();
    while let Some(node) = waiting.pop() {
        match &mut node.value {
            Value::Text(text) => *text = filled(text, values),
            Value::List(items) => waiting.extend(items),
            Value::Table(table) => waiting.extend(table.entries.values_mut().map(|entry| &mut entry.node)),
            Value::Integer(_) | Value::Bool(_) | Value::Other(_) => {}
        }
    }
}

/// Reports `[settings.*]` that hold what no component may.
pub(super) fn check_settings(root: &Table, problems: &mut Vec<ConfigProblem>) {
    let Some(Value::Table(settings)) = root.entries.get("settings").map(|entry| &entry.node.value) else { return };
    for (name, entry) in &settings.entries {
        if !matches!(entry.node.value, Value::Table(_)) {
            problems.push(ConfigProblem::Invalid {
                message: format!("[settings.{name}] must be a table"),
                help: None,
                span: Some(entry.node.span.clone()),
            });
        }
    }
    check_unused(root, settings, problems);
}

/// Keys of settings that nobody inherits: no component's reading would tell that they are misspelt.
fn check_unused(root: &Table, settings: &Table, problems: &mut Vec<ConfigProblem>) {
    let components = root.entries.get("component").map(|entry| &entry.node.value);
    let components = components.and_then(|value| if let Value::Table(table) = value { Some(table) } else { None });
    let mut inherited = BTreeSet::new();
    for entry in components.into_iter().chain([settings]).flat_map(|table| table.entries.values()) {
        let Value::Table(table) = &entry.node.value else { continue };
        let Some(Value::List(parents)) = table.entries.get("inherits").map(|entry| &entry.node.value) else { continue };
        inherited.extend(
            parents.iter().filter_map(
                |parent| {
                    if let Value::Text(name) = &parent.value { Some(name.as_str()) } else { None }
                },
            ),
        );
    }
    for (name, entry) in settings.entries.iter().filter(|(name, _)| !inherited.contains(name.as_str())) {
        let Value::Table(table) = &entry.node.value else { continue };
        let mut reader = TableReader::new(format!("[settings.{name}]"), table);
        for key in super::native::COMPONENT_KEYS {
            reader.take(key);
        }
        let mut reading = Reading::new(Box::new(|_| None));
        reader.finish(&mut reading);
        problems.append(&mut reading.problems);
    }
}
