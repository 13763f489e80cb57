//! Bases from registries that need a word about how to be spoken to, on a builder that is started for the run, and such a
//! builder as an ordinary user.

use std::process::Command;

use super::bench::{Bench, Who, native};
use crate::support::project::Project;
use crate::support::registry::{Make, Registry, Setup};

const CONFIG: &str = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[component.base]\n";

/// A project that is built from `base` of a registry, which is pushed there first with the same flags.
fn from_registry(registry: &Registry, host: &str, flags: &[&str]) -> Project {
    let base = Project::with(CONFIG, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    let to = format!("{}/made", registry.address);
    base.run(&[&["build", "--push", "--to", &to], flags].concat()).exits(0);
    Project::with(
        &CONFIG.replace("component.base", "component.web"),
        &[("Dockerfile", &format!("FROM {host}/made/base:latest\nCOPY Dockerfile /again\n"))],
    )
}

#[test]
fn a_base_behind_an_authority_of_its_own() {
    let registry = Registry::start(Make::Debian, &Setup { tls: true, ..Setup::default() });
    let ca = registry.authority().display().to_string();
    let project = from_registry(&registry, &registry.address, &["--ca", &ca]);
    project.run(&["build"]).exits(6);
    project.run(&["build", "--ca", &ca]).exits(0);
}

#[test]
fn a_base_of_a_registry_in_plain() {
    let registry = Registry::start(Make::Debian, &Setup::default());
    // Reaches this machine, and does not say so: nothing is taken to be plain by its name.
    let host = registry.address.replace("127.0.0.1", "0.0.0.0");
    let project = from_registry(&registry, &host, &[]);
    project.run(&["build"]).exits(6);
    project.run(&["build", "--plain-http", &host]).exits(0);
}

#[test]
fn an_ordinary_user_builds_with_the_program_alone() {
    let bench = Bench::new(Who::Ordinary);
    let config = format!("name = \"mine\"\nplatforms = [\"linux/{}\"]\n[component.web]\n", native());
    bench.write("state/catamaran.toml", &config);
    bench.write(
        "state/Dockerfile",
        "FROM scratch\nCOPY busybox /bin/sh\nRUN [\"/bin/sh\", \"-c\", \"echo made >/made\"]\n",
    );
    std::fs::copy(bench.path("busybox"), bench.path("state/busybox")).expect("copied");
    let mut command: Command = bench.program();
    let output = command.args(["-C", &bench.path("state").display().to_string(), "build"]).output().expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("1 of 1 cell: 1 built"), "{text}");
}
