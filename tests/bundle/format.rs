use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use catamaran::base::{CellId, Descriptor, Digest, DigestHasher, ErrorClass, Failure as _, media_type};
use catamaran::bundle::{BundleContents, BundleError, BundleReader, BundleReport, write_bundle};
use catamaran::event::{Event, NoEvents};
use catamaran::image::names;
use catamaran::store::{BlobSource, Layout, StoreError, VerifiedReader};
use catamaran::verify::{Depth, ExpectedIndex, verify_layout};
use tokio_util::sync::CancellationToken;

use crate::support::images::{Fleet, Image, component, file, gzip, layer_tar, noise, platform, reference};

pub(super) fn write(fleet: &Fleet, contents: &BundleContents, path: &Path) -> Result<BundleReport, BundleError> {
    write_bundle(&fleet.layout, contents, path, &NoEvents, &CancellationToken::new())
}

fn two_by_two() -> Fleet {
    Fleet::small(&["web", "api"], &["arm64", "amd64"])
}

/// Names and sizes of a tar as GNU tar sees them.
fn listing(path: &Path) -> Vec<String> {
    let output = Command::new("tar").arg("-tvf").arg(path).env("TZ", "UTC").output().expect("tar is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no warning either");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// The content of an entry, as GNU tar sees it.
fn entry(path: &Path, name: &str) -> Vec<u8> {
    let output = Command::new("tar").arg("-xOf").arg(path).arg(name).output().expect("tar is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn d20_the_file_is_plain_ordered_and_holds_both_views() {
    let fleet = two_by_two();
    let path = fleet.directory.path().join("fleet.tar");
    let report = write(&fleet, &fleet.contents(), &path).expect("written");
    assert_eq!(fs::metadata(&path).expect("there").len(), report.bytes);

    let lines = listing(&path);
    let names: Vec<&str> = lines.iter().map(|line| line.rsplit(' ').next().expect("a name")).collect();
    assert_eq!(names[..4], ["oci-layout", "index.json", "manifest.json", "catamaran.json"]);
    assert!(names[4..].is_sorted(), "blobs by digest");
    assert_eq!(names.len(), 4 + fleet.blobs().len(), "every blob once and nothing else");
    for line in &lines {
        assert!(line.starts_with("-rw-r--r-- 0/0"), "{line}");
        assert!(line.contains("1970-01-01 00:00"), "{line}");
    }

    let index: serde_json::Value = serde_json::from_slice(&entry(&path, "index.json")).expect("JSON");
    let entries = index["manifests"].as_array().expect("entries");
    for (entry, name) in entries.iter().zip(["api", "web"]) {
        let full = format!("registry.example/team/{name}:1.0");
        assert_eq!(entry["mediaType"], media_type::INDEX);
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], full.as_str());
        assert_eq!(entry["annotations"]["io.containerd.image.name"], full.as_str());
        assert_eq!(entry.as_object().expect("an object").len(), 4, "nothing but the minimum");
    }
    assert_eq!(entries.len(), 2);
    assert_eq!(index.get("annotations"), None, "no stamp on a complete bundle");

    let view: serde_json::Value = serde_json::from_slice(&entry(&path, "manifest.json")).expect("JSON");
    let tags: Vec<String> =
        view.as_array().expect("images").iter().map(|image| image["RepoTags"].to_string()).collect();
    assert_eq!(
        tags,
        [
            r#"["registry.example/team/api:1.0","registry.example/team/api:1.0-amd64"]"#,
            r#"["registry.example/team/api:1.0-arm64"]"#,
            r#"["registry.example/team/web:1.0","registry.example/team/web:1.0-amd64"]"#,
            r#"["registry.example/team/web:1.0-arm64"]"#,
        ]
    );
    // What the view calls a config is the config that the lock has as image ID.
    for (image, locked) in
        view.as_array().expect("images").iter().zip(report.lock.images.iter().flat_map(|i| &i.platforms))
    {
        assert_eq!(image["Config"], format!("blobs/sha256/{}", locked.config.hex()));
        assert_eq!(image["Layers"].as_array().expect("layers").len(), locked.layers.len());
    }
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let bytes = |order: &[&str], platforms: &[&str]| {
        let fleet = Fleet::small(order, platforms);
        let path = fleet.directory.path().join("x.tar");
        let report = write(&fleet, &fleet.contents(), &path).expect("written");
        (report.lock_digest, fs::read(&path).expect("readable"))
    };
    let first = bytes(&["api", "web", "base"], &["amd64", "arm64", "arm/v7"]);
    let second = bytes(&["web", "base", "api"], &["arm/v7", "arm64", "amd64"]);
    assert!(first == second, "the order in which things came changes no byte");
    assert_ne!(first.0, bytes(&["api", "web"], &["amd64", "arm64", "arm/v7"]).0);
}

