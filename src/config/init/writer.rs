use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::asked::asked;
use super::carried::carried;
use super::tree::{ContextGuess, Folder, Phase, Tree, guess_context, read};
use super::{Note, Proposal};
use crate::base::ComponentName;
use crate::config::files::{DiskFiles, ReadText as _};

/// Proposes a project file for the repository at `root`.
pub fn propose(root: &Path) -> std::io::Result<Proposal> {
    let mut tree = read(root)?;
    let mut notes = std::mem::take(&mut tree.notes);
    if let Some(proposal) = carried(root, &tree, &mut notes) {
        return Ok(proposal);
    }
    for other in &tree.others {
        let text = format!("not carried over: `catamaran -f {}` reads it as it is", other.display());
        notes.push(Note::new(other, text));
    }
    let mut draft = Draft { notes, ..Draft::new(root) };
    draft.roots(&tree);
    draft.components(&tree);
    draft.services();
    let vars = draft.vars();
    let text = draft.text(&vars);
    let mut notes = draft.notes;
    notes.sort();
    notes.dedup();
    Ok(Proposal { text, components: draft.names.len(), notes })
}

struct Draft<'a> {
    root: &'a Path,
    notes: Vec<Note>,
    roots: Vec<String>,
    /// Files that `[discover]` leaves out, with the reason.
    left_out: BTreeMap<String, String>,
    /// Lines of `[component]`: name and the inside of its inline table; an empty one is not written.
    lines: BTreeMap<String, Vec<String>>,
    /// Every component and external.
    names: BTreeSet<String>,
    foundation: BTreeSet<String>,
    dependent: BTreeSet<String>,
    /// The Dockerfile of each component.
    dockerfiles: BTreeMap<String, PathBuf>,
    /// Components that others ask while they are built, with their ports.
    services: BTreeMap<String, u16>,
}

