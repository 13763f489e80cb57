use std::ops::Range;

/// Why a text cannot be interpolated, and which bytes of it are to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InterpolationError {
    pub(super) message: String,
    pub(super) help: String,
    pub(super) range: Range<usize>,
}

/// Nesting of defaults within defaults, deeper than anyone writes.
const MAX_DEPTH: usize = 16;
/// What a text may become by its substitutions: a few that double would fill any memory.
const MAX_BYTES: usize = 1 << 20;

/// Replaces `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}`, `${NAME+other}`, `${NAME:?message}`,
/// `${NAME?message}` and `$$` (a dollar sign) in `text`. A single `$` before anything else stands for itself.
///
/// The colon forms take an empty value for an unset one. Defaults and alternatives may hold substitutions themselves. A
/// name without a value and without a default is an error: nothing becomes empty in silence.
pub(super) fn interpolate(
    text: &str,
    lookup: &mut dyn FnMut(&str) -> Option<String>,
) -> Result<String, InterpolationError> {
    let mut reader = Reader { text, at: 0, lookup };
    let mut out = String::new();
    reader.run(&mut out, false, true, 0)?;
    Ok(out)
}

/// The names that occur in `${…}` of `text`, without looking at whether the text is well formed.
pub(super) fn mentioned(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let name = &after[..name_length(after)];
            if !name.is_empty() {
                names.push(name);
            }
            rest = after;
        }
    }
    names
}

/// The names with their defaults in `${NAME:-default}` and `${NAME-default}` of `text`.
pub(super) fn defaults(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, tail) = after.split_at(name_length(after));
            let default = tail.strip_prefix(":-").or_else(|| tail.strip_prefix('-'));
            if let Some(default) = default.and_then(|default| default.find('}').map(|end| &default[..end])) {
                found.push((name, default));
            }
            rest = after;
        }
    }
    found
}

/// Length of the name that `text` begins with.
pub(super) fn name_length(text: &str) -> usize {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first { text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count() } else { 0 }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    lookup: &'a mut dyn FnMut(&str) -> Option<String>,
}

