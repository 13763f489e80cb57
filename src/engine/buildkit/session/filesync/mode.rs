use rustix::fs::{FileType, Stat};

/// Bits of Go's `os.FileMode`, which travel where one would expect `st_mode` (fsutil `types/stat.proto`).
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const STICKY: u32 = 1 << 20;

/// The bits that make something else than a regular file: only without them may content be asked for.
pub(super) const NOT_REGULAR: u32 = 0x8f28_0000;

/// What can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
}

impl Kind {
    /// The kind of what a `stat` describes; what it is instead, in words, if a builder cannot hold it.
    pub(super) fn of(stat: &Stat) -> Result<Self, &'static str> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Self::Directory),
            FileType::RegularFile => Ok(Self::File),
            FileType::Symlink => Ok(Self::Symlink),
            FileType::Socket => Err("socket"),
            FileType::Fifo => Err("named pipe"),
            FileType::BlockDevice | FileType::CharacterDevice => Err("device"),
            FileType::Unknown => Err("thing of unknown kind"),
        }
    }
}

/// Kind and permissions as Go has them.
pub(super) fn go_mode(kind: Kind, st_mode: u32) -> u32 {
    let mut mode = st_mode & 0o777;
    for (unix, go) in [(0o4000, SET_UID), (0o2000, SET_GID), (0o1000, STICKY)] {
        if st_mode & unix != 0 {
            mode |= go;
        }
    }
    mode | match kind {
        Kind::Directory => DIRECTORY,
        Kind::File => 0,
        Kind::Symlink => SYMLINK,
    }
}

/// Time of the last change in nanoseconds since 1970, at the ends of the range if it does not fit.
#[expect(clippy::useless_conversion, reason = "the types differ between architectures")]
pub(super) fn modified(stat: &Stat) -> i64 {
    let seconds: i64 = stat.st_mtime.into();
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Time of the last change of anything about it (`st_ctime`), likewise.
///
/// A file system that keeps whole seconds rounds down: what it calls this second may be as late as the end of it.
#[expect(clippy::useless_conversion, reason = "the types differ between architectures")]
pub(super) fn changed(stat: &Stat) -> i64 {
    let seconds: i64 = stat.st_ctime.into();
    let nanoseconds = i64::try_from(stat.st_ctime_nsec).unwrap_or(0);
    let nanoseconds = if nanoseconds == 0 { 999_999_999 } else { nanoseconds };
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_go() {
        for (kind, unix, go) in [
            (Kind::File, 0o100_644, 0o644),
            (Kind::File, 0o104_755, 0o755 | 0x0080_0000),
            (Kind::File, 0o102_755, 0o755 | 0x0040_0000),
            (Kind::File, 0o107_000, 0x00d0_0000),
            (Kind::Directory, 0o040_755, 0o755 | 0x8000_0000),
            (Kind::Directory, 0o041_777, 0o777 | 0x8010_0000),
            (Kind::Symlink, 0o120_777, 0o777 | 0x0800_0000),
        ] {
            assert_eq!(go_mode(kind, unix), go, "{kind:?} {unix:o}");
            assert_eq!(go & NOT_REGULAR == 0, kind == Kind::File);
        }
    }
}
