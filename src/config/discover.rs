//! Finds Dockerfiles in the roots of `[discover]`, and says what each of them is. Every directory is read once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::ConfigProblem;
use super::native::{DiscoverSpec, RawComponent};
use super::project::{ComponentSpec, ExternalSpec, Find, FindOutcome};
use crate::base::{ComponentName, Span, Spanned, glob_matches, is_glob};

/// A file that looks like one that makes an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) kind: CandidateKind,
}

/// What the name of such a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CandidateKind {
    /// `Dockerfile`, `Containerfile` or a template of one: the component of its folder.
    Main,
    /// `Dockerfile.prod`, `prod.Dockerfile`: something else, by this word.
    Variant(String),
    /// `dependency.conf[.tpl]`: an upstream image to mirror.
    Dependency,
}

/// What a file name says; nothing for a file of another kind.
pub(super) fn candidate_kind(name: &str) -> Option<CandidateKind> {
    let base = name.strip_suffix(".tpl").unwrap_or(name);
    let lower = base.to_lowercase();
    if lower == "dependency.conf" {
        return Some(CandidateKind::Dependency);
    }
    for word in ["dockerfile", "containerfile"] {
        if lower == word {
            return Some(CandidateKind::Main);
        }
        if let Some(rest) = lower.strip_prefix(word) {
            // `.dockerignore` files of one Dockerfile are named after it.
            let ignore = rest.ends_with(".dockerignore") || rest.ends_with(".containerignore");
            // `Dockerfile copy`, `Dockerfile (2)`: what file managers make.
            let suffix = rest.trim_start_matches(['.', '-', '_', '~', ' ']);
            let separated = rest.starts_with(['.', '-', '_', '~', ' ']);
            if separated && !ignore {
                return Some(CandidateKind::Variant(if suffix.is_empty() {
                    "backup".to_owned()
                } else {
                    suffix.to_owned()
                }));
            }
        }
        if let Some(front) =
            lower.strip_suffix(word).and_then(|front| front.strip_suffix('.')).filter(|f| !f.is_empty())
        {
            return Some(CandidateKind::Variant(front.trim_start_matches('.').to_owned()));
        }
    }
    None
}

/// The directories below `base` that a root means: `src/*`, `.`, `services/**`. Hidden ones are matched by name only.
pub(super) fn matching_directories(base: &Path, pattern: &str, folders: &mut Folders) -> Vec<PathBuf> {
    let mut found = vec![base.to_path_buf()];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let mut next = Vec::new();
        for directory in found {
            match part {
                ".." => next.push(directory.parent().map(Path::to_path_buf).unwrap_or_default()),
                "**" => walk(&directory, &mut next, folders),
                _ if is_glob(part) => {
                    next.extend(subdirectories(&directory, folders).into_iter().filter(|path| {
                        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                        glob_matches(part, &name) && (!name.starts_with('.') || part.starts_with('.'))
                    }));
                }
                _ => {
                    let path = directory.join(part);
                    if path.is_dir() {
                        next.push(path);
                    }
                }
            }
        }
        found = next;
    }
    let mut seen = BTreeSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// `directory` and everything below it but hidden directories; links to directories are not followed.
fn walk(directory: &Path, out: &mut Vec<PathBuf>, folders: &mut Folders) {
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let mut below = subdirectories(&directory, folders);
        below.retain(|path| {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            !hidden && !path.is_symlink()
        });
        below.reverse();
        waiting.extend(below);
        out.push(directory);
    }
}

fn subdirectories(directory: &Path, folders: &mut Folders) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        folders.entries(directory).iter().filter(|(_, is_dir)| *is_dir).map(|(path, _)| path.clone()).collect();
    all.sort();
    all
}

/// Directories that were read, each once, however many globs lead to it.
#[derive(Debug, Default)]
pub(super) struct Folders {
    read: HashMap<PathBuf, Arc<[(PathBuf, bool)]>>,
    /// How often one was read.
    reads: usize,
    /// Those that cannot be.
    pub(super) unreadable: Vec<(PathBuf, std::io::Error)>,
}

