use std::borrow::Cow;
use std::collections::HashSet;
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::progress::ci::{data, property};
use super::style::{Style, Tone, justified, printable, wrapped};
use crate::base::{ErrorClass, Failure, SourceText, Span};
use crate::catalogue;
use crate::run::CellFailure;

/// An error as people read it: what failed, the cause, where, what to do, where the log is, in this order.
///
/// ```text
/// error: nginx/arm64 failed at step 2 of 4: RUN apk add nginx
///   cause   exec /bin/sh: exec format error
///   where   src/nginx/Dockerfile:7:1
///             6 | FROM registry.example.com/alpine:3.22
///           > 7 | RUN apk add nginx
///               | ^^^
///   output  exec /bin/sh: exec format error
///   why     the program is for another processor than the one that runs it (C101)
///   fix     pull a base that has linux/arm64
///   log     .catamaran/logs/nginx/linux-arm64.log
/// ```
///
/// Everything in it may come from outside; it is made printable when it is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub(super) title: String,
    pub(super) causes: Vec<String>,
    pub(super) place: Option<Place>,
    pub(super) output: Vec<String>,
    pub(super) known: Option<&'static str>,
    pub(super) why: Option<String>,
    pub(super) fix: Option<String>,
    /// What the catalogue advises, where the error itself does not.
    pub(super) advice: Option<&'static str>,
    pub(super) log: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// 1-based, inclusive.
    pub(super) first: usize,
    pub(super) last: usize,
    /// 1-based, in characters of the first line, and how many of them are meant; unknown where only lines are.
    column: Option<(usize, usize)>,
    /// (number, text) of the lines to show.
    pub(super) lines: Vec<(usize, String)>,
}

/// Lines of a file that are shown before the place itself.
const CONTEXT_LINES: usize = 2;
/// Lines of the place itself that are shown.
const PLACE_LINES: usize = 8;
/// Last lines of a step's output that are shown.
pub(super) const OUTPUT_LINES: usize = 20;
/// Causes that are shown: longer chains repeat themselves.
const CAUSES: usize = 6;
/// Errors that are told at all: a file can have a hundred thousand of them.
const TOLD: usize = 60;
/// Width of the words before the text, their indentation included.
const LABEL: usize = 10;
/// Characters of a message or an advice that are shown: a value that is megabytes long is not repeated.
const TEXT: usize = 2000;

