//! What a request is in the daemon's words: attributes of the frontend and of the exporter.
//!
//! The daemon accepts misspelt attributes in silence, so this is the one place that writes them, and a test lists them all.

use std::collections::HashMap;

use super::context::{CONTEXT, DOCKERFILE, named_directories};
use super::named::NamedImage;
use super::proto::moby::buildkit::v1::sourcepolicy::{MatchType, Policy, PolicyAction, Rule, Selector, Update};
use super::proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry};
use super::session::LAYOUT_STORE;
use crate::base::{CacheSpec, Digest, NetworkMode, Reference, SolveOptions};
use crate::dockerfile::context_name;
use crate::engine::{BuildRequest, ContextSource, DockerfilePlace, NamedContext};

/// The builder's own Dockerfile frontend; a `# syntax=` line in the Dockerfile may put another in its place.
pub(super) const FRONTEND: &str = "dockerfile.v0";

/// Everything that lets two daemons make different bytes of one request, and the value that is asked for every time.
///
/// | what | value | else |
/// |---|---|---|
/// | `CompatibilityVersion` | 20 | the newest level of the daemon; 20 is what daemons since v0.15 do, also those before v0.30 that do not know the field |
/// | exporter `oci-mediatypes` | `true` | Docker's media types under some exporters and levels |
/// | exporter `compression` | `gzip` | the daemon's default |
/// | exporter `force-compression` | absent | `true` would rewrite the layers of bases |
/// | exporter `oci-artifact` | absent | matters for attestations only |
/// | exporter `rewrite-timestamp` | `true`, with an epoch | file times inside layers differ from run to run |
/// | exporter `source-date-epoch` | the epoch, if there is one | times in config and history differ |
/// | frontend `attest:*` | absent unless the project asks for it | build ids and times; the result is an index then |
/// | frontend `platform` | the cell's | the daemon's own platform |
/// | exporter `name` | absent | it would be in annotations |
pub(super) const COMPATIBILITY_VERSION: i64 = 20;

/// The table above in one line: a build under other settings may make other bytes of equal sources. Change it with them.
pub const SETTINGS: &str = "buildkit compatibility=20 oci-mediatypes=true compression=gzip";

/// `type=oci,tar=false`: blobs go one by one into the session's store `export`, and only those that it lacks.
pub(super) const EXPORTER: &str = "oci";

