//! A state directory that is not as the program left it, and names that nothing was built under.

use std::fs;

use crate::support::daemon::Daemon;
use crate::support::project::Project;

const CONFIG: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\nregistry = [\"127.0.0.1:1/demo\"]\n\
                      tag = \"${IMAGE_TAG:-v1}\"\n[component.web]\n";

fn built() -> Project {
    let project = Project::with(CONFIG, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    project.run(&["build", "--builder", Daemon::shared().address()]).exits(0);
    project
}

/// Every command that reads the layout says what is wrong and what to do, and one build puts it right.
#[test]
fn a_layout_whose_names_cannot_be_read_is_told_with_what_to_do() {
    let project = built();
    let index = project.path(".catamaran/layout/index.json");
    let damages: [(&str, &dyn Fn()); 4] = [
        ("it is not there", &|| fs::remove_file(&index).expect("it was there")),
        ("expected", &|| fs::write(&index, "nonsense").expect("ours")),
        ("it is empty", &|| fs::write(&index, "").expect("ours")),
        ("it is no file", &|| {
            fs::remove_file(&index).expect("it was there");
            fs::create_dir(&index).expect("ours");
        }),
    ];
    for (reason, damage) in damages {
        damage();
        let told = project.run(&["status"]).exits(4).stderr;
        assert!(told.contains("the index of `web` is missing") && told.contains("run `catamaran build`"), "{told}");
        let told = project.run(&["verify"]).exits(7).stderr;
        assert!(
            told.contains("index.json") && told.contains(reason) && told.contains("run `catamaran build`"),
            "{told}"
        );
        for (command, what) in [(&["push"][..], "nothing was pushed"), (&["export", "x.tar"], "nothing was written")] {
            let told = project.run(command).exits(4).stderr;
            assert!(told.contains(what) && told.contains("run `catamaran build`"), "{told}");
        }
        assert!(!project.path("x.tar").exists());
        project.run(&["build", "--builder", "tcp://127.0.0.1:1"]).exits(0);
        project.run(&["status"]).exits(0);
        project.run(&["verify"]).exits(0);
        project.run(&["export", "x.tar"]).exits(0);
        fs::remove_file(project.path("x.tar")).expect("it was written");
    }
    // Without its marker it is no layout.
    fs::write(project.path(".catamaran/layout/oci-layout"), "x").expect("ours");
    let told = project.run(&["verify"]).exits(7).stderr;
    assert!(told.contains("oci-layout") && told.contains("run `catamaran build`"), "{told}");
    let told = project.run(&["status"]).exits(4).stdout;
    assert!(told.contains("the layout cannot be used"), "{told}");
    project.run(&["build", "--builder", "tcp://127.0.0.1:1"]).exits(0);
    project.run(&["verify"]).exits(0);
}

/// What was built as v1 is no v2: its arguments may say v1. Status, verify, push and export agree.
#[test]
fn another_tag_is_there_only_when_it_was_built() {
    let project = built();
    let run = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env("IMAGE_TAG", "v2");
        project.ran(&command.output().expect("it runs"))
    };
    for arguments in [&["status"][..], &["verify"], &["push"], &["export", "x.tar"], &["export", "x.tar", "web"]] {
        let ran = run(arguments).exits(4);
        assert!(ran.stderr.contains("the index of `web` is missing"), "{}", ran.stderr);
        assert!(!ran.stdout.contains("whole") && !project.path("x.tar").exists(), "{}", ran.stdout);
    }
    run(&["build", "--builder", "tcp://127.0.0.1:1"]).exits(0);
    for arguments in [&["status"][..], &["verify"], &["export", "x.tar"]] {
        run(arguments).exits(0);
    }
    project.run(&["status"]).exits(4);
}

/// Of a part no name is asked: names stand for all platforms.
#[test]
fn a_part_is_there_without_a_name() {
    let project = Project::with(CONFIG, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    project.run(&["build", "--platform", "arm64", "--builder", Daemon::shared().address()]).exits(0);
    let status = project.run(&["status", "--platform", "arm64", "--json"]).exits(0).json();
    assert_eq!((&status["complete"], &status["subset"]), (&true.into(), &true.into()));
    assert_eq!((&status["expected"], &status["present"]), (&1.into(), &1.into()));
    assert_eq!(status["indexes"], serde_json::json!([]));
    project.run(&["export", "--platform", "arm64", "x.tar"]).exits(0);
    project.run(&["status", "--platform", "amd64"]).exits(4);
    project.run(&["status"]).exits(4);
}

#[test]
fn a_registry_that_is_down_is_told_once() {
    let config = ["a", "b", "c", "d"].map(|name| format!("[component.{name}]\n")).concat();
    let config = CONFIG.to_owned() + &config;
    let project = Project::with(&config, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let builder = Daemon::shared().address();
    let document = project.run(&["build", "--push", "--json", "--builder", builder]).exits(6).json();
    let errors = document["errors"].as_array().expect("a list");
    let messages: Vec<&str> = errors.iter().filter_map(|error| error["message"].as_str()).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("cannot connect at `127.0.0.1:1`"), "{messages:?}");
}

#[test]
fn nothing_to_push_is_said_to_be_nothing() {
    let config = CONFIG.replace("[component.web]\n", "[component.web]\nexclude = \"retired\"\n");
    let project = Project::with(&config, &[("Dockerfile", "FROM scratch\n")]);
    project.run(&["build", "--builder", "tcp://127.0.0.1:1"]).exits(0);
    let pushed = project.run(&["push"]).exits(0).stdout;
    assert!(pushed.starts_with("nothing to push:"), "{pushed}");
}

#[test]
fn a_bundle_that_is_not_there_is_told_with_what_to_do() {
    let project = built();
    for arguments in [["verify", "none.tar"], ["export", "none/x.tar"]] {
        let told = project.run(&arguments).exits(1).stderr;
        assert!(told.contains(arguments[1].split('/').next().expect("a name")), "{told}");
        assert!(told.contains("fix     look at the path"), "{told}");
    }
}
