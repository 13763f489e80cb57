use std::fs;

use catamaran::base::{Descriptor, Digest, ErrorClass, Failure as _, media_type};
use catamaran::image::{IndexEntry, assemble_index};
use catamaran::store::BlobSource as _;
use catamaran::verify::{Depth, ExpectedIndex, Finding, Part, Presence, Problem, Report, presence, verify_layout};
use tokio_util::sync::CancellationToken;

use crate::support::images::{Fleet, Image, elf, file, gzip, layer_tar, platform};

pub(super) fn verify(fleet: &Fleet, depth: Depth) -> Report {
    verify_layout(&fleet.layout, &fleet.roots, depth, &CancellationToken::new())
}

/// The findings as people read them, digests left out.
fn shown(report: &Report) -> Vec<String> {
    report.findings.iter().map(shown_one).collect()
}

fn shown_one(finding: &Finding) -> String {
    let affects: Vec<String> = finding.affects.iter().map(ToString::to_string).collect();
    format!("{}: {}", affects.join(", "), finding.problem)
}

#[test]
fn a_whole_fleet_has_no_findings() {
    let fleet = Fleet::small(&["api", "web"], &["amd64", "arm64"]);
    for depth in [Depth::Blobs, Depth::Layers] {
        let report = verify(&fleet, depth);
        assert_eq!(shown(&report), [""; 0]);
        assert!(report.is_whole());
        assert_eq!(report.images, 4);
        // Each image has a manifest, a config and a layer of its own, the shared layer is there once, and two indexes.
        assert_eq!(report.blobs, 4 * 3 + 1 + 2);
    }
    let report = verify(&fleet, Depth::Layers);
    assert_eq!((report.layers, report.executables), (5, 4));
}

#[test]
fn d19_an_executable_of_another_processor_is_found_with_layer_and_path() {
    let mut fleet = Fleet::empty();
    let mut foreign = Image::small("api", "arm64");
    foreign.layers.push(vec![
        file("usr/bin/busybox", 0o755, elf(62, 2)),
        file("usr/bin/tool", 0o755, elf(62, 3)),
        file("usr/bin/script", 0o755, "#!/bin/sh\n# \x7fELF".repeat(20)),
        file("usr/bin/object.o", 0o755, elf(62, 1)),
        file("usr/lib/bpf/filter", 0o755, elf(247, 2)),
        file("usr/bin/old", 0o755, elf(40, 2)),
    ]);
    fleet.add("api", &[Image::small("api", "amd64"), foreign]);
    assert!(verify(&fleet, Depth::Blobs).is_whole(), "digests alone cannot know");
    let report = verify(&fleet, Depth::Layers);
    assert_eq!(
        shown(&report),
        [
            "api/arm64 layer 3 of 3: foreign executable: `usr/bin/busybox` is for amd64, the image is for linux/arm64 (and 1 more in this layer)"
        ]
    );
    assert_eq!(report.findings[0].class(), ErrorClass::Integrity);
}

#[test]
fn d19_plain_layers_and_long_names_are_scanned_too() {
    let mut fleet = Fleet::empty();
    let mut image = Image::small("api", "arm64");
    image.layer_type = media_type::LAYER;
    let deep = format!("opt/{}/program", "directory/".repeat(30));
    image.layers.push(vec![file(&deep, 0o755, elf(62, 2))]);
    fleet.add("api", &[image]);
    assert!(shown(&verify(&fleet, Depth::Layers))[0].contains(&format!("`{deep}` is for amd64")));
}

#[test]
fn d18_a_missing_blob_names_every_cell_that_it_breaks() {
    let fleet = Fleet::small(&["api", "web"], &["amd64", "arm64"]);
    let shared = Digest::of(gzip(&layer_tar(&Image::small("x", "amd64").layers[0])));
    fs::remove_file(fleet.blob_path(&shared)).expect("removable");
    for depth in [Depth::Blobs, Depth::Layers] {
        let report = verify(&fleet, depth);
        let expected =
            "api/amd64 layer 1 of 2, api/arm64 layer 1 of 2, web/amd64 layer 1 of 2, web/arm64 layer 1 of 2: missing";
        assert_eq!(shown(&report), [expected]);
        assert_eq!(report.findings[0].digest, shared);
    }
    let Presence::Incomplete { missing, .. } = presence(&fleet.layout, &fleet.roots[0].descriptor).expect("readable")
    else {
        panic!("presence must see the hole");
    };
    assert_eq!(missing.iter().map(|blob| blob.digest).collect::<Vec<_>>(), [shared]);
}

