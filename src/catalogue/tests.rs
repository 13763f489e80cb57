//! Every entry against an original message, alone and among all others.

use std::collections::HashSet;

use super::*;
use crate::base::{ErrorClass, Failure};

#[derive(Debug, thiserror::Error)]
#[error("it failed")]
struct Said {
    class: ErrorClass,
    exit: Option<i32>,
    cause: String,
    output: Vec<String>,
}

impl Failure for Said {
    fn class(&self) -> ErrorClass {
        self.class
    }

    fn cause(&self) -> Option<String> {
        Some(self.cause.clone())
    }

    fn exit_code(&self) -> Option<i32> {
        self.exit
    }

    fn output(&self) -> Vec<String> {
        self.output.clone()
    }
}

/// The error that has the original message of an entry as its cause, or as the last line of a failed step.
fn seen(entry: &Entry, in_output: bool) -> Said {
    let class = entry.classes.first().copied().unwrap_or(ErrorClass::Build);
    let exit = entry.exits.first().copied().or(in_output.then_some(99));
    let process = format!(
        "process \"/bin/sh -c echo no space left on device\" did not complete successfully: exit code: {}",
        exit.unwrap_or(1)
    );
    if in_output || exit.is_some() {
        Said { class, exit, cause: process, output: vec!["fine so far".to_owned(), entry.seen.to_owned()] }
    } else {
        Said { class, exit, cause: entry.seen.to_owned(), output: Vec::new() }
    }
}

#[test]
fn every_original_message_is_explained_by_its_own_entry() {
    let mut wrong = Vec::new();
    for entry in entries() {
        for in_output in [false, true] {
            let error = seen(entry, in_output);
            let found = explain(&error).map(|found| found.id);
            if found != Some(entry.id) {
                wrong.push(format!("{} by {found:?} (in the output: {in_output}): {}", entry.id, entry.seen));
            }
        }
    }
    assert!(wrong.is_empty(), "explained by another entry:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_is_whole() {
    let mut ids = HashSet::new();
    for entry in entries() {
        assert!(ids.insert(entry.id), "{} is there twice", entry.id);
        assert!(entry.id.len() == 4 && entry.id.starts_with('C'), "{}", entry.id);
        for text in [entry.title, entry.means, entry.fix] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{}: `{text}`", entry.id);
        }
        let typed = !entry.classes.is_empty() || !entry.exits.is_empty();
        assert!(!entry.words.is_empty() || typed, "{} explains everything", entry.id);
        for words in entry.words {
            let letters = words.chars().filter(|c| c.is_alphanumeric()).count();
            assert!(letters > 2, "{}: `{words}` is too short to mean something", entry.id);
        }
    }
    assert!(ids.len() >= 80, "{} entries", ids.len());
}

#[test]
fn the_command_of_a_failed_process_is_no_message() {
    let cause = "process \"/bin/sh -c grep 'no space left on device' log || exit 3\" did not complete successfully: exit code: 3";
    let error = Said { class: ErrorClass::Build, exit: Some(3), cause: cause.to_owned(), output: Vec::new() };
    assert!(explain(&error).is_none());
}

#[test]
fn the_last_line_that_is_known_explains() {
    let output = [
        "curl: (22) The requested URL returned error: 404",
        "trying the mirror",
        "E: Unable to locate package x",
        "bye",
    ];
    let output = output.map(str::to_owned).to_vec();
    let error = Said { class: ErrorClass::Build, exit: Some(100), cause: "x".to_owned(), output };
    assert_eq!(explain(&error).map(|entry| entry.id), Some("C601"));
}

#[test]
fn words_count_less_than_the_class() {
    let refused = |class| Said { class, exit: None, cause: "connection refused".to_owned(), output: Vec::new() };
    assert_eq!(explain(&refused(ErrorClass::Builder)).map(|entry| entry.id), Some("C203"));
    assert_eq!(explain(&refused(ErrorClass::Refused)).map(|entry| entry.id), Some("C316"));
    assert!(explain(&refused(ErrorClass::Config)).is_none());
}

#[test]
fn hostile_text_is_only_looked_at() {
    let long = format!("{}é{}", "x".repeat(1999), "y".repeat(1 << 20));
    let error = Said { class: ErrorClass::Build, exit: None, cause: long, output: vec!["\0\u{1b}[2J".to_owned()] };
    assert!(explain(&error).is_none());
}
