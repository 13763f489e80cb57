use super::style::{Style, Tone, printable, wrapped};
use crate::catalogue::Entry;

/// An entry of the catalogue in one line: `C101  a program of another processor`.
pub fn entry_lines(entry: &Entry, style: &Style) -> String {
    format!("{}  {}", style.paint(Tone::Strong, entry.id), entry.title)
}

/// An entry of the catalogue whole, ending in a line end.
///
/// ```text
/// C101  a program of another processor
///   seen  exec /bin/sh: exec format error
///   why   the program is for another processor than the one that is to run it
///   fix   look at the base for this platform, and at the builder with `catamaran check`
/// ```
pub fn entry_text(entry: &Entry, style: &Style) -> String {
    const LABEL: usize = 8;
    let width = style.width.saturating_sub(LABEL);
    let mut lines = vec![entry_lines(entry, style)];
    for (label, text) in [("seen", entry.seen), ("why", entry.means), ("fix", entry.fix)] {
        for (at, line) in wrapped(&printable(text), width).iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            lines.push(format!("  {}{}{line}", style.paint(Tone::Strong, label), " ".repeat(LABEL - 2 - label.len())));
        }
    }
    lines.join("\n") + "\n"
}
