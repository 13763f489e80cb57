use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fingerprint::{Fingerprint, lenient};
use super::state::write_atomically;
use super::{RunError, StateDir};
use crate::base::{CellId, ComponentName, Descriptor, Digest, Platform};

/// What a cell's last good build made: the link from a cell to its image in the layout.
///
/// Kept as JSON in `cells/COMPONENT/OS-ARCH.json` of the state directory. Readers of version 1 ignore members they do not
/// know; a record of another version counts as none, so the cell is built again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    schema: String,
    /// The component or external.
    pub component: ComponentName,
    /// The platform.
    pub platform: Platform,
    /// The image's manifest.
    pub manifest: Descriptor,
    /// Attestation manifests that came with it.
    #[serde(default)]
    pub attestations: Vec<Descriptor>,
    /// For an external: the index that its reference pointed to.
    #[serde(default)]
    pub upstream: Option<Descriptor>,
    /// Address of the builder that made it.
    pub builder: Option<String>,
    /// Whether its programs ran through an emulator.
    pub emulated: bool,
    /// How long the build took.
    pub seconds: f64,
    /// Why there was a second try, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<String>,
    /// What the references that it was built from pointed to where a tag could move, by full reference, as far as that was
    /// known: digests of indexes, or of single images.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: BTreeMap<String, Digest>,
    /// What it was made from; nothing where that is not known.
    #[serde(default, deserialize_with = "lenient")]
    pub fingerprint: Option<Fingerprint>,
    /// Whether it was built because somebody wanted it to be.
    #[serde(default)]
    pub forced: bool,
}

const SCHEMA: &str = "catamaran/cell/v1";

/// A record has a line or two for each input; a file over this is not one.
const LIMIT: u64 = 4 << 20;

impl CellRecord {
    /// The record of a build.
    pub fn new(cell: &CellId, manifest: Descriptor, builder: Option<String>, emulated: bool, seconds: f64) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            component: cell.component.clone(),
            platform: cell.platform.clone(),
            manifest,
            attestations: Vec::new(),
            upstream: None,
            builder,
            emulated,
            seconds,
            retried: None,
            bases: BTreeMap::new(),
            fingerprint: None,
            forced: false,
        }
    }

    /// The record of `cell`, if there is one that can be used: of this version, and of this cell.
    ///
    /// A record that cannot be understood is the same as none. Only failing to read the disk is an error.
    pub fn load(state: &StateDir, cell: &CellId) -> Result<Option<Self>, RunError> {
        let path = state.record(cell);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(RunError::state("read", &path, source)),
        }
        let record: Option<Self> = serde_json::from_slice(&bytes).ok();
        Ok(record.filter(|record| {
            record.schema == SCHEMA && record.component == cell.component && record.platform == cell.platform
        }))
    }

    /// Forgets what an earlier build of `cell` made: its sources do not make that any more, or may not. Durable when this
    /// returns: a record that came back after a power cut would make a release that is mixed from old and new.
    pub(super) fn forget(state: &StateDir, cell: &CellId) -> Result<(), RunError> {
        Self::forget_all(state, std::iter::once(cell))
    }

    /// The same for many, with one fsync for each directory.
    pub(super) fn forget_all<'c>(
        state: &StateDir,
        cells: impl IntoIterator<Item = &'c CellId>,
    ) -> Result<(), RunError> {
        let mut changed = BTreeSet::new();
        for cell in cells {
            let path = state.record(cell);
            match std::fs::remove_file(&path) {
                Ok(()) => changed.extend(path.parent().map(Path::to_owned)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(RunError::state("remove", &path, source)),
            }
        }
        for directory in changed {
            let synced = File::open(&directory).and_then(|handle| handle.sync_all());
            synced.map_err(|source| RunError::state("write", &directory, source))?;
        }
        Ok(())
    }

    /// Writes the record as one act, durable when this returns. Call it only when the image is durable.
    pub fn save(&self, state: &StateDir) -> Result<(), RunError> {
        let path = state.record(&CellId::new(self.component.clone(), self.platform.clone()));
        let to_bytes =
            |record: &Self| serde_json::to_vec(record).map_err(|error| RunError::state("write", &path, error.into()));
        let mut bytes = to_bytes(self)?;
        if bytes.len() as u64 >= LIMIT {
            // The image counts all the same; it is built again where it might have been reused.
            bytes = to_bytes(&Self { fingerprint: None, ..self.clone() })?;
        }
        bytes.push(b'\n');
        write_atomically(&path, &bytes).map_err(|source| RunError::state("write", &path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::media_type;

    fn cell(platform: &str) -> CellId {
        CellId::new("nginx".parse().expect("a name"), platform.parse().expect("a platform"))
    }

    #[test]
    fn a_record_comes_back_and_another_cells_does_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path());
        let manifest = Descriptor::of(media_type::MANIFEST, b"{}");
        let record = CellRecord::new(&cell("arm64"), manifest, Some("unix:///b".to_owned()), true, 1.5);
        record.save(&state).expect("it can be written");
        assert_eq!(CellRecord::load(&state, &cell("arm64")).expect("it can be read"), Some(record));
        assert_eq!(CellRecord::load(&state, &cell("amd64")).expect("it can be read"), None);
        let path = state.record(&cell("amd64"));
        std::fs::copy(state.record(&cell("arm64")), &path).expect("it can be copied");
        assert_eq!(CellRecord::load(&state, &cell("amd64")).expect("it can be read"), None);
        std::fs::write(path, b"{\"schema\":").expect("it can be written");
        assert_eq!(CellRecord::load(&state, &cell("amd64")).expect("it can be read"), None);
    }
}
