use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use catamaran::base::{Descriptor, Digest, media_type};
use catamaran::bundle::write_bundle;
use catamaran::event::NoEvents;
use catamaran::store::{BlobSource as _, Layout};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::images::{Fleet, Image, platform};
use crate::support::project::{Project, Ran};
use crate::support::registry::{Make, Registry, Setup, skopeo};
use crate::support::scripted::{Act, Login, Scripted};

const UPSTREAM: &str = "dev.catamaran.upstream.digest";

/// A folder with a bundle of one image, which is the first source.
struct Work {
    folder: Project,
    index: String,
}

impl Work {
    fn new() -> Self {
        let fleet = Fleet::small(&["web"], &["linux/amd64", "linux/arm64"]);
        let folder = Project::new();
        let target = folder.path("release.tar");
        write_bundle(&fleet.layout, &fleet.contents(), &target, &NoEvents, &CancellationToken::new()).expect("written");
        Self { folder, index: fleet.roots[0].descriptor.digest.to_string() }
    }

    fn copy(&self, source: &str, destination: &str, more: &[&str]) -> Ran {
        self.folder.run(&[&["copy", source, destination, "--state", "state", "--json"], more].concat())
    }
}

fn raw(source: &str) -> String {
    skopeo(&["inspect", "--raw", "--tls-verify=false", source])
}

fn reads_both(source: &str, folder: &Project) {
    for architecture in ["amd64", "arm64"] {
        let target = folder.path(&format!("read-{architecture}-{}", Digest::of(source).hex()));
        let target = format!("dir:{}", target.display());
        skopeo(&["--override-arch", architecture, "copy", "--src-tls-verify=false", "--quiet", source, &target]);
    }
}

