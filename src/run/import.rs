use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::publish::blocking;
use super::release::journal;
use super::verify::verify_opened;
use super::{RunError, StateDir};
use crate::base::{Digest, Prefix, Repository, Tag};
use crate::bundle::{BundleReader, ContentsLock, LockedImage};
use crate::event::EventSink;
use crate::registry::{
    PushForecast, PushOptions, PushReceipt, PushSource, RegistryClient, Release, ReleaseItem, push_with,
};
use crate::verify::{Depth, Report};

/// A bundle, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct ImportRequest<'a> {
    /// The bundle.
    pub file: &'a Path,
    /// Below which prefixes its images are published; at least one.
    pub to: &'a [Prefix],
    /// Other names for some of them.
    pub renames: &'a [Rename],
    /// How far the bundle is looked into before.
    pub depth: Depth,
    /// Whether a bundle that is stamped INCOMPLETE may go out.
    pub allow_incomplete: bool,
}

/// `OLD=NEW`: an image of a bundle is published under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The component, or the repository below the prefix.
    old: String,
    /// The repository below the new prefix.
    new: String,
    /// The tag, where it changes too.
    tag: Option<Tag>,
}

/// What an import is about: what the file says of itself, proven.
#[derive(Debug, Clone)]
pub struct Import {
    /// What the bundle says that it holds.
    pub lock: ContentsLock,
    /// How much of it was looked at; without findings.
    pub report: Report,
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Imported {
    /// What it was made of.
    pub import: Import,
    /// What the registries have now.
    pub receipt: PushReceipt,
}

/// A bundle that was proven, open.
struct Proven {
    import: Import,
    source: PushSource,
    release: Release,
}

/// Publishes a bundle below every prefix as one act, as a push does; its blobs are read where they are in the file.
///
/// The whole bundle is proven before anything is sent, through the handle that it is then read by: its digests and closure,
/// the platform of every image, and that all its views show the same names. `state` takes lock and journal, so that a
/// process that is killed is gone on with by the next one.
pub async fn import(
    request: &ImportRequest<'_>,
    state: &StateDir,
    client: &RegistryClient,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<Imported, RunError> {
    let Proven { import, source, release } = proven(request, cancel).await?;
    state.create()?;
    let _lock = state.lock(events.as_ref(), cancel).await?;
    let options = PushOptions { journal: Some(journal(state).await?), verify: false, ..PushOptions::default() };
    let receipt = Box::pin(push_with(client, source, release, &options, events, cancel)).await?;
    Ok(Imported { import, receipt })
}

/// What [`import`] would do, by looking only. The bundle is proven all the same.
pub async fn import_forecast(
    request: &ImportRequest<'_>,
    client: &RegistryClient,
    events: Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Result<(PushForecast, Import), RunError> {
    let Proven { import, source, release } = proven(request, cancel).await?;
    let options = PushOptions { journal: None, verify: false, ..PushOptions::default() };
    let forecast = Box::pin(crate::registry::forecast(client, source, release, &options, events)).await?;
    Ok((forecast, import))
}

/// Opens and proves the bundle, and finds out what goes where. Nothing is asked of anybody.
async fn proven(request: &ImportRequest<'_>, cancel: &CancellationToken) -> Result<Proven, RunError> {
    let (path, depth, cancel) = (request.file.to_owned(), request.depth, cancel.clone());
    let (to, renames, allowed) = (request.to.to_vec(), request.renames.to_vec(), request.allow_incomplete);
    blocking(move || {
        let bundle = BundleReader::open(&path)?;
        // Names first: a mistyped one must not cost the time that it takes to read everything.
        let release = release(&bundle, &to, &renames)?;
        let verified = verify_opened(&bundle, depth, &cancel)?;
        if verified.report.cancelled {
            return Err(RunError::Cancelled);
        }
        if !verified.report.findings.is_empty() {
            return Err(RunError::NotWhole { path, findings: verified.report.findings });
        }
        if !allowed && !bundle.lock().complete {
            return Err(RunError::IncompleteBundle { path, missing: verified.declared_missing });
        }
        let import = Import { lock: bundle.lock().clone(), report: verified.report };
        Ok(Proven { import, source: PushSource::of(Arc::new(bundle)), release })
    })
    .await
}

/// One item for each image and prefix.
fn release(bundle: &BundleReader, to: &[Prefix], renames: &[Rename]) -> Result<Release, RunError> {
    let lock = bundle.lock();
    let known = |rename: &&Rename| !lock.images.iter().any(|image| rename.means(image));
    if let Some(idle) = renames.iter().find(known) {
        let names: Vec<&str> = lock.images.iter().map(path_of).collect();
        let message = format!("`--rename {idle}`: the bundle has no `{}`, it has {}", idle.old, names.join(", "));
        return Err(RunError::BadName { message });
    }
    let mut items: Vec<ReleaseItem> = Vec::new();
    let mut taken: BTreeMap<String, Digest> = BTreeMap::new();
    for (image, entry) in lock.images.iter().zip(bundle.entries()) {
        let rename = renames.iter().find(|rename| rename.means(image));
        let path = rename.map_or_else(|| path_of(image), |rename| &rename.new);
        let own = || image.reference.tag().cloned().unwrap_or_else(Tag::latest);
        let tag = rename.and_then(|rename| rename.tag.clone()).unwrap_or_else(own);
        for prefix in to {
            let repository = prefix.join(path).map_err(|error| RunError::BadName { message: error.to_string() })?;
            let name = repository.tagged(tag.clone()).familiar();
            if taken.insert(name.clone(), image.index).is_some() {
                return Err(RunError::BadName { message: format!("two images would be published as `{name}`") });
            }
            items.push(ReleaseItem {
                component: image.component.clone(),
                index: entry.index.clone(),
                repository,
                tags: vec![tag.clone()],
                partial: lock.subset || lock.missing.iter().any(|cell| cell.component == image.component),
            });
        }
    }
    Ok(Release { items })
}

/// The repository of an image below its prefix. A bundle that does not say where the prefix ends has its whole path, the
/// registry's host left out.
fn path_of(image: &LockedImage) -> &str {
    let whole = image.reference.repository().path();
    // Only a part of its own reference can be meant.
    let below = |path: &&str| whole.strip_suffix(*path).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    image.path.as_deref().filter(below).unwrap_or(whole)
}

impl Rename {
    fn means(&self, image: &LockedImage) -> bool {
        self.old == image.component.as_str() || self.old == path_of(image)
    }
}

impl FromStr for Rename {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || "write OLD=NEW, such as web=tools/web or web=web:2.0".to_owned();
        let (old, new) = text.split_once('=').filter(|(old, _)| !old.is_empty()).ok_or_else(shape)?;
        let (new, tag) = match new.split_once(':') {
            Some((new, tag)) => (new, Some(tag.parse::<Tag>().map_err(|error| error.to_string())?)),
            None => (new, None),
        };
        // As part of a repository: what comes before it is the prefix.
        format!("registry.example/{new}").parse::<Repository>().map_err(|_| shape())?;
        Ok(Self { old: old.to_owned(), new: new.to_owned(), tag })
    }
}

impl fmt::Display for Rename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.old, self.new)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Reference;