#[test]
fn damage_is_told_apart_and_found_in_every_part() {
    for target in ["index", "manifest", "config", "layer"] {
        for (damage, expected) in
            [("flip", "corrupt"), ("cut", "wrong size"), ("grow", "wrong size"), ("empty", "wrong size")]
        {
            let mut fleet = Fleet::empty();
            let image = Image::small("api", "arm64");
            let manifest = fleet.add("api", std::slice::from_ref(&image))[&image.platform].clone();
            let parsed: serde_json::Value =
                serde_json::from_slice(&fleet.layout.read(&manifest, 1 << 20).expect("readable")).expect("JSON");
            let digest = match target {
                "index" => fleet.roots[0].descriptor.digest,
                "manifest" => manifest.digest,
                "config" => parsed["config"]["digest"].as_str().expect("text").parse().expect("a digest"),
                _ => parsed["layers"][1]["digest"].as_str().expect("text").parse().expect("a digest"),
            };
            let path = fleet.blob_path(&digest);
            let mut bytes = fs::read(&path).expect("readable");
            match damage {
                "flip" => bytes[20] ^= 4,
                "cut" => bytes.truncate(bytes.len() - 1),
                "grow" => bytes.push(b'\n'),
                _ => bytes.clear(),
            }
            fs::write(&path, bytes).expect("writable");
            for depth in [Depth::Blobs, Depth::Layers] {
                let report = verify(&fleet, depth);
                let found: Vec<_> = report.findings.iter().filter(|finding| finding.digest == digest).collect();
                assert_eq!(found.len(), 1, "{target} {damage}: {:?}", shown(&report));
                assert!(found[0].problem.to_string().starts_with(expected), "{target} {damage}: {}", found[0]);
                assert!(found[0].to_string().contains(target), "{target} {damage}: {}", found[0]);
                assert_eq!(found[0].class(), ErrorClass::Integrity);
            }
        }
    }
}

#[test]
fn odd_blobs_are_findings_and_never_followed() {
    for odd in ["symlink", "directory", "fifo"] {
        let fleet = Fleet::small(&["api"], &["amd64"]);
        let digest = Digest::of(gzip(&layer_tar(&Image::small("x", "amd64").layers[0])));
        let path = fleet.blob_path(&digest);
        let aside = fleet.directory.path().join("aside");
        fs::rename(&path, &aside).expect("movable");
        match odd {
            // Even though the right bytes are behind it.
            "symlink" => std::os::unix::fs::symlink(&aside, &path).expect("a link"),
            "directory" => fs::create_dir(&path).expect("a directory"),
            _ => assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success()),
        }
        let report = verify(&fleet, Depth::Layers);
        assert_eq!(report.findings.len(), 1, "{odd}: {:?}", shown(&report));
        assert_eq!(report.findings[0].class(), ErrorClass::Integrity, "{odd}: {:?}", shown(&report));
        assert!(!presence(&fleet.layout, &fleet.roots[0].descriptor).expect("readable").is_complete(), "{odd}");
    }
}

#[test]
fn d14_platforms_of_request_entry_and_config_must_agree() {
    let mut fleet = Fleet::small(&["api"], &["amd64", "arm64"]);
    fleet.roots[0].platforms = vec![platform("amd64"), platform("arm/v7")];
    assert_eq!(
        shown(&verify(&fleet, Depth::Blobs)),
        ["api index: an image for linux/arm64, which was not asked for", "api index: no image for linux/arm/v7"]
    );

    let mut wrong = Image::small("web", "arm64");
    wrong.config_platform = Some(platform("amd64"));
    let manifest = wrong.store(&fleet.layout);
    let entry = IndexEntry {
        platform: platform("arm64"),
        manifest: manifest.clone(),
        annotations: None,
        attestations: Vec::new(),
    };
    let refused = assemble_index(&fleet.layout, vec![entry], &std::collections::BTreeMap::new());
    assert!(
        refused.is_err_and(|error| error.to_string().ends_with("is for linux/amd64, not linux/arm64")),
        "no index of ours says what its image does not"
    );
    // So it takes another tool to make one.
    let descriptor = foreign_index(&fleet, &[("arm64", &manifest)]);
    let mut fleet = Fleet { roots: Vec::new(), ..fleet };
    fleet.expect("web", descriptor, vec![platform("arm64")]);
    assert_eq!(
        shown(&verify(&fleet, Depth::Blobs)),
        ["web/arm64 config: wrong platform: the image is for linux/amd64, not linux/arm64"]
    );
}

/// An index as another tool might write it.
fn foreign_index(fleet: &Fleet, entries: &[(&str, &Descriptor)]) -> Descriptor {
    let entries: Vec<_> = entries
        .iter()
        .map(|(architecture, manifest)| {
            let mut entry = serde_json::to_value(manifest).expect("JSON");
            entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
            entry
        })
        .collect();
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries});
    fleet.layout.put(media_type::INDEX, index.to_string().as_bytes()).expect("stored")
}

