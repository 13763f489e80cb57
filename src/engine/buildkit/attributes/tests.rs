//! Every key that is ever sent, against lists written by hand: the daemon would not say that one is misspelt.

use std::collections::BTreeMap;

use super::*;
use crate::base::{CellId, Descriptor, Epoch, Platform};
use crate::engine::DockerfileSource;

fn request() -> BuildRequest {
    BuildRequest::new(
        CellId::new("thing".parse().unwrap(), "linux/arm64".parse().unwrap()),
        ContextSource::Directory { path: "/context".into(), always_excluded: Vec::new() },
        DockerfileSource {
            directory: "/context".into(),
            name: "Dockerfile".to_owned(),
            template: None,
            place: DockerfilePlace::Directory,
        },
        "key".to_owned(),
    )
}

fn map(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn sorted(attributes: HashMap<String, String>) -> Vec<(String, String)> {
    attributes.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn check(found: HashMap<String, String>, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(sorted(found), expected);
}

#[test]
fn d3_a_plain_request_names_its_platform_and_little_else() {
    check(
        frontend(&request(), &[], "session"),
        &[
            ("filename", "Dockerfile"),
            ("local-sessionid:context", "session"),
            ("local-sessionid:dockerfile", "session"),
            ("platform", "linux/arm64"),
        ],
    );
    check(exporter(&request()), &[("compression", "gzip"), ("oci-mediatypes", "true"), ("tar", "false")]);
}

#[test]
fn everything_that_can_be_asked_for() {
    let mut request = request();
    request.context = ContextSource::Remote("https://git.example/x.git#main".to_owned());
    request.target = Some("final".to_owned());
    request.args = BTreeMap::from([("V".to_owned(), "1".to_owned())]);
    request.labels = BTreeMap::from([("l".to_owned(), "m".to_owned())]);
    request.extra_hosts = vec![("a".to_owned(), "10.0.0.1".to_owned()), ("b".to_owned(), "::1".to_owned())];
    request.no_cache = true;
    request.epoch = Some(Epoch::from_seconds(7).unwrap());
    let cache = |kind: &str| CacheSpec { kind: kind.to_owned(), attributes: map("ref", "r/c:1") };
    request.options = SolveOptions {
        network: NetworkMode::Host,
        entitlements: ["network.host".to_owned()].into(),
        shm_bytes: Some(1 << 20),
        ulimits: vec!["core=0:0".to_owned(), "nofile=1:2".to_owned()],
        cgroup_parent: Some("/group".to_owned()),
        resources: map("memory", "5"),
        no_cache_stages: vec!["one".to_owned()],
        pull: true,
        cache_from: vec![cache("registry")],
        cache_to: vec![cache("inline")],
        attestations: map("provenance", "mode=max"),
        annotations: map("org.example.a", "b"),
    };
    let root = Descriptor::of("", b"root");
    request.contexts = vec![
        NamedContext::Directory { name: "docs".to_owned(), path: "/docs".into() },
        NamedContext::Image { name: "base".to_owned(), platform: Platform::host(), descriptor: Box::new(root.clone()) },
        NamedContext::Remote { name: "Alpine:latest".to_owned(), url: "docker-image://alpine:3.22".to_owned() },
        NamedContext::Directory { name: "more".to_owned(), path: "/more".into() },
    ];
    let layout = format!("oci-layout://catamaran@{}", root.digest);
    let images = [NamedImage { key: "base::linux/arm64".to_owned(), root }];
    check(
        frontend(&request, &images, "session"),
        &[
            ("add-hosts", "a=10.0.0.1,b=::1"),
            ("attest:provenance", "mode=max"),
            ("build-arg:SOURCE_DATE_EPOCH", "7"),
            ("build-arg:V", "1"),
            ("cache-imports", r#"[{"Type":"registry","Attrs":{"ref":"r/c:1"}}]"#),
            ("cgroup-parent", "/group"),
            ("context", "https://git.example/x.git#main"),
            ("context:alpine", "docker-image://alpine:3.22"),
            ("context:base::linux/arm64", &layout),
            ("context:docs", "local:named-0"),
            ("context:more", "local:named-3"),
            // A Dockerfile of this machine beside a context that is fetched.
            ("dockerfilekey", "dockerfile"),
            ("filename", "Dockerfile"),
            ("force-network-mode", "host"),
            ("image-resolve-mode", "pull"),
            ("label:l", "m"),
            ("local-sessionid:dockerfile", "session"),
            ("local-sessionid:named-0", "session"),
            ("local-sessionid:named-3", "session"),
            ("memory", "5"),
            ("no-cache", ""),
            ("platform", "linux/arm64"),
            ("shm-size", "1048576"),
            ("target", "final"),
            ("ulimit", "core=0:0,nofile=1:2"),
        ],
    );
    check(
        exporter(&request),
        &[
            ("annotation-manifest.org.example.a", "b"),
            ("compression", "gzip"),
            ("oci-mediatypes", "true"),
            ("rewrite-timestamp", "true"),
            ("source-date-epoch", "7"),
            ("tar", "false"),
        ],
    );
}

#[test]
fn stages_without_cache_and_every_kind_of_cache() {
    let mut request = request();
    let cache = |kind: &str| CacheSpec { kind: kind.to_owned(), attributes: map("k", kind) };
    request.options.no_cache_stages = vec!["one".to_owned(), "two".to_owned()];
    request.options.cache_from = vec![cache("gha"), cache("s3"), cache("azblob")];
    request.options.cache_to = vec![cache("gha"), cache("s3"), cache("azblob")];
    request.options.attestations = map("sbom", "generator=a/b");
    let found = frontend(&request, &[], "session");
    assert_eq!(found["no-cache"], "one,two");
    assert_eq!(found["attest:sbom"], "generator=a/b");
    let imports: serde_json::Value = serde_json::from_str(&found["cache-imports"]).expect("JSON");
    for (at, kind) in ["gha", "s3", "azblob"].iter().enumerate() {
        assert_eq!(imports[at], serde_json::json!({"Type": kind, "Attrs": {"k": kind}}));
    }
    let exports = super::cache(&request).expect("exports").exports;
    let exports: Vec<(&str, &str)> = exports.iter().map(|one| (one.r#type.as_str(), one.attrs["k"].as_str())).collect();
    assert_eq!(exports, [("gha", "gha"), ("s3", "s3"), ("azblob", "azblob")]);
}

#[test]
fn pins_are_rules_for_full_names() {
    assert_eq!(source_policy(&request()), None);
    let digest = Digest::of("x");
    let pins = ["alpine", "registry.example:5000/a/b:1", &format!("busybox@{digest}")]
        .map(|name| (name.parse().expect("a reference"), digest));
    let policy = source_policy(&BuildRequest { pins: pins.to_vec(), ..request() }).expect("rules");
    let rules: Vec<(String, String)> = policy
        .rules
        .into_iter()
        .map(|rule| (rule.selector.expect("a selector").identifier, rule.updates.expect("an update").identifier))
        .collect();
    let rule = |name: &str| (format!("docker-image://{name}"), format!("docker-image://{name}@{digest}"));
    // What names its digest needs no rule.
    assert_eq!(rules, [rule("docker.io/library/alpine:latest"), rule("registry.example:5000/a/b:1")]);
}

#[test]
fn a_dockerfile_that_is_fetched_is_not_asked_for_here() {
    let mut request = request();
    request.context = ContextSource::Remote("https://git.example/x.git#main".to_owned());
    request.dockerfile = DockerfileSource {
        directory: "".into(),
        name: "sub/Other".to_owned(),
        template: None,
        place: DockerfilePlace::Context,
    };
    let expected =
        [("context", "https://git.example/x.git#main"), ("filename", "sub/Other"), ("platform", "linux/arm64")];
    check(frontend(&request, &[], "session"), &expected);
}
