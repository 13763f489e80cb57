use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{CWD, Mode};
use rustix::thread::CapabilitySet;
use tempfile::TempDir;

use super::super::filter::Selection;
use super::*;
use crate::dockerfile::ignore::{MatchState, PatternMatcher};

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn excluding(patterns: &[&str]) -> Selection {
    Selection { exclude: strings(patterns), ..Selection::default() }
}

fn including(patterns: &[&str]) -> Selection {
    Selection { include: strings(patterns), ..Selection::default() }
}

fn following(paths: &[&str]) -> Selection {
    Selection { follow: Some(strings(paths)), ..Selection::default() }
}

/// A directory with these files in it; a trailing `/` makes a directory, `a -> b` a link, `a = b` a hard link to `b`.
fn tree(names: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in names {
        let (path, rest) = name.split_once([' ', '/']).map_or((*name, ""), |_| (*name, *name));
        let at = |path: &str| root.path().join(path);
        if let Some((link, target)) = rest.split_once(" -> ") {
            fs::create_dir_all(at(link).parent().unwrap()).unwrap();
            symlink(target, at(link)).unwrap();
        } else if let Some((link, first)) = rest.split_once(" = ") {
            fs::create_dir_all(at(link).parent().unwrap()).unwrap();
            fs::hard_link(at(first), at(link)).unwrap();
        } else if path.ends_with('/') {
            fs::create_dir_all(at(path)).unwrap();
        } else {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), path).unwrap();
        }
    }
    root
}

struct Walked {
    entries: Vec<Entry>,
    left_out: LeftOut,
}

impl Walked {
    fn paths(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| &*entry.path).collect()
    }

    fn link(&self, path: &str) -> &str {
        &self.entries.iter().find(|entry| entry.path == path).unwrap().link
    }
}

fn walk_without(root: &Path, selection: &Selection, always_excluded: &[&str]) -> Result<Walked, SendError> {
    let tree = Tree::open(root).unwrap();
    let filter = Filter::new("context", selection, &tree)?;
    let always_excluded: Vec<Vec<u8>> = always_excluded.iter().map(|path| path.as_bytes().to_vec()).collect();
    let mut walk = Walk::new(&tree, &filter, &always_excluded, &|| false);
    let entries = walk.by_ref().collect::<Result<_, _>>()?;
    Ok(Walked { entries, left_out: walk.left_out().clone() })
}

fn walk(root: &Path, selection: &Selection) -> Walked {
    walk_without(root, selection, &[]).unwrap()
}

/// The order of fsutil's `validator.go`: by bytes, `/` before all others.
fn compare(a: &str, b: &str) -> Ordering {
    let key =
        |path: &str| path.bytes().map(|byte| if byte == b'/' { 0 } else { u16::from(byte) + 1 }).collect::<Vec<_>>();
    key(a).cmp(&key(b))
}

/// What the daemon checks of every entry, or it breaks off.
fn assert_valid(entries: &[Entry]) {
    let mut directories = vec![String::new()];
    for pair in entries.windows(2) {
        assert_eq!(compare(&pair[0].path, &pair[1].path), Ordering::Less, "{:?}", pair.iter().map(|e| &e.path));
    }
    let mut files = Vec::new();
    for entry in entries {
        let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        assert!(directories.iter().any(|directory| directory == parent), "{} without its directory", entry.path);
        if entry.mode >> 31 == 1 {
            directories.push(entry.path.clone());
        } else if entry.mode & (1 << 27) == 0 {
            assert!(entry.link.is_empty() || files.contains(&entry.link), "{} before {}", entry.path, entry.link);
            files.push(entry.path.clone());
        }
    }
}

#[test]
fn a_directory_comes_right_before_what_is_in_it() {
    let root = tree(&["a/x", "a-b", "a.b", "a/y/z", "a b", "b/", "ä", "A"]);
    let walked = walk(root.path(), &Selection::default());
    assert_eq!(walked.paths(), ["A", "a", "a/x", "a/y", "a/y/z", "a b", "a-b", "a.b", "b", "ä"]);
    assert_valid(&walked.entries);
}