impl Diagnostic {
    /// Reads everything that `error` tells, except for its [`Failure::others`].
    pub fn of(error: &dyn Failure) -> Self {
        let title = error.to_string();
        let mut causes: Vec<String> = Failure::cause(error).into_iter().collect();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Wrappers often repeat what they wrap; a line that says nothing new costs the reader one look.
            if !title.contains(&text) && !causes.iter().any(|known| known.contains(&text)) {
                causes.push(text);
            }
            source = Error::source(cause);
        }
        causes.truncate(CAUSES);
        let lines = error.excerpt().map(|(text, first, last)| Place::new(&text, first, last));
        let place = lines.or_else(|| error.span().map(|span| Place::of(&span)));
        let known = catalogue::explain(error);
        Self {
            title,
            causes,
            place,
            output: error.output(),
            known: known.map(|entry| entry.id),
            why: known.map(|entry| entry.means.to_owned()),
            // What the error itself advises knows the case, the catalogue only the kind.
            advice: known.map(|entry| entry.fix).filter(|_| error.help().is_none()),
            fix: error.help(),
            log: None,
        }
    }

    /// With other advice, where the place at which it is told makes a difference.
    #[must_use]
    pub fn with_fix(mut self, fix: Option<String>) -> Self {
        if fix.is_some() {
            (self.fix, self.advice) = (fix, None);
        }
        self
    }

    /// Reads everything that a failed cell tells.
    pub fn of_cell(failure: &CellFailure) -> Self {
        let mut diagnostic = Self { log: failure.log.clone(), ..Self::of(failure) };
        if diagnostic.advice.is_none() {
            diagnostic.fix = diagnostic.fix.or_else(|| last_advice(failure));
        }
        diagnostic
    }

    /// The same with the place of the full log.
    pub(super) fn with_log(self, log: Option<PathBuf>) -> Self {
        Self { log, ..self }
    }

    /// One line: the title and its first cause.
    pub fn short(&self, style: &Style) -> String {
        let cause = self.causes.first().map(|cause| format!(": {}", printable(&shortened(cause)))).unwrap_or_default();
        format!("{} {}{cause}", style.paint(Tone::Bad, "error:"), printable(&shortened(&self.title)))
    }

    /// The error as a workflow command of GitHub Actions, which shows it beside the line that it is about. Paths are told
    /// relative to `workspace`.
    pub fn annotation(&self, workspace: &Path) -> String {
        let place = self.place.as_ref().map(|place| {
            let path = place.path.strip_prefix(workspace).unwrap_or(&place.path).to_string_lossy().into_owned();
            format!("file={},line={},endLine={},", property(&path), place.first, place.last)
        });
        let mut message = self.causes.clone();
        message.extend(self.output.iter().rev().take(3).rev().cloned());
        message.extend(self.why.clone());
        message.extend(self.fix.clone().or_else(|| self.advice.map(str::to_owned)).map(|fix| format!("fix: {fix}")));
        let message: Vec<String> = message.iter().map(|line| printable(line)).collect();
        let title = property(&printable(&self.title));
        format!("::error {}title={title}::{}\n", place.unwrap_or_default(), data(&message.join("\n")))
    }

    /// The whole, ending in a line end. With `exit`, the exit code stands at the right of the last line.
    pub fn render(&self, style: &Style, exit: Option<u8>) -> String {
        let mut lines = vec![format!("{} {}", style.paint(Tone::Bad, "error:"), printable(&shortened(&self.title)))];
        for (at, cause) in self.causes.iter().enumerate() {
            // Causes may be long texts of several lines; each line keeps its own.
            for (row, text) in cause.lines().filter(|text| !text.trim().is_empty()).enumerate() {
                let label = if at == 0 && row == 0 { "cause" } else { "" };
                lines.push(labelled(style, label, &printable(&shortened(text))));
            }
        }
        if let Some(place) = &self.place {
            place.render(style, &mut lines);
        }
        let skipped = self.output.len().saturating_sub(OUTPUT_LINES);
        for (at, text) in self.output.iter().skip(skipped).enumerate() {
            lines.push(labelled(style, if at == 0 { "output" } else { "" }, &printable(text)));
        }
        self.render_advice(style, &mut lines);
        if let Some(log) = &self.log {
            lines.push(labelled(style, "log", &style.path(log)));
        }
        if let (Some(exit), Some(last)) = (exit, lines.last_mut()) {
            *last = justified(last, &format!("exit {exit}"), style.width);
        }
        lines.join("\n") + "\n"
    }

    /// Why it happened, and what to do.
    fn render_advice(&self, style: &Style, lines: &mut Vec<String>) {
        let mut tell = |label: &str, texts: Vec<String>| {
            for (at, text) in texts.iter().enumerate() {
                lines.push(labelled(style, if at == 0 { label } else { "" }, &printable(text)));
            }
        };
        let width = style.width.saturating_sub(LABEL);
        if let Some(why) = &self.why {
            let id = self.known.map(|id| format!(" ({id})")).unwrap_or_default();
            tell("why", wrapped(&format!("{why}{id}"), width));
        }
        tell("fix", self.fix.as_ref().map(|fix| advice_lines(fix, width)).unwrap_or_default());
        tell("fix", self.advice.map(|advice| wrapped(advice, width)).unwrap_or_default());
    }
}

