use snapbox::{assert_data_eq, str};

use crate::support::daemon::Daemon;
use crate::support::project::Project;

const CONFIG: &str = "name = \"demo\"\nplatforms = [\"linux/amd64\"]\n[component.web]\n";
const SCRATCH: (&str, &str) = ("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");

#[test]
fn a_builder_that_was_named_is_never_replaced() {
    let project = Project::with(CONFIG, &[SCRATCH]);
    assert_data_eq!(
        project.run(&["build", "--builder", "unix:///nonexistent/buildkitd.sock"]).shown(),
        str![[r"
exit 8
--- stdout
web/amd64  MISSING never built

0 of 1 cell: 1 missing.                                                   exit 8
--- stderr
catamaran | demo latest: 1 component x 1 platform = 1 cell
error: no builder answers at `[SOCKET] [..]
...
"]]
    );
    let mut command = project.command(&["build"]);
    command.env("BUILDKIT_HOST", "tcp://127.0.0.1:1");
    let ran = project.ran(&command.output().expect("it runs")).exits(8);
    assert!(ran.stderr.contains("tcp://127.0.0.1:1"), "{}", ran.stderr);
    let document = project.run(&["build", "--json", "--builder", "unix:///nonexistent/buildkitd.sock"]).exits(8).json();
    assert_eq!(document["complete"], false);
    assert_eq!(document["exit"], 8);
    assert_eq!(document["cells"][0]["state"], "missing");
    assert_eq!(document["errors"][0]["class"], "builder");
}

#[test]
fn what_a_run_without_a_builder_did_not_build_is_not_called_built() {
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\"]\n[component.web]\ncontext = \"web\"\n\
                  dockerfile = \"Dockerfile\"\n[component.api]\ncontext = \"api\"\ndockerfile = \"Dockerfile\"\n";
    let copy = "FROM scratch\nCOPY f /\n";
    let project = Project::with(config, &[("Dockerfile", copy), ("web/f", "1"), ("api/f", "1")]);
    project.run(&["build", "--builder", Daemon::shared().address()]).exits(0);
    let run = |more: &[&str]| {
        let nobody = ["build", "--json", "--builder", "unix:///nonexistent/buildkitd.sock"];
        let document = project.run(&[&nobody[..], more].concat()).exits(8).json();
        assert_eq!(document["complete"], false, "{document:#}");
        let cells = document["cells"].as_array().expect("cells").iter();
        let states: Vec<String> = cells.map(|cell| cell["state"].as_str().unwrap_or_default().to_owned()).collect();
        (states.join(" "), document["present"].clone(), document["indexes"].as_array().expect("indexes").len())
    };
    assert_eq!(run(&["--force"]), ("cancelled cancelled".to_owned(), 0.into(), 0));
    assert_eq!(run(&["--force=web"]), ("reused cancelled".to_owned(), 1.into(), 1));
    project.write("api/f", "2");
    assert_eq!(run(&[]), ("cancelled reused".to_owned(), 1.into(), 1));
    let ran = project.run(&["build", "--force", "--builder", "unix:///nonexistent/buildkitd.sock"]).exits(8);
    assert!(ran.stdout.contains("0 of 2 cells: 2 cancelled."), "{}", ran.stdout);
    // Nothing was touched.
    assert_eq!(project.run(&["status", "--json"]).exits(0).json()["present"], 2);
}

#[test]
fn d16_no_builder_at_all_is_told_with_a_fix() {
    let project = Project::with(CONFIG, &[SCRATCH]);
    for command in ["build", "check"] {
        let mut command = project.command(&[command]);
        command.env("PATH", "/nonexistent").env("XDG_CACHE_HOME", project.root());
        let ran = project.ran(&command.output().expect("it runs")).exits(8);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains("there is no `buildkitd` on PATH") && text.contains("scripts/setup"), "{text}");
    }
}

#[test]
fn the_state_directory_can_be_elsewhere_and_must_be_writable() {
    let project = Project::with(CONFIG, &[SCRATCH]);
    project.write("a-file", "");
    let ran = project.run(&["--state", "a-file", "build"]).exits(1);
    assert!(ran.stderr.contains("a-file"), "{}", ran.stderr);
}
