use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use super::read_back::{Layout, text};
use super::{COMPONENTS, EXTERNALS, Infra};
use crate::builder::bench::Who;
use crate::support::daemon::Daemon;
use crate::support::project::Ran;
use crate::support::registry::{Make, Registry, Setup};

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];
const CELLS: usize = 36;

/// From the tree to what can be built: the file that `init` writes, and the two lines that only a person can know.
fn begin(infra: &Infra) {
    let said = infra.run(&["init"]).exits(0);
    let mut config = fs::read_to_string(infra.path("catamaran.toml")).expect("init wrote it");
    assert!(config.lines().count() <= 120, "{config}");
    assert!(config.contains("[service.apphub]"), "{config}\n{}", said.stderr);
    let place = config.lines().find(|line| line.starts_with("# registry")).expect("a hint").to_owned();
    config = config.replace(&place, &format!("registry  = [\"{}\"]\narch-tags = true", infra.prefix()));
    fs::write(infra.path("catamaran.toml"), config).expect("a file");
}

/// By cell, the digest that a document tells; every cell is in a good state.
fn digests(document: &Value) -> BTreeMap<(String, String), String> {
    let cells = document["cells"].as_array().expect("cells");
    let cell = |cell: &Value| {
        let (component, platform) = (text(&cell["component"]), text(&cell["platform"]));
        let mirrored = EXTERNALS.iter().any(|external| external.starts_with(&format!("{component}:")));
        assert_eq!(cell["state"], if mirrored { "mirrored" } else { "built" }, "{cell}");
        ((component.to_owned(), platform.to_owned()), text(&cell["digest"]).to_owned())
    };
    cells.iter().map(cell).collect()
}

/// Every name that is to be there: component and reference without the prefix.
fn names() -> Vec<(String, String)> {
    let built = COMPONENTS.iter().map(|(name, _)| ((*name).to_owned(), format!("{name}:v0.3.8")));
    let mirrored = EXTERNALS
        .iter()
        .map(|external| (external.split(':').next().expect("a name").to_owned(), (*external).to_owned()));
    built.chain(mirrored).collect()
}

/// Reads every image of both platforms out of `from` with skopeo, and compares index and digests with what was built.
fn read_back(
    infra: &Infra,
    from: &dyn Fn(&str) -> String,
    folder: &str,
    built: &BTreeMap<(String, String), String>,
) -> Layout {
    let folder = infra.scratch(folder);
    for (name, reference) in names() {
        let to = format!("oci:{}:{name}", folder.display());
        let from = from(&reference);
        infra.skopeo(&[
            "copy",
            "--all",
            "--preserve-digests",
            "--quiet",
            "--insecure-policy",
            "--src-tls-verify=false",
            &from,
            &to,
        ]);
    }
    let layout = Layout::at(&folder);
    for (name, _) in names() {
        let expected: Vec<(String, String)> = PLATFORMS
            .iter()
            .map(|platform| ((*platform).to_owned(), built[&(name.clone(), (*platform).to_owned())].clone()))
            .collect();
        assert_eq!(layout.images(&name), expected, "{name}: exactly the two platforms, sorted");
    }
    layout
}

/// The eight dependents hold what the one hub served, on the platform that they are for.
fn served(layout: &Layout) {
    let hub = layout.images("apphub");
    for (name, package) in COMPONENTS {
        let machines = BTreeMap::from([PLATFORMS[0], PLATFORMS[1]].map(|platform| {
            (platform.to_owned(), if platform == "linux/amd64" { "x86_64" } else { "aarch64" }.to_owned())
        }));
        assert_eq!(layout.texts(name, "etc/machine"), machines, "{name}");
        let Some(package) = package else { continue };
        // What it serves was made at random while it was built: nothing else in the world has it.
        let packages: Vec<Vec<u8>> = hub
            .iter()
            .map(|(_, digest)| layout.file(digest, &format!("srv/packages/{package}.bin")).expect("the hub has it"))
            .collect();
        let got: Vec<Vec<u8>> = layout
            .images(name)
            .iter()
            .map(|(_, digest)| layout.file(digest, "opt/package.bin").expect("it was downloaded"))
            .collect();
        assert_eq!(got[0], got[1], "{name}: one hub served both platforms");
        assert!(packages.contains(&got[0]), "{name}: what it holds came from the hub");
    }
}

