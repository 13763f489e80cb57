use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::auth::Scopes;
use super::client::Target;
use super::mount_plan::{self, BlobJob};
use super::push::{Item, PushOptions, Release, at_once, look};
use super::transfer::registries;
use super::{PushSource, RegistryClient, RegistryError};
use crate::base::Digest;
use crate::event::EventSink;

/// What a push would do, found out by looking only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PushForecast {
    /// By registry, sorted.
    pub registries: Vec<RegistryForecast>,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

/// What a push would do at one registry. Blobs are counted once for each repository that they would be in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RegistryForecast {
    /// Its host.
    pub registry: String,
    /// Repositories.
    pub repositories: usize,
    /// Tags that are not there yet.
    pub tags_created: usize,
    /// Tags that would change what they show.
    pub tags_moved: usize,
    /// Tags that show it already.
    pub tags_unchanged: usize,
    /// Blobs that are there.
    pub present: usize,
    /// Their bytes.
    pub bytes_present: u64,
    /// Blobs that would be mounted from another repository.
    pub mounts: usize,
    /// Their bytes.
    pub bytes_mounted: u64,
    /// Blobs that would be sent.
    pub sends: usize,
    /// Bytes that would be sent: of these blobs, and of manifests.
    pub bytes_sent: u64,
}

/// Finds out what [`super::push_with`] would do. Only reads; a mount that the registry will not make shows in the push alone.
pub async fn forecast(
    client: &RegistryClient,
    source: impl Into<PushSource>,
    release: Release,
    options: &PushOptions,
    events: Arc<dyn EventSink>,
) -> Result<PushForecast, RegistryError> {
    let (client, source) = (client.with_events(events), source.into());
    let items = Box::pin(look(&client, &source, release, options)).await?;
    let mut found = Vec::new();
    for registry in registries(&items) {
        let of_registry = || items.iter().filter(|item| item.target.host.name == registry.name);
        let mut forecast = RegistryForecast {
            registry: registry.name.clone(),
            repositories: registry.targets.len(),
            ..RegistryForecast::default()
        };
        forecast.count_tags(of_registry());
        let jobs = mount_plan::plan(&registry.needs);
        let targets = &registry.targets;
        let client = &client;
        let looked = at_once(jobs, |job| async move { holders(client, targets, job).await }).await?;
        let mut blobs: BTreeMap<(usize, Digest), u64> = BTreeMap::new();
        for item in of_registry() {
            let repository = targets.iter().position(|target| target.path == item.target.path).unwrap_or_default();
            let all = item.closure.nodes.iter().flat_map(|node| &node.blobs);
            blobs.extend(all.map(|blob| ((repository, blob.digest), blob.size)));
        }
        for (job, there) in looked {
            let lacking = job.wanted_by.len() - there;
            let sent = usize::from(job.holder.is_none() && there == 0);
            forecast.sends += sent;
            forecast.bytes_sent += job.blob.size * sent as u64;
            forecast.mounts += lacking - sent;
            forecast.bytes_mounted += job.blob.size * (lacking - sent) as u64;
        }
        forecast.present = blobs.len() - forecast.sends - forecast.mounts;
        let all: u64 = blobs.values().sum();
        let sent_blobs = forecast.bytes_sent;
        forecast.bytes_present = all.saturating_sub(sent_blobs + forecast.bytes_mounted);
        forecast.bytes_sent += of_registry().map(Item::manifest_bytes).sum::<u64>();
        found.push(forecast);
    }
    Ok(PushForecast { registries: found, warnings: items.iter().flat_map(Item::loss_warnings).collect() })
}

/// A job, with how many of the repositories that want its blob have it all the same.
async fn holders(client: &RegistryClient, targets: &[Target], job: BlobJob) -> Result<(BlobJob, usize), RegistryError> {
    let blob = &job.blob;
    let asked = at_once(job.wanted_by.clone(), |number| async move {
        let target = &targets[number];
        client.has_blob(target, blob, &Scopes::push(&target.path)).await
    });
    let there = asked.await?.into_iter().filter(|there| *there).count();
    Ok((job, there))
}

impl RegistryForecast {
    fn count_tags<'a>(&mut self, items: impl Iterator<Item = &'a Item>) {
        let mut seen = BTreeSet::new();
        for item in items {
            for (tag, shown) in item.release.tags.iter().zip(&item.shows) {
                if !seen.insert((&item.target.path, tag.as_str())) {
                    continue;
                }
                match shown {
                    None => self.tags_created += 1,
                    Some(shown) if *shown == item.release.index.digest => self.tags_unchanged += 1,
                    Some(_) => self.tags_moved += 1,
                }
            }
        }
    }
}