/// What can be done about a failed cell where neither its error nor the catalogue knows better.
pub(super) fn last_advice(failure: &CellFailure) -> Option<String> {
    let of_build = failure.class() == ErrorClass::Build;
    of_build.then(|| {
        format!("see all of it with `catamaran logs {}`, mend it, build again: finished cells are kept", failure.cell)
    })
}

impl Place {
    /// The lines of a span, and the column where it begins.
    fn of(span: &Span) -> Self {
        let (first, column) = span.source.line_column(span.range.start);
        let (last, end) = span.source.line_column(span.range.end.max(span.range.start + 1) - 1);
        let length = if first == last { (end + 1).saturating_sub(column).max(1) } else { 0 };
        Self { column: Some((column, length)), ..Self::new(&span.source, first, last) }
    }

    fn new(source: &SourceText, first: usize, last: usize) -> Self {
        let last = last.max(first);
        let start = first.saturating_sub(CONTEXT_LINES).max(1);
        let end = last.min(first + PLACE_LINES - 1);
        let lines = source.lines(start, end).map(|(number, text)| (number, text.to_owned())).collect();
        Self { path: source.path().to_owned(), first, last, column: None, lines }
    }

    fn render(&self, style: &Style, lines: &mut Vec<String>) {
        let column = self.column.map(|(column, _)| format!(":{column}")).unwrap_or_default();
        lines.push(labelled(style, "where", &format!("{}:{}{column}", style.path(&self.path), self.first)));
        let digits = self.lines.last().map_or(1, |(number, _)| number.to_string().len());
        let room = style.width.saturating_sub(LABEL + digits + 5).max(20);
        for (number, text) in &self.lines {
            let inside = (self.first..=self.last).contains(number);
            let mark = if inside { ">" } else { " " };
            let (column, length) = self.column.filter(|_| *number == self.first).unwrap_or((1, 0));
            let (text, marked) = window(text, column - 1, length, room);
            let line = format!("{:LABEL$}{mark} {number:>digits$} | {text}", "");
            let line = line.trim_end();
            lines.push(if inside { line.to_owned() } else { style.paint(Tone::Faint, line) });
            if length > 0 {
                let carets = " ".repeat(marked.start) + &"^".repeat(marked.len());
                lines.push(format!("{:LABEL$}  {:>digits$} | {carets}", "", ""));
            }
        }
    }
}

/// The part of a line that fits into `room` characters, with what stands at `column` in it, and where that is there.
///
/// Files that programs write have lines of megabytes.
fn window(line: &str, column: usize, length: usize, room: usize) -> (String, Range<usize>) {
    let shown = |text: &str| printable(&text.replace('\t', "    "));
    let total = line.chars().take(column + room + 1).count();
    let skipped = if total > room { column.saturating_sub(room / 3) } else { 0 };
    let part = |from: usize, count: usize| shown(&line.chars().skip(from).take(count).collect::<String>());
    let before = part(skipped, column - skipped);
    let (before, lead) = if skipped > 0 { (format!("…{before}"), 1) } else { (before, 0) };
    let start = before.chars().count();
    let mut text = before + &part(column, room);
    let mut end = start + part(column, length.min(room)).chars().count().max(1);
    if text.chars().count() > room || line.chars().nth(column + room).is_some() {
        text = text.chars().take(room.max(start + lead + 1) - 1).chain(['…']).collect();
        end = end.min(text.chars().count()).max(start + 1);
    }
    (text, start..end)
}

/// A text that is not longer than anybody reads.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(TEXT) {
        Some((at, _)) => Cow::Owned(format!("{}… ({} bytes)", &text[..at], text.len())),
        None => Cow::Borrowed(text),
    }
}

/// The lines of an advice. It breaks its own where a command must stay whole; one that does not fit is broken between words.
fn advice_lines(text: &str, width: usize) -> Vec<String> {
    let fits = |line: &str| line.chars().count() <= width;
    shortened(text)
        .lines()
        .flat_map(|line| if fits(line) { vec![line.to_owned()] } else { wrapped(line, width) })
        .collect()
}