impl Reader<'_> {
    fn error(&self, from: usize, message: &str, help: &str) -> InterpolationError {
        InterpolationError { message: message.to_owned(), help: help.to_owned(), range: from..self.at }
    }

    /// Copies to `out` up to the end, or to the `}` that closes a substitution (consumed).
    ///
    /// With `live` false the text is only passed over: a default that is not used asks for nothing.
    fn run(&mut self, out: &mut String, braced: bool, live: bool, depth: usize) -> Result<(), InterpolationError> {
        let start = self.at;
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.find(['$', '}']) else {
                out.push_str(rest);
                self.at = self.text.len();
                if braced {
                    return Err(self.error(
                        start,
                        "a `${` is not closed",
                        "close it with `}`, or write `$$` for a dollar sign",
                    ));
                }
                return Ok(());
            };
            out.push_str(&rest[..stop]);
            self.at += stop;
            let rest = &rest[stop..];
            if rest.starts_with('}') {
                self.at += 1;
                if braced {
                    return Ok(());
                }
                out.push('}');
            } else if rest.starts_with("$$") {
                self.at += 2;
                out.push('$');
            } else if rest.starts_with("${") {
                let from = self.at;
                self.substitution(out, live, depth)?;
                if out.len() > MAX_BYTES {
                    let help = "look for variables that are made of each other";
                    return Err(self.error(from, "the text becomes longer than 1 MiB", help));
                }
            } else {
                self.at += 1;
                out.push('$');
            }
        }
    }

    fn substitution(&mut self, out: &mut String, live: bool, depth: usize) -> Result<(), InterpolationError> {
        let from = self.at;
        self.at += "${".len();
        if depth >= MAX_DEPTH {
            return Err(self.error(
                from,
                "substitutions are nested too deeply",
                "give the inner ones a name in [vars] set",
            ));
        }
        let length = name_length(&self.text[self.at..]);
        let name = &self.text[self.at..self.at + length];
        self.at += length;
        let rest = &self.text[self.at..];
        let (colon, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
        let operator = rest.chars().next();
        let known = matches!(operator, Some('-' | '+' | '?')) || (operator == Some('}') && !colon);
        if name.is_empty() || !known {
            self.at = self.text[self.at..].find('}').map_or(self.text.len(), |end| self.at + end + 1);
            return Err(self.error(
                from,
                "this is not a substitution",
                "write ${NAME}, ${NAME:-default} or ${NAME:?message}, or `$$` for a dollar sign",
            ));
        }
        self.at += usize::from(colon) + 1;
        let value = if live { (self.lookup)(name) } else { None };
        let value = value.filter(|value| !colon || !value.is_empty());
        match operator {
            Some('}') => match value {
                Some(value) => out.push_str(&value),
                None if live => {
                    let help = format!(
                        "set it in [vars], in the environment or with --set {name}=…, or give a default: ${{{name}:-…}}"
                    );
                    return Err(self.error(from, &format!("`{name}` is not set"), &help));
                }
                None => {}
            },
            Some('-') => {
                let mut word = String::new();
                self.run(&mut word, true, live && value.is_none(), depth + 1)?;
                out.push_str(&value.unwrap_or(word));
            }
            Some('+') => {
                let mut word = String::new();
                self.run(&mut word, true, live && value.is_some(), depth + 1)?;
                if value.is_some() {
                    out.push_str(&word);
                }
            }
            _ => {
                let mut message = String::new();
                self.run(&mut message, true, live && value.is_none(), depth + 1)?;
                match value {
                    Some(value) => out.push_str(&value),
                    None if live => {
                        let text = if message.is_empty() { "it is required" } else { &message };
                        let help = format!("set it in the environment or with --set {name}=…");
                        return Err(self.error(from, &format!("`{name}` is not set: {text}"), &help));
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(text: &str) -> String {
        let mut lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &mut lookup).unwrap_or_else(|error| format!("{} at {:?}", error.message, error.range))
    }

    #[test]
    fn substitutes_by_every_operator() {
        for (text, result) in [
            ("x${A}y", "xay"),
            ("${U:-d}${E:-d}${E-d}${U-d}", "ddd"),
            ("${A:+x}${U:+x}${E:+x}${E+x}", "xx"),
            ("${A:?no}", "a"),
            ("${U:-${A}}", "a"),
            ("${A:-${U}}", "a"),
            ("${A:-${U:?never asked}}", "a"),
            ("$$A $${A} $A 5$ a}b", "$A ${A} $A 5$ a}b"),
            ("é${U}", "`U` is not set at 2..6"),
            ("${U:?give a tag}", "`U` is not set: give a tag at 0..16"),
            ("${E:?}", "`E` is not set: it is required at 0..6"),
            ("${A", "this is not a substitution at 0..3"),
            ("${A:-x", "a `${` is not closed at 5..6"),
            ("${} ${1}", "this is not a substitution at 0..3"),
            ("${A:}", "this is not a substitution at 0..5"),
            ("${A B}", "this is not a substitution at 0..6"),
        ] {
            assert_eq!(done(text), result, "{text}");
        }
        assert!(done(&format!("{}{}", "${U:-".repeat(999), "}".repeat(999))).starts_with("substitutions are nested"));
        assert_eq!(mentioned("a ${B:-${C}} $$D $${E} ${9} $F"), ["B", "C"]);
    }

    proptest::proptest! {
        #[test]
        fn is_total_and_blames_what_is_there(text in "[$A-CU{}:+?é-]{0,30}") {
            let mut lookup = |name: &str| (name == "A").then(String::new);
            if let Err(error) = interpolate(&text, &mut lookup) {
                assert!(text.get(error.range).is_some());
            }
        }

        #[test]
        fn text_without_a_dollar_is_itself(text in "[^$]{0,60}") {
            assert_eq!(done(&text), text);
        }

        #[test]
        fn doubled_dollars_are_undone(text in ".{0,40}") {
            assert_eq!(done(&text.replace('$', "$$")), text);
        }
    }
}
