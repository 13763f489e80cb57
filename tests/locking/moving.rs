//! Bases that no lock fixes, at a registry whose tags move.

use std::collections::BTreeSet;

use catamaran::base::Digest;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::project::{Project, Ran};
use crate::support::scripted::{Act, Login, Scripted};
use crate::support::tiny::{self, Tiny};

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// Puts an index of two images of this stamp there, and returns its digest. Its tag stays where it was.
fn put(registry: &Scripted, stamp: &str) -> Digest {
    let images = PLATFORMS.map(|platform| (platform, Tiny::honest(platform, stamp, 1)));
    for (_, image) in &images {
        for blob in [&image.layer, &image.config] {
            registry.put_blob("base", &blob.bytes);
        }
        registry.put_manifest("base", image.manifest.media_type, &image.manifest.bytes, None);
    }
    let index = tiny::index(&images.each_ref().map(|(platform, image)| (*platform, image)));
    registry.put_manifest("base", index.media_type, &index.bytes, None);
    index.digest()
}

fn project(registry: &Scripted) -> Project {
    let base = format!("{}/base:1", registry.address);
    let dockerfile = format!("FROM {base}\nARG CELL\nCOPY --from={base} /stamp /again\nCOPY $CELL /\n");
    let component =
        |name: &str| format!("[component.{name}]\ndockerfile = \"Dockerfile\"\nargs = {{ CELL = \"{name}\" }}\n");
    let config = format!(
        "name = \"moving\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\ncontext = \".\"\n{}{}",
        component("one"),
        component("two")
    );
    Project::with(&config, &[("Dockerfile", &dockerfile), ("one", "1"), ("two", "2")])
}

async fn run(project: &Project, arguments: &[&str]) -> Ran {
    let mut command = project.command(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await;
    project.ran(&output.expect("it ran"))
}

/// The digests that the bases of all cells pointed to when these were built, by their records.
fn bases(project: &Project) -> BTreeSet<String> {
    let records = ["one", "two"].iter().flat_map(|name| PLATFORMS.map(|platform| (*name, platform.replace('/', "-"))));
    let base = |(name, platform): (&str, String)| {
        let record =
            std::fs::read(project.path(&format!(".catamaran/cells/{name}/{platform}.json"))).expect("a record");
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        let bases = record["bases"].as_object().expect("bases").clone();
        assert_eq!(bases.len(), 1, "{record:#}");
        bases.values().next().and_then(Value::as_str).expect("a digest").to_owned()
    };
    records.map(base).collect()
}

/// The base's layers that the images are made of: the first of each.
fn first_layers(project: &Project, document: &Value) -> BTreeSet<String> {
    let blob = |digest: &str| -> Value {
        let path = project.path(&format!(".catamaran/layout/blobs/sha256/{}", digest.trim_start_matches("sha256:")));
        serde_json::from_slice(&std::fs::read(path).expect("a blob")).expect("JSON")
    };
    let cells = document["cells"].as_array().expect("cells");
    let layer = |cell: &Value| {
        let manifest = blob(cell["digest"].as_str().expect("a digest"));
        manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned()
    };
    cells.iter().map(layer).collect()
}

fn layers_of(stamp: &str) -> BTreeSet<String> {
    PLATFORMS.iter().map(|platform| Tiny::honest(platform, stamp, 1).layer.digest().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_during_a_run_is_one_image_for_all_cells_and_platforms() {
    let registry = Scripted::start(Login::None).await;
    let (old, new) = (put(&registry, "old"), put(&registry, "new"));
    registry.move_tag("base", "1", old);
    // It moves with the first answer about it: whoever asks a second time is told something else.
    registry.always("GET", "/base/manifests/1", Act::MoveTag("base", "1", new));
    registry.always("HEAD", "/base/manifests/1", Act::MoveTag("base", "1", new));
    let (project, daemon) = (project(&registry), Daemon::start());
    let build = ["build", "--json", "--builder", daemon.address()];
    let ran = run(&project, &build).await.exits(0);
    assert_eq!(registry.tag("base", "1"), Some(new), "it did move");
    assert_eq!(bases(&project), BTreeSet::from([old.to_string()]));
    assert_eq!(first_layers(&project, &ran.json()), layers_of("old"));

    // What is reused asks nobody, and that is said.
    registry.calm_down();
    let unasked = format!("whether `{}/base:1` moved was not asked", registry.address);
    let again = run(&project, &build).await.exits(0);
    assert!(again.stderr.contains("nothing to do: 4 reused") && again.stderr.contains(&unasked), "{}", again.stderr);
    let why = run(&project, &["why"]).await.exits(0).stdout;
    assert!(why.contains("4 reused.\n") && why.contains(&unasked), "{why}");
    let why = run(&project, &["why", "--json"]).await.exits(0).json();
    assert_eq!(why["cells"][0]["unlocked"], json!([format!("{}/base:1", registry.address)]));
    assert_eq!(registry.seen().len(), 0, "nobody is asked");

    // A run that builds the rest of a release from another state of the tag says that.
    project.write("two", "3");
    let ran = run(&project, &build).await.exits(0);
    let words = format!("`{}/base:1` has moved since one/amd64 and 1 more was built from it", registry.address);
    assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    assert_eq!(bases(&project), BTreeSet::from([old.to_string(), new.to_string()]));
    let forced = run(&project, &[&build[..], &["--force"]].concat()).await.exits(0);
    assert_eq!(bases(&project), BTreeSet::from([new.to_string()]));
    assert_eq!(first_layers(&project, &forced.json()), layers_of("new"));

    // A lock leaves nothing to say.
    run(&project, &["lock"]).await.exits(0);
    run(&project, &build).await.exits(0);
    assert!(!run(&project, &build).await.exits(0).stderr.contains("was not asked"));
}