/// The digest of the bundle below, for every machine and build.
const GOLDEN: &str = "0d0da4f2af89";

#[test]
fn the_format_changes_only_by_decision() {
    let mut fleet = Fleet::empty();
    // Not compressed: a later compressor may write other bytes.
    let plain = |platform| Image { layer_type: media_type::LAYER, ..Image::small("api", platform) };
    fleet.add("api", &[plain("amd64"), plain("arm64")]);
    let path = fleet.directory.path().join("x.tar");
    write(&fleet, &fleet.contents(), &path).expect("written");
    assert_eq!(Digest::of(fs::read(&path).expect("readable")).short(), GOLDEN);
}

#[test]
fn d21_shared_blobs_are_there_once() {
    let mut fleet = Fleet::empty();
    let shared = vec![file("data", 0o644, noise(1, 2_000_000))];
    for name in ["a", "b", "c", "d"] {
        let images: Vec<Image> = ["amd64", "arm64"]
            .iter()
            .map(|platform| {
                let mut image = Image::small(name, platform);
                image.layers.insert(0, shared.clone());
                image
            })
            .collect();
        fleet.add(name, &images);
    }
    let path = fleet.directory.path().join("fleet.tar");
    let report = write(&fleet, &fleet.contents(), &path).expect("written");
    let unique: u64 =
        fleet.blobs().iter().map(|digest| fs::metadata(fleet.blob_path(digest)).expect("there").len()).sum();
    assert!(report.bytes <= unique + unique / 100 + 1024 * report.blobs, "{} for {unique}", report.bytes);
    assert!(report.bytes * 100 <= unique * 103, "{} for {unique}", report.bytes);
    assert!(report.saved_bytes > 7 * 2_000_000, "seven of eight images share it: {}", report.saved_bytes);
}

#[test]
fn d18_a_hole_is_refused_naming_component_platform_and_digest_and_leaves_nothing() {
    let fleet = two_by_two();
    let layer = Digest::of(gzip(&layer_tar(&Image::small("web", "arm64").layers[1])));
    fs::remove_file(fleet.blob_path(&layer)).expect("removable");
    let path = fleet.directory.path().join("fleet.tar");
    fs::write(&path, "the old one").expect("writable");
    let error = write(&fleet, &fleet.contents(), &path).expect_err("there is a hole");
    assert_eq!(error.class(), ErrorClass::Incomplete);
    assert_eq!(error.to_string(), format!("web/arm64: blob `{layer}` is missing"));
    assert_eq!(fs::read(&path).expect("there"), b"the old one");
    assert_eq!(fs::read_dir(fleet.directory.path()).expect("there").count(), 2, "no temporary file is left");
}

