use std::fmt::Write as _;

use catamaran::config::init::propose;
use catamaran::config::{DiskFiles, LoadRequest, load};
use catamaran::plan::{NeedReason, PlanOptions, bake_document, plan};

use super::Folder;

/// A tree that shell scripts build: foundation and dependent folders, templates, targets, mirrored images.
fn tree() -> Folder {
    let folder = Folder::new(&[
        (".env", "IMAGE_TAG=v0.3.8\nMIRROR=m.example.com\n"),
        ("deps.yaml", "golang: 1.25\nredis: 7-alpine\n"),
        ("go.mod", ""),
        ("src/shared/lib.sh", ""),
        (
            "src/slurm/Dockerfile.tpl",
            "FROM alpine AS master\nCOPY src/shared/lib.sh /\nFROM alpine AS worker\nCOPY src/shared/ /\n",
        ),
        ("src/slurm/build.conf", "BUILD_PHASE=dependent\n"),
        ("src/slurm/build-targets.conf", "# target image\nmaster slurm-master\nworker  slurm-worker # two\nbroken\n"),
        ("src/redis/dependency.conf.tpl", "# upstream\nredis:{{REDIS_VERSION}}\n"),
        ("src/nginx/Dockerfile.backup", "FROM old\n"),
    ]);
    for number in 0..26 {
        let (name, phase) =
            if number < 4 { (format!("base{number}"), "foundation") } else { (format!("app{number}"), "dependent") };
        folder.write(
            &format!("src/{name}/Dockerfile.tpl"),
            "FROM golang:{{GOLANG_VERSION}}\nARG MIRROR\nCOPY go.mod src/shared/ /src/\n",
        );
        folder.write(&format!("src/{name}/build.conf"), &format!("# how\nBUILD_PHASE={phase}\n"));
    }
    folder.write("src/nginx/Dockerfile", "FROM alpine\nCOPY src/shared/ /x\n");
    folder.write("src/nginx/build.conf", "BUILD_PHASE=\"dependent\"\nBUILD_ARGS=--squash\n");
    folder.write("src/app5/Dockerfile", "FROM golang:1.25\n");
    folder
}

#[test]
fn d27_a_scripted_tree_becomes_a_short_project_file() {
    let folder = tree();
    let proposal = propose(folder.path()).expect("readable");
    assert!(proposal.text.lines().count() <= 120, "{}", proposal.text);
    let mut notes = String::new();
    for note in &proposal.notes {
        let _ = writeln!(notes, "{}: {}", note.path.display(), note.text);
    }
    let shown = format!("{}\n---\n{notes}", proposal.text.lines().skip(1).collect::<Vec<_>>().join("\n"));
    snapbox::assert_data_eq!(shown, snapbox::file!["init_tree.txt"].raw());

    // A backup is asked about; once that is settled, the file plans to what the scripts built.
    std::fs::remove_file(folder.path().join("src/nginx/Dockerfile.backup")).expect("removable");
    folder.write("catamaran.toml", &proposal.text);
    let planned = folder.planned();
    assert_eq!(planned.components.len(), proposal.components);
    assert_eq!(planned.components.len(), 26 + 1 + 2 + 1);
    assert_eq!(planned.cells.len(), 30 * 2);
    // What the scripts built: every image from its file, the foundation before what depends on it.
    for number in 0..26 {
        let name = if number < 4 { format!("base{number}") } else { format!("app{number}") };
        let found = planned.components.iter().find(|component| component.name.as_str() == name).expect("is there");
        let dockerfile = format!("src/{name}/Dockerfile.tpl");
        assert_eq!(found.dockerfile.as_deref(), Some(std::path::Path::new(&dockerfile)));
        let needs: Vec<_> = found.needs.iter().map(|need| need.name.to_string()).collect();
        let foundation: &[&str] = if number < 4 { &[] } else { &["base0", "base1", "base2", "base3"] };
        assert_eq!(needs, foundation, "{name}");
        assert_eq!(found.phase, if number < 4 { 1 } else { 2 }, "{name}");
    }
    assert_eq!(planned.tag, "v0.3.8");
    let worker =
        planned.components.iter().find(|component| component.name.as_str() == "slurm-worker").expect("is there");
    let needs: Vec<_> = worker.needs.iter().map(|need| need.name.as_str()).collect();
    assert_eq!(needs, ["base0", "base1", "base2", "base3"]);
    assert!(worker.needs.iter().all(|need| need.reason == NeedReason::Declared));
    assert_eq!(worker.phase, 2);
}

