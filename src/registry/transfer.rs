use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::auth::Scopes;
use super::blob::{Held, Mount};
use super::call::Gauge;
use super::client::Target;
use super::journal::Journal;
use super::meter::Meter;
use super::mount_plan::{self, BlobJob, Needs};
use super::push::{Item, at_once, so_many_at_once};
use super::readback::LOOKS;
use super::sessions::{FAREWELL, Sessions};
use super::upload::Upload;
use super::{PushReceipt, PushSource, RegistryClient, RegistryError};
use crate::base::{Descriptor, Digest, ErrorClass, Failure as _};
use crate::event::EventSink;
use url::Url;

/// Brings the blobs of a push to where they are needed, and counts how.
pub(super) struct Transfer {
    client: RegistryClient,
    source: PushSource,
    events: Arc<dyn EventSink>,
    pub(super) sessions: Sessions,
    /// Sessions that the preflight opened, for the first blob of their repository; by what is shown of it.
    ready: Mutex<HashMap<String, Url>>,
    counts: Counts,
    /// Blobs that were sent in this push, by what is shown of their repository and digest: they are looked at again.
    sent: Mutex<BTreeMap<(String, Digest), (Target, Descriptor)>>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Counts {
    present: AtomicU64,
    mounted: AtomicUsize,
    bytes_mounted: AtomicU64,
    uploaded: AtomicUsize,
}

/// What is known about a blob in a repository before it is sent.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    Absent,
    Unsure,
}

/// The repositories of one registry that take part.
pub(super) struct Registry {
    pub(super) name: String,
    pub(super) targets: Vec<Target>,
    pub(super) needs: Vec<Needs>,
}

impl Transfer {
    pub(super) fn new(
        client: RegistryClient,
        source: PushSource,
        events: Arc<dyn EventSink>,
        journal: Option<Journal>,
    ) -> Self {
        Self {
            client,
            source,
            events,
            sessions: Sessions::new(journal),
            ready: Mutex::default(),
            counts: Counts::default(),
            sent: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// Finds out before the first byte goes out whether we may write: opens an upload in every repository that needs blobs.
    ///
    /// The first blob of the repository goes there, so that this costs no request; an upload that nobody needs is closed.
    pub(super) async fn preflight(&self, items: &[Item]) -> Result<(), RegistryError> {
        let mut targets: BTreeMap<String, &Target> = BTreeMap::new();
        for registry in registries(items) {
            let wanted: BTreeSet<usize> =
                mount_plan::plan(&registry.needs).iter().flat_map(|job| job.wanted_by.iter().copied()).collect();
            let paths = wanted.iter().map(|number| &registry.targets[*number].path);
            for path in paths {
                let target = items.iter().map(|item| &item.target);
                if let Some(target) =
                    target.into_iter().find(|target| target.path == *path && target.host.name == registry.name)
                {
                    targets.insert(target.shown(), target);
                }
            }
        }
        at_once(targets.into_iter().collect(), |(shown, target)| async move {
            let url = self.client.begin_upload(target, &Scopes::push(&target.path)).await?;
            self.sessions.reserve(target, &url);
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(shown, url);
            Ok(())
        })
        .await
        .map(drop)
    }

    /// The session that the preflight opened in this repository, once.
    fn take_ready(&self, target: &Target) -> Option<Url> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).remove(&target.shown())
    }

    /// Closes uploads of earlier releases that nobody will go on with.
    pub(super) async fn forget_sessions(&self, journal: &Journal) -> Result<(), RegistryError> {
        let left: Vec<_> = journal
            .take_sessions()?
            .into_iter()
            .filter_map(|(repository, url)| Some((self.client.target(&repository), url.parse().ok()?)))
            .collect();
        let closing = at_once(left, |(target, url)| async move {
            self.client.close_session(&target, url).await;
            Ok(())
        });
        drop(tokio::time::timeout(FAREWELL, closing).await);
        Ok(())
    }

    /// Everything that the items need and their repositories lack.
    pub(super) async fn blobs(&self, items: &[Item]) -> Result<(), RegistryError> {
        let registries = registries(items);
        at_once(registries, |registry| async move {
            let jobs = mount_plan::plan(&registry.needs);
            let total = jobs.iter().map(|job| job.blob.size).sum();
            let what = format!("push {}", registry.name);
            let meter = Arc::new(Meter::new(what, total, Arc::clone(&self.events)));
            let given_up = AtomicBool::new(false);
            // Little more than the host's permits: what a job finds out about the registry serves those after it.
            let width = registry.targets.first().map_or(1, |target| target.host.width + 1);
            let jobs = so_many_at_once(width, jobs, |job| self.job_unless(&given_up, &registry.targets, job, &meter));
            let done = jobs.await;
            if done.is_ok() && total > 0 {
                meter.finish();
            }
            done.map(drop)
        })
        .await
        .map(drop)?;
        // Sessions that broke on the way: now nobody goes back to them.
        self.client.abandon(&self.sessions).await;
        Ok(())
    }

