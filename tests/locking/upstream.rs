//! A registry with images that others made, put there by a tool that is not ours.

use std::collections::BTreeMap;
use std::process::Command;

use catamaran::base::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

use crate::support::images::{Fleet, Image};
use crate::support::registry::{Make, Registry, Setup, system_program};

/// Upstream: a registry, and the layout from which its images come.
pub(super) struct Upstream {
    pub(super) registry: Registry,
    pub(super) images: Fleet,
}

impl Upstream {
    pub(super) fn start(make: Make) -> Self {
        Self { registry: Registry::start(make, &Setup::default()), images: Fleet::empty() }
    }

    /// `127.0.0.1:PORT/NAME`
    pub(super) fn name(&self, name: &str) -> String {
        self.registry.reference(name)
    }

    /// The entry of an image in an index.
    pub(super) fn entry(&self, name: &str, platform: &str) -> Descriptor {
        let mut entry = self.with_history(&Image::small(name, platform).store(&self.images.layout));
        let (os, architecture) = platform.split_once('/').expect("os/architecture");
        let object = json!({"architecture": architecture, "os": os});
        entry.platform = Some(serde_json::from_value(object).expect("a map"));
        entry
    }

    /// The image with a history, as every builder writes one: for layers without, builders make one up that tells where
    /// they got them from.
    fn with_history(&self, manifest: &Descriptor) -> Descriptor {
        let layout = &self.images.layout;
        let mut document: Value = serde_json::from_slice(&self.read(manifest)).expect("JSON");
        let config: Descriptor = serde_json::from_value(document["config"].clone()).expect("a descriptor");
        let mut body: Value = serde_json::from_slice(&self.read(&config)).expect("JSON");
        let layers = document["layers"].as_array().expect("layers").len();
        body["history"] = (0..layers).map(|number| json!({"created_by": format!("layer {number}")})).collect();
        document["config"] = json!(layout.put(media_type::CONFIG, body.to_string().as_bytes()).expect("a blob"));
        layout.put(media_type::MANIFEST, document.to_string().as_bytes()).expect("a blob")
    }

    /// An attestation about `subject`, in the form in which builders write them.
    pub(super) fn attestation(&self, subject: &Descriptor) -> Descriptor {
        let layout = &self.images.layout;
        let statement = json!({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": subject.digest}]});
        let mut layer = layout.put(media_type::IN_TOTO, statement.to_string().as_bytes()).expect("a blob");
        layer.annotations =
            Some([("in-toto.io/predicate-type".to_owned(), "https://slsa.dev/provenance/v0.2".to_owned())].into());
        let config = json!({"architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
        let config = layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("a blob");
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": [layer]});
        let mut entry = layout.put(media_type::MANIFEST, manifest.to_string().as_bytes()).expect("a blob");
        let object = json!({"architecture": "unknown", "os": "unknown"});
        entry.platform = Some(serde_json::from_value(object).expect("a map"));
        entry.annotations = Some(
            [
                ("vnd.docker.reference.digest".to_owned(), subject.digest.to_string()),
                ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
            ]
            .into(),
        );
        entry
    }

    /// An index over entries, with spaces that no serialiser of ours would write.
    pub(super) fn index(&self, entries: &[Descriptor]) -> Descriptor {
        let index = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries});
        let bytes = serde_json::to_string_pretty(&index).expect("JSON");
        self.images.layout.put(media_type::INDEX, bytes.as_bytes()).expect("a blob")
    }

    /// An index for both platforms with attestations about both.
    pub(super) fn attested(&self, name: &str) -> Descriptor {
        let images: Vec<Descriptor> =
            ["linux/amd64", "linux/arm64"].iter().map(|platform| self.entry(name, platform)).collect();
        let attestations: Vec<Descriptor> = images.iter().map(|image| self.attestation(image)).collect();
        self.index(&[images, attestations].concat())
    }

    /// Publishes `root` as `name:tag`.
    pub(super) fn push(&self, root: &Descriptor, name: &str) {
        let mut entry = root.bare();
        entry.annotations = Some([("org.opencontainers.image.ref.name".to_owned(), "pushed".to_owned())].into());
        self.images.layout.update_index(|entries| *entries = vec![entry]).expect("an index.json");
        let source = format!("oci:{}:pushed", self.images.layout.root().display());
        let destination = format!("docker://{}", self.name(name));
        let status = Command::new(system_program("skopeo"))
            .args(["copy", "--all", "--preserve-digests", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .args([source, destination])
            .status()
            .expect("skopeo runs");
        assert!(status.success());
    }

    /// Bytes of a blob of its images.
    pub(super) fn read(&self, descriptor: &Descriptor) -> Vec<u8> {
        std::fs::read(self.images.blob_path(&descriptor.digest)).expect("a blob")
    }
}

/// What skopeo reads at `source`, byte for byte.
pub(super) fn raw(source: &str) -> Vec<u8> {
    let output = Command::new(system_program("skopeo"))
        .args(["inspect", "--raw", "--tls-verify=false", source])
        .output()
        .expect("skopeo runs");
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The images of an index by platform, attestations under `unknown/unknown`.
pub(super) fn entries(index: &[u8]) -> BTreeMap<String, Vec<Digest>> {
    let index: Value = serde_json::from_slice(index).expect("JSON");
    let mut found: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
    for entry in index["manifests"].as_array().expect("entries") {
        let part = |key: &str| entry["platform"][key].as_str().expect("a platform");
        let digest = entry["digest"].as_str().expect("a digest").parse().expect("a digest");
        found.entry(format!("{}/{}", part("os"), part("architecture"))).or_default().push(digest);
    }
    found
}