#[test]
fn a_component_that_others_ask_by_name_runs_while_they_are_built() {
    let folder = Folder::new(&[
        ("src/hub/Dockerfile", "FROM scratch\nRUN curl http://hub:80/ http://mirror.test:80/\n"),
        ("src/app/Dockerfile", "FROM scratch\n# http://cache:1/\nRUN curl http://hub:8081/a http://hub:8081/b\n"),
        ("src/cache/Dockerfile", "FROM scratch\nRUN curl http://hub:9000/\n"),
    ]);
    let proposal = propose(folder.path()).expect("readable");
    assert!(proposal.text.ends_with("\n[service.hub]\nport = 8081\n"), "{}", proposal.text);
    let notes: Vec<&str> = proposal.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(notes.contains(&"asks `hub:8081`: `hub` runs while it is built"), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("port 9000 here and 8081 elsewhere")), "{notes:?}");
    folder.write("catamaran.toml", &proposal.text);
    let planned = folder.planned();
    let served = |cell: &&catamaran::plan::Cell| !cell.services.is_empty();
    let names: Vec<String> = planned.cells.iter().filter(served).map(|cell| cell.id.to_string()).collect();
    assert_eq!(names, ["app/amd64", "app/arm64", "cache/amd64", "cache/arm64"]);
}

#[test]
fn plain_dockerfiles_keep_their_contexts() {
    let folder = Folder::new(&[
        ("shop/Dockerfile", "FROM scratch\nCOPY . /\n"),
        ("shop/services/API/Dockerfile", "FROM scratch\nCOPY app.py /\n"),
        ("shop/services/API/app.py", ""),
        ("shop/services/web/Dockerfile", "FROM scratch\nCOPY . /\n"),
        ("shop/tools/web/Containerfile", "FROM scratch\nCOPY tools/web/x /\n"),
        ("shop/tools/web/x", ""),
        ("shop/node_modules/x/Dockerfile", "FROM scratch\n"),
        ("shop/docker-compose.yml", "services: {}\n"),
    ]);
    let proposal = propose(&folder.path().join("shop")).expect("readable");
    let mut notes = String::new();
    for note in &proposal.notes {
        let _ = writeln!(notes, "{}: {}", note.path.display(), note.text);
    }
    let shown = format!("{}\n---\n{notes}", proposal.text.lines().skip(1).collect::<Vec<_>>().join("\n"));
    snapbox::assert_data_eq!(shown, snapbox::file!["init_plain.txt"].raw());
    folder.write("shop/catamaran.toml", &proposal.text);
    let mut request = folder.request();
    request.directory.push("shop");
    let planned = folder.plan(&request, &PlanOptions::default()).expect("plans");
    assert_eq!(planned.components.len(), 4);
}

