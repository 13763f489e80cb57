//! Strings, heredocs and the texts of the JSON syntax: literal text with `${…}` and `%{…}` in it.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use super::{Bracket, Expression, For, Form, Kind, Parsed, Parser, Token, Value, bad, join};
use crate::base::Span;
use crate::config::error::ConfigProblem;

/// A template cut at its sequences, directives not yet put together.
enum Part {
    Text(String),
    Value(Expression),
    If(Expression),
    Else,
    EndIf,
    For { key_name: Option<String>, value_name: String, collection: Expression },
    EndFor,
}

impl Part {
    const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Value(_) => "text",
            Self::If(_) => "if",
            Self::Else => "else",
            Self::EndIf => "endif",
            Self::For { .. } => "for",
            Self::EndFor => "endfor",
        }
    }
}

type Parts = Vec<(Part, Span)>;

/// What ends a run of parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    End,
    ElseOrEndIf,
    EndIf,
    EndFor,
}

impl Parser<'_> {
    /// Everything up to the token of kind `end`, which is taken too.
    pub(super) fn template(&mut self, end: Kind, flush: bool, open: Range<usize>) -> Parsed<Expression> {
        let (mut parts, close) = self.template_parts(end, &open)?;
        if flush {
            remove_indentation(&mut parts);
        }
        let parts = melded(parts);
        let span = self.span(open.start..close.end.max(open.end));
        let mut parts = parts.into_iter();
        if parts.len() == 1
            && let Some((Part::Value(_), _)) = parts.as_slice().first()
            && let Some((Part::Value(inner), _)) = parts.next()
        {
            return Ok(Expression { form: Form::Wrapped(Box::new(inner)), span });
        }
        let (mut expressions, _) = self.assemble(&mut parts, Until::End, &span)?;
        if expressions.is_empty() {
            expressions.push(Expression { form: Form::Literal(Value::string("")), span: span.clone() });
        }
        Ok(Expression { form: Form::Template(expressions), span })
    }

    /// Puts directives together with what they enclose; returns what ended the run, too.
    fn assemble(
        &mut self,
        parts: &mut std::vec::IntoIter<(Part, Span)>,
        until: Until,
        opened: &Span,
    ) -> Parsed<(Vec<Expression>, Option<Part>)> {
        self.deeper(|parser| {
            let mut expressions = Vec::new();
            loop {
                let Some((part, span)) = parts.next() else {
                    if until == Until::End {
                        return Ok((expressions, None));
                    }
                    return Err(unbalanced("this directive is never closed".to_owned(), opened));
                };
                let form = match part {
                    Part::Text(text) => Form::Literal(Value::string(text)),
                    Part::Value(inner) => {
                        expressions.push(inner);
                        continue;
                    }
                    Part::If(condition) => parser.assemble_if(parts, condition, &span)?,
                    Part::For { key_name, value_name, collection } => {
                        let (inner, _) = parser.assemble(parts, Until::EndFor, &span)?;
                        let result = Expression { form: Form::Template(inner), span: span.clone() };
                        let each =
                            For { key_name, value_name, collection, key: None, result, condition: None, group: false };
                        let each = Expression { form: Form::For(Box::new(each)), span: span.clone() };
                        Form::Joined(Box::new(each))
                    }
                    Part::Else if until == Until::ElseOrEndIf => return Ok((expressions, Some(Part::Else))),
                    Part::EndIf if matches!(until, Until::ElseOrEndIf | Until::EndIf) => {
                        return Ok((expressions, Some(Part::EndIf)));
                    }
                    Part::EndFor if until == Until::EndFor => return Ok((expressions, Some(Part::EndFor))),
                    other => {
                        return Err(unbalanced(format!("`{}` closes nothing that is open here", other.name()), &span));
                    }
                };
                expressions.push(Expression { form, span });
            }
        })
    }

    fn assemble_if(
        &mut self,
        parts: &mut std::vec::IntoIter<(Part, Span)>,
        condition: Expression,
        span: &Span,
    ) -> Parsed<Form> {
        let (yes, ended) = self.assemble(parts, Until::ElseOrEndIf, span)?;
        let no = match ended {
            Some(Part::Else) => self.assemble(parts, Until::EndIf, span)?.0,
            _ => Vec::new(),
        };
        let branch = |parts| Expression { form: Form::Template(parts), span: span.clone() };
        Ok(Form::Conditional(Box::new([condition, branch(yes), branch(no)])))
    }

    fn template_parts(&mut self, end: Kind, open: &Range<usize>) -> Parsed<(Parts, Range<usize>)> {
        let mut parts: Vec<(Part, Span)> = Vec::new();
        let mut trim_next = false;
        let mut last_is_text = false;
        loop {
            let token = self.tokens[self.at].clone();
            if token.kind == end {
                if end != Kind::End {
                    self.at += 1;
                }
                return Ok((parts, token.range));
            }
            let trim = std::mem::take(&mut trim_next);
            let after_text = std::mem::take(&mut last_is_text);
            match token.kind {
                Kind::Quoted | Kind::Literal => {
                    self.at += 1;
                    let text = self.unescaped(&token)?;
                    let text = if trim { text.trim_start().to_owned() } else { text };
                    parts.push((Part::Text(text), self.span(token.range)));
                    last_is_text = true;
                }
                Kind::OpenInterpolation(trim_before) | Kind::OpenDirective(trim_before) => {
                    self.at += 1;
                    if let Some((Part::Text(text), _)) = parts.last_mut()
                        && trim_before
                        && after_text
                    {
                        text.truncate(text.trim_end().len());
                    }
                    let interpolation = matches!(token.kind, Kind::OpenInterpolation(_));
                    let (part, trim_after) = self.bracketed(Bracket::BRACE, |parser| parser.sequence(interpolation))?;
                    trim_next = trim_after;
                    let end = self.tokens[self.at.saturating_sub(1)].range.end;
                    parts.push((part, self.span(token.range.start..end)));
                }
                Kind::Bad(_) if end == Kind::CloseQuote => return Err(self.unclosed(open.clone())),
                Kind::Bad(what) => return Err(bad(self, what, token.range)),
                _ if end == Kind::CloseHeredoc => {
                    let word = self.text[open.clone()].trim_start_matches(['<', '-']).trim();
                    let help = format!("end it with a line that is only `{word}`");
                    return Err(self.advised("a heredoc that does not end", help, open.clone()));
                }
                _ => return Err(self.unclosed(open.clone())),
            }
        }
    }

    /// What stands between `${` or `%{` and its `}`; whether white space after it is to go.
    fn sequence(&mut self, interpolation: bool) -> Parsed<(Part, bool)> {
        let part = if interpolation { Part::Value(self.expression()?) } else { self.directive()? };
        match self.peek() {
            Kind::CloseTemplate(trim) => {
                self.next();
                Ok((part, trim))
            }
            _ => Err(self.unexpected_here("`}` after the value", Some("a literal `${` is written `$${`"))),
        }
    }

    fn directive(&mut self) -> Parsed<Part> {
        if self.peek() != Kind::Identifier {
            return Err(self.unexpected("`if`, `else`, `endif`, `for` or `endfor`"));
        }
        let word = self.next();
        match self.text_of(&word) {
            "if" => Ok(Part::If(self.expression()?)),
            "else" => Ok(Part::Else),
            "endif" => Ok(Part::EndIf),
            "endfor" => Ok(Part::EndFor),
            "for" => {
                let (key_name, value_name) = self.for_names()?;
                Ok(Part::For { key_name, value_name, collection: self.expression()? })
            }
            other => Err(self.advised(
                format!("unknown directive `{other}`"),
                "there are `if`, `else`, `endif`, `for` and `endfor`; a literal `%{` is written `%%{`",
                word.range.clone(),
            )),
        }
    }

    /// The text of a token with its escapes resolved.
    pub(super) fn unescaped(&self, token: &Token) -> Parsed<String> {
        let raw = self.text_of(token);
        let quoted = token.kind == Kind::Quoted;
        if !raw.contains(['\\', '$', '%']) {
            return Ok(raw.to_owned());
        }
        let mut text = String::with_capacity(raw.len());
        let mut at = 0;
        while let Some(c) = raw[at..].chars().next() {
            let rest = &raw[at..];
            if rest.starts_with("$${") || rest.starts_with("%%{") {
                text.push_str(&rest[1..3]);
                at += 3;
            } else if c == '\\' && quoted {
                let (resolved, length) = escape(rest).ok_or_else(|| {
                    let start = token.range.start + at;
                    let length = rest.chars().take(2).map(char::len_utf8).sum::<usize>();
                    self.advised(
                        "an unknown escape",
                        r#"there are \n, \r, \t, \", \\, \uXXXX and \UXXXXXXXX"#,
                        start..start + length,
                    )
                })?;
                text.push(resolved);
                at += length;
            } else {
                text.push(c);
                at += c.len_utf8();
            }
        }
        Ok(text)
    }
}

