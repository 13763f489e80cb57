//! Random edits: what is reused must be what a build of everything, without any cache, would make.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::builder;
use crate::support::dice::{Dice, number, seed};
use crate::support::project::{Project, Ran, SHELL};

/// Rounds of edits in one run of the tests. The campaign makes thousands.
const SAMPLE: u64 = 4;

/// Components that read their contexts in as many ways as there are.
const COMPONENTS: [(&str, &str, &str); 8] = [
    ("none", "FROM base\nRUN echo none >/none\n", ""),
    ("ignore", "FROM base\nCOPY .dockerignor[e] /patterns/\n", ""),
    ("all", "FROM base\nCOPY . /all\n", ""),
    (
        "some",
        "FROM base\nARG VERSION\nCOPY lib/*.txt lib/sub /lib/\nRUN echo $VERSION >/version\n",
        "args = { VERSION = \"${VERSION}\" }\n",
    ),
    ("link", "FROM base\nCOPY current/ /current/\n", ""),
    ("bind", "FROM base\nRUN --mount=type=bind,source=tool,target=/t ls -l /t >/list && cat /t/* >/text\n", ""),
    (
        "stages",
        "FROM base AS unused\nCOPY doc /doc\nFROM base AS made\nCOPY doc/one /one\nRUN cat /one >/two\nFROM scratch\nCOPY --from=made /two /\nCOPY --from=extra /e.txt /\n",
        "contexts = { base = \"component:base\", extra = \"extra\" }\n",
    ),
    ("parents", "FROM base\nADD --chmod=600 lib/a.txt /x/\nCOPY --link doc/ /doc/\n", ""),
];

/// Files that edits happen to; some are read by nobody.
const FILES: [&str; 14] = [
    "files/lib/a.txt",
    "files/lib/b.txt",
    "files/lib/c.h",
    "files/lib/sub/d.txt",
    "files/v1/page",
    "files/v2/page",
    "files/tool/run",
    "files/tool/more",
    "files/doc/one",
    "files/doc/two",
    "files/readme",
    "files/lib/new.txt",
    "extra/e.txt",
    "extra/f.txt",
];

/// What the ignore file may say.
const PATTERNS: [&str; 10] = [
    "readme",
    "**/*.h",
    "doc/two",
    "lib/b.*",
    "!lib/c.h",
    "tool/more",
    "# a comment",
    "",
    "nothing/of/this",
    ".dockerignore",
];

struct Edited {
    project: Project,
    version: u64,
    extra_line: usize,
    patterns: Vec<&'static str>,
    has_ignore_file: bool,
}

impl Edited {
    fn new() -> Self {
        let project = Project::with_shell("", &[]);
        fs::create_dir(project.path("base")).expect("a folder");
        fs::rename(project.path("rootfs"), project.path("base/rootfs")).expect("a folder");
        project.write("base/Dockerfile", SHELL);
        for file in FILES {
            project.write(file, file);
        }
        symlink("v1", project.path("files/current")).expect("a link");
        let edited = Self { project, version: 0, extra_line: 0, patterns: vec!["readme"], has_ignore_file: true };
        edited.write_all();
        edited
    }