impl Folders {
    /// The entries of a directory, and whether each is a directory (links followed).
    fn entries(&mut self, directory: &Path) -> Arc<[(PathBuf, bool)]> {
        if let Some(known) = self.read.get(directory) {
            return Arc::clone(known);
        }
        self.reads += 1;
        let entries: Arc<[(PathBuf, bool)]> = match fs::read_dir(directory) {
            Ok(read) => read.filter_map(Result::ok).map(|entry| kind(&entry)).collect(),
            Err(error) => {
                self.unreadable.push((directory.to_path_buf(), error));
                Arc::from([])
            }
        };
        self.read.insert(directory.to_path_buf(), Arc::clone(&entries));
        entries
    }
}

fn kind(entry: &fs::DirEntry) -> (PathBuf, bool) {
    let path = entry.path();
    let is_dir = match entry.file_type() {
        Ok(kind) if kind.is_symlink() => path.is_dir(),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    };
    (path, is_dir)
}

/// The files directly in `directory`, in the order of their names.
pub(super) fn files(directory: &Path, folders: &mut Folders) -> Vec<PathBuf> {
    let all = folders.entries(directory);
    let mut files: Vec<PathBuf> = all.iter().filter(|(_, is_dir)| !is_dir).map(|(path, _)| path.clone()).collect();
    files.sort();
    files
}

/// The candidates directly in `directory`, in the order of their names.
pub(super) fn candidates(directory: &Path, folders: &mut Folders) -> Vec<Candidate> {
    let found = files(directory, folders).into_iter().filter_map(|path| {
        let kind = candidate_kind(&path.file_name()?.to_string_lossy())?;
        Some(Candidate { path, kind })
    });
    found.collect()
}

/// The one image reference in a `dependency.conf`; comments and blank lines are passed over.
pub(super) fn dependency(text: &str) -> Result<&str, &'static str> {
    let mut lines =
        text.lines().map(|line| line.split('#').next().unwrap_or(line).trim()).filter(|line| !line.is_empty());
    let first = lines.next().ok_or("it names no image")?;
    if lines.next().is_some() {
        return Err("it names more than one image");
    }
    Ok(first)
}

/// Assigns every candidate in the roots to a component, or reports it.
pub(super) struct Discovery<'a> {
    pub(super) spec: &'a DiscoverSpec,
    pub(super) root: &'a Path,
    pub(super) components: &'a mut IndexMap<ComponentName, RawComponent>,
    pub(super) externals: &'a mut IndexMap<ComponentName, ExternalSpec>,
    /// Reads the image of a `dependency.conf`, template or not.
    pub(super) read_dependency: &'a dyn Fn(&Path) -> Result<ExternalSpec, Vec<ConfigProblem>>,
    pub(super) problems: &'a mut Vec<ConfigProblem>,
    pub(super) finds: Vec<Find>,
}