#[test]
fn an_image_goes_round_every_kind_of_place_with_its_digest() {
    let work = Work::new();
    let first = Registry::start(Make::Debian, &Setup::default());
    let second = Registry::start(Make::Reference, &Setup::default());
    let (a, b) = (first.reference("team/web:1.0"), second.reference("web:2.0"));
    for (source, destination) in [
        ("release.tar", a.as_str()),
        (&a, &b),
        (&b, "oci:out:web"),
        ("oci:out:web", &first.reference("from-layout:1")),
        (&a, "bundle:again.tar"),
        ("bundle:again.tar:web", &first.reference("from-bundle:1")),
        ("bundle:again.tar:web", "oci:other:web"),
    ] {
        let document = work.copy(source, destination, &[]).exits(0).json();
        assert_eq!(document["schema"], "catamaran/copy/v1");
        assert_eq!(document["digest"], work.index.as_str(), "{source} to {destination}");
        assert_eq!(document["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    }
    let layout = |name: &str| format!("oci:{}:web", work.folder.path(name).display());
    let shown = [a.clone(), b.clone(), first.reference("from-layout:1"), first.reference("from-bundle:1")];
    let mut shown: Vec<String> = shown.iter().map(|reference| format!("docker://{reference}")).collect();
    shown.extend([layout("out"), layout("other")]);
    for source in &shown {
        // Of a layout skopeo shows the image of one platform.
        if source.starts_with("docker:") {
            assert_eq!(Digest::of(raw(source)).to_string(), work.index, "{source}");
        }
        reads_both(source, &work.folder);
    }
    work.folder.run(&["verify", "again.tar"]).exits(0);
    // Again: nothing moves.
    let again = work.copy(&a, &b, &[]).exits(0).json();
    assert_eq!((&again["bytes_sent"], &again["uploaded"]), (&0.into(), &0.into()));
    let left = std::fs::read_dir(work.folder.path("state/copy")).expect("a folder").count();
    assert_eq!(left, 0, "nothing stays of a copy that went well");
}

#[test]
fn a_part_of_the_platforms_is_an_index_that_says_what_it_is_of() {
    let work = Work::new();
    let registry = Registry::start(Make::Debian, &Setup::default());
    let whole = registry.reference("web:1.0");
    work.copy("release.tar", &whole, &[]).exits(0);
    let upstream: Value = serde_json::from_str(&raw(&format!("docker://{whole}"))).expect("JSON");
    for (source, name) in [(whole.as_str(), "part"), ("release.tar", "from-bundle")] {
        let part = registry.reference(&format!("{name}:1.0"));
        let document = work.copy(source, &part, &["--platform", "arm64"]).exits(0).json();
        assert_eq!(document["subset"], true);
        assert_eq!(document["platforms"], serde_json::json!(["linux/arm64"]));
        let text = raw(&format!("docker://{part}"));
        assert_eq!(Digest::of(&text).to_string(), document["digest"].as_str().expect("a digest"), "honest");
        let index: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(index["annotations"][UPSTREAM], work.index.as_str());
        let entries = index["manifests"].as_array().expect("entries");
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["digest"], upstream["manifests"][1]["digest"], "the image keeps its digest");
    }
    // All of them is the upstream index itself.
    let all = work.copy(&whole, &registry.reference("all:1"), &["--platform", "arm64,amd64"]).exits(0).json();
    assert_eq!((&all["digest"], &all["subset"]), (&work.index.as_str().into(), &false.into()));
    let ran = work.copy(&whole, &registry.reference("none:1"), &["--platform", "riscv64"]).exits(7);
    assert!(ran.stderr.contains("linux/riscv64"), "{}", ran.stderr);
}

#[test]
fn within_one_registry_blobs_are_mounted_and_not_carried() {
    let work = Work::new();
    let registry = Registry::start(Make::Debian, &Setup::default());
    let first = registry.reference("web:1.0");
    work.copy("release.tar", &first, &[]).exits(0);
    let moved = work.copy(&first, &registry.reference("other/web:1.0"), &[]).exits(0).json();
    assert_eq!(moved["uploaded"], 0, "{moved}");
    assert!(moved["bytes_mounted"].as_u64().expect("a number") > 0);
}

/// Stores a manifest in a registry, as any client does.
fn put(address: &str, repository: &str, name: &str, media_type: &str, body: &str) {
    let mut stream = TcpStream::connect(address).expect("the registry");
    let length = body.len();
    write!(
        stream,
        "PUT /v2/{repository}/manifests/{name} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// A signature of `subject`; its entry in a list.
fn sign(address: &str, subject: &Value, kind: &str, blob: &Value) -> Value {
    // What it says is of no matter, so a blob does that is there already.
    let part = json!({"mediaType": "application/x-part", "digest": blob["digest"], "size": blob["size"]});
    let body = json!({
        "schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": kind, "config": part, "layers": [part],
        "subject": {"mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"]},
        "annotations": {"for": "a test"}
    })
    .to_string();
    let digest = Digest::of(&body).to_string();
    put(address, "web", &digest, media_type::MANIFEST, &body);
    json!({"mediaType": media_type::MANIFEST, "digest": digest, "size": body.len(), "artifactType": kind})
}

fn list_of(entry: &Value) -> String {
    json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [entry]}).to_string()
}

/// The image's index as a descriptor, the entry of its first platform, and a blob of that.
fn parts(web: &str) -> (Value, Value, Value) {
    let text = raw(&format!("docker://{web}"));
    let index: Value = serde_json::from_str(&text).expect("JSON");
    let root = json!({"mediaType": media_type::INDEX, "digest": Digest::of(&text).to_string(), "size": text.len()});
    let image = index["manifests"][0].clone();
    let name =
        format!("docker://{}@{}", &web[..web.rfind(':').expect("a tag")], image["digest"].as_str().expect("text"));
    let manifest: Value = serde_json::from_str(&raw(&name)).expect("JSON");
    (root, image, manifest["config"].clone())
}

/// Whether `registry` lists `entry` under the tag of `subject`, and holds it.
fn lists(registry: &Registry, subject: &Value, entry: &Value) {
    let tag = subject["digest"].as_str().expect("a digest").replace(':', "-");
    let list: Value =
        serde_json::from_str(&raw(&format!("docker://{}", registry.reference(&format!("web:{tag}"))))).expect("JSON");
    let shown = &list["manifests"][0];
    assert_eq!((&shown["digest"], &shown["artifactType"]), (&entry["digest"], &entry["artifactType"]), "{list}");
    assert_eq!(shown["annotations"]["for"], "a test");
    let digest = entry["digest"].as_str().expect("a digest");
    let there = raw(&format!("docker://{}@{digest}", registry.reference("web")));
    assert_eq!(Digest::of(there).to_string(), digest, "byte for byte");
}

#[test]
fn what_refers_to_an_image_comes_along_where_that_is_asked_for() {
    let work = Work::new();
    let first = Registry::start(Make::Reference, &Setup::default());
    let second = Registry::start(Make::Debian, &Setup::default());
    let (from, to) = (first.reference("web:1.0"), second.reference("web:1.0"));
    work.copy("release.tar", &from, &[]).exits(0);
    let (root, image, blob) = parts(&from);
    // Of the index and of an image; neither registry lists them but under their tags. One that signs a signature, too.
    let of_index = sign(&first.address, &root, "application/x-signature", &blob);
    let of_image = sign(&first.address, &image, "application/x-bill", &blob);
    let of_bill = sign(&first.address, &of_image, "application/x-signature", &blob);
    let all = [(&root, &of_index), (&image, &of_image), (&of_image, &of_bill)];
    for (subject, entry) in all {
        let tag = subject["digest"].as_str().expect("a digest").replace(':', "-");
        put(&first.address, "web", &tag, media_type::INDEX, &list_of(entry));
    }
    let without = work.copy(&from, &second.reference("plain:1.0"), &[]).exits(0).json();
    assert_eq!(without["referrers"], 0);
    let copied = work.copy(&from, &to, &["--referrers"]).exits(0).json();
    assert_eq!(copied["referrers"], 3, "{copied}");
    for (subject, entry) in all {
        lists(&second, subject, entry);
    }
    let again = work.copy(&from, &to, &["--referrers"]).exits(0).json();
    assert_eq!(again["bytes_sent"], 0, "{again}");
    let refused = work.copy(&from, "oci:out:web", &["--referrers"]).exits(2);
    assert!(refused.stderr.contains("to a registry"), "{}", refused.stderr);
}

#[test]
fn what_is_here_is_not_asked_for_elsewhere() {
    let work = Work::new();
    work.copy("release.tar", "oci:out:web", &[]).exits(0);
    for (source, destination, write) in [
        ("release.tar:web", "oci:other:web", "bundle:release.tar:web"),
        ("out:web", "oci:other:web", "oci:out:web"),
        ("oci:out:web", "release.tar:web", "bundle:release.tar:web"),
    ] {
        let ran = work.copy(source, destination, &[]).exits(2);
        assert!(ran.stderr.contains("docker.io") && ran.stderr.contains(write), "{source}: {}", ran.stderr);
    }
}

#[test]
fn a_source_with_a_hole_is_told_before_the_first_byte_and_not_called_a_project() {
    let work = Work::new();
    let registry = Registry::start(Make::Debian, &Setup::default());
    work.copy("release.tar", "oci:out:web", &[]).exits(0);
    let blobs = work.folder.path("out/blobs/sha256");
    let largest = std::fs::read_dir(&blobs).expect("blobs").filter_map(Result::ok).map(|entry| entry.path());
    // Neither index nor manifest nor config: those are JSON.
    let layer = largest.into_iter().find(|path| std::fs::read(path).expect("a blob")[0] != b'{').expect("a layer");
    let digest = layer.file_name().expect("a name").to_string_lossy().into_owned();
    std::fs::remove_file(&layer).expect("removed");
    for destination in [registry.reference("web:1"), "oci:other:web".to_owned(), "bundle:other.tar:web:1".to_owned()] {
        let ran = work.copy("oci:out:web", &destination, &[]).exits(4);
        assert!(ran.stderr.contains(&digest) && ran.stderr.contains("oci:"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("catamaran build"), "{}", ran.stderr);
    }
    assert!(!registry.log().contains("/v2/web"), "nothing was asked: {}", registry.log());
}

/// A layout of one entry `x`, made by hand: `make` stores what it is of and gives its root.
fn layout(folder: &Project, name: &str, make: impl FnOnce(&Layout) -> Descriptor) -> String {
    let layout = Layout::create(folder.path(name)).expect("a layout");
    let mut root = make(&layout);
    root.annotations = Some([("org.opencontainers.image.ref.name".to_owned(), "x".to_owned())].into_iter().collect());
    layout.update_index(|entries| entries.push(root)).expect("written");
    format!("oci:{name}:x")
}

/// An index of `entries`, each for the platform next to it where there is one.
fn index_of(layout: &Layout, entries: &[(Descriptor, Option<&str>)]) -> Descriptor {
    let entries: Vec<Descriptor> = entries
        .iter()
        .map(|(entry, architecture)| {
            let object = |architecture: &&str| {
                [("architecture".to_owned(), (*architecture).into()), ("os".to_owned(), "linux".into())]
            };
            let platform = architecture.as_ref().map(|it| object(it).into_iter().collect());
            Descriptor { platform, ..entry.clone() }
        })
        .collect();
    let body = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries});
    layout.put(media_type::INDEX, body.to_string().as_bytes()).expect("stored")
}

