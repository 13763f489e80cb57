//! Main contexts that the builder fetches: the Dockerfile comes from there, unless its text is in the file.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::files::serve;
use crate::support::project::{Project, Ran};

/// Nobody listens there: a builder that is asked for anything fails the run.
const NOBODY: &str = "tcp://127.0.0.1:1";

/// A repository with two Dockerfiles behind a server that only hands out files, and its one commit.
struct Repository {
    url: String,
    commit: String,
    folder: tempfile::TempDir,
}

impl Repository {
    fn serve() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("sub")).expect("a folder");
        fs::write(source.join("Dockerfile"), "FROM scratch\nARG TEXT=none\nLABEL of=whole text=$TEXT\nCOPY file /\n")
            .expect("a file");
        fs::write(source.join("sub/Other"), "FROM scratch\nLABEL of=other\nCOPY file /\n").expect("a file");
        fs::write(source.join("file"), "fetched").expect("a file");
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(&source).args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(arguments);
            let output = command.output().expect("git; run `scripts/setup test`");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("text").trim().to_owned()
        };
        git(&["init", "-q", "-b", "main"]);
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "first"]);
        // What git reads over plain HTTP, where nobody answers its questions.
        git(&["update-server-info"]);
        let commit = git(&["rev-parse", "HEAD"]);
        let address = serve(folder.path());
        Self { url: format!("http://{address}/source/.git"), commit, folder }
    }
}

fn run(project: &Project, builder: &str, arguments: &[&str]) -> Ran {
    let mut command = project.command(arguments);
    command.env("BUILDKIT_HOST", builder);
    project.ran(&command.output().expect("it runs"))
}

/// The labels of the image that the last build made of a component.
fn labels(project: &Project, cells: &Value, component: &str) -> Value {
    let document = |digest: &Value| -> Value {
        let hex = digest.as_str().expect("a digest").trim_start_matches("sha256:");
        let path = project.path(".catamaran/layout/blobs/sha256").join(hex);
        serde_json::from_slice(&fs::read(path).expect("a blob")).expect("JSON")
    };
    let cells = cells["cells"].as_array().expect("cells");
    let cell = cells.iter().find(|cell| cell["component"] == component).expect("the component");
    document(&document(&cell["digest"])["config"]["digest"])["config"]["Labels"].clone()
}

#[test]
fn the_dockerfile_of_a_fetched_context_is_fetched_too() {
    let repository = Repository::serve();
    let (url, commit) = (&repository.url, &repository.commit);
    let builder = Daemon::shared().address();
    let project = Project::new();
    let file = format!(
        r#"
group "default" {{ targets = ["inline", "whole", "other"] }}
target "inline" {{
  context = "{url}#main"
  dockerfile-inline = "FROM scratch\nLABEL of=inline\nCOPY file /\n"
}}
target "whole" {{
  context = "{url}#main"
  args = {{ TEXT = "given" }}
}}
target "other" {{
  context = "{url}#{commit}"
  dockerfile = "sub/Other"
}}
"#
    );
    project.write("docker-bake.hcl", &file);
    // Neither is the one of this name on this machine.
    project.write("Dockerfile", "FROM scratch\nLABEL of=here\nCOPY docker-bake.hcl /\n");
    let ran = run(&project, builder, &["-f", "docker-bake.hcl", "build", "--json"]).exits(0);
    let cells = ran.json();
    assert_eq!(labels(&project, &cells, "inline"), serde_json::json!({"of": "inline"}));
    assert_eq!(labels(&project, &cells, "whole"), serde_json::json!({"of": "whole", "text": "given"}));
    assert_eq!(labels(&project, &cells, "other"), serde_json::json!({"of": "other"}));

    // What is behind a branch now is not known; a commit is what it was.
    let why = run(&project, NOBODY, &["-f", "docker-bake.hcl", "why", "--json"]).exits(0).json();
    let verdicts: Vec<(&str, &str)> = why["cells"]
        .as_array()
        .expect("cells")
        .iter()
        .map(|cell| (cell["component"].as_str().expect("text"), cell["verdict"].as_str().expect("text")))
        .collect();
    assert_eq!(verdicts, [("inline", "build"), ("other", "reused"), ("whole", "build")]);
    run(&project, NOBODY, &["-f", "docker-bake.hcl", "build", "other"]).exits(0);

    // All that looks at Dockerfiles says that this one cannot be looked at.
    let plan = run(&project, NOBODY, &["-f", "docker-bake.hcl", "plan"]).exits(0);
    assert!(plan.stdout.contains(&format!("sub/Other in {url}")), "{}", plan.stdout);
    assert!(plan.stdout.contains("(unknown)"), "{}", plan.stdout);
    let lock = run(&project, NOBODY, &["-f", "docker-bake.hcl", "lock"]).exits(0);
    assert!(lock.stdout.contains("not locked: what whole is made from"), "{}", lock.stdout);
    let check = run(&project, builder, &["-f", "docker-bake.hcl", "check"]).exits(0);
    assert!(check.stdout.contains("its bases and sources are not looked at"), "{}", check.stdout);
    let printed = run(&project, NOBODY, &["-f", "docker-bake.hcl", "plan", "--print", "bake"]).exits(0);
    let printed: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(printed["target"]["other"]["dockerfile"], "sub/Other");
}

#[test]
fn every_form_of_project_fetches_the_dockerfile() {
    let repository = Repository::serve();
    let (url, builder) = (&repository.url, Daemon::shared().address());
    let config = format!(
        "platforms = [\"linux/amd64\"]\ncontext = \"{url}#main\"\n[component.whole]\n[component.other]\n\
         dockerfile = \"./sub/Other\"\n[component.here]\ndockerfile = \"{}\"\n",
        repository.folder.path().join("Here").display()
    );
    fs::write(repository.folder.path().join("Here"), "FROM scratch\nLABEL of=here\nCOPY file /\n").expect("a file");
    let project = Project::with(&config, &[]);
    let cells = run(&project, builder, &["build", "--json"]).exits(0).json();
    assert_eq!(labels(&project, &cells, "whole")["of"], "whole");
    assert_eq!(labels(&project, &cells, "other")["of"], "other");
    assert_eq!(labels(&project, &cells, "here")["of"], "here", "an absolute path is of this machine");

    let project = Project::new();
    let text = format!(
        "services:\n  other:\n    image: other:1\n    build: {{context: \"{url}\", dockerfile: sub/Other}}\n  inline:\n    \
         image: inline:1\n    build: {{context: \"{url}\", dockerfile_inline: \"FROM scratch\\nLABEL of=inline\\nCOPY file /\\n\"}}\n"
    );
    project.write("compose.yaml", &text);
    let cells = run(&project, builder, &["-f", "compose.yaml", "build", "--json"]).exits(0).json();
    assert_eq!(labels(&project, &cells, "other")["of"], "other");
    assert_eq!(labels(&project, &cells, "inline")["of"], "inline");
}
