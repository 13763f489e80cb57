use std::collections::BTreeMap;

use super::RunError;
use super::outside::Outside;
use super::prefetch::{Fetcher, gone};
use crate::base::{CellId, ComponentName, Descriptor, MediaKind, Platform, Reference};
use crate::image::{ManifestBody, RawManifest, attestation_subject, entry_platform, upstream_part};
use crate::plan::Plan;
use crate::registry::{Fetched, RegistryClient};
use crate::store::Layout;

/// Brings externals into the layout, one platform at a time.
pub(super) struct Mirror {
    fetcher: Fetcher,
    outside: Outside,
    /// The platforms that each external is mirrored for, whatever of them this run is about: they decide whether its
    /// upstream index stands as it is, and so what has to come along.
    platforms: BTreeMap<ComponentName, Vec<Platform>>,
}

/// An external's image for one platform, in the layout.
pub(super) struct Mirrored {
    pub(super) manifest: Descriptor,
    /// Attestations about it that upstream's index lists.
    pub(super) attestations: Vec<Descriptor>,
    /// The index that its reference points to; nothing where that is a single image.
    pub(super) upstream: Option<Descriptor>,
}

/// The manifests of one cell of an external.
pub(super) struct Parts {
    /// What the reference points to.
    pub(super) root: Fetched,
    /// The platform's image.
    pub(super) image: Fetched,
    /// What comes along with it, as upstream's index lists it.
    pub(super) companions: Vec<(Descriptor, Fetched)>,
}

impl Mirror {
    /// What cells take from outside.
    pub(super) fn outside(&self) -> &Outside {
        &self.outside
    }

    /// What fetches.
    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Mirrors the externals of `whole`, as `outside` knows them.
    pub(super) fn new(client: RegistryClient, layout: Layout, outside: Outside, whole: &Plan) -> Self {
        let platforms =
            whole.components.iter().map(|component| (component.name.clone(), component.platforms.clone())).collect();
        Self { fetcher: Fetcher::new(client, layout), outside, platforms }
    }

    /// What belongs to one cell of an external; nothing but manifests was read.
    pub(super) async fn parts(&self, cell: &CellId, reference: &Reference) -> Result<Parts, RunError> {
        let pinned = self.outside.bases().root_of(reference).filter(|_| reference.digest().is_none());
        let root = self.fetcher.root(reference, pinned).await;
        let root = root.map_err(|error| gone(cell.component.to_string(), reference, pinned, error))?;
        let image = self.fetcher.image(reference, &root, &cell.platform).await?;
        let mut companions = Vec::new();
        if root.descriptor.kind() == MediaKind::Index {
            for entry in self.companions(cell, &root, &image.descriptor)? {
                let companion = self.fetcher.manifest(reference.repository(), entry.digest).await?;
                companions.push((entry, companion));
            }
        }
        Ok(Parts { root, image, companions })
    }

    /// Brings one cell of an external.
    pub(super) async fn bring(&self, cell: &CellId, reference: &Reference) -> Result<Mirrored, RunError> {
        let repository = reference.repository();
        let Parts { root, image, companions } = self.parts(cell, reference).await?;
        let manifest = image.descriptor.bare();
        self.fetcher.bring(repository, image, None).await?;
        let mut attestations = Vec::new();
        for (entry, companion) in companions {
            self.fetcher.bring(repository, companion, None).await?;
            if attestation_subject(&entry) == Some(manifest.digest) {
                attestations.push(entry.bare());
            }
        }
        // A single image is no upstream index: its manifest is all there is.
        if root.descriptor.kind() != MediaKind::Index {
            return Ok(Mirrored { manifest, attestations, upstream: None });
        }
        let upstream = root.descriptor.bare();
        self.fetcher.keep(root).await?;
        Ok(Mirrored { manifest, attestations, upstream: Some(upstream) })
    }

    /// The entries of the upstream index that come along with an image: the attestations about it, and where the whole index
    /// is kept also what belongs to no image in particular, for a registry takes no index with something missing.
    fn companions(&self, cell: &CellId, root: &Fetched, manifest: &Descriptor) -> Result<Vec<Descriptor>, RunError> {
        let raw = RawManifest::parse(root.bytes.to_vec(), &root.descriptor.media_type)?;
        let own = vec![cell.platform.clone()];
        let platforms = self.platforms.get(&cell.component).unwrap_or(&own);
        // Another platform may not be there; that is the other cell's failure.
        let part = upstream_part(&raw, platforms).or_else(|_| upstream_part(&raw, &own))?;
        let ManifestBody::Index { manifests, .. } = &raw.parsed else { return Ok(Vec::new()) };
        let known = |subject| manifests.iter().any(|entry| entry.digest == subject);
        let belongs = |entry: &Descriptor| match (attestation_subject(entry), entry_platform(entry)) {
            (Some(subject), _) => subject == manifest.digest || (part.whole && !known(subject)),
            (None, Some(platform)) => platform.as_ref() == Ok(&cell.platform),
            (None, None) => part.whole,
        };
        Ok(part.entries.iter().filter(|entry| entry.digest != manifest.digest && belongs(entry)).cloned().collect())
    }
}
