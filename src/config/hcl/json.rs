use std::ops::Range;

use crate::base::{SourceText, Span};
use crate::config::error::ConfigProblem;

use super::ast::{Attribute, Block, Body, Expression, Form};
use super::number::Number;
use super::parser::{MAX_NESTING, Place, parse_expression, parse_template};
use super::value::Value;

/// A JSON value with the place of everything; members stay in order and may repeat.
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) range: Range<usize>,
}

pub(crate) enum NodeKind {
    Null,
    Bool(bool),
    Number(Number),
    /// The text, and whether it stands in the file letter by letter.
    Text(String, bool),
    Array(Vec<Node>),
    Object(Vec<(Key, Node)>),
}

pub(crate) struct Key {
    pub(crate) text: String,
    verbatim: bool,
    range: Range<usize>,
}

/// What may stand in a block of some kind: its attributes, and the kinds of blocks inside.
pub(crate) struct Shape {
    pub(crate) kind: &'static str,
    /// Whether it has a label.
    pub(crate) labelled: bool,
    pub(crate) blocks: &'static [Self],
}

/// Reads a file in HCL's JSON syntax. `shapes` tells which members are blocks, since JSON does not.
pub(crate) fn parse_file(source: &SourceText, shapes: &'static [Shape]) -> Result<Body, Vec<ConfigProblem>> {
    let node = parse(source).map_err(|problem| vec![*problem])?;
    let mut reader = Reader { source, problems: Vec::new() };
    let body = reader.body(node, shapes);
    if reader.problems.is_empty() { Ok(body) } else { Err(reader.problems) }
}

type Parsed<T> = Result<T, Box<ConfigProblem>>;

fn parse(source: &SourceText) -> Parsed<Node> {
    let mut parser = Parser { source, text: source.text(), at: 0, nesting: 0 };
    let node = parser.value()?;
    parser.space();
    if parser.at < parser.text.len() {
        return Err(parser.expected("the end of the file"));
    }
    Ok(node)
}

struct Parser<'a> {
    source: &'a SourceText,
    text: &'a str,
    at: usize,
    nesting: usize,
}