#[test]
fn an_image_of_another_architecture_is_copied_nowhere() {
    let folder = Project::new();
    let registry = Registry::start(Make::Debian, &Setup::default());
    let lie = |layout: &Layout| {
        let amd64 = Image::small("web", "linux/amd64").store(layout);
        let arm64 = Image { config_platform: Some(platform("amd64")), ..Image::small("web", "linux/arm64") };
        index_of(layout, &[(amd64, Some("amd64")), (arm64.store(layout), Some("arm64"))])
    };
    let liar = layout(&folder, "liar", lie);
    let deeper = layout(&folder, "deeper", |layout| index_of(layout, &[(lie(layout), None)]));
    // The same in a registry, put there by who looks at nothing.
    let there = registry.reference("liar:1");
    let from = format!("oci:{}:x", folder.path("liar").display());
    skopeo(&["copy", "--all", "--quiet", "--dest-tls-verify=false", &from, &format!("docker://{there}")]);
    for source in [liar.as_str(), &there, &deeper] {
        for destination in [registry.reference("web:1"), "oci:out:web".to_owned(), "bundle:out.tar:web:1".to_owned()] {
            let ran = folder.run(&["copy", source, &destination, "--state", "state"]).exits(7);
            let told = ran.stderr.contains("is for linux/amd64, not linux/arm64");
            assert!(told && ran.stderr.contains("cannot be copied"), "{source} {destination}: {}", ran.stderr);
        }
    }
    assert!(!folder.path("out").exists() && !folder.path("out.tar").exists());
    assert!(!registry.log().contains("/v2/web"), "nothing was sent: {}", registry.log());
}

