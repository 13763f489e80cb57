//! A project file printed for bake: the reference builds the same from it.

use std::process::Command;

use serde_json::Value;

use crate::support::project::Project;
use crate::support::tools::tool;

#[test]
fn a_project_file_is_printed_as_bake_reads_it() {
    let project = Project::with(
        r#"
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]
registry = ["r.example.com/team"]
tag = "v1"

[vars]
set = { NAME = "value" }

[group]
all = ["app", "base"]

[component.base]
dockerfile = "src/base/Dockerfile.tpl"

[component.app]
dockerfile = "src/app/Dockerfile"
context    = "src/app"
args       = { COST = "${NAME} $${x} %{y}" }
labels     = { "org.example.a" = "b" }

[component.app.platform.arm64]
args = { ONLY = "arm" }

[component.odd]
dockerfile = "src/odd/Dockerfile"
exclude = "not now"
"#,
        &[
            ("src/base/Dockerfile.tpl", "FROM scratch\nLABEL n={{NAME}} m=${UNSET}\nCOPY x /x\n"),
            ("src/app/Dockerfile", "ARG ONLY\nFROM r.example.com/team/base:v1\nCOPY x /y\n"),
            ("src/odd/Dockerfile", "FROM scratch\n"),
            ("src/app/x", "x"),
            ("x", "x"),
        ],
    );
    let printed = project.run(&["plan", "--print", "bake"]).exits(0);
    project.write("printed.json", &printed.stdout);
    let reference = |names: &[&str]| -> Value {
        let mut command = Command::new(tool("bin/buildx"));
        command.args(["bake", "-f", "printed.json", "--print"]).args(names).current_dir(project.root());
        let output = command.output().expect("buildx; run `scripts/setup test`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let resolved = reference(&[]);
    let target = &resolved["target"];
    let names: Vec<&String> = target.as_object().expect("targets").keys().collect();
    assert_eq!(names, ["app_amd64", "app_arm64", "base"], "{resolved:#}");
    assert_eq!(target["base"]["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(target["base"]["dockerfile-inline"], "FROM scratch\nLABEL n=value m=$${UNSET}\nCOPY x /x\n");
    assert_eq!(target["app_amd64"]["context"], "src/app");
    assert_eq!(target["app_amd64"]["contexts"]["r.example.com/team/base:v1"], "target:base");
    assert_eq!(target["app_amd64"]["args"]["COST"], "value $${x} %%{y}", "as the reference prints what it would pass");
    assert_eq!(target["app_arm64"]["args"]["ONLY"], "arm");
    assert_eq!(target["app_arm64"]["tags"], serde_json::json!(["r.example.com/team/app:v1"]));
    assert_eq!(reference(&["app"])["group"]["app"]["targets"].as_array().map(Vec::len), Some(2));
    let refused = project.run(&["plan", "--set", "app.tags=x"]).exits(2);
    assert!(refused.stderr.contains("overrides a target of a bake file"), "{}", refused.stderr);
}

#[test]
fn every_form_of_set_reaches_a_bake_file() {
    let project = Project::new();
    project.write(
        "docker-bake.hcl",
        "variable \"V\" { default = \"0\" }\ntarget \"default\" {\n  tags = [\"a:1\"]\n  args = { v = V, keep = \"1\" }\n}\n",
    );
    project.write("Dockerfile", "FROM scratch\nCOPY x /x\n");
    let mut command = project.command(&[
        "-f",
        "docker-bake.hcl",
        "--set",
        "V=2",
        "--set",
        "*.tags+=b:1",
        "--set",
        "default.args.TOKEN",
    ]);
    command.args(["--set", "def*.args.keep=2=3", "plan", "--print", "bake"]).env("TOKEN", "from-environment");
    let printed = project.ran(&command.output().expect("it runs")).exits(0).json();
    let target = &printed["target"]["default"];
    assert_eq!(target["tags"], serde_json::json!(["a:1", "b:1"]));
    assert_eq!(target["args"], serde_json::json!({"TOKEN": "from-environment", "keep": "2=3", "v": "2"}));
    let mut command = project.command(&["-f", "docker-bake.hcl", "plan", "--print", "bake"]);
    let printed = project.ran(&command.env("V", "3").output().expect("it runs")).exits(0).json();
    assert_eq!(printed["target"]["default"]["args"]["v"], "3", "a variable of the environment");
}

#[test]
fn metadata_of_git_is_on_images_by_choice() {
    let project = Project::with(
        "platforms = [\"linux/amd64\"]\nmetadata = \"git\"\nepoch = \"git\"\ntag = \"{git}\"\n\n[component.app]\nlabels = { \"org.opencontainers.image.source\" = \"mine\" }\n",
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /x\n"), (".gitignore", "/.catamaran\n")],
    );
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"];
        let output = Command::new("git").arg("-C").arg(project.root()).args(identity).args(arguments).output();
        let output = output.expect("git runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let refused = project.run(&["plan"]).exits(2);
    assert!(refused.stderr.contains("`metadata = \"git\"` has no commit"), "{}", refused.stderr);
    git(&["init", "-q"]);
    git(&["remote", "add", "origin", "https://user:secret@example.com/team/app.git"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first", "--date=2026-01-02T03:04:05Z"]);
    git(&["tag", "v1.2.3"]);
    let printed = project.run(&["plan", "--print", "bake"]).exits(0).json();
    let app = &printed["target"]["app"];
    assert_eq!(app["labels"]["org.opencontainers.image.revision"], git(&["rev-parse", "HEAD"]).as_str());
    assert_eq!(app["labels"]["org.opencontainers.image.version"], "v1.2.3");
    assert_eq!(app["labels"]["org.opencontainers.image.source"], "mine", "what is written wins");
    assert!(
        app["labels"]["org.opencontainers.image.created"].as_str().is_some_and(|time| time.ends_with('Z')),
        "{app:#}"
    );
    let annotations = app["annotations"].to_string();
    assert!(
        annotations.contains("manifest:org.opencontainers.image.source=https://example.com/team/app"),
        "{annotations}"
    );
    assert!(!printed.to_string().contains("secret"), "{printed:#}");
    project.write("Dockerfile", "FROM scratch\n");
    let printed = project.run(&["plan", "--print", "bake"]).exits(0).json();
    let revision = printed["target"]["app"]["labels"]["org.opencontainers.image.revision"].to_string();
    assert!(revision.contains("-dirty"), "{revision}");
}

#[test]
fn a_mistake_of_an_inline_dockerfile_names_no_file() {
    let project = Project::with(
        "platforms = [\"linux/amd64\"]\n[component.web]\ndockerfile-inline = \"FROM scratch\\nNOPE x\\n\"\n",
        &[],
    );
    let ran = project.run(&["plan"]).exits(2);
    assert!(ran.stderr.contains("dockerfile-inline of web:2:1"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("/Dockerfile"), "{}", ran.stderr);
}