#[test]
fn a_blob_that_was_damaged_in_the_layout_is_found_while_it_is_copied() {
    let fleet = two_by_two();
    let layer = Digest::of(gzip(&layer_tar(&Image::small("web", "arm64").layers[1])));
    let mut bytes = fs::read(fleet.blob_path(&layer)).expect("readable");
    bytes[40] ^= 1;
    fs::write(fleet.blob_path(&layer), bytes).expect("writable");
    let path = fleet.directory.path().join("fleet.tar");
    let error = write(&fleet, &fleet.contents(), &path).expect_err("it is damaged");
    assert_eq!(error.class(), ErrorClass::Integrity);
    assert!(error.to_string().contains(&layer.to_string()), "{error}");
    assert!(!path.exists());
}

#[test]
fn d18_an_incomplete_bundle_is_stamped_and_names_its_holes() {
    let mut fleet = Fleet::small(&["api"], &["amd64", "arm64"]);
    fleet.add("web", &[Image::small("web", "amd64")]);
    let mut contents = fleet.contents();
    contents.incomplete =
        vec![CellId::new(component("web"), platform("arm64")), CellId::new(component("gitea"), platform("amd64"))];
    let path = fleet.directory.path().join("fleet.tar");
    let report = write(&fleet, &contents, &path).expect("holes that are named are allowed");
    assert!(!report.lock.complete);
    let index: serde_json::Value = serde_json::from_slice(&entry(&path, "index.json")).expect("JSON");
    assert_eq!(index["annotations"]["dev.catamaran.stamp"], "INCOMPLETE");
    assert_eq!(index["annotations"]["dev.catamaran.missing"], "gitea/linux/amd64,web/linux/arm64");
    let bundle = BundleReader::open(&path).expect("a bundle");
    bundle.check_views().expect("the views agree");
    let missing: Vec<String> =
        bundle.lock().missing.iter().map(|cell| format!("{}/{}", cell.component, cell.platform.short())).collect();
    assert_eq!(missing, ["gitea/amd64", "web/arm64"]);
    assert!(!bundle.lock().complete);
}

#[test]
fn an_image_without_the_default_platform_still_has_its_plain_name() {
    let mut fleet = Fleet::empty();
    fleet.add("edge", &[Image::small("edge", "arm/v7"), Image::small("edge", "arm64")]);
    let path = fleet.directory.path().join("fleet.tar");
    write(&fleet, &fleet.contents(), &path).expect("written");
    let view: serde_json::Value = serde_json::from_slice(&entry(&path, "manifest.json")).expect("JSON");
    assert_eq!(view[0]["RepoTags"][0], "registry.example/team/edge:1.0");
    assert_eq!(view[0]["RepoTags"][1], "registry.example/team/edge:1.0-arm-v7");
    assert_eq!(view[1]["RepoTags"][0], "registry.example/team/edge:1.0-arm64");
}

