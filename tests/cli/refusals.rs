use snapbox::{assert_data_eq, str};

use crate::support::project::Project;

const PLATFORMS: &str = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n";
const SCRATCH: (&str, &str) = ("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");

/// Every command that reads the project refuses it in the same words, before anything is contacted or written.
#[track_caller]
fn refused(config: &str, files: &[(&str, &str)]) -> String {
    let project = Project::with(config, files);
    let build = project.run(&["build", "--builder", "tcp://127.0.0.1:1"]).exits(2);
    let plan = project.run(&["plan"]).exits(2);
    assert_eq!(build.shown(), plan.shown());
    assert!(!project.path(".catamaran").exists(), "nothing is written before the project is understood");
    build.shown()
}

#[test]
fn d1_an_unknown_platform_is_refused_with_its_line() {
    let shown = refused("platforms = [\"linux/amd65\", \"linux/arm64\"]\n[component.web]\n", &[SCRATCH]);
    assert_data_eq!(
        shown,
        str![[r#"
exit 2
--- stderr
error: unknown platform `linux/amd65`
  where   catamaran.toml:1:14
          > 1 | platforms = ["linux/amd65", "linux/arm64"]
              |              ^^^^^^^^^^^^^
  fix     did you mean `linux/amd64`?                                     exit 2

"#]]
    );
    let project = Project::with(&format!("{PLATFORMS}[component.web]\n"), &[SCRATCH]);
    assert_data_eq!(
        project.run(&["plan", "--platform", "amd65"]).shown(),
        str![[r"
exit 2
--- stderr
error: unknown platform `amd65`
  fix     did you mean `linux/amd64`?                                     exit 2

"]]
    );
}

#[test]
fn d1_platforms_are_normalised_and_counted_once() {
    let project = Project::with(&format!("{PLATFORMS}[component.web]\n"), &[SCRATCH]);
    let plan = project.run(&["plan", "--json", "--platform", "amd64,ARM64,linux/arm64/v8,amd64"]).exits(0).json();
    assert_eq!(plan["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(plan["cells"].as_array().map(Vec::len), Some(2));
}

#[test]
fn d2_no_platforms_anywhere_is_refused_before_connecting() {
    for config in ["[component.web]\n", "platforms = []\n[component.web]\n"] {
        let shown = refused(config, &[SCRATCH]);
        assert!(shown.contains("platforms"), "{shown}");
    }
    let project = Project::with(&format!("{PLATFORMS}[component.web]\n"), &[SCRATCH]);
    let ran = project.run(&["build", "--platform", ""]).exits(2);
    assert!(ran.stderr.contains("names no platform"), "{}", ran.stderr);
    // A platform that the project does not have would leave nothing to build.
    project.run(&["build", "--platform", "riscv64"]).exits(2);
}

#[test]
fn a_project_that_cannot_be_read_is_refused_with_its_place() {
    assert_data_eq!(
        refused("name = \"demo\"\nplatforms = [\"linux/amd64\"\n", &[]),
        str![[r"
exit 2
--- stderr
error: not valid TOML: [..]
  where   catamaran.toml:[..]
...
"]]
    );
    let circle = format!("{PLATFORMS}[component.a]\nneeds = [\"b\"]\n[component.b]\nneeds = [\"a\"]\n");
    assert_data_eq!(
        refused(&circle, &[SCRATCH]),
        str![[r"
exit 2
--- stderr
error: components need each other in a circle: [..]
...
"]]
    );
    assert_data_eq!(
        refused(&format!("{PLATFORMS}[component.web]\ndockerfile = \"web/Dockerfile\"\n"), &[]),
        str![[r"
exit 2
--- stderr
error: component `web`: there is no `web/Dockerfile`
...
"]]
    );
    assert_data_eq!(
        refused(&format!("{PLATFORMS}[component.web]\n"), &[("Dockerfile", "FORM scratch\n")]),
        str![[r"
exit 2
--- stderr
error: component `web`: [..]FORM[..]
  where   Dockerfile:1:1
...
"]]
    );
}

#[test]
fn paths_are_shown_as_the_reader_would_type_them() {
    let project =
        Project::with("", &[("os/catamaran.toml", "platforms = [\"amd65\"]\n"), ("os/Dockerfile", "FROM scratch\n")]);
    for arguments in [&["-C", "os", "plan"][..], &["-f", "os/catamaran.toml", "plan"]] {
        let ran = project.run(arguments).exits(2);
        assert!(ran.stderr.contains("  where   os/catamaran.toml:1:"), "{}", ran.stderr);
    }
    let ran = project.run(&["-f", "os/Dockerfile", "build"]).exits(2);
    assert!(ran.stderr.contains("os/Dockerfile` is a Dockerfile, and `-f` names a project file"), "{}", ran.stderr);
    assert!(ran.stderr.contains("dockerfile = \"Dockerfile\""), "{}", ran.stderr);
}

#[test]
fn names_that_mean_nothing_are_refused() {
    let project = Project::with(&format!("{PLATFORMS}[component.backend]\n"), &[SCRATCH]);
    for arguments in [&["build", "backnd"][..], &["status", "backnd"], &["plan", "backend/riscv64"]] {
        let ran = project.run(arguments).exits(2);
        assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    }
    assert_data_eq!(
        project.run(&["logs", "backnd"]).shown(),
        str![[r"
exit 2
--- stderr
error: unknown component `backnd`
  fix     did you mean `backend`?                                         exit 2

"]]
    );
}

#[test]
fn nowhere_to_push_to_is_found_before_anything_is_built() {
    let project = Project::with(&format!("{PLATFORMS}[component.web]\n"), &[SCRATCH]);
    let ran = project.run(&["build", "--push", "--builder", "tcp://127.0.0.1:1"]).exits(2);
    assert!(ran.stderr.contains("no registry to push to"), "{}", ran.stderr);
    assert!(!project.path(".catamaran").exists());
    project.run(&["push"]).exits(2);
}

#[test]
fn a_target_that_is_only_built_from_needs_no_registry() {
    let target = |name: &str, more: &str| {
        format!("target \"{name}\" {{\n  dockerfile = \"Dockerfile\"\n  platforms = [\"linux/amd64\"]\n  {more}\n}}\n")
    };
    let base = target("base", "");
    let app = |tags: &str| target("default", &format!("contexts = {{ base = \"target:base\" }}\n{tags}"));
    let project = Project::with("", &[SCRATCH]);
    std::fs::remove_file(project.path("catamaran.toml")).expect("it was written");
    let push = ["build", "--push", "--builder", "tcp://127.0.0.1:1", "-f", "docker-bake.hcl"];
    project.write("docker-bake.hcl", &(base.clone() + &app("tags = [\"127.0.0.1:1/app:1\"]")));
    // As far as the builder, who is not there.
    project.run(&push).exits(8);
    project.write("docker-bake.hcl", &(base + &app("")));
    let ran = project.run(&push).exits(2);
    let told = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let fix = "no registry to push to fix give target `default` tags = [\"registry.example.com/team/default:1.0\"] in";
    assert!(told.contains(fix), "{told}");
}

#[test]
fn a_bundle_takes_the_place_of_bundles_only() {
    let project = Project::with(&format!("{PLATFORMS}[component.web]\n"), &[SCRATCH, ("dir/file", "")]);
    let before = std::fs::read_to_string(project.path("catamaran.toml")).expect("it was written");
    for (file, what) in [("catamaran.toml", "is there, and is no bundle"), ("dir", "is a directory")] {
        let ran = project.run(&["build", "--export", file, "--builder", "tcp://127.0.0.1:1"]).exits(2);
        assert!(ran.stderr.contains(what), "{}", ran.stderr);
        let ran = project.run(&["export", file]).exits(2);
        assert!(ran.stderr.contains(what), "{}", ran.stderr);
    }
    assert_eq!(std::fs::read_to_string(project.path("catamaran.toml")).expect("still there"), before);
}

#[test]
fn a_dockerfile_that_is_a_fifo_is_refused_at_once() {
    let project = Project::with(&format!("{PLATFORMS}[component.web]\n"), &[]);
    rustix::fs::mkfifoat(rustix::fs::CWD, project.path("Dockerfile"), rustix::fs::Mode::RWXU).expect("a fifo");
    for command in ["plan", "status", "why"] {
        let ran = project.run(&[command]).exits(2);
        assert!(ran.stderr.contains("not a regular file"), "{}", ran.stderr);
    }
}

#[test]
fn a_tag_with_a_digest_is_refused() {
    let project = Project::with("", &[SCRATCH]);
    std::fs::remove_file(project.path("catamaran.toml")).expect("it was written");
    let tag = format!("r.example.com/a@sha256:{}", "1".repeat(64));
    project.write("docker-bake.hcl", &format!("target \"default\" {{\n  tags = [\"{tag}\"]\n}}\n"));
    let ran = project.run(&["plan", "-f", "docker-bake.hcl"]).exits(2);
    assert!(ran.stderr.contains("has a digest, which no image can be given"), "{}", ran.stderr);
}

#[test]
fn no_project_and_no_directory_are_said_plainly() {
    let project = Project::new();
    let ran = project.run(&["status"]).exits(2);
    assert!(ran.stderr.contains("no `catamaran.toml` in"), "{}", ran.stderr);
    let ran = project.run(&["-C", "nowhere", "status"]).exits(2);
    assert!(ran.stderr.contains("there is no directory"), "{}", ran.stderr);
    project.write("catamaran.toml", &format!("{PLATFORMS}[component.web]\n"));
    project.write("Dockerfile", SCRATCH.1);
    let ran = project.run(&["--ca", "missing.pem", "status"]).exits(2);
    assert!(ran.stderr.contains("missing.pem"), "{}", ran.stderr);
}

#[test]
fn documents_are_printed_for_configuration_errors_too() {
    let project = Project::with("platforms = [\"amd65\"]\n[component.web]\n", &[SCRATCH]);
    for (command, schema) in [("build", "catamaran/build/v1"), ("plan", "catamaran/plan/v1")] {
        let ran = project.run(&[command, "--json"]).exits(2);
        let document = ran.json();
        assert!(ran.stdout.starts_with(&format!("{{\n  \"schema\": \"{schema}\"")), "{}", ran.stdout);
        assert_eq!(document["errors"][0]["class"], "config");
        assert_eq!(document["errors"][0]["line"], 1);
    }
}

#[test]
fn d18_status_push_and_export_refuse_holes() {
    let config = format!("{PLATFORMS}registry = [\"127.0.0.1:1/demo\"]\n[component.web]\n");
    let project = Project::with(&config, &[SCRATCH]);
    assert_data_eq!(
        project.run(&["status"]).shown(),
        str![[r"
exit 4
--- stdout
     amd64                arm64
web  MISSING never built  MISSING never built

0 of 2 cells. missing: web/amd64, web/arm64                               exit 4

"]]
    );
    let status = project.run(&["status", "--json"]).exits(4).json();
    assert_eq!(status["complete"], false);
    assert_eq!((&status["expected"], &status["present"]), (&2.into(), &0.into()));
    assert_eq!(status["cells"][1]["state"], "missing");
    assert_data_eq!(
        project.run(&["push"]).shown(),
        str![[r"
exit 4
--- stderr
error: nothing was pushed: the matrix has holes: web/amd64, web/arm64
  fix     run `catamaran build`                                           exit 4

"]]
    );
    project.run(&["export", "release.tar"]).exits(4);
    project.run(&["export", "release.tar", "--allow-missing", "web/amd64"]).exits(4);
    // Globs and names mean cells as elsewhere; every hole must be meant.
    let ran = project.run(&["export", "release.tar", "--allow-missing", "*/linux/arm64"]).exits(4);
    assert!(ran.stderr.contains("the matrix has holes: web/amd64\n"), "{}", ran.stderr);
    let ran = project.run(&["export", "release.tar", "--allow-missing", "wbe/amd64"]).exits(2);
    assert!(ran.stderr.contains("did you mean `web`?"), "{}", ran.stderr);
    assert!(!project.path("release.tar").exists());
    project.run(&["verify"]).exits(4);
    project.run(&["logs", "web/amd64"]).exits(4);
}

#[test]
fn excluded_components_are_shown_and_not_counted() {
    let config = format!("{PLATFORMS}[component.web]\n[component.old]\nexclude = \"retired 2026-10\"\n");
    let project = Project::with(&config, &[SCRATCH]);
    let status = project.run(&["status", "--json"]).exits(4).json();
    assert_eq!(status["expected"], 2);
    let old = status["cells"].as_array().and_then(|cells| cells.iter().find(|cell| cell["component"] == "old"));
    assert_eq!(
        old.map(|cell| (&cell["state"], &cell["reason"])),
        Some((&"excluded".into(), &"retired 2026-10".into()))
    );
    // Names ask about what they name.
    let named = project.run(&["status", "--json", "web"]).exits(4).json();
    assert_eq!(named["cells"].as_array().map(Vec::len), Some(2));
    let build = project.run(&["build", "--json", "--builder", "tcp://127.0.0.1:1"]).exits(8).json();
    let states: Vec<&str> =
        build["cells"].as_array().expect("cells").iter().filter_map(|cell| cell["state"].as_str()).collect();
    assert_eq!(states, ["excluded", "excluded", "missing", "missing"]);
    let plan = project.run(&["plan"]).exits(0);
    assert!(plan.stdout.contains("\"retired 2026-10\""), "{}", plan.stdout);
}
