//! What is done with one input of each language: everything that the program does with such bytes before it contacts
//! anybody. Shared by the libFuzzer targets, the seeded runner and the tests.
//!
//! A body gives whether the input was accepted. What must never happen is a panic, a hang, memory without bound, or an error
//! that cannot be shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use catamaran::base::{Digest, Failure, Platform, Prefix, Reference, Repository, SourceText, Tag, media_type};
use catamaran::bundle::BundleReader;
use catamaran::config::{
    BakeRequest, DiskFiles, LoadRequest, Origin, ReadText, Variable, init, load, print_bake, render, resolve_bake,
};
use catamaran::dockerfile::ignore::DockerIgnore;
use catamaran::dockerfile::{BuildInputs, Dockerfile, expand};
use catamaran::image::{ImageConfig, RawManifest, closure, names};
use catamaran::plan::{PlanOptions, plan};
use catamaran::report::{Style, plan_document, plan_dot, plan_table, render_error, vars_table};
use catamaran::store::Layout;

/// A kind of foreign bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// `catamaran.toml`, loaded and planned.
    Toml,
    /// A bake file in HCL.
    Hcl,
    /// A bake file in JSON.
    Json,
    /// A compose file.
    Compose,
    Dockerfile,
    /// `.dockerignore`, matched against a few paths.
    Ignore,
    /// References and their parts, digests, prefixes.
    Reference,
    Platform,
    /// A template and what it is rendered to.
    Template,
    /// `deps.yaml` and `.env` files of `[vars]`: the two are separated by a line of `====`.
    Vars,
    /// `index.json` of an OCI layout.
    Layout,
    /// Manifests, indexes and configs.
    Manifest,
    /// A bundle file.
    Bundle,
    /// A tree of `build.conf` files: each begins with a line `==== PATH`.
    Tree,
}

/// Does with `data` what the program does. `place` is an empty folder of the caller, the same one for every input.
pub(crate) fn run(language: Language, place: &Path, data: &[u8]) -> bool {
    match language {
        Language::Toml => toml(place, data),
        Language::Hcl => bake(place, "docker-bake.hcl", data),
        Language::Json => bake(place, "docker-bake.json", data),
        Language::Compose => bake(place, "compose.yaml", data),
        Language::Dockerfile => dockerfile(place, data),
        Language::Ignore => ignore(data),
        Language::Reference => reference(data),
        Language::Platform => platform(data),
        Language::Template => template(place, data),
        Language::Vars => vars(place, data),
        Language::Layout => layout(place, data),
        Language::Manifest => manifest(data),
        Language::Bundle => bundle(place, data),
        Language::Tree => tree(place, data),
    }
}

/// What everybody sees of an error must be readable, whatever stood in the file.
fn refused(place: &Path, error: &dyn Failure) -> bool {
    let shown = render_error(error, &Style::plain(place), 2);
    assert!(shown.starts_with("error: "), "an error without its mark: {shown:?}");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "control characters on a terminal: {shown:?}");
    assert!(shown.len() < 256 << 10, "an error of {} bytes", shown.len());
    false
}

fn toml(place: &Path, data: &[u8]) -> bool {
    prepare(place, |place| {
        for name in ["a", "b"] {
            write(place, &format!("src/{name}/Dockerfile"), b"ARG VERSION\nFROM scratch AS build\nCOPY x /x\n");
        }
        write(place, "src/c/Dockerfile.tpl", b"FROM alpine:{{ALPINE_VERSION}}\n");
        write(place, "src/c/dependency.conf", b"redis:7-alpine\n");
        write(place, "deps.yaml", b"golang: 1.25\nalpine: 3.22\n");
        write(place, ".env", b"APT_MIRROR=mirror.example.com\n");
    });
    write(place, "catamaran.toml", data);
    planned(place)
}

/// Loads and plans the project in `place`, and writes every view of it.
fn planned(place: &Path) -> bool {
    let request = LoadRequest { directory: place.to_path_buf(), environment: environment(), ..LoadRequest::default() };
    let project = match load(&request) {
        Ok(project) => project,
        Err(error) => return refused(place, &error),
    };
    match plan(&project, &PlanOptions::default(), &DiskFiles) {
        Ok(plan) => {
            let views = [plan_table(&plan, &Style::plain(place)), plan_dot(&plan), vars_table(&plan)];
            for view in views {
                assert!(!view.contains(|c: char| c.is_control() && c != '\n'), "control characters: {view:?}");
            }
            serde_json::from_str::<serde_json::Value>(&plan_document(Some(&plan), None)).expect("plan --json is JSON");
            true
        }
        Err(error) => refused(place, &error),
    }
}