/// `bytes` with every `old` in it as `new`, which has the same length.
fn replaced(mut bytes: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    while let Some(at) = bytes.windows(old.len()).position(|window| window == old) {
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    bytes
}

#[test]
fn d20_no_two_images_have_one_name_for_docker() {
    let fleet = two_by_two();
    let path = fleet.directory.path().join("fleet.tar");
    let mut contents = fleet.contents();
    contents.entries[1].reference = reference("registry.example/team/web:1.0-amd64");
    let error = write(&fleet, &contents, &path).expect_err("web/amd64 and api have one name");
    assert_eq!(error.class(), ErrorClass::Config);
    assert_eq!(
        error.to_string(),
        "`web` and `api` would both be `registry.example/team/web:1.0-amd64` for docker and podman"
    );
    assert!(error.help().is_some_and(|help| help.contains("another image or tag")));
    assert!(!path.exists());

    // A file of another program that says so all the same, with right checksums.
    contents.entries[1].reference = reference("registry.example/team/web:1.0-amd65");
    write(&fleet, &contents, &path).expect("written");
    let (wrong, doubled) = (b"1.0-amd65".as_slice(), b"1.0-amd64".as_slice());
    let mut bytes = fs::read(&path).expect("readable");
    let mut lock = String::from_utf8(entry(&path, "catamaran.json")).expect("text");
    let old = lock.clone();
    lock = lock.replace("1.0-amd65", "1.0-amd64");
    for name in ["index.json", "manifest.json"] {
        let file = entry(&path, name);
        let changed = replaced(file.clone(), wrong, doubled);
        lock = lock.replace(&Digest::of(&file).to_string(), &Digest::of(&changed).to_string());
        bytes = replaced(bytes, &file, &changed);
    }
    let (covered, _) = lock.rsplit_once(",\"checksum\":\"").expect("a checksum");
    lock = format!("{covered},\"checksum\":\"{}\"}}\n", Digest::of(covered));
    fs::write(&path, replaced(bytes, old.as_bytes(), lock.as_bytes())).expect("writable");
    let bundle = BundleReader::open(&path).expect("each part is whole");
    let error = bundle.check_views().expect_err("a name stands for two images");
    assert_eq!(error.class(), ErrorClass::Integrity);
    assert!(error.to_string().contains("would both be `registry.example/team/web:1.0-amd64`"), "{error}");
}

#[test]
fn what_no_importer_could_use_is_refused() {
    let fleet = two_by_two();
    let path = fleet.directory.path().join("fleet.tar");
    let mut twice = fleet.contents();
    twice.entries.push(twice.entries[0].clone());
    assert!(matches!(write(&fleet, &twice, &path), Err(BundleError::DuplicateName { .. })));

    let mut digest = fleet.contents();
    digest.entries[0].reference = reference(&format!("r.example/a@{}", Digest::of("x")));
    assert!(matches!(write(&fleet, &digest, &path), Err(BundleError::BadName { .. })));

    let mut long = fleet.contents();
    long.entries[0].reference = reference(&format!("r.example/a:{}", "x".repeat(125)));
    assert!(matches!(write(&fleet, &long, &path), Err(BundleError::BadName { .. })));

    // A manifest in place of an index, and an image that is for another platform than its entry says.
    let mut manifest = fleet.contents();
    let image = Image { config_platform: Some(platform("arm64")), ..Image::small("x", "amd64") }.store(&fleet.layout);
    manifest.entries[0].index = image.clone();
    assert_eq!(write(&fleet, &manifest, &path).expect_err("no index").class(), ErrorClass::Integrity);
    let lying = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [{
        "mediaType": image.media_type, "digest": image.digest, "size": image.size,
        "platform": {"os": "linux", "architecture": "amd64"},
    }]});
    manifest.entries[0].index = fleet.layout.put(media_type::INDEX, lying.to_string().as_bytes()).expect("stored");
    let error = write(&fleet, &manifest, &path).expect_err("the wrong platform");
    assert_eq!(error.class(), ErrorClass::Integrity);
    assert!(!path.exists());
}

#[test]
fn cancelling_leaves_nothing() {
    let fleet = two_by_two();
    let path = fleet.directory.path().join("fleet.tar");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = write_bundle(&fleet.layout, &fleet.contents(), &path, &NoEvents, &cancel).expect_err("cancelled");
    assert_eq!(error.class(), ErrorClass::Cancelled);
    assert_eq!(fs::read_dir(fleet.directory.path()).expect("there").count(), 1);
}

#[test]
fn progress_is_told_and_ends_at_most_at_the_total() {
    let mut fleet = Fleet::empty();
    let mut image = Image::small("big", "amd64");
    image.layers.push(vec![file("data", 0o644, noise(2, 40 << 20))]);
    image.layer_type = media_type::LAYER;
    fleet.add("big", &[image]);
    let seen = Mutex::new(Vec::new());
    let sink = |event: Event| {
        if let Event::Transfer { what, done, total } = event {
            seen.lock().expect("no panic").push((what, done, total));
        }
    };
    let path = fleet.directory.path().join("fleet.tar");
    write_bundle(&fleet.layout, &fleet.contents(), &path, &sink, &CancellationToken::new()).expect("written");
    let seen = seen.into_inner().expect("no panic");
    assert!(seen.len() >= 2, "{seen:?}");
    assert!(seen.iter().all(|(what, done, total)| what == "export fleet.tar" && done <= total), "{seen:?}");
}