#[test]
fn a_single_image_is_an_index_of_one_entry_in_a_bundle() {
    let folder = Project::new();
    let registry = Registry::start(Make::Debian, &Setup::default());
    let single = layout(&folder, "single", |layout| Image::small("web", "linux/arm64").store(layout));
    let there = registry.reference("web:1");
    let copied = folder.run(&["copy", &single, &there, "--json"]).exits(0).json();
    assert_eq!((&copied["platforms"], &copied["index_of"]), (&json!(["linux/arm64"]), &Value::Null));
    let manifest = copied["digest"].clone();
    let mut indexes = Vec::new();
    for (source, file) in [(single.as_str(), "one.tar"), (&there, "two.tar")] {
        let copied = folder.run(&["copy", source, &format!("bundle:{file}:web:1"), "--json"]).exits(0).json();
        assert_eq!((&copied["index_of"], &copied["platforms"]), (&manifest, &json!(["linux/arm64"])), "{copied}");
        assert_eq!(copied["subset"], false);
        folder.run(&["verify", file]).exits(0);
        let text = raw(&format!("oci-archive:{}:web:1", folder.path(file).display()));
        assert_eq!(Digest::of(&text).to_string(), copied["digest"].as_str().expect("a digest"), "honest");
        let index: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(index["manifests"][0]["digest"], manifest);
        assert_eq!(index["manifests"][0]["platform"], json!({"architecture": "arm64", "os": "linux"}));
        indexes.push(text);
    }
    assert_eq!(indexes[0], indexes[1], "wherever it comes from");
    let shown = folder.run(&["copy", &single, "bundle:three.tar:web:1", "--platform", "arm64"]).exits(0).stdout;
    assert!(shown.contains("an index made for the single image"), "{shown}");
    let onward = folder.run(&["copy", "bundle:one.tar", &registry.reference("again:1"), "--json"]).exits(0).json();
    assert_eq!(onward["digest"], Digest::of(&indexes[0]).to_string());
    let target = format!("dir:{}", folder.path("read").display());
    let source = format!("docker://{}", registry.reference("again:1"));
    skopeo(&["--override-arch", "arm64", "copy", "--src-tls-verify=false", "--quiet", &source, &target]);
}

