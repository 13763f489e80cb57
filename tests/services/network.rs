//! Where a service is found: on a builder whose containers have a network each, on two builders; and one from outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{build, file, project};
use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};
use crate::support::registry::{Make, Registry, Setup};
use crate::support::tools;

/// A port that a rootless builder could not bind; here every container has all of them.
const PORT: u16 = 80;

#[test]
fn d9_a_service_on_a_bridge_is_found_by_its_own_address_even_without_a_shell_in_its_image() {
    let daemon = Daemon::start_bridge();
    let step = format!(
        "ARG DB_PORT\nRUN wget -q -O /got http://hub:{PORT}/list; echo $(wget -q -O - http://db:$DB_PORT/srv/note) >/note; cp /etc/hosts /found\n"
    );
    let project =
        project(&format!("port = {PORT}\nready = \"http://hub:{PORT}/list\"\nneeds = [\"db\"]"), &[("app", &step)]);
    // One program, and it is neither cat nor a shell.
    for architecture in ["amd64", "arm64"] {
        let to = project.path(&format!("bare/{architecture}/httpd"));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(tools::busybox(architecture), to).unwrap();
    }
    project.write(
        "db.Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY bare/${TARGETARCH}/httpd /httpd\nCOPY www/list /srv/note\nENTRYPOINT [\"/httpd\", \"-f\", \"-h\", \"/\", \"-p\"]\n",
    );
    let config = fs::read_to_string(project.path("catamaran.toml")).unwrap();
    let config = config.replace("needs = [\"hub\"]", "needs = [\"hub\", \"db\"]");
    project.write(
        "catamaran.toml",
        &format!("{config}[component.db]\ndockerfile = \"db.Dockerfile\"\n[service.db]\nport = \"auto\"\ncommand = [\"/httpd\", \"-f\", \"-h\", \"/\", \"-p\", \"{{port}}\"]\n"),
    );
    project.run(&["build", "--builder", daemon.address(), "--progress", "plain"]).exits(0);
    for architecture in ["amd64", "arm64"] {
        assert_eq!(file(&project, "app", architecture, "got"), "packages");
        assert_eq!(file(&project, "app", architecture, "note"), "packages");
    }
    let hosts = file(&project, "app", "amd64", "found");
    let address = |name: &str| {
        let line = hosts.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_ne!(address("hub"), address("db"), "each has its own: {hosts}");
    assert!(!address("hub").starts_with("127."), "{hosts}");
}

#[test]
fn a_cell_on_another_builder_gets_its_service_there() {
    // The network of the second is another machine's, as far as the first can tell.
    let (one, two) = (Daemon::shared(), Daemon::start_bridge());
    let step = "ARG HUB_URL\nRUN wget -q -O /got $HUB_URL/list\n";
    let project = project("port = \"auto\"", &[("app", step)]);
    let config = fs::read_to_string(project.path("catamaran.toml")).unwrap();
    let builder = |name: &str, address: &str, platform: &str| {
        format!("[builder.{name}]\naddress = \"{address}\"\nplatforms = [\"linux/{platform}\"]\n")
    };
    let builders = builder("one", one.address(), "amd64") + &builder("two", two.address(), "arm64");
    project.write("catamaran.toml", &format!("{config}{builders}"));
    let ran = project.run(&["build", "--progress", "json"]).exits(0);
    let mut ready: Vec<String> = ran
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "service-ready")
        .map(|event| event["builder"].as_str().unwrap().to_owned())
        .collect();
    ready.sort();
    let mut both = [one.address().to_owned(), two.address().to_owned()];
    both.sort();
    assert_eq!(ready, both, "one on each");
    for architecture in ["amd64", "arm64"] {
        assert_eq!(file(&project, "app", architecture, "got"), "packages");
    }
}

#[test]
fn an_external_is_a_service_too() {
    let upstream = Registry::start(Make::Debian, &Setup::default());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fill-registry");
    let filled = Command::new(script).arg(&upstream.address).stdin(Stdio::null()).output().unwrap();
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let project = Project::with_shell(
        &format!(
            "name = \"s\"\nplatforms = [\"amd64\", \"arm64\"]\n[external.redis]\nimage = \"{}/redis:7-alpine\"\n\
             [service.redis]\nport = \"auto\"\ncommand = \"exec httpd -f -p $PORT -h /etc\"\n[component.app]\nneeds = [\"redis\"]\n",
            upstream.address
        ),
        &[],
    );
    project.write("Dockerfile", &format!("{SHELL}ARG REDIS_URL\nRUN wget -q -O /got $REDIS_URL/image\n"));
    project.run(&build()).exits(0);
    for architecture in ["amd64", "arm64"] {
        assert_eq!(
            file(&project, "app", architecture, "got"),
            "redis:7-alpine on amd64",
            "the builder's own serves both"
        );
    }
}