#[test]
fn layout_to_bundle_to_layout_keeps_every_digest() {
    let fleet = two_by_two();
    let path = fleet.directory.path().join("fleet.tar");
    write(&fleet, &fleet.contents(), &path).expect("written");
    let bundle = BundleReader::open(&path).expect("a bundle");
    bundle.check_views().expect("the views agree");
    let copy = Layout::create(fleet.directory.path().join("copy")).expect("a layout");
    bundle.copy_into(&copy).expect("copied");
    assert!(verify_layout(&copy, &fleet.roots, Depth::Layers, &CancellationToken::new()).is_whole());
    assert!(verify_layout(&bundle, &fleet.roots, Depth::Layers, &CancellationToken::new()).is_whole());
    assert_eq!(names(&copy).expect("names"), names(&fleet.layout).expect("names"));
    let again = fleet.directory.path().join("again.tar");
    write_bundle(&copy, &fleet.contents(), &again, &NoEvents, &CancellationToken::new()).expect("written");
    assert!(fs::read(&path).expect("readable") == fs::read(&again).expect("readable"), "byte for byte");
    // From a bundle itself too: it is a source like a layout.
    write_bundle(&bundle, &fleet.contents(), &again, &NoEvents, &CancellationToken::new()).expect("written");
    assert!(fs::read(&path).expect("readable") == fs::read(&again).expect("readable"), "byte for byte");
}

#[test]
fn attestations_are_in_the_layout_and_not_in_the_docker_view() {
    let mut fleet = Fleet::empty();
    let statement = fleet.add_attested();
    let path = fleet.directory.path().join("fleet.tar");
    let report = write(&fleet, &fleet.contents(), &path).expect("written");
    assert!(report.lock.blobs.iter().any(|blob| blob.digest == statement.digest));
    let view: serde_json::Value = serde_json::from_slice(&entry(&path, "manifest.json")).expect("JSON");
    assert_eq!(view.as_array().expect("images").len(), 1);
}

/// A tar of one entry whose header is a good one but for what `change` does to it. Offsets are those of USTAR.
fn hostile(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "oci-layout");
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, "00000000004");
    put(136, "00000000000");
    put(156, "0");
    put(257, "ustar\x0000");
    put(329, "0000000");
    put(337, "0000000");
    change(&mut header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend([b'x'; 4]);
    header.resize(1024 + 1024, 0);
    header
}

