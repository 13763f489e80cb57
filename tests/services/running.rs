use std::process::Command;

use super::{build, file, free_port, is_free, project};
use crate::support::project::{Project, SHELL};

const READ: &str = "ARG HUB_URL\nRUN wget -q -O /got $HUB_URL/list\n";

#[test]
fn d9_service_runs_while_dependents_build() {
    let port = free_port();
    let ready = format!("port = {port}\nready = \"http://hub:{port}/list\"");
    let project = project(&ready, &[("one", &format!("RUN wget -q -O /got http://hub:{port}/list\n")), ("two", READ)]);
    let ran = project.run(&build()).exits(0);
    assert!(ran.stdout.contains("6 of 6 cells") || ran.stderr.contains("6 of 6 cells"), "{}", ran.stdout);
    for (component, architecture) in [("one", "amd64"), ("one", "arm64"), ("two", "amd64"), ("two", "arm64")] {
        assert_eq!(file(&project, component, architecture, "got"), "packages");
    }
    assert!(is_free(port), "the service has ended");
    let log = std::fs::read_to_string(project.path(".catamaran/logs/hub/service.log")).unwrap();
    assert!(log.starts_with(&format!("serving on {port}\n")), "{log}");
    assert!(log.contains("response:200"), "{log}");
}

#[test]
fn a_free_port_is_chosen_so_that_runs_do_not_collide() {
    let apps = [("app", READ)];
    let (first, second) = (project("port = \"auto\"", &apps), project("port = \"auto\"", &apps));
    let children: Vec<_> = [&first, &second].map(|project| project.spawn(&build())).into();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for project in [first, second] {
        assert_eq!(file(&project, "app", "arm64", "got"), "packages");
    }
}

#[test]
fn what_the_project_says_of_a_service_applies() {
    let project = Project::with_shell(
        "name = \"s\"\nplatforms = [\"amd64\", \"arm64\"]\n\
         [component.db]\n[component.hub]\n[component.app]\nneeds = [\"hub\"]\nargs = { HUB_PORT = \"mine\" }\n\
         [service.db]\nport = \"auto\"\ncommand = [\"httpd\", \"-f\", \"-p\", \"{port}\", \"-h\", \"/www\"]\n\
         [service.hub]\nport = \"auto\"\nneeds = [\"db\"]\nplatform = \"same\"\nhosts = [\"hub.test\"]\ntimeout = \"40s\"\n\
         interval = \"50ms\"\nexec = \"test -s /ready\"\nenv = { NAME = \"ahoy\" }\nfiles = { \"/etc/note\" = \"notes/one\" }\n\
         command = \"mkdir /www; uname -m >/www/list; echo $NAME >>/www/list; cat /etc/note /etc/hosts >>/www/list; echo >/ready x; httpd -f -p $PORT -h /www\"\n",
        &[("notes/one", "a note\n")],
    );
    for name in ["db", "hub"] {
        project.write(&format!("{name}/Dockerfile"), &format!("{SHELL}RUN mkdir -p /www\n"));
    }
    project.write("app/Dockerfile", &format!("{SHELL}ARG HUB_URL HUB_PORT\nRUN wget -q -O /got $(echo $HUB_URL | sed s/hub:/hub.test:/)/list; echo $HUB_PORT >/port\n"));
    let config = std::fs::read_to_string(project.path("catamaran.toml")).unwrap();
    let mut config = config;
    for name in ["db", "hub", "app"] {
        config = config.replace(
            &format!("[component.{name}]"),
            &format!("[component.{name}]\ndockerfile = \"{name}/Dockerfile\""),
        );
    }
    project.write("catamaran.toml", &config.replace("RUN mkdir -p /www", ""));
    project.run(&build()).exits(0);
    for (architecture, machine) in [("amd64", "x86_64"), ("arm64", "aarch64")] {
        let got = file(&project, "app", architecture, "got");
        let lines: Vec<&str> = got.lines().collect();
        assert_eq!(lines[..3], [machine, "ahoy", "a note"]);
        assert!(lines.iter().any(|line| line.ends_with("\tdb")), "it knows the service it needs: {got}");
        assert_eq!(file(&project, "app", architecture, "port"), "mine", "the project's own argument stands");
    }
}

#[test]
fn d10_names_narrow_to_the_cells_and_the_one_service_cell_that_they_need() {
    let project = project("port = \"auto\"", &[("app", READ), ("other", "RUN true\n")]);
    // Only what is asked for is built, with what it needs; the hub is the amd64 one for both platforms.
    let ran = project.run(&[&build()[..], &["app/arm64", "--json"]].concat()).exits(0);
    let cells: Vec<String> = ran.json()["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| format!("{}/{}", cell["component"].as_str().unwrap(), cell["platform"].as_str().unwrap()))
        .collect();
    assert_eq!(cells, ["app/linux/arm64", "hub/linux/amd64"]);
}

#[test]
fn d10_a_narrowed_run_takes_its_service_from_the_builders_own_platform() {
    // The hub serves what its processor is called.
    let steps = "ARG HUB_URL\nRUN wget -q -O /got $HUB_URL/list\n";
    let command = "uname -m >/www/list; exec httpd -f -p $PORT -h /www";
    let project = project(&format!("port = \"auto\"\ncommand = \"{command}\""), &[("app", steps)]);
    let (machine, native, foreign) =
        if cfg!(target_arch = "aarch64") { ("aarch64", "arm64", "amd64") } else { ("x86_64", "amd64", "arm64") };
    let narrowed = ["--platform", foreign];
    let ran = project.run(&[&build()[..], &narrowed, &["--export", "part.tar", "--json"]].concat()).exits(0);
    assert_eq!(file(&project, "app", foreign, "got"), machine, "nothing of it is emulated");
    assert!(ran.stderr.contains(&format!("needed   hub/{native}, for a service\n")), "{}", ran.stderr);
    let cells: Vec<String> =
        ran.json()["cells"].as_array().unwrap().iter().map(|cell| cell["platform"].to_string()).collect();
    assert_eq!(cells.len(), 3, "both hubs and the one dependent");
    // It is no part of what is published, nor of what is asked about.
    assert_eq!(project.run(&["status", "--json", "--platform", foreign]).json()["expected"], 2);
    let lock = Command::new("tar").args(["-xOf", "part.tar", "catamaran.json"]).current_dir(project.root()).output();
    let lock = String::from_utf8(lock.unwrap().stdout).unwrap();
    assert!(lock.contains(foreign) && !lock.contains(native), "{lock}");

    // The whole matrix takes the same one: what was built narrowed is reused.
    let whole = project.run(&[&build()[..], &["--json"]].concat()).exits(0).json();
    let state = |component: &str, platform: &str| {
        let cells = whole["cells"].as_array().unwrap();
        let of = |cell: &&serde_json::Value| {
            cell["component"] == component && cell["platform"] == format!("linux/{platform}").as_str()
        };
        cells.iter().find(of).unwrap()["state"].clone()
    };
    assert_eq!(state("app", foreign), "reused");
    assert_eq!(state("hub", native), "reused");
    assert_eq!(state("app", native), "built");
}
