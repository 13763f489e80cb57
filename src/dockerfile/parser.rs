use std::ops::Range;

use super::instruction::{Flag, Instruction, InstructionKind, KNOWN, Word};
use super::lexer::{Directives, Lexed, LogicalLine, lex};
use super::{DockerfileError, DockerfileProblem};
use crate::base::{SourceText, did_you_mean};

/// A Dockerfile: its directives, the ARGs before the first FROM, and its stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The text.
    pub source: SourceText,
    /// Directives at its head.
    pub directives: Directives,
    /// The ARG instructions before the first FROM.
    pub global: Vec<Instruction>,
    /// Its stages, in order; the first instruction of each is its FROM. Empty only under a foreign `# syntax`.
    pub stages: Vec<Stage>,
}

/// One stage: a FROM and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name in lower case, if it has one.
    pub name: Option<String>,
    /// The image or stage it starts from, variables not expanded.
    pub image: Word,
    /// `--platform`, variables not expanded.
    pub platform: Option<Word>,
    /// The bytes of its FROM.
    pub range: Range<usize>,
    /// The instructions after the FROM.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Parses a text. Total: every text has a result or an error, in time linear in its length.
    ///
    /// Under a foreign `# syntax` nothing is an error: what cannot be understood is left out.
    pub fn parse(source: &SourceText) -> Result<Self, DockerfileError> {
        let Lexed { directives, bad_directives, lines, unterminated } = lex(source);
        let mut parser =
            Parser { source, strict: directives.syntax.is_none(), problems: Vec::new(), broken_from: false };
        for (span, message, help) in bad_directives {
            parser.problems.push(DockerfileProblem { message, help: Some(help), span });
        }
        let mut global = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for line in lines {
            let Some(instruction) = parser.instruction(line) else { continue };
            match (&instruction.kind, stages.last_mut()) {
                (InstructionKind::From { image, name }, _) => {
                    let stage = Stage {
                        name: name.as_ref().map(|name| name.text.to_lowercase()),
                        image: image.clone(),
                        platform: instruction.flag("platform").cloned(),
                        range: instruction.range.clone(),
                        instructions: Vec::new(),
                    };
                    stages.push(stage);
                }
                (_, Some(stage)) => stage.instructions.push(instruction),
                (InstructionKind::Arg(_), None) => global.push(instruction),
                // A FROM that could not be read has been reported; what follows it is not out of place.
                (_, None) if parser.broken_from => {}
                (_, None) => {
                    let name = &instruction.name;
                    parser.problem(
                        instruction.range.clone(),
                        format!("`{name}` before the first `FROM`"),
                        "begin with FROM; only ARG may stand before it".to_owned(),
                    );
                }
            }
        }
        if let Some(heredoc) = unterminated {
            let help = format!("end the heredoc with a line that is only `{}`", heredoc.name);
            let message = format!("the heredoc `{}` does not end", heredoc.name);
            parser.problems.push(DockerfileProblem { message, help: Some(help), span: heredoc.span });
        }
        if stages.is_empty() && parser.problems.is_empty() {
            let what = if global.is_empty() { "nothing to build" } else { "no `FROM`" };
            parser.problem(0..0, format!("{what} in this Dockerfile"), "begin with FROM and an image".to_owned());
        }
        let foreign = directives.is_foreign();
        let mut problems = parser.problems.into_iter();
        match problems.next() {
            Some(first) if !foreign => Err(DockerfileError::new(first, problems.collect())),
            _ => Ok(Self { source: source.clone(), directives, global, stages }),
        }
    }
}

struct Parser<'a> {
    source: &'a SourceText,
    /// No `# syntax`: the instructions are those of the builder's own frontend.
    strict: bool,
    problems: Vec<DockerfileProblem>,
    /// A FROM was there and could not be read.
    broken_from: bool,
}

/// One logical line while it is taken apart.
struct Cursor<'a> {
    line: &'a LogicalLine,
    at: usize,
}

impl Cursor<'_> {
    fn skip_blanks(&mut self) {
        let rest = &self.line.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn word(&self, range: Range<usize>) -> Word {
        Word { text: self.line.text[range.clone()].to_owned(), range: self.line.source_range(range) }
    }

    /// The next blank-delimited word.
    fn next(&mut self) -> Option<Word> {
        self.skip_blanks();
        let rest = &self.line.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let range = self.at..self.at + length;
        self.at = range.end;
        Some(self.word(range))
    }

    fn rest(&self) -> &str {
        self.line.text[self.at..].trim()
    }

    /// The next word in which blanks may be quoted or escaped, quotes and escapes kept.
    fn next_quoted(&mut self, escape: char) -> Option<Word> {
        self.skip_blanks();
        let start = self.at;
        let mut quote = None;
        let mut chars = self.line.text[start..].char_indices();
        let mut end = self.line.text.len();
        while let Some((offset, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = start + offset;
                    break;
                }
                Some(open) if open == c => quote = None,
                None if c == '"' || c == '\'' => quote = Some(c),
                // In single quotes an escape character is a plain one.
                None | Some('"') if c == escape => {
                    chars.next();
                }
                _ => {}
            }
        }
        self.at = end;
        (start < end).then(|| self.word(start..end))
    }
}