#[test]
fn hostile_entries_are_refused_by_name_and_kind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hostile.tar");
    let reason = |bytes: Vec<u8>| {
        fs::write(&path, bytes).expect("writable");
        BundleReader::open(&path).expect_err("refused").to_string()
    };
    assert!(reason(hostile(|_| {})).contains("catamaran did not write it"), "the unchanged header is a good one");
    for name in [
        "../../etc/passwd",
        "/oci-layout",
        "./oci-layout",
        "oci-layout ",
        "OCI-LAYOUT",
        "blobs/sha256/../../x",
        "blobs/sha256/ABCD",
        "blobs/sha512/00",
        "C:oci-layout",
        "a\\b",
        "oci-layout/",
        "",
    ] {
        let raw = |header: &mut [u8]| {
            header[..100].fill(0);
            header[..name.len()].copy_from_slice(name.as_bytes());
        };
        assert!(reason(hostile(raw)).contains("no name that a bundle may have"), "{name:?}");
    }
    let field = |at: usize, text: &'static [u8]| {
        reason(hostile(move |header| header[at..at + text.len()].copy_from_slice(text)))
    };
    for kind in [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S", b"D", b"\0"] {
        assert!(field(156, kind).contains("is not a plain USTAR file"), "{kind:?}");
    }
    for (at, text) in [
        (11, &b"hidden"[..]),
        (100, b"0004755"),
        (108, b"0000001"),
        (136, b"00000000001"),
        (157, b"x"),
        (257, b"ustar  \0"),
        (265, b"root"),
        (297, b"root"),
        (329, b"0000001"),
        (345, b"x"),
        (500, b"x"),
    ] {
        assert!(field(at, text).contains("is not a plain USTAR file"), "{at} {text:?}");
    }
    // A number has one form only; base 256 is for what octal digits cannot hold.
    assert!(field(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x04").contains("is not a plain USTAR file"));
    assert!(field(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff").contains("truncated"));
    let too_large = b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
    for size in [&too_large[..], b"-0000000004\0", b"          4 ", b"00000000009\0"] {
        assert!(field(124, size).contains("octal"), "{size:?}");
    }
    assert!(field(124, b"77777777777\0").contains("truncated"));
}

#[test]
fn rearranged_bundles_are_refused() {
    let fleet = two_by_two();
    let path = fleet.directory.path().join("fleet.tar");
    write(&fleet, &fleet.contents(), &path).expect("written");
    let good = fs::read(&path).expect("readable");
    let entries = split(&good);
    let reason = |entries: &[&[u8]], end: &[u8]| {
        fs::write(&path, [&entries.concat()[..], end].concat()).expect("writable");
        BundleReader::open(&path).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let end = [0; 1024];
    let all: Vec<&[u8]> = entries.clone();
    assert_eq!(reason(&all, &end), "");
    for missing in 0..all.len() {
        let mut fewer = all.clone();
        fewer.remove(missing);
        assert!(!reason(&fewer, &end).is_empty(), "without entry {missing}");
        let mut more = all.clone();
        more.push(all[missing]);
        assert!(reason(&more, &end).contains("twice"), "entry {missing} twice");
    }
    assert!(reason(&all, &[0; 512]).contains("truncated"));
    assert!(reason(&all, &[0; 1536]).contains("512 bytes follow"));
    assert!(reason(&all, &[]).contains("truncated"));

    // A blob that is whole but that nothing lists.
    let other = Fleet::small(&["other"], &["amd64"]);
    write(&other, &other.contents(), &path).expect("written");
    let foreign = fs::read(&path).expect("readable");
    let known: Vec<Digest> = fleet.blobs();
    let extra = split(&foreign)
        .into_iter()
        .skip(4)
        .find(|entry| {
            known.iter().all(|digest| !entry.starts_with(format!("blobs/sha256/{}", digest.hex()).as_bytes()))
        })
        .expect("a blob of its own");
    let mut more = all.clone();
    more.push(extra);
    assert!(reason(&more, &end).contains("is not listed"));
}

/// The entries of a bundle with header and padding.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut entries = Vec::new();
    let mut at = 0;
    while bytes[at] != 0 {
        let size = std::str::from_utf8(&bytes[at + 124..at + 135]).expect("octal");
        let size = usize::from_str_radix(size, 8).expect("octal");
        let end = at + 512 + size.next_multiple_of(512);
        entries.push(&bytes[at..end]);
        at = end;
    }
    entries
}

#[test]
fn other_formats_and_files_are_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.tar");
    for (bytes, expected) in [
        (&b""[..], "truncated"),
        (&b"not a tar"[..], "truncated"),
        (&[0; 1024][..], "catamaran did not write it"),
        (&[b'x'; 2048][..], "checksum"),
    ] {
        fs::write(&path, bytes).expect("writable");
        let error = BundleReader::open(&path).expect_err("refused");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.class(), ErrorClass::Integrity);
    }
    assert_eq!(BundleReader::open(directory.path().join("nowhere")).expect_err("absent").class(), ErrorClass::Disk);
    assert_eq!(BundleReader::open(directory.path()).expect_err("a directory").class(), ErrorClass::Integrity);
}

#[test]
fn a_bundle_reads_small_blobs_with_their_bound() {
    let fleet = two_by_two();
    let path = fleet.directory.path().join("fleet.tar");
    write(&fleet, &fleet.contents(), &path).expect("written");
    let bundle = BundleReader::open(&path).expect("a bundle");
    let index: &Descriptor = &fleet.roots[0].descriptor;
    assert_eq!(bundle.read(index, 1 << 20).expect("readable"), fleet.layout.read(index, 1 << 20).expect("readable"));
    assert!(bundle.read(index, 10).is_err());
}

#[test]
fn what_a_killed_write_left_is_gone_after_the_next_one() {
    let fleet = two_by_two();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(".catamaran-Ab12Cd.tar.part"), "half a bundle").expect("writable");
    fs::write(folder.path().join("other.tar.part"), "somebody else's").expect("writable");
    write(&fleet, &fleet.contents(), &folder.path().join("fleet.tar")).expect("written");
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).expect("there").map(|entry| entry.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["fleet.tar", "other.tar.part"]);
}

