use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state::write_atomically;
use super::{RunError, StateDir};
use crate::plan::Plan;

/// Which project wrote which names into `index.json`, where several share one state directory: by `--state`, or because a
/// folder has a project file and a bake file. A project takes away only names of its own.
///
/// Kept as JSON in `names.json`; what cannot be understood counts as absent, and then all names are this project's.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Owners {
    schema: String,
    /// By the path of the project's first file; where it is below the folder that holds the state directory, relative to
    /// that, so that a copy of the whole is the same project.
    projects: BTreeMap<PathBuf, BTreeSet<String>>,
}

const SCHEMA: &str = "catamaran/names/v1";

/// Names of a few thousand components; a file over this is not one.
const LIMIT: u64 = 16 << 20;

impl Owners {
    pub(super) fn load(state: &StateDir) -> Result<Self, RunError> {
        let path = file(state);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(RunError::state("read", &path, source)),
        }
        let read: Option<Self> = serde_json::from_slice(&bytes).ok();
        Ok(read.filter(|read| read.schema == SCHEMA).unwrap_or_default())
    }

    /// The names of the other projects that are still there, each with the file of its project.
    pub(super) fn others(&self, plan: &Plan, state: &StateDir) -> BTreeMap<&str, &Path> {
        let own = key(plan, state);
        let others = self.projects.iter().filter(|(file, _)| **file != own && base(state).join(file).exists());
        others.flat_map(|(file, names)| names.iter().map(|name| (name.as_str(), file.as_path()))).collect()
    }

    /// Sets the names of this project, and forgets the projects that are gone.
    pub(super) fn set(&mut self, plan: &Plan, names: BTreeSet<String>, state: &StateDir) -> Result<(), RunError> {
        SCHEMA.clone_into(&mut self.schema);
        self.projects.retain(|file, _| base(state).join(file).exists());
        let key = key(plan, state);
        if self.projects.get(&key) == Some(&names) {
            return Ok(());
        }
        self.projects.insert(key, names);
        let path = file(state);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| RunError::state("write", &path, error.into()))?;
        write_atomically(&path, &bytes).map_err(|source| RunError::state("write", &path, source))
    }
}

fn key(plan: &Plan, state: &StateDir) -> PathBuf {
    let file = fs::canonicalize(&plan.file).unwrap_or_else(|_| plan.file.clone());
    file.strip_prefix(base(state)).map_or_else(|_| file.clone(), Path::to_owned)
}

/// The folder that holds the state directory.
fn base(state: &StateDir) -> PathBuf {
    let root = fs::canonicalize(state.root()).unwrap_or_else(|_| state.root().to_owned());
    root.parent().map_or_else(|| root.clone(), Path::to_owned)
}

fn file(state: &StateDir) -> PathBuf {
    state.root().join("names.json")
}
