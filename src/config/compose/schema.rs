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
                    None => problems.push(unknown(name, value)),
                }
            }
        }
        _ => problems.push(wrong("build", "a folder or a mapping", build)),
    }
}

fn unknown(name: &str, value: &Node) -> ConfigProblem {
    let known = BUILD.iter().map(|(name, _)| *name).chain(["platforms"]);
    let help = match did_you_mean(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "keys of your own begin with `x-`".to_owned(),
    };
    ConfigProblem::UnknownKey { key: name.to_owned(), table: "`build`".to_owned(), help, span: value.span.clone() }
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
