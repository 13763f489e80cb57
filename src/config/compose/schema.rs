//! The shape of what compose files say about building; everything else is not looked at.

use crate::base::did_you_mean;
use crate::config::error::ConfigProblem;

use super::yaml::{Kind, Node};

/// What a key of `build` may hold.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Text,
    TextOrTruth,
    TextOrWhole,
    Texts,
    TextOrTexts,
    Pairs,
    Hosts,
    Secrets,
    Limits,
}

const BUILD: [(&str, Shape); 24] = [
    ("context", Shape::Text),
    ("dockerfile", Shape::Text),
    ("dockerfile_inline", Shape::Text),
    ("entitlements", Shape::Texts),
    ("args", Shape::Pairs),
    ("ssh", Shape::Pairs),
    ("labels", Shape::Pairs),
    ("cache_from", Shape::Texts),
    ("cache_to", Shape::Texts),
    ("no_cache", Shape::TextOrTruth),
    ("no_cache_filter", Shape::TextOrTexts),
    ("additional_contexts", Shape::Pairs),
    ("network", Shape::Text),
    ("provenance", Shape::TextOrTruth),
    ("sbom", Shape::TextOrTruth),
    ("pull", Shape::TextOrTruth),
    ("target", Shape::Text),
    ("shm_size", Shape::TextOrWhole),
    ("extra_hosts", Shape::Hosts),
    ("isolation", Shape::Text),
    ("privileged", Shape::TextOrTruth),
    ("secrets", Shape::Secrets),
    ("tags", Shape::Texts),
    ("ulimits", Shape::Limits),
];

/// Every key of a service (Compose Specification, "Services top-level elements"). What is not about building is not read.
const SERVICE: &str = "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs \
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset \
    credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint \
    env_file environment expose extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc \
    isolation label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models \
    network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_start pre_stop \
    privileged profiles provider pull_policy pull_refresh_after read_only restart runtime scale secrets security_opt \
    shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user \
    userns_mode uts volumes volumes_from working_dir";

/// Keys of older versions of the format, which still stand in files and never were about building.
const OLDER: &str = "cgroupns credentials log_driver log_opt net volume_driver";

/// The sections of a file.
const SECTIONS: [&str; 9] =
    ["configs", "include", "models", "name", "networks", "secrets", "services", "version", "volumes"];

/// What a secret is made of.
const SECRET: [&str; 8] =
    ["driver", "driver_opts", "environment", "external", "file", "labels", "name", "template_driver"];

/// Checks the names of the sections of a document, and those of the keys of its services and secrets.
pub(super) fn check_names(document: &Node, problems: &mut Vec<ConfigProblem>) {
    let known: Vec<&str> = SERVICE.split_whitespace().collect();
    let own = |name: &str| name.starts_with("x-");
    for (name, value) in document.as_map().unwrap_or_default() {
        if !own(name) && !SECTIONS.contains(&name.as_str()) {
            problems.push(unknown(name, value, "the file", &SECTIONS));
        }
    }
    for (_, secret) in document.get("secrets").and_then(Node::as_map).unwrap_or_default() {
        for (name, value) in secret.as_map().unwrap_or_default() {
            if !own(name) && !SECRET.contains(&name.as_str()) {
                problems.push(unknown(name, value, "a secret", &SECRET));
            }
        }
    }
    let services = document.get("services").and_then(Node::as_map).unwrap_or_default();
    for (_, service) in services.iter().filter(|(name, _)| !own(name)) {
        for (name, value) in service.as_map().unwrap_or_default() {
            let older = || OLDER.split_whitespace().any(|old| old == name);
            if !own(name) && !known.contains(&name.as_str()) && !older() {
                problems.push(unknown(name, value, "a service", &known));
            }
        }
    }
}

