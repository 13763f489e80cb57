use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::base::Printable;

/// Tried again when the kernel saw a rename beneath the root while it resolved a path.
const RESOLVE_ATTEMPTS: usize = 8;

/// A directory of this machine that is read, and nothing outside of it.
///
/// Paths are bytes relative to the root, clean, the root itself empty. No symbolic link is ever followed, whatever is
/// swapped for one in the meantime: what a link points to is the builder's business.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
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
pub(super) struct Directory(Dir);

impl Tree {
    /// Opens the root, which may itself be reached through symbolic links.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::openat(CWD, directory, flags, Mode::empty())? })
    }

    /// Opens a directory to list it.
    pub(super) fn directory(&self, path: &[u8]) -> io::Result<Directory> {
        let opened = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Directory(Dir::new(opened)?))
    }

    /// Opens a file to read it. Opening a pipe that took its place does not wait for a writer.
    pub(super) fn file(&self, path: &[u8]) -> io::Result<File> {
        Ok(self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?.into())
    }

    /// What stands at a path; the link itself for a symbolic link.
    pub(super) fn stat(&self, path: &[u8]) -> io::Result<Stat> {
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
        while let Some(entry) = self.0.read() {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if bytes != b"." && bytes != b".." {
                names.push(Name { bytes: bytes.into(), kind: entry.file_type() });
            }
        }
        names.sort_unstable_by(|a, b| a.bytes.cmp(&b.bytes));
        Ok(names)
    }

    /// What stands under a name of this directory; the link itself for a symbolic link.
    pub(super) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(rustix::fs::statat(self.0.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The directory itself.
    pub(super) fn stat_self(&self) -> io::Result<Stat> {
        Ok(self.0.stat()?)
    }

    /// The target of a symbolic link of this directory.
    pub(super) fn link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(self.0.fd()?, name, Vec::new())?.into_bytes())
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