    /// The project, and the same under another name with everything made anew without any cache.
    fn write_all(&self) {
        for (file, more) in [("catamaran.toml", ""), ("anew.toml", "no-cache = true\n")] {
            let mut text = format!(
                "name = \"edits\"\nplatforms = [\"linux/amd64\"]\n[vars]\nset = {{ VERSION = \"{}\" }}\n\
                 [component.base]\ndockerfile = \"base/Dockerfile\"\ncontext = \"base\"\n{more}",
                self.version
            );
            for (name, _, settings) in COMPONENTS {
                let base =
                    if settings.contains("contexts") { "" } else { "contexts = { base = \"component:base\" }\n" };
                let _ = write!(text, "[component.{name}]\ndockerfile = \"{name}/Dockerfile\"\ncontext = \"files\"\n");
                let _ = write!(text, "{base}{settings}{more}");
            }
            self.project.write(file, &text);
        }
        for (at, (name, dockerfile, _)) in COMPONENTS.iter().enumerate() {
            let more = if self.extra_line % COMPONENTS.len() == at {
                format!("ENV N={}\n", self.extra_line)
            } else {
                String::new()
            };
            let text = format!("{dockerfile}{more}");
            let path = self.project.path(&format!("{name}/Dockerfile"));
            if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
                self.project.write(&format!("{name}/Dockerfile"), &text);
            }
        }
        if self.has_ignore_file {
            self.project.write("files/.dockerignore", &(self.patterns.join("\n") + "\n"));
        } else {
            drop(fs::remove_file(self.project.path("files/.dockerignore")));
        }
    }

    /// One edit; what it did, in words.
    fn edit(&mut self, dice: &mut Dice, round: u64) -> String {
        let file = *dice.pick(&FILES);
        let path = self.project.path(file);
        let there = path.exists();
        match dice.below(12) {
            0 | 1 => {
                self.project.write(file, &format!("{round} {}", dice.below(3)));
                format!("write {file}")
            }
            2 if there => {
                let file = fs::File::options().write(true).open(&path).expect("a file");
                file.set_modified(SystemTime::now()).expect("ours");
                format!("touch {}", path.display())
            }
            3 if there => {
                let mode = *dice.pick(&[0o600, 0o644, 0o755]);
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
                format!("chmod {mode:o} {file}")
            }
            4 if there => {
                let other = beside(&path, dice);
                fs::rename(&path, &other).expect("ours");
                format!("rename {file} to {}", other.display())
            }
            5 if there => {
                fs::remove_file(&path).expect("ours");
                format!("remove {file}")
            }
            6 | 10 => {
                let pattern = *dice.pick(&PATTERNS);
                match self.patterns.iter().position(|known| *known == pattern) {
                    Some(at) => drop(self.patterns.remove(at)),
                    None => self.patterns.push(pattern),
                }
                self.has_ignore_file = true;
                self.write_all();
                format!("ignore {:?}", self.patterns)
            }
            11 => {
                self.patterns.clear();
                self.has_ignore_file = dice.below(2) == 0;
                self.write_all();
                format!("no patterns, ignore file: {}", self.has_ignore_file)
            }
            7 => {
                let link = self.project.path("files/current");
                drop(fs::remove_file(&link));
                let target = *dice.pick(&["v1", "v2", "./v1"]);
                symlink(target, link).expect("ours");
                format!("link current to {target}")
            }
            8 => {
                self.version = dice.below(3);
                self.write_all();
                format!("VERSION {}", self.version)
            }
            _ => {
                self.extra_line = usize::try_from(dice.below(30)).expect("small");
                self.write_all();
                format!("Dockerfile line {}", self.extra_line)
            }
        }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.project.command(arguments);
        // Older than every file here, so that all times in layers are this one.
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        self.project.ran(&command.output().expect("it runs"))
    }
}

fn beside(path: &Path, dice: &mut Dice) -> PathBuf {
    path.with_file_name(*dice.pick(&["a.txt", "z.txt", "one", "other"]))
}

/// State and digest of every cell.
fn cells(ran: &Ran) -> BTreeMap<String, (String, Value)> {
    let document = ran.json();
    let cells = document["cells"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    cells.iter().map(|cell| (text(&cell["component"]), (text(&cell["state"]), cell["digest"].clone()))).collect()
}

/// `CATAMARAN_SEED` repeats a run, `CATAMARAN_EDITS` makes it longer.
#[test]
fn nothing_is_reused_that_a_build_of_everything_would_make_otherwise() {
    let seed = seed("edits");
    let mut dice = Dice(seed);
    let mut edited = Edited::new();
    let build = ["build", "--json", "--builder", builder()];
    let mut before = cells(&edited.run(&build).exits(0));
    let (mut built, mut in_vain, mut reused) = (0_u64, 0_u64, 0_u64);
    for round in 0..number("CATAMARAN_EDITS").unwrap_or(SAMPLE) {
        let edits: Vec<String> = (0..=dice.below(3)).map(|_| edited.edit(&mut dice, round)).collect();
        let what = format!("seed {seed}, round {round}: {edits:?}");
        println!("{what}");
        let now_ran = edited.run(&build);
        let anew_ran =
            edited.run(&["build", "--json", "--force", "-f", "anew.toml", "--state", ".anew", "--builder", builder()]);
        // An edit may take away what is copied: then both fail.
        assert_eq!(now_ran.code, anew_ran.code, "{what}\n{}\n{}", now_ran.stderr, anew_ran.stderr);
        let (now, anew) = (cells(&now_ran), cells(&anew_ran));
        for (name, (state, digest)) in &now {
            let (anew_state, anew_digest) = &anew[name];
            let failed = |state: &str| matches!(state, "failed" | "blocked");
            assert_eq!(failed(state), failed(anew_state), "{name}, {what}");
            assert_eq!(digest, anew_digest, "{name} is {state}, {what}");
            match state.as_str() {
                "reused" => reused += 1,
                "built" => {
                    built += 1;
                    in_vain += u64::from(before.get(name).is_some_and(|(_, known)| known == digest));
                }
                _ => {}
            }
        }
        before = now;
    }
    // Building everything every time would be no mistake that shows otherwise.
    assert!(reused > 0 && built > 0, "{reused} reused, {built} built");
    writeln!(std::io::stderr(), "{reused} reused, {built} built, {in_vain} of these to the same image").expect("a log");
}