#[test]
fn a_platform_twice_is_a_finding() {
    let mut fleet = Fleet::empty();
    let one = Image::small("api", "amd64").store(&fleet.layout);
    let two = Image::small("web", "amd64").store(&fleet.layout);
    let index = foreign_index(&fleet, &[("amd64", &one), ("amd64", &two)]);
    fleet.expect("api", index, vec![platform("amd64")]);
    let report = verify(&fleet, Depth::Blobs);
    assert!(shown(&report)[0].starts_with("api index: malformed: two images for linux/amd64"), "{:?}", shown(&report));
}

#[test]
fn diff_ids_are_counted_always_and_computed_when_deep() {
    let mut fleet = Fleet::empty();
    let mut wrong = Image::small("api", "amd64");
    wrong.diff_ids = Some(vec![Digest::of("a"), Digest::of(layer_tar(&wrong.layers[1]))]);
    fleet.add("api", &[wrong]);
    assert!(verify(&fleet, Depth::Blobs).is_whole());
    let report = verify(&fleet, Depth::Layers);
    assert_eq!(report.findings.len(), 1, "{:?}", shown(&report));
    assert!(matches!(report.findings[0].problem, Problem::WrongDiffId { expected, .. } if expected == Digest::of("a")));

    let mut few = Image::small("web", "amd64");
    few.diff_ids = Some(vec![Digest::of("a")]);
    let manifest = few.store(&fleet.layout);
    let index = foreign_index(&fleet, &[("amd64", &manifest)]);
    let mut fleet = Fleet { roots: Vec::new(), ..fleet };
    fleet.expect("web", index, vec![platform("amd64")]);
    assert_eq!(
        shown(&verify(&fleet, Depth::Blobs)),
        ["web/amd64 config: malformed: it has 1 diff IDs, the manifest has 2 layers"]
    );
}

/// Frames of raw blocks with a frame to pass over between them (RFC 8878, 3.1), so that no compressor is needed.
fn zstd_frames(content: &[u8]) -> Vec<u8> {
    let frame = |content: &[u8]| {
        let size = u32::try_from(content.len()).expect("a small frame");
        let head = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &size.to_le_bytes(), &(size << 3 | 1).to_le_bytes()[..3]];
        [&head.concat(), content].concat()
    };
    let (front, back) = content.split_at(700);
    [frame(front), vec![0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7], frame(back)].concat()
}

#[test]
fn d19_a_zstd_layer_hides_no_foreign_program() {
    let tar = layer_tar(&[file("usr/bin/tool", 0o755, elf(62, 2)), file("opt/cross/ld", 0o755, elf(62, 2))]);
    let store = |fleet: &Fleet| {
        let layer = fleet.layout.put(media_type::LAYER_ZSTD, &zstd_frames(&tar)).expect("stored");
        let config = serde_json::json!({
            "os": "linux", "architecture": "arm64", "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar)]},
        });
        let config = fleet.layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("stored");
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        fleet.layout.put(media_type::MANIFEST, manifest.to_string().as_bytes()).expect("stored")
    };
    let mut fleet = Fleet::empty();
    let index = foreign_index(&fleet, &[("arm64", &store(&fleet))]);
    fleet.expect("api", index, vec![platform("arm64")]);
    let found = shown(&verify(&fleet, Depth::Layers));
    assert!(found.len() == 1 && found[0].contains("`usr/bin/tool` is for amd64"), "{found:?}");
    assert!(found[0].contains("and 1 more"), "{found:?}");
    fleet.roots[0].foreign = vec!["usr/bin/*".to_owned()];
    let found = shown(&verify(&fleet, Depth::Layers));
    assert!(found.len() == 1 && found[0].contains("`opt/cross/ld`") && !found[0].contains("more"), "{found:?}");
    fleet.roots[0].foreign.push("opt/cross/*".to_owned());
    assert_eq!(shown(&verify(&fleet, Depth::Layers)), [""; 0]);
}