fn unbalanced(message: String, span: &Span) -> Box<ConfigProblem> {
    Box::new(ConfigProblem::Syntax { message, span: span.clone() })
}

/// The character that an escape stands for, and its length.
fn escape(rest: &str) -> Option<(char, usize)> {
    let kind = rest.chars().nth(1)?;
    let digits = match kind {
        'n' => return Some(('\n', 2)),
        'r' => return Some(('\r', 2)),
        't' => return Some(('\t', 2)),
        '"' => return Some(('"', 2)),
        '\\' => return Some(('\\', 2)),
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let code = rest.get(2..2 + digits).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let character = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
    Some((character, 2 + digits))
}

/// Takes the smallest indentation of all lines away from each: `<<-`.
///
/// Counted in user-perceived characters; blank lines do not count, a line that begins with a sequence counts as
/// unindented. White space that `~` took away is gone before, as in the reference implementation.
fn remove_indentation(parts: &mut [(Part, Span)]) {
    let mut smallest = usize::MAX;
    let mut indented = Vec::new();
    let mut line_start = true;
    for (at, (part, _)) in parts.iter().enumerate() {
        if std::mem::take(&mut line_start) {
            match part {
                Part::Text(text) if text.trim_start().is_empty() && text.ends_with('\n') => {}
                Part::Text(text) => {
                    let space = &text[..text.len() - text.trim_start().len()];
                    smallest = smallest.min(space.graphemes(true).count());
                    indented.push(at);
                }
                _ => smallest = 0,
            }
        }
        if let Part::Text(text) = part {
            line_start = text.ends_with('\n');
        }
    }
    for at in indented {
        if let Some((Part::Text(text), _)) = parts.get_mut(at) {
            *text = text.graphemes(true).skip(smallest).collect();
        }
    }
}

/// Neighbouring texts made one.
fn melded(parts: Vec<(Part, Span)>) -> Vec<(Part, Span)> {
    let mut result: Vec<(Part, Span)> = Vec::with_capacity(parts.len());
    for (part, span) in parts {
        match (result.last_mut(), part) {
            (Some((Part::Text(before), before_span)), Part::Text(text)) => {
                before.push_str(&text);
                *before_span = join(before_span, &span);
            }
            (_, part) => result.push((part, span)),
        }
    }
    result
}
