use std::ops::Range;

use crate::base::{SourceText, Span};
use crate::config::error::ConfigProblem;

use super::ast::{Attribute, Block, Body, Expression, For, Form, Operator};
use super::token::{Kind, Token, scan};
use super::value::Value;

/// Deeper nesting is refused: nobody writes it, and it would exhaust the stack.
pub(crate) const MAX_NESTING: usize = 250;

/// What to do about a block that should be on several lines.
const ONE_LINE: Option<&str> = Some("a block on one line holds one argument: write each on a line of its own");

/// Errors of one file that are reported together.
const MAX_PROBLEMS: usize = 20;

/// Reads a file in HCL's native syntax.
///
/// Every statement that cannot be read is one problem; the others are read all the same so that all are found at once.
pub(crate) fn parse_file(source: &SourceText) -> Result<Body, Vec<ConfigProblem>> {
    let mut parser = Parser::new(source, source.text(), Place::Offset(0), false);
    let body = parser.body(None);
    if parser.problems.is_empty() { Ok(body) } else { Err(parser.problems) }
}

/// Reads a text of the JSON syntax as a template. `place` says where the text stands in the file.
pub(crate) fn parse_template(source: &SourceText, text: &str, place: Place) -> Result<Expression, ConfigProblem> {
    let mut parser = Parser::new(source, text, place, true);
    let result = parser.template(Kind::End, false, 0..text.len());
    match (result, parser.problems.into_iter().next()) {
        (Ok(expression), None) => Ok(expression),
        (Err(problem), _) => Err(*problem),
        (Ok(_), Some(problem)) => Err(problem),
    }
}

/// Reads a text as one expression: types and parameters of the JSON syntax.
pub(crate) fn parse_expression(source: &SourceText, text: &str, place: Place) -> Result<Expression, ConfigProblem> {
    let mut parser = Parser::new(source, text, place, false);
    let expression = parser.expression().map_err(|problem| *problem)?;
    parser.skip_newlines();
    match parser.peek() {
        Kind::End => Ok(expression),
        _ => Err(*parser.unexpected("the end of the expression")),
    }
}

/// Where the characters of a text stand in its file.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// One after the other from this byte on.
    Offset(usize),
    /// Somewhere in here: escapes make it impossible to count.
    Within(Range<usize>),
}

/// An open bracket.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    /// Whether a line end means something in it.
    newlines: bool,
    /// Whether `}` closes it.
    brace: bool,
}

impl Bracket {
    const BLOCK: Self = Self { newlines: true, brace: true };
    const OBJECT: Self = Self::BLOCK;
    /// `{ for`, `${`.
    const BRACE: Self = Self { newlines: false, brace: true };
    /// `(` and `[`.
    const ROUND: Self = Self { newlines: false, brace: false };
}

/// What is no part of the language, and what to write in its place.
fn bad(parser: &Parser<'_>, what: &str, range: Range<usize>) -> Box<ConfigProblem> {
    match what.split_once("; ") {
        Some((what, help)) => parser.advised(what, help, range),
        None => parser.problem(what, range),
    }
}

type Parsed<T> = Result<T, Box<ConfigProblem>>;

struct Parser<'a> {
    source: &'a SourceText,
    text: &'a str,
    place: Place,
    tokens: Vec<Token>,
    at: usize,
    /// The brackets around this place; the innermost decides whether line ends mean something.
    brackets: Vec<Bracket>,
    nesting: usize,
    problems: Vec<ConfigProblem>,
}

const BINARY: [&[(&str, Operator)]; 6] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[("==", Operator::Equal), ("!=", Operator::NotEqual)],
    &[(">", Operator::Greater), (">=", Operator::GreaterOrEqual), ("<", Operator::Less), ("<=", Operator::LessOrEqual)],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Modulo)],
];

impl<'a> Parser<'a> {
    fn new(source: &'a SourceText, text: &'a str, place: Place, template: bool) -> Self {
        let tokens = scan(text, template);
        Self { source, text, place, tokens, at: 0, brackets: Vec::new(), nesting: 0, problems: Vec::new() }
    }

    fn span(&self, range: Range<usize>) -> Span {
        match &self.place {
            Place::Offset(offset) => self.source.span(range.start + offset..range.end + offset),
            Place::Within(range) => self.source.span(range.clone()),
        }
    }

    /// The token after `at` that counts here.
    fn index(&self) -> usize {
        let mut at = self.at;
        if self.brackets.last().is_some_and(|bracket| !bracket.newlines) {
            while self.tokens[at].kind == Kind::Newline {
                at += 1;
            }
        }
        at
    }

    fn token(&self) -> &Token {
        &self.tokens[self.index()]
    }

    fn peek(&self) -> Kind {
        self.token().kind
    }

