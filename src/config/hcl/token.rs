use std::ops::Range;

/// What a piece of source text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Identifier,
    Number,
    Newline,
    /// Any operator or bracket, told apart by its text.
    Symbol,
    OpenQuote,
    CloseQuote,
    /// `<<NAME` with its line end; true for `<<-NAME`, which takes away indentation.
    OpenHeredoc(bool),
    CloseHeredoc,
    /// Text of a quoted template, escapes not yet resolved.
    Quoted,
    /// Text of a heredoc or bare template, at most one line with its end.
    Literal,
    /// `${`, with `~` if it trims what stands before.
    OpenInterpolation(bool),
    /// `%{`, with `~` if it trims what stands before.
    OpenDirective(bool),
    /// `}` of one of the two, with `~` if it trims what follows.
    CloseTemplate(bool),
    /// Something that is no part of the language.
    Bad(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// What the scanner is inside of.
enum Mode {
    /// Code, with the count of open braces; a closing brace at zero ends it if it was opened by a template.
    Code {
        braces: usize,
        in_template: bool,
    },
    Quoted,
    Heredoc {
        marker: String,
        line_start: bool,
    },
    Bare,
}

/// Cuts a text into tokens. `template` starts in a bare template, as strings of the JSON form are.
///
/// Never fails: what cannot be a token is one of kind [`Kind::Bad`], which the parser reports.
pub(crate) fn scan(text: &str, template: bool) -> Vec<Token> {
    let start = if text.starts_with('\u{feff}') && !template { '\u{feff}'.len_utf8() } else { 0 };
    let first = if template { Mode::Bare } else { Mode::Code { braces: 0, in_template: false } };
    let mut scanner = Scanner { text, at: start, tokens: Vec::new(), modes: vec![first] };
    while scanner.at < text.len() {
        scanner.step();
    }
    scanner.push(Kind::End, text.len());
    scanner.tokens
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    modes: Vec<Mode>,
}

const SYMBOLS: [&str; 11] = ["...", "==", "!=", ">=", "<=", "&&", "||", "::", "=>", "~}", "<<"];

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, end: usize) {
        self.tokens.push(Token { kind, range: self.at..end });
        self.at = end;
    }

    fn step(&mut self) {
        match self.modes.last() {
            Some(Mode::Code { .. }) | None => self.code(),
            Some(Mode::Quoted) => self.quoted(),
            Some(Mode::Heredoc { .. }) => self.heredoc(),
            Some(Mode::Bare) => self.bare(),
        }
    }

    fn code(&mut self) {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return };
        let at = self.at;
        if let Some(length) = comment_length(rest) {
            match length {
                Ok(length) => {
                    self.at += length;
                    // The line end of a line comment still ends the line.
                    if rest_is_line_comment(self.text, at) && self.text[..self.at].ends_with('\n') {
                        self.at -= 1;
                    }
                }
                Err(()) => self.push(Kind::Bad("a comment that is not closed"), self.text.len()),
            }
            return;
        }
        match c {
            ' ' | '\t' => self.at += 1,
            '\n' => self.push(Kind::Newline, at + 1),
            '\r' if rest.starts_with("\r\n") => self.push(Kind::Newline, at + 2),
            '0'..='9' => {
                let length = number_length(rest);
                self.push(Kind::Number, at + length);
            }
            '"' => {
                self.push(Kind::OpenQuote, at + 1);
                self.modes.push(Mode::Quoted);
            }
            '{' => {
                if let Some(Mode::Code { braces, .. }) = self.modes.last_mut() {
                    *braces += 1;
                }
                self.push(Kind::Symbol, at + 1);
            }
            '}' => self.close_brace(at + 1, false),
            '~' if rest.starts_with("~}") => self.close_brace(at + 2, true),
            '<' if rest.starts_with("<<") && heredoc_start(rest).is_some() => self.open_heredoc(),
            '_' => self.identifier(),
            c if is_identifier_start(c) => self.identifier(),
            '\'' => self.push(Kind::Bad("single quotes mean nothing here; write strings in double quotes"), at + 1),
            '`' => self.push(Kind::Bad("a backtick means nothing here; write strings in double quotes"), at + 1),
            ';' => {
                self.push(
                    Kind::Bad("a semicolon means nothing here; write each argument on a line of its own"),
                    at + 1,
                );
            }
            c if c.is_ascii_punctuation() => {
                let length = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)).map_or(1, |symbol| symbol.len());
                let length = if rest.starts_with("<<") { 1 } else { length };
                self.push(Kind::Symbol, at + length);
            }
            c => self.push(Kind::Bad("a character that has no meaning here"), at + c.len_utf8()),
        }
    }

    fn identifier(&mut self) {
        let length = self.rest().find(|c: char| !is_identifier_part(c)).unwrap_or(self.rest().len());
        self.push(Kind::Identifier, self.at + length);
    }

    fn close_brace(&mut self, end: usize, trim: bool) {
        match self.modes.last_mut() {
            Some(Mode::Code { braces: 0, in_template: true }) => {
                self.push(Kind::CloseTemplate(trim), end);
                self.modes.pop();
            }
            Some(Mode::Code { braces, .. }) => {
                *braces = braces.saturating_sub(1);
                self.push(if trim { Kind::CloseTemplate(true) } else { Kind::Symbol }, end);
            }
            _ => self.push(Kind::Symbol, end),
        }
    }

    fn open_heredoc(&mut self) {
        let Some((marker, flush, length)) = heredoc_start(self.rest()) else { return };
        let marker = marker.to_owned();
        self.push(Kind::OpenHeredoc(flush), self.at + length);
        self.modes.push(Mode::Heredoc { marker, line_start: true });
    }

    /// `${` and `%{` of any template; whether there was one.
    fn open_template(&mut self) -> bool {
        let rest = self.rest();
        let interpolation = rest.starts_with("${");
        if !interpolation && !rest.starts_with("%{") {
            return false;
        }
        let trim = rest[2..].starts_with('~');
        let end = self.at + if trim { 3 } else { 2 };
        if let Some(Mode::Heredoc { line_start, .. }) = self.modes.last_mut() {
            *line_start = false;
        }
        self.push(if interpolation { Kind::OpenInterpolation(trim) } else { Kind::OpenDirective(trim) }, end);
        self.modes.push(Mode::Code { braces: 0, in_template: true });
        true
    }

    fn quoted(&mut self) {
        if self.open_template() {
            return;
        }
        let rest = self.rest();
        if rest.starts_with('"') {
            self.push(Kind::CloseQuote, self.at + 1);
            self.modes.pop();
            return;
        }
        if rest.starts_with(['\n', '\r']) {
            // Going on as code keeps one forgotten quote from swallowing the rest of the file.
            self.push(Kind::Bad("a string that is not closed"), self.at + 1);
            self.modes.pop();
            return;
        }
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' | '\n' | '\r' => {
                    end = at;
                    break;
                }
                '\\' if chars.clone().next().is_some_and(|(_, c)| c != '\n' && c != '\r') => {
                    chars.next();
                }
                '$' | '%' => {
                    if rest[at + 1..].starts_with('{') {
                        end = at;
                        break;
                    }
                    skip_escaped_opening(rest, at, &mut chars);
                }
                _ => {}
            }
        }
        self.push(Kind::Quoted, self.at + end);
    }

    fn heredoc(&mut self) {
        let line_end = self.rest().find('\n').map(|at| at + 1);
        if let (Some(end), Some(Mode::Heredoc { marker, line_start: true })) = (line_end, self.modes.last()) {
            let line = &self.rest()[..end];
            if line.trim() == marker.as_str() {
                let newline = if line.ends_with("\r\n") { 2 } else { 1 };
                self.push(Kind::CloseHeredoc, self.at + end - newline);
                self.modes.pop();
                self.push(Kind::Newline, self.at + newline);
                return;
            }
        }
        if !self.open_template() {
            self.literal();
        }
    }

    fn bare(&mut self) {
        if !self.open_template() {
            self.literal();
        }
    }

    /// Text up to the end of the line, which belongs to it, or up to the next sequence.
    fn literal(&mut self) {
        let rest = self.rest();
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' => {
                    end = at + 1;
                    break;
                }
                '$' | '%' => {
                    if rest[at + 1..].starts_with('{') {
                        end = at;
                        break;
                    }
                    skip_escaped_opening(rest, at, &mut chars);
                }
                _ => {}
            }
        }
        let ends_line = rest[..end].ends_with('\n');
        if let Some(Mode::Heredoc { line_start, .. }) = self.modes.last_mut() {
            *line_start = ends_line;
        }
        self.push(Kind::Literal, self.at + end);
    }
}

