//! Holds the floor plan of `ARCHITECTURE.md`: which room may import which, and what only some rooms may do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One row per room, in rank order: (room, rooms it may import). `ARCHITECTURE.md` has the same table with reasons.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("event", &["base"]),
    ("catalogue", &["base"]),
    ("sys", &["base"]),
    ("dockerfile", &["base"]),
    ("config", &["base", "dockerfile"]),
    ("plan", &["base", "dockerfile", "config"]),
    ("store", &["base"]),
    ("image", &["base", "store"]),
    ("engine", &["base", "event", "sys", "dockerfile", "store", "image"]),
    ("verify", &["base", "store", "image"]),
    ("registry", &["base", "event", "store", "image"]),
    ("bundle", &["base", "event", "store", "image"]),
    (
        "run",
        &[
            "base",
            "event",
            "sys",
            "dockerfile",
            "config",
            "plan",
            "store",
            "image",
            "engine",
            "verify",
            "registry",
            "bundle",
        ],
    ),
    ("report", &["base", "event", "catalogue", "plan", "verify", "run"]),
    (
        "cli",
        &[
            "base",
            "event",
            "catalogue",
            "sys",
            "dockerfile",
            "config",
            "plan",
            "store",
            "image",
            "engine",
            "verify",
            "registry",
            "bundle",
            "run",
            "report",
        ],
    ),
];

/// What only the named rooms may write: (text, rooms, why).
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("println!", &["cli", "report"], "only cli and report know that a terminal exists"),
    ("eprintln!", &["cli", "report"], "only cli and report know that a terminal exists"),
    ("std::env::var", &["cli"], "the environment is read once, in cli"),
    ("std::env::home", &["cli"], "the home directory is found once, in cli"),
    ("env::current_dir", &["cli"], "the working directory is asked once, in cli"),
    ("process::exit", &["cli"], "only the command line ends the process"),
    ("unsafe {", &["sys"], "unsafe code lives in sys"),
    ("unsafe fn", &["sys"], "unsafe code lives in sys"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).expect("a source folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The file without comments and without its inline test module, which may look where it likes.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Rooms with their files: `src/ROOM/**` and, for `lib.rs` and `main.rs`, no room at all.
fn files_by_room() -> BTreeMap<String, Vec<PathBuf>> {
    let source = root().join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut rooms: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(&source).expect("below src");
        if relative.components().count() > 1 {
            let room = relative.components().next().expect("a room").as_os_str().to_string_lossy().into_owned();
            // A test file of a room may look where it likes, like an inline test module.
            if relative.file_name().is_none_or(|name| name != "tests.rs") {
                rooms.entry(room).or_default().push(file);
            }
        }
    }
    rooms
}

/// Names of rooms that the code mentions as `crate::ROOM`, also inside `use crate::{…}`.
fn imported_rooms(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let mut depth = 1;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if c.is_ascii_lowercase() || c == '_' {
                    word.push(c);
                } else {
                    if c == ':' && depth == 1 && !word.is_empty() {
                        found.push(word.clone());
                    }
                    word.clear();
                }
            }
        } else {
            found.push(part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn every_room_has_a_row_here_and_in_the_floor_plan() {
    let plan = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rooms = files_by_room();
    for room in rooms.keys() {
        assert!(ROOMS.iter().any(|row| row.0 == room), "room `{room}` has no row in tests/architecture.rs");
    }
    for (room, imports) in ROOMS {
        assert!(rooms.contains_key(*room), "room `{room}` has a row but no files");
        let row = plan
            .lines()
            .find(|line| line.contains(&format!("| `{room}` |")))
            .unwrap_or_else(|| panic!("room `{room}` has no row in ARCHITECTURE.md"));
        let said = row.split('|').nth(4).unwrap_or_default().trim();
        let listed: Vec<&str> =
            said.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "-").collect();
        assert_eq!(listed, *imports, "ARCHITECTURE.md and tests/architecture.rs differ on what `{room}` may import");
    }
}

#[test]
fn rooms_import_only_what_their_row_allows() {
    let rooms = files_by_room();
    let mut wrong = Vec::new();
    for (room, allowed) in ROOMS {
        for file in &rooms[*room] {
            for import in imported_rooms(&code_of(file)) {
                let known = ROOMS.iter().any(|row| row.0 == import);
                if known && import != *room && !allowed.contains(&import.as_str()) {
                    wrong.push(format!("{}: `{room}` must not import `{import}`", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reserved_acts_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (room, files) in files_by_room() {
        for file in files {
            let code = code_of(&file);
            for (text, rooms, why) in RESERVED {
                if !rooms.contains(&room.as_str()) && code.contains(text) {
                    wrong.push(format!("{}: `{text}`: {why}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_says_what_it_is_for() {
    for (room, _) in ROOMS {
        let text = fs::read_to_string(root().join("src").join(room).join("mod.rs")).expect("mod.rs");
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(lines >= 3, "src/{room}/mod.rs must open with purpose, what comes in, what goes out");
    }
}

/// Not a limit: what is largest is what a newcomer meets first, so the list is printed for whoever reads the log.
#[test]
fn the_largest_files_are_known() {
    let mut sizes: Vec<(usize, PathBuf)> =
        files_by_room().into_values().flatten().map(|file| (code_of(&file).lines().count(), file)).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    for (lines, file) in sizes.iter().take(10) {
        println!("{lines:6} {}", file.strip_prefix(root()).expect("below the root").display());
    }
    assert!(sizes.len() > ROOMS.len());
}

#[test]
fn the_import_reader_sees_every_form() {
    let code =
        "use crate::base::Digest;\nuse crate::{event::Event, store::{Layout, BlobSource}};\nlet x = crate::run::go();";
    assert_eq!(imported_rooms(code), ["base", "event", "store", "run"]);
}
