//! Pulls through mirrors, and blobs that a later run goes on with.

use std::sync::{Arc, Mutex};

use catamaran::base::{Descriptor, Reference};
use catamaran::event::{Event, NoEvents};
use catamaran::registry::{PullSources, RegistryClient, RegistryError, RegistryOptions, Release, push};
use tokio_util::sync::CancellationToken;

use crate::support::registry::free_address;
use crate::support::release::{Images, client, item, options};
use crate::support::scripted::{Act, Login, Scripted};

/// Large enough that half of it is worth keeping.
const LAYER: usize = 4 << 20;

/// A registry and a mirror of it below the path `hub`, with one image for two platforms.
struct Case {
    origin: Scripted,
    mirror: Scripted,
    images: Images,
    layer: Descriptor,
    reference: Reference,
}

impl Case {
    async fn new() -> Self {
        let (origin, mirror) = (Scripted::start(Login::None).await, Scripted::start(Login::None).await);
        let images = Images::new();
        let layer = images.raw("shared", LAYER);
        let index = images.image("base", "1", std::slice::from_ref(&layer), 5000);
        for prefix in [origin.address.clone(), format!("{}/hub", mirror.address)] {
            let release = Release { items: vec![item(&prefix, "base", "1", index.clone())] };
            push(&client(), &images.layout, release, Arc::new(NoEvents), &CancellationToken::new())
                .await
                .expect("pushed");
        }
        let reference = format!("{}/base:1", origin.address).parse().expect("a reference");
        for registry in [&origin, &mirror] {
            registry.calm_down();
        }
        Self { origin, mirror, images, layer, reference }
    }

    /// A client that pulls what the registry has from `mirrors` first.
    fn client(&self, mirrors: &[&str]) -> RegistryClient {
        let table = |mirror: &&str| format!("[[registry.mirror]]\nlocation = \"{mirror}\"\n");
        let mirrors = mirrors.iter().map(table).collect::<Vec<_>>().concat();
        let path = self.images.path().join("registries.conf");
        let text = format!("[[registry]]\nlocation = \"{}\"\n{mirrors}", self.origin.address);
        std::fs::write(&path, text).expect("a file");
        let sources = PullSources::read(&[path]).expect("understood");
        RegistryClient::new(RegistryOptions { sources, ..options() }).expect("a client")
    }

    fn hub(&self) -> String {
        format!("{}/hub", self.mirror.address)
    }

    /// Pulls the image for arm64 and its layer into an empty layout.
    async fn pull(&self, client: &RegistryClient) -> Result<Images, RegistryError> {
        let to = Images::new();
        client.resolve(&self.reference, &"arm64".parse().expect("a platform")).await?;
        client.fetch_blob(self.reference.repository(), &self.layer, &to.layout).await?;
        assert_eq!(to.read(&self.layer), self.images.read(&self.layer));
        Ok(to)
    }
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_last() {
    let case = Case::new().await;
    let before = case.origin.seen().len();
    case.pull(&case.client(&[&case.hub()])).await.expect("pulled");
    assert_eq!(case.origin.seen().len(), before, "the registry was not asked at all");
    // What the mirror does not have, or serves wrongly, comes from the registry.
    case.mirror.always("GET", "/blobs/", Act::Answer(404, Vec::new(), Vec::new()));
    case.pull(&case.client(&[&case.hub()])).await.expect("pulled");
    assert!(case.origin.count("GET", "/blobs/") > 0);
    case.mirror.calm_down();
    case.mirror.always("GET", "/manifests/", Act::Answer(200, Vec::new(), b"<html>".to_vec()));
    case.mirror.always("GET", "/blobs/", Act::Answer(200, Vec::new(), vec![0; LAYER]));
    case.pull(&case.client(&[&case.hub()])).await.expect("pulled");
    // If nobody has it, the registry's word counts.
    case.origin.always("GET", "/manifests/", Act::Answer(404, Vec::new(), Vec::new()));
    let error = case.pull(&case.client(&[&case.hub()])).await.err().expect("nobody has it");
    assert!(error.to_string().contains(&case.origin.address), "{error}");
}

#[tokio::test]
async fn a_mirror_that_is_gone_is_asked_once() {
    let case = Case::new().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let events = move |event: Event| {
        if let Event::Detail { text } = event {
            sink.lock().expect("not poisoned").push(text);
        }
    };
    let client = case.client(&[&free_address(), &case.hub()]).with_events(Arc::new(events));
    for _ in 0..3 {
        case.pull(&client).await.expect("pulled");
    }
    let told = told.lock().expect("not poisoned");
    assert_eq!(told.iter().filter(|text| text.contains("asking the next one")).count(), 1, "{told:?}");
}

#[tokio::test]
async fn what_one_source_began_another_finishes() {
    let case = Case::new().await;
    case.mirror.next("GET", &format!("/blobs/{}", case.layer.digest), Act::HalfBody);
    case.mirror.script(
        "GET",
        &format!("/blobs/{}", case.layer.digest),
        0,
        99,
        Act::Answer(404, Vec::new(), Vec::new()),
    );
    case.pull(&case.client(&[&case.hub()])).await.expect("pulled");
    let ranged = case.origin.seen().iter().filter(|seen| seen.headers.contains_key("range")).count();
    assert!(ranged >= 1, "half of it was there");
}

#[tokio::test]
async fn a_large_blob_is_gone_on_with_by_a_later_run() {
    let case = Case::new().await;
    let to = Images::new();
    let path = format!("/blobs/{}", case.layer.digest);
    case.origin.next("GET", &path, Act::HalfBody);
    case.origin.script("GET", &path, 0, 99, Act::Answer(404, Vec::new(), Vec::new()));
    let fetch = async || client().fetch_blob(case.reference.repository(), &case.layer, &to.layout).await;
    fetch().await.expect_err("it broke off");
    assert!(!to.layout.has(&case.layer).expect("readable"), "what is half is not there");
    case.origin.calm_down();
    let before = case.origin.seen().len();
    fetch().await.expect("fetched");
    let seen = case.origin.seen();
    let blobs: Vec<_> = seen[before..].iter().filter(|seen| seen.target.contains("/blobs/")).collect();
    assert!(blobs.iter().all(|seen| seen.headers.contains_key("range")), "nothing comes twice");
    assert_eq!(to.read(&case.layer), case.images.read(&case.layer));
}

#[tokio::test]
async fn a_blocked_registry_is_not_asked() {
    let case = Case::new().await;
    let path = case.images.path().join("registries.conf");
    std::fs::write(&path, format!("[[registry]]\nprefix = \"{}\"\nblocked = true\n", case.origin.address))
        .expect("a file");
    let sources = PullSources::read(&[path.clone(), "/nonexistent".into()]).expect("understood");
    let client = RegistryClient::new(RegistryOptions { sources, ..options() }).expect("a client");
    let before = case.origin.seen().len();
    let error = case.pull(&client).await.err().expect("blocked");
    assert!(error.to_string().contains("` blocks `"), "{error}");
    assert_eq!(case.origin.seen().len(), before);
    std::fs::write(&path, "[[registry]\n").expect("a file");
    assert!(PullSources::read(&[path]).is_err());
}