impl Discovery<'_> {
    /// Reads the roots; returns every find with what became of it.
    pub(super) fn run(mut self) -> Vec<Find> {
        let mut folders = Folders::default();
        let mut directories: Vec<PathBuf> = Vec::new();
        for root in &self.spec.roots {
            let found = matching_directories(&self.spec.directory, &root.value, &mut folders);
            if found.is_empty() {
                self.problems.push(ConfigProblem::Invalid {
                    message: format!("no folder matches the root `{}`", root.value),
                    help: Some("roots are folders, relative to the project file, such as \"src/*\"".to_owned()),
                    span: root.span.clone(),
                });
            }
            directories.extend(found);
        }
        let mut seen = BTreeSet::new();
        directories.retain(|directory| seen.insert(directory.clone()));
        let candidates: Vec<Candidate> =
            directories.iter().flat_map(|directory| candidates(directory, &mut folders)).collect();
        for (path, source) in folders.unreadable {
            let path = self.shown(&path);
            self.problems.push(ConfigProblem::Unreadable { path, source, span: None });
        }
        let open = self.take_declared(candidates);
        let open = self.take_by_name(open);
        self.take_folders(open);
        let mut finds = self.finds;
        finds.sort_by(|a, b| a.path.cmp(&b.path));
        finds
    }

    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root).map_or_else(|_| path.to_path_buf(), Path::to_path_buf)
    }

    fn found(&mut self, path: &Path, outcome: FindOutcome) {
        let path = self.shown(path);
        self.finds.push(Find { path, outcome });
    }

    /// Files that a component refers to, and those that `[discover] exclude` leaves out.
    fn take_declared(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut named: BTreeMap<PathBuf, ComponentName> = BTreeMap::new();
        for (name, raw) in &*self.components {
            if let Some(path) = &raw.dockerfile {
                named.entry(path.value.clone()).or_insert_with(|| name.clone());
            }
        }
        let mut open = Vec::new();
        let mut used = BTreeSet::new();
        for candidate in candidates {
            let shown = self.shown(&candidate.path).to_string_lossy().into_owned();
            let excluded = self.spec.exclude.iter().find(|(pattern, _)| glob_matches(pattern, &shown));
            if let Some((pattern, reason)) = excluded {
                used.insert(pattern.clone());
                let outcome = FindOutcome::LeftOut(reason.value.clone());
                self.found(&candidate.path, outcome);
            } else if let Some(name) = named.get(&candidate.path) {
                self.found(&candidate.path, FindOutcome::Component(name.clone()));
            } else {
                open.push(candidate);
            }
        }
        for (pattern, reason) in &self.spec.exclude {
            if !used.contains(pattern) {
                self.problems.push(ConfigProblem::Invalid {
                    message: format!("`{pattern}` leaves nothing out: no file in the roots matches it"),
                    help: Some("paths are relative to the project file; take it out if the file is gone".to_owned()),
                    span: reason.span.clone(),
                });
            }
        }
        open
    }

    /// Files that a declared component without a Dockerfile is named after.
    fn take_by_name(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut open = Vec::new();
        for candidate in candidates {
            let name = proposed_name(&candidate).parse::<ComponentName>().ok();
            let waiting =
                name.as_ref().and_then(|name| self.components.get_mut(name)).filter(|raw| raw.dockerfile.is_none());
            match (waiting, name) {
                (Some(raw), Some(name)) if candidate.kind != CandidateKind::Dependency => {
                    raw.dockerfile = Some(Spanned { value: candidate.path.clone(), span: raw.header.clone() });
                    self.found(&candidate.path, FindOutcome::Component(name));
                }
                (_, Some(name))
                    if candidate.kind == CandidateKind::Dependency && self.externals.contains_key(&name) =>
                {
                    self.found(&candidate.path, FindOutcome::Component(name));
                }
                _ => open.push(candidate),
            }
        }
        open
    }

    /// Main files and dependencies become the component of their folder; everything else is asked about.
    fn take_folders(&mut self, candidates: Vec<Candidate>) {
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for candidate in candidates.iter().filter(|candidate| !matches!(candidate.kind, CandidateKind::Variant(_))) {
            *wanted.entry(proposed_name(candidate)).or_default() += 1;
        }
        for candidate in candidates {
            let proposed = proposed_name(&candidate);
            let alone = wanted.get(&proposed) == Some(&1);
            let name = proposed
                .parse::<ComponentName>()
                .ok()
                .filter(|name| alone && !self.components.contains_key(name) && !self.externals.contains_key(name));
            match (name, &candidate.kind) {
                (Some(name), CandidateKind::Main) => {
                    let raw = RawComponent {
                        header: None,
                        dockerfile: Some(Spanned::unplaced(candidate.path.clone())),
                        context: None,
                        rest: ComponentSpec::new(None),
                    };
                    self.found(&candidate.path, FindOutcome::Component(name.clone()));
                    self.components.insert(name, raw);
                }
                (Some(name), CandidateKind::Dependency) => match (self.read_dependency)(&candidate.path) {
                    Ok(spec) => {
                        self.found(&candidate.path, FindOutcome::Component(name.clone()));
                        self.externals.insert(name, spec);
                    }
                    Err(mut problems) => self.problems.append(&mut problems),
                },
                _ => self.unclassified(&candidate, &proposed),
            }
        }
    }

    fn unclassified(&mut self, candidate: &Candidate, proposed: &str) {
        let path = self.shown(&candidate.path);
        let taken = |name: &str| {
            name.parse::<ComponentName>()
                .is_ok_and(|name| self.components.contains_key(&name) || self.externals.contains_key(&name))
        };
        let mut name: String = proposed
            .to_lowercase()
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-");
        if name.is_empty() || taken(&name) {
            name = if name.is_empty() { "other".to_owned() } else { format!("{name}-other") };
        }
        let key = if candidate.kind == CandidateKind::Dependency { "external" } else { "component" };
        let refers = if key == "external" {
            "image = \"…\"".to_owned()
        } else {
            format!("dockerfile = \"{}\"", path.display())
        };
        self.problems.push(ConfigProblem::Unclassified { path, key, name, refers });
    }
}

