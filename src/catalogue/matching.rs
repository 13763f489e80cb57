use std::error::Error;

use super::{Entry, builder, dockerfile, machine, packages, registry, step};
use crate::base::{ErrorClass, Failure};

/// The whole table, from what is most particular to what is most general: the first entry that applies explains.
const TABLE: [&[Entry]; 6] =
    [dockerfile::ENTRIES, builder::ENTRIES, packages::ENTRIES, step::ENTRIES, registry::ENTRIES, machine::ENTRIES];

/// Output lines that are looked at, from the last one back: what a program says long before it fails is seldom why.
const LINES: usize = 40;
/// What is looked at of one line.
const LINE_BYTES: usize = 2000;

/// All entries, in the order in which they are tried.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    TABLE.into_iter().flatten()
}

/// The entry of this id, in any case.
pub fn entry(id: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.id.eq_ignore_ascii_case(id))
}

/// The entry that explains `error`, if any does.
///
/// First the words of the cause, then the lines of the output from the last one back, then entries that need no words: a
/// process that was killed says nothing.
pub fn explain(error: &dyn Failure) -> Option<&'static Entry> {
    let class = error.class();
    // These are our own words about the user's own files; they explain themselves.
    if matches!(class, ErrorClass::Config | ErrorClass::Incomplete | ErrorClass::Cancelled | ErrorClass::Internal) {
        return None;
    }
    let exit = error.exit_code();
    let typed = |entry: &&'static Entry| {
        (entry.classes.is_empty() || entry.classes.contains(&class))
            && (entry.exits.is_empty() || exit.is_some_and(|exit| entry.exits.contains(&exit)))
    };
    let by_words = |text: &str| entries().filter(typed).find(|entry| entry.speaks(text));
    causes(error)
        .iter()
        .flat_map(|cause| cause.lines())
        .find_map(by_words)
        .or_else(|| error.output().iter().rev().take(LINES).find_map(|line| by_words(line)))
        .or_else(|| entries().filter(typed).find(|entry| entry.words.is_empty()))
}

/// The words of whoever reported the error. Where a process failed, what is known of it is its exit code: its command line
/// stands in the cause too, and may hold any words.
fn causes(error: &dyn Failure) -> Vec<String> {
    let mut causes = vec![error.to_string()];
    causes.extend(Failure::cause(error));
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = Error::source(cause);
    }
    if error.exit_code().is_some() {
        causes.remove(0);
        for cause in &mut causes {
            if let Some((_, rest)) = cause.rsplit_once("did not complete successfully") {
                *cause = rest.to_owned();
            }
        }
    }
    causes
}

impl Entry {
    /// Whether one of its words stands in `line`.
    pub(super) fn speaks(&self, line: &str) -> bool {
        let mut end = line.len().min(LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let line = line[..end].to_lowercase();
        self.words.iter().any(|words| stands_in(&words.to_lowercase(), &line))
    }
}

/// Whether the parts of `words` between its `*` stand in `line` in their order.
fn stands_in(words: &str, line: &str) -> bool {
    let mut rest = line;
    words.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}
