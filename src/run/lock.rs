use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::state::write_atomically;
use super::wanted::{Wanted, is_local, wanted, wanted_by};
use super::{RunError, StateDir};
use crate::base::{ComponentName, Digest, Platform, Reference, glob_matches};
use crate::config::{DiskFiles, LockFile, LockedImage};
use crate::event::{Event, EventSink};
use crate::image::{ManifestBody, RawManifest, entry_platform, is_attestation};
use crate::plan::{Base, Cell, CellBuild, Plan};
use crate::registry::{Fetched, RegistryClient};

/// References that are asked about at once. The client bounds what one registry gets.
const AT_ONCE: usize = 8;

/// How long a build that has no lock may look for what its bases are before it leaves that to the builder.
const PATIENCE: Duration = Duration::from_secs(15);

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

    /// Refuses an image that is not the one which is locked for its platform: half of such a lock is from elsewhere.
    pub(super) fn check(&self, reference: &Reference, platform: &Platform, image: &Digest) -> Result<(), RunError> {
        match self.images.digest_of(reference, platform) {
            Some(locked) if locked != *image => Err(RunError::LockContradictsItself {
                reference: Box::new(reference.clone()),
                platform: Box::new(platform.clone()),
                digests: Box::new((locked, *image)),
            }),
            _ => Ok(()),
        }
    }

    /// What `reference` points to, for every platform together.
    pub fn root_of(&self, reference: &Reference) -> Option<Digest> {
        reference.digest().copied().or_else(|| self.images.root_of(reference))
    }

    /// The digest that stands for `base` in a cell: its platform's manifest, else (where the platform is the builder's own)
    /// what the reference points to. Nothing where that is not known: the builder resolves it by itself.
    pub fn digest_of(&self, base: &Base) -> Option<Digest> {
        let exact = base.platform.as_ref().and_then(|platform| self.images.digest_of(&base.reference, platform));
        exact.or_else(|| self.root_of(&base.reference))
    }

    /// Everything from outside that `build` is made from, each with its digest, in the order of the Dockerfile, its
    /// frontend first. A fingerprint that covers a base without a digest covers less than it says.
    pub fn of_cell<'a>(&'a self, build: &'a CellBuild) -> impl Iterator<Item = (&'a Base, Option<Digest>)> {
        build.frontend.iter().chain(&build.bases).map(|base| (base, self.digest_of(base)))
    }

    /// What is known, in the form of a lock.
    pub fn images(&self) -> &LockFile {
        &self.images
    }

    /// What a run without a network goes by: `lock`, and what it does not say as the last `prefetch` found it.
    pub fn without_network(lock: Option<&LockFile>, state: &StateDir) -> Result<Self, RunError> {
        let mut images = lock.cloned().unwrap_or_default();
        let known = LockFile::read(&state.bases(), &DiskFiles).map_err(RunError::room)?.unwrap_or_default();
        for (name, image) in known.images() {
            if let Ok(reference) = name.parse::<Reference>()
                && images.image(&reference).is_none()
            {
                images.set(&reference, image.clone());
            }
        }
        Ok(Self { images })
    }

    /// What a run goes by: `lock`, and what it does not say resolved now, once for all platforms.
    ///
    /// What cannot be resolved from here is left to the builder, which may reach registries that this machine does not; that
    /// is said, since then a tag that moves can differ between cells.
    pub async fn for_run(
        cells: &[&Cell],
        whole: &Plan,
        lock: Option<&LockFile>,
        (client, events): (&RegistryClient, &Arc<dyn EventSink>),
    ) -> Self {
        let mut images = lock.cloned().unwrap_or_default();
        let open: Vec<Wanted> = wanted_by(cells.iter().copied(), whole)
            .into_iter()
            // Externals are asked about by whoever mirrors them, where failing is an error.
            .filter(|one| one.is_base && one.reference.digest().is_none() && images.image(&one.reference).is_none())
            .filter(|one| !is_local(&one.reference))
            .collect();
        if open.is_empty() {
            return Self { images };
        }
        if lock.is_some() {
            let names: Vec<String> = open.iter().map(|one| one.reference.to_string()).collect();
            let text = format!("{} not in catamaran.lock, resolved now: run `catamaran lock`", names.join(", "));
            events.emit(Event::Warning { cell: None, text });
        }
        let asked = stream::iter(open).map(|one| async move {
            let found = tokio::time::timeout(PATIENCE, client.fetch_manifest(&one.reference)).await;
            (one, found)
        });
        let mut asked = asked.buffer_unordered(AT_ONCE);
        while let Some((one, found)) = asked.next().await {
            let reason = match found {
                Ok(Ok(root)) => {
                    images.set(&one.reference, listed(&root, &one.platforms));
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
            };
            let text = format!("`{}` is left to the builder to resolve, cell by cell: {reason}", one.reference);
            events.emit(Event::Warning { cell: None, text });
        }
        Self { images }
    }
}

