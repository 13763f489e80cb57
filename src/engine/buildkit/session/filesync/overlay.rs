use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::relative;
use crate::engine::RenderedFile;

/// Files that a tree is to have although they lie elsewhere: by their directory, relative to the root, and their name there.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    directories: HashMap<Vec<u8>, BTreeMap<Box<[u8]>, PathBuf>>,
    none: BTreeMap<Box<[u8]>, PathBuf>,
}

impl Overlay {
    /// Those of `rendered` that have their place below `root`, which may itself be reached through symbolic links.
    pub(super) fn new(root: &Path, rendered: &[RenderedFile]) -> io::Result<Self> {
        let mut overlay = Self::default();
        if rendered.is_empty() {
            return Ok(overlay);
        }
        let root = fs::canonicalize(root)?;
        for one in rendered {
            let Ok(path) = one.path.strip_prefix(&root) else { continue };
            if path.components().any(|part| !matches!(part, Component::Normal(_))) {
                continue;
            }
            let Some(name) = path.file_name() else { continue };
            let directory = path.parent().map(relative).unwrap_or_default();
            let files = overlay.directories.entry(directory).or_default();
            files.insert(name.as_bytes().into(), one.file.clone());
        }
        Ok(overlay)
    }

    /// The files of a directory by their names.
    pub(super) fn directory(&self, path: &[u8]) -> &BTreeMap<Box<[u8]>, PathBuf> {
        self.directories.get(path).unwrap_or(&self.none)
    }

    /// The file that has its place at a path.
    pub(super) fn file(&self, path: &[u8]) -> Option<&Path> {
        if self.directories.is_empty() {
            return None;
        }
        let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&[][..], path),
        };
        self.directory(directory).get(name).map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::filter::Selection;
    use super::super::inventory::LocalTree;
    use super::*;

    #[test]
    fn what_is_rendered_stands_where_it_belongs_and_hides_what_was_there() {
        let directory = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(directory.path()).expect("it is there").join("root");
        fs::create_dir_all(root.join("conf")).expect("a folder");
        for (path, text) in [("conf/app.tpl", "{{A}}"), ("conf/app", "stale, and longer"), ("conf/b", "b"), ("z", "z")]
        {
            fs::write(root.join(path), text).expect("a file");
        }
        std::os::unix::fs::symlink("conf", root.join("link")).expect("a link");
        let elsewhere = root.with_file_name("elsewhere");
        fs::write(&elsewhere, "new").expect("a file");
        let at = |path: &str| RenderedFile { path: root.join(path), file: elsewhere.clone() };
        let rendered = [at("conf/app"), at("conf/c"), at("a"), at("../outside")];
        let tree = LocalTree::open(&root, &[PathBuf::from("a")], &rendered).expect("it is there");
        let found = |selection: &Selection| -> Vec<(String, u64)> {
            let entries = tree.inventory(selection).expect("it can be read").entries;
            entries.into_iter().map(|entry| (entry.path, entry.size)).collect()
        };
        let all =
            [("conf", 0), ("conf/app", 3), ("conf/app.tpl", 5), ("conf/b", 1), ("conf/c", 3), ("link", 4), ("z", 1)];
        assert_eq!(found(&Selection::default()), all.map(|(path, size)| (path.to_owned(), size)));
        let through = Selection { follow: Some(vec!["link/app".to_owned()]), ..Selection::default() };
        assert_eq!(found(&through), [("conf", 0), ("conf/app", 3), ("link", 4)].map(|(p, s)| (p.to_owned(), s)));
        let ignored = Selection { exclude: vec!["conf/a*".to_owned(), "link".to_owned()], ..Selection::default() };
        assert_eq!(
            found(&ignored),
            [("conf", 0), ("conf/b", 1), ("conf/c", 3), ("z", 1)].map(|(p, s)| (p.to_owned(), s))
        );
        let mut text = String::new();
        tree.file("conf/app").expect("it is there").read_to_string(&mut text).expect("it can be read");
        assert_eq!(text, "new");
    }
}