/// Attributes of the exporter (moby/buildkit exporter/containerimage/exptypes, "annotation-TYPE.KEY").
pub(super) fn exporter(request: &BuildRequest) -> HashMap<String, String> {
    let mut attributes: HashMap<String, String> =
        [("tar", "false"), ("oci-mediatypes", "true"), ("compression", "gzip")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
    for (key, value) in &request.options.annotations {
        attributes.insert(format!("annotation-manifest.{key}"), value.clone());
    }
    if let Some(epoch) = request.epoch {
        attributes.insert("source-date-epoch".to_owned(), epoch.seconds().to_string());
        attributes.insert("rewrite-timestamp".to_owned(), "true".to_owned());
    }
    attributes
}

/// Attributes of the frontend (moby/buildkit frontend/dockerui/config.go). `context_session` serves the local directories.
pub(super) fn frontend(
    request: &BuildRequest,
    images: &[NamedImage],
    context_session: &str,
) -> HashMap<String, String> {
    let mut attributes = HashMap::new();
    let mut set = |key: String, value: String| attributes.insert(key, value);
    set("platform".to_owned(), request.cell.platform.to_string());
    set("filename".to_owned(), request.dockerfile.name.clone());
    if request.own_frontend {
        // Its presence says that the `# syntax=` line has been followed (moby/buildkit frontend/dockerfile/builder/build.go).
        set("cmdline".to_owned(), FRONTEND.to_owned());
    }
    if let Some(target) = &request.target {
        set("target".to_owned(), target.clone());
    }
    for (name, value) in &request.args {
        set(format!("build-arg:{name}"), value.clone());
    }
    if let Some(epoch) = request.epoch {
        set("build-arg:SOURCE_DATE_EPOCH".to_owned(), epoch.seconds().to_string());
    }
    for (name, value) in &request.labels {
        set(format!("label:{name}"), value.clone());
    }
    options(&request.options, &mut set);
    if request.no_cache {
        // Empty is every stage. Any text, `false` too, would be the name of one.
        set("no-cache".to_owned(), String::new());
    }
    if !request.extra_hosts.is_empty() {
        let hosts: Vec<String> =
            request.extra_hosts.iter().map(|(name, address)| format!("{name}={address}")).collect();
        set("add-hosts".to_owned(), hosts.join(","));
    }
    if let (ContextSource::Remote(_), DockerfilePlace::Directory) = (&request.context, request.dockerfile.place) {
        // Else the frontend looks for it in what it fetches (moby/buildkit frontend/dockerui/context.go, "dockerfilekey").
        set("dockerfilekey".to_owned(), DOCKERFILE.to_owned());
    }
    let mut local = |name: &str| set(format!("local-sessionid:{name}"), context_session.to_owned());
    if request.dockerfile.place == DockerfilePlace::Directory {
        local(DOCKERFILE);
    }
    match &request.context {
        ContextSource::Directory { .. } => local(CONTEXT),
        ContextSource::Remote(_) => None,
    };
    for (name, _) in named_directories(request) {
        local(&name);
    }
    if let ContextSource::Remote(url) = &request.context {
        set("context".to_owned(), url.clone());
    }
    named_contexts(request, images, &mut attributes);
    attributes
}

/// What is asked for beside the inputs.
fn options(options: &SolveOptions, set: &mut impl FnMut(String, String) -> Option<String>) {
    let mut set = |key: &str, value: String| drop(set(key.to_owned(), value));
    match options.network {
        NetworkMode::Default => {}
        NetworkMode::Host => set("force-network-mode", "host".to_owned()),
        NetworkMode::None => set("force-network-mode", "none".to_owned()),
    }
    if let Some(bytes) = options.shm_bytes {
        set("shm-size", bytes.to_string());
    }
    if !options.ulimits.is_empty() {
        set("ulimit", options.ulimits.join(","));
    }
    if let Some(parent) = &options.cgroup_parent {
        set("cgroup-parent", parent.clone());
    }
    for (key, value) in &options.resources {
        set(key, value.clone());
    }
    if options.pull {
        set("image-resolve-mode", "pull".to_owned());
    }
    if !options.no_cache_stages.is_empty() {
        set("no-cache", options.no_cache_stages.join(","));
    }
    for (kind, settings) in &options.attestations {
        set(&format!("attest:{kind}"), settings.clone());
    }
    if !options.cache_from.is_empty() {
        // The frontend reads them, because it decides which results they may stand for.
        let entries =
            options.cache_from.iter().map(|entry| serde_json::json!({"Type": entry.kind, "Attrs": entry.attributes}));
        set("cache-imports", serde_json::Value::Array(entries.collect()).to_string());
    }
}

/// Where the builder writes its cache to. Reading is the frontend's, see [`frontend`].
pub(super) fn cache(request: &BuildRequest) -> Option<CacheOptions> {
    if request.options.cache_to.is_empty() {
        return None;
    }
    let entry = |entry: &CacheSpec| CacheOptionsEntry {
        r#type: entry.kind.clone(),
        attrs: entry.attributes.clone().into_iter().collect(),
    };
    Some(CacheOptions { exports: request.options.cache_to.iter().map(entry).collect(), imports: Vec::new() })
}

/// Rules that put digests in the place of tags (moby/buildkit docs/build-repro.md); none where nothing is pinned.
///
/// Unlike a named context, a rule cannot be taken for a stage of the same name, and it holds for frontends too. The daemon
/// compares with the full name that it gives every image.
pub(super) fn source_policy(request: &BuildRequest) -> Option<Policy> {
    let rule = |(reference, digest): &(Reference, Digest)| {
        let identifier = format!("docker-image://{}", reference.familiar());
        let updated = format!("{identifier}@{digest}");
        Rule {
            action: PolicyAction::Convert.into(),
            selector: Some(Selector { identifier, match_type: MatchType::Exact.into() }),
            updates: Some(Update { identifier: updated, attrs: HashMap::new() }),
        }
    };
    let tagged = request.pins.iter().filter(|(reference, _)| reference.digest().is_none());
    let rules: Vec<Rule> = tagged.map(rule).collect();
    (!rules.is_empty()).then_some(Policy { version: 1, rules })
}

fn named_contexts(request: &BuildRequest, images: &[NamedImage], attributes: &mut HashMap<String, String>) {
    for image in images {
        let value = format!("oci-layout://{LAYOUT_STORE}@{}", image.root.digest);
        attributes.insert(format!("context:{}", image.key), value);
    }
    let mut directories = named_directories(request).map(|(local, _)| local);
    for context in &request.contexts {
        let (name, value) = match context {
            NamedContext::Image { .. } => continue,
            NamedContext::Directory { name, .. } => match directories.next() {
                Some(local) => (name, format!("local:{local}")),
                None => continue,
            },
            NamedContext::Remote { name, url } => (name, url.clone()),
        };
        attributes.insert(format!("context:{}", context_name(name)), value);
    }
}

#[cfg(test)]
mod tests;