impl Parser<'_> {
    fn problem(&mut self, range: Range<usize>, message: String, help: String) {
        self.problems.push(DockerfileProblem { message, help: Some(help), span: self.source.span(range) });
    }

    fn instruction(&mut self, mut line: LogicalLine) -> Option<Instruction> {
        let heredocs = std::mem::take(&mut line.heredocs);
        let mut cursor = Cursor { line: &line, at: 0 };
        let word = cursor.next()?;
        let name = word.text.to_uppercase();
        let known = KNOWN.contains(&name.as_str());
        if !known && self.strict {
            let help = did_you_mean(&name, KNOWN.iter().copied()).map_or_else(
                || {
                    "a line of the instruction before must end in `\\`, or a `# syntax=` line must say who knows it"
                        .to_owned()
                },
                |near| format!("did you mean `{near}`?"),
            );
            self.problem(word.range, format!("unknown instruction `{}`", shortened(&word.text)), help);
            return None;
        }
        let flags = flags(&mut cursor);
        let kind = match name.as_str() {
            "FROM" => {
                let kind = self.from(&mut cursor, &word);
                self.broken_from |= kind.is_none();
                kind?
            }
            "ARG" => self.arg(&mut cursor, &word)?,
            "COPY" | "ADD" => self.copy(&mut cursor, &word)?,
            "RUN" => InstructionKind::Run,
            "ONBUILD" => InstructionKind::OnBuild,
            _ if known => InstructionKind::Other,
            _ => InstructionKind::Unknown,
        };
        // A RUN whose whole command is in its heredocs has those as its argument.
        if known
            && matches!(kind, InstructionKind::Run | InstructionKind::OnBuild | InstructionKind::Other)
            && cursor.rest().is_empty()
        {
            self.problem(
                word.range,
                format!("`{name}` without arguments"),
                format!("write what {name} is to do, or take it out"),
            );
            return None;
        }
        Some(Instruction { name, flags, kind, heredocs, range: line.range.clone() })
    }

    fn from(&mut self, cursor: &mut Cursor<'_>, name: &Word) -> Option<InstructionKind> {
        let Some(image) = cursor.next() else {
            self.problem(
                name.range.clone(),
                "`FROM` without an image".to_owned(),
                "write FROM and an image, a stage or `scratch`".to_owned(),
            );
            return None;
        };
        let Some(keyword) = cursor.next() else { return Some(InstructionKind::From { image, name: None }) };
        let stage = cursor.next();
        let (true, Some(stage), None) = (keyword.text.eq_ignore_ascii_case("as"), stage, cursor.next()) else {
            let help = format!("write `FROM {}` or `FROM {} AS name`", image.text, image.text);
            self.problem(keyword.range, "`FROM` takes an image and may give the stage a name".to_owned(), help);
            return None;
        };
        let lower = stage.text.to_lowercase();
        let mut bytes = lower.bytes();
        let valid = bytes.next().is_some_and(|b| b.is_ascii_lowercase())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        if !valid {
            let message = format!("`{}` cannot be the name of a stage", stage.text);
            self.problem(stage.range, message, "begin with a letter, then letters, digits, `-`, `_`, `.`".to_owned());
            return None;
        }
        Some(InstructionKind::From { image, name: Some(stage) })
    }

    fn arg(&mut self, cursor: &mut Cursor<'_>, name: &Word) -> Option<InstructionKind> {
        let mut all = Vec::new();
        while let Some(word) = cursor.next_quoted('\\') {
            let (name, default) = match word.text.split_once('=') {
                Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
                None => (word.text.clone(), None),
            };
            if name.is_empty() {
                self.problem(
                    word.range,
                    "`ARG` without a name before the `=`".to_owned(),
                    "write ARG NAME=default".to_owned(),
                );
                return None;
            }
            let range = word.range.start..word.range.start + name.len();
            all.push((Word { text: name, range }, default));
        }
        if all.is_empty() {
            self.problem(
                name.range.clone(),
                "`ARG` without a name".to_owned(),
                "write ARG NAME or ARG NAME=default".to_owned(),
            );
            return None;
        }
        Some(InstructionKind::Arg(all))
    }

    fn copy(&mut self, cursor: &mut Cursor<'_>, name: &Word) -> Option<InstructionKind> {
        cursor.skip_blanks();
        let rest = cursor.rest();
        let json: Option<Vec<String>> = if rest.starts_with('[') { serde_json::from_str(rest).ok() } else { None };
        let mut words: Vec<Word> = match json {
            Some(texts) => {
                let range = cursor.line.source_range(cursor.at..cursor.at + rest.len());
                texts.into_iter().map(|text| Word { text, range: range.clone() }).collect()
            }
            None => std::iter::from_fn(|| cursor.next()).collect(),
        };
        match (words.pop(), words.is_empty()) {
            (Some(destination), false) => Some(InstructionKind::Copy { sources: words, destination }),
            (only, _) => {
                let upper = name.text.to_uppercase();
                let message = match only {
                    Some(_) => format!("`{upper}` has a source and no destination"),
                    None => format!("`{upper}` has no source and no destination"),
                };
                self.problem(name.range.clone(), message, format!("write {upper} SOURCE… DESTINATION"));
                None
            }
        }
    }
}

/// The flags at the cursor, which is left at the first argument.
fn flags(cursor: &mut Cursor<'_>) -> Vec<Flag> {
    let mut flags = Vec::new();
    loop {
        cursor.skip_blanks();
        if !cursor.line.text[cursor.at..].starts_with("--") {
            return flags;
        }
        let Some(word) = cursor.next_quoted('\\') else { return flags };
        // A bare `--` ends the flags.
        if word.text == "--" {
            return flags;
        }
        let text = &word.text["--".len()..];
        let flag = match text.split_once('=') {
            Some((name, value)) => {
                let start = (word.range.start + "--".len() + name.len() + 1).min(word.range.end);
                let value = unquoted(value);
                Flag { name: name.to_owned(), value: Some(Word { text: value, range: start..word.range.end }) }
            }
            None => Flag { name: text.to_owned(), value: None },
        };
        flags.push(flag);
    }
}

/// Flags lose their quotes where they are read, before any expansion.
fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote))
            && !inner.contains(quote)
        {
            return inner.to_owned();
        }
    }
    value.to_owned()
}

fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(40).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}