#[test]
fn entries_tell_what_the_files_are() {
    let root = tree(&[
        "f",
        "set",
        "d/",
        "sticky/",
        "dangling -> no/where",
        "absolute -> /etc/passwd",
        "loop -> loop",
        "up -> ../../x",
    ]);
    let chmod = |name: &str, mode| fs::set_permissions(root.path().join(name), Permissions::from_mode(mode)).unwrap();
    chmod("f", 0o640);
    chmod("set", 0o6755);
    chmod("d", 0o700);
    chmod("sticky", 0o1777);
    let time = rustix::fs::Timespec { tv_sec: -5, tv_nsec: 7 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, root.path().join("f"), &times, rustix::fs::AtFlags::empty()).unwrap();
    let walked = walk(root.path(), &Selection::default());
    let told: Vec<_> =
        walked.entries.iter().map(|entry| (&*entry.path, entry.mode, entry.size, &*entry.link)).collect();
    assert_eq!(
        told,
        [
            ("absolute", 0x0800_01ff, 11, "/etc/passwd"),
            ("d", 0x8000_01c0, 0, ""),
            ("dangling", 0x0800_01ff, 8, "no/where"),
            ("f", 0o640, 1, ""),
            ("loop", 0x0800_01ff, 4, "loop"),
            ("set", 0x00c0_01ed, 3, ""),
            ("sticky", 0x8010_01ff, 0, ""),
            ("up", 0x0800_01ff, 7, "../../x"),
        ]
    );
    assert_eq!(walked.entries[3].modified, -4_999_999_993);
}

#[test]
fn the_first_hard_link_that_is_sent_is_the_file() {
    let root = tree(&["a/one", "b/two = a/one", "c = a/one", "d", "soft -> a/one"]);
    fs::hard_link(root.path().join("soft"), root.path().join("soft2")).unwrap();
    let all = walk(root.path(), &Selection::default());
    assert_eq!([all.link("a/one"), all.link("b/two"), all.link("c"), all.link("d")], ["", "a/one", "a/one", ""]);
    assert_eq!([all.link("soft"), all.link("soft2")], ["a/one", "a/one"], "targets, not names");
    assert!(all.entries.iter().filter(|entry| entry.mode >> 20 == 0).all(|entry| entry.size > 0), "real sizes");
    let some = walk(root.path(), &excluding(&["a"]));
    assert_eq!([some.link("b/two"), some.link("c")], ["", "b/two"]);
    assert_valid(&all.entries);
    assert_valid(&some.entries);
}

#[test]
fn exclusions_and_exceptions() {
    let root = tree(&["a/b/c", "a/b/d", "a/e", "f.rs", "g/h.rs", "g/i", "j/", "k/l/"]);
    let check = |selection: &Selection, wanted: &[&str]| {
        let walked = walk(root.path(), selection);
        assert_eq!(walked.paths(), wanted, "{selection:?}");
        assert_valid(&walked.entries);
    };
    check(&excluding(&["a", "!a/b/c"]), &["a", "a/b", "a/b/c", "f.rs", "g", "g/h.rs", "g/i", "j", "k", "k/l"]);
    check(&excluding(&["**", "!**/*.rs"]), &["f.rs", "g", "g/h.rs"]);
    check(&excluding(&["*", "!g"]), &["g", "g/h.rs", "g/i"]);
    check(&excluding(&["*", "!a/b/*", "a/b/d"]), &["a", "a/b", "a/b/c"]);
    check(&excluding(&["k/**", "g", "a"]), &["f.rs", "j", "k"]);
    check(&including(&["a/b/c", "j"]), &["a", "a/b", "a/b/c", "j"]);
    check(&including(&["**/i"]), &["g", "g/i"]);
    check(&Selection { include: strings(&["a"]), exclude: strings(&["**/b"]), follow: None }, &["a", "a/e"]);
    check(
        &Selection { include: strings(&["a/*", "f.rs"]), exclude: strings(&["a/b", "!a/b/d"]), follow: None },
        &["a", "a/b", "a/b/d", "a/e", "f.rs"],
    );
    check(&following(&["nothing", "x/y"]), &[]);
    check(&following(&["."]), &["a", "a/b", "a/b/c", "a/b/d", "a/e", "f.rs", "g", "g/h.rs", "g/i", "j", "k", "k/l"]);
}

#[test]
fn the_state_directory_is_never_sent() {
    let root = tree(&[".catamaran/layout/blob", "x/.catamaran/y", "link -> .catamaran/layout", "a"]);
    for selection in [
        Selection::default(),
        excluding(&["**", "!**"]),
        excluding(&["!.catamaran"]),
        including(&[".catamaran/layout", "a", "x", "link"]),
        following(&["link/blob", "a", "x", ".catamaran/layout/blob", "link"]),
    ] {
        let walked = walk_without(root.path(), &selection, &[".catamaran"]).unwrap();
        assert_eq!(walked.paths(), ["a", "link", "x", "x/.catamaran", "x/.catamaran/y"], "{selection:?}");
    }
}

