use super::bake::{Attestation, CacheEntry, Entry, Finding, Target, solve_spec};
use super::document::Node;
use super::project::ComponentSpec;
use super::reader::{Reading, TableReader};
use crate::base::Span;

/// Reads the keys of a component that ask something of the builder. They are called as in a bake file, and mean the same.
pub(super) fn read(
    reader: &mut TableReader<'_>,
    reading: &mut Reading<'_>,
    spec: &mut ComponentSpec,
    environment: &std::collections::BTreeMap<String, String>,
) {
    let mut target = Target::default();
    let mut places: Vec<(&'static str, Span)> = Vec::new();
    let mut take = |key: &'static str| {
        let node = reader.take(key)?;
        places.push((key, node.span.clone()));
        Some(node)
    };
    target.annotations = take("annotations").map(|node| list(reading, "annotations", node));
    target.network = take("network").and_then(|node| reading.nonempty("network", node)).map(|text| text.value);
    target.entitlements = take("entitlements").map(|node| list(reading, "entitlements", node));
    target.shm_size = take("shm-size").and_then(|node| reading.nonempty("shm-size", node)).map(|text| text.value);
    target.ulimits = take("ulimits").map(|node| list(reading, "ulimits", node));
    target.no_cache_filter = take("no-cache-filter").map(|node| list(reading, "no-cache-filter", node));
    target.pull = take("pull").and_then(|node| reading.flag("pull", node));
    target.cache_from = take("cache-from").map(|node| entries::<CacheEntry>(reading, "cache-from", node));
    target.cache_to = take("cache-to").map(|node| entries::<CacheEntry>(reading, "cache-to", node));
    target.attest = take("attest").map(|node| entries::<Attestation>(reading, "attest", node));
    let cgroup = take("cgroup-parent").and_then(|node| reading.nonempty("cgroup-parent", node));
    let mut findings = Vec::new();
    spec.solve = solve_spec(&target, environment, &mut findings);
    spec.solve.options.cgroup_parent = cgroup.map(|text| text.value);
    for finding in findings {
        let (attribute, message, help) = match finding {
            Finding::Problem(attribute, message) => (attribute, message, None),
            // What a project file says for this program alone must come to pass.
            Finding::Missing(attribute, message, help) => (attribute, message, Some(help.to_owned())),
        };
        if let Some((_, span)) = places.iter().find(|(key, _)| *key == attribute) {
            reading.invalid(span, format!("`{attribute}`: {message}"), help);
        }
    }
}

fn list(reading: &mut Reading<'_>, key: &str, node: &Node) -> Vec<String> {
    let items = reading.list(key, node);
    items.iter().filter_map(|item| reading.nonempty(key, item)).map(|text| text.value).collect()
}

/// Entries as texts, `type=registry,ref=…`.
fn entries<E: Entry>(reading: &mut Reading<'_>, key: &str, node: &Node) -> Vec<E> {
    let mut found = Vec::new();
    for item in reading.list(key, node) {
        let Some(text) = reading.nonempty(key, item) else { continue };
        match E::from_text(&text.value) {
            Ok(entries) => found.extend(entries),
            Err(error) => reading.invalid(&item.span, format!("`{key}`: {error}"), None),
        }
    }
    found
}
