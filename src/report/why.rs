use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::style::{Style, Tone, columns, counted, pad, printable};
use crate::run::{Cause, Foresight, Standing};

/// Reasons of one cell that are shown where all cells are.
const FEW: usize = 4;

/// What a build would do, a cell a line, its reasons below each other.
///
/// ```text
/// web/amd64   build   file `src/web/main.go` changed
/// job/amd64   waits   for web/amd64
/// 1 cell would be built, 1 waits for it, 22 would be reused.
/// ```
///
/// With `all`, cells that are up to date are shown too, and every reason.
pub fn why_text(found: &[Foresight], all: bool, style: &Style) -> String {
    let width = found.iter().map(|one| columns(&one.cell.to_string())).max().unwrap_or(0);
    let mut text = String::new();
    for one in found {
        let (tone, lines) = match &one.standing {
            Some(Standing::Fresh(_)) | None if !all => continue,
            Some(Standing::Fresh(record)) => {
                (Tone::Good, vec![if record.forced { "it was forced" } else { "" }.into()])
            }
            None => (Tone::Faint, vec!["an external: every build asks its registry".to_owned()]),
            Some(Standing::Waits(_, cells)) => {
                let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
                (Tone::Warn, vec![format!("for {}: it is built if their images change", cells.join(", "))])
            }
            Some(Standing::Stale(causes)) => (Tone::Warn, reasons(causes, all)),
        };
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { one.cell.to_string() } else { String::new() };
            let word = if at == 0 { verdict(one) } else { "" };
            let line = format!("{}  {}  {line}", pad(&name, width), style.paint(tone, &pad(word, 8)));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    let count = |word: &str| found.iter().filter(|one| verdict(one) == word).count();
    let _ = write!(text, "{} would be built", counted(count("build"), "cell", "cells"));
    for (word, what) in [("waits", "waiting for these"), ("reused", "reused"), ("mirrored", "mirrored")] {
        if count(word) > 0 {
            let _ = write!(text, ", {} {what}", count(word));
        }
    }
    text.push_str(".\n");
    let kept = found.iter().filter(|one| matches!(one.standing, Some(Standing::Fresh(_) | Standing::Waits(..))));
    let open: BTreeSet<&String> = kept.flat_map(|one| &one.unlocked).collect();
    let open: Vec<String> = open.into_iter().cloned().collect();
    text.extend(not_asked(&open).map(|line| line + ".\n"));
    text
}

/// That bases known by their tags alone may have moved, if there are any.
///
/// A cell that is reused asks no registry: that is the point of reusing it, and nothing that should go without saying.
pub(super) fn not_asked(unlocked: &[String]) -> Option<String> {
    const NAMED: usize = 3;
    let names: Vec<String> = unlocked.iter().take(NAMED).map(|name| format!("`{}`", printable(name))).collect();
    let more = if unlocked.len() > NAMED { format!(" and {} more", unlocked.len() - NAMED) } else { String::new() };
    let text = format!(
        "whether {}{more} moved was not asked: `catamaran lock` fixes bases, `--force` builds anew",
        names.join(", ")
    );
    (!unlocked.is_empty()).then_some(text)
}

fn reasons(causes: &[Cause], all: bool) -> Vec<String> {
    let shown = if all { causes.len() } else { FEW };
    let mut lines: Vec<String> = causes.iter().take(shown).map(|cause| printable(&cause.to_string())).collect();
    if causes.len() > shown {
        lines.push(format!("and {} more", causes.len() - shown));
    }
    lines
}

const fn verdict(one: &Foresight) -> &'static str {
    match &one.standing {
        None => "mirrored",
        Some(Standing::Fresh(_)) => "reused",
        Some(Standing::Stale(_)) => "build",
        Some(Standing::Waits(..)) => "waits",
    }
}

/// `why --json`: every cell with everything that is known of it.
pub fn why_document(found: &[Foresight]) -> String {
    let cells: Vec<Value> = found
        .iter()
        .map(|one| {
            let (mut reasons, mut waits, mut forced) = (Vec::new(), Vec::new(), false);
            match &one.standing {
                Some(Standing::Stale(causes)) => reasons = causes.iter().map(reason_document).collect(),
                Some(Standing::Waits(_, cells)) => waits = cells.iter().map(ToString::to_string).collect(),
                Some(Standing::Fresh(record)) => forced = record.forced,
                None => {}
            }
            json!({
                "component": one.cell.component,
                "platform": one.cell.platform,
                "verdict": verdict(one),
                "reasons": reasons,
                "waits": waits,
                "forced": forced,
                "unlocked": one.unlocked,
            })
        })
        .collect();
    let document = json!({"schema": "catamaran/why/v1", "cells": cells});
    // A `Value` has string keys and finite numbers only: nothing in it can fail to be written.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn reason_document(cause: &Cause) -> Value {
    let change = match cause {
        Cause::Input(change) => Some(change),
        _ => None,
    };
    json!({
        "cause": cause.word(),
        "kind": change.map(|change| change.kind.word()),
        "name": change.map(|change| &change.name),
        "change": change.map(|change| change.how.word()),
        "text": cause.to_string(),
    })
}
