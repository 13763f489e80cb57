use std::ops::Range;

use crate::base::{SourceText, Span};
use crate::config::error::ConfigProblem;

use super::ast::{Attribute, Block, Body, Call, Expression, For, Form, Operator, Step, StepKind};
use super::number::Number;
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

    fn expression(&mut self) -> Parsed<Expression> {
        self.deeper(|parser| {
            let condition = parser.binary(0)?;
            if !parser.take_symbol("?") {
                return Ok(condition);
            }
            let yes = parser.expression()?;
            if !parser.take_symbol(":") {
                return Err(parser.unexpected("`:` and the value for when the condition does not hold"));
            }
            let no = parser.expression()?;
            let span = join(&condition.span, &no.span);
            Ok(Expression { form: Form::Conditional(Box::new([condition, yes, no])), span })
        })
    }

    fn binary(&mut self, level: usize) -> Parsed<Expression> {
        let Some(operators) = BINARY.get(level) else { return self.traversed() };
        let first = self.binary(level + 1)?;
        let mut others = Vec::new();
        loop {
            let token = self.token();
            let text = self.text_of(token);
            let found = operators.iter().find(|(symbol, _)| token.kind == Kind::Symbol && *symbol == text);
            let Some((_, operator)) = found else { break };
            self.next();
            others.push((*operator, self.binary(level + 1)?));
        }
        let Some((_, last)) = others.last() else { return Ok(first) };
        let span = join(&first.span, &last.span);
        Ok(Expression { form: Form::Chain(Box::new(first), others), span })
    }

    fn traversed(&mut self) -> Parsed<Expression> {
        let term = self.term()?;
        self.steps(term)
    }

    /// Everything that can follow a term: `.name`, `[key]`, splats.
    fn steps(&mut self, mut from: Expression) -> Parsed<Expression> {
        loop {
            if self.is_symbol(".") {
                let dot = self.next();
                let token = self.token().clone();
                match token.kind {
                    Kind::Identifier => {
                        self.next();
                        let kind = StepKind::Attribute(self.text_of(&token).to_owned());
                        from = add_step(from, Step { kind, span: self.span(dot.range.start..token.range.end) });
                    }
                    Kind::Number => {
                        let step = self.legacy_index(&dot)?;
                        from = add_step(from, step);
                    }
                    Kind::Symbol if self.is_symbol("*") => from = self.attribute_splat(from, &dot)?,
                    _ => return Err(self.unexpected("a name after the dot")),
                }
            } else if self.is_symbol("[") {
                let open = self.next();
                if self.is_symbol("*") {
                    self.next();
                    if !self.take_symbol("]") {
                        return Err(self.unexpected("`]`"));
                    }
                    let item = Expression { form: Form::Item, span: self.span(open.range.clone()) };
                    let each = self.deeper(|parser| parser.steps(item))?;
                    let span = join(&from.span, &each.span);
                    from = Expression { form: Form::Splat(Box::new(from), Box::new(each)), span };
                } else {
                    from = self.index_step(from, &open)?;
                }
            } else {
                return Ok(from);
            }
        }
    }

    /// `list.0`, the old way to write `list[0]`.
    fn legacy_index(&mut self, dot: &Token) -> Parsed<Step> {
        let token = self.next();
        let text = self.text_of(&token);
        let number = Number::parse(text).filter(|_| !text.contains('.'));
        let Some(number) = number else {
            return Err(self.problem("write `[0][1]` instead of `.0.1`", token.range));
        };
        let span = self.span(dot.range.start..token.range.end);
        Ok(Step { kind: StepKind::Index(Value::Number(number)), span })
    }

    /// `list.*.name`: names up to the first that is none belong to each element.
    fn attribute_splat(&mut self, from: Expression, dot: &Token) -> Parsed<Expression> {
        let star = self.next();
        let mut each = Expression { form: Form::Item, span: self.span(dot.range.start..star.range.end) };
        while self.is_symbol(".") {
            let dot = self.next();
            let token = self.token().clone();
            let step = match token.kind {
                Kind::Number => self.legacy_index(&dot)?,
                Kind::Identifier => {
                    self.next();
                    let kind = StepKind::Attribute(self.text_of(&token).to_owned());
                    Step { kind, span: self.span(dot.range.start..token.range.end) }
                }
                _ => return Err(self.unexpected("a name after the dot")),
            };
            each = add_step(each, step);
        }
        let span = join(&from.span, &each.span);
        Ok(Expression { form: Form::Splat(Box::new(from), Box::new(each)), span })
    }

    fn index_step(&mut self, from: Expression, open: &Token) -> Parsed<Expression> {
        let (key, end) = self.bracketed(Bracket::ROUND, |parser| {
            let key = parser.expression()?;
            if !parser.is_symbol("]") {
                return Err(parser.unexpected("`]`"));
            }
            Ok((key, parser.next().range.end))
        })?;
        let bracket = self.span(open.range.start..end);
        let span = join(&from.span, &bracket);
        // A literal key is a step like a name is, which matters for references to targets.
        let literal = match &key.form {
            Form::Literal(value) => Some(value.clone()),
            Form::Template(parts) => match &parts[..] {
                [Expression { form: Form::Literal(value), .. }] => Some(value.clone()),
                _ => None,
            },
            _ => None,
        };
        Ok(match literal {
            Some(value) => add_step(from, Step { kind: StepKind::Index(value), span: bracket }),
            None => Expression { form: Form::Index(Box::new(from), Box::new(key)), span },
        })
    }

    fn term(&mut self) -> Parsed<Expression> {
        let token = self.token().clone();
        match token.kind {
            Kind::Number => {
                self.next();
                let number = Number::parse(self.text_of(&token))
                    .ok_or_else(|| self.problem("a number that is malformed or too large", token.range.clone()))?;
                Ok(self.literal(Value::Number(number), token.range))
            }
            Kind::Identifier => {
                self.next();
                if self.is_symbol("(") || self.is_symbol("::") {
                    return self.call(&token);
                }
                Ok(match self.text_of(&token) {
                    "true" => self.literal(Value::Bool(true), token.range),
                    "false" => self.literal(Value::Bool(false), token.range),
                    "null" => self.literal(Value::null(), token.range),
                    name => Expression { form: Form::Variable(name.to_owned()), span: self.span(token.range) },
                })
            }
            Kind::OpenQuote => {
                self.next();
                self.deeper(|parser| parser.template(Kind::CloseQuote, false, token.range))
            }
            Kind::OpenHeredoc(flush) => {
                self.next();
                self.deeper(|parser| parser.template(Kind::CloseHeredoc, flush, token.range))
            }
            Kind::Symbol => self.symbol_term(&token),
            _ => Err(self.no_value()),
        }
    }

    /// There is no value where one must be.
    fn no_value(&self) -> Box<ConfigProblem> {
        self.unexpected_here("a value", Some("write a text in quotes, a number, a list, or the name of a variable"))
    }

    fn literal(&self, value: Value, range: Range<usize>) -> Expression {
        Expression { form: Form::Literal(value), span: self.span(range) }
    }

    fn symbol_term(&mut self, token: &Token) -> Parsed<Expression> {
        match self.text_of(token) {
            "(" => {
                self.next();
                let (inner, end) = self.bracketed(Bracket::ROUND, |parser| {
                    let inner = parser.expression()?;
                    if !parser.is_symbol(")") {
                        return Err(parser.unexpected("`)`"));
                    }
                    Ok((inner, parser.next().range.end))
                })?;
                let span = self.span(token.range.start..end);
                Ok(Expression { form: Form::Parentheses(Box::new(inner)), span })
            }
            "-" | "!" => {
                self.next();
                let operand = self.deeper(Self::traversed)?;
                let span = join(&self.span(token.range.clone()), &operand.span);
                let operand = Box::new(operand);
                let form = if self.text_of(token) == "-" { Form::Negate(operand) } else { Form::Not(operand) };
                Ok(Expression { form, span })
            }
            "[" => {
                self.next();
                self.bracketed(Bracket::ROUND, |parser| parser.tuple(token))
            }
            "{" => {
                self.next();
                // `for` may stand on a line of its own.
                self.brackets.push(Bracket::BRACE);
                let is_for = self.is_word("for");
                self.brackets.pop();
                if is_for {
                    return self.bracketed(Bracket::BRACE, |parser| parser.for_expression(token, "}"));
                }
                self.bracketed(Bracket::OBJECT, |parser| parser.object(token))
            }
            _ => Err(self.no_value()),
        }
    }

    fn tuple(&mut self, open: &Token) -> Parsed<Expression> {
        if self.is_word("for") {
            return self.for_expression(open, "]");
        }
        let mut values = Vec::new();
        while !self.is_symbol("]") {
            values.push(self.expression()?);
            if !self.take_symbol(",") && !self.is_symbol("]") {
                let help = Some("separate the values by `,` and end the list with `]`");
                return Err(self.unexpected_here("`,` or `]`", help));
            }
        }
        let end = self.next().range.end;
        Ok(Expression { form: Form::Tuple(values), span: self.span(open.range.start..end) })
    }

    fn object(&mut self, open: &Token) -> Parsed<Expression> {
        let mut items = Vec::new();
        loop {
            self.skip_newlines();
            if self.is_symbol("}") {
                let end = self.next().range.end;
                return Ok(Expression { form: Form::Object(items), span: self.span(open.range.start..end) });
            }
            let key = self.expression()?;
            let key = self.object_key(key)?;
            if !self.take_symbol("=") && !self.take_symbol(":") {
                return Err(self.unexpected_here("`=` and a value after the key", Some("write `key = value`")));
            }
            items.push((key, self.expression()?));
            let separated = self.is_symbol("}") || self.take_symbol(",") || self.peek() == Kind::Newline;
            if !separated {
                return Err(self.unexpected("a line end, `,` or `}`"));
            }
        }
    }

    /// A bare name is the key itself; anything else is evaluated.
    fn object_key(&self, key: Expression) -> Parsed<Expression> {
        match key.form {
            Form::Variable(name) => Ok(Expression { form: Form::Literal(Value::string(name)), span: key.span }),
            Form::Traversal(ref from, _) if matches!(from.form, Form::Variable(_)) => {
                let message = "a key with dots and no quotes".to_owned();
                let help = "put it in quotes if it is the text, in parentheses if it is a name's value".to_owned();
                Err(Box::new(ConfigProblem::Invalid { message, help: Some(help), span: Some(key.span) }))
            }
            _ => Ok(key),
        }
    }

    fn for_expression(&mut self, open: &Token, close: &str) -> Parsed<Expression> {
        self.next();
        let (key_name, value_name) = self.for_names()?;
        let collection = self.expression()?;
        if !self.take_symbol(":") {
            return Err(self.unexpected("`:` and the result"));
        }
        let mut result = self.expression()?;
        let mut key = None;
        if self.take_symbol("=>") {
            key = Some(result);
            result = self.expression()?;
        }
        let group = self.take_symbol("...");
        let mut condition = None;
        if self.is_word("if") {
            self.next();
            condition = Some(self.expression()?);
        }
        if !self.is_symbol(close) {
            return Err(self.unexpected(&format!("`{close}`")));
        }
        let end = self.next().range.end;
        let range = open.range.start..end;
        match (close, &key) {
            ("}", None) => return Err(self.problem("a `for` in braces needs `key => value`", range)),
            ("]", Some(_)) => return Err(self.problem("a `for` in brackets has no `key =>`", range)),
            ("]", None) if group => return Err(self.problem("only a `for` in braces can group with `...`", range)),
            _ => {}
        }
        let each = For { key_name, value_name, collection, key, result, condition, group };
        Ok(Expression { form: Form::For(Box::new(each)), span: self.span(range) })
    }

    /// `key, value in` or `value in`.
    fn for_names(&mut self) -> Parsed<(Option<String>, String)> {
        let mut names = Vec::new();
        loop {
            if self.peek() != Kind::Identifier {
                return Err(self.unexpected("a name for the element"));
            }
            let token = self.next();
            names.push(self.text_of(&token).to_owned());
            if names.len() == 2 || !self.take_symbol(",") {
                break;
            }
        }
        if !self.is_word("in") {
            return Err(self.unexpected("`in` and a collection"));
        }
        self.next();
        let value = names.pop().unwrap_or_default();
        Ok((names.pop(), value))
    }

    fn call(&mut self, name: &Token) -> Parsed<Expression> {
        let mut full_name = self.text_of(name).to_owned();
        let mut name_end = name.range.end;
        while self.take_symbol("::") {
            if self.peek() != Kind::Identifier {
                return Err(self.unexpected("a function's name"));
            }
            let part = self.next();
            full_name.push_str("::");
            full_name.push_str(self.text_of(&part));
            name_end = part.range.end;
        }
        if !self.take_symbol("(") {
            return Err(self.unexpected("`(`"));
        }
        let (arguments, expand, end) = self.bracketed(Bracket::ROUND, |parser| {
            let mut arguments = Vec::new();
            let mut expand = false;
            while !parser.is_symbol(")") {
                arguments.push(parser.expression()?);
                if parser.take_symbol("...") {
                    expand = true;
                    if !parser.is_symbol(")") {
                        return Err(parser.unexpected("`)`, since `...` belongs to the last argument"));
                    }
                } else if !parser.take_symbol(",") && !parser.is_symbol(")") {
                    return Err(parser.unexpected("`,` or `)`"));
                }
            }
            Ok((arguments, expand, parser.next().range.end))
        })?;
        let name_span = self.span(name.range.start..name_end);
        let call = Call { name: full_name, name_span, arguments, expand };
        Ok(Expression { form: Form::Call(call), span: self.span(name.range.start..end) })
    }
}

/// From the start of one to the end of the other.
fn join(from: &Span, to: &Span) -> Span {
    let start = from.range.start.min(to.range.start);
    Span { source: from.source.clone(), range: start..to.range.end.max(from.range.end) }
}

fn add_step(from: Expression, step: Step) -> Expression {
    let span = join(&from.span, &step.span);
    match from.form {
        Form::Traversal(root, mut steps) => {
            steps.push(step);
            Expression { form: Form::Traversal(root, steps), span }
        }
        form => {
            let root = Box::new(Expression { form, span: from.span });
            Expression { form: Form::Traversal(root, vec![step]), span }
        }
    }
}

mod template;
