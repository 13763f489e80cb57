use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use catamaran::base::{CellId, Digest};
use catamaran::bundle::{BundleContents, write_bundle};
use catamaran::event::NoEvents;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::images::{Fleet, component, platform};
use crate::support::project::{Project, Ran};
use crate::support::registry::{Make, Registry, Setup, skopeo};
use crate::support::scripted::{Login, Scripted};

/// A bundle of two components for two platforms, in a folder that is no project.
struct Bundle {
    fleet: Fleet,
    folder: Project,
}

impl Bundle {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut BundleContents)) -> Self {
        let fleet = Fleet::small(&["api", "web"], &["linux/amd64", "linux/arm64"]);
        let folder = Project::new();
        let mut contents = fleet.contents();
        for entry in &mut contents.entries {
            entry.path = Some(entry.component.to_string());
        }
        change(&mut contents);
        let path = folder.path("release.tar");
        write_bundle(&fleet.layout, &contents, &path, &NoEvents, &CancellationToken::new()).expect("written");
        Self { fleet, folder }
    }

    fn index(&self, name: &str) -> String {
        let root = self.fleet.roots.iter().find(|root| root.component.as_str() == name).expect("a component");
        root.descriptor.digest.to_string()
    }

    fn path(&self) -> PathBuf {
        self.folder.path("release.tar")
    }

    fn import(&self, arguments: &[&str]) -> Ran {
        self.folder.run(&[&["import", "release.tar"], arguments].concat())
    }

    /// What is in the folder: an import leaves nothing.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.root()).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
    }
}

fn raw(reference: &str) -> String {
    skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")])
}

#[test]
fn a_bundle_goes_into_two_registries_and_skopeo_reads_every_platform() {
    let bundle = Bundle::new();
    let first = Registry::start(Make::Debian, &Setup::default());
    let second = Registry::start(Make::Reference, &Setup::default());
    let prefixes = [format!("{}/mirror", first.address), second.address.clone()];
    let ran = bundle.import(&["--to", &prefixes[0], "--to", &prefixes[1], "--json"]).exits(0);
    let document = ran.json();
    assert_eq!(document["schema"], "catamaran/import/v1");
    assert_eq!(document["images"], 4);
    assert_eq!(document["repositories"].as_array().expect("repositories").len(), 4);
    for name in ["api", "web"] {
        for prefix in &prefixes {
            let reference = format!("{prefix}/{name}:1.0");
            assert_eq!(Digest::of(raw(&reference)).to_string(), bundle.index(name), "the index, byte for byte");
            for architecture in ["amd64", "arm64"] {
                let target = bundle.folder.path(&format!("{}-{architecture}", Digest::of(&reference).hex()));
                skopeo(&[
                    "--override-arch",
                    architecture,
                    "copy",
                    "--src-tls-verify=false",
                    "--quiet",
                    &format!("docker://{reference}"),
                    &format!("dir:{}", target.display()),
                ]);
                fs::remove_dir_all(target).expect("copied");
            }
        }
    }
    assert_eq!(bundle.files(), ["release.tar"], "nothing is unpacked, nothing is left");
    // Once more: everything is there.
    let again = bundle.import(&["--to", &prefixes[0], "--json"]).exits(0).json();
    assert_eq!(again["bytes_sent"], 0);
}

#[test]
fn images_get_other_names_where_that_is_asked_for() {
    let bundle = Bundle::new();
    let registry = Registry::start(Make::Debian, &Setup::default());
    let to = ["--to", &registry.address];
    bundle.import(&[&to[..], &["--rename", "web=tools/site:2.0", "--rename", "api=backend"]].concat()).exits(0);
    assert_eq!(Digest::of(raw(&registry.reference("tools/site:2.0"))).to_string(), bundle.index("web"));
    assert_eq!(Digest::of(raw(&registry.reference("backend:1.0"))).to_string(), bundle.index("api"));
    let ran = bundle.import(&[&to[..], &["--rename", "wbe=x"]].concat()).exits(2);
    assert!(ran.stderr.contains("the bundle has no `wbe`, it has api, web"), "{}", ran.stderr);
    let ran = bundle.import(&[&to[..], &["--rename", "web=same", "--rename", "api=same"]].concat()).exits(2);
    assert!(ran.stderr.contains("two images would be published as"), "{}", ran.stderr);
    bundle.folder.run(&["import", "release.tar"]).exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_bundle_sends_nothing() {
    let bundle = Bundle::new();
    let registry = Scripted::start(Login::None).await;
    let whole = fs::read(bundle.path()).expect("a file");
    // The last blob ends before the two blocks that end the file, in a block that is filled up with zeros.
    let last = whole.len() - 1024 - 1 - whole[..whole.len() - 1024].iter().rev().take_while(|byte| **byte == 0).count();
    let mut damaged = whole.clone();
    damaged[last] ^= 1;
    for (bytes, words) in [(damaged, "sha256:"), (whole[..whole.len() / 2].to_vec(), "truncated")] {
        fs::write(bundle.path(), bytes).expect("a file");
        for more in [&[][..], &["--dry-run"], &["--shallow"]] {
            let ran = bundle.import(&[&["--to", &registry.address], more].concat()).exits(7);
            assert!(ran.stderr.contains(words) && ran.stdout.is_empty(), "{} {}", ran.stdout, ran.stderr);
        }
    }
    assert_eq!(registry.seen().len(), 0, "nobody was asked");
    assert_eq!(bundle.files(), ["release.tar"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_bundle_goes_out_only_if_that_is_said() {
    let hole = CellId::new(component("db"), platform("arm64"));
    let bundle = Bundle::with(|contents| contents.incomplete.push(hole));
    let registry = Scripted::start(Login::None).await;
    let ran = bundle.import(&["--to", &registry.address]).exits(4);
    assert!(ran.stderr.contains("INCOMPLETE") && ran.stderr.contains("db/arm64"), "{}", ran.stderr);
    assert_eq!(registry.seen().len(), 0);
    let ran = bundle.import(&["--to", &registry.address, "--allow-incomplete"]).exits(0);
    assert!(ran.stdout.contains("INCOMPLETE: lacks 1 cell"), "{}", ran.stdout);
    assert_eq!(registry.tag("web", "1.0").map(|digest| digest.to_string()), Some(bundle.index("web")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_the_bytes_and_sends_none() {
    let bundle = Bundle::new();
    let registry = Scripted::start(Login::None).await;
    let to = ["--to", &registry.address];
    let forecast: Value = bundle.import(&[&to[..], &["--dry-run", "--json"]].concat()).exits(0).json();
    assert!(registry.seen().iter().all(|seen| seen.method == "HEAD" || seen.method == "GET"), "only looked");
    assert_eq!(registry.tag("web", "1.0"), None);
    let imported = bundle.import(&[&to[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(forecast["registries"][0]["bytes_sent"], imported["bytes_sent"]);
    let kinds: BTreeMap<String, usize> = registry.seen().iter().fold(BTreeMap::new(), |mut kinds, seen| {
        *kinds.entry(seen.method.clone()).or_default() += 1;
        kinds
    });
    assert!(kinds["PUT"] > 0, "{kinds:?}");
}