fn environment() -> BTreeMap<String, String> {
    let pairs = [("TAG", "v1"), ("VERSION", "1.2"), ("HOME", "/root"), ("LIST", "a,b"), ("NUMBER", "7")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// One file in memory; everything else is missing.
struct One<'a> {
    name: &'a str,
    data: &'a [u8],
}

impl ReadText for One<'_> {
    fn read_text(&self, path: &Path) -> io::Result<String> {
        match path.file_name() {
            Some(name) if name == self.name => String::from_utf8(self.data.to_vec())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error().to_string())),
            Some(name) if name == "other.yaml" => Ok("services:\n  base:\n    build: .\n    image: x\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_directory(&self, _path: &Path) -> bool {
        false
    }
}

fn bake(place: &Path, name: &str, data: &[u8]) -> bool {
    let mut request = BakeRequest { directory: place.to_path_buf(), ..BakeRequest::default() };
    request.files.push(name.into());
    request.environment = environment();
    match resolve_bake(&request, &One { name, data }) {
        Ok(resolved) => {
            drop(print_bake(&resolved).to_string());
            true
        }
        Err(error) => refused(place, &error),
    }
}

fn dockerfile(place: &Path, data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let source = SourceText::new("Dockerfile", text);
    let file = match Dockerfile::parse(&source) {
        Ok(file) => file,
        Err(error) => {
            return error.into_problems().fold(false, |_, problem| refused(place, &Shown(problem.to_string())));
        }
    };
    let args = environment();
    let platform = Platform::host();
    let contexts = BTreeSet::from(["base".to_owned()]);
    let inputs =
        BuildInputs { target: None, args: &args, platform: &platform, build_platform: &platform, contexts: &contexts };
    let mut accepted = true;
    if let Err(error) = file.facts(&inputs) {
        accepted = error.into_problems().fold(false, |_, problem| refused(place, &Shown(problem.to_string())));
    }
    for line in text.lines().take(16) {
        drop(expand(line, '\\', &|name| args.get(name).cloned()));
    }
    accepted
}

/// A message as an error.
#[derive(Debug)]
struct Shown(String);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl std::error::Error for Shown {}

impl Failure for Shown {
    fn class(&self) -> catamaran::base::ErrorClass {
        catamaran::base::ErrorClass::Config
    }
}

fn ignore(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(parsed) = DockerIgnore::parse(text) else { return false };
    let Ok(matcher) = parsed.matcher() else { return false };
    for path in ["a", "src/a/Dockerfile", ".git/config", "node_modules/x/y/z/index.js", "ä/ö", "a b/c"] {
        let (_, state) = matcher.matches_with_parent("src", &catamaran::dockerfile::ignore::MatchState::default());
        let (_, _) = matcher.matches_with_parent(path, &state);
        let _: bool = matcher.matches(path);
        let _: bool = matcher.may_match_below(path) || matcher.may_except_below(path);
    }
    true
}

fn reference(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let text = text.trim_end_matches('\n');
    let repository = text.parse::<Repository>();
    if let Ok(repository) = &repository {
        assert_eq!(repository.to_string().parse::<Repository>().as_ref(), Ok(repository), "a repository reads back");
    }
    let prefix = text.parse::<Prefix>();
    if let (Ok(prefix), Ok(repository)) = (&prefix, &repository) {
        drop(prefix.join(repository.path()));
    }
    drop((text.parse::<Tag>(), text.parse::<Digest>(), text.parse::<catamaran::base::ComponentName>()));
    let Ok(reference) = text.parse::<Reference>() else { return false };
    assert_eq!(reference.to_string().parse::<Reference>().as_ref(), Ok(&reference), "a reference reads back");
    drop((reference.familiar(), reference.for_platform(&Platform::host()), reference.repository().remote_path()));
    true
}

fn platform(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match text.parse::<Platform>() {
        Ok(platform) => {
            assert_eq!(platform.to_string().parse::<Platform>().as_ref(), Ok(&platform), "a platform reads back");
            let _: bool = platform.runs_on(&Platform::host());
            drop((platform.short(), platform.file_stem()));
            true
        }
        Err(error) => {
            drop((error.to_string(), error.suggestion().map(str::to_owned)));
            false
        }
    }
}