impl Parser<'_> {
    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn problem(&self, message: String, range: Range<usize>) -> Box<ConfigProblem> {
        Box::new(ConfigProblem::Syntax { message, span: self.source.span(range) })
    }

    fn advised(&self, message: &str, help: &str, range: Range<usize>) -> Box<ConfigProblem> {
        let (message, help, span) = (message.to_owned(), Some(help.to_owned()), Some(self.source.span(range)));
        Box::new(ConfigProblem::Invalid { message, help, span })
    }

    /// A comma before a bracket that closes.
    fn last_comma(&self) -> Box<ConfigProblem> {
        let at = self.text[..self.at].rfind(',').unwrap_or(self.at);
        self.advised("a comma after the last value", "take it out: JSON has none there", at..at + 1)
    }

    fn expected(&self, what: &str) -> Box<ConfigProblem> {
        let found = match self.text[self.at..].chars().next() {
            None => "the end of the file".to_owned(),
            Some(c) if c.is_control() => format!("`{}`", c.escape_default()),
            Some(c) => format!("`{c}`"),
        };
        self.problem(format!("expected {what}, found {found}"), self.at..self.at + 1)
    }

    fn eat(&mut self, c: char) -> bool {
        self.space();
        let found = self.text[self.at..].starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn value(&mut self) -> Parsed<Node> {
        if self.nesting >= MAX_NESTING {
            return Err(self.problem(format!("nested more than {MAX_NESTING} levels deep"), self.at..self.at + 1));
        }
        self.nesting += 1;
        self.space();
        let start = self.at;
        let kind = match self.text[self.at..].chars().next() {
            Some('{') => self.object()?,
            Some('[') => self.array()?,
            Some('"') => {
                let (text, verbatim) = self.string()?;
                NodeKind::Text(text, verbatim)
            }
            Some('-' | '0'..='9') => self.number()?,
            Some(c) if c.is_ascii_alphabetic() => self.word()?,
            _ => return Err(self.expected("a value")),
        };
        self.nesting -= 1;
        Ok(Node { kind, range: start..self.at })
    }

    fn object(&mut self) -> Parsed<NodeKind> {
        self.at += 1;
        let mut members = Vec::new();
        if self.eat('}') {
            return Ok(NodeKind::Object(members));
        }
        loop {
            self.space();
            let start = self.at;
            match self.text[start..].chars().next() {
                Some('"') => {}
                Some('}') => return Err(self.last_comma()),
                Some('\'') => {
                    return Err(self.advised("single quotes", "JSON has double quotes only", start..start + 1));
                }
                _ => return Err(self.expected("a name in double quotes")),
            }
            let (text, verbatim) = self.string()?;
            let key = Key { text, verbatim, range: start..self.at };
            if !self.eat(':') {
                return Err(self.expected("`:`"));
            }
            members.push((key, self.value()?));
            if self.eat('}') {
                return Ok(NodeKind::Object(members));
            }
            if !self.eat(',') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn array(&mut self) -> Parsed<NodeKind> {
        self.at += 1;
        let mut values = Vec::new();
        if self.eat(']') {
            return Ok(NodeKind::Array(values));
        }
        loop {
            values.push(self.value()?);
            if self.eat(']') {
                return Ok(NodeKind::Array(values));
            }
            if !self.eat(',') {
                return Err(self.expected("`,` or `]`"));
            }
            self.space();
            if self.text[self.at..].starts_with(']') {
                return Err(self.last_comma());
            }
        }
    }

    fn string(&mut self) -> Parsed<(String, bool)> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(b'\n') | None => return Err(self.problem("a string that is not closed".to_owned(), start..end)),
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        let raw = self.text.get(start..=end).unwrap_or_default();
        let text: String = serde_json::from_str(raw)
            .map_err(|error| self.problem(format!("a string that is no JSON: {error}"), start..end + 1))?;
        let verbatim = raw.get(1..raw.len().saturating_sub(1)) == Some(text.as_str());
        Ok((text, verbatim))
    }

    fn number(&mut self) -> Parsed<NodeKind> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let range = self.at..self.at + length;
        let text = &rest[..length];
        // serde_json knows JSON's grammar of numbers; the value itself keeps all its digits.
        let valid = serde_json::from_str::<Box<serde_json::value::RawValue>>(text).is_ok();
        let number = Number::parse(text).filter(|_| valid);
        self.at = range.end;
        number.map(NodeKind::Number).ok_or_else(|| self.problem("a malformed number".to_owned(), range))
    }

    fn word(&mut self) -> Parsed<NodeKind> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let kind = match &rest[..length] {
            "null" => NodeKind::Null,
            "true" => NodeKind::Bool(true),
            "false" => NodeKind::Bool(false),
            _ => return Err(self.expected("a value (texts stand in double quotes)")),
        };
        self.at += length;
        Ok(kind)
    }
}

/// Makes blocks, attributes and expressions of JSON values.
struct Reader<'a> {
    source: &'a SourceText,
    problems: Vec<ConfigProblem>,
}