/// `  cause   text`
fn labelled(style: &Style, label: &str, text: &str) -> String {
    let padding = " ".repeat(LABEL.saturating_sub(2 + label.len()));
    format!("  {}{padding}{text}", style.paint(Tone::Strong, label))
}

/// Everything that one error of a command tells: itself whole and each of its companions, up to five whole.
///
/// `exit` is shown at the right of the last line.
pub fn render_error(error: &dyn Failure, style: &Style, exit: u8) -> String {
    let others = error.others();
    let more = (others.len() + 1).saturating_sub(TOLD);
    let all: Vec<Diagnostic> = std::iter::once(error).chain(others).take(TOLD).map(Diagnostic::of).collect();
    render(&all, more, style, Some(exit))
}

/// Several errors: the first five whole, the others one line each. What says the same as one before it is said once: a
/// registry that does not answer is one piece of news, however many repositories were meant for it.
pub fn render_all(all: &[Diagnostic], style: &Style, exit: Option<u8>) -> String {
    let told = &all[..all.len().min(TOLD)];
    render(told, all.len() - told.len(), style, exit)
}

/// `all`, and the count of those that are not told.
fn render(all: &[Diagnostic], more: usize, style: &Style, exit: Option<u8>) -> String {
    const WHOLE: usize = 5;
    let mut seen = HashSet::new();
    let all: Vec<&Diagnostic> = all.iter().filter(|diagnostic| seen.insert(diagnostic.render(style, None))).collect();
    let mut out = String::new();
    let whole = all.len().min(WHOLE);
    for (at, diagnostic) in all[..whole].iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        out.push_str(&diagnostic.render(style, exit.filter(|_| at + 1 == all.len() && more == 0)));
    }
    for (at, diagnostic) in all[whole..].iter().enumerate() {
        if at == 0 {
            out.push('\n');
        }
        let line = diagnostic.short(style);
        let last = whole + at + 1 == all.len() && more == 0;
        out.push_str(&match exit.filter(|_| last) {
            Some(exit) => justified(&line, &format!("exit {exit}"), style.width),
            None => line,
        });
        out.push('\n');
    }
    if more > 0 {
        let line = format!("and {more} more like these");
        out.push_str(&exit.map_or(line.clone(), |exit| justified(&line, &format!("exit {exit}"), style.width)));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;

    fn failing_step() -> CellFailure {
        let text = "FROM scratch\n\nCOPY . .\n\n\nFROM registry.example.com/alpine:3.22\nRUN apk add nginx\nRUN x\n";
        CellFailure {
            cell: crate::base::CellId::new("nginx".parse().expect("a name"), "arm64".parse().expect("a platform")),
            log: Some("/p/.catamaran/logs/nginx/linux-arm64.log".into()),
            advice: None,
            error: Box::new(EngineError::Build {
                step: Some("step 2 of 4: RUN apk add nginx".to_owned()),
                message: "exec /bin/sh: exec format error".to_owned(),
                exit_code: Some(255),
                excerpt: Some((SourceText::new("/p/src/nginx/Dockerfile", text), 7, 7)),
                output: vec!["first".to_owned(), "\x1b[31mred".to_owned()],
            }),
        }
    }

    #[test]
    fn d26_a_failing_step_is_told_in_full() {
        let shown = Diagnostic::of_cell(&failing_step()).render(&Style::plain("/p"), None);
        let expected = "\
error: nginx/arm64 failed at step 2 of 4: RUN apk add nginx
  cause   exec /bin/sh: exec format error
  where   src/nginx/Dockerfile:7
            5 |
            6 | FROM registry.example.com/alpine:3.22
          > 7 | RUN apk add nginx
  output  first
          \\u{1b}[31mred
  why     the program is for another processor than the one that is to run it,
          and no emulator takes it up: the base holds another platform's
          programs under this platform's name, or the builder lacks the emulator
          (C101)
  fix     look at the base for this platform, and at the builder with `catamaran
          check`
  log     .catamaran/logs/nginx/linux-arm64.log
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_annotation_names_the_line_and_cannot_be_broken_out_of() {
        let told = Diagnostic::of_cell(&failing_step()).annotation(Path::new("/p"));
        let start = "::error file=src/nginx/Dockerfile,line=7,endLine=7,title=nginx/arm64 failed at step 2 of 4%3A RUN apk add nginx::exec /bin/sh: exec format error%0Afirst%0A";
        assert!(told.starts_with(start), "{told}");
        assert_eq!(told.lines().count(), 1);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("unknown platform `amd65`")]
    struct Unknown(Span);

    impl Failure for Unknown {
        fn class(&self) -> ErrorClass {
            ErrorClass::Config
        }

        fn help(&self) -> Option<String> {
            Some("did you mean `linux/amd64`?".to_owned())
        }

        fn span(&self) -> Option<Span> {
            Some(self.0.clone())
        }
    }

    #[test]
    fn a_configuration_error_shows_its_line_and_exit_code() {
        let text = SourceText::new("/p/catamaran.toml", "name = \"x\"\nplatforms = [\"linux/amd65\"]\n");
        let shown = render_error(&Unknown(text.span(25..36)), &Style::plain("/p"), 2);
        let expected = "\
error: unknown platform `amd65`
  where   catamaran.toml:2:15
            1 | name = \"x\"
          > 2 | platforms = [\"linux/amd65\"]
              |               ^^^^^^^^^^^
  fix     did you mean `linux/amd64`?                                     exit 2
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_line_of_a_program_is_cut_around_the_place() {
        let line = "abcdefghij".repeat(100);
        assert_eq!(window(&line, 500, 3, 20), ("…efghijabcdefghijab…".to_owned(), 7..10));
        assert_eq!(window(&line, 0, 3, 20), ("abcdefghijabcdefghi…".to_owned(), 0..3));
        assert_eq!(window(&line, 999, 1, 20), ("…defghij".to_owned(), 7..8));
        assert_eq!(window("\tab", 1, 2, 20), ("    ab".to_owned(), 4..6));
        assert_eq!(window("short", 5, 1, 20), ("short".to_owned(), 5..6), "the end of the line");
        let mut lines = Vec::new();
        Place::of(&SourceText::new("/p/f", line).span(500..503)).render(&Style::plain("/p"), &mut lines);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
    }

    #[test]
    fn long_advice_is_broken_between_words() {
        assert_eq!(advice_lines("the keys here are a, b, c\nand d", 14), ["the keys here", "are a, b, c", "and d"]);
        assert_eq!(shortened(&"ä".repeat(3000)).len(), 2000 * 2 + "… (6000 bytes)".len());
    }

    #[test]
    fn after_five_errors_each_gets_one_line() {
        let text = SourceText::new("/p/f", "x\n".repeat(7));
        let all: Vec<Diagnostic> = (0..7).map(|at| Diagnostic::of(&Unknown(text.span(2 * at..2 * at + 1)))).collect();
        let shown = render_all(&all, &Style::plain("/p"), Some(2));
        assert_eq!(shown.matches("where").count(), 5);
        assert_eq!(shown.matches("error:").count(), 7);
        assert!(shown.trim_end().ends_with("exit 2"));
    }

    #[test]
    fn after_sixty_errors_they_are_counted() {
        let text = SourceText::new("/p/f", "x\n".repeat(1000));
        let all: Vec<Diagnostic> =
            (0..1000).map(|at| Diagnostic::of(&Unknown(text.span(2 * at..2 * at + 1)))).collect();
        let shown = render_all(&all, &Style::plain("/p"), Some(2));
        assert_eq!(shown.lines().filter(|line| line.starts_with("error:")).count(), 60);
        assert!(shown.trim_end().ends_with("exit 2") && shown.contains("and 940 more like these"), "{shown}");
    }
}
