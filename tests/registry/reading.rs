//! Reading: manifests, what a reference means for a platform, blobs into a layout.

use std::sync::Arc;

use catamaran::base::{Descriptor, Digest, ErrorClass, Failure as _, Platform, Reference, media_type};
use catamaran::event::NoEvents;
use catamaran::registry::{RegistryClient, Release, push};
use catamaran::store::Layout;
use tokio_util::sync::CancellationToken;

use crate::support::registry::{Make, Registry, Setup};
use crate::support::release::{Images, client, item};
use crate::support::scripted::{Act, Login, Scripted};

/// A scripted registry that holds one image for two platforms over a layer of 1 MiB.
struct Case {
    registry: Scripted,
    images: Images,
    layer: Descriptor,
    index: Descriptor,
    client: RegistryClient,
}

impl Case {
    async fn new() -> Self {
        let registry = Scripted::start(Login::None).await;
        let images = Images::new();
        let layer = images.raw("shared", 1 << 20);
        let index = images.image("base", "1", std::slice::from_ref(&layer), 5000);
        let release = Release { items: vec![item(&registry.address, "base", "1", index.clone())] };
        let client = client();
        push(&client, &images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await.expect("pushed");
        registry.calm_down();
        Self { registry, images, layer, index, client }
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.registry.address).parse().expect("a reference")
    }

    /// Fetches the layer into an empty layout.
    async fn fetch(&self) -> (Images, Result<(), catamaran::registry::RegistryError>) {
        let to = Images::new();
        let result = self.client.fetch_blob(self.reference("base").repository(), &self.layer, &to.layout).await;
        assert_eq!(to.layout.has(&self.layer).expect("readable"), result.is_ok());
        (to, result)
    }
}

fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

fn is_empty(layout: &Layout) -> bool {
    std::fs::read_dir(layout.root().join("ingest")).expect("a folder").next().is_none()
}

#[tokio::test]
async fn a_reference_means_something_for_each_platform() {
    let case = Case::new().await;
    for name in ["linux/amd64", "linux/arm64"] {
        let resolved = case.client.resolve(&case.reference("base:1"), &platform(name)).await.expect("there");
        assert_eq!(resolved.root.descriptor.digest, case.index.digest);
        let manifest: serde_json::Value = serde_json::from_slice(&resolved.manifest.bytes).expect("JSON");
        let config: Descriptor = serde_json::from_value(manifest["config"].clone()).expect("a descriptor");
        let config = String::from_utf8(case.images.read(&config)).expect("text");
        assert!(config.contains(&format!("\"architecture\":\"{}\"", &name[6..])), "{config}");
    }
    let by_digest = case.reference(&format!("base@{}", case.index.digest));
    assert!(case.client.resolve(&by_digest, &platform("arm64")).await.is_ok());
    assert_eq!(case.client.digest_of(&case.reference("base:1")).await.expect("there"), Some(case.index.digest));
    assert_eq!(case.client.digest_of(&case.reference("base:2")).await.expect("asked"), None);
}

