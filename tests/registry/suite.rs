//! What every make of registry must do, asked of each in the same words; what arrived is read by programs that share no code
//! with ours.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use catamaran::base::{Descriptor, Digest, ErrorClass, Failure as _, media_type};
use catamaran::bundle::write_bundle;
use catamaran::event::NoEvents;
use catamaran::registry::{
    Confirmation, Journal, PushOptions, PushReceipt, RegistryClient, RegistryError, RegistryOptions, Release,
    TagChange, push_with,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::built;
use crate::support::images::Fleet;
use crate::support::project::{Project, Ran};
use crate::support::proxy::{Proxy, Weather};
use crate::support::registry::{Make, PASSWORD, Registry, Setup, USER, skopeo};
use crate::support::release::{Account, Images, item, options};

/// Each of these makes goes through all of it.
macro_rules! every_make {
    ($($name:ident: $make:expr, $setup:expr;)+) => {$(
        mod $name {
            use super::{Make, Place, Setup};

            fn place() -> Place {
                Place::start($make, $setup)
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn takes_a_release_and_then_nothing() {
                super::takes_a_release_and_then_nothing(&place()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn moves_a_tag() {
                super::moves_a_tag(&place()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn gets_back_the_manifest_that_it_lost() {
                super::gets_back_the_manifest_that_it_lost(&place()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn takes_a_layer_in_chunks() {
                super::takes_a_layer_in_chunks(&place()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn goes_on_with_a_cut_upload_or_says_that_it_cannot() {
                super::goes_on_with_a_cut_upload_or_says_that_it_cannot(&place()).await;
            }

            #[test]
            fn is_told_of_by_a_dry_run_and_sent_nothing() {
                super::is_told_of_by_a_dry_run_and_sent_nothing(&place());
            }

            #[test]
            fn gives_and_takes_copies() {
                super::gives_and_takes_copies(&place());
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn gives_and_takes_referrers() {
                super::gives_and_takes_referrers(&place()).await;
            }

            #[test]
            fn is_locked_prefetched_and_then_not_needed() {
                super::is_locked_prefetched_and_then_not_needed(place());
            }
        }
    )+};
}

every_make! {
    debians: Make::Debian, Setup::default();
    the_reference: Make::Reference, Setup::default();
    the_reference_with_tls_and_tokens: Make::Reference, Setup { tls: true, tokens: true, ..Setup::default() };
    debians_with_tls_and_a_password: Make::Debian, Setup { tls: true, password: true, ..Setup::default() };
    cranes: Make::Crane, Setup::default();
}

const NAMES: [&str; 4] = ["base", "nginx", "gitea", "slurm-master"];

/// A registry, and what one needs to get in.
struct Place {
    registry: Registry,
    make: Make,
    setup: Setup,
    /// The user's login, as docker keeps it.
    login: TempDir,
}

impl Place {
    fn start(make: Make, setup: Setup) -> Self {
        let registry = Registry::start(make, &setup);
        let login = tempfile::tempdir().expect("a folder");
        let place = Self { registry, make, setup, login };
        if place.asks() {
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
            let text = json!({"auths": {&place.registry.address: {"auth": auth}}});
            fs::write(place.login.path().join("config.json"), text.to_string()).expect("a file");
        }
        place
    }

    /// Whether what one repository has is in all of them, so that nothing has to be mounted.
    fn shares_blobs(&self) -> bool {
        self.make == Make::Crane
    }

    /// Whether it wants a login.
    fn asks(&self) -> bool {
        self.setup.password || self.setup.tokens
    }

    fn options(&self) -> RegistryOptions {
        let mut options = options();
        if self.setup.tls {
            options.extra_ca = vec![self.registry.authority()];
        }
        if self.asks() {
            options.credentials = Account::basic(USER, PASSWORD);
        }
        options
    }

    fn client(&self) -> RegistryClient {
        RegistryClient::new(self.options()).expect("a client")
    }

    /// The program, with the login and the authority of this place.
    fn run(&self, project: &Project, arguments: &[&str]) -> Ran {
        let mut command = project.command(arguments);
        if self.setup.tls {
            command.arg("--ca").arg(self.registry.authority());
        }
        if self.asks() {
            command.env("DOCKER_CONFIG", self.login.path());
        }
        project.ran(&command.output().expect("the program starts"))
    }

    fn copy(&self, project: &Project, source: &str, destination: &str, more: &[&str]) -> Value {
        let arguments = [&["copy", source, destination, "--state", "state", "--json"], more].concat();
        self.run(project, &arguments).exits(0).json()
    }

    fn skopeo(&self, verb: &[&str], name: &str) -> String {
        let name = format!("docker://{}", self.registry.reference(name));
        let login = format!("--creds={USER}:{PASSWORD}");
        let mut arguments = verb.to_vec();
        arguments.push("--tls-verify=false");
        arguments.extend(self.asks().then_some(login.as_str()));
        arguments.push(&name);
        skopeo(&arguments)
    }

    fn raw(&self, name: &str) -> String {
        self.skopeo(&["inspect", "--raw"], name)
    }
}

async fn pushed(client: &RegistryClient, images: &Images, release: &Release) -> Result<PushReceipt, RegistryError> {
    pushed_with(client, images, release, None).await
}

async fn pushed_with(
    client: &RegistryClient,
    images: &Images,
    release: &Release,
    journal: Option<Journal>,
) -> Result<PushReceipt, RegistryError> {
    let options = PushOptions { journal, verify: false, ..PushOptions::default() };
    let (events, cancel) = (Arc::new(NoEvents), CancellationToken::new());
    push_with(client, &images.layout, release.clone(), &options, events, &cancel).await
}

/// The release whole, the shared layer once and mounted from there; a second push without a byte; other configs over the same
/// layers without a layer.
async fn takes_a_release_and_then_nothing(place: &Place) {
    let images = Images::new();
    let shared = images.layer("shared", 5 << 20);
    let release = images.release(&place.registry.reference("fleet"), &NAMES, "1.0", std::slice::from_ref(&shared));
    let client = place.client();

    let first = pushed(&client, &images, &release).await.expect("pushed");
    // 5 MiB once, two layers of 3000 bytes and two configs for each image, and manifests, three times (twice an index).
    assert!(first.bytes_sent > shared.size && first.bytes_sent < shared.size + 100_000, "{first:?}");
    let mounted = if place.shares_blobs() { 0 } else { NAMES.len() - 1 };
    assert_eq!((first.mounted, first.uploaded), (mounted, 1 + 4 * NAMES.len()), "{first:?}");
    assert_eq!(first.warnings, [""; 0]);
    for (repository, item) in first.repositories.iter().zip(&release.items) {
        assert_eq!(repository.index, item.index.digest);
        assert_eq!(repository.tags[0].change, TagChange::Created);
        assert_eq!(repository.tags[0].confirmed, Confirmation::IndependentReader);
    }

    // Again: one request per tag, and for everything behind it: two manifests, two layers, two configs and the shared layer;
    // with a journal that knows of that, one request per tag.
    let folder = tempfile::tempdir().expect("a folder");
    for (requests, remembers, confirmed) in
        [(8, false, Confirmation::Present), (8, true, Confirmation::Present), (1, true, Confirmation::Earlier)]
    {
        let journal = remembers.then(|| Journal::open(folder.path()).expect("a journal"));
        let again = pushed_with(&client, &images, &release, journal).await.expect("pushed again");
        assert_eq!((again.requests, again.bytes_sent), (requests * NAMES.len() as u64, 0), "{again:?}");
        assert_eq!(again.repositories[0].tags[0].change, TagChange::Unchanged);
        assert_eq!(again.repositories[0].tags[0].confirmed, confirmed);
    }

    let mut relabelled = release.clone();
    for (item, name) in relabelled.items.iter_mut().zip(NAMES) {
        item.tags = vec!["1.1".parse().expect("a tag")];
        let manifests = ["linux/amd64", "linux/arm64"].map(|platform| {
            let own = images.layer(&format!("{name} 1.0 {platform}"), 3000);
            images.manifest(&format!("{name} relabelled"), platform, &[shared.clone(), own])
        });
        item.index = images.index(&manifests);
    }
    let third = pushed(&client, &images, &relabelled).await.expect("pushed");
    assert_eq!(third.uploaded, 2 * NAMES.len(), "no layer is sent that is there: {third:?}");

    for (item, name) in release.items.iter().zip(NAMES) {
        let name = format!("fleet/{name}:1.0");
        assert_eq!(place.raw(&name).as_bytes(), images.read(&item.index), "the bytes are as they were made");
        for architecture in ["amd64", "arm64"] {
            let of = format!("--override-arch={architecture}");
            let read = place.skopeo(&[&of, "inspect"], &name);
            assert!(read.contains(&format!("\"Architecture\": \"{architecture}\"")), "{read}");
        }
    }
}

/// Of four tags the one whose image changed.
async fn moves_a_tag(place: &Place) {
    let images = Images::new();
    let shared = images.layer("shared", 1 << 20);
    let client = place.client();
    let mut release = images.release(&place.registry.reference("fleet"), &NAMES, "1.0", std::slice::from_ref(&shared));
    pushed(&client, &images, &release).await.expect("pushed");
    release.items[1].index = images.image("nginx", "1.0, mended", std::slice::from_ref(&shared), 3000);
    let receipt = pushed(&client, &images, &release).await.expect("pushed");
    let changes: Vec<TagChange> = receipt.repositories.iter().map(|repository| repository.tags[0].change).collect();
    assert_eq!(changes, [TagChange::Unchanged, TagChange::Moved, TagChange::Unchanged, TagChange::Unchanged]);
    assert_eq!(receipt.uploaded, 4, "two layers and two configs");
    assert!(receipt.bytes_sent < 20_000, "{receipt:?}");
    assert_eq!(place.raw("fleet/nginx:1.0").as_bytes(), images.read(&release.items[1].index));
}

/// Somebody deletes the image of one platform; its tag still shows the index.
async fn gets_back_the_manifest_that_it_lost(place: &Place) {
    let images = Images::new();
    let client = place.client();
    let release = images.release(&place.registry.reference("fleet"), &NAMES[..2], "1.0", &[]);
    pushed(&client, &images, &release).await.expect("pushed");
    let index: Value = serde_json::from_slice(&images.read(&release.items[0].index)).expect("JSON");
    let lost = index["manifests"][1]["digest"].as_str().expect("a digest");
    let name = format!("fleet/base@{lost}");
    place.skopeo(&["delete"], &name);
    let receipt = pushed(&client, &images, &release).await.expect("pushed");
    let changes: Vec<TagChange> = receipt.repositories.iter().map(|repository| repository.tags[0].change).collect();
    assert_eq!(changes, [TagChange::Mended, TagChange::Unchanged], "{receipt:?}");
    assert_eq!(Digest::of(place.raw(&name)).to_string(), lost);
}

/// Five requests for what is above the limit of one, and the bytes are right.
async fn takes_a_layer_in_chunks(place: &Place) {
    let images = Images::new();
    let layer = images.layer("large", (1 << 20) + 12_345);
    let release = images.release(&place.registry.reference("fleet"), &["nginx"], "1.0", std::slice::from_ref(&layer));
    let mut options = place.options();
    options.one_request = 256 << 10;
    let client = RegistryClient::new(options).expect("a client");
    let receipt = pushed(&client, &images, &release).await.expect("pushed");
    assert!(receipt.bytes_sent < layer.size + 100_000, "each byte once: {receipt:?}");
    let log = place.registry.log();
    assert!(log.matches("PATCH").count() >= 5, "{log}");
    let elsewhere = Images::new();
    client.fetch_blob(&release.items[0].repository, &layer, &elsewhere.layout).await.expect("read and verified");
}

/// A way that cuts every connection after a moment: a layer that does not fit between two cuts arrives, each byte once, where
/// the registry keeps what it has, and elsewhere ends in words that say why. On a good way it arrives in any case.
async fn goes_on_with_a_cut_upload_or_says_that_it_cannot(place: &Place) {
    const SIZE: usize = 16 << 20;
    let weather = Weather { rate: 20 << 20, life: Duration::from_millis(200), refused: 0 };
    let proxy = Proxy::start(&place.registry.address, weather);
    let images = Images::new();
    let index = images.image("web", "1", &[images.layer("large", SIZE)], 1000);
    let release = |address: &str| Release { items: vec![item(&format!("{address}/fleet"), "web", "1", index.clone())] };
    let through = pushed(&place.client(), &images, &release(&proxy.address)).await;
    match place.make {
        Make::Reference => {
            through.expect("it arrives");
            let (up, cuts) = (proxy.up(), proxy.connections());
            assert!(cuts > 3, "nothing was cut");
            assert!(up < (SIZE + SIZE / 10) as u64 + cuts * 64 * 1024, "{up} bytes over {cuts} connections");
        }
        Make::Debian | Make::Crane => {
            let error = through.expect_err("it cannot fit");
            assert_eq!(error.class(), ErrorClass::Network, "{error}");
            let text = error.to_string();
            assert!(text.contains("forgets an upload when its connection breaks"), "{text}");
        }
    }
    pushed(&place.client(), &images, &release(&place.registry.address)).await.expect("pushed");
    assert_eq!(place.raw("fleet/web:1").as_bytes(), images.read(&index));
}

fn is_told_of_by_a_dry_run_and_sent_nothing(place: &Place) {
    let project = built::project(&NAMES, &place.registry.reference("fleet"));
    let shared = built::images(&project).layer("shared", 1 << 20);
    built::build(&project, &NAMES, "1", &[shared], 3000);
    let dry = place.run(&project, &["push", "--dry-run", "--json"]).exits(0).json();
    let log = place.registry.log();
    assert!(!log.contains("\"PUT /v2") && !log.contains("\"POST /v2"), "{log}");
    let wet = place.run(&project, &["push", "--json"]).exits(0).json();
    let planned = &dry["registries"][0];
    assert_eq!((&planned["sends"], &planned["bytes_sent"]), (&wet["uploaded"], &wet["bytes_sent"]));
    if !place.shares_blobs() {
        assert_eq!((&planned["mounts"], &planned["bytes_mounted"]), (&wet["mounted"], &wet["bytes_mounted"]));
    }
    let after = place.run(&project, &["push", "--dry-run", "--json"]).exits(0).json();
    let after = &after["registries"][0];
    assert_eq!((&after["sends"], &after["bytes_sent"], &after["tags_unchanged"]), (&0.into(), &0.into(), &4.into()));
}

/// An exported file with one image, `release.tar`; the digest of its index.
fn exported(project: &Project, name: &str) -> String {
    let fleet = Fleet::small(&[name], &["linux/amd64", "linux/arm64"]);
    let target = project.path("release.tar");
    write_bundle(&fleet.layout, &fleet.contents(), &target, &NoEvents, &CancellationToken::new()).expect("written");
    fleet.roots[0].descriptor.digest.to_string()
}

/// From a file to it, to another make, to a layout, and back from each of them.
fn gives_and_takes_copies(place: &Place) {
    let project = Project::new();
    let index = exported(&project, "web");
    let other = Registry::start(Make::Debian, &Setup::default());
    let name = |name: &str| place.registry.reference(name);
    let (here, there) = (name("team/web:1.0"), other.reference("web:2.0"));
    for (source, destination) in [
        ("release.tar", here.as_str()),
        (&here, &there),
        (&there, &name("back/web:1")),
        (&here, "oci:out:web"),
        ("oci:out:web", &name("from-layout:1")),
        (&here, "bundle:again.tar"),
        ("bundle:again.tar:web", &name("from-bundle:1")),
    ] {
        let document = place.copy(&project, source, destination, &[]);
        assert_eq!(document["digest"], index.as_str(), "{source} to {destination}");
        assert_eq!(document["platforms"], json!(["linux/amd64", "linux/arm64"]));
    }
    for shown in ["team/web:1.0", "back/web:1", "from-layout:1", "from-bundle:1"] {
        assert_eq!(Digest::of(place.raw(shown)).to_string(), index, "{shown}");
    }
    let moved = place.copy(&project, &here, &name("other/web:1.0"), &[]);
    assert_eq!(moved["uploaded"], 0, "within one registry blobs are mounted: {moved}");
    let again = place.copy(&project, &here, &there, &[]);
    assert_eq!((&again["bytes_sent"], &again["uploaded"]), (&0.into(), &0.into()), "{again}");
    let part = place.copy(&project, &here, &name("part:1"), &["--platform", "arm64"]);
    assert_eq!(part["subset"], true);
    assert_eq!(Digest::of(place.raw("part:1")).to_string(), part["digest"].as_str().expect("a digest"));
}

/// A signature of an image under the tag that lists referrers, which none of these makes does itself.
async fn gives_and_takes_referrers(place: &Place) {
    let project = Project::new();
    let index = exported(&project, "web");
    let here = place.registry.reference("web:1.0");
    place.copy(&project, "release.tar", &here, &[]);
    let images = Images::new();
    let subject: Digest = index.parse().expect("a digest");
    let put = |kind: &str, body: &Value| images.layout.put(kind, body.to_string().as_bytes()).expect("a blob");
    let empty = put("application/vnd.oci.empty.v1+json", &json!({}));
    let signature = put(
        media_type::MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": "application/x-signature",
            "config": empty, "layers": [empty],
            "subject": Descriptor::new(media_type::INDEX, subject, place.raw("web:1.0").len() as u64),
        }),
    );
    let list =
        put(media_type::INDEX, &json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [signature]}));
    let tag = index.replace(':', "-");
    let mut listed = item(place.registry.reference("x").trim_end_matches("/x"), "web", "1", list);
    listed.tags = vec![tag.parse().expect("a tag")];
    pushed(&place.client(), &images, &Release { items: vec![listed] }).await.expect("pushed");

    let other = Registry::start(Make::Debian, &Setup::default());
    let there = other.reference("web:1.0");
    let back = place.registry.reference("back:1.0");
    for (source, destination) in [(&here, &there), (&there, &back)] {
        let copied = place.copy(&project, source, destination, &["--referrers"]);
        assert_eq!(copied["referrers"], 1, "{source} to {destination}: {copied}");
        let again = place.copy(&project, source, destination, &["--referrers"]);
        assert_eq!(again["bytes_sent"], 0, "{source} to {destination}: {again}");
    }
    assert!(place.raw(&format!("back:{tag}")).contains(&signature.digest.to_string()));
    let signature_there = place.raw(&format!("back@{}", signature.digest));
    assert_eq!(signature_there.as_bytes(), images.read(&signature), "byte for byte");
}

/// Locked to what its tag shows, brought along, and built from when it is gone.
fn is_locked_prefetched_and_then_not_needed(place: Place) {
    let redis = place.registry.reference("redis:7");
    let config = format!(
        "name = \"locked\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[external.redis]\nimage = \"{redis}\"\n"
    );
    let project = Project::with(&config, &[]);
    let index = exported(&project, "redis");
    place.copy(&project, "release.tar", &redis, &[]);
    place.run(&project, &["lock"]).exits(0);
    let lock = fs::read_to_string(project.path("catamaran.lock")).expect("a lock");
    assert!(lock.contains(&index), "{lock}");
    // Its tag moves; what is locked stays.
    let newer = exported(&project, "newer");
    place.copy(&project, "release.tar", &redis, &[]);
    assert_eq!(Digest::of(place.raw("redis:7")).to_string(), newer);
    place.run(&project, &["lock", "--check"]).exits(0);
    let fetched = place.run(&project, &["prefetch", "--json"]).exits(0).json();
    assert!(fetched["fetched"].as_u64().is_some_and(|bytes| bytes > 0), "{fetched}");
    assert_eq!(place.run(&project, &["prefetch", "--json"]).exits(0).json()["fetched"], 0);
    drop(place);
    let document = project.run(&["build", "--offline", "--json"]).exits(0).json();
    assert_eq!(document["indexes"][0]["digest"], index.as_str(), "{document}");
    project.run(&["verify"]).exits(0);
}

#[tokio::test]
async fn a_wrong_password_gets_no_token() {
    let place = Place::start(Make::Reference, Setup { tls: true, tokens: true, ..Setup::default() });
    let images = Images::new();
    let release = images.release(&place.registry.reference("fleet"), &NAMES[..1], "1.0", &[]);
    for account in [Account::basic(USER, "wrong"), Account::basic("nobody", PASSWORD)] {
        let mut options = place.options();
        options.credentials = account;
        let client = RegistryClient::new(options).expect("a client");
        let error = pushed(&client, &images, &release).await.expect_err("a wrong password");
        assert_eq!(error.class(), ErrorClass::Auth, "{error}");
    }
    let (granted, refused) = place.registry.tokens.as_ref().expect("a token server").counts();
    assert!(granted == 0 && (2..=4).contains(&refused), "{granted} {refused}: no password is tried again and again");
}