const BAKE: &str = r#"
variable "TAG" { default = "1.2" }
group "default" { targets = ["web", "all-tools"] }
group "all-tools" { targets = ["tools"] }
target "_common" {
  platforms = ["linux/amd64", "linux/arm64"]
  args      = { FROM_COMMON = "a $b \"c\"" }
}
target "base" {
  inherits   = ["_common"]
  dockerfile = "base/Dockerfile"
}
target "web" {
  inherits    = ["_common"]
  context     = "web"
  contexts    = { base = "target:base", extra = "extra" }
  target      = "last"
  tags        = ["r.example.com/team/web:${TAG}", "r.example.com/team/web:latest", "mirror.example.com/web:${TAG}", "mirror.example.com/web:latest", "other.example.com/odd:1"]
  labels      = { "org.example.a" = "b" }
  annotations = ["index:org.example.c=d", "org.example.e=f"]
  secret      = ["id=token,env=TOKEN", "id=key,src=key.pem"]
  cache-from  = ["type=registry,ref=r.example.com/cache"]
  network     = "none"
  shm-size    = "64m"
  no-cache    = true
}
target "tools" {
  matrix           = { v = ["1", "2"] }
  name             = "tools_${v}"
  dockerfile-inline = "FROM scratch\nARG V=${v}\nCOPY x /x\n"
  platforms        = ["linux/amd64"]
  tags             = ["tools:${v}"]
}
target "lint" {}
"#;

const COMPOSE: &str = "services:\n  api:\n    image: r.example.com/api:3\n    build:\n      context: ./api\n      args: [A=1]\n      \
                       platforms: [linux/amd64]\n      extra_hosts: [\"db=10.0.0.1\"]\n    ports: [\"80:80\"]\n  db:\n    image: redis:7\n";

/// The same images from the project file that `init` writes as from the file it read, said as a bake file.
fn means_the_same(folder: &Folder, file: &str) -> String {
    let document = |request: &LoadRequest| {
        let project = load(request).unwrap_or_else(|error| panic!("{file}: {error}"));
        let planned = plan(&project, &PlanOptions::default(), &DiskFiles).unwrap_or_else(|error| panic!("{error}"));
        bake_document(&project, &planned)
    };
    let mut before = document(&LoadRequest { files: vec![file.into()], ..folder.request() });
    let proposal = propose(folder.path()).expect("readable");
    folder.write("catamaran.toml", &proposal.text);
    let mut after = document(&folder.request());
    // The one name that no product of prefixes and tags has, and those whose order is another.
    for document in [&mut before, &mut after] {
        for target in document["target"].as_object_mut().expect("targets").values_mut() {
            let tags = target["tags"].as_array_mut().expect("tags");
            tags.retain(|tag| tag != "other.example.com/odd:1");
            tags.sort_by_key(ToString::to_string);
        }
    }
    assert_eq!(before["target"], after["target"], "{}", proposal.text);
    assert_eq!(proposal.components, before["target"].as_object().expect("targets").len());
    let notes = proposal.notes.iter().map(|note| format!("{}: {}\n", note.path.display(), note.text));
    notes.collect()
}

#[test]
fn bake_and_compose_files_are_carried_over() {
    let dockerfile = "FROM base AS last\nCOPY --from=extra x /\n";
    let folder = Folder::new(&[
        ("docker-bake.hcl", BAKE),
        ("base/Dockerfile", "FROM scratch\nCOPY x /\n"),
        ("web/Dockerfile", dockerfile),
        ("left/Dockerfile", "FROM scratch\n"),
        ("Dockerfile", "FROM scratch\n"),
        ("x", ""),
        ("extra/x", ""),
    ]);
    let notes = means_the_same(&folder, "docker-bake.hcl");
    for expected in [
        "`web`: the name `other.example.com/odd:1`: not carried over",
        "the target `lint` is outside of `default`: not carried over",
        "left/Dockerfile: no target is built from it: left out",
        "`tools_1`: its name says no registry",
    ] {
        assert!(notes.contains(expected), "{expected}:\n{notes}");
    }
    let folder = Folder::new(&[("compose.yaml", COMPOSE), ("api/Dockerfile", "FROM scratch\nARG A\nCOPY x /\n")]);
    means_the_same(&folder, "compose.yaml");
    // What cannot be understood is said, and the Dockerfiles are found as ever.
    folder.write("compose.yaml", "services: [\n");
    let proposal = propose(folder.path()).expect("readable");
    assert_eq!(proposal.components, 1);
    assert!(proposal.notes.iter().any(|note| note.text.starts_with("not understood: ")), "{:?}", proposal.notes);
}