    fn text_of(&self, token: &Token) -> &'a str {
        &self.text[token.range.clone()]
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        let token = self.token();
        token.kind == Kind::Symbol && self.text_of(token) == symbol
    }

    fn is_word(&self, word: &str) -> bool {
        let token = self.token();
        token.kind == Kind::Identifier && self.text_of(token) == word
    }

    fn next(&mut self) -> Token {
        let at = self.index();
        let token = self.tokens[at].clone();
        // The end is never passed.
        self.at = if token.kind == Kind::End { at } else { at + 1 };
        token
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    fn skip_newlines(&mut self) {
        while self.tokens[self.at].kind == Kind::Newline {
            self.at += 1;
        }
    }

    fn problem(&self, message: impl Into<String>, range: Range<usize>) -> Box<ConfigProblem> {
        Box::new(ConfigProblem::Syntax { message: message.into(), span: self.span(range) })
    }

    /// A problem with what to do about it.
    fn advised(&self, message: impl Into<String>, help: impl Into<String>, range: Range<usize>) -> Box<ConfigProblem> {
        let (message, help) = (message.into(), Some(help.into()));
        Box::new(ConfigProblem::Invalid { message, help, span: Some(self.span(range)) })
    }

    fn unexpected(&self, wanted: &str) -> Box<ConfigProblem> {
        self.unexpected_here(wanted, None)
    }

    fn unexpected_here(&self, wanted: &str, help: Option<&str>) -> Box<ConfigProblem> {
        let token = self.token();
        let found = match token.kind {
            Kind::Bad(what) => return bad(self, what, token.range.clone()),
            Kind::End => "the end of the file".to_owned(),
            Kind::Newline => "the end of the line".to_owned(),
            Kind::CloseQuote | Kind::OpenQuote => "a quote".to_owned(),
            _ => format!("`{}`", self.text_of(token).chars().take(40).collect::<String>()),
        };
        let message = format!("expected {wanted}, found {found}");
        match help {
            Some(help) => self.advised(message, help, token.range.clone()),
            None => self.problem(message, token.range.clone()),
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= MAX_NESTING {
            return Err(self.problem(format!("nested more than {MAX_NESTING} levels deep"), self.token().range.clone()));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    /// Parses inside brackets, where line ends mean something or not.
    ///
    /// After an error the bracket stays, so that [`Self::recover`] knows how deep it happened.
    fn bracketed<T>(&mut self, bracket: Bracket, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.brackets.push(bracket);
        let value = self.deeper(parse)?;
        self.brackets.pop();
        Ok(value)
    }

    /// Statements up to the closing brace, or to the end of the file. `opening` is the block's header, if it is a block's.
    fn body(&mut self, opening: Option<&Range<usize>>) -> Body {
        let mut body = Body::default();
        let (known, depth) = (self.problems.len(), self.brackets.len());
        loop {
            self.skip_newlines();
            match (self.peek(), opening) {
                (Kind::End, Some(opening)) => {
                    // What went wrong before mostly swallowed the brace.
                    if self.problems.len() == known {
                        let problem = self.advised(
                            "this block is not closed",
                            "end it with `}` on a line of its own",
                            opening.clone(),
                        );
                        self.problems.push(*problem);
                    }
                    return body;
                }
                (Kind::End, None) => return body,
                (Kind::Symbol, Some(_)) if self.is_symbol("}") => {
                    self.next();
                    return body;
                }
                _ => {}
            }
            if let Err(problem) = self.statement(&mut body) {
                self.problems.push(*problem);
                if self.problems.len() >= MAX_PROBLEMS {
                    self.at = self.tokens.len() - 1;
                    return body;
                }
                self.recover(depth, opening.is_some());
            }
        }
    }

    /// Goes on after the statement that could not be read: at the next line end outside all brackets that it opened. Brackets
    /// up to `depth` are those of the blocks around it; a `}` too many closes the innermost, if there is one.
    fn recover(&mut self, depth: usize, in_block: bool) {
        let mut open: Vec<bool> = self.brackets.drain(depth..).map(|bracket| bracket.brace).collect();
        loop {
            let token = self.tokens[self.at].clone();
            match token.kind {
                Kind::End => return,
                Kind::Newline if open.is_empty() => return,
                Kind::Symbol | Kind::CloseTemplate(_) => {
                    match (self.text_of(&token), open.iter().rposition(|brace| *brace)) {
                        ("{", _) => open.push(true),
                        ("[" | "(", _) => open.push(false),
                        ("}" | "~}", Some(at)) => open.truncate(at),
                        ("}", None) if in_block && token.kind == Kind::Symbol => return,
                        ("]" | ")", _) if open.last() == Some(&false) => drop(open.pop()),
                        _ => {}
                    }
                }
                Kind::OpenInterpolation(_) | Kind::OpenDirective(_) => open.push(true),
                _ => {}
            }
            self.at += 1;
        }
    }

    fn statement(&mut self, body: &mut Body) -> Parsed<()> {
        if self.peek() != Kind::Identifier {
            let help = "write `name = value`, or a block such as `target \"name\" {`";
            return Err(self.unexpected_here("an argument or a block", Some(help)));
        }
        let name = self.next();
        if self.is_symbol("=") {
            let attribute = self.attribute(&name)?;
            match self.peek() {
                Kind::Newline | Kind::End => {}
                Kind::Symbol if self.is_symbol(",") => {
                    return Err(self.advised(
                        "a comma between arguments",
                        "write each argument on a line of its own, without commas",
                        self.token().range.clone(),
                    ));
                }
                _ => return Err(self.unexpected("a line end after the argument")),
            }
            return self.add(body, attribute);
        }
        let block = self.block(&name)?;
        match self.peek() {
            Kind::Newline | Kind::End => {}
            _ => return Err(self.unexpected("a line end after the block")),
        }
        body.blocks.push(block);
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "it is called like its neighbours")]
    fn add(&self, body: &mut Body, attribute: Attribute) -> Parsed<()> {
        if let Some(first) = body.attribute(&attribute.name) {
            let message = format!("`{}` is set twice, first in line {}", attribute.name, first.name_span.line());
            let (help, span) = (Some("keep one of the two".to_owned()), Some(attribute.name_span));
            return Err(Box::new(ConfigProblem::Invalid { message, help, span }));
        }
        body.attributes.push(attribute);
        Ok(())
    }

    fn attribute(&mut self, name: &Token) -> Parsed<Attribute> {
        self.next();
        let value = self.expression()?;
        Ok(Attribute { name: self.text_of(name).to_owned(), name_span: self.span(name.range.clone()), value })
    }

    fn block(&mut self, kind: &Token) -> Parsed<Block> {
        let mut labels = Vec::new();
        loop {
            let token = self.token().clone();
            match token.kind {
                Kind::Symbol if self.is_symbol("{") => break,
                Kind::Identifier => {
                    self.next();
                    labels.push((self.text_of(&token).to_owned(), self.span(token.range)));
                }
                Kind::OpenQuote => labels.push(self.label()?),
                _ if labels.is_empty() => {
                    let help = "write `name = value`, or a block such as `target \"name\" {`";
                    return Err(self.unexpected_here("`=` and a value, or a block's label or `{`", Some(help)));
                }
                _ => return Err(self.unexpected("a label or `{`")),
            }
        }
        let open = self.next();
        let header = kind.range.start..open.range.end;
        let span = self.span(header.clone());
        let kind_name = self.text_of(kind).to_owned();
        let body = self.bracketed(Bracket::BLOCK, |parser| match parser.peek() {
            Kind::Newline | Kind::End => Ok(parser.body(Some(&header))),
            Kind::Symbol if parser.is_symbol("}") => Ok(parser.body(Some(&header))),
            _ => parser.single_line_body(),
        })?;
        Ok(Block { kind: kind_name, labels, span, body })
    }

    /// `{ name = value }`: one argument, on the line of the block.
    fn single_line_body(&mut self) -> Parsed<Body> {
        if self.peek() != Kind::Identifier {
            return Err(self.unexpected("an argument"));
        }
        let name = self.next();
        if !self.is_symbol("=") {
            return Err(self.unexpected_here("`=`", ONE_LINE));
        }
        let attribute = self.attribute(&name)?;
        if !self.take_symbol("}") {
            return Err(self.unexpected_here("`}`", ONE_LINE));
        }
        Ok(Body { attributes: vec![attribute], blocks: Vec::new() })
    }

    fn label(&mut self) -> Parsed<(String, Span)> {
        let open = self.next();
        let mut label = String::new();
        loop {
            let token = self.next();
            match token.kind {
                Kind::CloseQuote => return Ok((label, self.span(open.range.start..token.range.end))),
                Kind::Quoted => label.push_str(&self.unescaped(&token)?),
                Kind::OpenInterpolation(_) | Kind::OpenDirective(_) => {
                    return Err(self.problem("a label is no template; write `$${` for a literal `${`", token.range));
                }
                _ => return Err(self.unclosed(open.range.start..token.range.end)),
            }
        }
    }

    /// A string without its end.
    fn unclosed(&self, range: Range<usize>) -> Box<ConfigProblem> {
        let help = "close it with `\"`; a text of several lines is written as `<<EOF`, its lines, and `EOF`";
        self.advised("a string that is not closed", help, range)
    }
}

/// From the start of one to the end of the other.
fn join(from: &Span, to: &Span) -> Span {
    let start = from.range.start.min(to.range.start);
    Span { source: from.source.clone(), range: start..to.range.end.max(from.range.end) }
}

mod expression;
mod template;
