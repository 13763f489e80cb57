use std::collections::BTreeMap;

use crate::config::paths::join_path;

use super::load::entry_mut;
use super::merge::as_build;
use super::yaml::{Kind, Node};

/// A `build` that names no context means the folder of its project.
pub(super) fn default_contexts(model: &mut Node, folder: &str) {
    let Some(Kind::Map(services)) = entry_mut(model, "services").map(|node| &mut node.kind) else { return };
    for (_, service) in services {
        let Some(build) = entry_mut(service, "build") else { continue };
        let context = Node::text(folder, &build.span);
        if let Kind::Map(entries) = &mut build.kind
            && !entries.iter().any(|(name, _)| name == "context")
        {
            entries.push(("context".to_owned(), context));
        }
    }
}

/// Makes every path that matters for building relative to the working directory instead of to `base`.
pub(super) fn resolve_paths(model: &mut Node, base: &str, environment: &BTreeMap<String, String>) {
    let home = environment.get("HOME").cloned().unwrap_or_default();
    let path = |text: &str| match text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => format!("{home}{rest}"),
        None if text.is_empty() => String::new(),
        None => join_path(base, text),
    };
    let context = |text: &str| {
        let remote = ["https://", "http://", "git://", "ssh://", "github.com/", "git@", "service:", "target:"];
        if text.contains("://") || remote.iter().any(|prefix| text.starts_with(prefix)) {
            text.to_owned()
        } else {
            path(text)
        }
    };
    let change = |node: Option<&mut Node>, change: &dyn Fn(&str) -> String| {
        if let Some(Kind::Text(text)) = node.map(|node| &mut node.kind) {
            *text = change(text);
        }
    };
    if let Some(Kind::Map(services)) = entry_mut(model, "services").map(|node| &mut node.kind) {
        for (_, service) in services {
            change(entry_mut(service, "extends").and_then(|extends| entry_mut(extends, "file")), &path);
            if let Some(files) = entry_mut(service, "env_file") {
                match &mut files.kind {
                    Kind::Text(text) => *text = path(text),
                    Kind::List(items) => {
                        for item in items {
                            match &mut item.kind {
                                Kind::Text(text) => *text = path(text),
                                _ => change(entry_mut(item, "path"), &path),
                            }
                        }
                    }
                    _ => {}
                }
            }
            let Some(build) = entry_mut(service, "build").filter(|build| build.kind != Kind::Null) else { continue };
            *build = as_build(build.clone());
            change(entry_mut(build, "context"), &context);
            for (name, change) in [("additional_contexts", &context as &dyn Fn(&str) -> String), ("ssh", &path)] {
                match entry_mut(build, name).map(|node| &mut node.kind) {
                    Some(Kind::Map(entries)) => {
                        for (_, value) in entries {
                            if let Kind::Text(text) = &mut value.kind {
                                *text = change(text);
                            }
                        }
                    }
                    Some(Kind::List(items)) => {
                        for text in items.iter_mut().filter_map(|item| match &mut item.kind {
                            Kind::Text(text) => Some(text),
                            _ => None,
                        }) {
                            if let Some((key, value)) = text.split_once('=') {
                                *text = format!("{key}={}", change(value));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    if let Some(Kind::Map(secrets)) = entry_mut(model, "secrets").map(|node| &mut node.kind) {
        for (_, secret) in secrets {
            change(entry_mut(secret, "file"), &path);
        }
    }
}
