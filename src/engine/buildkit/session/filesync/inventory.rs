use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::error::SendError;
use super::filter::{Filter, Selection};
use super::mode::NOT_REGULAR;
use super::relative;
use super::tree::Tree;
use super::walk::Walk;
use crate::engine::{EngineError, RenderedFile};

/// A directory as it would be sent to a builder, without one.
#[derive(Debug)]
pub struct LocalTree {
    directory: PathBuf,
    tree: Tree,
    always_excluded: Vec<Vec<u8>>,
}

/// What of a directory would be sent.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// In the order in which they would be sent.
    pub entries: Vec<InventoryEntry>,
    /// When the youngest of these was changed, and of the directories that were read for them, in nanoseconds since 1970.
    /// A name that was taken away shows in the directory that held it.
    pub newest: i64,
}

/// One thing that would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryEntry {
    /// Relative to the directory, clean, with `/`.
    pub path: String,
    /// Kind and permissions, in the bits of Go's `os.FileMode`.
    pub mode: u32,
    /// Bytes of a file; 0 for directories.
    pub size: u64,
    /// Target of a symbolic link; for a hard link, the path of the file that comes first.
    pub link: String,
    /// Time of the last change of the content, in nanoseconds since 1970. It is not part of what a builder keeps apart.
    pub modified: i64,
    /// Time of the last change of anything about it, likewise.
    pub changed: i64,
    /// Device and inode of the file.
    pub identity: (u64, u64),
}

impl InventoryEntry {
    /// Whether it is a regular file: has content.
    pub const fn is_file(&self) -> bool {
        self.mode & NOT_REGULAR == 0
    }
}

impl LocalTree {
    /// Opens a directory. What is at or below one of `always_excluded`, relative to it, is never sent.
    /// What of `rendered` lies in it is seen as a builder would see it.
    pub fn open(directory: &Path, always_excluded: &[PathBuf], rendered: &[RenderedFile]) -> Result<Self, EngineError> {
        let name = directory.as_os_str().as_bytes();
        let tree = Tree::open(directory).and_then(|tree| tree.with_rendered(directory, rendered));
        let tree = tree.map_err(|error| failed(&SendError::io(name, &error)))?;
        let always_excluded = always_excluded.iter().map(|path| relative(path)).collect();
        Ok(Self { directory: directory.to_owned(), tree, always_excluded })
    }

    /// What a builder that asks for `selection` would be sent: the same walk, the same filters.
    pub fn inventory(&self, selection: &Selection) -> Result<Inventory, EngineError> {
        let name = self.directory.display().to_string();
        let filter = Filter::new(&name, selection, &self.tree).map_err(|error| failed(&error))?;
        let mut walk = Walk::new(&self.tree, &filter, &self.always_excluded, &|| false);
        let mut entries = Vec::new();
        for entry in walk.by_ref() {
            let entry = entry.map_err(|error| failed(&error))?;
            entries.push(InventoryEntry {
                path: entry.path,
                mode: entry.mode,
                size: u64::try_from(entry.size).unwrap_or(0),
                link: entry.link,
                modified: entry.modified,
                changed: entry.identity.changed,
                identity: (entry.identity.device, entry.identity.inode),
            });
        }
        Ok(Inventory { entries, newest: walk.newest() })
    }

    /// Opens a file of it to read it; no symbolic link is followed on the way.
    pub fn file(&self, path: &str) -> io::Result<File> {
        self.tree.file(path.as_bytes())
    }
}

fn failed(error: &SendError) -> EngineError {
    match error.to_failure() {
        Some(failure) => failure.into(),
        None => EngineError::BadResult { reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(inventory: &Inventory) -> Vec<&str> {
        inventory.entries.iter().map(|entry| entry.path.as_str()).collect()
    }

    #[test]
    fn it_is_what_would_be_sent() {
        let directory = tempfile::tempdir().expect("a folder");
        let root = directory.path();
        for path in ["src/a.c", "src/b.h", "doc/x", ".catamaran/lock"] {
            fs::create_dir_all(root.join(path).parent().expect("below")).expect("a folder");
            fs::write(root.join(path), path).expect("a file");
        }
        std::os::unix::fs::symlink("../doc", root.join("src/doc")).expect("a link");
        let tree = LocalTree::open(root, &[PathBuf::from(".catamaran")], &[]).expect("it is there");
        let all = tree.inventory(&Selection::default()).expect("it can be read");
        assert_eq!(names(&all), ["doc", "doc/x", "src", "src/a.c", "src/b.h", "src/doc"]);
        assert!(all.newest >= all.entries.iter().map(|entry| entry.changed).max().expect("some"));
        let some = Selection {
            exclude: vec!["**/*.h".to_owned()],
            follow: Some(vec!["src/doc/x".to_owned(), "src/*.?".to_owned()]),
            ..Selection::default()
        };
        assert_eq!(
            names(&tree.inventory(&some).expect("it can be read")),
            ["doc", "doc/x", "src", "src/a.c", "src/doc"]
        );
        let gone = Selection { follow: Some(vec!["nothing/here".to_owned()]), ..Selection::default() };
        let before = tree.inventory(&gone).expect("it can be read");
        assert_eq!(names(&before), [""; 0]);
        // What is taken away is seen by the directory that held it, although nothing of it is selected.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::remove_dir_all(root.join("doc")).expect("it was there");
        assert!(tree.inventory(&gone).expect("it can be read").newest > before.newest);
    }
}