#[test]
fn layers_that_are_not_what_their_type_says() {
    let tar = layer_tar(&[file("a", 0o644, "a")]);
    let two_members = [gzip(&tar[..512]), gzip(&tar[512..])].concat();
    let cut = gzip(&tar)[..60].to_vec();
    let garbage = [&gzip(&tar)[..], b"x"].concat();
    let zstd = zstd_frames(&tar);
    let other_end = [&zstd[..], b"x"].concat();
    let cases: [(&str, &str, Vec<u8>, Option<&str>); 12] = [
        ("two members are one stream", media_type::LAYER_GZIP, two_members, None),
        (
            "plain, called gzip",
            media_type::LAYER_GZIP,
            tar.clone(),
            Some("not compressed, its type says that it is compressed with gzip"),
        ),
        (
            "gzip, called plain",
            media_type::LAYER,
            gzip(&tar),
            Some("compressed with gzip, its type says that it is not"),
        ),
        ("a stream that ends early", media_type::LAYER_GZIP, cut, Some("malformed")),
        ("bytes behind the stream", media_type::LAYER_GZIP, garbage, Some("malformed")),
        ("no tar", media_type::LAYER_GZIP, gzip(&[7; 2000]), Some("checksum")),
        ("zstd", media_type::LAYER_ZSTD, zstd.clone(), None),
        ("zstd, called gzip", media_type::LAYER_GZIP, zstd.clone(), Some("compressed with zstd, its type says")),
        ("plain, called zstd", media_type::LAYER_ZSTD, tar.clone(), Some("not compressed, its type says")),
        ("zstd that ends early", media_type::LAYER_ZSTD, zstd[..zstd.len() - 9].to_vec(), Some("malformed")),
        ("bytes behind the frames", media_type::LAYER_ZSTD, other_end, Some("malformed")),
        ("unknown", "application/x-odd", b"odd".to_vec(), Some("not looked into")),
    ];
    for (name, media_type, bytes, expected) in cases {
        let mut fleet = Fleet::empty();
        let layer = fleet.layout.put(media_type, &bytes).expect("stored");
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar)]},
        });
        let config = fleet.layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("stored");
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        let manifest = fleet.layout.put(media_type::MANIFEST, manifest.to_string().as_bytes()).expect("stored");
        let index = foreign_index(&fleet, &[("amd64", &manifest)]);
        fleet.expect("api", index, vec![platform("amd64")]);
        assert!(verify(&fleet, Depth::Blobs).is_whole(), "{name}");
        let found = shown(&verify(&fleet, Depth::Layers));
        match expected {
            None => assert_eq!(found, [""; 0], "{name}"),
            Some(text) => assert!(found.len() == 1 && found[0].contains(text), "{name}: {found:?}"),
        }
    }
}

#[test]
fn attestations_are_carried_and_must_be_whole() {
    let mut fleet = Fleet::empty();
    let statement = fleet.add_attested();
    assert!(verify(&fleet, Depth::Layers).is_whole());
    fs::remove_file(fleet.blob_path(&statement.digest)).expect("removable");
    assert_eq!(shown(&verify(&fleet, Depth::Layers)), ["api attestation: missing"]);
}

#[test]
fn an_artifact_without_a_platform_is_followed_too() {
    let mut fleet = Fleet::empty();
    let image = Image::small("api", "amd64").store(&fleet.layout);
    let signature = fleet.layout.put("application/x-signature", b"signed").expect("stored");
    let config = fleet.layout.put(media_type::EMPTY, b"{}").expect("stored");
    let artifact = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [signature]});
    let artifact = fleet.layout.put(media_type::MANIFEST, artifact.to_string().as_bytes()).expect("stored");
    let mut entry = serde_json::to_value(&image).expect("JSON");
    entry["platform"] = serde_json::json!({"os": "linux", "architecture": "amd64"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry, artifact]});
    let index = fleet.layout.put(media_type::INDEX, index.to_string().as_bytes()).expect("stored");
    fleet.expect("api", index, vec![platform("amd64")]);
    assert!(verify(&fleet, Depth::Layers).is_whole());
    fs::remove_file(fleet.blob_path(&signature.digest)).expect("removable");
    assert_eq!(shown(&verify(&fleet, Depth::Layers)), ["api other content: missing"]);
}

#[test]
fn a_root_that_is_no_index_or_absent_is_a_finding() {
    let mut fleet = Fleet::small(&["api"], &["amd64"]);
    let manifest = Image::small("web", "amd64").store(&fleet.layout);
    let root = |descriptor| ExpectedIndex { descriptor, ..fleet.roots[0].clone() };
    let roots = vec![
        root(manifest),
        root(Descriptor::of(media_type::INDEX, b"nowhere")),
        root(Descriptor::new("application/x-odd", Digest::of("x"), 1)),
    ];
    fleet.roots = roots;
    let report = verify(&fleet, Depth::Blobs);
    assert_eq!(report.findings.len(), 3, "{:?}", shown(&report));
    assert!(report.findings.iter().all(|finding| finding.affects[0].part == Part::Index));
}

#[test]
fn a_cancelled_verification_proves_nothing() {
    let fleet = Fleet::small(&["api"], &["amd64"]);
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert!(!verify_layout(&fleet.layout, &fleet.roots, Depth::Blobs, &cancel).is_whole());
}