#[test]
fn the_original_job_ends_well_from_init_to_a_second_registry() {
    let infra = Infra::new(Who::Myself);
    begin(&infra);
    infra.run(&["lock"]).exits(0);
    infra.run(&["prefetch"]).exits(0);
    let ran = whole_job(&infra, &["--builder", Daemon::shared().address()]);
    assert!(ran.stderr.contains(Daemon::shared().address()), "{}", ran.stderr);

    // Nobody is asked again, and nothing runs.
    let again =
        infra.run(&["build", "--builder", "unix:///nonexistent/nobody", "--json", "--progress", "plain"]).exits(0);
    assert!(!again.stderr.contains("service apphub"), "{}", again.stderr);
    let cells = again.json()["cells"].as_array().expect("cells").clone();
    assert!(cells.iter().all(|cell| cell["state"] == "reused" || cell["state"] == "mirrored"), "{cells:?}");
}

/// Two commands, by somebody without privilege: the builder is started for the run, in a user namespace.
#[test]
fn the_original_job_ends_well_for_an_ordinary_user() {
    let infra = Infra::new(Who::Ordinary);
    begin(&infra);
    whole_job(&infra, &[]);
    let owner = fs::metadata(infra.path(".catamaran/layout/index.json")).expect("it is there").uid();
    assert_ne!(owner, 0, "whoever is not root cannot have started another builder");
}

/// Builds everything, publishes it, and looks at all of it through other programs: in the registry, and in another one that the
/// bundle filled.
fn whole_job(infra: &Infra, more: &[&str]) -> Ran {
    let build = ["build", "--push", "--export", "release.tar", "--json", "--progress", "plain"];
    let ran = infra.run(&[&build, more].concat()).exits(0);
    assert_eq!(ran.stderr.matches("service apphub ready at 127.0.0.1:").count(), 1, "{}", ran.stderr);
    let built = digests(&ran.json());
    assert_eq!(built.len(), CELLS);
    let tokens = infra.target.tokens.as_ref().expect("the registry wants some");
    assert!(tokens.counts().0 > 0, "the token server was asked");
    let pushed =
        |name: &str| tokens.scopes().iter().any(|scope| scope.starts_with(&format!("repository:infra/{name}:")));
    assert!(names().iter().all(|(name, _)| pushed(name)), "{:?}", tokens.scopes());

    infra.run(&["status"]).exits(0);
    infra.run(&["verify"]).exits(0);
    infra.run(&["verify", "release.tar"]).exits(0);
    let prefix = infra.prefix();
    let layout = read_back(infra, &|reference| format!("docker://{prefix}/{reference}"), "registry", &built);
    served(&layout);
    for (name, _) in COMPONENTS {
        for (platform, tag) in PLATFORMS.iter().zip(["v0.3.8-amd64", "v0.3.8-arm64"]) {
            let raw = infra.skopeo(&["inspect", "--raw", &format!("docker://{prefix}/{name}:{tag}")]);
            let digest = catamaran::base::Digest::of(raw).to_string();
            assert_eq!(digest, built[&(name.to_owned(), (*platform).to_owned())], "{name}:{tag}");
        }
    }
    second_registry(infra, &built);
    ran
}

/// The offline side: the one file fills another registry.
fn second_registry(infra: &Infra, built: &BTreeMap<(String, String), String>) {
    let second = Registry::start(Make::Debian, &Setup::default());
    let to = format!("{}/site", second.address);
    infra.run(&["import", "release.tar", "--to", &to]).exits(0);
    let address = second.address.clone();
    let layout = read_back(infra, &|reference| format!("docker://{address}/site/{reference}"), "second", built);
    served(&layout);
}
