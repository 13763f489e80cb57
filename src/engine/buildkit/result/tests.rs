//! Answers of every kind that a daemon gave or could give.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::base::media_type::{CONFIG, IN_TOTO, INDEX, LAYER_GZIP, MANIFEST};
use crate::base::{Digest, ErrorClass, Failure};

struct Stand {
    layout: Layout,
    _directory: TempDir,
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

impl Stand {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { layout: Layout::create(directory.path()).unwrap(), _directory: directory }
    }

    fn put(&self, media_type: &str, value: &Value) -> Descriptor {
        self.layout.put(media_type, &serde_json::to_vec(value).unwrap()).unwrap()
    }

    /// An image whose config says `architecture`.
    fn image(&self, architecture: &str) -> Descriptor {
        let config = self.put(CONFIG, &json!({"os": "linux", "architecture": architecture}));
        let layer = self.layout.put(LAYER_GZIP, format!("layer for {architecture}").as_bytes()).unwrap();
        self.put(MANIFEST, &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}))
    }

    fn index(&self, entries: &[Value]) -> Descriptor {
        self.put(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
    }

    fn read(&self, root: &Descriptor) -> Result<Found, EngineError> {
        let text = STANDARD.encode(serde_json::to_vec(root).unwrap());
        read(&self.layout, &HashMap::from([(DESCRIPTOR.to_owned(), text)]), &platform("linux/arm64"))
    }
}

fn entry(descriptor: &Descriptor, architecture: &str, annotations: &Value) -> Value {
    let mut entry = serde_json::to_value(descriptor).unwrap();
    entry["platform"] =
        json!({"os": if architecture == "unknown" { "unknown" } else { "linux" }, "architecture": architecture});
    entry["annotations"] = annotations.clone();
    entry
}

#[test]
fn a_manifest_is_the_image() {
    let stand = Stand::new();
    let mut root = stand.image("arm64");
    root.annotations = Some([("org.opencontainers.image.created".to_owned(), "now".to_owned())].into());
    let found = stand.read(&root).unwrap();
    assert_eq!(found.manifest, root.bare(), "the daemon's annotations are not part of what it is");
    assert_eq!(found.platform, platform("linux/arm64"));
}

#[test]
fn an_index_is_searched_and_its_attestations_are_kept() {
    let stand = Stand::new();
    let (amd64, arm64) = (stand.image("amd64"), stand.image("arm64"));
    let statement = stand.layout.put(IN_TOTO, b"{}").unwrap();
    let config = stand.put(CONFIG, &json!({}));
    let attestation = stand
        .put(MANIFEST, &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement]}));
    let about = |image: &Descriptor| json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest});
    let root = stand.index(&[
        entry(&attestation, "unknown", &about(&amd64)),
        entry(&amd64, "amd64", &json!({})),
        entry(&arm64, "arm64", &json!({})),
        entry(&attestation, "unknown", &about(&arm64)),
    ]);
    let found = stand.read(&root).unwrap();
    assert_eq!(found.manifest.digest, arm64.digest);
    assert_eq!(found.attestations.len(), 1);
    assert_eq!(
        found.attestations[0].annotation("vnd.docker.reference.digest"),
        Some(arm64.digest.to_string().as_str())
    );
}

#[test]
fn d14_another_platform_is_refused_wherever_it_shows() {
    let stand = Stand::new();
    let amd64 = stand.image("amd64");
    for root in [
        amd64.clone(),
        stand.index(&[entry(&amd64, "amd64", &json!({}))]),
        // An entry that says one thing and a config that says another.
        stand.index(&[entry(&amd64, "arm64", &json!({}))]),
        stand.index(&[]),
        stand.image("\u{1b}[31m"),
    ] {
        let error = stand.read(&root).unwrap_err();
        assert!(matches!(error, EngineError::WrongPlatform { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Integrity);
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
}

#[test]
fn d15_success_without_a_whole_result_is_an_error() {
    let stand = Stand::new();
    let wanted = platform("linux/arm64");
    let answer = |text: &str| HashMap::from([(DESCRIPTOR.to_owned(), text.to_owned())]);
    // What a daemon leaves that did not understand the exporter; and others that never were.
    for response in [HashMap::new(), answer("{}"), answer("####"), answer(&STANDARD.encode("[]"))] {
        let error = read(&stand.layout, &response, &wanted).unwrap_err();
        assert!(matches!(error, EngineError::BadResult { .. }), "{error:?}");
    }
    let error = stand.read(&Descriptor::of("text/plain", b"x")).unwrap_err();
    assert!(matches!(error, EngineError::BadResult { .. }), "{error:?}");

    let image = stand.image("arm64");
    let layer = Digest::of("layer for arm64");
    let blobs = stand.layout.root().join("blobs/sha256");
    for digest in [layer, image.digest] {
        let path = blobs.join(digest.hex());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(matches!(stand.read(&image).unwrap_err(), EngineError::Store(_)), "cut short");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(stand.read(&image).unwrap_err(), EngineError::Store(StoreError::Missing { .. })), "gone");
        std::fs::write(&path, bytes).unwrap();
        stand.read(&image).unwrap();
    }
}