impl Reader<'_> {
    fn span(&self, range: &Range<usize>) -> Span {
        self.source.span(range.clone())
    }

    fn refuse(&mut self, message: impl Into<String>, range: &Range<usize>) {
        self.problems.push(ConfigProblem::Syntax { message: message.into(), span: self.span(range) });
    }

    fn body(&mut self, node: Node, shapes: &'static [Shape]) -> Body {
        let mut body = Body::default();
        let NodeKind::Object(members) = node.kind else {
            self.refuse("an object is required here, such as {\"target\": {…}}", &node.range);
            return body;
        };
        for (key, value) in members {
            if key.text == "//" {
                continue;
            }
            if let Some(shape) = shapes.iter().find(|shape| shape.kind == key.text) {
                self.blocks(value, shape, &key, &mut body);
                continue;
            }
            if let Some(first) = body.attribute(&key.text) {
                let message = format!("`{}` is set twice, first at {}", key.text, first.name_span);
                self.refuse(message, &key.range);
                continue;
            }
            let name_span = self.span(&key.range);
            body.attributes.push(Attribute { name: key.text, name_span, value: self.expression(value) });
        }
        body
    }

    fn blocks(&mut self, node: Node, shape: &'static Shape, key: &Key, body: &mut Body) {
        if !shape.labelled {
            self.block_bodies(node, shape, &[], &key.range, body);
            return;
        }
        let objects: Vec<Node> = match node.kind {
            NodeKind::Array(values) => values,
            NodeKind::Null => Vec::new(),
            _ => vec![node],
        };
        let mut found = false;
        for object in objects {
            let NodeKind::Object(members) = object.kind else {
                self.refuse(format!("an object with the {}s' names is required here", shape.kind), &object.range);
                continue;
            };
            for (label, value) in members {
                found = true;
                let labels = [(label.text.clone(), self.span(&label.range))];
                self.block_bodies(value, shape, &labels, &label.range, body);
            }
        }
        if !found {
            self.refuse(format!("no {} is named here", shape.kind), &key.range);
        }
    }

    fn block_bodies(
        &mut self,
        node: Node,
        shape: &'static Shape,
        labels: &[(String, Span)],
        range: &Range<usize>,
        body: &mut Body,
    ) {
        let bodies = match node.kind {
            NodeKind::Null => return,
            NodeKind::Array(values) => values,
            NodeKind::Object(_) => vec![node],
            _ => {
                self.refuse(format!("an object is required for a {}", shape.kind), &node.range);
                return;
            }
        };
        for inner in bodies {
            let inner = self.body(inner, shape.blocks);
            body.blocks.push(Block {
                kind: shape.kind.to_owned(),
                labels: labels.to_vec(),
                span: self.span(range),
                body: inner,
            });
        }
    }

    fn expression(&mut self, node: Node) -> Expression {
        let span = self.span(&node.range);
        let form = match node.kind {
            NodeKind::Null => Form::Literal(Value::null()),
            NodeKind::Bool(value) => Form::Literal(Value::Bool(value)),
            NodeKind::Number(number) => Form::Literal(Value::Number(number)),
            NodeKind::Text(text, verbatim) => return self.text(&text, verbatim, &node.range),
            NodeKind::Array(values) => Form::Tuple(values.into_iter().map(|value| self.expression(value)).collect()),
            NodeKind::Object(members) => Form::JsonObject(
                members
                    .into_iter()
                    .map(|(key, value)| (self.text(&key.text, key.verbatim, &key.range), self.expression(value)))
                    .collect(),
            ),
        };
        Expression { form, span }
    }

    fn text(&self, text: &str, verbatim: bool, range: &Range<usize>) -> Expression {
        let place = place(verbatim, range);
        let mut expression = parse_template(self.source, text, place)
            .unwrap_or_else(|problem| Expression { form: Form::Broken(Box::new(problem)), span: self.span(range) });
        expression.span = self.span(range);
        expression
    }
}

fn place(verbatim: bool, range: &Range<usize>) -> Place {
    if verbatim { Place::Offset(range.start + 1) } else { Place::Within(range.clone()) }
}

/// The text of a JSON string that stands for an expression: a type or a parameter's name.
pub(crate) fn expression_in_text(expression: &Expression) -> Option<Expression> {
    let text = match &expression.form {
        Form::Template(parts) => match &parts[..] {
            [Expression { form: Form::Literal(Value::String(text)), .. }] => text.to_string(),
            _ => return None,
        },
        _ => return None,
    };
    parse_expression(&expression.span.source, &text, Place::Within(expression.span.range.clone())).ok()
}
