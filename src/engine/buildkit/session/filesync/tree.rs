use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::overlay::Overlay;
use crate::base::Printable;
use crate::engine::RenderedFile;

/// Tried again when the kernel saw a rename beneath the root while it resolved a path.
const RESOLVE_ATTEMPTS: usize = 8;

/// A directory of this machine that is read, and nothing outside of it.
///
/// Paths are bytes relative to the root, clean, the root itself empty. No symbolic link is ever followed, whatever is
/// swapped for one in the meantime: what a link points to is the builder's business.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    overlay: Overlay,
}

/// One name in a directory.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) bytes: Box<[u8]>,
    /// As the directory has it; unknown on some file systems.
    pub(super) kind: FileType,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    found: Dir,
    /// Files that lie elsewhere, by their names here.
    overlay: BTreeMap<Box<[u8]>, PathBuf>,
}

impl Tree {
    /// Opens the root, which may itself be reached through symbolic links.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::openat(CWD, directory, flags, Mode::empty())?, overlay: Overlay::default() })
    }

    /// The same tree with files in it that lie elsewhere. `directory` is what it was opened as.
    pub(super) fn with_rendered(self, directory: &Path, rendered: &[RenderedFile]) -> io::Result<Self> {
        Ok(Self { overlay: Overlay::new(directory, rendered)?, ..self })
    }

    /// Whether the file at a path lies elsewhere.
    pub(super) fn is_overlaid(&self, path: &[u8]) -> bool {
        self.overlay.file(path).is_some()
    }

    /// Opens a directory to list it.
    pub(super) fn directory(&self, path: &[u8]) -> io::Result<Directory> {
        let opened = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Directory { found: Dir::new(opened)?, overlay: self.overlay.directory(path).clone() })
    }

    /// Opens a file to read it. Opening a pipe that took its place does not wait for a writer.
    pub(super) fn file(&self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        match self.overlay.file(path) {
            Some(file) => {
                let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(rustix::fs::openat(CWD, file, flags, Mode::empty())?.into())
            }
            None => Ok(self.open_beneath(path, flags)?.into()),
        }
    }

    /// What stands at a path; the link itself for a symbolic link.
    pub(super) fn stat(&self, path: &[u8]) -> io::Result<Stat> {
        if let Some(file) = self.overlay.file(path) {
            return Ok(rustix::fs::statat(CWD, file, AtFlags::SYMLINK_NOFOLLOW)?);
        }
        let opened = self.open_beneath(path, OFlags::PATH)?;
        Ok(rustix::fs::fstat(&opened)?)
    }

    /// The target of a symbolic link.
    pub(super) fn link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let opened = self.open_beneath(path, OFlags::PATH)?;
        Ok(rustix::fs::readlinkat(&opened, c"", Vec::new())?.into_bytes())
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if path.is_empty() {
            return rustix::fs::openat(&self.root, c".", flags, Mode::empty());
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        for _ in 0..RESOLVE_ATTEMPTS {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                // An old kernel, a sandbox that does not know the call, or a path that is too long for one.
                Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => return self.open_step_by_step(path, flags),
                result => return result,
            }
        }
        self.open_step_by_step(path, flags)
    }

    fn open_step_by_step(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mut held: Option<OwnedFd> = None;
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            if part.is_empty() || part == b".." {
                return Err(Errno::INVAL);
            }
            let flags = match parts.peek() {
                Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                None => flags,
            };
            let base = held.as_ref().map_or_else(|| self.root.as_fd(), AsFd::as_fd);
            held = Some(rustix::fs::openat(base, part, flags, Mode::empty())?);
        }
        held.ok_or(Errno::INVAL)
    }
}

impl Directory {
    /// All names but `.` and `..`, sorted by their bytes.
    pub(super) fn names(&mut self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for name in self.overlay.keys() {
            names.push(Name { bytes: name.clone(), kind: FileType::RegularFile });
        }
        while let Some(entry) = self.found.read() {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if bytes != b"." && bytes != b".." && !self.overlay.contains_key(bytes) {
                names.push(Name { bytes: bytes.into(), kind: entry.file_type() });
            }
        }
        names.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
        Ok(names)
    }

    /// What stands under a name of this directory; the link itself for a symbolic link.
    pub(super) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        if let Some(file) = self.overlay.get(name) {
            return Ok(rustix::fs::statat(CWD, file, AtFlags::SYMLINK_NOFOLLOW)?);
        }
        Ok(rustix::fs::statat(self.found.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The directory itself.
    pub(super) fn stat_self(&self) -> io::Result<Stat> {
        Ok(self.found.stat()?)
    }

    /// The target of a symbolic link of this directory.
    pub(super) fn link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(self.found.fd()?, name, Vec::new())?.into_bytes())
    }
}

/// `name` in `directory`.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}

/// A path for people: control characters and bytes that are no UTF-8 made visible.
pub(super) fn printable(path: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in path.utf8_chunks() {
        shown.push_str(&Printable(chunk.valid()).to_string());
        shown.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    shown
}

/// A path for patterns: each byte that is no UTF-8 counts as one character, as in Go.
pub(super) fn matchable(path: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(path) {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// Whether an error says that what was there is not there any more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Whether an error says that something else stands there now, or on the way there.
pub(super) fn is_swapped(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::NOTDIR | Errno::NXIO))
}

/// Whether an error says that we may not look.
pub(super) fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
