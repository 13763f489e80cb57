use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use catamaran::base::{Digest, Platform};
use catamaran::bundle::{ContentsLock, LockedImage};

use super::daemons::{Daemon, run};
use super::format::write;
use crate::support::images::{Fleet, Image, file, machine, platform};
use crate::support::tools;

/// A bundle of real programs: two images for two platforms, of which one image has a layer more.
struct Bundle {
    fleet: Fleet,
    lock: ContentsLock,
}

fn bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let mut fleet = Fleet::empty();
        for name in ["api", "web"] {
            let images: Vec<Image> = ["amd64", "arm64"]
                .iter()
                .map(|architecture| {
                    let busybox = fs::read(tools::busybox(architecture)).expect("scripts/setup test brings it");
                    assert_eq!(u16::from_le_bytes([busybox[18], busybox[19]]), machine(&platform(architecture)));
                    let mut image = Image::small(name, architecture);
                    image.layers[1] = vec![file("bin/busybox", 0o755, busybox)];
                    image.layers.push(vec![file("etc/name", 0o644, format!("{name} {architecture}\n"))]);
                    image.command = ["/bin/busybox", "cat", "/etc/name"].map(str::to_owned).to_vec();
                    image
                })
                .collect();
            fleet.add(name, &images);
        }
        let path = fleet.directory.path().join("fleet.tar");
        let lock = write(&fleet, &fleet.contents(), &path).expect("written").lock;
        Bundle { fleet, lock }
    })
}

impl Bundle {
    fn path(&self) -> PathBuf {
        self.fleet.directory.path().join("fleet.tar")
    }

    fn text(&self) -> String {
        self.path().to_str().expect("UTF-8").to_owned()
    }

    /// Every name of the docker view with the image ID behind it.
    fn docker_names(&self) -> BTreeMap<String, Digest> {
        let mut names = BTreeMap::new();
        for image in &self.lock.images {
            for one in &image.platforms {
                let suffixed = image.reference.for_platform(&one.platform).expect("short");
                names.insert(suffixed.to_string(), one.config);
                if one.platform == platform("amd64") {
                    names.insert(image.reference.to_string(), one.config);
                }
            }
        }
        names
    }

    /// The images that the docker view shows, as `os/architecture`, by ID.
    fn platforms(&self) -> BTreeMap<Digest, Platform> {
        let all = self.lock.images.iter().flat_map(|image| &image.platforms);
        all.map(|one| (one.config, one.platform.clone())).collect()
    }

    fn image(&self, name: &str) -> &LockedImage {
        self.lock.images.iter().find(|image| image.component.as_str() == name).expect("in the lock")
    }
}

/// `NAME ID` lines as docker and podman print them.
fn parsed(lines: &str) -> BTreeMap<String, Digest> {
    lines
        .lines()
        .map(|line| {
            let (name, id) = line.split_once(' ').expect("two words");
            let id = id.trim_start_matches("sha256:");
            (name.to_owned(), Digest::from_hex(id).expect("an image ID"))
        })
        .collect()
}