    /// One blob, unless the registry has failed for others already: a host that is gone is not asked once per blob.
    async fn job_unless(
        &self,
        given_up: &AtomicBool,
        targets: &[Target],
        job: BlobJob,
        meter: &Arc<Meter>,
    ) -> Result<(), RegistryError> {
        if given_up.load(Ordering::Relaxed) {
            return Ok(());
        }
        let done = self.job(targets, job, meter).await;
        if let Err(error) = &done
            && matches!(error.class(), ErrorClass::Network | ErrorClass::RateLimited)
        {
            given_up.store(true, Ordering::Relaxed);
        }
        done
    }

    /// One blob at one registry: sent to the first repository that takes it, mounted into the others from there.
    async fn job(&self, targets: &[Target], job: BlobJob, meter: &Arc<Meter>) -> Result<(), RegistryError> {
        let mut wanted_by = job.wanted_by.as_slice();
        let mut failed = Vec::new();
        let mut source = job.holder;
        while source.is_none()
            && let [first, rest @ ..] = wanted_by
        {
            wanted_by = rest;
            let first_target = &targets[*first];
            let upstream = self.source.mountable(&first_target.host.name);
            match self.ensure(first_target, &job.blob, upstream.as_deref(), Some(meter)).await {
                Ok(()) => source = Some(*first),
                // A repository that we may not write to must not keep the blob from the others.
                Err(error) if error.is_local() => return Err(error),
                Err(error) => failed.push(error),
            }
        }
        let source = source.map(|number| targets[number].path.as_str());
        let others = at_once(wanted_by.to_vec(), |number| self.ensure(&targets[number], &job.blob, source, None)).await;
        failed.extend(others.err());
        RegistryError::of_many(failed).map_or(Ok(()), Err)
    }

    /// The blob once more, without looking for a short cut: the registry says that it lacks it.
    pub(super) async fn again(&self, target: &Target, blob: &Descriptor) -> Result<(), RegistryError> {
        self.ensure(target, blob, None, None).await
    }

