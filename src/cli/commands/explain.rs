use std::fmt::Write as _;

use serde_json::json;

use crate::base::did_you_mean;
use crate::catalogue::{Entry, entries, entry};
use crate::cli::args::ExplainArgs;
use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::report::{entry_lines, entry_text};

/// `catamaran explain`: one entry of the catalogue of known failures, or the list of all.
pub(super) fn explain(settings: &Settings, args: &ExplainArgs, console: &Console) -> u8 {
    let found: Vec<&Entry> = match &args.id {
        None => {
            let mut all: Vec<&Entry> = entries().collect();
            all.sort_by_key(|entry| entry.id);
            all
        }
        Some(id) => match entry(id) {
            Some(entry) => vec![entry],
            None => return console.fail(&unknown(id)),
        },
    };
    let text = match (&found[..], settings.json) {
        (_, true) => document(&found),
        ([entry], false) => entry_text(entry, &console.out),
        (_, false) => found.iter().fold(String::new(), |mut text, entry| {
            let _ = writeln!(text, "{}", entry_lines(entry, &console.out));
            text
        }),
    };
    console.print(&text);
    exit::DONE
}

fn unknown(id: &str) -> CliError {
    let near = did_you_mean(id, entries().map(|entry| entry.id)).map(|near| format!("did you mean `{near}`?"));
    CliError::Unknown {
        message: format!("there is no known failure `{id}`"),
        help: near.or_else(|| Some("run `catamaran explain` for the list".to_owned())),
    }
}

fn document(found: &[&Entry]) -> String {
    let found = found.iter().map(|entry| {
        json!({
            "id": entry.id, "title": entry.title, "why": entry.means, "help": entry.fix, "seen": entry.seen,
            "exit_codes": entry.exits,
        })
    });
    let document = json!({"schema": "catamaran/explain/v1", "entries": found.collect::<Vec<_>>()});
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
