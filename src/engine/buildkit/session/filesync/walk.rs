use std::collections::{HashMap, VecDeque};
use std::vec;

use rustix::fs::{FileType, Stat};

use super::error::SendError;
use super::filter::{Filter, Inherited};
use super::mode::{Kind, changed, go_mode, modified};
use super::tree::{Directory, Tree, is_denied, is_gone, is_swapped, join, matchable, printable};

/// One thing to send, in the daemon's terms (fsutil `types/stat.proto`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the root, clean, with `/`.
    pub(super) path: String,
    /// Go's mode bits.
    pub(super) mode: u32,
    /// Bytes; 0 for directories.
    pub(super) size: i64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    /// Target of a symbolic link as it is; for a hard link, the path of the file that was sent first.
    pub(super) link: String,
    /// Which file it is, for those who remember its content; of no interest to the daemon.
    pub(super) identity: Identity,
}

/// What tells a file apart from any other, and from what it was before somebody changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Time of the last change of content, name or mode in nanoseconds since 1970. Nobody can set it back.
    pub(super) changed: i64,
}

/// Walks a tree and gives what a filter selects, in the order that the daemon demands (fsutil `validator.go`): each directory
/// right before what is in it, the names of one directory in the order of their bytes.
///
/// It is lazy: directories are read when the walk comes to them, and only one is open at a time. What vanishes meanwhile is
/// left out, one by one. Owners and extended attributes are not told: every file belongs to 0:0, so that the cache is the
/// same for all users.
pub(super) struct Walk<'a> {
    tree: &'a Tree,
    filter: &'a Filter,
    always_excluded: &'a [Vec<u8>],
    given_up: &'a dyn Fn() -> bool,
    /// Directories on the way to where the walk is, the root first.
    stack: Vec<Frame>,
    ready: VecDeque<Entry>,
    /// By device and inode, the path that was sent first of files that have several.
    links: HashMap<(u64, u64), String>,
    left_out: LeftOut,
    newest: i64,
    ended: bool,
}

/// A directory that the walk is in.
struct Frame {
    path: Vec<u8>,
    children: vec::IntoIter<Child>,
    /// What to send for it once something below it is selected.
    owed: Option<Stat>,
}

/// An entry of a directory that is to be sent or looked into.
struct Child {
    name: Box<[u8]>,
    /// For what is selected.
    stat: Option<Stat>,
    /// For a symbolic link.
    target: Vec<u8>,
    /// For a directory to be looked into.
    descend: Option<Inherited>,
}

/// Selected things that no builder can hold, for a warning.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// The first of them, with what they are.
    pub(super) examples: Vec<String>,
    pub(super) count: usize,
}

/// Enough to find the cause.
const MOST_EXAMPLES: usize = 5;

