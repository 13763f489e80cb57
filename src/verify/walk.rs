use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::layer::{Compression, Foreign, LayerScan, scan};
use super::pool::on_all_cores;
use super::{Affected, Depth, ExpectedIndex, Finding, Part, Problem, Report};
use crate::base::{Descriptor, Digest, MediaKind, Platform};
use crate::image::{ImageConfig, ImageError, ManifestBody, RawManifest, entry_platform, is_attestation};
use crate::store::{BlobSource, StoreError};

/// Proves that every index of `roots` is there with all that it refers to, for exactly the platforms that were asked for.
///
/// Every edge is followed and every blob hashed once, on all cores, largest first, in constant memory. Nothing is an error:
/// what cannot be read is a finding too. Cancelling ends it soon, with [`Report::cancelled`] set.
pub fn verify_layout(
    source: &dyn BlobSource,
    roots: &[ExpectedIndex],
    depth: Depth,
    cancel: &CancellationToken,
) -> Report {
    let mut walk = Walk { source, images: 0, blobs: HashMap::new(), findings: Findings::default() };
    for root in roots {
        walk.index(root);
    }
    let mut jobs: Vec<Job> = walk.blobs.into_values().collect();
    jobs.sort_by_key(|job| (job.read, std::cmp::Reverse(job.descriptor.size), job.descriptor.digest));
    let findings = Mutex::new(walk.findings);
    let totals = Totals::default();
    on_all_cores(&jobs, |job| {
        if cancel.is_cancelled() {
            return;
        }
        let found = job.run(source, depth, &totals, cancel);
        let mut findings = findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (problem, affected) in found {
            findings.add(problem, job.descriptor.digest, affected);
        }
    });
    Report {
        findings: findings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).sorted(),
        blobs: jobs.len() as u64,
        bytes: jobs.iter().fold(0, |sum, job| sum.saturating_add(job.descriptor.size)),
        images: walk.images,
        layers: totals.layers.into_inner(),
        executables: totals.executables.into_inner(),
        cancelled: cancel.is_cancelled(),
    }
}

#[derive(Default)]
struct Totals {
    layers: AtomicU64,
    executables: AtomicU64,
}

/// Findings by blob and problem, so that one damaged blob is one finding whatever number of images it breaks.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, problem: Problem, digest: Digest, affected: Affected) {
        match self.0.iter_mut().find(|known| known.digest == digest && known.problem == problem) {
            Some(known) => known.affects.push(affected),
            None => self.0.push(Finding { problem, digest, affects: vec![affected] }),
        }
    }

    fn sorted(mut self) -> Vec<Finding> {
        for finding in &mut self.0 {
            finding.affects.sort();
            finding.affects.dedup();
        }
        self.0.sort_by(|left, right| {
            left.affects.cmp(&right.affects).then_with(|| left.problem.to_string().cmp(&right.problem.to_string()))
        });
        self.0
    }
}

/// A blob to be hashed, with everything that it is part of.
struct Job {
    descriptor: Descriptor,
    affects: Vec<Affected>,
    /// Where it is a layer: which diff ID it must have in which image.
    layer: Vec<LayerUse>,
    /// It was read and verified on the way, or found broken; nothing is left to do.
    read: bool,
}

/// A layer as one image has it.
struct LayerUse {
    diff_id: Digest,
    affected: Affected,
    /// Globs of the programs for other processors that this image has on purpose.
    declared: Arc<[String]>,
}

struct Walk<'a> {
    source: &'a dyn BlobSource,
    images: u64,
    /// By size too: two descriptors that disagree about a blob's size are both checked, and one is wrong.
    blobs: HashMap<(Digest, u64), Job>,
    findings: Findings,
}

