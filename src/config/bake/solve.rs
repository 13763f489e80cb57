//! What a target asks of the builder beside its inputs, and what of a target does not come to pass here.

use std::collections::BTreeMap;

use crate::base::{CacheSpec, NetworkMode, SolveOptions};
use crate::config::solve::{AnnotationLevel, SolveSpec, annotation};

use super::entries::{Attestation, CacheEntry, Output, Resources, parse_bool};
use super::target::Target;
use super::validate::{check_ulimit, parse_size};

/// What is found out about a target beside its settings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is refused.
    Problem(&'static str, String),
    /// It is done without something: the attribute, what it is, and how to get it. Targets that do without the same are
    /// told together.
    Missing(&'static str, String, &'static str),
}

type Environment = BTreeMap<String, String>;

/// The settings of `target`.
pub(crate) fn solve_spec(target: &Target, environment: &Environment, findings: &mut Vec<Finding>) -> SolveSpec {
    let mut options = SolveOptions { pull: target.pull == Some(true), ..SolveOptions::default() };
    match target.network.as_deref() {
        None | Some("" | "default") => {}
        Some("host") => {
            options.network = NetworkMode::Host;
            options.entitlements.insert("network.host".to_owned());
        }
        Some("none") => options.network = NetworkMode::None,
        Some(other) => findings.push(Finding::Problem(
            "network",
            format!("the builder knows no network `{other}`; there are `host`, `none` and `default`"),
        )),
    }
    for entitlement in target.entitlements.iter().flatten() {
        let known = ["network.host", "security.insecure"].contains(&entitlement.as_str());
        if known || entitlement.split('=').next() == Some("device") {
            options.entitlements.insert(entitlement.clone());
        } else {
            findings.push(Finding::Problem("entitlements", format!("there is no entitlement `{entitlement}`")));
        }
    }
    match target.shm_size.as_deref().map(parse_size) {
        Some(Ok(bytes)) => options.shm_bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0),
        Some(Err(error)) => findings.push(Finding::Problem("shm-size", error)),
        None => {}
    }
    for limit in target.ulimits.iter().flatten() {
        match (limit.split_once('='), check_ulimit(limit)) {
            (Some((name, _)), Ok((soft, hard))) => options.ulimits.push(format!("{name}={soft}:{hard}")),
            (_, Err(error)) => findings.push(Finding::Problem("ulimits", error)),
            (None, Ok(_)) => {}
        }
    }
    options.resources = target.resources.as_ref().map(|resources| limits(resources, findings)).unwrap_or_default();
    options.no_cache_stages = target.no_cache_filter.clone().unwrap_or_default();
    let mut caches = |attribute, entries: Option<&Vec<CacheEntry>>| -> Vec<CacheSpec> {
        entries.into_iter().flatten().filter_map(|entry| cache(attribute, entry, environment, findings)).collect()
    };
    options.cache_from = caches("cache-from", target.cache_from.as_ref());
    options.cache_to = caches("cache-to", target.cache_to.as_ref());
    for attest in target.attest.iter().flatten().filter(|attest| !attest.disabled) {
        options.attestations.insert(attest.kind.clone(), settings(attest));
    }
    let mut spec = SolveSpec { options, annotations: Vec::new() };
    for text in target.annotations.iter().flatten().filter(|text| !text.is_empty()) {
        match annotation(text) {
            Ok(found) => spec.annotations.extend(found),
            Err(error) => findings.push(Finding::Problem("annotations", error)),
        }
    }
    if spec.annotations.iter().any(|one| one.level == AnnotationLevel::IndexDescriptor) {
        let what = "annotations of type `index-descriptor` are left out".to_owned();
        let help = "write them as `index:KEY=VALUE`: registries keep no entry that they could stand on";
        findings.push(Finding::Missing("annotations", what, help));
    }
    spec
}

/// Limits under the names that the frontend knows (moby/buildkit frontend/dockerui/config.go).
fn limits(resources: &Resources, findings: &mut Vec<Finding>) -> BTreeMap<String, String> {
    let mut limits = BTreeMap::new();
    for (name, text) in &resources.texts {
        let (key, sized) = match *name {
            "memory" => ("memory", true),
            "memory-swap" => ("memswap", text.trim() != "-1"),
            "cpuset-cpus" => ("cpusetcpus", false),
            _ => ("cpusetmems", false),
        };
        let value = if sized { parse_size(text.trim()).map(|bytes| bytes.to_string()) } else { Ok(text.clone()) };
        match value {
            Ok(value) => drop(limits.insert(key.to_owned(), value)),
            Err(error) => findings.push(Finding::Problem("resources", format!("`{name}`: {error}"))),
        }
    }
    for (name, number) in &resources.numbers {
        limits.insert(name.replace('-', ""), number.to_string());
    }
    limits
}

