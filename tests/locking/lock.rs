use std::fs;

use super::upstream::Upstream;
use crate::support::project::Project;
use crate::support::registry::Make;

/// A project of one component from two bases (one of them for the builder), and one external.
fn project(upstream: &Upstream) -> Project {
    let (base, tool, redis) = (upstream.name("base:1"), upstream.name("tool:1"), upstream.name("redis:7"));
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM {tool} AS tools\nFROM {base}\nCOPY --from=tools /etc/name /etc/tool\n\
         COPY --from={base} /etc/name /etc/again\n"
    );
    Project::with(
        &format!(
            "name = \"locked\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\
             [component.web]\n[external.redis]\nimage = \"{redis}\"\n"
        ),
        &[("Dockerfile", &dockerfile)],
    )
}

fn upstream() -> Upstream {
    let upstream = Upstream::start(Make::Debian);
    for name in ["base:1", "tool:1", "redis:7"] {
        upstream.push(&upstream.attested(name), name);
    }
    upstream
}

fn lock_of(project: &Project) -> String {
    fs::read_to_string(project.path("catamaran.lock")).expect("a lock")
}

#[test]
fn a_lock_holds_every_image_by_digest_and_changes_only_where_it_is_told_to() {
    let upstream = upstream();
    let project = project(&upstream);
    let ran = project.run(&["lock"]).exits(0);
    assert!(ran.stdout.contains("3 images"), "{}", ran.stdout);
    let first = lock_of(&project);
    assert!(first.contains("version = 1\n"));
    assert_eq!(first.matches("digest = ").count(), 3, "{first}");
    assert_eq!(first.matches("\"linux/arm64\" = ").count(), 3, "{first}");
    let names: Vec<&str> = first.lines().filter(|line| line.starts_with("[image")).collect();
    assert!(names.is_sorted(), "{names:?}");
    project.run(&["lock", "--check"]).exits(0);

    // Tags move; the lock does not.
    let moved = upstream.attested("redis, newer");
    upstream.push(&moved, "redis:7");
    upstream.push(&upstream.attested("base, newer"), "base:1");
    let ran = project.run(&["lock"]).exits(0);
    assert!(ran.stdout.contains("up to date"), "{}", ran.stdout);
    assert_eq!(lock_of(&project), first);
    // What is locked is what is mirrored.
    let document = project.run(&["build", "redis", "--json"]).exits(0).json();
    let digest = document["indexes"][0]["digest"].as_str().expect("a digest");
    assert!(first.contains(digest) && digest != moved.digest.to_string());

    let ran = project.run(&["lock", "--update", "redis"]).exits(0);
    assert!(ran.stdout.contains("1 image changed"), "{}", ran.stdout);
    let second = lock_of(&project);
    assert!(second.contains(&moved.digest.to_string()));
    let changed = first.lines().zip(second.lines()).filter(|(before, after)| before != after).count();
    assert_eq!(changed, 3, "only its own lines: the index and two platforms");
    project.run(&["lock", "--update", "nothing*"]).exits(2);
}

