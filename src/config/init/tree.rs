//! What is in a repository: Dockerfiles, and beside them the files of trees that shell scripts build.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Note;
use crate::base::SourceText;
use crate::config::discover::{CandidateKind, candidate_kind, dependency};
use crate::config::files::{DiskFiles, ReadText as _};
use crate::dockerfile::{Dockerfile, InstructionKind};

/// A folder that holds something to build or to mirror.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// `Dockerfile`, `Containerfile` or templates of them, by name.
    pub(super) mains: Vec<PathBuf>,
    /// `Dockerfile.prod` and the like.
    pub(super) variants: Vec<PathBuf>,
    /// `dependency.conf[.tpl]`.
    pub(super) dependency: Option<PathBuf>,
    /// `BUILD_PHASE` of a `build.conf`.
    pub(super) phase: Option<Phase>,
    /// Whether a `build.conf` or `build-targets.conf` says that scripts build this folder.
    pub(super) scripted: bool,
    /// Lines of `build-targets.conf`: (target, image).
    pub(super) targets: Vec<(String, String)>,
}

/// What a `build.conf` says about order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Foundation,
    Dependent,
}

/// A repository as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Folders by path, relative to the repository.
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    /// Bake and compose files, relative to the repository.
    pub(super) others: Vec<PathBuf>,
    pub(super) notes: Vec<Note>,
}

/// Folders that hold other people's files.
const FOREIGN: &[&str] = &["node_modules", "vendor", "target", "venv", "__pycache__"];

/// Files of other tools at the top of a repository.
const OTHERS: &[&str] = &[
    "docker-bake.hcl",
    "docker-bake.json",
    "docker-bake.override.hcl",
    "docker-bake.override.json",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// Deeper than anyone nests Dockerfiles.
const MAX_DEPTH: usize = 12;

/// Reads the names below `root` once, hidden and foreign folders left out, links not followed.
pub(super) fn read(root: &Path) -> std::io::Result<Tree> {
    let mut tree = Tree::default();
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((relative, depth)) = waiting.pop() {
        let entries = match fs::read_dir(root.join(&relative)) {
            Ok(entries) => entries,
            // The repository itself must be readable; what is below it is reported.
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                tree.notes.push(Note::new(&relative, format!("cannot be read: {error}")));
                continue;
            }
        };
        let mut names: Vec<(String, bool)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let kind = entry.file_type().ok()?;
                Some((entry.file_name().into_string().ok()?, kind.is_dir()))
            })
            .collect();
        names.sort();
        for (name, is_dir) in names {
            let path = relative.join(&name);
            if is_dir {
                let foreign = FOREIGN.contains(&name.as_str());
                if foreign {
                    tree.notes.push(Note::new(&path, "not looked into: it holds other people's files"));
                } else if !name.starts_with('.') && depth < MAX_DEPTH {
                    waiting.push((path, depth + 1));
                }
            } else {
                file(root, &relative, &name, &mut tree);
            }
        }
    }
    Ok(tree)
}

fn file(root: &Path, relative: &Path, name: &str, tree: &mut Tree) {
    let path = relative.join(name);
    if relative.as_os_str().is_empty() && OTHERS.contains(&name) {
        tree.others.push(path);
        return;
    }
    match (candidate_kind(name), name) {
        (Some(CandidateKind::Main), _) => tree.folders.entry(relative.to_path_buf()).or_default().mains.push(path),
        (Some(CandidateKind::Variant(_)), _) => {
            tree.folders.entry(relative.to_path_buf()).or_default().variants.push(path);
        }
        (Some(CandidateKind::Dependency), _) => {
            let text = DiskFiles.read_text(&root.join(&path)).unwrap_or_default();
            match dependency(&text) {
                Ok(_) => tree.folders.entry(relative.to_path_buf()).or_default().dependency = Some(path),
                Err(reason) => tree.notes.push(Note::new(&path, format!("not carried over: {reason}"))),
            }
        }
        (None, "build.conf") => build_conf(root, relative, &path, tree),
        (None, "build-targets.conf") => build_targets(root, relative, &path, tree),
        (None, _) => {}
    }
}

/// `BUILD_PHASE=foundation|dependent`; every other key is reported.
fn build_conf(root: &Path, relative: &Path, path: &Path, tree: &mut Tree) {
    let text = DiskFiles.read_text(&root.join(path)).unwrap_or_default();
    let folder = tree.folders.entry(relative.to_path_buf()).or_default();
    folder.scripted = true;
    for (number, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').map_or((line, ""), |(key, value)| (key.trim(), value.trim()));
        let value = value.trim_matches(['"', '\'']);
        match (key, value) {
            ("BUILD_PHASE", "foundation") => folder.phase = Some(Phase::Foundation),
            ("BUILD_PHASE", "dependent") => folder.phase = Some(Phase::Dependent),
            _ => {
                let text =
                    format!("line {}: `{key}={value}` has no counterpart here and was not carried over", number + 1);
                tree.notes.push(Note::new(path, text));
            }
        }
    }
}

/// Lines `target image-name`.
fn build_targets(root: &Path, relative: &Path, path: &Path, tree: &mut Tree) {
    let text = DiskFiles.read_text(&root.join(path)).unwrap_or_default();
    let folder = tree.folders.entry(relative.to_path_buf()).or_default();
    folder.scripted = true;
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [target, image] => folder.targets.push((target.to_owned(), image.to_owned())),
            _ => {
                let text = format!("line {}: not a target and an image name; not carried over", number + 1);
                tree.notes.push(Note::new(path, text));
            }
        }
    }
}

/// Which folder the COPY sources of a Dockerfile are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextGuess {
    /// They are found from the repository's root.
    Root,
    /// They are found from the Dockerfile's own folder.
    Own,
    /// Nothing tells: it copies everything, or nothing.
    Unclear,
}

/// Looks where the files are that a Dockerfile copies.
pub(super) fn guess_context(root: &Path, dockerfile: &Path) -> ContextGuess {
    let Ok(text) = DiskFiles.read_text(&root.join(dockerfile)) else { return ContextGuess::Unclear };
    let Ok(file) = Dockerfile::parse(&SourceText::new(dockerfile, without_holes(&text))) else {
        return ContextGuess::Unclear;
    };
    let own = root.join(dockerfile.parent().unwrap_or_else(|| Path::new("")));
    let (mut in_root, mut in_own) = (0, 0);
    for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
        let InstructionKind::Copy { sources, .. } = &instruction.kind else { continue };
        if instruction.flag("from").is_some() {
            continue;
        }
        for source in sources {
            // Only the part before the first variable or wildcard can be looked for.
            let fixed = source.text.split(['$', '*', '?', '[']).next().unwrap_or_default();
            let fixed = fixed.trim_start_matches(['/', '.']).trim_end_matches('/');
            if fixed.is_empty() || source.text.contains("<<") || source.text.contains("://") {
                continue;
            }
            in_root += usize::from(root.join(fixed).exists());
            in_own += usize::from(own.join(fixed).exists());
        }
    }
    match in_own.cmp(&in_root) {
        std::cmp::Ordering::Greater => ContextGuess::Own,
        std::cmp::Ordering::Less => ContextGuess::Root,
        std::cmp::Ordering::Equal => ContextGuess::Unclear,
    }
}

/// A template with a word in the place of every `{{…}}`, so that it reads as a Dockerfile.
fn without_holes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        match after.split_once("}}") {
            Some((_, after)) => {
                out.push('x');
                rest = after;
            }
            None => {
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
