use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::document::{Entry, Node, Table, Value};
use super::files::ReadText;
use super::interpolate::{interpolate, mentioned, name_length};
use super::reader::{Reading, TableReader};
use super::versions::read_versions;
use super::{ConfigProblem, LoadRequest, Origin, Variable};
use crate::base::{SourceText, Span};

/// Where values of `${NAME}` come from, strongest first: `--set`, the environment, `[vars] set`, the files of `[vars]`.
pub(super) struct Scope<'a> {
    request: &'a LoadRequest,
    /// `[vars] set` after interpolation.
    set: IndexMap<String, (String, Span)>,
    files: IndexMap<String, (String, Span)>,
    /// Names of `[vars] environment`.
    permitted: Vec<String>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(request: &'a LoadRequest) -> Self {
        Self { request, set: IndexMap::new(), files: IndexMap::new(), permitted: Vec::new() }
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.request.sets.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of `${name}`.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.given(name)
            .or_else(|| self.request.environment.get(name).map(String::as_str))
            .or_else(|| self.set.get(name).or_else(|| self.files.get(name)).map(|(value, _)| value.as_str()))
            .map(str::to_owned)
    }

    /// Reads `[vars]`. What cannot be read is reported in `problems` and left out.
    pub(super) fn read(
        &mut self,
        vars: Option<&Entry>,
        files: &dyn ReadText,
        shown: &dyn Fn(&std::path::Path) -> std::path::PathBuf,
        problems: &mut Vec<ConfigProblem>,
    ) {
        let Some(entry) = vars else { return };
        let request = self.request;
        let early = Scope::new(request);
        let mut reading = Reading::new(Box::new(|name| early.get(name)));
        let Some(table) = reading.table("vars", &entry.node) else {
            problems.append(&mut reading.problems);
            return;
        };
        let mut reader = TableReader::new("[vars]".to_owned(), table);
        for node in reader.take("files").map(|node| reading.list("files", node)).unwrap_or_default() {
            let Some(path) = reading.path("files", node) else { continue };
            match files.read_text(&path.value) {
                Ok(text) => {
                    let source = SourceText::new(shown(&path.value), text);
                    let read = if is_yaml(&path.value) { read_versions(&source) } else { read_env(&source, &early) };
                    match read {
                        Ok(values) => self.files.extend(values),
                        Err(mut found) => reading.problems.append(&mut found),
                    }
                }
                Err(source) => {
                    let path = shown(&path.value);
                    reading.problems.push(ConfigProblem::Unreadable { path, source, span: Some(node.span.clone()) });
                }
            }
        }
        for node in reader.take("environment").map(|node| reading.list("environment", node)).unwrap_or_default() {
            if let Some(name) = reading.nonempty("environment", node) {
                self.permitted.push(name.value);
            }
        }
        let set = reader.take("set").and_then(|node| reading.table("set", node));
        reader.finish(&mut reading);
        problems.append(&mut reading.problems);
        if let Some(set) = set {
            self.read_set(set, problems);
        }
    }

    /// `set = { NAME = "value", … }`. A value may use the other names; within its own value a name means the one of the
    /// environment or the files, so `A = "${A:-x}"` is a default.
    fn read_set(&mut self, set: &Table, problems: &mut Vec<ConfigProblem>) {
        let mut resolver = SetResolver { scope: self, set, done: BTreeMap::new(), open: BTreeSet::new(), problems };
        let mut values = Vec::new();
        for (name, entry) in &set.entries {
            if name_length(name) != name.len() {
                resolver.problems.push(ConfigProblem::Invalid {
                    message: format!("`{name}` cannot be the name of a variable"),
                    help: Some("begin with a letter or `_`, then letters, digits and `_`".to_owned()),
                    span: Some(entry.key.clone()),
                });
            } else if let Some(value) = resolver.resolve(name) {
                values.push((name.clone(), (value, entry.node.span.clone())));
            }
        }
        self.set.extend(values);
    }

    /// The variables of `[vars]` with their final values and origins. A name that the project mentions in `${…}`, or lists
    /// under `[vars] environment`, may be overridden by the environment; others are the project's own.
    pub(super) fn variables(&self, table: &Table) -> IndexMap<String, Variable> {
        let mut names = BTreeSet::new();
        collect_mentioned(table, &mut names);
        let permitted = |name: &str| names.contains(name) || self.permitted.iter().any(|permitted| permitted == name);
        let mut out: IndexMap<String, Variable> = IndexMap::new();
        for (name, (value, span)) in &self.files {
            out.insert(name.clone(), Variable { value: value.clone(), origin: Origin::File(span.clone()) });
        }
        for (name, (value, span)) in &self.set {
            out.insert(name.clone(), Variable { value: value.clone(), origin: Origin::Project(span.clone()) });
        }
        for (name, value) in &self.request.environment {
            if (out.contains_key(name) && permitted(name)) || self.permitted.iter().any(|permitted| permitted == name) {
                out.insert(name.clone(), Variable { value: value.clone(), origin: Origin::Environment });
            }
        }
        for (name, value) in &self.request.sets {
            out.insert(name.clone(), Variable { value: value.clone(), origin: Origin::CommandLine });
        }
        out
    }
}

