//! The whole job, from a tree that shell scripts used to build to images in two registries: `fixtures/infra`.

mod checklist;
mod read_back;
mod repair;
mod whole;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::builder::bench::{Bench, Who};
use crate::support::project::{Ran, program};
use crate::support::registry::{Make, PASSWORD, Registry, Setup, USER, free_address, system_program};

/// Components of the tree, each with what it downloads from the hub while it is built.
pub(super) const COMPONENTS: [(&str, Option<&str>); 12] = [
    ("apphub", None),
    ("backend", Some("portal")),
    ("frontend", Some("portal")),
    ("gitea", None),
    ("jupyterhub", Some("jupyter")),
    ("nginx", None),
    ("nightingale", Some("nightingale")),
    ("prometheus", Some("prometheus")),
    ("saltstack", None),
    ("singleuser", Some("singleuser")),
    ("slurm-master", Some("slurm")),
    ("test-containers", Some("containers")),
];

/// Images of third parties, under their own tags.
pub(super) const EXTERNALS: [&str; 6] =
    ["etcd:3.5", "grafana:11.6", "minio:2025-04-22", "postgres:17-alpine", "redis:7-alpine", "registry:2.8"];

/// The port of the hub in the fixture.
const PORT: &str = "18081";

/// A copy of the fixture, with a registry that holds what it takes from outside, and one to publish to.
pub(super) struct Infra {
    bench: Bench,
    who: Who,
    upstream: Registry,
    pub(super) target: Registry,
}

impl Infra {
    pub(super) fn new(who: Who) -> Self {
        let bench = Bench::new(who);
        let upstream = Registry::start(Make::Debian, &Setup::default());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let filled = Command::new(root.join("scripts/fill-registry"))
            .arg(&upstream.address)
            .stdin(Stdio::null())
            .output()
            .expect("the script starts");
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
        let target = Registry::start(Make::Debian, &Setup { tls: true, tokens: true, ..Setup::default() });
        let infra = Self { bench, who, upstream, target };
        let address = free_address();
        let port = address.rsplit(':').next().expect("a port");
        infra.copy(&root.join("fixtures/infra"), &infra.root(), port);
        infra.credentials();
        infra
    }

    pub(super) fn root(&self) -> PathBuf {
        self.bench.path("infra")
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Copies a folder, with addresses that nobody else on this machine uses.
    fn copy(&self, from: &Path, to: &Path, port: &str) {
        fs::create_dir_all(to).expect("a folder");
        self.own(to);
        for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
            let target = to.join(entry.file_name());
            if entry.file_name() == ".catamaran" || entry.file_name() == "catamaran.toml" {
                continue;
            }
            if entry.path().is_dir() {
                self.copy(&entry.path(), &target, port);
                continue;
            }
            let text = fs::read_to_string(entry.path()).expect("a text");
            let text = text.replace("127.0.0.1:5005", &self.upstream.address).replace(PORT, port);
            fs::write(&target, text).expect("a file");
            self.own(&target);
        }
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.who.ids() {
            chown(path, Some(uid), Some(gid)).expect("root may");
        }
    }

    /// What the program finds credentials and certificates in.
    fn credentials(&self) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let text = serde_json::json!({"auths": {&self.target.address: {"auth": auth}}}).to_string();
        let folder = self.bench.path("docker");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("config.json"), text).expect("a file");
        fs::copy(self.target.authority(), folder.join("ca.crt")).expect("a file");
        self.own(&folder);
        self.own(&folder.join("config.json"));
        self.own(&folder.join("ca.crt"));
    }

    /// Runs the program in the tree, as whoever it belongs to.
    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = match self.who {
            Who::Myself => program(&self.root()),
            _ => self.bench.program(),
        };
        command
            .current_dir(self.root())
            .args(arguments)
            .env("DOCKER_CONFIG", self.bench.path("docker"))
            .env("SSL_CERT_FILE", self.bench.path("docker/ca.crt"));
        Ran::of(&command.output().expect("the program starts"), &self.root())
    }

    /// The prefix under which images are published.
    pub(super) fn prefix(&self) -> String {
        format!("{}/infra", self.target.address)
    }

    /// skopeo, which knows the target's certificate and password.
    pub(super) fn skopeo(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(system_program("skopeo"))
            .args(arguments)
            .env("REGISTRY_AUTH_FILE", self.bench.path("docker/config.json"))
            .env("SSL_CERT_FILE", self.bench.path("docker/ca.crt"))
            .output()
            .expect("skopeo runs");
        assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// A folder for what is read back.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.bench.path(name);
        drop(fs::remove_dir_all(&path));
        path
    }
}
