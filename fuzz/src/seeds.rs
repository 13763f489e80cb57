//! Where mutations start: the repository's own examples, the files that tests compare with `buildx`, and `fuzz/seeds`.

use std::fs;
use std::path::{Path, PathBuf};

use catamaran::base::{Descriptor, media_type};
use catamaran::bundle::{BundleContents, BundleEntry, write_bundle};
use catamaran::event::NoEvents;
use catamaran::store::Layout;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::bodies::Language;
use super::mutate::tokens;

/// What inputs of one language are made of.
pub(crate) struct Grammar {
    /// Whole inputs, cut into tokens.
    pub(crate) seeds: Vec<Vec<Vec<u8>>>,
    /// Words that mean something.
    pub(crate) words: Vec<&'static str>,
    /// What nests.
    pub(crate) brackets: &'static [(&'static str, &'static str)],
    /// Whether values are expressions of the bake language.
    pub(crate) expressions: bool,
    /// Whether it is a tar file, whose checksums must be kept right.
    pub(crate) tar: bool,
}

impl Grammar {
    /// The grammar of `language`, from the files below the repository's `root`.
    pub(crate) fn of(language: Language, root: &Path) -> Self {
        let mut texts: Vec<Vec<u8>> = files(&root.join("fuzz/seeds").join(folder(language)));
        match language {
            Language::Toml => texts.extend(fs::read(root.join("fixtures/fleet/catamaran.toml"))),
            Language::Hcl => texts.extend(cases(root, &[".hcl"])),
            Language::Json => texts.extend(cases(root, &[".json"])),
            Language::Compose => texts.extend(cases(root, &[".yaml", ".yml"])),
            Language::Dockerfile => texts.extend(below(&root.join("fixtures"), "Dockerfile")),
            Language::Bundle => texts.push(bundle()),
            _ => {}
        }
        assert!(!texts.is_empty(), "no seeds for {language:?} below {}", root.display());
        let brackets: &[(&str, &str)] = match language {
            Language::Hcl => &[
                ("(", ")"),
                ("[", "]"),
                ("{", "}"),
                ("\"${", "}\""),
                ("{a=", "}"),
                ("!", ""),
                ("f {\n", "\n}"),
                ("-", ""),
            ],
            Language::Compose => &[("[", "]"), ("{a: ", "}"), ("- ", ""), ("${A:-", "}"), ("\n - ", ""), ("? ", "")],
            Language::Toml => &[("[", "]"), ("{a=", "}"), ("a.", ""), ("${A:-", "}")],
            Language::Dockerfile => &[("${A:-", "}"), ("\\\n", ""), ("\"", "\""), ("RUN ", "")],
            _ => &[("[", "]"), ("{\"a\":", "}"), ("(", ")"), ("{{", "}}"), ("/", "")],
        };
        Self {
            seeds: texts
                .iter()
                .map(|text| if language == Language::Bundle { blocks(text) } else { tokens(text) })
                .collect(),
            words: words(language).split_whitespace().collect(),
            brackets,
            expressions: language == Language::Hcl,
            tar: language == Language::Bundle,
        }
    }
}

/// A small bundle: one image for two platforms.
fn bundle() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::create(folder.path().join("layout")).expect("a layout");
    let manifests: Vec<Descriptor> = ["amd64", "arm64"]
        .map(|architecture| {
            let layer = layout.put(media_type::LAYER_GZIP, architecture.as_bytes()).expect("a blob");
            let root = json!({"type": "layers", "diff_ids": [layer.digest]});
            let config = json!({"architecture": architecture, "os": "linux", "rootfs": root}).to_string();
            let config = layout.put(media_type::CONFIG, config.as_bytes()).expect("a blob");
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": [layer]
            });
            let mut entry = layout.put(media_type::MANIFEST, manifest.to_string().as_bytes()).expect("a blob");
            let platform = json!({"architecture": architecture, "os": "linux"});
            entry.platform = Some(serde_json::from_value(platform).expect("a map"));
            entry
        })
        .to_vec();
    let index = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests}).to_string();
    let entry = BundleEntry {
        component: "app".parse().expect("a name"),
        reference: "registry.example.com/app:1".parse().expect("a reference"),
        path: None,
        index: layout.put(media_type::INDEX, index.as_bytes()).expect("a blob"),
        foreign: Vec::new(),
    };
    let contents = BundleContents {
        project: "demo".to_owned(),
        tag: "1".to_owned(),
        entries: vec![entry],
        default_platform: "linux/amd64".parse().expect("a platform"),
        incomplete: Vec::new(),
        subset: false,
    };
    let path = folder.path().join("bundle.tar");
    write_bundle(&layout, &contents, &path, &NoEvents, &CancellationToken::new()).expect("a bundle");
    fs::read(path).expect("a bundle")
}

/// A bundle is changed block by block.
fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.chunks(512).map(<[u8]>::to_vec).collect()
}

pub(crate) const fn folder(language: Language) -> &'static str {
    match language {
        Language::Toml => "toml",
        Language::Hcl => "hcl",
        Language::Json => "json",
        Language::Compose => "compose",
        Language::Dockerfile => "dockerfile",
        Language::Ignore => "dockerignore",
        Language::Reference => "reference",
        Language::Platform => "platform",
        Language::Template => "template",
        Language::Vars => "vars",
        Language::Layout => "layout",
        Language::Manifest => "manifest",
        Language::Bundle => "bundle",
        Language::Tree => "tree",
    }
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    // The same seed must give the same inputs on every file system.
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

