use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use super::{Fleet, expected};
use crate::support::registry::{Make, Registry, Setup};

/// Runs a program that must end well, and gives what it printed.
#[track_caller]
pub(super) fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/setup test"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What skopeo reads at `source`: by platform, the digest of the image's manifest.
fn read(source: &str) -> BTreeMap<String, String> {
    let raw = output(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", source]));
    let index: Value = serde_json::from_slice(&raw).expect("JSON");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json", "{source}");
    index["manifests"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| {
            let part = |key: &str| entry["platform"][key].as_str().expect("a platform").to_owned();
            (format!("{}/{}", part("os"), part("architecture")), entry["digest"].as_str().expect("a digest").to_owned())
        })
        .collect()
}

fn digests(document: &Value, component: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let cells = document["cells"].as_array().expect("cells");
    let of_component = cells.iter().filter(|cell| cell["component"] == component);
    of_component.map(|cell| (text(&cell["platform"]), text(&cell["digest"]))).collect()
}

#[test]
fn d22_the_release_is_pushed_and_read_back() {
    let (fleet, expected) = (Fleet::shared(), expected());
    let document = fleet.document();
    let registry = Registry::start(Make::Debian, &Setup::default());
    let to = format!("{}/fleet", registry.address);
    let pushed = fleet.run(&["push", "--to", &to, "--json"]).exits(0).json();
    assert_eq!(pushed["repositories"].as_array().map(Vec::len), Some(expected.components.len()));
    for component in &expected.components {
        let source = format!("docker://{to}/{component}:{}", expected.tag);
        assert_eq!(read(&source), digests(&document, component), "{component}");
    }
    // What is there is not sent again.
    let again = fleet.run(&["push", "--to", &to, "--json"]).exits(0).json();
    assert_eq!(again["uploaded"], 0);
    let sent = again["bytes_sent"].as_u64().expect("a number");
    assert!(sent * 10 < pushed["bytes_sent"].as_u64().expect("a number"), "{sent} bytes went out again");

    let only = fleet.run(&["push", "nginx", "--to", &format!("{}/one", registry.address)]).exits(0);
    assert!(
        only.stdout.contains("1 repository, 1 tag") && only.stdout.contains("just what was named"),
        "{}",
        only.stdout
    );
}

#[test]
fn d20_the_bundle_holds_every_image_for_every_platform() {
    let (fleet, expected) = (Fleet::shared(), expected());
    let document = fleet.document();
    let file = fleet.path("release.tar");
    let written = fleet.run(&["export", "release.tar", "--json"]).exits(0).json();
    assert_eq!(written["complete"], true);
    assert_eq!(written["images"], expected.indexes);
    assert_eq!(written["bytes"].as_u64(), file.metadata().ok().map(|metadata| metadata.len()));
    for component in &expected.components {
        let reference = format!("127.0.0.1:5000/fleet/{component}:{}", expected.tag);
        let source = format!("oci-archive:{}:{reference}", file.display());
        assert_eq!(read(&source), digests(&document, component), "{component}");
    }
    let verified = fleet.run(&["verify", "release.tar"]).exits(0);
    assert!(verified.stdout.contains("All is whole."), "{}", verified.stdout);
    let mut bytes = std::fs::read(&file).expect("the bundle");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(fleet.path("broken.tar"), bytes).expect("a file");
    fleet.run(&["verify", "broken.tar"]).exits(7);
}

#[test]
fn a_registry_that_is_not_there_is_exit_6() {
    let fleet = Fleet::shared();
    drop(fleet.document());
    // Nobody listens on port 1, and refusing is immediate; retries would only make the test slow.
    let ran = fleet.run(&["push", "nginx", "--to", "127.0.0.1:1/fleet"]).exits(6);
    assert!(ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
}
