use catamaran::base::{Descriptor, media_type};
use catamaran::engine::{BuiltImage, Engine, EngineError, NamedContext};
use serde_json::json;

use super::bench::{Bench, SHELL, platform};

/// A base that can run a shell, for both platforms.
async fn bases(bench: &Bench) -> (BuiltImage, BuiltImage) {
    bench.shells();
    bench.write("Dockerfile", format!("{SHELL}RUN uname -m >/base\n"));
    let (amd64, arm64) = tokio::join!(bench.build("linux/amd64"), bench.build("linux/arm64"));
    (amd64.unwrap(), arm64.unwrap())
}

fn named(name: &str, descriptor: &Descriptor) -> NamedContext {
    let (name, platform) = (name.to_owned(), platform("linux/arm64"));
    NamedContext::Image { name, platform, descriptor: Box::new(descriptor.clone()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_the_layout_is_a_base() {
    let bench = Bench::new().await;
    let (_, arm64) = bases(&bench).await;
    bench.write("Dockerfile", "FROM base:latest\nRUN cat /base >/child; uname -m >>/child\n");
    let mut request = bench.request("linux/arm64");
    request.contexts = vec![named("base", &arm64.manifest)];
    let child = bench.engine.build(request).await.unwrap();
    assert_eq!(bench.text(&child, "child"), "aarch64\naarch64");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_serves_the_platform_of_the_cell() {
    let bench = Bench::new().await;
    let (amd64, arm64) = bases(&bench).await;
    let entry = |image: &BuiltImage| {
        let mut entry = serde_json::to_value(&image.manifest).unwrap();
        entry["platform"] = json!({"os": "linux", "architecture": image.platform.architecture()});
        entry
    };
    let index =
        json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [entry(&amd64), entry(&arm64)]});
    let index = bench.layout.put(media_type::INDEX, &serde_json::to_vec(&index).unwrap()).unwrap();
    bench.write("Dockerfile", "FROM docker.io/library/base\nRUN cat /base >/child\n");
    let mut request = bench.request("linux/arm64");
    request.contexts = vec![named("docker.io/library/base", &index)];
    let child = bench.engine.build(request).await.unwrap();
    assert_eq!(bench.text(&child, "child"), "aarch64");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_of_another_platform_is_refused_before_the_solve() {
    let bench = Bench::new().await;
    let (amd64, _) = bases(&bench).await;
    let before = bench.events.all().len();
    let mut request = bench.request("linux/arm64");
    request.contexts = vec![named("base", &amd64.manifest)];
    let error = bench.engine.build(request).await.unwrap_err();
    match &error {
        EngineError::WrongBase { name, wanted, found, .. } => {
            assert_eq!((name.as_str(), found.as_str()), ("base", "linux/amd64"));
            assert_eq!(**wanted, platform("linux/arm64"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.events.all().len(), before, "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_have_names_too() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY --from=docs / /docs\nCOPY --from=more x /\n");
    for name in ["docs", "more"] {
        std::fs::create_dir(bench.directory.path().join(name)).unwrap();
        std::fs::write(bench.directory.path().join(name).join("x"), name).unwrap();
    }
    let mut request = bench.request("linux/amd64");
    let directory =
        |name: &str| NamedContext::Directory { name: name.to_owned(), path: bench.directory.path().join(name) };
    request.contexts = vec![directory("docs"), directory("more")];
    let image = bench.engine.build(request).await.unwrap();
    assert_eq!((bench.text(&image, "docs/x"), bench.text(&image, "x")), ("docs".into(), "more".into()));
}