#[test]
fn a_list_of_dockers_type_comes_out_of_a_bundle_as_it_went_in() {
    let folder = Project::new();
    let registry = Registry::start(Make::Debian, &Setup::default());
    let source = layout(&folder, "docker", |layout| {
        let index = index_of(layout, &[(web(layout), Some("amd64"))]);
        let text = String::from_utf8(layout.read(&index, 1 << 20).expect("there")).expect("text");
        layout
            .put(media_type::DOCKER_LIST, text.replace(media_type::INDEX, media_type::DOCKER_LIST).as_bytes())
            .expect("stored")
    });
    let digest = folder.run(&["copy", &source, "bundle:one.tar:web:1", "--json"]).exits(0).json()["digest"].clone();
    folder.run(&["verify", "one.tar"]).exits(0);
    for destination in [registry.reference("web:1"), "oci:out:x".to_owned(), "bundle:two.tar:web:1".to_owned()] {
        let copied = folder.run(&["copy", "bundle:one.tar", &destination, "--json"]).exits(0).json();
        assert_eq!(copied["digest"], digest, "{destination}");
    }
    folder.run(&["import", "one.tar", "--to", &registry.reference("again")]).exits(0);
    let there = raw(&format!("docker://{}", registry.reference("again/web:1")));
    assert_eq!(Digest::of(there).to_string(), digest.as_str().expect("a digest"));
}

/// An artifact as tools for charts store them.
fn artifact(layout: &Layout) -> Descriptor {
    let config = layout.put("application/vnd.cncf.helm.config.v1+json", b"{}").expect("stored");
    let body = json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    layout.put(media_type::MANIFEST, body.as_bytes()).expect("stored")
}

fn web(layout: &Layout) -> Descriptor {
    Image::small("web", "linux/amd64").store(layout)
}

/// An image with a layer that no registry has.
fn foreign(layout: &Layout) -> Descriptor {
    let read =
        |it: &Descriptor| -> Value { serde_json::from_slice(&layout.read(it, 1 << 20).expect("there")).expect("JSON") };
    let mut body = read(&web(layout));
    let mut config = read(&serde_json::from_value(body["config"].clone()).expect("a descriptor"));
    let digest = Digest::of("far away").to_string();
    config["rootfs"]["diff_ids"].as_array_mut().expect("diff IDs").push(digest.clone().into());
    body["config"] = json!(layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("stored"));
    body["layers"].as_array_mut().expect("layers").push(json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": digest, "size": 8,
        "urls": ["https://example.com/layer"]
    }));
    layout.put(media_type::MANIFEST, body.to_string().as_bytes()).expect("stored")
}

