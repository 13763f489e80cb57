//! Expressions: operators, values, and the steps into them.

use super::{BINARY, Bracket, Parsed, Parser, join};
use crate::config::error::ConfigProblem;
use crate::config::hcl::ast::{Call, Expression, For, Form, Step, StepKind};
use crate::config::hcl::number::Number;
use crate::config::hcl::token::{Kind, Token};
use crate::config::hcl::value::Value;
use std::ops::Range;

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
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
    #[expect(clippy::unused_self, reason = "it is called like its neighbours")]
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
    pub(super) fn for_names(&mut self) -> Parsed<(Option<String>, String)> {
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