impl Scope<'_> {
    /// The names in `${…}` of the whole table, and the defaults among them that stand for names that nobody set.
    pub(super) fn uses(&self, table: &Table) -> (BTreeSet<String>, IndexMap<String, Variable>) {
        let mut names = BTreeSet::new();
        let mut defaults = IndexMap::new();
        for node in nodes(table) {
            let Value::Text(text) = &node.value else { continue };
            names.extend(mentioned(text).into_iter().map(str::to_owned));
            for (name, default) in super::interpolate::defaults(text) {
                if self.get(name).is_none_or(|value| value.is_empty()) && !default.contains("${") {
                    let origin = Origin::Default(node.span.clone());
                    defaults.entry(name.to_owned()).or_insert(Variable { value: default.to_owned(), origin });
                }
            }
        }
        (names, defaults)
    }
}

struct SetResolver<'a, 'b> {
    scope: &'a Scope<'b>,
    set: &'a Table,
    done: BTreeMap<String, Option<String>>,
    open: BTreeSet<String>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl SetResolver<'_, '_> {
    fn resolve(&mut self, name: &str) -> Option<String> {
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        let node = &self.set.entries.get(name)?.node;
        self.open.insert(name.to_owned());
        let value = self.value(name, node);
        self.open.remove(name);
        self.done.insert(name.to_owned(), value.clone());
        value
    }

    fn value(&mut self, name: &str, node: &Node) -> Option<String> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            // Versions and ports are written without quotes now and then; there is only one text they can mean.
            Value::Integer(number) => return Some(number.to_string()),
            Value::Bool(value) => return Some(value.to_string()),
            other => {
                self.problems.push(ConfigProblem::Invalid {
                    message: format!("`{name}` must be a text, not {}", other.kind()),
                    help: Some("write it in quotes".to_owned()),
                    span: Some(node.span.clone()),
                });
                return None;
            }
        };
        let mut lookup = |wanted: &str| {
            if let Some(given) = self.scope.given(wanted) {
                return Some(given.to_owned());
            }
            if let Some(value) = self.scope.request.environment.get(wanted) {
                return Some(value.clone());
            }
            let other =
                self.set.entries.contains_key(wanted) && !self.open.contains(wanted) && self.open.len() < MAX_CHAIN;
            if other { self.resolve(wanted) } else { self.scope.files.get(wanted).map(|(value, _)| value.clone()) }
        };
        match interpolate(&text, &mut lookup) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(ConfigProblem::Invalid {
                    message: error.message,
                    help: Some(error.help),
                    span: Some(node.span.clone()),
                });
                None
            }
        }
    }
}

/// The recursion is as deep as the chain of names: bounded, like nested defaults are.
const MAX_CHAIN: usize = 64;

fn collect_mentioned<'t>(table: &'t Table, names: &mut BTreeSet<&'t str>) {
    for node in nodes(table) {
        if let Value::Text(text) = &node.value {
            names.extend(mentioned(text));
        }
    }
}

/// Every value of a table, however deep.
fn nodes(table: &Table) -> Vec<&Node> {
    let mut waiting: Vec<&Node> = table.entries.values().map(|entry| &entry.node).collect();
    let mut out = Vec::new();
    while let Some(node) = waiting.pop() {
        match &node.value {
            Value::List(items) => waiting.extend(items),
            Value::Table(table) => waiting.extend(table.entries.values().map(|entry| &entry.node)),
            Value::Text(_) | Value::Integer(_) | Value::Bool(_) | Value::Other(_) => {}
        }
        out.push(node);
    }
    out
}

fn is_yaml(path: &std::path::Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml"))
}

