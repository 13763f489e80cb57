use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finding::{Finding, Level};
use crate::base::{CellId, ComponentName, ErrorClass};
use crate::plan::{Cell, Component, ContextSource, Plan};
use crate::run::copied;

/// Names of a context that are looked at for such that differ only in case.
const NAMES: usize = 20_000;
/// How deep.
const DEPTH: usize = 16;
/// Pairs of one context that are told.
const TOLD: usize = 3;

/// What decides what a build copies and wants: component, context, Dockerfile, its text where that is not the file's, target.
type Build = (ComponentName, Option<PathBuf>, PathBuf, Option<Arc<str>>, Option<String>);

/// Sources of COPY, ADD and bind mounts that are not in the context, or kept out of it by an ignore file, and what steps
/// require that the component does not declare. Blocks.
pub(super) fn sources(selected: &[Cell]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The platforms of a component most often share everything that counts here.
    let mut known: BTreeMap<Build, Vec<(String, String)>> = BTreeMap::new();
    for cell in selected {
        let Some(build) = cell.build() else { continue };
        let context = match &build.context {
            ContextSource::Directory(path) => Some(path.clone()),
            ContextSource::Cell(_) | ContextSource::Remote(_) => None,
        };
        let (dockerfile, text) = (build.dockerfile.clone(), build.rendered.clone());
        let key = (cell.id.component.clone(), context, dockerfile, text, build.target.clone());
        let found = known.entry(key).or_insert_with(|| copied::lacking(build)).clone();
        for (place, advice) in found {
            let (text, fix) = advice.split_once(": ").unwrap_or((&advice, "look at the path and at `context`"));
            findings.push(
                Finding::new(
                    Level::Error(ErrorClass::Preflight),
                    cell.id.component.to_string(),
                    format!("{place}: {text}"),
                )
                .fix(fix)
                .cells([cell.id.clone()]),
            );
        }
    }
    findings
}

/// Dockerfiles that builders fetch: nothing of what is in them can be looked at.
pub(super) fn fetched(plan: &Plan, selected: &[&Cell]) -> Vec<Finding> {
    let one = |component: &Component| {
        let (url, path) = component.fetched.as_ref()?;
        let cells = selected.iter().map(|cell| &cell.id).filter(|id| id.component == component.name).cloned();
        let cells: Vec<CellId> = cells.collect();
        let text = format!("`{path}` is fetched from {url} by the builder: its bases and sources are not looked at");
        (!cells.is_empty()).then(|| Finding::new(Level::Note, component.name.to_string(), text).cells(cells))
    };
    plan.components.iter().filter_map(one).collect()
}

/// Names that are one and the same on a disk that does not tell upper from lower case. Blocks.
pub(super) fn cases(selected: &[Cell], state: &Path) -> Vec<Finding> {
    let mut findings = components(selected);
    let mut contexts: BTreeMap<&Path, Vec<CellId>> = BTreeMap::new();
    for cell in selected {
        if let Some(ContextSource::Directory(path)) = cell.build().map(|build| &build.context) {
            contexts.entry(path).or_default().push(cell.id.clone());
        }
    }
    for (context, cells) in contexts {
        for (one, other) in colliding(context, state) {
            let text = format!("`{one}` and `{other}` in the context differ only in case");
            findings.push(
                Finding::new(Level::Note, "names", text)
                    .fix("rename one of them: a checkout on macOS or Windows has only one of the two")
                    .cells(cells.clone()),
            );
        }
    }
    findings
}

fn components(selected: &[Cell]) -> Vec<Finding> {
    let names: BTreeSet<String> = selected.iter().map(|cell| cell.id.component.to_string()).collect();
    let mut lower: BTreeMap<String, &String> = BTreeMap::new();
    let mut findings = Vec::new();
    for name in &names {
        if let Some(other) = lower.insert(name.to_lowercase(), name) {
            let text = format!("the components `{other}` and `{name}` differ only in case");
            let cells = selected.iter().map(|cell| &cell.id).filter(|id| {
                let own = id.component.as_str();
                own == other || own == name
            });
            findings.push(Finding::new(Level::Note, "names", text).fix("rename one of them").cells(cells.cloned()));
        }
    }
    findings
}

/// The first pairs below `root` that differ only in case. Links are not followed, `.git` and the results are left out.
fn colliding(root: &Path, state: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![(root.to_owned(), 0)];
    let mut left = NAMES;
    while let Some((folder, depth)) = open.pop() {
        // A folder that cannot be read fails where it is sent, and is told there.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries.filter_map(Result::ok) {
            if left == 0 || found.len() == TOLD {
                return found;
            }
            left -= 1;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            if name == ".git" || path == state {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < DEPTH {
                open.push((path.clone(), depth + 1));
            }
            let shown = |name: &str| folder.strip_prefix(root).unwrap_or(&folder).join(name).display().to_string();
            if let Some(other) = names.insert(name.to_lowercase(), name.clone()) {
                let mut pair = [shown(&other), shown(&name)];
                pair.sort();
                let [one, other] = pair;
                found.push((one, other));
            }
        }
    }
    found
}