/// A layout in which one layer is zeros that lie nowhere.
struct Zeros {
    layout: Layout,
    layer: Descriptor,
}

impl BlobSource for Zeros {
    fn size_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if *digest == self.layer.digest { Ok(Some(self.layer.size)) } else { self.layout.size_of(digest) }
    }

    fn open(&self, descriptor: &Descriptor) -> Result<VerifiedReader<Box<dyn Read + Send>>, StoreError> {
        if descriptor.digest == self.layer.digest {
            Ok(VerifiedReader::new(Box::new(std::io::repeat(0).take(self.layer.size)), descriptor))
        } else {
            self.layout.open(descriptor)
        }
    }

    fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.layout.read(descriptor, limit)
    }
}

/// `scripts/campaign large-blob` runs it over 8 GiB, where a size does not fit into octal digits.
#[test]
fn a_large_blob_comes_back_whole() {
    let size: u64 = std::env::var("CATAMARAN_LARGE_BYTES").map_or(20 << 20, |text| text.parse().expect("bytes"));
    let mut hasher = DigestHasher::new();
    let zeros = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        hasher.update(&zeros);
    }
    let layer = Descriptor::new(media_type::LAYER, hasher.finish(), size >> 20 << 20);
    let mut fleet = Fleet::empty();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    });
    let config = fleet.layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("stored");
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let manifest = fleet.layout.put(media_type::MANIFEST, manifest.to_string().as_bytes()).expect("stored");
    let entry = serde_json::json!({
        "mediaType": media_type::MANIFEST, "digest": manifest.digest, "size": manifest.size,
        "platform": {"os": "linux", "architecture": "amd64"},
    });
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [entry]});
    let index = fleet.layout.put(media_type::INDEX, index.to_string().as_bytes()).expect("stored");
    fleet.roots.push(ExpectedIndex {
        component: component("big"),
        reference: reference("registry.example/team/big:1.0"),
        descriptor: index,
        platforms: vec![platform("amd64")],
        unasked: Vec::new(),
        foreign: Vec::new(),
    });
    let path = fleet.directory.path().join("big.tar");
    let source = Zeros { layout: fleet.layout.clone(), layer: layer.clone() };
    let report =
        write_bundle(&source, &fleet.contents(), &path, &NoEvents, &CancellationToken::new()).expect("written");
    assert!(report.bytes > layer.size);
    let bundle = BundleReader::open(&path).expect("a bundle");
    assert_eq!(bundle.size_of(&layer.digest).expect("readable"), Some(layer.size));
    let name = format!("{} ", layer.size);
    assert!(listing(&path).iter().any(|line| line.contains(&name)), "GNU tar reads the same size");
    let found = verify_layout(&bundle, &fleet.roots, Depth::Blobs, &CancellationToken::new()).findings;
    assert_eq!(found, []);
}
