//! Builds of a part after an edit: old and new never make one release.

use super::builder;
use crate::support::project::{Project, SHELL};

const CONFIG: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\nregistry = [\"127.0.0.1:1/mix\"]\n\
                      [component.a]\ndockerfile = \"Dockerfile\"\n[component.b]\ndockerfile = \"Dockerfile\"\n\
                      [component.c]\ndockerfile-inline = \"FROM scratch\\nCOPY other /\"\n";

#[test]
fn what_a_build_of_a_part_leaves_old_is_a_hole() {
    let project = Project::with_shell(CONFIG, &[("Dockerfile", &format!("{SHELL}COPY file /\n"))]);
    project.write("file", "one");
    project.write("other", "one");
    let build = |more: &[&str]| project.run(&[&["build", "--builder", builder()], more].concat());
    build(&[]).exits(0);
    project.write("file", "two");

    let ran = build(&["a", "--platform", "linux/amd64"]).exits(0);
    assert!(ran.stderr.contains("the sources of a/arm64 and 2 more have changed"), "{}", ran.stderr);
    let status = project.run(&["status", "--json"]).exits(4).json();
    let cells = status["cells"].as_array().expect("cells").iter();
    let states: Vec<String> = cells
        .map(|cell| format!("{}/{} {}", cell["component"], cell["platform"], cell["state"]).replace('"', ""))
        .collect();
    assert_eq!(
        states,
        [
            "a/linux/amd64 built",
            "a/linux/arm64 missing",
            "b/linux/amd64 missing",
            "b/linux/arm64 missing",
            "c/linux/amd64 built",
            "c/linux/arm64 built"
        ]
    );
    project.run(&["push"]).exits(4);
    project.run(&["export", "out.tar"]).exits(4);
    // Nothing was built: nothing can be mixed.
    project.write("other", "two");
    build(&["a/amd64"]).exits(0);
    assert_eq!(project.run(&["status", "--json"]).json()["present"], 3);

    build(&["--push", "a"]).exits(4);
    build(&[]).exits(0);
    project.run(&["status"]).exits(0);
    let said = "made from other sources than there are now: c/amd64, c/arm64";
    let ran = project.run(&["export", "out.tar"]).exits(0);
    assert!(!ran.stderr.contains(said), "{}", ran.stderr);
    project.write("other", "three");
    let ran = project.run(&["export", "out.tar"]).exits(0);
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}
