use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::timestamp::timestamp;
use crate::base::{SourceText, Span};
use crate::config::error::ConfigProblem;

/// A YAML value with the place where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// `!reset` and `!override`.
    pub(crate) mark: Option<Mark>,
}

/// A scalar is resolved as Go's YAML library does it; numbers are kept as they are written out again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Whole(String),
    Float(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// Compose's own tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// What stands here in files below is forgotten.
    Reset,
    /// What stands here in files below is replaced instead of merged.
    Override,
}

impl Node {
    pub(crate) fn text(text: impl Into<String>, span: &Span) -> Self {
        Self { kind: Kind::Text(text.into()), span: span.clone(), mark: None }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(own, _)| own == name).map(|(_, node)| node),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&[(String, Self)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as a text; `None` for null, lists and maps.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.kind {
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Whole(text) | Kind::Float(text) | Kind::Text(text) => Some(text.clone()),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// What it is, for messages.
    pub(crate) const fn what(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a truth value",
            Kind::Whole(_) | Kind::Float(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Nodes after aliases are resolved: beyond any real file, far below what a chain of aliases can ask for.
const MAX_NODES: usize = 100_000;
const MAX_DEPTH: usize = 100;

/// Reads all documents of a file.
pub(crate) fn parse(source: &SourceText) -> Result<Vec<Node>, ConfigProblem> {
    let mut builder = Builder { source, anchors: BTreeMap::new(), nodes: 0 };
    let mut events = Parser::new_from_str(source.text());
    let mut documents = Vec::new();
    loop {
        match builder.next(&mut events)? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(..), _) => {
                builder.anchors.clear();
                let first = builder.next(&mut events)?;
                documents.push(builder.node(first, &mut events, 0)?);
            }
            _ => {}
        }
    }
}

type Placed<'a> = (Event<'a>, granit_parser::Span);

struct Builder<'a> {
    source: &'a SourceText,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    #[expect(clippy::unused_self, reason = "it is called like its neighbours")]
    fn problem(&self, message: impl Into<String>, span: Span) -> ConfigProblem {
        ConfigProblem::Syntax { message: message.into(), span }
    }

    fn next(
        &self,
        events: &mut impl Iterator<Item = Result<Placed<'a>, granit_parser::ScanError>>,
    ) -> Result<Placed<'a>, ConfigProblem> {
        match events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0);
                Err(self.problem(error.info().clone(), self.source.span(at..at + 1)))
            }
            None => Ok((Event::StreamEnd, granit_parser::Span::default())),
        }
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        self.source.span(span.byte_range().unwrap_or(0..0))
    }

    fn count(&mut self, by: usize, span: &Span) -> Result<(), ConfigProblem> {
        self.nodes += by;
        if self.nodes > MAX_NODES {
            return Err(self.problem(format!("more than {MAX_NODES} values, counting aliases"), span.clone()));
        }
        Ok(())
    }

    #[expect(clippy::match_same_arms, reason = "a table of cases reads better in the order of the specification")]
    fn node(
        &mut self,
        (event, place): Placed<'a>,
        events: &mut impl Iterator<Item = Result<Placed<'a>, granit_parser::ScanError>>,
        depth: usize,
    ) -> Result<Node, ConfigProblem> {
        let span = self.span(&place);
        self.count(1, &span)?;
        if depth > MAX_DEPTH {
            return Err(self.problem(format!("nested more than {MAX_DEPTH} levels deep"), span));
        }
        let (kind, anchor, tag) = match event {
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id).cloned() else {
                    return Err(self.problem("an alias inside of what it stands for", span));
                };
                self.count(size(&target), &span)?;
                return Ok(target);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = match (style, core_tag(tag.as_deref())) {
                    (_, Some("str")) => Kind::Text(text.into_owned()),
                    (ScalarStyle::Plain, _) => resolve(&text),
                    (_, Some("int" | "bool" | "float" | "null")) => resolve(&text),
                    _ => Kind::Text(text.into_owned()),
                };
                (kind, anchor, mark(tag.as_deref()))
            }
            Event::SequenceStart(_, anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.next(events)? {
                        (Event::SequenceEnd, _) => break,
                        next => items.push(self.node(next, events, depth + 1)?),
                    }
                }
                (Kind::List(items), anchor, mark(tag.as_deref()))
            }
            Event::MappingStart(_, anchor, tag) => {
                (Kind::Map(self.mapping(events, depth)?), anchor, mark(tag.as_deref()))
            }
            _ => (Kind::Null, 0, None),
        };
        let node = Node { kind, span, mark: tag };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn mapping(
        &mut self,
        events: &mut impl Iterator<Item = Result<Placed<'a>, granit_parser::ScanError>>,
        depth: usize,
    ) -> Result<Vec<(String, Node)>, ConfigProblem> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let next = self.next(events)?;
            if matches!(next.0, Event::MappingEnd) {
                break;
            }
            let merge_key = matches!(&next.0, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.node(next, events, depth + 1)?;
            let value = self.next(events)?;
            let value = self.node(value, events, depth + 1)?;
            if merge_key {
                match value.kind {
                    Kind::List(items) => merged.extend(items),
                    _ => merged.push(value),
                }
                continue;
            }
            let Some(name) = key.as_str() else {
                return Err(self.problem(format!("a key must be a text, this is {}", key.what()), key.span));
            };
            if !seen.insert(name.to_owned()) {
                return Err(self.problem(format!("the key `{name}` stands twice in this mapping"), key.span));
            }
            entries.push((name.to_owned(), value));
        }
        for source in merged {
            let Kind::Map(others) = source.kind else {
                return Err(self.problem("`<<` merges mappings only", source.span));
            };
            for (name, value) in others {
                // What is written here wins, then what is merged first.
                if seen.insert(name.clone()) {
                    entries.push((name, value));
                }
            }
        }
        Ok(entries)
    }
}

fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|(_, node)| size(node)).sum::<usize>(),
        _ => 1,
    }
}

fn mark(tag: Option<&Tag>) -> Option<Mark> {
    let tag = tag?.to_string();
    if tag.ends_with("!reset") {
        Some(Mark::Reset)
    } else if tag.ends_with("!override") {
        Some(Mark::Override)
    } else {
        None
    }
}

fn core_tag(tag: Option<&Tag>) -> Option<&'static str> {
    let tag = tag?.to_string();
    ["str", "int", "bool", "float", "null"]
        .into_iter()
        .find(|name| tag == format!("tag:yaml.org,2002:{name}") || tag == format!("!!{name}"))
}

/// A plain scalar, as Go's YAML library reads it: YAML 1.2 with old octal numbers and underscores.
fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Kind::Float("+Inf".to_owned()),
        "-.inf" | "-.Inf" | "-.INF" => return Kind::Float("-Inf".to_owned()),
        ".nan" | ".NaN" | ".NAN" => return Kind::Float("NaN".to_owned()),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Kind::Text(text.to_owned());
    }
    if let Some(time) = timestamp(text) {
        return Kind::Text(time);
    }
    if let Some(whole) = whole(&text.replace('_', "")) {
        return Kind::Whole(whole.to_string());
    }
    match float(&text.replace('_', "")) {
        Some(value) => Kind::Float(go_float(value)),
        None => Kind::Text(text.to_owned()),
    }
}

fn whole(text: &str) -> Option<i128> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = body.to_lowercase();
    let (digits, base) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        _ if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, base).ok()?);
    let value = if negative { -value } else { value };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn float(text: &str) -> Option<f64> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = body.split_once(['e', 'E']).map_or((body, None), |(m, e)| (m, Some(e)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let shaped = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_shaped = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if shaped && exponent_shaped { text.parse().ok() } else { None }
}

/// Go's `%v` of a double: shortest, with an exponent below 1e-4 and from 1e6 on unless it has more digits.
fn go_float(value: f64) -> String {
    crate::config::hcl::number::Number::from_f64(value).general_text(None)
}