/// What the entries of `root` say about platforms; nobody has looked into the configs yet.
fn listed(root: &Fetched, platforms: &BTreeSet<Platform>) -> LockedImage {
    let entry = |platform: &Platform| Some((platform.clone(), listed_digest(root, platform)?));
    LockedImage { digest: root.descriptor.digest, platforms: platforms.iter().filter_map(entry).collect() }
}

/// The digest of the first image for `platform` in the index `root`.
fn listed_digest(root: &Fetched, platform: &Platform) -> Option<Digest> {
    let raw = RawManifest::parse(root.bytes.to_vec(), &root.descriptor.media_type).ok()?;
    let ManifestBody::Index { manifests, .. } = &raw.parsed else { return None };
    let images = manifests.iter().filter(|entry| !is_attestation(entry));
    images.filter(|entry| entry_platform(entry) == Some(Ok(platform.clone()))).map(|entry| entry.digest).next()
}

/// What `catamaran lock` is told.
#[derive(Debug, Clone, Default)]
pub struct LockRequest {
    /// The lock as it is.
    pub known: Option<LockFile>,
    /// Names or globs of components, externals or images whose entries are resolved anew.
    pub update: Vec<String>,
}

/// What became of one image of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockEntry {
    /// As the project has it.
    pub reference: Reference,
    /// What it is now; nothing where the project does not use it any more.
    pub now: Option<LockedImage>,
    /// What it was, where the lock had it.
    pub before: Option<LockedImage>,
    /// The components that use it.
    pub users: Vec<String>,
}

/// A lock and what changed in it.
#[derive(Debug, Clone, Default)]
pub struct Locked {
    /// The new content.
    pub lock: LockFile,
    /// Every image that is or was in it, by its full reference.
    pub entries: Vec<LockEntry>,
    /// Images that stay on this machine and are not locked.
    pub local: Vec<Reference>,
    /// Components whose Dockerfile a builder fetches, and from where: what they are made from is not known, and not locked.
    pub fetched: Vec<(ComponentName, String)>,
}

impl Locked {
    /// The images that are not what they were.
    pub fn changes(&self) -> impl Iterator<Item = &LockEntry> {
        self.entries.iter().filter(|entry| entry.now != entry.before)
    }
}

/// Resolves everything that the whole matrix of `plan` takes from outside, as far as the lock does not say it yet.
///
/// Entries that are known stay as they are unless `update` names them; a platform that is new is taken from the very index
/// that is locked. All images that could not be resolved are in the one error.
pub async fn lock(plan: &Plan, request: &LockRequest, client: &RegistryClient) -> Result<Locked, RunError> {
    let all = wanted(plan);
    check_names(&all, &request.update)?;
    let (local, open): (Vec<Wanted>, Vec<Wanted>) = all.into_iter().partition(|one| is_local(&one.reference));
    let known = request.known.clone().unwrap_or_default();
    let usual = usual_platforms(plan);
    let resolving = open.into_iter().map(|one| {
        let before = known.image(&one.reference).cloned();
        let usual = &usual;
        async move {
            let base = before.clone().filter(|_| !request.update.iter().any(|name| one.is_called(name)));
            let now = resolve(client, &one, base, usual).await;
            (one, before, now)
        }
    });
    let mut results: Vec<_> = stream::iter(resolving).buffered(AT_ONCE).collect().await;
    results.sort_by_key(|(one, ..)| one.reference.familiar());
    let mut locked = Locked {
        local: local.into_iter().map(|one| one.reference).collect(),
        fetched: fetched(plan),
        ..Locked::default()
    };
    let mut errors = Vec::new();
    for (one, before, now) in results {
        match now {
            Ok(now) => {
                locked.lock.set(&one.reference, now.clone());
                let users = one.components();
                locked.entries.push(LockEntry { reference: one.reference, now: Some(now), before, users });
            }
            Err(mut found) => errors.append(&mut found),
        }
    }
    if let Some(error) = RunError::of_many(errors) {
        return Err(error);
    }
    for (name, image) in known.images() {
        let Ok(reference) = name.parse::<Reference>() else { continue };
        if locked.lock.image(&reference).is_none() {
            let before = Some(image.clone());
            locked.entries.push(LockEntry { reference, now: None, before, users: Vec::new() });
        }
    }
    locked.entries.sort_by_key(|entry| entry.reference.familiar());
    Ok(locked)
}

