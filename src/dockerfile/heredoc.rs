use std::ops::Range;

/// One heredoc of a RUN, COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, without quotes; also the file name where COPY writes one.
    pub name: String,
    /// Whether variables in it are expanded: the word was not quoted.
    pub expand: bool,
    /// `<<-`: leading tabs of every line are taken off.
    pub strip_tabs: bool,
    /// The bytes of the file between the marker's line and the terminator, as written.
    pub body: Range<usize>,
}

/// A `<<NAME` whose body has not been looked for yet.
pub(super) struct Marker {
    pub(super) name: String,
    pub(super) range: Range<usize>,
    expand: bool,
    strip_tabs: bool,
}

impl Marker {
    /// Whether `line` (without its end) is the terminator.
    pub(super) fn ends_at(&self, line: &str) -> bool {
        let line = if self.strip_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }

    pub(super) fn with_body(self, body: Range<usize>) -> Heredoc {
        Heredoc { name: self.name, expand: self.expand, strip_tabs: self.strip_tabs, body }
    }
}

/// The heredoc markers of an instruction: whole words `[0-9]*<<[-]NAME` of RUN, COPY and ADD, also under ONBUILD.
///
/// Words are the shell's, so a quoted `<<` is none; with an unbalanced quote there are no words and so no heredocs
/// (moby/buildkit frontend/dockerfile/parser).
pub(super) fn markers(line: &str) -> Vec<Marker> {
    if !line.contains("<<") || !may_have_heredocs(line) {
        return Vec::new();
    }
    shell_words(line).unwrap_or_default().into_iter().filter_map(|range| marker(line, range)).collect()
}

fn may_have_heredocs(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let is = |word: Option<&str>, names: &[&str]| {
        word.is_some_and(|word| names.iter().any(|name| word.eq_ignore_ascii_case(name)))
    };
    let first = words.next();
    let name = if is(first, &["onbuild"]) { words.next() } else { first };
    is(name, &["run", "copy", "add"])
}

fn marker(line: &str, range: Range<usize>) -> Option<Marker> {
    let word = &line[range.clone()];
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = unquoted(rest);
    (!name.is_empty()).then(|| Marker { expand: name == rest, name, range, strip_tabs })
}

fn unquoted(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// Ranges of the blank-separated words of a line, quotes and backslashes honoured and kept; none if a quote stays open.
fn shell_words(line: &str) -> Option<Vec<Range<usize>>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote: Option<char> = None;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(open) => {
                if c == '\\' && open == '"' {
                    chars.next();
                } else if c == open {
                    quote = None;
                }
            }
            None if c.is_whitespace() => {
                if let Some(start) = start.take() {
                    words.push(start..at);
                }
            }
            None => {
                start.get_or_insert(at);
                match c {
                    '\'' | '"' => quote = Some(c),
                    '\\' => {
                        chars.next();
                    }
                    _ => {}
                }
            }
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(start.map(|start| start..line.len()));
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<(String, bool, bool)> {
        markers(line).into_iter().map(|marker| (marker.name, marker.expand, marker.strip_tabs)).collect()
    }

    #[test]
    fn finds_whole_words_only() {
        let plain = |name: &str| (name.to_owned(), true, false);
        assert_eq!(names("RUN <<EOF"), [plain("EOF")]);
        assert_eq!(names("COPY <<a <<b /x/"), [plain("a"), plain("b")]);
        assert_eq!(names("run 3<<EOF cat <&3"), [plain("EOF")]);
        assert_eq!(names("RUN <<-EOF"), [("EOF".to_owned(), true, true)]);
        assert_eq!(names("RUN <<'EOF'"), [("EOF".to_owned(), false, false)]);
        assert_eq!(names("ONBUILD RUN <<\"E F\""), [("E F".to_owned(), false, false)]);
        for none in
            ["RUN echo '<<EOF'", "RUN cat <<<EOF", "RUN a<<EOF", "ENV A=<<EOF", "RUN echo 1 << 2", "RUN \"<<EOF"]
        {
            assert_eq!(names(none), [], "{none}");
        }
    }
}
