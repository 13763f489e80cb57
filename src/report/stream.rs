//! `--progress json`: what stands in the stream of events beside the events themselves.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::json::error_document;
use super::style::printable;
use crate::base::{CellId, Failure, Span, Warning};
use crate::run::Finding;

/// Members are added under this version, and none is taken away or given another meaning.
const SCHEMA: &str = "catamaran/progress/v1";

/// The first line of a stream, whatever comes after it.
pub fn stream_head() -> String {
    format!("{}\n", json!({"event": "stream", "schema": SCHEMA}))
}

/// A warning as an event, `at` this time since the stream began.
pub fn warning_line(warning: &Warning, at: Duration) -> String {
    let document = json!({
        "event": "warning",
        "seconds": seconds(at),
        "text": printable(&warning.message),
        "help": warning.help,
        "path": warning.span.as_ref().map(|span| span.path().display().to_string()),
        "line": warning.span.as_ref().map(Span::line),
    });
    format!("{document}\n")
}

/// What was found before the run as an event.
pub fn finding_line(finding: &Finding, at: Duration) -> String {
    let message = format!("{}: {}", finding.subject, finding.text);
    warning_line(&Warning { message, help: finding.fix.clone(), span: None }, at)
}

/// An error and its companions as events, each text once: a registry that is down is one piece of news.
pub fn error_lines(error: &dyn Failure, cell: Option<&CellId>) -> String {
    let mut seen = HashSet::new();
    let all = std::iter::once(error).chain(error.others()).map(|error| error_line(error, cell));
    all.filter(|line| seen.insert(line.clone())).collect()
}

fn error_line(error: &dyn Failure, cell: Option<&CellId>) -> String {
    let mut document = json!({
        "event": "error",
        "component": cell.map(|cell| &cell.component),
        "platform": cell.map(|cell| &cell.platform),
    });
    if let (Some(line), Value::Object(mut members)) = (document.as_object_mut(), error_document(error)) {
        line.append(&mut members);
    }
    format!("{document}\n")
}

/// Milliseconds are as exact as anybody needs.
pub(super) fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}