impl<'a> Draft<'a> {
    fn new(root: &'a Path) -> Self {
        Self {
            root,
            notes: Vec::new(),
            roots: Vec::new(),
            left_out: BTreeMap::new(),
            lines: BTreeMap::new(),
            names: BTreeSet::new(),
            foundation: BTreeSet::new(),
            dependent: BTreeSet::new(),
            dockerfiles: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }

    /// The folders above those that hold something: `src/*`.
    fn roots(&mut self, tree: &Tree) {
        let mut roots = BTreeSet::new();
        for (path, folder) in &tree.folders {
            if folder.mains.is_empty() && folder.variants.is_empty() && folder.dependency.is_none() {
                continue;
            }
            roots.insert(match path.parent() {
                None => ".".to_owned(),
                Some(parent) if parent.as_os_str().is_empty() => "*".to_owned(),
                Some(parent) => format!("{}/*", parent.display()),
            });
        }
        self.roots = roots.into_iter().collect();
    }

    fn components(&mut self, tree: &Tree) {
        let scripted = tree.folders.values().any(|folder| folder.scripted);
        let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
        for path in tree.folders.keys() {
            *by_name.entry(folder_name(path)).or_default() += 1;
        }
        for (path, folder) in &tree.folders {
            let unique = by_name.get(&folder_name(path)) == Some(&1);
            self.folder(path, folder, unique, scripted);
        }
        let needs = "needs = [\"foundation\"]".to_owned();
        if !self.foundation.is_empty() {
            for name in &self.dependent {
                self.lines.entry(name.clone()).or_default().push(needs.clone());
            }
        }
    }

    /// A component that a step of another one asks by its name has to run meanwhile.
    fn services(&mut self) {
        for (name, dockerfile) in self.dockerfiles.clone() {
            let text = DiskFiles.read_text(&self.root.join(&dockerfile)).unwrap_or_default();
            for (host, port) in asked(&text) {
                if host == name || !self.names.contains(host) {
                    continue;
                }
                let known = *self.services.entry(host.to_owned()).or_insert(port);
                if known != port {
                    let text =
                        format!("`{host}` is asked at port {port} here and {known} elsewhere: the latter counts");
                    self.notes.push(Note::new(&dockerfile, text));
                }
                let text = format!("asks `{host}:{known}`: `{host}` runs while it is built");
                self.notes.push(Note::new(&dockerfile, text));
                let waits = self.dependent.contains(&name) && self.foundation.contains(host);
                let inside = self.lines.entry(name.clone()).or_default();
                let own = format!("needs = [{}]", quoted(host));
                match inside.iter_mut().find(|entry| entry.starts_with("needs = [")) {
                    _ if waits => {}
                    Some(needs) if needs.contains(&quoted(host)) => {}
                    Some(needs) => *needs = format!("{}, {}]", needs.trim_end_matches(']'), quoted(host)),
                    None => inside.push(own),
                }
            }
        }
    }

    fn folder(&mut self, path: &Path, folder: &Folder, unique: bool, scripted: bool) {
        for variant in &folder.variants {
            let text = "is it a component, or to be left out? `catamaran plan` asks".to_owned();
            self.notes.push(Note::new(variant, text));
        }
        if folder.dependency.is_some() && folder.mains.is_empty() {
            self.names.insert(folder_name(path));
        } else if let Some(dependency) = &folder.dependency {
            let text = "there is a Dockerfile beside it: `catamaran plan` asks which of them it is".to_owned();
            self.notes.push(Note::new(dependency, text));
        }
        let Some(main) = self.main(folder) else { return };
        if !folder.targets.is_empty() {
            for (target, image) in &folder.targets {
                self.target(path, folder, &main, (target, image));
            }
            return;
        }
        let top = path.as_os_str().is_empty();
        let wanted = if top { self.project_name() } else { folder_name(path) };
        let name = if top {
            Some(slug(&wanted).unwrap_or_else(|| "app".to_owned()))
        } else if unique {
            slug(&wanted)
        } else {
            slug(&path.to_string_lossy())
        };
        let Some(name) = name else {
            self.notes.push(Note::new(&main, "its folder's name makes no component name; `catamaran plan` asks"));
            return;
        };
        let mut inside = Vec::new();
        if name != wanted || folder.mains.len() > 1 {
            inside.push(format!("dockerfile = {}", quoted(&main.to_string_lossy())));
        }
        let guess = guess_context(self.root, &main);
        let own_folder = !top && (guess == ContextGuess::Own || (guess == ContextGuess::Unclear && !scripted));
        if own_folder {
            inside.push(format!("context = {}", quoted(&path.to_string_lossy())));
            if guess == ContextGuess::Unclear {
                self.notes.push(Note::new(&main, "nothing tells its context: its own folder is taken"));
            }
        }
        self.phase(folder, &name, &main, scripted);
        self.names.insert(name.clone());
        self.dockerfiles.insert(name.clone(), main);
        self.lines.entry(name).or_default().append(&mut inside);
    }

    /// The one Dockerfile of a folder; a file beside its template is what the template was rendered to.
    fn main(&mut self, folder: &Folder) -> Option<PathBuf> {
        let template = folder.mains.iter().find(|path| path.extension().is_some_and(|ext| ext == "tpl"));
        let chosen = template.or(folder.mains.first())?.clone();
        for other in folder.mains.iter().filter(|path| **path != chosen) {
            if template.is_some_and(|template| template.with_extension("") == **other) {
                let reason = "rendered from its template".to_owned();
                self.left_out.insert(other.to_string_lossy().into_owned(), reason.clone());
                self.notes.push(Note::new(other, format!("left out: {reason}")));
            } else {
                let text = format!("`{}` was taken instead; `catamaran plan` asks about this one", chosen.display());
                self.notes.push(Note::new(other, text));
            }
        }
        Some(chosen)
    }

    fn target(&mut self, path: &Path, folder: &Folder, main: &Path, (target, image): (&str, &str)) {
        let bare = image.rsplit('/').next().unwrap_or(image);
        let bare = bare.split(':').next().unwrap_or(bare);
        let Some(name) = slug(bare).filter(|name| !self.names.contains(name)) else {
            let text =
                format!("the image `{image}` of target `{target}` makes no new component name; not carried over");
            self.notes.push(Note::new(&path.join("build-targets.conf"), text));
            return;
        };
        if name != image {
            let text = format!("the image `{image}` is called `{name}` here");
            self.notes.push(Note::new(&path.join("build-targets.conf"), text));
        }
        let inside =
            vec![format!("dockerfile = {}", quoted(&main.to_string_lossy())), format!("target = {}", quoted(target))];
        self.phase(folder, &name, main, true);
        self.names.insert(name.clone());
        self.dockerfiles.insert(name.clone(), main.to_path_buf());
        self.lines.insert(name, inside);
    }

    fn phase(&mut self, folder: &Folder, name: &str, main: &Path, scripted: bool) {
        match folder.phase {
            Some(Phase::Foundation) => {
                self.foundation.insert(name.to_owned());
            }
            Some(Phase::Dependent) => {
                self.dependent.insert(name.to_owned());
            }
            None if scripted => {
                self.notes.push(Note::new(main, "no BUILD_PHASE: it waits for nothing but what its Dockerfile names"));
            }
            None => {}
        }
    }

    /// The name of the repository's folder.
    fn project_name(&self) -> String {
        let name = std::path::absolute(self.root).ok().and_then(|root| Some(folder_name(root.file_name()?.as_ref())));
        name.unwrap_or_else(|| "project".to_owned())
    }

    /// Variable files at the top of the repository.
    fn vars(&mut self) -> Vec<String> {
        let mut files = Vec::new();
        for name in ["deps.yaml", "deps.yml", ".env"] {
            if self.root.join(name).is_file() {
                files.push(name.to_owned());
            }
        }
        files
    }

    fn text(&self, vars: &[String]) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "name      = {}", quoted(&self.project_name()));
        out.push_str("platforms = [\"linux/amd64\", \"linux/arm64\"]\n");
        let env = DiskFiles.read_text(&self.root.join(".env")).unwrap_or_default();
        if env.lines().any(|line| line.trim_start().trim_start_matches("export ").starts_with("IMAGE_TAG=")) {
            out.push_str("tag       = \"${IMAGE_TAG}\"\n");
        } else {
            out.push_str("tag       = \"${IMAGE_TAG:-latest}\"\n");
        }
        out.push_str("# registry  = [\"registry.example.com/team\"]   # where `catamaran push` publishes\n");
        if !vars.is_empty() {
            let files: Vec<String> = vars.iter().map(|file| quoted(file)).collect();
            let _ = write!(out, "\n[vars]\nfiles = [{}]\n", files.join(", "));
        }
        let roots: Vec<String> = self.roots.iter().map(|root| quoted(root)).collect();
        let _ = write!(
            out,
            "\n# Every Dockerfile in these folders is a component named by its folder.\n[discover]\nroots = [{}]\n",
            roots.join(", ")
        );
        if !self.left_out.is_empty() {
            out.push_str("\n[discover.exclude]\n");
            for (path, reason) in &self.left_out {
                let _ = writeln!(out, "{} = {}", quoted(path), quoted(reason));
            }
        }
        if !self.foundation.is_empty() && !self.dependent.is_empty() {
            let names: Vec<String> = self.foundation.iter().map(|name| quoted(name)).collect();
            out.push_str("\n[group]\n");
            out.push_str(&wrapped("foundation = [", &names, "]"));
        }
        let lines: Vec<(&String, String)> = self
            .lines
            .iter()
            .filter(|(_, inside)| !inside.is_empty())
            .map(|(name, inside)| (name, inside.join(", ")))
            .collect();
        if !lines.is_empty() {
            out.push_str("\n[component]\n");
            let width = lines.iter().map(|(name, _)| key(name).len()).max().unwrap_or_default();
            for (name, inside) in lines {
                let _ = writeln!(out, "{:width$} = {{ {inside} }}", key(name));
            }
        }
        for (name, port) in &self.services {
            let _ = write!(out, "\n[service.{}]\nport = {port}\n", key(name));
        }
        out
    }
}

/// A list that is broken over lines where it is long.
fn wrapped(open: &str, items: &[String], close: &str) -> String {
    let one = format!("{open}{}{close}\n", items.join(", "));
    if one.len() <= 100 {
        return one;
    }
    let mut out = format!("{open}\n");
    let mut line = String::new();
    for item in items {
        if line.len() + item.len() > 90 {
            let _ = writeln!(out, "   {line}");
            line.clear();
        }
        let _ = write!(line, " {item},");
    }
    let _ = writeln!(out, "   {line}");
    out + close + "\n"
}

fn folder_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A component name out of any text; none if nothing of it can be used.
fn slug(text: &str) -> Option<String> {
    if text.parse::<ComponentName>().is_ok() {
        return Some(text.to_owned());
    }
    let lower = text.to_lowercase();
    let parts: Vec<&str> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let name = parts.join("-");
    name.parse::<ComponentName>().ok().map(|_| name)
}

/// A TOML key: bare where it may be.
pub(super) fn key(name: &str) -> String {
    let bare = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { name.to_owned() } else { quoted(name) }
}

/// A TOML basic string whose `$` means itself.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '$' => out.push_str("$$"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
