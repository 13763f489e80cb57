//! What repair scripts of such repositories try in vain: an index over images that were only built locally.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};
use crate::support::registry::{Make, Registry, Setup, skopeo};

/// The classic image store keeps one platform per name, and `docker manifest create` looks in registries only. Here one
/// platform at a time is as good as both at once, and nothing is pushed for an index to be there.
#[test]
fn d28_an_index_is_there_after_one_platform_at_a_time_without_any_push() {
    let config = "name = \"repair\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[component.app]\ndockerfile = \"Dockerfile\"\n";
    let project = Project::with_shell(config, &[("Dockerfile", &format!("{SHELL}RUN uname -m >/machine\n"))]);
    let builder = Daemon::shared().address();
    project.run(&["build", "--builder", builder, "--platform", "amd64"]).exits(0);
    project.run(&["status"]).exits(4);
    project.run(&["export", "half.tar"]).exits(4);
    project.run(&["build", "--builder", builder, "--platform", "arm64"]).exits(0);
    // The second platform has not taken the name from the first.
    let cells = project.run(&["build", "--builder", builder, "--json"]).exits(0).json()["cells"].clone();
    let digests: Vec<&Value> = cells.as_array().expect("cells").iter().map(|cell| &cell["digest"]).collect();
    assert!(cells.as_array().expect("cells").iter().all(|cell| cell["state"] == "reused"), "{cells}");
    let status = project.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["indexes"][0]["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    project.run(&["export", "whole.tar"]).exits(0);

    // Pushed when somebody wants it to be, it is that very index, without names for single platforms.
    let registry = Registry::start(Make::Debian, &Setup::default());
    project.run(&["push", "--to", &format!("{}/site", registry.address)]).exits(0);
    let source = format!("docker://{}/site/app", registry.address);
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("{source}:latest")]);
    let index: Value = serde_json::from_str(&raw).expect("JSON");
    let pushed: Vec<&Value> =
        index["manifests"].as_array().expect("entries").iter().map(|entry| &entry["digest"]).collect();
    assert_eq!(pushed, digests);
    let tags = skopeo(&["list-tags", "--tls-verify=false", &source]);
    let tags: Value = serde_json::from_str(&tags).expect("JSON");
    assert_eq!(tags["Tags"], serde_json::json!(["latest"]));
}