#[test]
fn d20_docker_loads_every_name_of_both_platforms() {
    let bundle = bundle();
    let daemon = Daemon::start(&[
        "dockerd",
        "--data-root=@/data",
        "--exec-root=@/exec",
        "--host=unix://@/socket",
        "--pidfile=@/pid",
        "--config-file=@/empty.json",
        "--iptables=false",
        "--bridge=none",
    ]);
    let host = format!("unix://{}", daemon.socket());
    let docker = |arguments: &[&str]| run(&[&["docker", "--host", &host], arguments].concat());
    docker(&["load", "--input", &bundle.text()]);
    let listed = docker(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    assert_eq!(parsed(&listed), bundle.docker_names(), "{}", daemon.log());
    for (id, platform) in bundle.platforms() {
        let shown = docker(&["image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", &id.to_string()]);
        assert_eq!(shown.trim(), platform.to_string());
    }
    let name = bundle.image("web").reference.to_string();
    assert_eq!(docker(&["run", "--rm", "--network=none", &name]), "web amd64\n", "and it runs");
}

#[test]
fn d20_podman_loads_every_name_of_both_platforms() {
    let bundle = bundle();
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let (root, runroot) = (at("root"), at("run"));
    let podman = |arguments: &[&str]| {
        let global = ["podman", "--root", &root, "--runroot", &runroot, "--storage-driver", "vfs"];
        run(&[&global, arguments].concat())
    };
    podman(&["load", "--input", &bundle.text()]);
    let listed = podman(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    assert_eq!(parsed(&listed), bundle.docker_names());
    for (id, platform) in bundle.platforms() {
        let shown = podman(&["image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", &id.hex()]);
        assert_eq!(shown.trim(), platform.to_string());
    }
}

#[test]
fn d20_skopeo_reads_the_layout_view_with_every_digest() {
    let bundle = bundle();
    let directory = tempfile::tempdir().expect("a directory");
    for image in &bundle.lock.images {
        let source = format!("oci-archive:{}:{}", bundle.text(), image.reference);
        let raw = run(&["skopeo", "inspect", "--raw", &source]);
        assert_eq!(Digest::of(raw.trim_end_matches('\n')), image.index, "the index, byte for byte");
        for one in &image.platforms {
            let architecture = one.platform.architecture();
            let config = run(&["skopeo", "--override-arch", architecture, "inspect", "--raw", "--config", &source]);
            assert_eq!(Digest::of(config.trim_end_matches('\n')), one.config, "the config of {}", one.platform);
        }
        let copy = directory.path().join(image.component.as_str());
        run(&["skopeo", "copy", "--all", "--quiet", &source, &format!("oci:{}:x", copy.display())]);
        let copied: BTreeSet<String> = fs::read_dir(copy.join("blobs/sha256"))
            .expect("blobs")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("hex"))
            .collect();
        for one in &image.platforms {
            for digest in one.layers.iter().chain([&one.manifest, &one.config, &image.index]) {
                assert!(copied.contains(&digest.hex()), "{digest} is not in the copy");
            }
        }
    }
}

#[test]
fn d20_skopeo_reads_the_docker_view_under_every_name() {
    let bundle = bundle();
    for (name, id) in bundle.docker_names() {
        let source = format!("docker-archive:{}:{name}", bundle.text());
        let config = run(&["skopeo", "inspect", "--raw", "--config", &source]);
        assert_eq!(Digest::of(config.trim_end_matches('\n')), id, "{name}");
    }
}

#[test]
fn d20_containerd_imports_every_index_with_both_platforms() {
    let bundle = bundle();
    let daemon = Daemon::start(&[
        "containerd",
        "--config=@/empty.toml",
        "--root=@/root",
        "--state=@/state",
        "--address=@/socket",
        "--log-level=warn",
    ]);
    let address = daemon.socket();
    for flags in [&["--all-platforms"][..], &[], &["--platform=linux/arm64"]] {
        // A namespace of its own for each way of calling it.
        let namespace = format!("n{}", flags.concat().len());
        let ctr = |arguments: &[&str]| run(&[&["ctr", "--address", &address, "-n", &namespace], arguments].concat());
        ctr(&[&["images", "import"], flags, &[&bundle.text()]].concat());
        let listed = ctr(&["images", "list"]);
        for image in &bundle.lock.images {
            let line = listed.lines().find(|line| line.starts_with(&format!("{} ", image.reference)));
            let line = line.unwrap_or_else(|| panic!("{} is not there: {listed}", image.reference));
            assert!(line.contains(&image.index.to_string()), "{line}");
            assert!(line.contains("linux/amd64,linux/arm64"), "{line}");
        }
        if flags == ["--all-platforms"] {
            let content = ctr(&["content", "list", "--quiet"]);
            let kept: BTreeSet<&str> = content.lines().collect();
            for blob in &bundle.lock.blobs {
                assert!(kept.contains(blob.digest.to_string().as_str()), "{} is not kept", blob.digest);
            }
        }
        // The check looks at the host's platform, which was not asked for in the last way.
        if !flags.concat().contains("arm64") {
            let checked = ctr(&["images", "check"]);
            let complete = checked.lines().skip(1).filter(|line| line.contains(" complete ")).count();
            assert_eq!(complete, bundle.lock.images.len(), "{flags:?}: {checked}");
        }
    }
}