    fn image(component: &str, reference: &str, path: Option<&str>) -> LockedImage {
        LockedImage {
            component: component.parse().expect("a name"),
            reference: reference.parse::<Reference>().expect("a reference"),
            path: path.map(str::to_owned),
            index: Digest::of("index"),
            platforms: Vec::new(),
            foreign: Vec::new(),
        }
    }

    #[test]
    fn the_prefix_goes_and_the_rest_stays() {
        for (reference, path, below) in [
            ("r.example/infra/ai-web:1", Some("ai-web"), "ai-web"),
            ("r.example/infra/tools/web:1", Some("tools/web"), "tools/web"),
            ("r.example/infra/web:1", None, "infra/web"),
            ("web:1", Some("web"), "web"),
            // Neither parts of words nor what is not in the reference.
            ("r.example/infra/web:1", Some("eb"), "infra/web"),
            ("r.example/infra/web:1", Some("other"), "infra/web"),
        ] {
            assert_eq!(path_of(&image("web", reference, path)), below, "{reference} {path:?}");
        }
    }

    #[test]
    fn renames_mean_components_or_repositories() {
        let web = image("web", "r.example/infra/ai-web:1", Some("ai-web"));
        for (text, means) in [("web=x", true), ("ai-web=x/y:2", true), ("infra/ai-web=x", false), ("we=x", false)] {
            assert_eq!(text.parse::<Rename>().expect(text).means(&web), means, "{text}");
            assert_eq!(text.parse::<Rename>().expect(text).to_string(), text);
        }
        for bad in ["web", "=x", "web=", "web=X", "web=x:", "web=x:a b", "web=/x", "web=x@sha256:0", "web=../x"] {
            assert!(bad.parse::<Rename>().is_err(), "{bad}");
        }
    }
}