impl<'a> Walk<'a> {
    /// A walk of `tree`. What is at or below one of `always_excluded`, clean relative paths, does not exist for it. It ends
    /// with an error at the next directory once `given_up` says so.
    pub(super) fn new(
        tree: &'a Tree,
        filter: &'a Filter,
        always_excluded: &'a [Vec<u8>],
        given_up: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            tree,
            filter,
            always_excluded,
            given_up,
            stack: Vec::new(),
            ready: VecDeque::new(),
            links: HashMap::new(),
            left_out: LeftOut::default(),
            newest: i64::MIN,
            ended: false,
        }
    }

    /// When what it looked at so far was changed last, in nanoseconds since 1970: entries, and all directories that were
    /// read, also those of which nothing was selected. What is gone shows in the directory that held it.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    /// What was left out so far.
    pub(super) fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Goes on by one child or to the end of a directory; false at the end of everything.
    fn step(&mut self) -> Result<bool, SendError> {
        let Some(frame) = self.stack.last_mut() else { return Ok(false) };
        let Some(child) = frame.children.next() else {
            self.stack.pop();
            return Ok(true);
        };
        let path = join(&frame.path, &child.name);
        if let Some(stat) = &child.stat {
            self.send_owed()?;
            let entry = self.entry(&path, stat, &child.target)?;
            self.ready.push_back(entry);
        }
        if let Some(inherited) = child.descend {
            self.enter(path, child.stat.is_some(), &inherited)?;
        }
        Ok(true)
    }

    /// Reads a directory and makes it the one that the walk is in.
    fn enter(&mut self, path: Vec<u8>, selected: bool, inherited: &Inherited) -> Result<(), SendError> {
        if (self.given_up)() {
            return Err(SendError::GivenUp);
        }
        let mut directory = match self.tree.directory(&path) {
            Ok(directory) => directory,
            // It is gone, or nobody asked for it.
            Err(error) if is_gone(&error) && !path.is_empty() || !selected && is_denied(&error) => return Ok(()),
            Err(error) if is_swapped(&error) => return Err(SendError::changed(&path)),
            Err(error) => return Err(SendError::io(&path, &error)),
        };
        let failed = |error| SendError::io(&path, &error);
        // Before the names are read, so that a name that comes or goes meanwhile is later than this.
        let own = directory.stat_self().map_err(failed)?;
        self.newest = self.newest.max(changed(&own));
        let owed = if selected { None } else { Some(own) };
        let mut children = Vec::new();
        for name in directory.names().map_err(failed)? {
            let path = join(&path, &name.bytes);
            if !self.always_excluded.contains(&path) {
                children.extend(self.child(&directory, name.bytes, &path, name.kind, inherited)?);
            }
        }
        self.stack.push(Frame { path, children: children.into_iter(), owed });
        Ok(())
    }

    /// Decides on one name of a directory; `None` for what is neither sent nor looked into.
    fn child(
        &mut self,
        directory: &Directory,
        name: Box<[u8]>,
        path: &[u8],
        kind: FileType,
        inherited: &Inherited,
    ) -> Result<Option<Child>, SendError> {
        let stat = || match directory.stat(&name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(SendError::io(path, &error)),
        };
        let mut known = None;
        let mut is_directory = kind == FileType::Directory;
        if kind == FileType::Unknown {
            known = stat()?;
            let Some(stat) = &known else { return Ok(None) };
            is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        }
        let text = matchable(path);
        let mut decision = self.filter.decide(&text, is_directory, inherited);
        if !decision.selected {
            let child = Child { name, stat: None, target: Vec::new(), descend: Some(decision.inherited) };
            return Ok(decision.descend.then_some(child));
        }
        let Some(stat) = (if known.is_some() { known } else { stat()? }) else { return Ok(None) };
        let kind = match Kind::of(&stat) {
            Ok(kind) => kind,
            Err(other) => {
                self.left_out.add(path, other);
                return Ok(None);
            }
        };
        if (kind == Kind::Directory) != is_directory {
            // Swapped between two looks at it.
            decision = self.filter.decide(&text, kind == Kind::Directory, inherited);
        }
        let target = match kind {
            Kind::Symlink => match directory.link(&name) {
                Ok(target) => target,
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => return Err(SendError::io(path, &error)),
            },
            Kind::Directory | Kind::File => Vec::new(),
        };
        let descend = decision.descend.then_some(decision.inherited);
        Ok(Some(Child { name, stat: Some(stat), target, descend }))
    }

    /// Sends the directories above that were not selected themselves but hold what is, outermost first, once each.
    fn send_owed(&mut self) -> Result<(), SendError> {
        for index in 0..self.stack.len() {
            let frame = &mut self.stack[index];
            if let Some(stat) = frame.owed.take() {
                let path = frame.path.clone();
                let entry = self.entry(&path, &stat, &[])?;
                self.ready.push_back(entry);
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &[u8], stat: &Stat, target: &[u8]) -> Result<Entry, SendError> {
        let text = |bytes: &[u8], what: &str| match str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(SendError::refused(path, what)),
        };
        let kind = Kind::of(stat).map_err(|other| SendError::refused(path, &format!("it became a {other}")))?;
        let path_text = text(path, "its name is not UTF-8, and the builder takes no other")?;
        let mut link = text(target, "the target of this symbolic link is not UTF-8, and the builder takes no other")?;
        if kind == Kind::File && stat.st_nlink > 1 {
            let first = self.links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path_text.clone());
            if *first != path_text {
                link.clone_from(first);
            }
        }
        let size = if kind == Kind::Directory { 0 } else { stat.st_size };
        let identity = Identity { device: stat.st_dev, inode: stat.st_ino, changed: changed(stat) };
        // What lies elsewhere is named by its content: when it was written says nothing about what it was before.
        if !self.tree.is_overlaid(path) {
            self.newest = self.newest.max(identity.changed);
        }
        let mode = go_mode(kind, stat.st_mode);
        Ok(Entry { path: path_text, mode, size, modified: modified(stat), link, identity })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, SendError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.ended && self.stack.is_empty() && self.ready.is_empty() {
            self.ended = true;
            // The root counts as selected: if it cannot be read, there is nothing to send.
            if let Err(error) = self.enter(Vec::new(), true, &Inherited::default()) {
                return Some(Err(error));
            }
        }
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.stack.clear();
                    self.ready.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl LeftOut {
    fn add(&mut self, path: &[u8], kind: &str) {
        self.count += 1;
        if self.examples.len() < MOST_EXAMPLES {
            self.examples.push(format!("`{}` ({kind})", printable(path)));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