#[test]
fn what_a_bundle_cannot_hold_is_refused_and_kept_by_layouts() {
    type Make<'a> = &'a dyn Fn(&Layout) -> Descriptor;
    let folder = Project::new();
    let cases: [(&str, Make<'_>, &str); 6] = [
        ("artifact", &artifact, "an artifact of the type `application/vnd.cncf.helm.config.v1+json`"),
        ("nested", &|it| index_of(it, &[(index_of(it, &[(web(it), Some("amd64"))]), None)]), "is an index itself"),
        ("bare", &|it| index_of(it, &[(web(it), None)]), "none of what it lists is an image"),
        ("empty", &|it| index_of(it, &[]), "none of what it lists is an image"),
        ("odd", &|it| index_of(it, &[(artifact(it), Some("amd64"))]), "for linux/amd64 is an artifact"),
        ("foreign", &foreign, "is kept where its `urls` say"),
    ];
    for (name, make, words) in cases {
        let source = layout(&folder, name, make);
        let ran = folder.run(&["copy", &source, &format!("bundle:{name}.tar:web:1")]).exits(2);
        let told = ran.stderr.contains(words) && ran.stderr.contains(&format!("{name}:x"));
        assert!(told && ran.stderr.contains("copy it to a registry or into a layout"), "{name}: {}", ran.stderr);
        assert!(!folder.path(&format!("{name}.tar")).exists());
        let kept = folder.run(&["copy", &source, &format!("oci:kept-{name}:x"), "--json"]).exits(0).json();
        assert_eq!(kept["elsewhere"], u8::from(name == "foreign"), "{kept}");
    }
}

#[test]
fn what_no_way_leads_from_is_refused_in_every_direction() {
    let folder = Project::new();
    let registry = Registry::start(Make::Crane, &Setup::default());
    let unknown = layout(&folder, "unknown", |layout| {
        let odd = layout.put("application/x-odd", b"odd").expect("stored");
        index_of(layout, &[(web(layout), Some("amd64")), (odd, None)])
    });
    let long = "ab".repeat(64);
    let sha512 = layout(&folder, "sha512", |layout| {
        let entry = json!({"mediaType": media_type::MANIFEST, "digest": format!("sha512:{long}"), "size": 5});
        layout.put(media_type::INDEX, list_of(&entry).as_bytes()).expect("stored")
    });
    layout(&folder, "named", web);
    let index = folder.path("named/index.json");
    let text = std::fs::read_to_string(&index).expect("there");
    let (before, digest) = text.split_once("sha256:").expect("a digest");
    std::fs::write(&index, format!("{before}sha512:{long}{}", &digest[64..])).expect("written");
    let deep = layout(&folder, "deep", |it| (0..6).fold(web(it), |inner, _| index_of(it, &[(inner, None)])));
    for (source, code, words) in [
        (unknown.as_str(), 2, "has the type `application/x-odd`"),
        (&sha512, 2, "sha512 digests, and only sha256 is supported"),
        ("oci:named:x", 2, "sha512 digests, and only sha256 is supported"),
        (&deep, 7, "over 4 levels"),
    ] {
        for destination in [registry.reference("web:1"), "oci:out:web".to_owned(), "bundle:out.tar:web:1".to_owned()] {
            let ran = folder.run(&["copy", source, &destination]).exits(code);
            assert!(ran.stderr.contains(words) && ran.stderr.contains("fix"), "{source}: {}", ran.stderr);
            assert!(!ran.stderr.contains("published"), "nothing was published: {}", ran.stderr);
        }
    }
    let part = folder.run(&["copy", &unknown, &registry.reference("web:1"), "--platform", "amd64", "--json"]);
    assert_eq!(part.exits(0).json()["subset"], true, "what is known of it can be had");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_wrong_is_not_called_published() {
    let work = Work::new();
    let first = Scripted::start(Login::None).await;
    let from = format!("{}/web:1.0", first.address);
    work.copy("release.tar", &from, &[]).exits(0);
    let other = b"{\"schemaVersion\":2,\"layers\":[],\"config\":{}}".to_vec();
    let manifest = || ("content-type", media_type::MANIFEST.to_owned());
    first.always("GET", "/manifests/sha256", Act::Answer(200, vec![manifest()], other));
    let ran = work.copy(&from, "oci:out:web", &[]).exits(7);
    assert!(ran.stderr.contains("is not what it must be") && ran.stderr.contains("bytes hash to"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("published") && !ran.stderr.contains("push again"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_lists_referrers_itself_is_asked_page_by_page() {
    let work = Work::new();
    let first = Scripted::start(Login::None).await;
    let second = Registry::start(Make::Debian, &Setup::default());
    let from = format!("{}/web:1.0", first.address);
    work.copy("release.tar", &from, &[]).exits(0);
    let shown = second.reference("shown:1.0");
    work.copy("release.tar", &shown, &[]).exits(0);
    let (root, _, blob) = parts(&shown);
    let one = sign(&first.address, &root, "application/x-signature", &blob);
    let two = sign(&first.address, &root, "application/x-bill", &blob);
    let path = format!("/referrers/{}", root["digest"].as_str().expect("a digest"));
    let kind = || ("content-type", media_type::INDEX.to_owned());
    let next = format!("</v2/web{path}?last=1>; rel=\"next\"");
    first.next("GET", &path, Act::Answer(200, vec![kind(), ("link", next)], list_of(&one).into_bytes()));
    first.next("GET", "?last=1", Act::Answer(200, vec![kind()], list_of(&two).into_bytes()));
    let to = second.reference("web:1.0");
    let copied = work.copy(&from, &to, &["--referrers"]).exits(0).json();
    assert_eq!(copied["referrers"], 2, "{copied}");
    for entry in [&one, &two] {
        let digest = entry["digest"].as_str().expect("a digest");
        assert_eq!(Digest::of(raw(&format!("docker://{}@{digest}", second.reference("web")))).to_string(), digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_lists_referrers_only_where_the_registry_does_not() {
    let work = Work::new();
    let first = Registry::start(Make::Reference, &Setup::default());
    let from = first.reference("web:1.0");
    work.copy("release.tar", &from, &[]).exits(0);
    let (root, image, blob) = parts(&from);
    let of_index = sign(&first.address, &root, "application/x-signature", &blob);
    let of_image = sign(&first.address, &image, "application/x-bill", &blob);
    let tag = |subject: &Value| subject["digest"].as_str().expect("a digest").replace(':', "-");
    for (subject, entry) in [(&root, &of_index), (&image, &of_image)] {
        put(&first.address, "web", &tag(subject), media_type::INDEX, &list_of(entry));
    }
    // Where nothing is yet, it does not say of what is asked about whether it would list it.
    for (there, says) in [(false, true), (true, true), (false, false), (true, false)] {
        let second = Scripted::start(Login::None).await;
        second.lists_referrers();
        if !says {
            second.always("PUT", "/manifests/", Act::Header("oci-subject", String::new()));
        }
        let to = format!("{}/web:1.0", second.address);
        if there {
            work.copy(&from, &to, &[]).exits(0);
        }
        let copied = work.copy(&from, &to, &["--referrers"]).exits(0).json();
        assert_eq!(copied["referrers"], 2, "{copied}");
        for (subject, entry) in [(&root, &of_index), (&image, &of_image)] {
            assert_eq!(second.tag("web", &tag(subject)).is_none(), says, "{there} {says}");
            let name = format!("docker://{}/web@{}", second.address, entry["digest"].as_str().expect("a digest"));
            assert_eq!(Digest::of(raw(&name)).to_string(), entry["digest"].as_str().expect("a digest"));
        }
        let again = work.copy(&from, &to, &["--referrers"]).exits(0).json();
        assert_eq!((&again["bytes_sent"], &again["referrers"]), (&0.into(), &2.into()), "{again}");
        // Onward, out of what it lists.
        let third = Registry::start(Make::Debian, &Setup::default());
        let onward = work.copy(&to, &third.reference("web:1.0"), &["--referrers"]).exits(0).json();
        assert_eq!(onward["referrers"], 2, "{onward}");
        lists(&third, &root, &of_index);
        lists(&third, &image, &of_image);
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let work = Work::new();
    let registry = Registry::start(Make::Crane, &Setup::default());
    let there = registry.reference("web:1");
    let pinned = format!("{}@{}", registry.reference("web"), work.index);
    for (source, destination, code, words) in [
        ("bundle:release.tar:wbe", there.as_str(), 2, "it has web"),
        ("release.tar", &pinned, 2, "name a tag"),
        ("oci:nowhere", &there, 4, "nowhere"),
        (&there, "oci:out:x", 6, "web:1"),
        ("WEB", &there, 2, "WEB"),
    ] {
        let ran = work.copy(source, destination, &[]);
        assert!(ran.stderr.contains(words), "{source} {destination}: {} {}", ran.code, ran.stderr);
        assert_eq!(ran.code, code, "{source} {destination}: {}", ran.stderr);
    }
}
