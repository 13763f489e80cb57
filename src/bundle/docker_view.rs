use std::collections::BTreeMap;

use serde::Serialize;

use super::BundleError;
use super::contents::{LockedImage, LockedPlatform};
use super::header::blob_name;
use crate::base::{ComponentName, Platform, Reference};

/// An entry of a docker archive's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// The `manifest.json` of a docker archive: what `docker load` and podman read.
///
/// Configs and layers are the blobs of the layout, no byte is there twice. A classic docker store knows one platform per
/// name, so each platform has a name with its suffix, and the default platform, which comes first, the plain one as well
/// (an image that lacks it: its first platform). It does not depend on the machine that writes it.
///
/// A name with a suffix may be the plain one of another image (`x:v1-amd64`). An importer would give it to whichever comes
/// last, so that is refused.
pub(super) fn docker_view(images: &[LockedImage], default: &Platform) -> Result<Vec<u8>, BundleError> {
    let mut view = Vec::new();
    let mut taken: BTreeMap<String, &ComponentName> = BTreeMap::new();
    for image in images {
        let plain = image.platforms.iter().position(|one| one.platform == *default).unwrap_or(0);
        let in_order = |(at, _): &(usize, &LockedPlatform)| (*at != plain, *at);
        let mut platforms: Vec<(usize, &LockedPlatform)> = image.platforms.iter().enumerate().collect();
        platforms.sort_by_key(in_order);
        for (at, one) in platforms {
            let suffixed = image.reference.for_platform(&one.platform).map_err(|source| BundleError::BadName {
                reference: Box::new(image.reference.clone()),
                source: Some(Box::new(source)),
            })?;
            let mut repo_tags = vec![suffixed.to_string()];
            if at == plain {
                repo_tags.insert(0, tagged(image));
            }
            for name in [Some(&suffixed), (at == plain).then_some(&image.reference)].into_iter().flatten() {
                if let Some(first) = taken.insert(name.familiar(), &image.component) {
                    return Err(shared(first, image, name));
                }
            }
            let layers = one.layers.iter().map(blob_name).collect();
            view.push(DockerImage { config: blob_name(&one.config), repo_tags, layers });
        }
    }
    Ok(serde_json::to_vec(&view).expect("strings always serialise"))
}

fn shared(first: &ComponentName, second: &LockedImage, name: &Reference) -> BundleError {
    BundleError::SharedName {
        first: first.clone(),
        second: second.component.clone(),
        name: if name.tag().is_some() { name.to_string() } else { format!("{name}:latest") },
    }
}

/// Docker wants a tag in every name of an archive.
fn tagged(image: &LockedImage) -> String {
    match image.reference.tag() {
        Some(_) => image.reference.to_string(),
        None => format!("{}:latest", image.reference),
    }
}
