//! The main job, for real: `fixtures/fleet`, built by the program with a builder that it starts itself.

mod contents;
mod delivery;
mod matrix;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::project::{Ran, program};
use crate::support::tools;

/// The fleet, built once for all tests that only look at it.
pub(crate) struct Fleet {
    root: PathBuf,
    /// What the build printed.
    built: Ran,
}

/// What the fixture says about itself.
pub(crate) struct Expected {
    pub(crate) cells: u64,
    pub(crate) indexes: usize,
    pub(crate) tag: String,
    pub(crate) platforms: Vec<String>,
    pub(crate) components: Vec<String>,
    /// Path and, by platform, content of the file that every image wrote in a RUN step.
    pub(crate) arch_file: String,
    pub(crate) machines: Vec<(String, String)>,
}

impl Fleet {
    pub(crate) fn shared() -> &'static Self {
        static FLEET: OnceLock<Fleet> = OnceLock::new();
        FLEET.get_or_init(|| {
            let root = lasting_folder();
            copy(&fixture(), &root);
            let built = program(&root).args(["build", "--json", "-v", "--progress", "plain"]).output();
            let built = Ran::of(&built.expect("the program starts"), &root);
            Fleet { root, built }
        })
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&program(&self.root).args(arguments).output().expect("the program starts"), &self.root)
    }

    /// The document of the first build, which must have ended well.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        assert_eq!(self.built.code, 0, "{}\n{}", self.built.stdout, self.built.stderr);
        self.built.json()
    }

    pub(crate) fn stderr(&self) -> &str {
        &self.built.stderr
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fleet")
}

/// A copy of the fixture, with the programs that setup would put into it and without what earlier runs left in it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name();
        if name == ".catamaran" || name == "rootfs" {
            continue;
        }
        let target = to.join(&name);
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file");
        }
    }
    if from == fixture() {
        for architecture in ["amd64", "arm64"] {
            let bin = to.join(format!("rootfs/{architecture}/bin"));
            fs::create_dir_all(&bin).expect("a folder");
            fs::copy(tools::busybox(architecture), bin.join("busybox")).expect("a file");
        }
    }
}

/// A folder that goes away with this process, however that ends: values in statics are never dropped.
fn lasting_folder() -> PathBuf {
    let folder = tempfile::Builder::new().prefix("fleet").tempdir().expect("a folder").keep();
    let keeper = Command::new("sh")
        .args(["-c", "cat >/dev/null; rm -rf \"$1\"", "keeper"])
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh can be started");
    // Its stdin closes when this process ends.
    std::mem::forget(keeper);
    folder
}

/// What the fixture's `expect.toml` says: tests consult it instead of repeating it.
pub(crate) fn expected() -> Expected {
    let text = fs::read_to_string(fixture().join("expect.toml")).expect("expect.toml");
    let table: toml::Table = text.parse().expect("TOML");
    let texts = |key: &str| {
        let list = table[key].as_array().expect("a list");
        list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let platforms = texts("platforms");
    let machine = |platform: &String| {
        let machine = table["arch-file"][platform.as_str()].as_str().expect("a machine");
        (platform.clone(), machine.to_owned())
    };
    Expected {
        cells: u64::try_from(table["cells"].as_integer().expect("a number")).expect("positive"),
        indexes: usize::try_from(table["indexes"].as_integer().expect("a number")).expect("positive"),
        tag: table["tag"].as_str().expect("a tag").to_owned(),
        machines: platforms.iter().map(machine).collect(),
        platforms,
        components: texts("components"),
        arch_file: table["arch-file"]["path"].as_str().expect("a path").to_owned(),
    }
}
