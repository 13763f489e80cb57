use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::discover::{Folders, files, matching_directories};
use super::document::Node;
use super::reader::Reading;
use crate::base::{Spanned, glob_matches, is_glob};

/// The suffix of templates; what they are rendered to is called as they are without it.
const SUFFIX: &str = ".tpl";

/// `templates`: the files that a list of paths and globs means, each once, in the order of the list.
///
/// Every item must mean something: one that matches nothing would leave a file with holes in an image, or the name of a
/// file that is not there.
pub(super) fn templates(reading: &mut Reading<'_>, node: &Node) -> Vec<Spanned<PathBuf>> {
    let mut out: Vec<Spanned<PathBuf>> = Vec::new();
    let mut seen = BTreeSet::new();
    for item in reading.list("templates", node) {
        let Some(pattern) = reading.nonempty("templates", item) else { continue };
        if let Some(problem) = refused(&pattern.value) {
            let help =
                "name files that end with `.tpl`, relative to the project file, such as \"conf/*.tpl\"".to_owned();
            reading.invalid(&item.span, problem, help);
            continue;
        }
        let mut folders = Folders::default();
        let found = matching_files(&item.directory, &pattern.value, &mut folders);
        for (path, error) in &folders.unreadable {
            reading.invalid(&item.span, format!("cannot read `{}`: {error}", path.display()), None);
        }
        if found.is_empty() && folders.unreadable.is_empty() {
            let help = "paths are relative to the project file; take it out if the files are gone".to_owned();
            reading.invalid(&item.span, format!("no file matches the template `{}`", pattern.value), help);
        }
        let new = found.into_iter().filter(|path| seen.insert(path.clone()));
        out.extend(new.map(|value| Spanned { value, span: pattern.span.clone() }));
    }
    out
}

/// Why a pattern can list no templates.
fn refused(pattern: &str) -> Option<String> {
    let name = pattern.rsplit('/').next().unwrap_or(pattern);
    if !name.ends_with(SUFFIX) {
        return Some(format!("`{pattern}` lists no templates: they end with `{SUFFIX}`"));
    }
    // The builder asks for it before anything else, and what is left out would hang on it.
    name.ends_with(".dockerignore.tpl").then(|| format!("`{pattern}`: ignore files are read as they are"))
}

fn matching_files(base: &Path, pattern: &str, folders: &mut Folders) -> Vec<PathBuf> {
    let (parents, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let base = if pattern.starts_with('/') { Path::new("/") } else { base };
    let mut found = Vec::new();
    for directory in matching_directories(base, parents, folders) {
        if !is_glob(name) {
            found.extend(Some(directory.join(name)).filter(|path| path.is_file()));
            continue;
        }
        let matches = |path: &PathBuf| {
            let own = path.file_name().unwrap_or_default().to_string_lossy();
            let ignore = own.ends_with(".dockerignore.tpl");
            glob_matches(name, &own)
                && own.len() > SUFFIX.len()
                && (!own.starts_with('.') || name.starts_with('.'))
                && !ignore
        };
        found.extend(files(&directory, folders).into_iter().filter(matches));
    }
    found
}
