//! Outcome and events to tables, JSON documents and progress.
//!
//! In: values of `plan` and `run`, events from everywhere. Out: text for a terminal, a CI log or a program. What came from
//! outside is made printable here and nowhere else. This room must not decide anything: no exit codes, no retries, and it
//! asks nobody for more than it was handed.

mod diagnostic;
mod findings;
mod json;
mod known;
mod metadata;
mod page;
mod plan;
mod plan_views;
mod progress;
mod stream;
mod style;
mod summary;
mod table;
mod why;

pub use diagnostic::{Diagnostic, render_all, render_error};
pub use findings::findings_text;
pub use json::{Delivered, build_document, plan_document, status_document};
pub use known::{entry_lines, entry_text};
pub use metadata::{buildx_metadata, metadata_document};
pub use page::run_page;
pub use plan::{plan_table, warnings_text};
pub use plan_views::{explain_table, plan_dot, plan_mermaid, vars_table};
pub use progress::{EventLines, Folds, Live, Plain, Progress, TerminalSize, View};
pub use stream::{error_lines, finding_line, stream_head, warning_line};
pub use style::{Style, Tone, counted, duration};
pub use summary::job_summary;
pub use table::{matrix_sentence, matrix_table, status_sentence};
pub use why::{why_document, why_text};