impl Walk<'_> {
    fn index(&mut self, root: &ExpectedIndex) {
        let whole = |part| Affected {
            component: root.component.clone(),
            reference: root.reference.clone(),
            platform: None,
            part,
        };
        let Some(raw) = self.manifest(&root.descriptor, &whole(Part::Index)) else { return };
        let ManifestBody::Index { manifests, .. } = raw.parsed else {
            let reason = "a manifest stands where an index must be".to_owned();
            self.findings.add(Problem::Malformed { reason }, root.descriptor.digest, whole(Part::Index));
            return;
        };
        let mut seen: BTreeMap<Platform, Digest> = BTreeMap::new();
        for entry in &manifests {
            let mut problem = |problem| self.findings.add(problem, root.descriptor.digest, whole(Part::Index));
            if is_attestation(entry) {
                self.carried(entry, &whole(Part::Attestation));
                continue;
            }
            match (entry.kind(), entry_platform(entry)) {
                (MediaKind::Index, _) => {
                    // Legal, but podman and skopeo cannot follow it: neither written nor passed on.
                    problem(Problem::Malformed { reason: format!("entry `{}` is an index itself", entry.digest) });
                }
                (MediaKind::Manifest, Some(Ok(platform))) if root.unasked.contains(&platform) => {}
                (MediaKind::Manifest, Some(Ok(platform))) => {
                    if let Some(first) = seen.insert(platform.clone(), entry.digest) {
                        let reason = format!("two images for {platform}: `{first}` and `{}`", entry.digest);
                        problem(Problem::Malformed { reason });
                    }
                    if !root.platforms.contains(&platform) {
                        problem(Problem::UnexpectedPlatform { platform: platform.to_string() });
                    }
                    self.image(root, entry, &platform);
                }
                (MediaKind::Manifest, Some(Err(platform))) => problem(Problem::UnexpectedPlatform { platform }),
                _ => self.carried(entry, &whole(Part::Other)),
            }
        }
        for platform in root.platforms.iter().filter(|platform| !seen.contains_key(platform)) {
            let problem = Problem::AbsentPlatform { platform: platform.clone() };
            self.findings.add(problem, root.descriptor.digest, whole(Part::Index));
        }
    }

    fn image(&mut self, root: &ExpectedIndex, entry: &Descriptor, platform: &Platform) {
        self.images += 1;
        let affected = |part| Affected {
            component: root.component.clone(),
            reference: root.reference.clone(),
            platform: Some(platform.clone()),
            part,
        };
        let Some(raw) = self.manifest(entry, &affected(Part::Manifest)) else { return };
        let ManifestBody::Image { config, layers, .. } = &raw.parsed else {
            let reason = "an index stands where a manifest must be".to_owned();
            self.findings.add(Problem::Malformed { reason }, entry.digest, affected(Part::Manifest));
            return;
        };
        let diff_ids = match ImageConfig::of(self.source, &raw) {
            Ok(facts) => {
                if !facts.is_for(platform) {
                    let problem = Problem::WrongPlatform { wanted: platform.clone(), found: facts.shown() };
                    self.findings.add(problem, config.digest, affected(Part::Config));
                }
                self.done(config, affected(Part::Config));
                facts.diff_ids
            }
            Err(error) => {
                self.done(config, affected(Part::Config));
                self.findings.add(problem_of(error), config.digest, affected(Part::Config));
                Vec::new()
            }
        };
        let declared: Arc<[String]> = root.foreign.as_slice().into();
        for (at, layer) in layers.iter().enumerate() {
            let affected = affected(Part::Layer { number: at + 1, of: layers.len() });
            let job = self.blob_job(layer);
            job.affects.push(affected.clone());
            if let Some(diff_id) = diff_ids.get(at) {
                job.layer.push(LayerUse { diff_id: *diff_id, affected, declared: Arc::clone(&declared) });
            }
        }
    }

    /// What is no image of a platform (an attestation, an artifact) is carried, not judged: its bytes must be whole.
    fn carried(&mut self, entry: &Descriptor, affected: &Affected) {
        if entry.kind() != MediaKind::Manifest {
            return self.blob(entry, affected.clone());
        }
        if let Some(raw) = self.manifest(entry, affected) {
            for child in raw.children() {
                self.blob(&child, affected.clone());
            }
        }
    }

    /// Reads a manifest or index; what is wrong with it becomes a finding.
    fn manifest(&mut self, descriptor: &Descriptor, affected: &Affected) -> Option<RawManifest> {
        self.done(descriptor, affected.clone());
        match RawManifest::read(self.source, descriptor) {
            Ok(raw) => Some(raw),
            Err(error) => {
                self.findings.add(problem_of(error), descriptor.digest, affected.clone());
                None
            }
        }
    }

    fn blob(&mut self, descriptor: &Descriptor, affected: Affected) {
        self.blob_job(descriptor).affects.push(affected);
    }

    /// Counts a blob that needs no further look.
    fn done(&mut self, descriptor: &Descriptor, affected: Affected) {
        let job = self.blob_job(descriptor);
        job.affects.push(affected);
        job.read = true;
    }

    fn blob_job(&mut self, descriptor: &Descriptor) -> &mut Job {
        match self.blobs.entry((descriptor.digest, descriptor.size)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                free.insert(Job { descriptor: descriptor.bare(), affects: Vec::new(), layer: Vec::new(), read: false })
            }
        }
    }
}