    /// Looks at every blob that was sent: a registry may take one and not keep it, or keep a shorter one that it had and
    /// say that it took ours. Such a blob is sent once more. Gives whether any was.
    ///
    /// What was found or mounted was looked at when it was.
    ///
    /// `read` tells which blobs are read back byte for byte anyway, and are left for later.
    pub(super) async fn confirm(&self, read: impl Fn(&Descriptor) -> bool) -> Result<bool, RegistryError> {
        let sent: BTreeMap<_, _> = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            let (later, now) = std::mem::take(&mut *sent).into_iter().partition(|(_, (_, blob))| read(blob));
            *sent = later;
            now
        };
        let again = at_once(sent.into_values().collect(), |(target, blob)| async move {
            if self.look_again(&target, &blob).await? == Held::Whole {
                return Ok(false);
            }
            self.again(&target, &blob).await?;
            match self.look_again(&target, &blob).await? {
                Held::Whole => Ok(true),
                Held::Unknown => Err(RegistryError::Protocol {
                    host: target.host.name.clone(),
                    action: format!("look for the blob `{}` in `{}`", blob.digest, target.shown()),
                    reason:
                        "it took it and answers neither HEAD nor GET for it, so that nobody knows whether it is there; \
                             no tag was moved"
                            .to_owned(),
                }),
                Held::OtherSize(found) => Err(RegistryError::Integrity {
                    what: format!("blob `{}` of `{}`", blob.digest, target.shown()),
                    reason: format!(
                        "the registry holds {found} bytes of {}, although it was sent twice; no tag was moved",
                        blob.size
                    ),
                }),
                Held::Missing => Err(RegistryError::Protocol {
                    host: target.host.name.clone(),
                    action: format!("store the blob `{}` of {} bytes in `{}`", blob.digest, blob.size, target.shown()),
                    reason: "it took it twice and does not hold it; no tag was moved".to_owned(),
                }),
            }
        });
        Ok(again.await?.contains(&true))
    }

    fn remember_sent(&self, target: &Target, blob: &Descriptor) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert((target.shown(), blob.digest), (target.clone(), blob.clone()));
    }

    /// What the registry holds of a blob that it took; some show one only after a moment.
    async fn look_again(&self, target: &Target, blob: &Descriptor) -> Result<Held, RegistryError> {
        let scopes = Scopes::push(&target.path);
        let retry = &self.client.options().retry;
        let mut wait = retry.first_wait;
        for _ in 1..LOOKS {
            match self.client.look_at_blob(target, blob, &scopes).await? {
                Held::Missing => tokio::time::sleep(wait).await,
                held => return Ok(held),
            }
            wait = wait.saturating_mul(2).min(retry.longest_wait);
        }
        // Whoever can be read is there, whatever HEAD says.
        self.client.look_by_reading(target, blob, &scopes).await
    }

    /// Makes sure that a repository has a blob: mounted from `source`, found there, or sent.
    async fn ensure(
        &self,
        target: &Target,
        blob: &Descriptor,
        source: Option<&str>,
        meter: Option<&Arc<Meter>>,
    ) -> Result<(), RegistryError> {
        let client = &self.client;
        let scopes = Scopes::push(&target.path);
        let mut session = None;
        if let Some(source) = source.filter(|source| *source != target.path) {
            match client.mount_blob(target, source, blob).await? {
                Mount::Done if client.has_blob(target, blob, &scopes).await? => {
                    self.counts.mounted.fetch_add(1, Ordering::Relaxed);
                    self.counts.bytes_mounted.fetch_add(blob.size, Ordering::Relaxed);
                    if let Some(meter) = meter {
                        meter.add(blob.size);
                    }
                    return Ok(());
                }
                Mount::Done => self.warn_of_lie(target),
                Mount::Session(url) => session = Some(url),
                Mount::Impossible => {}
            }
        }
        let ready = if session.is_none() { self.take_ready(target) } else { None };
        let looked = if session.is_none() && ready.is_none() && target.host.self_mount.tells() {
            match client.mount_blob(target, &target.path, blob).await? {
                Mount::Session(url) => {
                    session = Some(url);
                    Looked::Absent
                }
                Mount::Done | Mount::Impossible => Looked::Unsure,
            }
        } else {
            Looked::Unsure
        };
        if looked == Looked::Unsure && client.has_blob(target, blob, &scopes).await? {
            self.counts.present.fetch_add(blob.size, Ordering::Relaxed);
            if let Some(meter) = meter {
                meter.add(blob.size);
            }
            if let Some(url) = ready {
                // Kept for the next blob.
                self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(target.shown(), url);
            }
            if let Some(url) = session {
                client.close_session(target, url).await;
            }
            return Ok(());
        }
        self.source.bring(blob).await?;
        let gauge = meter.map_or_else(Gauge::default, |meter| Gauge::with_meter(Arc::clone(meter)));
        let gauge = gauge.capped(target.host.rate.clone());
        let upload = Upload { target, source: &self.source, descriptor: blob, sessions: &self.sessions, gauge };
        Box::pin(client.upload(&upload, session.or(ready))).await?;
        self.counts.uploaded.fetch_add(1, Ordering::Relaxed);
        self.remember_sent(target, blob);
        if target.host.self_mount.try_it() {
            self.learn_self_mount(target, blob).await?;
        }
        Ok(())
    }

    /// Finds out what a registry says to a mount of a blob from where it is: see [`super::host::SelfMount`].
    async fn learn_self_mount(&self, target: &Target, blob: &Descriptor) -> Result<(), RegistryError> {
        let answer = self.client.mount_blob(target, &target.path, blob).await?;
        target.host.self_mount.found(matches!(answer, Mount::Done));
        if let Mount::Session(url) = answer {
            self.client.close_session(target, url).await;
        }
        Ok(())
    }

    fn warn_of_lie(&self, target: &Target) {
        let text = format!(
            "`{}` says that it mounts blobs from other repositories and does not: they are sent instead",
            target.host.name
        );
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// What was done with blobs; the rest of the receipt is the caller's.
    pub(super) fn receipt(&self) -> PushReceipt {
        PushReceipt {
            bytes_present: self.counts.present.load(Ordering::Relaxed),
            mounted: self.counts.mounted.load(Ordering::Relaxed),
            bytes_mounted: self.counts.bytes_mounted.load(Ordering::Relaxed),
            uploaded: self.counts.uploaded.load(Ordering::Relaxed),
            warnings: self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ..PushReceipt::default()
        }
    }
}

/// The items sorted by registry, and within it by repository: two items may share one.
pub(super) fn registries(items: &[Item]) -> Vec<Registry> {
    let mut registries: BTreeMap<&str, Registry> = BTreeMap::new();
    for item in items {
        let host = &item.target.host.name;
        let registry = registries.entry(host).or_insert_with(|| Registry {
            name: host.clone(),
            targets: Vec::new(),
            needs: Vec::new(),
        });
        let position = registry.targets.iter().position(|target| target.path == item.target.path);
        let repository = position.unwrap_or_else(|| {
            registry.targets.push(item.target.clone());
            let repository = registry.needs.len();
            registry.needs.push(Needs { repository, blobs: Vec::new(), present: BTreeSet::new() });
            repository
        });
        let needs = &mut registry.needs[repository];
        for node in &item.closure.nodes {
            if !item.works() || item.is_there() || item.there.contains(&node.digest()) {
                needs.present.extend(node.blobs.iter().map(|blob| blob.digest));
            } else {
                needs.blobs.extend(node.blobs.iter().cloned());
            }
        }
    }
    registries.into_values().collect()
}
