use snapbox::{assert_data_eq, str};

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