/// Files of this name, however deep.
fn below(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| match path.is_dir() {
        true => below(&path, name),
        false if path.file_name().is_some_and(|own| own == name) => vec![fs::read(path).expect("a seed")],
        false => Vec::new(),
    };
    paths.into_iter().flat_map(read).collect()
}

/// Files of the bake corpus whose names end so.
fn cases(root: &Path, endings: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for text in files(&root.join("tests/bake/corpus")) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut wanted = false;
        for line in text.split_inclusive('\n') {
            if let Some(name) = line.strip_prefix("---- ") {
                wanted = endings.iter().any(|ending| name.trim_end().ends_with(ending));
                if wanted {
                    found.push(Vec::new());
                }
            } else if line.starts_with("==== ") {
                wanted = false;
            } else if let (true, Some(last)) = (wanted, found.last_mut()) {
                last.extend_from_slice(line.as_bytes());
            }
        }
    }
    found.retain(|text: &Vec<u8>| !text.is_empty());
    found
}

fn words(language: Language) -> &'static str {
    match language {
        Language::Toml | Language::Vars | Language::Tree => {
            "name platforms image tag registry context arch-tags epoch vars files set environment discover roots exclude \
             component settings inherits matrix axes include dockerfile target needs contexts args labels no-cache tags \
             platform secrets ssh extra-hosts external as service port ready exec builder address ca cert key group \
             component:a component:b \"linux/amd64\" \"arm64\" [component.a] [component.b] [external.r] [service.a] \
             [builder.x] [group] [discover] [vars] [settings.s] [component.a.matrix] [component.a.platform.arm64] \
             \"src/*\" \"**\" \"${TAG}\" \"${NO:-x}\" \"${NO:?m}\" \"{component}\" \"{date}\" \"{version}\" [[component]] \
             1979-05-27T07:32:00Z 0b1 +nan '''x''' {} [] BUILD_PHASE=foundation BUILD_PHASE=dependent target image src/a \
             Dockerfile Dockerfile.tpl build.conf build-targets.conf dependency.conf deps.yaml .env"
        }
        Language::Hcl | Language::Json => {
            "target group variable function default validation condition error_message type description params \
             variadic_params result inherits context contexts dockerfile dockerfile-inline args labels tags cache-from \
             cache-to output platforms secret ssh attest annotations pull no-cache no-cache-filter network shm-size \
             ulimits entitlements call resources extra-hosts policy matrix name targets target.default.tags \
             target.default.args group.default.targets string number bool any list(string) map(number) object({}) \
             optional(string) tuple([]) true false null for in if else endif endfor => ... == != && || [*] .*"
        }
        Language::Compose => {
            "services: build: context: dockerfile: dockerfile_inline: args: labels: cache_from: cache_to: image: target: \
             tags: platforms: network: pull: no_cache: shm_size: ulimits: extra_hosts: additional_contexts: secrets: ssh: \
             provenance: sbom: entitlements: x-bake: extends: service: file: include: path: env_file: environment: \
             profiles: depends_on: deploy: ports: volumes: networks: configs: develop: service:base other.yaml <<: \
             ${A:-b} ${A:?m} ${A+b} $$ web: base: - {} [] 0o17 0x1F 1_000 2020-01-01 yes .inf .nan"
        }
        Language::Dockerfile | Language::Template => {
            "FROM RUN CMD LABEL MAINTAINER EXPOSE ENV ADD COPY ENTRYPOINT VOLUME USER WORKDIR ARG ONBUILD STOPSIGNAL \
             HEALTHCHECK SHELL AS --from=build --platform=$BUILDPLATFORM --mount=type=bind,from=base,target=/x --chown=1:1 \
             --link --exclude=*.md --interval=1s --network=none scratch alpine:3 <<EOF <<-EOF <<'EOF' <<\"EOF\" EOF \
             #syntax=docker/dockerfile:1 #escape=` #check=skip=all $A ${A} ${A:-b} ${A:+b} ${A#x} ${A%%x} ${A/x/y} [\"a\"] \\ \
             {{VERSION}} {{TAG}} {{NO}} {{ {{A b}}"
        }
        Language::Ignore => "* ** ? [a-z] [^a] [!a] ! # / .. ./ a/** **/a !** *.md !README.md \\* [ ] [a- \\",
        Language::Reference => {
            "docker.io localhost:5000 [::1]:5000 example.com/a/b library latest @sha256: : / . .. __ --- \
             sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 A-Z 65536"
        }
        Language::Platform => {
            "linux darwin windows amd64 x86_64 arm64 aarch64 arm v6 v7 v8 386 riscv64 s390x ppc64le / unknown v"
        }
        Language::Layout | Language::Manifest | Language::Bundle => {
            "schemaVersion mediaType manifests config layers annotations platform architecture os variant os.version \
             digest size urls data artifactType subject rootfs diff_ids history fsLayers \
             application/vnd.oci.image.index.v1+json application/vnd.oci.image.manifest.v1+json \
             application/vnd.docker.distribution.manifest.list.v2+json sha256: sha512: {} [] null -1 \
             org.opencontainers.image.ref.name io.containerd.image.name"
        }
    }
}
