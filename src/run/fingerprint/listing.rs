use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::change::{Change, How};
use super::{Input, InputKind};
use crate::base::Digest;
use crate::engine::buildkit::InventoryEntry;

/// What was found under one part of a context, as text: a line for each entry, its path last.
///
/// ```text
/// 1a4 TAB sha256 hex or - TAB link TAB path
/// ```
///
/// The mode is in hexadecimal. Sizes follow from digests, and times are no inputs: a fresh clone has others. The digest of the
/// text is the input; the text itself is kept below `inputs/` under it, only so that a change can be named.
#[derive(Debug, Default)]
pub(super) struct Listing(String);

/// A listing over this is not kept: changes in it are then named by the part alone.
const KEPT: u64 = 256 << 20;

impl Listing {
    pub(super) fn add(&mut self, entry: &InventoryEntry, content: Option<Digest>) {
        let content = content.map_or_else(|| "-".to_owned(), |digest| digest.hex());
        let (link, path) = (escaped(&entry.link), escaped(&entry.path));
        let _ = writeln!(self.0, "{:x}\t{content}\t{link}\t{path}", entry.mode);
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Keeps the text, where it is not kept already. Of no consequence if that fails.
    pub(super) fn keep(&self, directory: &Path) {
        let path = directory.join(self.digest().hex());
        if path.exists() || self.0.len() as u64 > KEPT {
            return;
        }
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(directory)?;
            let file = tempfile::NamedTempFile::new_in(directory)?;
            fs::write(file.path(), &self.0)?;
            file.persist(&path).map_err(|failed| failed.error)?;
            Ok(())
        };
        // Without it a change is told with less detail. What is torn is found by its digest.
        drop(write());
    }

    /// The text that was kept under `digest`.
    pub(super) fn kept(directory: &Path, digest: &Digest) -> Option<Self> {
        let mut text = String::new();
        File::open(directory.join(digest.hex())).ok()?.take(KEPT).read_to_string(&mut text).ok()?;
        let listing = Self(text);
        (listing.digest() == *digest).then_some(listing)
    }

    /// What became of its entries in `now`, each under its path. `whole` names the part where nothing finer can be said.
    pub(super) fn changes(before: Option<&Self>, now: &Self, whole: &Input) -> Vec<Change> {
        let change = |name: &str, how| Change { kind: InputKind::Files, name: name.to_owned(), how };
        let Some(before) = before else { return vec![change(&whole.name, How::Changed)] };
        // A part of a named context tells its name first.
        let prefix = whole.name.split_once(": ").map_or(String::new(), |(name, _)| format!("{name}: "));
        let (before, now) = (before.by_path(), now.by_path());
        let gone = before.keys().filter(|path| !now.contains_key(*path)).map(|path| (*path, How::Removed));
        let other = now.iter().filter_map(|(path, facts)| match before.get(path) {
            None => Some((*path, How::Added)),
            Some(known) if known != facts => Some((*path, How::Changed)),
            Some(_) => None,
        });
        let mut found: Vec<Change> =
            gone.chain(other).map(|(path, how)| change(&format!("{prefix}{path}"), how)).collect();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        if found.is_empty() { vec![change(&whole.name, How::Changed)] } else { found }
    }

    fn by_path(&self) -> BTreeMap<&str, &str> {
        self.0.lines().filter_map(|line| line.rsplit_once('\t').map(|(facts, path)| (path, facts))).collect()
    }
}

/// No line end and no tab of a name may look like one of ours.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['\n', '\t', '\\', '\r']) { text.escape_default().to_string().into() } else { text.into() }
}
