//! One compose file over another: mappings by key, lists appended, some of both as lists of `key=value`.

use super::yaml::{Kind, Mark, Node};

/// Puts `over` over `base`. `path` is where both stand, names below services and the like replaced by `*`.
pub(crate) fn merge(base: Node, over: Node, path: &str) -> Node {
    if over.mark == Some(Mark::Override) {
        return over;
    }
    if over.kind == Kind::Null {
        return base;
    }
    match path {
        "services.*.build" => return merge_entries(as_build(base), as_build(over), path),
        "services.*.build.args"
        | "services.*.build.labels"
        | "services.*.build.additional_contexts"
        | "services.*.environment"
        | "services.*.env_file" => {
            let span = over.span.clone();
            let mut items = as_sequence(base);
            items.extend(as_sequence(over));
            return unique(Node { kind: Kind::List(items), span, mark: None });
        }
        "services.*.build.extra_hosts" => {
            let span = over.span.clone();
            let mut items = as_sequence(base);
            let new: Vec<Node> = as_sequence(over).into_iter().filter(|item| !items.contains(item)).collect();
            items.extend(new);
            return Node { kind: Kind::List(items), span, mark: None };
        }
        _ => {}
    }
    match (base.kind, over.kind) {
        (Kind::Map(base_entries), Kind::Map(over_entries)) => merge_entries(
            Node { kind: Kind::Map(base_entries), span: base.span, mark: None },
            Node { kind: Kind::Map(over_entries), span: over.span, mark: None },
            path,
        ),
        (Kind::List(mut items), Kind::List(more)) => {
            items.extend(more);
            let list = Node { kind: Kind::List(items), span: over.span, mark: None };
            if path == "services.*.build.tags" { unique(list) } else { list }
        }
        (_, kind) => Node { kind, span: over.span, mark: None },
    }
}

fn merge_entries(base: Node, over: Node, path: &str) -> Node {
    let (Kind::Map(mut entries), Kind::Map(others)) = (base.kind, over.kind) else {
        return Node { kind: Kind::Null, span: base.span, mark: None };
    };
    for (name, value) in others {
        let at = entries.iter().position(|(own, _)| *own == name);
        match (at, value.mark) {
            (Some(at), Some(Mark::Reset)) => {
                entries.remove(at);
            }
            (None, Some(Mark::Reset)) => {}
            (Some(at), _) => {
                let next = next_path(path, &name);
                let own = std::mem::replace(&mut entries[at].1, value.clone());
                entries[at].1 = merge(own, value, &next);
            }
            (None, _) => entries.push((name, value)),
        }
    }
    Node { kind: Kind::Map(entries), span: base.span, mark: None }
}

fn next_path(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        "services" | "secrets" => format!("{path}.*"),
        _ => format!("{path}.{name}"),
    }
}

/// `build: FOLDER` in the long form.
pub(crate) fn as_build(node: Node) -> Node {
    match node.kind {
        Kind::Text(_) => {
            let (span, mark) = (node.span.clone(), node.mark);
            Node { kind: Kind::Map(vec![("context".to_owned(), Node { mark: None, ..node })]), span, mark }
        }
        Kind::Map(_) => node,
        _ => Node { kind: Kind::Map(Vec::new()), span: node.span, mark: node.mark },
    }
}

/// A mapping as sorted `key=value`; a text as a list of one.
fn as_sequence(node: Node) -> Vec<Node> {
    match node.kind {
        Kind::List(items) => items,
        Kind::Text(_) => vec![node],
        Kind::Map(entries) => {
            let mut items: Vec<Node> = Vec::new();
            for (name, value) in entries {
                match (&value.kind, value.scalar()) {
                    (Kind::List(inner), _) => {
                        let inner = inner.iter().filter_map(Node::scalar);
                        items.extend(inner.map(|text| Node::text(format!("{name}={text}"), &value.span)));
                    }
                    (_, Some(text)) => items.push(Node::text(format!("{name}={text}"), &value.span)),
                    _ => items.push(Node::text(name, &value.span)),
                }
            }
            items.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            items
        }
        _ => Vec::new(),
    }
}

/// Of entries with one key the last, at the place of the first.
fn unique(list: Node) -> Node {
    let Kind::List(items) = list.kind else { return list };
    let key = |node: &Node| match &node.kind {
        Kind::Text(text) => text.split('=').next().unwrap_or_default().to_owned(),
        _ => node.get("path").and_then(Node::scalar).unwrap_or_default(),
    };
    let mut kept: Vec<Node> = Vec::new();
    for item in items {
        match kept.iter().position(|own| key(own) == key(&item)) {
            Some(at) => kept[at] = item,
            None => kept.push(item),
        }
    }
    Node { kind: Kind::List(kept), span: list.span, mark: list.mark }
}