pub(super) type Values = IndexMap<String, (String, Span)>;

/// `.env`: `NAME=value` lines with comments, `export`, and quotes: single ones keep the text, in double ones and without
/// quotes `${NAME}` means an earlier line or the environment.
fn read_env(source: &SourceText, outer: &Scope<'_>) -> Result<Values, Vec<ConfigProblem>> {
    let mut values = Values::new();
    let mut problems = Vec::new();
    for (start, line) in lines(source.text()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let span = source.span(start..start + line.len());
        let mut invalid = |message: String, help: &str| {
            problems.push(ConfigProblem::Invalid { message, help: Some(help.to_owned()), span: Some(span.clone()) });
        };
        let assignment = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
        let Some((name, value)) = assignment.split_once('=') else {
            invalid("not a `NAME=value` line".to_owned(), "write NAME=value, or take the line out");
            continue;
        };
        let name = name.trim_end();
        if name.is_empty() || name_length(name) != name.len() {
            invalid(
                format!("`{name}` cannot be the name of a variable"),
                "begin with a letter or `_`, then letters, digits and `_`",
            );
            continue;
        }
        match env_value(value.trim(), &mut |wanted| {
            outer.get(wanted).or_else(|| values.get(wanted).map(|(value, _)| value.clone()))
        }) {
            Ok(value) => {
                values.insert(name.to_owned(), (value, span));
            }
            Err((message, help)) => invalid(message, &help),
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

fn env_value(text: &str, lookup: &mut dyn FnMut(&str) -> Option<String>) -> Result<String, (String, String)> {
    let unclosed = || ("a quote is not closed".to_owned(), "close it on the same line".to_owned());
    if let Some(rest) = text.strip_prefix('\'') {
        return rest.split_once('\'').map(|(inner, _)| inner.to_owned()).ok_or_else(unclosed);
    }
    let plain = if let Some(rest) = text.strip_prefix('"') {
        let mut inner = String::new();
        let mut chars = rest.chars();
        loop {
            match chars.next() {
                None => return Err(unclosed()),
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some('n') => inner.push('\n'),
                    Some('t') => inner.push('\t'),
                    Some('$') => inner.push_str("$$"),
                    Some(other) => inner.push(other),
                    None => return Err(unclosed()),
                },
                Some(c) => inner.push(c),
            }
        }
        inner
    } else {
        text.split(" #").next().unwrap_or(text).trim_end().to_owned()
    };
    interpolate(&plain, lookup)
        .map_err(|error| (error.message, format!("{}, or put the value in single quotes", error.help)))
}

/// Lines with their offsets, line ends left out.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let skip = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut start = skip;
    text[skip..].split_inclusive('\n').map(move |line| {
        let at = start;
        start += line.len();
        (at, line.trim_end_matches(['\n', '\r']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(read: Result<Values, Vec<ConfigProblem>>) -> Vec<String> {
        match read {
            Ok(values) => values.into_iter().map(|(name, (value, _))| format!("{name}={value}")).collect(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn reads_version_pairs() {
        let read = |text: &str| shown(read_versions(&SourceText::new("deps.yaml", text)));
        assert_eq!(
            read("---\n# all\ngolang: 1.25\nnode-js: \"22.1\" # lts\nslurm_version: '25.05'\r\nurl: https://x/y#z\n"),
            ["GOLANG_VERSION=1.25", "NODE_JS_VERSION=22.1", "SLURM_VERSION=25.05", "URL_VERSION=https://x/y#z"]
        );
        for bad in ["a:\n  b: 1\n", "- x\n", "a: [1]\n", "a\n", "a: |\n", "a: \"x\n"] {
            assert_eq!(read(bad)[0], "not a `name: version` pair", "{bad}");
        }
    }

    #[test]
    fn reads_env_lines() {
        let request =
            LoadRequest { environment: [("HOST".to_owned(), "h".to_owned())].into(), ..LoadRequest::default() };
        let read = |text: &str| shown(read_env(&SourceText::new(".env", text), &Scope::new(&request)));
        assert_eq!(
            read("# c\nA=1\nexport B = two # c\nC='$A #'\nD=\"x\\n${A}\\$\"\nE=${HOST}${A}\nF=\nG=a#b\n"),
            ["A=1", "B=two", "C=$A #", "D=x\n1$", "E=h1", "F=", "G=a#b"]
        );
        assert_eq!(read("A\n2=x\nB='x\nC=${NO}\n").len(), 4);
    }
}