/// Steps over the `${` of a `$${`, which is written out as it is.
fn skip_escaped_opening(rest: &str, at: usize, chars: &mut std::str::CharIndices<'_>) {
    let sign = &rest[at..=at];
    if rest[at + 1..].strip_prefix(sign).is_some_and(|after| after.starts_with('{')) {
        chars.next();
        chars.next();
    }
}

fn rest_is_line_comment(text: &str, at: usize) -> bool {
    text[at..].starts_with('#') || text[at..].starts_with("//")
}

/// Length of a comment at the start of `rest`; an error if it is not closed.
fn comment_length(rest: &str) -> Option<Result<usize, ()>> {
    if rest.starts_with('#') || rest.starts_with("//") {
        return Some(Ok(rest.find('\n').map_or(rest.len(), |at| at + 1)));
    }
    let body = rest.strip_prefix("/*")?;
    Some(body.find("*/").map(|at| at + 4).ok_or(()))
}

/// Marker, whether indentation is taken away, and length with the line end.
fn heredoc_start(rest: &str) -> Option<(&str, bool, usize)> {
    let body = rest.strip_prefix("<<")?;
    let (body, flush) = body.strip_prefix('-').map_or((body, false), |body| (body, true));
    if !body.chars().next().is_some_and(|c| c == '_' || is_identifier_start(c)) {
        return None;
    }
    let length = body.find(|c: char| !is_identifier_part(c))?;
    let (marker, after) = body.split_at(length);
    let newline = if after.starts_with("\r\n") {
        2
    } else if after.starts_with('\n') {
        1
    } else {
        return None;
    };
    Some((marker, flush, rest.len() - after.len() + newline))
}

/// Digits, points and exponents; a point belongs to it only if a digit follows.
#[expect(clippy::match_same_arms, reason = "a table of cases reads better in the order of the specification")]
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    loop {
        match bytes.get(at) {
            Some(b'0'..=b'9') => at += 1,
            Some(b'.') if digit(at + 1) => at += 1,
            Some(b'e' | b'E') if digit(at + 1) => at += 1,
            Some(b'e' | b'E') if matches!(bytes.get(at + 1), Some(b'+' | b'-')) && digit(at + 2) => at += 2,
            _ => return at,
        }
    }
}

/// Unicode's `ID_Start`, near enough: letters.
fn is_identifier_start(c: char) -> bool {
    c.is_alphabetic()
}

fn is_identifier_part(c: char) -> bool {
    c == '-' || c == '_' || c.is_alphanumeric()
}
