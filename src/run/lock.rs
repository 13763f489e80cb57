use crate::base::{Digest, Reference};
use crate::config::LockFile;
use crate::plan::{Base, CellBuild};

/// What the images from outside are, by digest, for one run: what `catamaran.lock` says, else what was resolved when the
/// run began. Every cell is told the same, so that a tag that moves meanwhile cannot differ between platforms.
#[derive(Debug, Clone, Default)]
pub struct Bases {
    images: LockFile,
}

impl Bases {
    /// Those of a lock, or of what was resolved in its form.
    pub fn new(images: LockFile) -> Self {
        Self { images }
    }

    /// What `reference` points to, for every platform together.
    pub fn root_of(&self, reference: &Reference) -> Option<Digest> {
        self.images.root_of(reference)
    }

    /// The digest that stands for `base` in a cell: its platform's manifest, else (where the platform is the builder's own)
    /// what the reference points to. Nothing where that is not known: the builder resolves it by itself.
    pub fn digest_of(&self, base: &Base) -> Option<Digest> {
        if let Some(pinned) = base.reference.digest() {
            return Some(*pinned);
        }
        let exact = base.platform.as_ref().and_then(|platform| self.images.digest_of(&base.reference, platform));
        exact.or_else(|| self.images.root_of(&base.reference))
    }

    /// Everything from outside that `build` is made from, each with its digest, in the order of the Dockerfile, its
    /// frontend first. A fingerprint that covers a base without a digest covers less than it says.
    pub fn of_cell<'a>(&'a self, build: &'a CellBuild) -> impl Iterator<Item = (&'a Base, Option<Digest>)> {
        build.frontend.iter().chain(&build.bases).map(|base| (base, self.digest_of(base)))
    }
}
