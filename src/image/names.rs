use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::{ImageError, closure};
use crate::base::{Descriptor, MediaKind, Reference};
use crate::store::Layout;

/// The annotations that give an entry of `index.json` its name, in the order in which they are written.
///
/// Both hold the full reference. The first is the specification's (image-spec, "annotations"); the second is what containerd
/// and docker's containerd store read, which take the first for a bare tag.
pub const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// The entry of `index.json` that names `index`: nothing but type, digest, size and the two names.
pub fn named_entry(reference: &Reference, index: &Descriptor) -> Descriptor {
    let mut entry = index.bare();
    let name = reference.to_string();
    entry.annotations = Some(NAME_ANNOTATIONS.iter().map(|key| ((*key).to_owned(), name.clone())).collect());
    entry
}

/// The names in the layout's `index.json` with what they stand for, sorted. Entries without a name are left out.
pub fn names(layout: &Layout) -> Result<Vec<(String, Descriptor)>, ImageError> {
    let entries = layout.index()?;
    let mut found: Vec<(String, Descriptor)> =
        entries.into_iter().filter_map(|entry| Some((name_of(&entry)?.to_owned(), entry))).collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(found)
}

/// The names that more than one entry of the layout's `index.json` has, in either annotation: what such a name stands for
/// depends on who reads it.
pub fn doubled_names(layout: &Layout) -> Result<BTreeSet<String>, ImageError> {
    let (mut seen, mut doubled) = (BTreeSet::new(), BTreeSet::new());
    for entry in layout.index()? {
        let own: BTreeSet<&str> = names_of(&entry).collect();
        doubled.extend(own.into_iter().filter(|name| !seen.insert((*name).to_owned())).map(str::to_owned));
    }
    Ok(doubled)
}

/// Gives `index` the name `reference`, in place of what had it before.
///
/// Everything reachable must be in the layout with the right sizes; nothing is hashed.
pub fn publish_name(layout: &Layout, reference: &Reference, index: &Descriptor) -> Result<(), ImageError> {
    publish_names(layout, &[(reference.clone(), index.clone())], &[])
}

/// Gives and takes several names as one act: readers see all of it or nothing. Other entries stay.
///
/// Removing a name that is not there is no error; a name that is both set and removed is set.
pub fn publish_names(layout: &Layout, set: &[(Reference, Descriptor)], remove: &[Reference]) -> Result<(), ImageError> {
    for (reference, index) in set {
        // Never a bare manifest: importers keep an index's platforms together, and each platform's image addressable.
        if index.kind() != MediaKind::Index {
            return Err(ImageError::NotAnImage { digest: index.digest, media_type: index.media_type.clone() });
        }
        for blob in closure(layout, index)? {
            if !layout.has(&blob)? {
                return Err(ImageError::Incomplete { reference: Box::new(reference.clone()), digest: blob.digest });
            }
        }
    }
    let fresh: IndexMap<String, Descriptor> =
        set.iter().map(|(reference, index)| (reference.to_string(), named_entry(reference, index))).collect();
    let gone: Vec<String> = remove.iter().map(ToString::to_string).collect();
    layout.update_index(|entries| {
        entries.retain(|entry| {
            !names_of(entry).any(|name| fresh.contains_key(name))
                && name_of(entry).is_none_or(|name| !gone.iter().any(|gone| gone == name))
        });
        entries.extend(fresh.into_values());
    })?;
    Ok(())
}

/// Takes the name `reference` away; tells whether it was there. The blobs stay.
pub fn unpublish(layout: &Layout, reference: &Reference) -> Result<bool, ImageError> {
    let name = reference.to_string();
    Ok(layout.update_index(|entries| {
        let before = entries.len();
        entries.retain(|entry| name_of(entry) != Some(name.as_str()));
        entries.len() < before
    })?)
}

/// The full reference of an entry: other tools may have set only one of the annotations.
fn name_of(entry: &Descriptor) -> Option<&str> {
    names_of(entry).next()
}

fn names_of(entry: &Descriptor) -> impl Iterator<Item = &str> {
    NAME_ANNOTATIONS.iter().filter_map(|key| entry.annotation(key))
}
