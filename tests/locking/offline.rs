use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::upstream::{Upstream, raw};
use crate::support::daemon::Daemon;
use crate::support::project::{Project, Ran};
use crate::support::registry::{Make, system_program};

fn upstream() -> Upstream {
    let upstream = Upstream::start(Make::Debian);
    for name in ["base:1", "tool:1", "other:1", "redis:7"] {
        upstream.push(&upstream.attested(name), name);
    }
    upstream
}

fn project(upstream: &Upstream) -> Project {
    let (base, tool, redis) = (upstream.name("base:1"), upstream.name("tool:1"), upstream.name("redis:7"));
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM {tool} AS tools\nFROM {base}\nCOPY --from=tools /etc/name /etc/tool\n\
         COPY --from={base} /etc/name /etc/again\nCOPY --from=other /etc/name /etc/other\n"
    );
    let other = upstream.name("other:1");
    Project::with(
        &format!(
            "name = \"offline\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\
             [component.web]\ncontexts = {{ other = \"docker-image://{other}\" }}\n[external.redis]\nimage = \"{redis}\"\n"
        ),
        &[("Dockerfile", &dockerfile)],
    )
}

/// The program in a network namespace of its own, where nothing but a socket in the file system leads out. Its one interface
/// is up, so that even a question to a name server of this machine would be a packet: there must be none.
fn without_network(project: &Project, arguments: &[&str]) -> Ran {
    let mut inner = project.command(arguments);
    let mut command = Command::new(system_program("unshare"));
    let script = "ip link set lo up && { \"$@\"; code=$?; cat /proc/net/dev >packets; exit $code; }";
    command
        .args(["--net", "--", "sh", "-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(project.root());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    inner.stdin(std::process::Stdio::null());
    let ran = project.ran(&command.output().expect("unshare runs"));
    let counters = std::fs::read_to_string(project.path("packets")).unwrap_or_else(|error| {
        panic!("`ip` is missing ({error}): run scripts/setup test\n{}", ran.stderr);
    });
    let loopback = counters.lines().find_map(|line| line.trim().strip_prefix("lo:")).expect("an interface");
    assert!(loopback.split_whitespace().all(|count| count == "0"), "packets were sent: {loopback}");
    ran
}

fn online(project: &Project, arguments: &[&str]) -> Ran {
    let mut command = project.command(arguments);
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    project.ran(&command.output().expect("the program starts"))
}

fn index_digests(document: &Value) -> Vec<String> {
    let indexes = document["indexes"].as_array().expect("indexes");
    indexes.iter().map(|index| index["digest"].as_str().expect("a digest").to_owned()).collect()
}

fn layout(project: &Project) -> PathBuf {
    project.path(".catamaran/layout")
}

#[test]
fn d23_after_prefetch_a_build_without_a_network_makes_the_same_digests() {
    let upstream = upstream();
    let project = project(&upstream);
    let build = |daemon: &Daemon| ["build", "--json", "--builder", daemon.address()].map(str::to_owned);
    let expected = {
        let daemon = Daemon::start();
        let arguments = build(&daemon);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        index_digests(&online(&project, &arguments).exits(0).json())
    };
    assert_eq!(expected.len(), 2);
    std::fs::remove_dir_all(project.path(".catamaran")).expect("removable");

    // A fresh builder, so that nothing is in its cache; nothing but catamaran has the bases.
    let daemon = Daemon::start();
    project.run(&["lock"]).exits(0);
    let ran = without_network(&project, &["build", "--offline", "--json", "--builder", daemon.address()]).exits(5);
    for part in ["base:1` for linux/amd64", "other:1` for linux/arm64", "redis:7` for redis/", "catamaran prefetch"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
    assert!(ran.stderr.contains("tool:1"), "all findings at once: {}", ran.stderr);

    let ran = project.run(&["prefetch", "--json"]).exits(0).json();
    assert!(ran["fetched"].as_u64().expect("a number") > 0);
    assert!(std::fs::read_to_string(layout(&project).join("index.json")).expect("a file").contains("\"manifests\":[]"));
    assert_eq!(project.run(&["prefetch", "--json"]).exits(0).json()["fetched"], 0, "what is there is not fetched");
    // Upstream is gone, with everything that leads to it.
    drop(upstream);
    let build = ["build", "--offline", "--json", "--builder", daemon.address(), "--export", "release.tar"];
    let ran = without_network(&project, &build).exits(0);
    assert_eq!(index_digests(&ran.json()), expected);
    project.run(&["verify"]).exits(0);
    project.run(&["verify", "release.tar"]).exits(0);
}

#[test]
fn without_a_lock_offline_builds_go_by_the_last_prefetch() {
    let upstream = upstream();
    let project = project(&upstream);
    project.run(&["prefetch"]).exits(0);
    assert!(!project.path("catamaran.lock").exists());
    drop(upstream);
    let daemon = Daemon::start();
    without_network(&project, &["build", "--offline", "--builder", daemon.address()]).exits(0);
    // A base that came later is found out before anything starts.
    project.write("Dockerfile", "FROM registry.example/later:1\nCOPY --from=localhost/here /x /\n");
    let ran = without_network(&project, &["build", "--offline", "--builder", daemon.address()]).exits(5);
    for part in ["registry.example/later:1", "localhost/here", "Dockerfile:1"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
    project.run(&["build", "--offline", "--push"]).exits(2);
}

#[test]
fn a_locked_base_is_what_the_builder_pulls_whatever_its_tag_shows() {
    let upstream = upstream();
    let project = project(&upstream);
    // A stage of the name of a base: a named context would take its place.
    let (base, tool) = (upstream.name("base:1"), upstream.name("tool:1"));
    project.write("Dockerfile", &format!("FROM {tool} AS base\nFROM {base}\nCOPY --from=base /etc/name /etc/tool\n"));
    let daemon = Daemon::start();
    let build = ["build", "web", "--json", "--builder", daemon.address()];
    project.run(&["lock"]).exits(0);
    let expected = index_digests(&online(&project, &build).exits(0).json());
    for name in ["base:1", "tool:1"] {
        upstream.push(&upstream.attested(&format!("{name} newer")), name);
    }
    let other = Daemon::start();
    let build = ["build", "web", "--json", "--builder", other.address()];
    assert_eq!(index_digests(&online(&project, &build).exits(0).json()), expected);
    project.run(&["lock", "--update", "*"]).exits(0);
    assert_ne!(index_digests(&online(&project, &build).exits(0).json()), expected);
    assert!(!raw(&format!("docker://{base}")).is_empty());
}

#[test]
fn a_frontend_that_is_not_there_is_stood_in_for_and_that_is_said() {
    let project = Project::with(
        "name = \"syntax\"\nplatforms = [\"linux/amd64\"]\n[component.web]\n",
        &[("Dockerfile", "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY catamaran.toml /\n")],
    );
    let daemon = Daemon::start();
    let ran = without_network(&project, &["build", "--offline", "--builder", daemon.address()]).exits(0);
    assert!(ran.stderr.contains("the builder's own frontend"), "{}", ran.stderr);
    project.write("Dockerfile", "# syntax=some/language:1\nFROM scratch\n");
    let ran = without_network(&project, &["build", "--offline", "--builder", daemon.address()]).exits(5);
    assert!(ran.stderr.contains("some/language:1"), "{}", ran.stderr);
}

#[test]
fn a_frontend_that_is_known_by_its_digest_is_never_stood_in_for() {
    let digest = format!("sha256:{}", "5a".repeat(32));
    let project = Project::with(
        "name = \"syntax\"\nplatforms = [\"linux/amd64\"]\n[component.job]\ndockerfile = \"job/Dockerfile\"\n[component.web]\n",
        &[
            ("Dockerfile", "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY catamaran.toml /\n"),
            (
                "job/Dockerfile",
                &format!(
                    "# check=skip=all\n# syntax=docker/dockerfile@{digest}\nFROM scratch\nCOPY catamaran.toml /\n"
                ),
            ),
            (
                "catamaran.lock",
                &format!(
                    "version = 1\n\n[image.\"docker.io/docker/dockerfile:1\"]\ndigest = \"{digest}\"\n\"linux/amd64\" = \"{digest}\"\n"
                ),
            ),
        ],
    );
    let daemon = Daemon::start();
    let ran = without_network(&project, &["build", "--offline", "--json", "--builder", daemon.address()]).exits(5);
    let job = format!(
        "`job` is read by the frontend `docker/dockerfile@{digest}` for linux/amd64, which is not in the layout"
    );
    for part in [
        "`web` is read by the frontend `docker/dockerfile:1` for linux/amd64, which is not in the layout",
        job.as_str(),
        "where   Dockerfile:1:10",
        "job/Dockerfile:2:10",
        "run `catamaran prefetch` where there is a network",
    ] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("the builder's own frontend"), "{}", ran.stderr);
    for cell in ran.json()["cells"].as_array().expect("cells") {
        assert_eq!((&cell["state"], &cell["log"]), (&Value::from("missing"), &Value::Null), "nothing was started");
    }
    // Without the lock nobody knows which one it was to be.
    std::fs::remove_file(project.path("catamaran.lock")).expect("removable");
    let ran = without_network(&project, &["build", "web", "--offline", "--builder", daemon.address()]).exits(0);
    assert!(ran.stderr.contains("the builder's own frontend"), "{}", ran.stderr);
}
