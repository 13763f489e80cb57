//! `push` with names and platforms: what goes out, and what it is called.

use serde_json::Value;

use crate::support::built::{build, images, project};
use crate::support::project::Project;
use crate::support::registry::{Make, Registry, Setup, skopeo};
use crate::support::tools::tool;

const NAMES: [&str; 3] = ["base", "nginx", "gitea"];

fn fleet(registry: &Registry) -> Project {
    let project = project(&NAMES, &registry.reference("fleet"));
    build(&project, &NAMES, "1", &[], 3000);
    project
}

/// The platforms that a tag shows, or nothing if it is not there.
fn platforms(registry: &Registry, name: &str) -> Vec<String> {
    let tags = skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{}", registry.reference(name))]);
    if !tags.contains("stable") {
        return Vec::new();
    }
    let source = format!("docker://{}:stable", registry.reference(name));
    let raw: Value = serde_json::from_str(&skopeo(&["inspect", "--raw", "--tls-verify=false", &source])).expect("JSON");
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.index.v1+json");
    let entries = raw["manifests"].as_array().expect("entries").iter();
    entries.map(|entry| entry["platform"]["architecture"].as_str().expect("a text").to_owned()).collect()
}

/// Repositories of the registry, as another program lists them.
fn repositories(registry: &Registry) -> Vec<String> {
    let crane =
        std::process::Command::new(tool("bin/crane")).args(["catalog", "--insecure", &registry.address]).output();
    let output = crane.expect("crane runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn a_cell_is_published_as_an_index_of_its_platform() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let project = fleet(&registry);
    let ran = project.run(&["push", "nginx/arm64"]).exits(0);
    assert!(ran.stdout.contains("1 repository, 1 tag") && ran.stdout.contains("(a subset)"), "{}", ran.stdout);
    assert!(
        ran.stdout.ends_with("A subset, just what was named: 1 of 6 cells (nginx/arm64).\n"),
        "the last sentence says it: {}",
        ran.stdout
    );
    assert_eq!(repositories(&registry), ["fleet/nginx"]);
    assert_eq!(platforms(&registry, "fleet/nginx"), ["arm64"]);
    // Nothing was lost by that, so nothing is warned of.
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    // The layout still names the whole index only.
    let document = project.run(&["push", "nginx/arm64", "--json"]).exits(0).json();
    assert_eq!((&document["subset"], &document["expected"]), (&true.into(), &6.into()));
    assert_eq!(document["cells"], serde_json::json!([{"component": "nginx", "platform": "linux/arm64"}]));
    assert_eq!(document["repositories"][0]["platforms"], serde_json::json!(["linux/arm64"]));
    assert_eq!(document["repositories"][0]["partial"], true);
}

#[test]
fn names_publish_whole_components_and_platforms_narrow_both() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let project = fleet(&registry);
    let named = project.run(&["push", "nginx", "base", "--json"]).exits(0).json();
    assert_eq!(named["subset"], true);
    assert_eq!(repositories(&registry), ["fleet/base", "fleet/nginx"]);
    assert_eq!(platforms(&registry, "fleet/nginx"), ["amd64", "arm64"]);
    assert_eq!(named["repositories"][0]["partial"], false, "its tag shows all that it stands for");

    project.run(&["push", "gitea", "--platform", "amd64"]).exits(0);
    assert_eq!(platforms(&registry, "fleet/gitea"), ["amd64"]);
    let all = project.run(&["push", "--platform", "arm64"]).exits(0);
    assert!(all.stdout.contains("3 of 6 cells"), "{}", all.stdout);
    for name in NAMES {
        assert_eq!(platforms(&registry, &format!("fleet/{name}")), ["arm64"]);
    }
    // What the tags showed before is said for each that loses something.
    let said = |name: &str, lost: &str| {
        let start = format!("warning: `{}:stable` showed {lost} too and shows this subset", registry.reference(name));
        all.stderr.lines().any(|line| line.starts_with(&start))
    };
    assert!(said("fleet/base", "linux/amd64") && said("fleet/gitea", "linux/amd64"), "{}", all.stderr);

    let whole = project.run(&["push"]).exits(0);
    assert!(!whole.stdout.contains("subset") && whole.stderr.is_empty(), "{}{}", whole.stdout, whole.stderr);
    assert_eq!(platforms(&registry, "fleet/base"), ["amd64", "arm64"]);
}

#[test]
fn d18_a_hole_elsewhere_does_not_stop_a_cell_and_a_hole_in_it_does() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let project = fleet(&registry);
    std::fs::remove_file(project.path(".catamaran/cells/nginx/linux-amd64.json")).expect("a record");
    project.run(&["push"]).exits(4);
    let ran = project.run(&["push", "nginx"]).exits(4);
    assert!(ran.stderr.contains("the matrix has holes: nginx/amd64"), "{}", ran.stderr);
    assert!(repositories(&registry).is_empty());
    project.run(&["push", "nginx/arm64"]).exits(0);
    assert_eq!(platforms(&registry, "fleet/nginx"), ["arm64"]);
}

#[test]
fn a_dry_run_sends_nothing_and_tells_what_the_push_then_does() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let project = project(&NAMES, &registry.reference("fleet"));
    let shared = images(&project).layer("shared", 1 << 20);
    build(&project, &NAMES, "1", &[shared], 3000);
    let shown = project.run(&["push", "--dry-run"]).exits(0);
    assert!(
        shown.stdout.contains("3 repositories, 3 tags at") && shown.stdout.contains("3 new, 0 moved"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.ends_with("Nothing was sent.\n"), "{}", shown.stdout);
    let dry = project.run(&["push", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(repositories(&registry), [""; 0]);
    let wet = project.run(&["push", "--json"]).exits(0).json();
    let planned = &dry["registries"][0];
    assert_eq!((&planned["sends"], &planned["mounts"]), (&wet["uploaded"], &wet["mounted"]));
    assert_eq!((&planned["bytes_sent"], &planned["bytes_mounted"]), (&wet["bytes_sent"], &wet["bytes_mounted"]));
    let after = project.run(&["push", "--dry-run", "--json"]).exits(0).json();
    let after = &after["registries"][0];
    assert_eq!((&after["sends"], &after["bytes_sent"], &after["tags_unchanged"]), (&0.into(), &0.into(), &3.into()));

    // One layer is new.
    build(&project, &["nginx"], "2", &[images(&project).layer("shared", 1 << 20)], 3000);
    let changed = project.run(&["push", "--dry-run", "--json"]).exits(0).json();
    let changed = &changed["registries"][0];
    assert_eq!((&changed["sends"], &changed["tags_moved"]), (&4.into(), &1.into()), "two layers and two configs");
}