fn template(place: &Path, data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let variables = environment()
        .into_iter()
        .map(|(name, value)| (name, Variable { value, origin: Origin::CommandLine }))
        .collect();
    match render(&SourceText::new("Dockerfile.tpl", text), &variables) {
        Ok(rendered) => dockerfile(place, rendered.text.as_bytes()),
        Err(problems) => problems.iter().fold(false, |_, problem| refused(place, &Shown(problem.to_string()))),
    }
}

fn vars(place: &Path, data: &[u8]) -> bool {
    const PROJECT: &[u8] =
        b"name = \"x\"\nplatforms = [\"amd64\"]\n[vars]\nfiles = [\"deps.yaml\", \".env\"]\n[component.a]\n";
    prepare(place, |place| {
        write(place, "Dockerfile", b"FROM scratch\nARG GOLANG_VERSION\n");
        write(place, "catamaran.toml", PROJECT);
    });
    let (versions, env) = match find(data, b"====\n") {
        Some(at) => (&data[..at], &data[at + 5..]),
        None => (data, data),
    };
    write(place, "deps.yaml", versions);
    write(place, ".env", env);
    planned(place)
}

fn layout(place: &Path, data: &[u8]) -> bool {
    prepare(place, |place| {
        write(place, "oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}");
        write(place, "blobs/sha256/.keep", b"");
    });
    write(place, "index.json", data);
    let layout = match Layout::open(place) {
        Ok(layout) => layout,
        Err(error) => return refused(place, &error),
    };
    let Ok(entries) = layout.index() else { return false };
    drop(names(&layout));
    for entry in entries.iter().take(4) {
        if let Err(error) = closure(&layout, entry) {
            refused(place, &error);
        }
    }
    true
}

fn manifest(data: &[u8]) -> bool {
    let types = [media_type::INDEX, media_type::MANIFEST];
    let mut accepted = false;
    for media_type in types {
        if let Ok(manifest) = RawManifest::parse(data.to_vec(), media_type) {
            drop(manifest.children());
            accepted = true;
        }
    }
    if let Ok(config) = ImageConfig::parse(data, &Digest::of(data)) {
        drop((config.platform(), config.shown()));
        accepted = true;
    }
    accepted
}

fn bundle(place: &Path, data: &[u8]) -> bool {
    write(place, "bundle.tar", data);
    match BundleReader::open(place.join("bundle.tar")) {
        Ok(bundle) => {
            drop(bundle.index());
            bundle.check_views().map_or_else(|error| refused(place, &error), |()| true)
        }
        Err(error) => refused(place, &error),
    }
}

/// Files of a tree, each after a line `==== PATH`; paths that lead out of it are left out.
fn tree(place: &Path, data: &[u8]) -> bool {
    let root = place.join("tree");
    drop(fs::remove_dir_all(&root));
    fs::create_dir_all(&root).expect("a folder");
    let mut rest = data;
    let mut files = 0;
    while let Some(at) = find(rest, b"==== ") {
        rest = &rest[at + 5..];
        let Some(end) = find(rest, b"\n") else { break };
        let name = String::from_utf8_lossy(&rest[..end]).trim().to_owned();
        rest = &rest[end + 1..];
        let content = &rest[..find(rest, b"==== ").unwrap_or(rest.len())];
        let harmless = !name.is_empty() && !name.contains("..") && !name.contains('\0') && !name.starts_with('/');
        files += 1;
        if !harmless || files > 32 {
            continue;
        }
        let path = root.join(name);
        // Mutated names can collide with folders or be too long: then the file is simply not there.
        if path.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok()) {
            drop(fs::write(path, content));
        }
    }
    let Ok(proposal) = init::propose(&root) else { return false };
    if proposal.components == 0 {
        return false;
    }
    write(&root, "catamaran.toml", proposal.text.as_bytes());
    let request = LoadRequest { directory: root.clone(), environment: environment(), ..LoadRequest::default() };
    match load(&request) {
        Ok(_) => true,
        Err(error) => refused(&root, &error),
    }
}

/// Fills a new folder once.
fn prepare(place: &Path, fill: impl FnOnce(&Path)) {
    if !place.join(".filled").exists() {
        fill(place);
        write(place, ".filled", b"");
    }
}

fn write(place: &Path, name: &str, data: &[u8]) {
    let path = place.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, data).expect("a file");
}

fn find(data: &[u8], part: &[u8]) -> Option<usize> {
    data.windows(part.len()).position(|window| window == part)
}
