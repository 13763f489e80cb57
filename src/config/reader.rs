use std::path::PathBuf;

use super::ConfigProblem;
use super::document::{Entry, Node, Table, Value};
use super::interpolate::interpolate;
use crate::base::{Span, Spanned, did_you_mean};

/// Gives the values of `${NAME}`.
type Lookup<'a> = dyn FnMut(&str) -> Option<String> + 'a;

/// Reads values out of tables, interpolates their texts, and collects what is wrong with them.
pub(super) struct Reading<'a> {
    lookup: Box<Lookup<'a>>,
    pub(super) problems: Vec<ConfigProblem>,
}

/// One table while it is read: every key that is asked for is a known one.
pub(super) struct TableReader<'a> {
    /// In words, for messages: `[component.nginx]`.
    name: String,
    table: &'a Table,
    known: Vec<&'static str>,
}

impl<'a> TableReader<'a> {
    pub(super) const fn new(name: String, table: &'a Table) -> Self {
        Self { name, table, known: Vec::new() }
    }

    /// The value of `key`, which becomes a known key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.table.entries.get(key).map(|entry| &entry.node)
    }

    /// The key and value of `key`.
    pub(super) fn take_entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        self.table.entries.get(key)
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, reading: &mut Reading<'_>) {
        for (key, entry) in &self.table.entries {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let help = did_you_mean(key, self.known.iter().copied()).map_or_else(
                || format!("the keys here are {}", self.known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            reading.problems.push(ConfigProblem::UnknownKey {
                key: key.clone(),
                table: self.name.clone(),
                help,
                span: entry.key.clone(),
            });
        }
    }
}

impl<'a> Reading<'a> {
    pub(super) fn new(lookup: Box<Lookup<'a>>) -> Self {
        Self { lookup, problems: Vec::new() }
    }

    /// Records a problem with what stands at `span`.
    pub(super) fn invalid(&mut self, span: &Span, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.problems.push(ConfigProblem::Invalid {
            message: message.into(),
            help: help.into(),
            span: Some(span.clone()),
        });
    }

    fn wrong_type(&mut self, key: &str, node: &Node, wanted: &str, help: impl Into<Option<String>>) {
        self.invalid(&node.span, format!("`{key}` must be {wanted}, not {}", node.value.kind()), help);
    }

    /// A text, interpolated.
    pub(super) fn text(&mut self, key: &str, node: &Node) -> Option<Spanned<String>> {
        let Value::Text(text) = &node.value else {
            let help = match &node.value {
                Value::Integer(number) => Some(format!("write it in quotes: \"{number}\"")),
                Value::Bool(value) => Some(format!("write it in quotes: \"{value}\"")),
                _ => None,
            };
            self.wrong_type(key, node, "a text", help);
            return None;
        };
        self.interpolated(text, &node.span).map(|text| Spanned::new(text, node.span.clone()))
    }

    /// `text`, which stands at `span`, with its substitutions made.
    pub(super) fn interpolated(&mut self, text: &str, span: &Span) -> Option<String> {
        match interpolate(text, &mut *self.lookup) {
            Ok(text) => Some(text),
            Err(error) => {
                let span = inner_span(span, text, error.range);
                self.invalid(&span, error.message, error.help);
                None
            }
        }
    }

    /// A text that says something.
    pub(super) fn nonempty(&mut self, key: &str, node: &Node) -> Option<Spanned<String>> {
        let text = self.text(key, node)?;
        if text.value.trim().is_empty() {
            self.invalid(&node.span, format!("`{key}` is empty"), None);
            return None;
        }
        Some(text)
    }

    /// A text that `T` can be made of.
    pub(super) fn parsed<T>(&mut self, key: &str, node: &Node) -> Option<Spanned<T>>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text(key, node)?;
        match text.value.parse() {
            Ok(value) => Some(Spanned { value, span: text.span }),
            Err(error) => {
                self.invalid(&node.span, format!("`{key}`: {error}"), None);
                None
            }
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &str, node: &Node) -> Option<bool> {
        let Value::Bool(value) = node.value else {
            let help = match &node.value {
                Value::Text(text) if text == "true" || text == "false" => Some(format!("leave the quotes out: {text}")),
                _ => None,
            };
            self.wrong_type(key, node, "true or false", help);
            return None;
        };
        Some(value)
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, key: &str, node: &'n Node) -> &'n [Node] {
        let Value::List(items) = &node.value else {
            let help = match &node.value {
                Value::Text(text) => Some(format!("write it as a list: {key} = [\"{text}\"]")),
                _ => None,
            };
            self.wrong_type(key, node, "a list", help);
            return &[];
        };
        items
    }

    /// A table.
    pub(super) fn table<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n Table> {
        let Value::Table(table) = &node.value else {
            self.wrong_type(key, node, "a table", None);
            return None;
        };
        Some(table)
    }

    /// A path, resolved against the folder of the file that holds it; never empty.
    pub(super) fn path(&mut self, key: &str, node: &Node) -> Option<Spanned<PathBuf>> {
        let text = self.nonempty(key, node)?;
        Some(Spanned { value: resolve(&node.directory, &text.value), span: text.span })
    }
}

/// `directory/text` with `.` and inner `..` taken out, by name only: links are not followed.
pub(super) fn resolve(directory: &std::path::Path, text: &str) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in directory.join(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// The place of `range` of a decoded text within the span of its quoted form; the whole span where escapes moved things.
fn inner_span(span: &Span, decoded: &str, range: std::ops::Range<usize>) -> Span {
    let written = span.source.text().get(span.range.clone()).unwrap_or_default();
    match written.find(decoded) {
        Some(offset) => {
            span.source.span(span.range.start + offset + range.start..span.range.start + offset + range.end)
        }
        None => span.clone(),
    }
}
