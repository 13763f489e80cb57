use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::html::{percent, text};
use crate::base::{ByteSize, ComponentName, Digest};
use crate::run::{RecordedCell, RunRecord};

/// Components that are listed.
const ROWS: usize = 200;
/// Shared layers that are listed.
const SHARED: usize = 8;

/// What the images take: each by itself, and together, where a layer that several share lies once.
pub(super) fn sizes(record: &RunRecord, out: &mut String) {
    let mut layers: BTreeMap<Digest, (u64, BTreeSet<&ComponentName>)> = BTreeMap::new();
    let mut components: BTreeMap<&ComponentName, Vec<&RecordedCell>> = BTreeMap::new();
    let mut apart = 0;
    for cell in record.cells.iter().filter(|cell| !cell.layers.is_empty()) {
        components.entry(&cell.component).or_default().push(cell);
        apart += cell.bytes();
        for layer in &cell.layers {
            layers.entry(layer.digest).or_insert((layer.size, BTreeSet::new())).1.insert(&cell.component);
        }
    }
    if components.is_empty() {
        return;
    }
    let together: u64 = layers.values().map(|(size, _)| size).sum();
    let saved = apart.saturating_sub(together);
    let _ = writeln!(
        out,
        "<section id=\"sizes\"><h2>Sizes</h2>\n<p>{} in {} distinct layers; {} if no image shared a layer with another.</p>\n\
         <div class=\"split\" title=\"stored and saved\"><i style=\"width:{:.2}%\"></i><i style=\"width:{:.2}%\"></i></div>\n\
         <p class=\"note\">stored {}, shared {} ({:.0} %)</p>",
        ByteSize(together),
        layers.len(),
        ByteSize(apart),
        percent(as_float(together), as_float(apart)),
        percent(as_float(saved), as_float(apart)),
        ByteSize(together),
        ByteSize(saved),
        percent(as_float(saved), as_float(apart)),
    );
    table(&components, &layers, out);
    shared(&layers, out);
    out.push_str("</section>\n");
}

fn table(
    components: &BTreeMap<&ComponentName, Vec<&RecordedCell>>,
    layers: &BTreeMap<Digest, (u64, BTreeSet<&ComponentName>)>,
    out: &mut String,
) {
    let mut platforms: Vec<_> = components.values().flatten().map(|cell| &cell.platform).collect();
    platforms.sort();
    platforms.dedup();
    out.push_str("<div class=\"scroll\"><table><tr><th>component</th>");
    for platform in &platforms {
        let _ = write!(out, "<th class=\"n\">{}</th>", text(&platform.short()));
    }
    out.push_str("<th class=\"n\">its own</th></tr>\n");
    let mut rows: Vec<_> = components
        .iter()
        .map(|(component, cells)| (*component, cells, cells.iter().map(|cell| cell.bytes()).sum::<u64>()))
        .collect();
    rows.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(b.0)));
    for (component, cells, _) in rows.iter().take(ROWS) {
        let _ = write!(out, "<tr><td>{}</td>", text(component.as_str()));
        for platform in &platforms {
            let bytes =
                cells.iter().find(|cell| cell.platform == **platform).map(|cell| ByteSize(cell.bytes()).to_string());
            let _ = write!(out, "<td class=\"n\">{}</td>", bytes.unwrap_or_default());
        }
        let digests: BTreeSet<Digest> = cells.iter().flat_map(|cell| &cell.layers).map(|layer| layer.digest).collect();
        let own: u64 = digests
            .iter()
            .filter_map(|digest| layers.get(digest))
            .filter(|(_, users)| users.len() == 1)
            .map(|(size, _)| size)
            .sum();
        let _ = writeln!(out, "<td class=\"n\">{}</td></tr>", ByteSize(own));
    }
    out.push_str("</table></div>\n");
    if rows.len() > ROWS {
        let _ = writeln!(out, "<p class=\"note\">and {} smaller ones</p>", rows.len() - ROWS);
    }
}

fn shared(layers: &BTreeMap<Digest, (u64, BTreeSet<&ComponentName>)>, out: &mut String) {
    let mut shared: Vec<_> = layers.iter().filter(|(_, (_, users))| users.len() > 1).collect();
    shared.sort_by_key(|(digest, (size, users))| (std::cmp::Reverse(*size * users.len() as u64), **digest));
    if shared.is_empty() {
        return;
    }
    out.push_str("<p class=\"note\">Layers that save most:</p>\n<table>");
    for (digest, (size, users)) in shared.iter().take(SHARED) {
        let names: Vec<String> = users.iter().take(6).map(|name| text(name.as_str())).collect();
        let more =
            if users.len() > names.len() { format!(" and {} more", users.len() - names.len()) } else { String::new() };
        let _ = writeln!(
            out,
            "<tr><td class=\"mono\">{}</td><td class=\"n\">{}</td><td>in {} components: {}{more}</td></tr>",
            text(&digest.short()),
            ByteSize(*size),
            users.len(),
            names.join(", ")
        );
    }
    out.push_str("</table>\n");
}

#[expect(clippy::cast_precision_loss, reason = "a width in percent, of sizes far below 2^52")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}