/// `key=value,…`; a value with a comma or a quote is quoted, as the frontend reads it.
fn settings(attest: &Attestation) -> String {
    let pairs = attest.attributes.iter().map(|(key, value)| {
        let pair = format!("{key}={value}");
        if pair.contains([',', '"']) { format!("\"{}\"", pair.replace('"', "\"\"")) } else { pair }
    });
    pairs.collect::<Vec<_>>().join(",")
}

/// A cache as the builder gets it. What it needs from the environment comes along: the builder does not see that.
fn cache(
    attribute: &'static str,
    entry: &CacheEntry,
    environment: &Environment,
    findings: &mut Vec<Finding>,
) -> Option<CacheSpec> {
    let mut attributes = entry.attributes.clone();
    let mut take = |key: &str, variables: &[&str]| {
        let value = variables.iter().find_map(|name| environment.get(*name).filter(|text| !text.is_empty()));
        if let Some(value) = value {
            attributes.entry(key.to_owned()).or_insert_with(|| value.clone());
        }
    };
    match entry.kind.as_str() {
        "local" => {
            let what = format!("{attribute} of `type=local` is left out");
            let help =
                "use a registry (`type=registry,ref=…`), or keep the builder's own cache in `.catamaran/builder`";
            findings.push(Finding::Missing(attribute, what, help));
            return None;
        }
        // docker/buildx build/opt.go does the same with these names.
        "gha" => {
            take("token", &["ACTIONS_RUNTIME_TOKEN"]);
            take("url", &["ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"]);
            take("url_v2", &["ACTIONS_RESULTS_URL"]);
            if !attributes.contains_key("token") {
                let what = format!("{attribute} of `type=gha` is left out: there is no ACTIONS_RUNTIME_TOKEN");
                findings.push(Finding::Missing(
                    attribute,
                    what,
                    "nothing to do outside of GitHub Actions; there, hand the variable to the step",
                ));
                return None;
            }
        }
        "s3" => {
            take("access_key_id", &["AWS_ACCESS_KEY_ID"]);
            take("secret_access_key", &["AWS_SECRET_ACCESS_KEY"]);
            take("session_token", &["AWS_SESSION_TOKEN"]);
        }
        _ => {}
    }
    Some(CacheSpec { kind: entry.kind.clone(), attributes })
}

/// What a target makes beside an image for every platform.
pub(super) fn output_findings(target: &Target, findings: &mut Vec<Finding>) {
    let files = "`docker buildx bake` writes files; here the image with them is in the layout";
    for output in target.outputs.iter().flatten().filter(|_| !target.linked) {
        let on = |key: &str| output.attributes.get(key).is_some_and(|text| parse_bool(text).unwrap_or(false));
        match output.kind.as_str() {
            "registry" => findings.push(pushed()),
            "image" if on("push") => findings.push(pushed()),
            "image" | "cacheonly" => {}
            "local" | "tar" => {
                let what = format!("the files of `output` `type={}` are not written", output.kind);
                findings.push(Finding::Missing("output", what, files));
            }
            "docker" | "oci" => {
                let what = format!("`output` `type={}` is not written", output.kind);
                let help = "`catamaran export FILE` writes what `docker load`, podman and skopeo take";
                findings.push(Finding::Missing("output", what, help));
            }
            other => findings.push(Finding::Problem("output", format!("there is no output of type `{other}`"))),
        }
        let known = ["push", "name", "tar", "push-by-digest", "name-canonical", "oci-mediatypes", "unpack", "store"];
        let lost: Vec<&str> = output.attributes.keys().map(String::as_str).filter(|key| !known.contains(key)).collect();
        if matches!(output.kind.as_str(), "registry" | "image" | "docker" | "oci") && !lost.is_empty() {
            let what = format!("of `output`, {} is left out", lost.join(", "));
            let help = "layers are gzip, media types OCI, and annotations are those of `annotations`";
            findings.push(Finding::Missing("output", what, help));
        }
    }
    if target.policy.iter().flatten().any(|policy| !policy.disabled) {
        let help = "check with `docker buildx bake`, or pin the images by digest";
        findings.push(Finding::Missing("policy", "policies are not evaluated".to_owned(), help));
    }
}

fn pushed() -> Finding {
    let help = "`catamaran build --push` publishes when the whole matrix is there";
    Finding::Missing("output", "`output` pushes only with `--push`".to_owned(), help)
}

/// The references that outputs name, where the target has no tags.
pub(super) fn output_names(outputs: &[Output]) -> impl Iterator<Item = &str> {
    let published = outputs.iter().filter(|output| matches!(output.kind.as_str(), "registry" | "image"));
    published.filter_map(|output| output.attributes.get("name")).flat_map(|names| names.split(',')).map(str::trim)
}