/// The name that a file gives to its component: its folder's, with the word of a variant.
fn proposed_name(candidate: &Candidate) -> String {
    let folder = candidate.path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let folder = folder.unwrap_or_default();
    match &candidate.kind {
        CandidateKind::Main | CandidateKind::Dependency => folder,
        CandidateKind::Variant(word) => format!("{folder}-{word}"),
    }
}

/// The place that components found here count as declared at.
pub(super) fn header_or_root(header: Option<&Span>, spec: Option<&DiscoverSpec>) -> Option<Span> {
    header.cloned().or_else(|| spec.and_then(|spec| spec.roots.first()).and_then(|root| root.span.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        let variant = |word: &str| Some(CandidateKind::Variant(word.to_owned()));
        for (name, kind) in [
            ("Dockerfile", Some(CandidateKind::Main)),
            ("Dockerfile.tpl", Some(CandidateKind::Main)),
            ("Containerfile", Some(CandidateKind::Main)),
            ("dockerfile", Some(CandidateKind::Main)),
            ("Dockerfile.prod", variant("prod")),
            ("Dockerfile.prod.tpl", variant("prod")),
            ("Dockerfile-alpine", variant("alpine")),
            ("Dockerfile~", variant("backup")),
            ("prod.Dockerfile", variant("prod")),
            ("Dockerfile.dockerignore", None),
            ("Dockerfile.prod.dockerignore", None),
            ("dependency.conf", Some(CandidateKind::Dependency)),
            ("dependency.conf.tpl", Some(CandidateKind::Dependency)),
            ("Dockerfiles", None),
            ("config.tpl", None),
            (".dockerignore", None),
        ] {
            assert_eq!(candidate_kind(name), kind, "{name}");
        }
    }

    #[test]
    fn every_directory_is_read_once() {
        let root = tempfile::tempdir().expect("a folder");
        for path in ["src/a/b", "src/a/c", "src/d", "other"] {
            fs::create_dir_all(root.path().join(path)).expect("a folder");
            fs::write(root.path().join(path).join("Dockerfile"), "FROM scratch").expect("a file");
        }
        let mut folders = Folders::default();
        let mut found = BTreeSet::new();
        for pattern in ["src/**", "src/*", "src/a/*", "*"] {
            for directory in matching_directories(root.path(), pattern, &mut folders) {
                found.extend(candidates(&directory, &mut folders).into_iter().map(|candidate| candidate.path));
            }
        }
        assert_eq!(found.len(), 4);
        // The root, `src`, `a`, `b`, `c`, `d` and `other`.
        assert_eq!(folders.reads, 7);
    }

    #[test]
    fn a_dependency_is_one_image() {
        assert_eq!(dependency("# upstream\n\nredis:7 # pinned\n"), Ok("redis:7"));
        assert!(dependency("# nothing\n").is_err());
        assert!(dependency("a\nb\n").is_err());
    }
}
