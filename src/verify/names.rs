use super::{Affected, ExpectedIndex, Finding, Part, Problem};
use crate::base::Descriptor;
use crate::image::named_entry;

/// Compares the entries of an `index.json` with the indexes that it must name, each under its full reference.
///
/// Entries beyond those are not findings: a layout may hold what other runs and tools put there.
pub fn verify_names(entries: &[Descriptor], roots: &[ExpectedIndex]) -> Vec<Finding> {
    roots
        .iter()
        .filter_map(|root| {
            let wanted = named_entry(&root.reference, &root.descriptor);
            if entries.contains(&wanted) {
                return None;
            }
            let found = entries.iter().find(|entry| entry.annotations == wanted.annotations);
            Some(Finding {
                problem: Problem::WrongName { found: found.map(|entry| entry.digest) },
                digest: root.descriptor.digest,
                affects: vec![Affected {
                    component: root.component.clone(),
                    reference: root.reference.clone(),
                    platform: None,
                    part: Part::Index,
                }],
            })
        })
        .collect()
}