#[tokio::test]
async fn d6_a_platform_that_is_not_there_is_named_with_those_that_are() {
    let case = Case::new().await;
    let error = case.client.resolve(&case.reference("base:1"), &platform("s390x")).await.expect_err("not there");
    assert_eq!(error.class(), ErrorClass::NotFound);
    let text = error.to_string();
    assert!(text.contains("base:1` for linux/s390x, only for linux/amd64, linux/arm64"), "{text}");
    let error = case.client.resolve(&case.reference("base:2"), &platform("amd64")).await.expect_err("not there");
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[tokio::test]
async fn an_entry_that_lies_about_its_platform_is_found_out() {
    let case = Case::new().await;
    let mut manifest = case.images.manifest("liar", "linux/amd64", std::slice::from_ref(&case.layer));
    manifest.platform.as_mut().expect("a platform").insert("architecture".to_owned(), "arm64".into());
    let index = case.images.index(&[manifest]);
    let release = Release { items: vec![item(&case.registry.address, "liar", "1", index.clone())] };
    let pushed = push(&case.client, &case.images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await;
    // The independent reader is the last line of defence for a release, before any tag moves…
    let error = pushed.expect_err("the config says amd64");
    assert_eq!(error.class(), ErrorClass::Integrity);
    assert!(error.to_string().contains("the index promises `linux/arm64`, it says `linux/amd64`"), "{error}");
    // …and a base of the wrong platform is refused when it is read.
    assert_eq!(case.registry.tag("liar", "1"), None);
    let untagged = case.reference(&format!("liar@{}", index.digest));
    let error = case.client.resolve(&untagged, &platform("arm64")).await.expect_err("a lie");
    assert_eq!(error.class(), ErrorClass::Integrity);
}

#[tokio::test]
async fn blobs_come_whole_or_not_at_all() {
    let case = Case::new().await;
    let (to, result) = case.fetch().await;
    result.expect("fetched");
    assert_eq!(to.read(&case.layer), case.images.read(&case.layer));
    let requests = case.registry.seen().len();
    case.client.fetch_blob(case.reference("base").repository(), &case.layer, &to.layout).await.expect("there");
    assert_eq!(case.registry.seen().len(), requests, "what is there is not fetched");
}

#[tokio::test]
async fn a_blob_that_breaks_off_is_continued() {
    let case = Case::new().await;
    case.registry.script("GET", "/blobs/", 0, 8, Act::HalfBody);
    let (to, result) = case.fetch().await;
    result.expect("fetched");
    assert!(is_empty(&to.layout));
    let ranges = case.registry.seen().iter().filter(|seen| seen.headers.contains_key("range")).count();
    assert!(ranges >= 1, "it went on where it broke off");
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_never_appended() {
    let case = Case::new().await;
    case.registry.next("GET", "/blobs/", Act::HalfBody);
    case.registry.script("GET", "/blobs/", 0, 1, Act::Header("content-range", "bytes 7-99/100".to_owned()));
    case.fetch().await.1.expect("begun anew");
}

#[tokio::test]
async fn a_range_that_is_refused_is_begun_anew_once() {
    for status in [416, 403, 400] {
        let case = Case::new().await;
        case.registry.next("GET", "/blobs/", Act::HalfBody);
        case.registry.next("GET", "/blobs/", Act::Answer(status, Vec::new(), Vec::new()));
        let (to, result) = case.fetch().await;
        result.expect("begun anew");
        assert_eq!(to.read(&case.layer), case.images.read(&case.layer));
        let ranges: Vec<bool> = case.registry.seen().iter().map(|seen| seen.headers.contains_key("range")).collect();
        assert_eq!(ranges, [false, true, false], "{status}");
    }
    // One that refuses everything is not asked for ever.
    let case = Case::new().await;
    case.registry.next("GET", "/blobs/", Act::HalfBody);
    case.registry.always("GET", "/blobs/", Act::Answer(416, Vec::new(), Vec::new()));
    let (to, result) = case.fetch().await;
    assert_eq!(result.expect_err("refused").class(), ErrorClass::Refused);
    assert_eq!(case.registry.seen().len(), 3);
    assert!(is_empty(&to.layout), "half of 1 MiB is not worth keeping");
}

#[tokio::test]
async fn wrong_bytes_are_refused() {
    let case = Case::new().await;
    let other = case.images.raw("other", 1 << 20);
    let bytes = case.images.read(&other);
    case.registry.always("GET", "/blobs/", Act::Answer(200, Vec::new(), bytes));
    let (to, result) = case.fetch().await;
    let error = result.expect_err("other bytes");
    assert_eq!(error.class(), ErrorClass::Integrity);
    assert!(is_empty(&to.layout), "nothing is left behind");
    case.registry.calm_down();
    case.registry.always("GET", "/blobs/", Act::Answer(200, Vec::new(), vec![0; (1 << 20) + 1]));
    let error = case.fetch().await.1.expect_err("too long");
    assert!(error.to_string().contains("more than the 1048576 bytes"), "{error}");
    case.registry.calm_down();
    case.registry.always("GET", "/blobs/", Act::Answer(200, Vec::new(), vec![0; 5]));
    let error = case.fetch().await.1.expect_err("too short");
    assert!(error.to_string().contains("ended after 5 of 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn manifests_that_are_not_what_they_claim_are_refused() {
    let case = Case::new().await;
    let by_digest = case.reference(&format!("base@{}", case.index.digest));
    let wrong =
        Act::Answer(200, vec![("content-type", media_type::INDEX.to_owned())], b"{\"schemaVersion\":2}".to_vec());
    case.registry.always("GET", "/manifests/", wrong);
    let error = case.client.fetch_manifest(&by_digest).await.expect_err("other bytes");
    assert_eq!(error.class(), ErrorClass::Integrity);
    case.registry.calm_down();
    let other = Digest::of("x").to_string();
    case.registry.always("GET", "/manifests/", Act::Header("docker-content-digest", other));
    let error = case.client.fetch_manifest(&case.reference("base:1")).await.expect_err("header and body differ");
    assert!(error.to_string().contains("was announced"), "{error}");
    assert!(case.client.fetch_manifest(&by_digest).await.is_ok(), "by digest the bytes decide");
    case.registry.calm_down();
    case.registry.always("GET", "/manifests/", Act::Header("content-type", media_type::MANIFEST.to_owned()));
    let error = case.client.fetch_manifest(&by_digest).await.expect_err("type and body differ");
    assert!(error.to_string().contains("is announced as"), "{error}");
    case.registry.calm_down();
    case.registry.always("GET", "/manifests/", Act::Answer(200, Vec::new(), vec![b' '; 9 << 20]));
    let error = case.client.fetch_manifest(&by_digest).await.expect_err("too large");
    assert!(error.to_string().contains("over the limit"), "{error}");
}

#[tokio::test]
async fn debians_registry_is_read() {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let images = Images::new();
    let layer = images.raw("shared", 1 << 20);
    let index = images.image("base", "1", std::slice::from_ref(&layer), 5000);
    let release = Release { items: vec![item(&registry.address, "base", "1", index)] };
    let client = client();
    push(&client, &images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await.expect("pushed");
    let reference: Reference = registry.reference("base:1").parse().expect("a reference");
    let resolved = client.resolve(&reference, &platform("arm64")).await.expect("there");
    let to = Images::new();
    client.fetch_blob(reference.repository(), &layer, &to.layout).await.expect("fetched");
    assert!(String::from_utf8_lossy(&resolved.manifest.bytes).contains(&layer.digest.to_string()));
}
