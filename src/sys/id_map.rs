use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SysError;

/// Longest `/etc/passwd`, `/etc/subuid` or `/etc/subgid` that is read.
const FILE_LIMIT: u64 = 16 << 20;

/// Most ranges that are handed to the kernel; `user_namespaces(7)` allows 340 lines in a map.
const RANGE_LIMIT: usize = 300;

/// The user that this process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Login name, where `/etc/passwd` knows it.
    pub name: Option<String>,
}

impl User {
    /// Asks the kernel and `/etc/passwd`.
    pub fn current() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let name = read_bounded(Path::new("/etc/passwd")).ok().and_then(|text| name_of(&text, uid));
        Self { uid, gid, name }
    }

    /// Whether it is the machine's (or this container's) administrator.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// How people know it: the name, else the number.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// Why a user has no ids beside its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoRanges {
    /// The file has no line for the user.
    #[error("`{}` has no range for the user `{user}`", file.display())]
    NoEntry {
        /// `/etc/subuid` or `/etc/subgid`
        file: PathBuf,
        /// The user.
        user: String,
    },
    /// One of the tools that may write such maps is missing.
    #[error("`{tool}` is not installed")]
    NoTool {
        /// `newuidmap` or `newgidmap`
        tool: &'static str,
    },
}

/// A run of consecutive ids: `inside..inside + count` are `outside..` of the parent namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Which ids exist in a user namespace, and how they get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    uids: Vec<Range>,
    gids: Vec<Range>,
    /// newuidmap, newgidmap; without them only the user's own id can be mapped.
    tools: Option<(PathBuf, PathBuf)>,
}

impl IdMap {
    /// Root inside is `user` outside; every other id comes from the user's ranges in `/etc/subuid` and `/etc/subgid`.
    /// `search` holds the folders in which `newuidmap` and `newgidmap` may be.
    pub fn with_ranges(user: &User, search: &[PathBuf]) -> Result<Self, NoRanges> {
        let tool = |name: &'static str| {
            search
                .iter()
                .map(|folder| folder.join(name))
                .find(|path| path.is_file())
                .ok_or(NoRanges::NoTool { tool: name })
        };
        let ranges = |file: &'static str, own: u32| {
            // An absent or unreadable file grants nothing, just as an empty one does.
            let text = read_bounded(Path::new(file)).unwrap_or_default();
            ranges_of(&text, user, own)
                .ok_or_else(|| NoRanges::NoEntry { file: PathBuf::from(file), user: user.label() })
        };
        let uids = ranges("/etc/subuid", user.uid)?;
        let gids = ranges("/etc/subgid", user.gid)?;
        Ok(Self { uids, gids, tools: Some((tool("newuidmap")?, tool("newgidmap")?)) })
    }

    /// Root inside is `user` outside, and there is nobody else: files of other owners cannot be made.
    pub fn single(user: &User) -> Self {
        let own = |id| vec![Range { inside: 0, outside: id, count: 1 }];
        Self { uids: own(user.uid), gids: own(user.gid), tools: None }
    }

    /// Whether ids beside the user's own exist.
    pub fn has_ranges(&self) -> bool {
        self.tools.is_some()
    }

    /// Writes the maps of process `pid`, which has just made its user namespace. Once only, from the parent namespace.
    pub(super) fn apply(&self, pid: u32) -> Result<(), SysError> {
        if let Some((newuidmap, newgidmap)) = &self.tools {
            run_tool(newuidmap, pid, &self.uids)?;
            return run_tool(newgidmap, pid, &self.gids);
        }
        // user_namespaces(7): without privilege a gid map can only be written after setgroups(2) was given up for good.
        write_proc(pid, "setgroups", "deny")?;
        write_proc(pid, "uid_map", &lines(&self.uids))?;
        write_proc(pid, "gid_map", &lines(&self.gids))
    }
}

fn lines(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
        text
    })
}

fn write_proc(pid: u32, file: &str, text: &str) -> Result<(), SysError> {
    let path = format!("/proc/{pid}/{file}");
    fs::write(&path, text).map_err(|error| SysError::IdMap { reason: format!("cannot write `{path}`: {error}") })
}

fn run_tool(tool: &Path, pid: u32, ranges: &[Range]) -> Result<(), SysError> {
    let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    let output = Command::new(tool)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|source| SysError::Run { program: tool.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words =
        words.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word").trim().to_owned();
    let name = tool.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The tools mostly name themselves.
    Err(SysError::IdMap { reason: if words.starts_with(&name) { words } else { format!("{name}: {words}") } })
}

fn read_bounded(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// passwd(5): `name:password:uid:…`
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    })
}

/// subuid(5): `NAME-OR-UID:first:count`, several lines per user allowed. Both files name the *user*, also the one for groups.
/// Nothing if there is no usable line.
fn ranges_of(text: &str, user: &User, own: u32) -> Option<Vec<Range>> {
    let number = user.uid.to_string();
    let mut ranges = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut next: u32 = 1;
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(owner), Some(first), Some(count), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let ours = owner == number || user.name.as_deref() == Some(owner);
        let (Ok(first), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) else { continue };
        // A map must not leave the id space; 2^32 - 1 is the id that means "none".
        let end = next.checked_add(count);
        if !ours || count == 0 || first.checked_add(count).is_none() || ranges.len() > RANGE_LIMIT {
            continue;
        }
        let Some(end) = end else { continue };
        ranges.push(Range { inside: next, outside: first, count });
        next = end;
    }
    (ranges.len() > 1).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User { uid: 1001, gid: 1002, name: Some("ann".to_owned()) }
    }

    #[test]
    fn ranges_by_name_and_number_follow_each_other() {
        let text = "bob:1:9\nann:100000:65536\n# ann:5:5\nann:oops:3\n1001:500000:10\nann:7:0\n";
        let ranges = ranges_of(text, &user(), 1001).expect("two lines are ours");
        assert_eq!(lines(&ranges), "0 1001 1\n1 100000 65536\n65537 500000 10\n");
    }

    #[test]
    fn a_range_that_leaves_the_id_space_is_left_out() {
        assert_eq!(ranges_of("ann:4294967290:100\n", &user(), 1), None);
        assert_eq!(ranges_of("bob:100000:65536\n", &user(), 1), None);
        assert_eq!(ranges_of("", &user(), 1), None);
    }

    #[test]
    fn a_name_comes_from_its_own_line() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nann:x:1001:1002::/:/bin/sh\n";
        assert_eq!(name_of(passwd, 1001).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 5), None);
    }

    #[test]
    fn a_single_id_is_the_users_own() {
        let map = IdMap::single(&user());
        assert!(!map.has_ranges());
        assert_eq!((lines(&map.uids), lines(&map.gids)), ("0 1001 1\n".to_owned(), "0 1002 1\n".to_owned()));
    }

    #[test]
    fn a_missing_tool_is_named() {
        let error = IdMap::with_ranges(&User { uid: 77_777, gid: 1, name: None }, &[]).expect_err("no such user");
        assert_eq!(error.to_string(), "`/etc/subuid` has no range for the user `77777`");
    }
}