/// The components of `plan` whose Dockerfiles builders fetch, and from where.
pub fn fetched(plan: &Plan) -> Vec<(ComponentName, String)> {
    let built = plan.components.iter().filter(|component| component.excluded.is_none());
    built.filter_map(|component| Some((component.name.clone(), component.fetched.as_ref()?.0.clone()))).collect()
}

/// A name after `--update` that means nothing is a mistake, not a wish that is granted already.
fn check_names(all: &[Wanted], update: &[String]) -> Result<(), RunError> {
    match update.iter().find(|name| !all.iter().any(|one| one.is_called(name))) {
        Some(name) => {
            let known: Vec<String> = all.iter().map(|one| one.reference.to_string()).collect();
            Err(RunError::UnknownImage { name: name.clone(), known })
        }
        None => Ok(()),
    }
}

/// The platforms that builders are of: what runs on the builder itself is locked for these, whichever machine locks.
fn usual_platforms(plan: &Plan) -> BTreeSet<Platform> {
    let usual = ["linux/amd64", "linux/arm64"].iter().filter_map(|platform| platform.parse().ok());
    usual.chain(plan.platforms.iter().cloned()).collect()
}

/// What one image is; `known` is what it must stay.
async fn resolve(
    client: &RegistryClient,
    wanted: &Wanted,
    known: Option<LockedImage>,
    usual: &BTreeSet<Platform>,
) -> Result<LockedImage, Vec<RunError>> {
    let counts =
        |platform: &Platform| wanted.platforms.contains(platform) || (wanted.builder && usual.contains(platform));
    if let Some(mut known) = known.clone() {
        known.platforms.retain(|platform, _| counts(platform));
        let has = |platform| known.platforms.contains_key(platform);
        if wanted.platforms.iter().all(has) && (!wanted.builder || !known.platforms.is_empty()) {
            return Ok(known);
        }
    }
    let reference = match &known {
        Some(known) => wanted.reference.repository().at(known.digest),
        None => wanted.reference.clone(),
    };
    let root = client.fetch_manifest(&reference).await.map_err(|error| vec![wanted.failed(None, error.into())])?;
    let mut platforms = BTreeMap::new();
    let mut errors = Vec::new();
    for platform in &wanted.platforms {
        // The config is looked into too: an index may say anything.
        match client.resolve_in(&wanted.reference, &root, platform).await {
            Ok(manifest) => {
                platforms.insert(platform.clone(), manifest.descriptor.digest);
            }
            Err(error) => errors.push(wanted.failed(Some(platform), error.into())),
        }
    }
    if wanted.builder {
        let more = usual.iter().filter_map(|platform| Some((platform.clone(), listed_digest(&root, platform)?)));
        for (platform, digest) in more.collect::<Vec<_>>() {
            platforms.entry(platform).or_insert(digest);
        }
    }
    if errors.is_empty() { Ok(LockedImage { digest: root.descriptor.digest, platforms }) } else { Err(errors) }
}

/// What a lock lacks or has too much for the whole matrix of `plan`, without asking any registry.
pub fn stale(plan: &Plan, lock: &LockFile) -> Vec<String> {
    let all: Vec<Wanted> = wanted(plan).into_iter().filter(|one| !is_local(&one.reference)).collect();
    let mut found = Vec::new();
    for one in &all {
        let users = one.components().join(", ");
        match lock.image(&one.reference) {
            None => found.push(format!("`{}`, which {users} is made from, is not in it", one.reference)),
            Some(image) => {
                let missing = one.platforms.iter().filter(|platform| !image.platforms.contains_key(platform));
                found.extend(
                    missing.map(|platform| format!("`{}` is not in it for {platform} ({users})", one.reference)),
                );
            }
        }
    }
    let used = |name: &str| all.iter().any(|one| one.reference.familiar() == name);
    found.extend(
        lock.images().filter(|(name, _)| !used(name)).map(|(name, _)| format!("`{name}` is in it and not used")),
    );
    found
}

/// Writes a lock as one act; tells whether its bytes changed.
pub fn write_lock(path: &Path, lock: &LockFile) -> Result<bool, RunError> {
    let text = lock.text();
    if std::fs::read(path).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(false);
    }
    // Temporary files are private; this one is for everybody who may read the project.
    write_atomically(path, text.as_bytes())
        .and_then(|()| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)))
        .map_err(|source| RunError::state("write", path, source))?;
    Ok(true)
}

impl Wanted {
    /// Whether `name` (of a component or an image, or a glob) means it.
    fn is_called(&self, name: &str) -> bool {
        let full = self.reference.familiar();
        let repository = self.reference.repository();
        let names = [self.reference.to_string(), repository.to_string(), full];
        names.iter().chain(&self.components()).any(|own| own == name || glob_matches(name, own))
    }
}
