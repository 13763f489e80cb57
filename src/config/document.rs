use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};

use super::ConfigProblem;
use crate::base::{SourceText, Span};

/// A value of a project file with its place and the folder that its paths are relative to.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Span,
    pub(super) directory: Arc<Path>,
}

/// A value, text not yet interpolated.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    /// A value of a type that no key takes, by the name of its type.
    Other(&'static str),
    List(Vec<Node>),
    Table(Table),
}

/// A table in the order of its file.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) entries: IndexMap<String, Entry>,
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) node: Node,
}

impl Value {
    /// The name of its type, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::Other(kind) => kind,
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Reads a TOML text. All syntax errors that the parser can recover from are reported together.
///
/// Nesting is bounded by the parser (80 levels); size by whoever read the text.
pub(super) fn parse_toml(source: &SourceText, directory: &Arc<Path>) -> Result<Table, Vec<ConfigProblem>> {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return Ok(Builder { source, directory }.table(table.get_ref()));
    }
    let mut problems: Vec<ConfigProblem> = Vec::new();
    let mut lines = std::collections::BTreeSet::new();
    for error in &errors {
        let span = source.span(error.span().unwrap_or(0..0));
        // What follows on the same line is most often the parser finding its feet again.
        if lines.insert(span.line()) {
            let message = error.message().trim().replace('\n', "; ");
            problems.push(ConfigProblem::Syntax { message: format!("not valid TOML: {message}"), span });
        }
    }
    Err(problems)
}

struct Builder<'a> {
    source: &'a SourceText,
    directory: &'a Arc<Path>,
}

impl Builder<'_> {
    fn node(&self, value: Value, range: Range<usize>) -> Node {
        Node { value, span: self.source.span(range), directory: Arc::clone(self.directory) }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<(String, Entry)> = table
            .iter()
            .map(|(key, value)| {
                let entry = Entry { key: self.source.span(key.span()), node: self.value(value) };
                (key.get_ref().to_string(), entry)
            })
            .collect();
        // The parser sorts by name; people expect the order they wrote.
        entries.sort_by_key(|(_, entry)| entry.key.range.start);
        Table { entries: entries.into_iter().collect() }
    }

    fn value(&self, value: &toml::Spanned<DeValue<'_>>) -> Node {
        let converted = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                i64::from_str_radix(&digits, number.radix()).map_or(Value::Other("a number"), Value::Integer)
            }
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.value(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        self.node(converted, value.span())
    }
}

impl Table {
    /// Lays `over` on top: tables are joined, everything else is replaced, the later file wins.
    pub(super) fn overlay(&mut self, over: Self) {
        for (key, entry) in over.entries {
            match (self.entries.get_mut(&key).map(|entry| &mut entry.node.value), entry.node.value) {
                (Some(Value::Table(under)), Value::Table(table)) => under.overlay(table),
                (_, value) => {
                    self.entries.insert(key, Entry { node: Node { value, ..entry.node }, ..entry });
                }
            }
        }
    }
}
