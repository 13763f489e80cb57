//! Projects whose cells are there although nobody built them: images made by hand, with the records that a build leaves.

use std::fmt::Write as _;

use catamaran::base::{CellId, Descriptor};
use catamaran::run::{CellRecord, StateDir};

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
    for name in names {
        for platform in ["linux/amd64", "linux/arm64"] {
            let own = images.layer(&format!("{name} {version} {platform}"), size);
            let layers: Vec<Descriptor> = shared.iter().cloned().chain([own]).collect();
            let manifest = images.manifest(&format!("{name} {version}"), platform, &layers);
            let cell = CellId::new(name.parse().expect("a name"), platform.parse().expect("a platform"));
            CellRecord::new(&cell, manifest.bare(), None, false, 0.1).save(&state).expect("a record");
        }
    }
}

/// The images of a project, to add layers to.
pub(crate) fn images(project: &Project) -> Images {
    Images::at(&project.path(".catamaran/layout"))
}
