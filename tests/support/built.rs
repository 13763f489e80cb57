//! Projects whose cells are there although nobody built them: images made by hand, with the records that a build leaves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use catamaran::base::{CellId, Descriptor};
use catamaran::image::{IndexEntry, assemble_index, publish_names};
use catamaran::run::{CellRecord, StateDir};
use catamaran::store::Layout;

use super::project::Project;
use super::release::Images;

/// A project of these components for amd64 and arm64, whose registry is `prefix` and whose tag is `stable`.
pub(crate) fn project(names: &[&str], prefix: &str) -> Project {
    let mut config = format!(
        "name = \"fleet\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\ntag = \"stable\"\nregistry = [\"{prefix}\"]\n"
    );
    for name in names {
        write!(config, "\n[component.{name}]\n").expect("a text");
    }
    Project::with(&config, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")])
}

/// Puts an image into every cell, as a build of `version` would: `shared` below a layer of `size` bytes of its own.
pub(crate) fn build(project: &Project, names: &[&str], version: &str, shared: &[Descriptor], size: usize) {
    let state = StateDir::at(project.path(".catamaran"));
    state.create().expect("a folder");
    let images = images(project);
    let config = std::fs::read_to_string(project.path("catamaran.toml")).expect("it was written");
    let (_, prefix) = config.split_once("registry = [\"").expect("it has one");
    let prefix = prefix.split('"').next().expect("a text");
    let layout = Layout::open(state.layout()).expect("a layout");
    let mut indexes = Vec::new();
    for name in names {
        let mut entries = Vec::new();
        for platform in ["linux/amd64", "linux/arm64"] {
            let own = images.layer(&format!("{name} {version} {platform}"), size);
            let layers: Vec<Descriptor> = shared.iter().cloned().chain([own]).collect();
            let manifest = images.manifest(&format!("{name} {version}"), platform, &layers);
            let cell = CellId::new(name.parse().expect("a name"), platform.parse().expect("a platform"));
            CellRecord::new(&cell, manifest.bare(), None, false, 0.1).save(&state).expect("a record");
            let (platform, manifest) = (cell.platform, manifest.bare());
            entries.push(IndexEntry { platform, manifest, annotations: None, attestations: Vec::new() });
        }
        let index = assemble_index(&layout, entries, &BTreeMap::new()).expect("it can be written").descriptor;
        indexes.push((format!("{prefix}/{name}:stable").parse().expect("a reference"), index));
    }
    publish_names(&layout, &indexes, &[]).expect("it can be written");
}

/// The images of a project, to add layers to.
pub(crate) fn images(project: &Project) -> Images {
    Images::at(&project.path(".catamaran/layout"))
}