#[test]
fn a_lock_whose_halves_are_from_different_sides_is_refused() {
    let upstream = upstream();
    let project = project(&upstream);
    project.run(&["lock"]).exits(0);
    let text = lock_of(&project);
    let digest = text.lines().find_map(|line| line.strip_prefix("\"linux/amd64\" = ")).expect("a platform");
    let mixed: Vec<String> =
        text.lines()
            .map(|line| {
                if line.starts_with("\"linux/arm64\"") {
                    format!("\"linux/arm64\" = {digest}")
                } else {
                    line.to_owned()
                }
            })
            .collect();
    project.write("catamaran.lock", &mixed.join("\n"));
    let ran = project.run(&["prefetch"]).exits(7);
    for part in ["on linux/arm64, and what it points to has", "--update"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
}

#[test]
fn what_is_locked_and_gone_is_told_with_who_takes_it_and_the_way_out() {
    let upstream = upstream();
    let project = project(&upstream);
    project.run(&["lock"]).exits(0);
    let text = lock_of(&project);
    for (name, component) in [("base:1", "`web`"), ("redis:7", "`redis`")] {
        let name = upstream.name(name);
        let (before, after) = text.split_once(&format!("{name}\"]\ndigest = \"sha256:")).expect("an entry");
        let lost = "0".repeat(64);
        let edited = format!("{before}{name}\"]\ndigest = \"sha256:{lost}{}", &after[64..]);
        project.write("catamaran.lock", &edited);
        let ran = project.run(&["prefetch"]).exits(6);
        let update = format!("`catamaran lock --update {name}`");
        for part in [component, &format!("is locked as `sha256:{lost}`, which the registry has no more"), &update] {
            assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("for mistakes"), "{}", ran.stderr);
    }
    project.write("catamaran.lock", &text);
    let ran = project.run(&["lock", "--update", "tool:1"]).exits(2);
    assert!(ran.stderr.contains("the registry's host is part of a name"), "{}", ran.stderr);
}

#[test]
fn a_platform_that_an_external_lacks_is_told_at_its_name() {
    let upstream = upstream();
    upstream.push(&upstream.index(&[upstream.entry("old", "linux/amd64")]), "redis:7");
    let ran = project(&upstream).run(&["lock"]).exits(6);
    assert!(ran.stderr.contains("narrow `platforms`") && !ran.stderr.contains("for mistakes"), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let at = lines.iter().position(|line| line.contains("[external.redis]")).expect("an excerpt");
    let (line, mark) = (lines[at], lines[at + 1]);
    assert_eq!(mark.find('^'), line.find("redis"), "{}", ran.stderr);
}

#[test]
fn a_lock_that_is_not_up_to_date_is_told_without_asking_a_registry() {
    let upstream = upstream();
    let project = project(&upstream);
    let ran = project.run(&["lock", "--check"]).exits(2);
    assert!(ran.stderr.contains("there is none"), "{}", ran.stderr);
    project.run(&["lock"]).exits(0);
    let name = upstream.name("tool:1");
    drop(upstream);
    project.run(&["lock", "--check"]).exits(0);
    project.write("Dockerfile", "FROM scratch\nCOPY --from=registry.example/other:1 / /\n");
    let ran = project.run(&["lock", "--check"]).exits(2);
    for part in ["registry.example/other:1", "web", &format!("`{name}` is in it and not used")] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
    project.write("catamaran.lock", "version = 1\n<<<<<<< ours\n");
    let ran = project.run(&["lock", "--check"]).exits(2);
    assert!(ran.stderr.contains("catamaran.lock:2"), "{}", ran.stderr);
}

#[test]
fn d6_a_platform_that_is_missing_is_told_with_component_image_and_line() {
    let upstream = upstream();
    upstream.push(&upstream.index(&[upstream.entry("old", "linux/amd64")]), "base:1");
    let project = project(&upstream);
    let ran = project.run(&["lock"]).exits(6);
    for part in ["`web` for linux/arm64", "base:1", "Dockerfile:2", "only for linux/amd64"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
    assert!(!project.path("catamaran.lock").exists(), "nothing half is written");
}

#[test]
fn names_of_this_machine_are_never_asked_for_outside() {
    let project = Project::with(
        "name = \"local\"\nplatforms = [\"linux/amd64\"]\ntag = \"2\"\n[component.base]\n[component.web]\ndockerfile = \"web\"\n",
        &[("Dockerfile", "FROM localhost/made/here:1\n"), ("web", "FROM localhost/it:1\nCOPY --from=base:2 / /\n")],
    );
    let ran = project.run(&["lock", "--json"]).exits(0);
    let document = ran.json();
    assert_eq!(document["images"].as_array().map(Vec::len), Some(0));
    assert_eq!(document["local"].as_array().map(Vec::len), Some(2), "{document}");
    assert_eq!(document["written"], false);
}

#[test]
fn bake_projects_are_locked_beside_their_first_file() {
    let upstream = upstream();
    let project = Project::new();
    project.write("Dockerfile", &format!("FROM {}\n", upstream.name("base:1")));
    project.write(
        "docker-bake.hcl",
        "target \"default\" {\n platforms = [\"linux/amd64\"]\n tags = [\"registry.example/x:1\"]\n}\n",
    );
    project.run(&["lock", "-f", "docker-bake.hcl"]).exits(0);
    assert!(lock_of(&project).contains("linux/amd64"));
}