#[test]
fn sockets_and_pipes_are_left_out_and_named() {
    let root = tree(&["a/f", "b/"]);
    let _socket = UnixListener::bind(root.path().join("a/s")).unwrap();
    rustix::fs::mkfifoat(CWD, root.path().join("b/p"), Mode::RWXU).unwrap();
    let walked = walk(root.path(), &Selection::default());
    assert_eq!(walked.paths(), ["a", "a/f", "b"]);
    assert_eq!(walked.left_out.examples, ["`a/s` (socket)", "`b/p` (named pipe)"]);
    let hidden = walk(root.path(), &excluding(&["**/s", "b"]));
    assert_eq!(hidden.left_out, LeftOut::default(), "what is not selected is no news");
    for number in 0..20 {
        rustix::fs::mkfifoat(CWD, root.path().join(format!("b/p{number}")), Mode::RWXU).unwrap();
    }
    let many = walk(root.path(), &Selection::default()).left_out;
    assert_eq!((many.count, many.examples.len()), (22, 5));
}

#[test]
fn a_selected_name_must_be_utf8() {
    let root = tree(&["a/f", "ok"]);
    fs::write(root.path().join("a").join(OsStr::from_bytes(b"bad\xff\x1bname")), "").unwrap();
    let refused =
        |selection: &Selection| walk_without(root.path(), selection, &[]).err().unwrap().to_failure().unwrap();
    let failure = refused(&Selection::default());
    assert_eq!(failure.path, r"a/bad\xff\u{1b}name");
    assert!(failure.reason.contains("UTF-8") && !failure.disk);
    assert_eq!(walk(root.path(), &excluding(&["a/bad??name"])).paths(), ["a", "a/f", "ok"]);
    assert_eq!(walk(root.path(), &following(&["ok"])).paths(), ["ok"]);

    fs::remove_dir_all(root.path().join("a")).unwrap();
    let directory = root.path().join(OsStr::from_bytes(b"d\xfe"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("x"), "").unwrap();
    assert_eq!(walk(root.path(), &excluding(&["d?"])).paths(), ["ok"]);
    assert_eq!(refused(&excluding(&["d?", "!**/x"])).path, r"d\xfe", "a parent that has to be sent after all");
    fs::remove_dir_all(&directory).unwrap();
    symlink(OsStr::from_bytes(b"t\xff"), root.path().join("link")).unwrap();
    assert_eq!(refused(&Selection::default()).path, "link");
}

#[test]
fn what_vanishes_is_left_out_one_by_one() {
    let root = tree(&["a", "b/c", "d/e", "f"]);
    let tree = Tree::open(root.path()).unwrap();
    let filter = Filter::new("context", &Selection::default(), &tree).unwrap();
    let mut walk = Walk::new(&tree, &filter, &[], &|| false);
    assert_eq!(walk.next().unwrap().unwrap().path, "a");
    fs::remove_dir_all(root.path().join("b")).unwrap();
    fs::remove_file(root.path().join("d/e")).unwrap();
    let rest: Vec<String> = walk.map(|entry| entry.unwrap().path).collect();
    assert_eq!(rest, ["b", "d", "f"]);
}

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let outside = tree(&["secret"]);
    let root = tree(&["a", "b/c", "f"]);
    let tree = Tree::open(root.path()).unwrap();
    let filter = Filter::new("context", &Selection::default(), &tree).unwrap();
    let mut walk = Walk::new(&tree, &filter, &[], &|| false);
    assert_eq!(walk.next().unwrap().unwrap().path, "a");
    fs::remove_dir_all(root.path().join("b")).unwrap();
    symlink(outside.path(), root.path().join("b")).unwrap();
    let failure = walk.next().unwrap().unwrap_err().to_failure().unwrap();
    assert_eq!((&*failure.path, &*failure.reason), ("b", "it changed while it was being sent"));
    assert!(walk.next().is_none());
    for path in ["b/secret", "../x", "b/..", "/etc/passwd"] {
        assert!(tree.file(path.as_bytes()).is_err(), "{path} must not be opened");
    }
}

#[test]
fn a_walk_that_nobody_wants_ends() {
    let root = tree(&["a/b"]);
    let tree = Tree::open(root.path()).unwrap();
    let filter = Filter::new("context", &Selection::default(), &tree).unwrap();
    let result: Result<Vec<Entry>, SendError> = Walk::new(&tree, &filter, &[], &|| true).collect();
    assert!(matches!(result, Err(SendError::GivenUp)));
}