/// Checks one service's `image`, `build`, `environment` and `env_file`.
pub(crate) fn check_service(service: &Node, problems: &mut Vec<ConfigProblem>) {
    if let Some(image) = service.get("image").filter(|image| !matches!(image.kind, Kind::Text(_))) {
        problems.push(wrong("image", "a text", image));
    }
    if let Some(environment) = service.get("environment") {
        check("environment", Shape::Pairs, environment, problems);
    }
    let Some(build) = service.get("build") else { return };
    match &build.kind {
        Kind::Text(_) | Kind::Null => {}
        Kind::Map(entries) => {
            for (name, value) in entries.iter().filter(|(name, _)| !name.starts_with("x-")) {
                if name == "platforms" {
                    check(name, Shape::Texts, value, problems);
                    continue;
                }
                match BUILD.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => check(name, *shape, value, problems),
                    None => problems.push(unknown(name, value, "`build`", &build_keys())),
                }
            }
        }
        _ => problems.push(wrong("build", "a folder or a mapping", build)),
    }
}

fn build_keys() -> Vec<&'static str> {
    BUILD.iter().map(|(name, _)| *name).chain(["platforms"]).collect()
}

fn unknown(name: &str, value: &Node, place: &str, known: &[&str]) -> ConfigProblem {
    let help = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if place == "a service" && build_keys().contains(&name) => format!("write `{name}` inside of `build`"),
        None => "keys of your own begin with `x-`".to_owned(),
    };
    ConfigProblem::UnknownKey { key: name.to_owned(), table: place.to_owned(), help, span: value.span.clone() }
}

fn wrong(name: &str, wanted: &str, found: &Node) -> ConfigProblem {
    let message = format!("`{name}` must be {wanted}, this is {}", found.what());
    let help = matches!(found.kind, Kind::Whole(_) | Kind::Float(_) | Kind::Bool(_))
        .then(|| "put it in quotes to mean the text".to_owned());
    ConfigProblem::Invalid { message, help, span: Some(found.span.clone()) }
}

fn check(name: &str, shape: Shape, node: &Node, problems: &mut Vec<ConfigProblem>) {
    let text = |node: &Node| matches!(node.kind, Kind::Text(_));
    let scalar = |node: &Node| !matches!(node.kind, Kind::List(_) | Kind::Map(_));
    let texts = |node: &Node| node.as_list().is_some_and(|items| items.iter().all(text));
    let (fits, wanted) = match shape {
        Shape::Text => (text(node), "a text"),
        Shape::TextOrTruth => (text(node) || matches!(node.kind, Kind::Bool(_)), "a text or a truth value"),
        Shape::TextOrWhole => (text(node) || matches!(node.kind, Kind::Whole(_)), "a text or a whole number"),
        Shape::Texts => (texts(node), "a list of texts"),
        Shape::TextOrTexts => (text(node) || texts(node), "a text or a list of texts"),
        Shape::Pairs => {
            let pairs = node.as_map().is_some_and(|entries| entries.iter().all(|(_, value)| scalar(value)));
            (pairs || texts(node), "a mapping, or a list of `name=value`")
        }
        Shape::Hosts => {
            let hosts =
                node.as_map().is_some_and(|entries| entries.iter().all(|(_, value)| text(value) || texts(value)));
            (hosts || texts(node), "a mapping of addresses, or a list of `host=address`")
        }
        Shape::Secrets => {
            let secret = |node: &Node| text(node) || node.as_map().is_some();
            (node.as_list().is_some_and(|items| items.iter().all(secret)), "a list of secrets")
        }
        Shape::Limits => {
            let limit = |node: &Node| match &node.kind {
                Kind::Map(_) => node.get("soft").is_some() && node.get("hard").is_some(),
                Kind::Whole(_) => true,
                _ => false,
            };
            (node.as_map().is_some_and(|entries| entries.iter().all(|(_, value)| limit(value))), "a mapping of limits")
        }
    };
    if !fits {
        problems.push(wrong(name, wanted, node));
    }
}
