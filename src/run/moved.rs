//! Bases that no lock fixes: what a run can say about them without asking any registry.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bases, CellRecord};
use crate::base::{CellId, Digest, Reference};
use crate::plan::Cell;

/// The references that `cells` are built from and that are known by their tags alone: whether one of them moved is not seen
/// when a cell is reused. As the Dockerfiles have them, each once, sorted.
pub(super) fn unlocked<'a>(cells: impl IntoIterator<Item = &'a Cell>, bases: &Bases) -> Vec<String> {
    let open = |cell: &'a Cell| {
        let all = cell.build().into_iter().flat_map(|build| bases.of_cell(build));
        all.filter(|(_, digest)| digest.is_none()).map(|(base, _)| base.reference.to_string()).collect::<Vec<_>>()
    };
    let names: BTreeSet<String> = cells.into_iter().flat_map(open).collect();
    names.into_iter().collect()
}

/// What the references among `pins` that could move pointed to, for a record.
pub(super) fn resolved(pins: &[(Reference, Digest)]) -> BTreeMap<String, Digest> {
    let open = pins.iter().filter(|(reference, _)| reference.digest().is_none());
    open.map(|(reference, root)| (reference.familiar(), *root)).collect()
}

/// A warning for each reference that the cells of this run are built from and that `reused` ones were built from when it was
/// another image: the release then stands on both. `now` is what this run has resolved.
pub(super) fn moved(reused: &BTreeMap<CellId, Box<CellRecord>>, now: &Bases) -> Vec<String> {
    let mut older: BTreeMap<&str, Vec<&CellId>> = BTreeMap::new();
    for (cell, record) in reused {
        for (name, was) in &record.bases {
            let is = name.parse::<Reference>().ok().and_then(|reference| now.root_of(&reference));
            if is.is_some_and(|is| is != *was) {
                older.entry(name).or_default().push(cell);
            }
        }
    }
    let told = |(name, cells): (&str, Vec<&CellId>)| {
        let others = if cells.len() > 1 { format!(" and {} more", cells.len() - 1) } else { String::new() };
        let first = cells.first()?;
        Some(format!(
            "`{name}` has moved since {first}{others} was built from it: that is reused, and what this run builds stands on \
             what the tag shows now; `build --force` builds all from one, `catamaran lock` keeps it so"
        ))
    };
    older.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Descriptor, media_type};
    use crate::config::{LockFile, LockedImage};

    fn known(name: &str, seed: &str) -> Bases {
        let mut images = LockFile::default();
        let image = LockedImage { digest: Digest::of(seed), platforms: BTreeMap::new() };
        images.set(&name.parse().expect("a reference"), image);
        Bases::new(images)
    }

    #[test]
    fn a_tag_that_moved_between_two_runs_is_told_once_with_its_cells() {
        let record = |component: &str, seed: &str| {
            let id = CellId::new(component.parse().expect("a name"), "arm64".parse().expect("a platform"));
            let mut record = CellRecord::new(&id, Descriptor::of(media_type::MANIFEST, b"{}"), None, false, 1.0);
            record.bases = resolved(&[("alpine:3".parse().expect("a reference"), Digest::of(seed))]);
            (id, Box::new(record))
        };
        let reused = BTreeMap::from([record("a", "old"), record("b", "old"), record("c", "new")]);
        let told = moved(&reused, &known("alpine:3", "new"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("`docker.io/library/alpine:3` has moved since a/arm64 and 1 more"), "{told:?}");
        assert_eq!(moved(&reused, &Bases::default()), [""; 0], "what nobody resolved is not known to have moved");
    }
}