impl Job {
    fn run(
        &self,
        source: &dyn BlobSource,
        depth: Depth,
        totals: &Totals,
        cancel: &CancellationToken,
    ) -> Vec<(Problem, Affected)> {
        if self.read && self.layer.is_empty() {
            return Vec::new();
        }
        let for_all = |problem: Problem| self.affects.iter().map(|one| (problem.clone(), one.clone())).collect();
        let reader = match source.open(&self.descriptor) {
            Ok(reader) => Interruptible { inner: reader, cancel },
            Err(error) => return for_all(problem_of_store(error)),
        };
        let compression = match depth {
            Depth::Layers if !self.layer.is_empty() => Some(Compression::of(&self.descriptor.media_type)),
            _ => None,
        };
        let result = match compression {
            Some(Ok(compression)) => {
                let platforms = self.platforms();
                scan(reader, compression, &platforms).map(|scanned| {
                    totals.layers.fetch_add(1, Ordering::Relaxed);
                    totals.executables.fetch_add(scanned.executables, Ordering::Relaxed);
                    self.judge(&scanned, &platforms)
                })
            }
            Some(Err(reason)) => hash(reader).map(|()| for_all(Problem::NotScanned { reason })),
            None => hash(reader).map(|()| Vec::new()),
        };
        match result {
            Ok(problems) => problems,
            Err(_) if cancel.is_cancelled() => Vec::new(),
            Err(error) => for_all(problem_of_read(error)),
        }
    }

    fn platforms(&self) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = self.layer.iter().filter_map(|one| one.affected.platform.clone()).collect();
        platforms.sort();
        platforms.dedup();
        platforms
    }

    fn judge(&self, scanned: &LayerScan, platforms: &[Platform]) -> Vec<(Problem, Affected)> {
        let mut problems = Vec::new();
        for LayerUse { diff_id, affected, declared } in &self.layer {
            if *diff_id != scanned.diff_id {
                let problem = Problem::WrongDiffId { expected: *diff_id, found: scanned.diff_id };
                problems.push((problem, affected.clone()));
            }
            let Some(platform) = &affected.platform else { continue };
            let foreign = platforms.iter().position(|one| one == platform).map(|at| &scanned.foreign[at]);
            if let Some(problem) = foreign.and_then(|foreign| foreign_problem(foreign, declared, platform)) {
                problems.push((problem, affected.clone()));
            }
        }
        problems
    }
}

/// The problem of a layer with programs for another processor that nobody declared.
pub(super) fn foreign_problem(foreign: &Foreign, declared: &[String], platform: &Platform) -> Option<Problem> {
    let (first, more) = foreign.undeclared(declared)?;
    let (path, found) = (first.path.clone(), first.processor.clone());
    Some(Problem::ForeignExecutable { path, found, expected: platform.clone(), more })
}

/// Lets a verification of gigabytes end between two reads.
pub(super) struct Interruptible<'a, R> {
    pub(super) inner: R,
    pub(super) cancel: &'a CancellationToken,
}

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.inner.read(buffer)
    }
}

fn hash(mut reader: impl Read) -> io::Result<()> {
    // Large enough that the system calls do not count beside hashing, small enough to stay in the second-level cache.
    let mut buffer = vec![0; 256 << 10];
    while reader.read(&mut buffer)? > 0 {}
    Ok(())
}

fn problem_of(error: ImageError) -> Problem {
    match error {
        ImageError::Store(error) => problem_of_store(error),
        ImageError::Malformed { reason, .. } => Problem::Malformed { reason },
        other => Problem::Malformed { reason: other.to_string() },
    }
}

pub(super) fn problem_of_store(error: StoreError) -> Problem {
    match error {
        StoreError::Missing { .. } => Problem::Missing,
        StoreError::Corrupt { found, .. } => Problem::Corrupt { found: Some(found) },
        StoreError::WrongSize { expected, found, .. } => Problem::WrongSize { expected, found },
        StoreError::NotAFile { .. } => Problem::NotAFile,
        StoreError::Io { source, .. } => Problem::Unreadable { reason: source.to_string() },
        other => Problem::Malformed { reason: other.to_string() },
    }
}

/// The blob's own verdict, the layer's, or the system's.
pub(super) fn problem_of_read(error: io::Error) -> Problem {
    if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof) {
        let reason = error.to_string();
        return match error.downcast::<StoreError>() {
            Ok(verdict) => problem_of_store(verdict),
            Err(_) => Problem::Malformed { reason },
        };
    }
    Problem::Unreadable { reason: error.to_string() }
}
