//! Components that start from another component, on another platform than their own, on the real builder.
//!
//! The Dockerfiles judge for themselves: a RUN that finds the wrong machine's file fails the cell.

use crate::support::project::{Project, SHELL};

const CONFIG: &str = "name = \"chain\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\ncontext = \".\"\n\
    [component.base]\ndockerfile = \"base.Dockerfile\"\n[component.child]\ndockerfile = \"child.Dockerfile\"\n";

fn base() -> String {
    format!("{SHELL}RUN uname -m >/machine\n")
}

/// Takes `base` in every way there is. `uname` is the judge, but for the native machine, which only the test knows.
fn child(base: &str) -> String {
    let native = std::env::consts::ARCH;
    format!(
        "FROM --platform=$BUILDPLATFORM {base} AS tool\n\
         RUN [ \"$(cat /machine)\" = {native} ] && [ \"$(uname -m)\" = {native} ] && cp /machine /tool\n\
         COPY --from={base} /machine /other\n\
         FROM --platform=linux/arm64 {base} AS literal\n\
         FROM --platform=$TARGETPLATFORM {base} AS target\n\
         FROM {base}\n\
         COPY --from=tool /tool /other /\n\
         COPY --from=literal /machine /literal\n\
         COPY --from=target /machine /target\n\
         RUN --mount=from={base},target=/mounted cat /mounted/machine >/from-mount\n\
         RUN for file in machine other target from-mount; do [ \"$(cat /$file)\" = \"$(uname -m)\" ] || exit 1; done\n\
         RUN [ \"$(cat /tool)\" = {native} ] && [ \"$(cat /literal)\" = aarch64 ]\n"
    )
}

#[track_caller]
fn builds(project: &Project) {
    let document = project.run(&["build", "--json"]).exits(0).json();
    assert_eq!((document["complete"].as_bool(), document["present"].as_u64()), (Some(true), Some(4)));
}

#[test]
fn a_declared_context_is_taken_for_the_platform_of_each_stage() {
    let config = format!("{CONFIG}contexts = {{ Parent = \"component:base\" }}\n");
    let files = [("base.Dockerfile", base()), ("child.Dockerfile", child("parent"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    builds(&Project::with_shell(&config, &files));
}

#[test]
fn an_image_of_the_project_is_taken_for_the_platform_of_each_stage() {
    let files = [("base.Dockerfile", base()), ("child.Dockerfile", child("base:latest"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    builds(&Project::with_shell(CONFIG, &files));
}

#[test]
fn a_target_of_a_bake_file_is_taken_for_the_platform_of_each_stage() {
    let project = Project::with_shell("", &[]);
    project.write("base.Dockerfile", &base());
    project.write("child.Dockerfile", &child("parent"));
    project.write(
        "docker-bake.hcl",
        "group \"default\" { targets = [\"base\", \"child\"] }\n\
         target \"base\" {\n  dockerfile = \"base.Dockerfile\"\n  tags = [\"r.example.com/base:1\"]\n\
           platforms = [\"linux/amd64\", \"linux/arm64\"]\n}\n\
         target \"child\" {\n  dockerfile = \"child.Dockerfile\"\n  tags = [\"r.example.com/child:1\"]\n\
           contexts = { parent = \"target:base\" }\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n}\n",
    );
    let document = project.run(&["-f", "docker-bake.hcl", "build", "--json"]).exits(0).json();
    assert_eq!((document["complete"].as_bool(), document["present"].as_u64()), (Some(true), Some(4)));
}

#[test]
fn a_component_may_stand_in_for_a_stage() {
    let config = format!("{CONFIG}contexts = {{ tools = \"component:base\" }}\n");
    let child = "FROM registry.invalid/never AS tools\nFROM tools\n\
        RUN [ \"$(cat /machine)\" = \"$(uname -m)\" ]\n";
    builds(&Project::with_shell(&config, &[("base.Dockerfile", &base()), ("child.Dockerfile", child)]));
}

#[test]
fn a_tool_that_is_built_for_the_builder_alone_is_enough() {
    let native = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    let config = CONFIG.replace("[component.child]", &format!("platforms = [\"{native}\"]\n[component.child]"))
        + "contexts = { base = \"component:base\" }\n";
    let child = "FROM --platform=$BUILDPLATFORM base AS tool\nFROM scratch\nCOPY --from=tool /machine /\n";
    let project = Project::with_shell(&config, &[("base.Dockerfile", &base()), ("child.Dockerfile", child)]);
    let document = project.run(&["build", "--json"]).exits(0).json();
    assert_eq!((document["complete"].as_bool(), document["present"].as_u64()), (Some(true), Some(3)));
}

#[test]
fn a_platform_that_the_other_is_not_built_for_is_named_with_the_line() {
    let config = CONFIG.replace("[component.child]", "platforms = [\"linux/amd64\"]\n[component.child]")
        + "contexts = { base = \"component:base\" }\n";
    let child = "FROM scratch AS first\nFROM --platform=linux/arm64 base AS tool\nFROM scratch\nCOPY --from=tool / /\n";
    let project = Project::with(&config, &[("base.Dockerfile", &base()), ("child.Dockerfile", child)]);
    let ran = project.run(&["build"]).exits(2);
    for part in ["`base`", "linux/arm64", "child.Dockerfile:2", "FROM --platform=linux/arm64 base AS tool"] {
        assert!(ran.stderr.contains(part), "{part} is not in\n{}", ran.stderr);
    }
}

#[test]
fn a_builder_of_another_platform_than_planned_is_told_before_the_first_solve() {
    let config = format!("{CONFIG}contexts = {{ base = \"component:base\" }}\n");
    // Two lists say that both builders are of the foreign platform; the one that is started there is not.
    let foreign = if cfg!(target_arch = "aarch64") { "linux/amd64" } else { "linux/arm64" };
    let daemon = crate::support::daemon::Daemon::shared();
    let config = format!("{config}[builder.far]\naddress = \"{}\"\nplatforms = [\"{foreign}\"]\n", daemon.address());
    let child = "FROM --platform=$BUILDPLATFORM base AS tool\nFROM scratch\nCOPY --from=tool /machine /\n";
    let project = Project::with_shell(&config, &[("base.Dockerfile", &base()), ("child.Dockerfile", child)]);
    let ran = project.run(&["build", "--platform", foreign]).exits(5);
    for part in ["`base`", foreign, "child.Dockerfile:1", daemon.address()] {
        assert!(ran.stderr.contains(part), "{part} is not in\n{}", ran.stderr);
    }
}
