//! What a bake file asks of the builder beside its inputs, seen in what was built.

use std::fs;

use serde_json::Value;

use crate::support::project::{Project, SHELL};
use crate::support::registry::{Make, Registry, Setup};

/// The document that a descriptor points to.
fn document(project: &Project, digest: &str) -> Value {
    let path = project.path(".catamaran/layout/blobs/sha256").join(digest.trim_start_matches("sha256:"));
    serde_json::from_slice(&fs::read(path).expect("a blob")).expect("JSON")
}

/// The index that `index.json` names so.
fn index(project: &Project, name: &str) -> Value {
    let text = fs::read(project.path(".catamaran/layout/index.json")).expect("a layout");
    let root: Value = serde_json::from_slice(&text).expect("JSON");
    let entries = root["manifests"].as_array().expect("entries");
    let entry = entries.iter().find(|entry| {
        entry["annotations"].as_object().is_some_and(|all| all.values().any(|value| value.as_str() == Some(name)))
    });
    document(project, entry.expect("the name")["digest"].as_str().expect("a digest"))
}

#[test]
fn a_target_gets_what_it_asks_for() {
    let project = Project::with_shell("", &[]);
    fs::remove_file(project.path("catamaran.toml")).expect("it is there");
    let shell = SHELL.replace("${", "$${");
    let file = format!(
        r#"
target "default" {{
  tags = ["app:1"]
  dockerfile-inline = <<EOF
{shell}
FROM scratch AS made
COPY --from=0 / /
RUN [ "$(ulimit -n)" = 100 ] && [ "$(ulimit -Hn)" = 200 ]
RUN df /dev/shm | grep -q " 32768 "
RUN ! grep -q eth0 /proc/net/dev
RUN grep -q "10.1.2.3.*host.test" /etc/hosts
RUN --mount=type=secret,id=SECRET_VALUE [ "$(cat /run/secrets/SECRET_VALUE)" = from-environment ]
RUN --mount=type=secret,id=file [ "$(cat /run/secrets/file)" = from-file ]
RUN --mount=type=secret,id=named.txt [ "$(cat /run/secrets/named.txt)" = from-name ]
RUN --mount=type=secret,id=other [ "$(cat /run/secrets/other)" = from-other ]
EOF
  annotations = ["org.example.plain=1", "manifest,index:org.example.both=2", "manifest-descriptor:org.example.entry=3", "manifest[linux/arm64]:org.example.not=4"]
  attest      = ["type=provenance,mode=min", "type=sbom,disabled=true"]
  labels      = {{ "org.example.label" = "5" }}
  network     = "none"
  shm-size    = "32m"
  ulimits     = ["nofile=100:200"]
  extra-hosts = {{ "host.test" = "10.1.2.3" }}
  secret      = ["id=SECRET_VALUE", "id=file,src=secret.txt", "id=named.txt", "type=env,id=other,env=OTHER"]
}}
"#
    );
    project.write("docker-bake.hcl", &file);
    project.write("secret.txt", "from-file");
    project.write("named.txt", "from-name");
    let mut command = project.command(&["-f", "docker-bake.hcl", "build"]);
    command.env("SECRET_VALUE", "from-environment").env("OTHER", "from-other");
    project.ran(&command.output().expect("it runs")).exits(0);

    let index = index(&project, "app:1");
    assert_eq!(index["annotations"]["org.example.both"], "2");
    let entries = index["manifests"].as_array().expect("entries");
    assert_eq!(entries.len(), 2, "the image, and the attestation that was asked for: {index:#}");
    assert_eq!(entries[0]["annotations"]["org.example.entry"], "3");
    assert_eq!(entries[1]["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    let manifest = document(&project, entries[0]["digest"].as_str().expect("a digest"));
    assert_eq!(manifest["annotations"]["org.example.plain"], "1");
    assert_eq!(manifest["annotations"]["org.example.both"], "2");
    assert_eq!(manifest["annotations"].get("org.example.not"), None, "{manifest:#}");
    let config = document(&project, manifest["config"]["digest"].as_str().expect("a digest"));
    assert_eq!(config["config"]["Labels"]["org.example.label"], "5");
    project.run(&["-f", "docker-bake.hcl", "status"]).exits(0);
    project.run(&["-f", "docker-bake.hcl", "verify"]).exits(0);
}

#[test]
fn the_network_of_the_machine_has_to_be_allowed() {
    let project = Project::with_shell("", &[]);
    let shell = SHELL.replace("${", "$${");
    let file = format!(
        "target \"default\" {{\n  network = \"host\"\n  dockerfile-inline = <<EOF\n{shell}RUN cat /proc/net/dev >/dev/null\nEOF\n}}\n"
    );
    project.write("docker-bake.hcl", &file);
    let refused = project.run(&["-f", "docker-bake.hcl", "build"]).exits(2);
    assert!(refused.stderr.contains("--allow network.host"), "{}", refused.stderr);
    project.run(&["-f", "docker-bake.hcl", "build", "--allow", "network.host"]).exits(0);
}

#[test]
fn a_cache_in_a_registry_is_written_and_read() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let project = Project::with_shell("", &[]);
    let shell = SHELL.replace("${", "$${");
    let file = format!(
        r#"
target "default" {{
  tags = ["app:1"]
  dockerfile-inline = <<EOF
{shell}RUN cat /proc/sys/kernel/random/uuid >/random
EOF
  cache-to = ["type=registry,ref={0}/app:cache,mode=max"]
  cache-from = ["{0}/app:cache"]
}}
"#,
        registry.address
    );
    project.write("docker-bake.hcl", &file);
    let image = |project: &Project, state: &str| {
        project.run(&["-f", "docker-bake.hcl", "--state", state, "build"]).exits(0);
        let document = project.run(&["-f", "docker-bake.hcl", "--state", state, "status", "--json"]).json();
        document["cells"][0]["digest"].as_str().expect("a digest").to_owned()
    };
    let first = image(&project, "one");
    assert_eq!(image(&project, "two"), first, "a builder that is new to it took the step from the registry");
}

#[test]
fn stages_of_no_cache_filter_are_built_anew() {
    let project = Project::with_shell("", &[]);
    let shell = SHELL.replace("${", "$${").replacen("FROM scratch", "FROM scratch AS shell", 1);
    let file = format!(
        r#"
target "default" {{
  tags = ["app:1"]
  dockerfile-inline = <<EOF
{shell}FROM shell AS kept
RUN cat /proc/sys/kernel/random/uuid >/one
FROM shell AS anew
RUN cat /proc/sys/kernel/random/uuid >/two
FROM scratch
COPY --from=kept /one /one
COPY --from=anew /two /two
EOF
  no-cache-filter = ["anew"]
}}
"#
    );
    project.write("docker-bake.hcl", &file);
    let layers = || {
        project.run(&["-f", "docker-bake.hcl", "build", "--force"]).exits(0);
        let index = index(&project, "app:1");
        let manifest = document(&project, index["manifests"][0]["digest"].as_str().expect("a digest"));
        let layers = manifest["layers"].as_array().expect("layers").clone();
        (layers[0]["digest"].clone(), layers[1]["digest"].clone())
    };
    let (first, second) = (layers(), layers());
    assert_eq!(first.0, second.0, "the other stage comes from the cache");
    assert_ne!(first.1, second.1, "the stage of the filter does not");
}

#[test]
fn what_is_not_done_is_told_once() {
    let project = Project::new();
    project.write(
        "docker-bake.hcl",
        r#"
group "default" { targets = ["a", "b", "lint"] }
target "a" {
  output   = ["type=local,dest=out"]
  cache-to = ["type=local,dest=cache", "type=gha"]
}
target "b" {
  output = ["type=local,dest=out", "type=registry,compression=zstd"]
  tags   = ["b:1"]
  policy = ["filename=policy.rego"]
  annotations = ["index-descriptor:k=v"]
}
target "lint" { call = "lint" }
"#,
    );
    project.write("Dockerfile", "FROM scratch\nCOPY x /x\n");
    project.write("x", "x");
    let plan = project.run(&["-f", "docker-bake.hcl", "plan"]).exits(0);
    assert_eq!(plan.stderr, include_str!("not_done.txt"), "{}", plan.stderr);
    assert!(
        plan.stdout.contains("excluded  lint  Dockerfile  \"its `call` is `lint`: it makes no image\""),
        "{}",
        plan.stdout
    );
    let document = project.run(&["-f", "docker-bake.hcl", "plan", "--json"]).json();
    assert_eq!(document["warnings"].as_array().map(Vec::len), Some(7), "{document:#}");
    assert!(!project.path("out").exists());

    project.write(
        "refused.hcl",
        "target \"default\" {\n  network = \"mine\"\n  entitlements = [\"all\"]\n  ssh = [\"k=a,b\"]\n}\n",
    );
    let refused = project.run(&["-f", "refused.hcl", "plan"]).exits(2);
    for part in ["knows no network `mine`", "no entitlement `all`", "names several keys"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
}