/// Deeper than a path of the kernel can be long, and than files can be open.
#[test]
fn depth_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let name = "d".repeat(200);
    let mut held = rustix::fs::openat(CWD, root.path(), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..40 {
        rustix::fs::mkdirat(&held, &name, Mode::RWXU).unwrap();
        held = rustix::fs::openat(&held, &name, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    rustix::fs::symlinkat("x", &held, "end").unwrap();
    let walked = walk(root.path(), &Selection::default());
    assert_eq!(walked.entries.len(), 41);
    assert_eq!(walked.entries[40].path.len(), 40 * 201 + 3);
    assert_eq!(walked.entries[40].link, "x");
}

/// Runs without the right of root to read everything.
pub(in super::super) fn as_nobody_special<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let mut sets = rustix::thread::capabilities(None).unwrap();
                sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
                rustix::thread::set_capabilities(None, sets).unwrap();
                run()
            })
            .join()
            .unwrap()
    })
}

#[test]
fn what_may_not_be_read_matters_only_where_it_is_selected() {
    let root = tree(&["a/f", "locked/g", "z"]);
    let locked = root.path().join("locked");
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    as_nobody_special(|| {
        let failure = walk_without(root.path(), &Selection::default(), &[]).err().unwrap().to_failure().unwrap();
        assert_eq!((&*failure.path, failure.disk), ("locked", true));
        assert!(failure.reason.contains("denied"), "{}", failure.reason);
        for selection in [excluding(&["locked"]), excluding(&["locked", "!**/x"]), including(&["**/f", "z"])] {
            let paths = walk(root.path(), &selection);
            assert!(paths.paths().contains(&"z"), "{selection:?}");
        }
    });
    fs::set_permissions(&locked, Permissions::from_mode(0o700)).unwrap();
}

/// Without pruning and without laziness: every path there is, judged by the patterns alone.
fn model(root: &Path, selection: &Selection) -> Vec<String> {
    type State<'a> = (Option<&'a PatternMatcher>, MatchState);
    fn visit(root: &Path, path: &str, include: &State<'_>, exclude: &State<'_>, found: &mut Vec<String>) {
        for entry in fs::read_dir(root.join(path)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let judge = |state: &State<'_>| {
                state.0.map_or((None, MatchState::default()), |matcher| {
                    let (matched, state) = matcher.matches_with_parent(&path, &state.1);
                    (Some(matched), state)
                })
            };
            let (included, include_state) = judge(include);
            let (excluded, exclude_state) = judge(exclude);
            if included.unwrap_or(true) && !excluded.unwrap_or(false) {
                let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
                found.extend(ends.map(|end| path[..end].to_owned()));
            }
            if entry.file_type().unwrap().is_dir() {
                visit(root, &path, &(include.0, include_state), &(exclude.0, exclude_state), found);
            }
        }
    }
    let matcher = |patterns: &[String]| (!patterns.is_empty()).then(|| PatternMatcher::new(patterns).unwrap());
    let (include, exclude) = (matcher(&selection.include), matcher(&selection.exclude));
    let mut found = Vec::new();
    visit(root, "", &(include.as_ref(), MatchState::default()), &(exclude.as_ref(), MatchState::default()), &mut found);
    found.sort_by(|a, b| compare(a, b));
    found.dedup();
    found
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![4 => "[ab.-]", 1 => Just("*".to_owned()), 1 => Just("**".to_owned()), 1 => "[ab]\\*"];
    (any::<bool>(), prop::collection::vec(part, 1..4))
        .prop_map(|(exception, parts)| format!("{}{}", if exception { "!" } else { "" }, parts.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn walks_like_the_slow_way(
        files in prop::collection::vec(prop::collection::vec("[ab.ä!~ -]{1,2}", 1..5), 1..25),
        include in prop::collection::vec(pattern(), 0..4),
        exclude in prop::collection::vec(pattern(), 0..5),
    ) {
        let root = tempfile::tempdir().unwrap();
        for parts in &files {
            let path = root.path().join(parts.iter().map(|part| part.replace('.', "_.")).collect::<Vec<_>>().join("/"));
            // Another file may be where a directory should be.
            if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.is_dir() {
                fs::write(path, "").unwrap();
            }
        }
        let selection = Selection { include, exclude, follow: None };
        let walked = walk(root.path(), &selection);
        assert_valid(&walked.entries);
        prop_assert_eq!(walked.paths(), model(root.path(), &selection), "{:?}", selection);
    }
}
