//! From files to a plan: what is refused and in which words, and what comes out.

mod discovery;
mod documented;
mod init;
mod matrix;
mod printed;
mod refusals;
mod schema;
mod stopped;
mod unread;
mod variation;
mod views;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use catamaran::base::Failure;
use catamaran::config::{DiskFiles, LoadRequest, load};
use catamaran::plan::{Plan, PlanOptions, plan};
use catamaran::report::{Style, render_error};

/// A folder of files that a test writes.
pub(crate) struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    /// Files by path, their folders made as needed.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let folder = Self { directory };
        for (path, text) in files {
            folder.write(path, text);
        }
        folder
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn request(&self) -> LoadRequest {
        LoadRequest { directory: self.path().to_path_buf(), ..LoadRequest::default() }
    }

    /// Loads and plans; the error as `catamaran` would print it.
    pub(crate) fn plan(&self, request: &LoadRequest, options: &PlanOptions) -> Result<Plan, String> {
        let style = Style::plain(self.path());
        let shown =
            |error: &dyn Failure| render_error(error, &style, 2).replace(&*self.path().to_string_lossy(), "DIR");
        let project = load(request).map_err(|error| shown(&error))?;
        plan(&project, options, &DiskFiles).map_err(|error| shown(&error))
    }

    /// The plan of everything; a refusal fails the test.
    pub(crate) fn planned(&self) -> Plan {
        self.plan(&self.request(), &PlanOptions::default()).unwrap_or_else(|text| panic!("refused:\n{text}"))
    }
}

/// Two platforms and `FROM scratch` for every named component, before what `toml` adds.
pub(crate) fn project(toml: &str, components: &[&str]) -> Folder {
    let mut text = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n".to_owned();
    text.push_str(toml);
    let folder = Folder::new(&[]);
    for name in components {
        if !text.contains(&format!("[component.{name}]")) {
            let _ = writeln!(text, "\n[component.{name}]");
        }
        let header = format!("[component.{name}]\n");
        text = text.replace(&header, &format!("{header}dockerfile = \"src/{name}/Dockerfile\"\n"));
        folder.write(&format!("src/{name}/Dockerfile"), "FROM scratch\nCOPY x /x\n");
    }
    folder.write("catamaran.toml", &text);
    folder
}

/// The fixture of this name.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
