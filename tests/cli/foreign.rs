use std::fs;

use snapbox::{assert_data_eq, str};

use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};
use crate::support::registry::{Make, Registry, Setup};

fn builder() -> &'static str {
    Daemon::shared().address()
}

const FOREIGN: &str = "FROM scratch\nCOPY rootfs/amd64/bin/busybox /usr/bin/tool\n";

fn config(foreign: &str) -> String {
    format!(
        "platforms = [\"linux/arm64\"]\n[component.good]\ndockerfile = \"good/Dockerfile\"\n[component.web]\n\
         dockerfile = \"web/Dockerfile\"\n{foreign}"
    )
}

#[test]
fn d19_a_program_for_another_processor_fails_its_cell() {
    let project = Project::with_shell(&config(""), &[("web/Dockerfile", FOREIGN), ("good/Dockerfile", SHELL)]);
    // Nothing answers at this registry: who gets there has another exit code.
    let ran = project.run(&["build", "--builder", builder(), "--push", "--to", "127.0.0.1:1"]).exits(7);
    let error = ran.stderr.split("\nerror: ").nth(1).expect("an error");
    assert_data_eq!(
        error.to_owned(),
        str![[r#"
web/arm64 failed: foreign executable: `usr/bin/tool` is for amd64, the image is for linux/arm64
  cause   layer 1 of 1 (`sha256:[..]`)
          made by COPY rootfs/amd64/bin/busybox /usr/bin/tool # buildkit
  fix     take a file made for linux/arm64: look at what COPY and ADD bring from
          this machine, at stages that pin `--platform`, and at downloads that
          ignore TARGETARCH
          if it is there on purpose, declare it under `web` in the project file:
          foreign = ["usr/bin/tool"]
          with a bake or compose file, on the command line: --foreign
          'web=usr/bin/tool'
  log     .catamaran/logs/web/linux-arm64.log

"#]]
    );
    assert!(ran.stdout.contains("1 of 2 cells: 1 failed."), "{}", ran.stdout);
    assert!(ran.stdout.contains("Nothing was pushed."), "{}", ran.stdout);
    // Known by its digest now, and no better.
    project.run(&["build", "--builder", builder()]).exits(7);
    project.run(&["status"]).exits(4);

    project.write("catamaran.toml", &config("foreign = [\"/usr/bin/to*\"]\n"));
    project.run(&["build", "--builder", builder()]).exits(0);
    project.run(&["verify"]).exits(0);
    project.run(&["export", "declared.tar"]).exits(0);
    project.run(&["verify", "declared.tar"]).exits(0);

    // The declaration taken back, nothing leaves, whether the layer was looked into before or not.
    project.write("catamaran.toml", &config(""));
    for _ in 0..2 {
        let ran = project.run(&["push", "--to", "127.0.0.1:1"]).exits(7);
        assert!(ran.stderr.contains("web/arm64 failed: foreign executable: `usr/bin/tool`"), "{}", ran.stderr);
        project.run(&["export", "undeclared.tar"]).exits(7);
        assert!(!project.path("undeclared.tar").exists());
        fs::remove_file(project.path(".catamaran/scans.json")).expect("it was written");
    }
    project.run(&["push", "good", "--to", "127.0.0.1:1"]).exits(6);
}

#[test]
fn d19_a_program_in_a_base_is_said_to_be_the_bases() {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let config = "platforms = [\"linux/arm64\"]\n[component.base]\n";
    let liar = Project::with_shell(
        &format!("{config}foreign = [\"bin/busybox\"]\n"),
        &[("Dockerfile", "FROM scratch\nCOPY rootfs/amd64/ /\n")],
    );
    let to = format!("{}/made", registry.address);
    liar.run(&["build", "--builder", builder(), "--push", "--to", &to]).exits(0);
    let file = format!("FROM {to}/base:latest AS first\nWORKDIR /w\nFROM first\nCOPY Dockerfile /own\nENV A=b\n");
    let project = Project::with(&config.replace("base", "web"), &[("Dockerfile", &file)]);
    let ran = project.run(&["build", "--builder", builder()]).exits(7);
    let error = ran.stderr.split("\nerror: ").nth(1).expect("an error").replace(&registry.address, "[HOST]");
    assert!(error.contains("layer 1 of 3 "), "{error}");
    assert!(error.contains("brought by the base image `[HOST]/made/base:latest`"), "{error}");
    assert!(!error.contains("made by"), "{error}");
    assert!(error.contains("name a base whose image for linux/arm64 is one"), "{error}");
    // What the Dockerfile itself brings is still said to be its own.
    let file = format!("FROM {to}/base:latest\nCOPY busybox /tool\n");
    let config = config.replace("base", "web") + "foreign = [\"bin/busybox\"]\n";
    let project = Project::with_shell(&config, &[("Dockerfile", &file)]);
    fs::copy(project.path("rootfs/amd64/bin/busybox"), project.path("busybox")).expect("a file");
    let ran = project.run(&["build", "--builder", builder()]).exits(7);
    assert!(ran.stderr.contains("made by COPY busybox /tool"), "{}", ran.stderr);
}

#[test]
fn what_was_found_in_a_layer_is_not_looked_for_again() {
    let project = Project::with_shell(&config(""), &[("web/Dockerfile", SHELL), ("good/Dockerfile", SHELL)]);
    project.run(&["build", "--builder", builder()]).exits(0);
    let path = project.path(".catamaran/scans.json");
    let text = fs::read_to_string(&path).expect("it was written");
    assert!(text.starts_with("{\"schema\":\"catamaran/scans/v1\""), "{text}");
    let written = fs::metadata(&path).expect("a file").modified().expect("a time");
    project.run(&["build", "--force", "--builder", builder()]).exits(0);
    assert_eq!(fs::metadata(&path).expect("a file").modified().expect("a time"), written);
    // Whatever stands there counts; of another version, nothing does.
    let other = text.replacen("\"diff_id\"", "\"foreign\":[[\"bin/odd\",\"s390x\"]],\"diff_id\"", 1);
    fs::write(&path, &other).expect("writable");
    let ran = project.run(&["build", "--force", "--builder", builder()]).exits(7);
    assert!(ran.stderr.contains("`bin/odd` is for s390x"), "{}", ran.stderr);
    fs::write(&path, other.replace("scans/v1", "scans/v0")).expect("writable");
    project.run(&["build", "--builder", builder()]).exits(0);
    assert_eq!(fs::read_to_string(&path).expect("it was written"), text);
}

#[test]
fn every_file_cannot_be_declared_foreign() {
    for glob in ["*", "/*", "**/*"] {
        let project = Project::with(&config(&format!("foreign = [\"{glob}\"]\n")), &[]);
        let ran = project.run(&["plan"]).exits(2);
        assert!(ran.stderr.contains(&format!("`foreign` cannot be `{glob}`: that is every file")), "{}", ran.stderr);
    }
}

#[test]
fn the_command_line_declares_what_a_bake_file_has_no_word_for() {
    let project = Project::new();
    let target = "target \"web\" {\n  dockerfile = \"web/Dockerfile\"\n  platforms = [\"linux/arm64\"]\n  tags = [\"web:1\"]\n}\n\
                  group \"default\" { targets = [\"web\"] }\n";
    project.write("docker-bake.hcl", target);
    project.write("web/Dockerfile", "FROM scratch\nCOPY . /all/\n");
    fs::create_dir_all(project.path("bin/amd64")).expect("a folder");
    fs::copy(crate::support::tools::busybox("amd64"), project.path("bin/amd64/tool")).expect("a file");
    let build = ["build", "-f", "docker-bake.hcl", "--builder", builder()];
    let ran = project.run(&build).exits(7);
    // The advice is wrapped at 80 columns.
    let words: Vec<&str> = ran.stderr.split_whitespace().collect();
    assert!(words.join(" ").contains("--foreign 'web=all/bin/amd64/tool'"), "{}", ran.stderr);
    let with = |arguments: &[&str], glob: &str| project.run(&[arguments, &["--foreign", glob]].concat());
    with(&build, "web=other/*").exits(7);
    assert!(with(&build, "wob=all/*").exits(2).stderr.contains("names no component"));
    assert!(with(&build, "web=*").exits(2).stderr.contains("is every file"));
    with(&build, "web=all/bin/*").exits(0);
    with(&["verify", "-f", "docker-bake.hcl"], "all/bin/*").exits(0);
    project.run(&["verify", "-f", "docker-bake.hcl"]).exits(7);
    with(&["export", "-f", "docker-bake.hcl", "out.tar"], "web=all/bin/*").exits(0);
    // The bundle says by itself what is meant.
    project.run(&["verify", "out.tar"]).exits(0);
}
