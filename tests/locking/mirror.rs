use serde_json::Value;

use super::upstream::{Upstream, entries, raw};
use crate::support::project::Project;
use crate::support::registry::{Make, Registry, Setup, skopeo};

/// A project of externals: (name, image, further lines).
fn project(externals: &[(&str, &str, &str)]) -> Project {
    let tables: Vec<String> = externals
        .iter()
        .map(|(name, image, more)| format!("[external.{name}]\nimage = \"{image}\"\n{more}\n"))
        .collect();
    let head = "name = \"mirrors\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n";
    Project::with(&format!("{head}{}", tables.join("\n")), &[])
}

fn states(document: &Value) -> Vec<(String, String)> {
    let text = |cell: &Value, key: &str| cell[key].as_str().expect("a text").to_owned();
    let cells = document["cells"].as_array().expect("cells");
    let name = |cell: &Value| format!("{}/{}", text(cell, "component"), text(cell, "platform"));
    cells.iter().map(|cell| (name(cell), text(cell, "state"))).collect()
}

#[test]
fn d7_an_external_whose_platforms_are_all_mirrored_keeps_upstreams_index_byte_for_byte() {
    let upstream = Upstream::start(Make::Debian);
    let index = upstream.attested("redis");
    upstream.push(&index, "redis:7");
    let project = project(&[("redis", &upstream.name("redis:7"), "")]);
    let document = project.run(&["build", "--json"]).exits(0).json();
    assert_eq!(document["indexes"][0]["digest"], index.digest.to_string());
    for (cell, state) in states(&document) {
        assert_eq!(state, "mirrored", "{cell}");
    }
    let status = project.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&status["present"], &status["expected"]), (&2.into(), &2.into()));
    project.run(&["verify"]).exits(0);

    // Pushed and read back: the same bytes, and the attestations are there too.
    let registry = Registry::start(Make::Reference, &Setup::default());
    project.run(&["push", "--to", &registry.reference("mirror")]).exits(0);
    let there = format!("docker://{}", registry.reference("mirror/redis:7"));
    assert_eq!(raw(&there), upstream.read(&index));
    let attestations = &entries(&upstream.read(&index))["unknown/unknown"];
    assert_eq!(attestations.len(), 2);
    for digest in attestations {
        let manifest = raw(&format!("docker://{}@{digest}", registry.reference("mirror/redis")));
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.in-toto+json");
    }
    // And in one file, which skopeo takes.
    project.run(&["export", "release.tar"]).exits(0);
    let bundle = format!("oci-archive:{}:redis:7", project.path("release.tar").display());
    let inspected = skopeo(&["inspect", "--raw", &bundle]);
    assert_eq!(inspected.as_bytes(), upstream.read(&index));
}

#[test]
fn a_subset_of_upstream_gets_an_index_of_its_own_without_dangling_entries() {
    let upstream = Upstream::start(Make::Reference);
    let images: Vec<_> =
        ["linux/s390x", "linux/amd64", "linux/arm64"].iter().map(|name| small(&upstream, name)).collect();
    let attestations: Vec<_> = images.iter().map(|image| upstream.attestation(image)).collect();
    let index = upstream.index(&[images.clone(), attestations.clone()].concat());
    upstream.push(&index, "redis:7");
    let project = project(&[("redis", &upstream.name("redis:7"), "")]);
    project.run(&["build"]).exits(0);
    project.run(&["verify"]).exits(0);
    let registry = Registry::start(Make::Debian, &Setup::default());
    project.run(&["push", "--to", &registry.address]).exits(0);
    let there = raw(&format!("docker://{}", registry.reference("redis:7")));
    let found: Value = serde_json::from_slice(&there).expect("JSON");
    assert_eq!(found["annotations"]["dev.catamaran.upstream.digest"], index.digest.to_string());
    let found = entries(&there);
    assert_eq!(found["linux/amd64"], [images[1].digest], "platform manifests keep their digests");
    assert_eq!(found["linux/arm64"], [images[2].digest]);
    assert_eq!(found["unknown/unknown"], [attestations[1].digest, attestations[2].digest]);
    assert_eq!(found.len(), 3);
}

/// An image that upstream has for a platform for which the tests have no program.
fn small(upstream: &Upstream, platform: &str) -> catamaran::base::Descriptor {
    if platform != "linux/s390x" {
        return upstream.entry("redis", platform);
    }
    let mut entry = upstream.entry("redis on s390x", "linux/amd64");
    entry.platform.as_mut().expect("a platform").insert("architecture".to_owned(), "s390x".into());
    entry
}

#[test]
fn a_single_image_becomes_an_index_and_its_manifest_stays() {
    let upstream = Upstream::start(Make::Crane);
    let image = upstream.entry("tool", "linux/amd64");
    upstream.push(&image.bare(), "tool:1");
    let project = project(&[("tool", &upstream.name("tool:1"), "platforms = [\"linux/amd64\"]")]);
    let document = project.run(&["build", "--json"]).exits(0).json();
    assert_eq!(document["cells"][0]["digest"], image.digest.to_string());
    assert_ne!(document["indexes"][0]["digest"], image.digest.to_string(), "a name stands for an index");
    project.run(&["verify"]).exits(0);
    let status = project.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["complete"], true);
}

#[test]
fn d6_a_platform_that_upstream_lacks_fails_its_cell_and_no_other_component() {
    let upstream = Upstream::start(Make::Debian);
    let index = upstream.attested("redis");
    upstream.push(&index, "redis:7");
    let lone = upstream.index(&[upstream.entry("old", "linux/amd64")]);
    upstream.push(&lone, "old:1");
    let project = project(&[("old", &upstream.name("old:1"), ""), ("redis", &upstream.name("redis:7"), "")]);
    let ran = project.run(&["build", "--json"]).exits(6);
    let document = ran.json();
    let states = states(&document);
    let expected = [
        ("old/linux/amd64", "mirrored"),
        ("old/linux/arm64", "failed"),
        ("redis/linux/amd64", "mirrored"),
        ("redis/linux/arm64", "mirrored"),
    ];
    assert_eq!(states, expected.map(|(cell, state)| (cell.to_owned(), state.to_owned())));
    let indexes: Vec<&str> = document["indexes"]
        .as_array()
        .expect("indexes")
        .iter()
        .filter_map(|index| index["component"].as_str())
        .collect();
    assert_eq!(indexes, ["redis"], "one component's hole is none of the others'");
    for part in ["old/arm64", "old:1` for linux/arm64", "only for linux/amd64"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
}

#[test]
fn attestations_that_upstream_lost_keep_the_whole_index_from_being_called_there() {
    let upstream = Upstream::start(Make::Crane);
    let index = upstream.attested("redis");
    upstream.push(&index, "redis:7");
    let good = upstream.attested("good");
    upstream.push(&good, "good:1");
    let project = project(&[("good", &upstream.name("good:1"), ""), ("redis", &upstream.name("redis:7"), "")]);
    project.run(&["build"]).exits(0);
    // What is damaged later is a hole of its own component, not the end of every index.
    let attestation = entries(&upstream.read(&index))["unknown/unknown"][0];
    std::fs::remove_file(project.path(&format!(".catamaran/layout/blobs/sha256/{}", attestation.hex())))
        .expect("there");
    let status = project.run(&["status", "--json"]).exits(4).json();
    let indexes: Vec<&str> =
        status["indexes"].as_array().expect("indexes").iter().filter_map(|index| index["component"].as_str()).collect();
    assert_eq!(indexes, ["good"]);
    project.run(&["build", "redis"]).exits(0);
    project.run(&["status"]).exits(0);
}
