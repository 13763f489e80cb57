use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Assembled, ImageConfig, ImageError, IndexEntry, ManifestBody, RawManifest, UPSTREAM_DIGEST, assemble_index,
    children, closure, entry_platform, is_attestation, layer_origins, names, platform_of, publish_name, publish_names,
    subset_index, unpublish,
};
use crate::base::{Descriptor, Digest, Platform, Reference, media_type};
use crate::store::{BlobSource as _, Layout};

fn layout() -> (tempfile::TempDir, Layout) {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = Layout::create(directory.path().join("layout")).expect("a layout");
    (directory, layout)
}

fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

/// An image of one layer, whose config says `says`.
fn image(layout: &Layout, says: &Value, layer: &[u8]) -> Descriptor {
    let layer = layout.put(media_type::LAYER, layer).expect("stored");
    let mut config = json!({"rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
    config.as_object_mut().expect("an object").extend(says.as_object().expect("an object").clone());
    let config = layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("stored");
    put_manifest(layout, &json!({"schemaVersion": 2, "config": config, "layers": [layer]}))
}

fn put_manifest(layout: &Layout, body: &Value) -> Descriptor {
    layout.put(media_type::MANIFEST, body.to_string().as_bytes()).expect("stored")
}

fn entry(layout: &Layout, text: &str) -> IndexEntry {
    let platform = platform(text);
    let mut says = json!({"os": platform.os(), "architecture": platform.architecture()});
    if let Some(variant) = platform.variant() {
        says["variant"] = variant.into();
    }
    let manifest = image(layout, &says, text.as_bytes());
    IndexEntry { platform, manifest, annotations: None, attestations: Vec::new() }
}

fn assemble(layout: &Layout, entries: Vec<IndexEntry>) -> Result<Assembled, ImageError> {
    assemble_index(layout, entries, &BTreeMap::new())
}

#[test]
fn an_instruction_is_paired_with_a_layer_only_where_that_is_sure() {
    let (_directory, layout) = layout();
    let layers: Vec<Descriptor> =
        ["base", "own"].iter().map(|layer| layout.put(media_type::LAYER, layer.as_bytes()).expect("stored")).collect();
    let origins = |history: Value| {
        let config = json!({"history": history}).to_string();
        let config = layout.put(media_type::CONFIG, config.as_bytes()).expect("stored");
        let manifest = put_manifest(&layout, &json!({"schemaVersion": 2, "config": config, "layers": layers}));
        layer_origins(&layout, &RawManifest::read(&layout, &manifest).expect("a manifest"))
    };
    let step = |text: &str| json!({"created_by": text, "comment": "buildkit.dockerfile.v0"});
    let empty = json!({"created_by": "ENV A=b", "empty_layer": true});
    let run = Some("RUN true".to_owned());
    assert_eq!(origins(json!([step("COPY a"), empty, step("RUN true")])), [Some("COPY a".to_owned()), run.clone()]);
    // As BuildKit 0.32 writes it for a base without a history.
    let filled = json!({"created_by": "RUN true", "comment": "buildkit.exporter.image.v0"});
    assert_eq!(origins(json!([step("RUN true"), empty, filled])), [None, run]);
    assert!(origins(json!([step("RUN true")])).is_empty());
}

#[test]
fn d13_an_index_is_sorted_minimal_and_the_same_every_time() {
    let (_directory, layout) = layout();
    let all = ["arm64", "arm/v7", "amd64", "arm/v6"];
    let first = assemble(&layout, all.iter().map(|text| entry(&layout, text)).collect()).expect("an index");
    let second = assemble(&layout, all.iter().rev().map(|text| entry(&layout, text)).collect()).expect("an index");
    assert_eq!(first, second);
    assert_eq!(layout.read(&first.descriptor, 10_000).expect("in the layout"), first.bytes);

    let text = String::from_utf8(first.bytes.clone()).expect("UTF-8");
    assert!(
        text.starts_with(r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#)
    );
    assert!(text.ends_with("]}"), "no annotations, no newline: {text}");
    let value: Value = serde_json::from_slice(&first.bytes).expect("JSON");
    let platforms: Vec<String> =
        value["manifests"].as_array().expect("entries").iter().map(|entry| entry["platform"].to_string()).collect();
    assert_eq!(
        platforms,
        [
            r#"{"architecture":"amd64","os":"linux"}"#,
            r#"{"architecture":"arm","os":"linux","variant":"v6"}"#,
            r#"{"architecture":"arm","os":"linux","variant":"v7"}"#,
            r#"{"architecture":"arm64","os":"linux"}"#,
        ]
    );
    let one = assemble(&layout, vec![entry(&layout, "arm64")]).expect("also for one platform");
    assert_eq!(RawManifest::read(&layout, &one.descriptor).expect("readable").children().len(), 1);
}

#[test]
fn d14_the_platform_comes_from_the_config_and_must_be_the_one_asked_for() {
    let (_directory, layout) = layout();
    let wrong = IndexEntry { platform: platform("arm64"), ..entry(&layout, "amd64") };
    let error = assemble(&layout, vec![wrong]).expect_err("amd64 is not arm64");
    assert!(error.to_string().ends_with("is for linux/amd64, not linux/arm64"), "{error}");

    for (says, asked, fits) in [
        (json!({"os": "linux", "architecture": "arm64", "variant": "v8"}), "arm64", true),
        (json!({"os": "linux", "architecture": "arm"}), "arm/v6", true),
        (json!({"os": "linux", "architecture": "arm", "variant": ""}), "arm/v7", true),
        (json!({"os": "linux", "architecture": "arm", "variant": "v7"}), "arm/v6", false),
        (json!({"os": "windows", "architecture": "amd64"}), "amd64", false),
        (json!({"os": "linux", "architecture": "amd65"}), "amd64", false),
    ] {
        let manifest = image(&layout, &says, b"x");
        let one = IndexEntry { platform: platform(asked), manifest, annotations: None, attestations: Vec::new() };
        assert_eq!(assemble(&layout, vec![one]).is_ok(), fits, "{says} for {asked}");
    }
    let manifest = image(&layout, &json!({"os": "linux", "architecture": "arm64", "variant": "v8"}), b"x");
    assert_eq!(platform_of(&layout, &manifest).expect("known"), platform("arm64"));
    assert!(platform_of(&layout, &image(&layout, &json!({"os": "linux", "architecture": "x"}), b"x")).is_err());
}

#[test]
fn an_index_refuses_nothing_two_of_a_kind_and_what_is_no_image() {
    let (_directory, layout) = layout();
    assert!(matches!(assemble(&layout, Vec::new()), Err(ImageError::Empty)));
    let twice = vec![entry(&layout, "amd64"), entry(&layout, "amd64")];
    assert!(matches!(assemble(&layout, twice), Err(ImageError::DuplicatePlatform { .. })));
    let inner = assemble(&layout, vec![entry(&layout, "amd64")]).expect("an index").descriptor;
    let nested =
        IndexEntry { platform: platform("amd64"), manifest: inner, annotations: None, attestations: Vec::new() };
    assert!(matches!(assemble(&layout, vec![nested]), Err(ImageError::NotAnImage { .. })));
    let artifact = layout.put(media_type::EMPTY, b"{}").expect("stored");
    let artifact = put_manifest(&layout, &json!({"schemaVersion": 2, "config": artifact, "layers": []}));
    let artifact =
        IndexEntry { platform: platform("amd64"), manifest: artifact, annotations: None, attestations: Vec::new() };
    assert!(matches!(assemble(&layout, vec![artifact]), Err(ImageError::NotAnImage { .. })));
}

#[test]
fn attestations_follow_all_images_and_name_theirs() {
    let (_directory, layout) = layout();
    let mut amd64 = entry(&layout, "amd64");
    amd64.attestations.push(image(&layout, &json!({"os": "unknown", "architecture": "unknown"}), b"sbom"));
    let subject = amd64.manifest.digest.to_string();
    let made = assemble(&layout, vec![entry(&layout, "arm64"), amd64]).expect("an index");
    let entries = RawManifest::read(&layout, &made.descriptor).expect("readable").children();
    assert_eq!(entries.iter().map(is_attestation).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(entries[2].annotation("vnd.docker.reference.digest"), Some(subject.as_str()));
    assert_eq!(entry_platform(&entries[2]), None);
    assert_eq!(entry_platform(&entries[1]), Some(Ok(platform("arm64"))));
}

#[test]
fn a_subset_keeps_entries_and_tells_where_it_comes_from() {
    let (_directory, layout) = layout();
    let mut amd64 = entry(&layout, "amd64");
    amd64.attestations.push(image(&layout, &json!({}), b"sbom"));
    let all = vec![amd64.clone(), entry(&layout, "arm64"), entry(&layout, "arm/v7")];
    let upstream = assemble(&layout, all).expect("an index");

    let every = [platform("arm/v7"), platform("arm64"), platform("amd64")];
    let whole = subset_index(&layout, &upstream.descriptor, &every).expect("all of it");
    assert_eq!(whole, upstream, "byte for byte");

    let part = subset_index(&layout, &upstream.descriptor, &[platform("amd64"), platform("amd64")]).expect("a part");
    let raw = RawManifest::read(&layout, &part.descriptor).expect("readable");
    let entries = raw.children();
    assert_eq!(entries.len(), 2, "the image and the attestation about it");
    assert_eq!(entries[0].digest, amd64.manifest.digest);
    let ManifestBody::Index { annotations, .. } = raw.parsed else { panic!("an index") };
    assert_eq!(annotations[UPSTREAM_DIGEST], upstream.descriptor.digest.to_string());

    let none = subset_index(&layout, &upstream.descriptor, &[platform("s390x")]);
    assert!(matches!(none, Err(ImageError::NoSuchPlatform { .. })));
}

#[test]
fn names_are_set_replaced_and_removed_as_one_act() {
    let (_directory, layout) = layout();
    let reference = |text: &str| text.parse::<Reference>().expect("a reference");
    let one = assemble(&layout, vec![entry(&layout, "amd64")]).expect("an index").descriptor;
    let two = assemble(&layout, vec![entry(&layout, "arm64")]).expect("an index").descriptor;
    let (api, web) = (reference("r.example/api:1"), reference("r.example/web:1"));
    let shown = || -> Vec<(String, Digest)> {
        names(&layout).expect("readable").into_iter().map(|(name, entry)| (name, entry.digest)).collect()
    };
    publish_name(&layout, &web, &one).expect("complete");
    publish_names(&layout, &[(api.clone(), one.clone()), (web.clone(), two.clone())], &[]).expect("complete");
    assert_eq!(shown(), [("r.example/api:1".to_owned(), one.digest), ("r.example/web:1".to_owned(), two.digest)]);
    let written = layout.index().expect("readable");
    for entry in &written {
        let annotations = entry.annotations.as_ref().expect("named");
        assert_eq!(annotations["org.opencontainers.image.ref.name"], annotations["io.containerd.image.name"]);
    }
    publish_names(&layout, &[(web.clone(), one.clone())], std::slice::from_ref(&api)).expect("complete");
    assert_eq!(shown(), [("r.example/web:1".to_owned(), one.digest)]);
    assert!(unpublish(&layout, &web).expect("removed"));
    assert!(!unpublish(&layout, &web).expect("nothing there"));
    assert_eq!(shown(), []);

    // Entries that others made stay, whatever they are.
    let foreign = layout.put("application/x-odd", b"odd").expect("stored");
    layout.update_index(|entries| entries.push(foreign.clone())).expect("changed");
    publish_name(&layout, &api, &one).expect("complete");
    assert!(layout.index().expect("readable").contains(&foreign));
}

#[test]
fn nothing_incomplete_gets_a_name() {
    let (_directory, layout) = layout();
    let made = entry(&layout, "amd64");
    let index = assemble(&layout, vec![made.clone()]).expect("an index").descriptor;
    let name: Reference = "r.example/api:1".parse().expect("a reference");
    assert!(publish_name(&layout, &name, &made.manifest).is_err(), "a bare manifest");
    let layer = RawManifest::read(&layout, &made.manifest).expect("readable").children()[1].digest;
    layout.quarantine(&layer).expect("moved");
    let error = publish_name(&layout, &name, &index).expect_err("a hole");
    assert!(matches!(error, ImageError::Incomplete { digest, .. } if digest == layer), "{error}");
    assert_eq!(names(&layout).expect("readable").len(), 0);
}

#[test]
fn a_body_that_could_be_taken_for_two_things_is_refused() {
    let descriptor = json!({"mediaType": "x", "digest": Digest::of("x"), "size": 1});
    let parts = [("manifests", json!([descriptor])), ("config", descriptor.clone()), ("layers", json!([descriptor]))];
    for kind in [media_type::INDEX, media_type::MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST] {
        // All eight combinations of the three members (CVE-2021-41190).
        for combination in 0..8_u8 {
            let mut body = json!({"schemaVersion": 2});
            for (at, (name, value)) in parts.iter().enumerate() {
                if combination & (1 << at) != 0 {
                    body[*name] = value.clone();
                }
            }
            let is_index = kind == media_type::INDEX || kind == media_type::DOCKER_LIST;
            let right = if is_index { 0b001 } else { 0b110 };
            let parsed = RawManifest::parse(body.to_string().into_bytes(), kind);
            assert_eq!(parsed.is_ok(), combination == right, "{kind} {combination:03b}");
        }
    }
}

#[test]
fn malformed_manifests_are_refused() {
    let good = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": []}).to_string();
    assert!(RawManifest::parse(good.clone().into_bytes(), media_type::INDEX).is_ok());
    let one = format!(r#"{{"mediaType":"x","digest":"{}","size":1}}"#, Digest::of("x"));
    let with = |descriptor: &str| format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#);
    assert!(RawManifest::parse(with(&one).into_bytes(), media_type::INDEX).is_ok());
    for bad in [
        good.replace("\"schemaVersion\":2", "\"schemaVersion\":1"),
        good.replace("image.index", "image.manifest"),
        good.replace("{\"schema", "{\"manifests\":[],\"schema"),
        good.replace("{\"schema", "{\"Manifests\":[],\"schema"),
        good.replace("{\"schema", "{\"fsLayers\":[],\"schema"),
        good.replace("[]", "{}"),
        format!("{good} x"),
        with(&one.replace("\"size\":1", "\"size\":-1")),
        with(&one.replace("\"size\":1", "\"size\":1e3")),
        with(&one.replace("\"size\":1", "\"size\":9223372036854775808")),
        with(&one.replace("\"size\":1", "\"size\":1,\"size\":2")),
        with(&one.replace("sha256:", "sha256:../")),
        with(&one.replace("sha256:", "SHA256:")),
        with(&one.replace("sha256:", "md5:")),
    ] {
        assert!(RawManifest::parse(bad.clone().into_bytes(), media_type::INDEX).is_err(), "{bad}");
    }
}

#[test]
fn raw_bytes_are_kept_as_they_are() {
    let odd = format!(
        "{{ \"layers\" : [ ],\n\"config\":{{\"size\":1,\"digest\":\"{}\",\"mediaType\":\"x\",\"data\":\"eA==\"}}, \"extra\":[1.50], \"schemaVersion\":2}}\n",
        Digest::of("x")
    );
    let raw = RawManifest::parse(odd.clone().into_bytes(), media_type::MANIFEST).expect("odd but right");
    assert_eq!(raw.bytes, odd.as_bytes());
    assert_eq!(raw.descriptor.digest, Digest::of(&odd));
    assert_eq!(children(odd.as_bytes(), media_type::MANIFEST).expect("parsed").len(), 1);
    assert_eq!(children(b"anything", media_type::LAYER).expect("nothing"), []);
}

#[test]
fn configs_are_read_strictly() {
    let digest = Digest::of("config");
    let parse = |text: &str| ImageConfig::parse(text.as_bytes(), &digest);
    let good = r#"{"os":"linux","architecture":"arm64","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"OS":"x"}}}"#;
    assert_eq!(parse(good).expect("good").platform(), Ok(platform("arm64")));
    for bad in [
        good.replace("\"layers\"", "\"squashfs\""),
        good.replace("{\"os\"", "{\"OS\":\"windows\",\"os\""),
        good.replace("{\"os\"", "{\"os\":\"windows\",\"os\""),
        good.replace("\"architecture\":\"arm64\",", ""),
        good.replace("[]", "[\"sha512:00\"]"),
        String::new(),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
    }
    assert_eq!(parse(&good.replace("[]", "null")).expect("null is absent").diff_ids, []);
}

#[test]
fn a_closure_is_ordered_unique_and_bounded() {
    let (_directory, layout) = layout();
    let made = assemble(&layout, vec![entry(&layout, "amd64"), entry(&layout, "arm64")]).expect("an index");
    let all = closure(&layout, &made.descriptor).expect("closed");
    assert_eq!(all.len(), 2 * 3 + 1);
    assert_eq!(all.last().map(|last| last.digest), Some(made.descriptor.digest));
    for (at, blob) in all.iter().enumerate() {
        if matches!(blob.media_type.as_str(), media_type::INDEX | media_type::MANIFEST) {
            let below = RawManifest::read(&layout, blob).expect("readable").children();
            assert!(below.iter().all(|child| all[..at].iter().any(|before| before.digest == child.digest)));
        }
    }

    // Indexes in indexes end somewhere.
    let mut deep = made.descriptor.clone();
    for level in 0..5 {
        let body = json!({"schemaVersion": 2, "manifests": [deep]});
        deep = layout.put(media_type::INDEX, body.to_string().as_bytes()).expect("stored");
        assert_eq!(closure(&layout, &deep).is_ok(), level < 2, "level {level}");
    }

    // A manifest that is first met as a layer is followed all the same.
    let hidden = entry(&layout, "amd64").manifest;
    let mut as_layer = hidden.clone();
    as_layer.media_type = media_type::LAYER.to_owned();
    let config = layout.put(media_type::CONFIG, b"{}").expect("stored");
    let cover = put_manifest(&layout, &json!({"schemaVersion": 2, "config": config, "layers": [as_layer]}));
    let both = json!({"schemaVersion": 2, "manifests": [cover, hidden]});
    let both = layout.put(media_type::INDEX, both.to_string().as_bytes()).expect("stored");
    assert_eq!(
        closure(&layout, &both).expect("closed").len(),
        2 + 1 + 3,
        "with the config and layer of the hidden one"
    );

    // One blob, two sizes.
    let mut lying = entry(&layout, "amd64").manifest;
    lying.size += 1;
    let body = json!({"schemaVersion": 2, "manifests": [entry(&layout, "amd64").manifest, lying]});
    let index = layout.put(media_type::INDEX, body.to_string().as_bytes()).expect("stored");
    assert!(matches!(closure(&layout, &index), Err(ImageError::Conflict { .. })));
}

#[test]
fn manifests_over_the_bound_are_not_read() {
    let (_directory, layout) = layout();
    let huge = vec![b' '; 9 << 20];
    let descriptor = layout.put(media_type::MANIFEST, &huge).expect("stored");
    assert!(RawManifest::read(&layout, &descriptor).is_err_and(|error| error.to_string().contains("over the limit")));
}

proptest! {
    #[test]
    fn parsing_is_total(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(RawManifest::parse(bytes.clone(), media_type::INDEX).is_err());
        prop_assert!(ImageConfig::parse(&bytes, &Digest::of(&bytes)).is_err());
    }

    #[test]
    fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), change in any::<u8>()) {
        let one = json!({"mediaType": media_type::MANIFEST, "digest": Digest::of("x"), "size": 1,
            "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}});
        let body = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [one]});
        let mut bytes = body.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = change;
        if let Ok(raw) = RawManifest::parse(bytes, media_type::INDEX) {
            for entry in raw.children() {
                let _known = entry_platform(&entry);
            }
        }
    }

    #[test]
    fn d12_names_of_platforms_come_from_one_place(
        path in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,40}", which in 0_usize..4
    ) {
        let platform = platform(["amd64", "arm64", "arm/v7", "windows/amd64"][which]);
        let reference: Reference = format!("r.example:5000/{path}:{tag}").parse().expect("a reference");
        let suffixed = reference.for_platform(&platform).expect("short enough");
        prop_assert_eq!(suffixed.to_string(), format!("{reference}-{}", platform.short()));
        prop_assert_eq!(suffixed.to_string().parse::<Reference>().expect("a reference"), suffixed);
    }
}
