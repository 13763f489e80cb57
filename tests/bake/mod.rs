//! Resolved bake and compose files beside `docker buildx bake --print` of the version in `tools/`.
//!
//! `corpus/*.cases` hold the files: `==== NAME`, then `arg:`, `env:` and `stdin:` lines, then `---- FILE` with its text
//! (`quoted`: as a JSON string). `differs:` marks the places where the reference's answer is not what the user meant.

mod effects;
mod fetched;
mod selection;

mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use catamaran::config::{BakeRequest, DiskFiles, print_bake, resolve_bake};
use serde_json::Value;

use crate::support::tools::tool;

#[derive(Debug, Default)]
struct Case {
    name: String,
    args: Vec<String>,
    environment: BTreeMap<String, String>,
    stdin: Option<String>,
    files: Vec<(String, String)>,
    differs: bool,
    expect: Option<String>,
}

fn corpus(name: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bake/corpus").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut cases: Vec<Case> = Vec::new();
    let mut quoted = false;
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("==== ") {
            cases.push(Case { name: name.trim_end().to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a case before its lines");
        if let Some(file) = line.strip_prefix("---- ") {
            let file = file.trim_end();
            quoted = file.ends_with(" quoted");
            case.files.push((file.trim_end_matches(" quoted").to_owned(), String::new()));
        } else if let Some((_, content)) = case.files.last_mut() {
            if quoted {
                content.push_str(&serde_json::from_str::<String>(line).expect("a JSON string"));
            } else {
                content.push_str(line);
            }
        } else {
            let (key, value) = line.trim_end_matches('\n').split_once(": ").unwrap_or((line.trim_end(), ""));
            match key {
                "arg" => case.args.push(value.to_owned()),
                "env" => {
                    let (name, value) = value.split_once('=').expect("NAME=VALUE");
                    case.environment.insert(name.to_owned(), value.to_owned());
                }
                "stdin" => case.stdin = Some(serde_json::from_str(value).expect("a JSON string")),
                "differs" => case.differs = true,
                "expect" => case.expect = Some(value.to_owned()),
                "arg:" => case.args.push(String::new()),
                other => panic!("{path}: unknown line `{other}`", path = path.display()),
            }
        }
    }
    cases
}

/// What the reference prints; `None` if it refuses.
fn reference(case: &Case, directory: &Path) -> Option<Value> {
    use std::io::Write as _;
    let mut command = Command::new(tool("bin/buildx"));
    command.args(["bake", "--print"]).args(&case.args).current_dir(directory);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/root").envs(&case.environment);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("buildx; run `scripts/setup test`");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that does not read its input closes it early.
    drop(stdin.write_all(case.stdin.as_deref().unwrap_or_default().as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("the output of buildx");
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn request(case: &Case, directory: &Path) -> BakeRequest {
    let mut request = BakeRequest { directory: directory.to_path_buf(), ..BakeRequest::default() };
    request.environment = case.environment.clone();
    request.environment.entry("HOME".to_owned()).or_insert_with(|| "/root".to_owned());
    request.environment.entry("PATH".to_owned()).or_insert_with(|| "/usr/bin:/bin".to_owned());
    request.stdin.clone_from(&case.stdin);
    let mut args = case.args.iter();
    while let Some(arg) = args.next() {
        let (flag, value) = arg.split_once('=').map_or((arg.as_str(), None), |(flag, value)| (flag, Some(value)));
        let mut next = || args.next().expect("a value").clone();
        match flag {
            "-f" => request.files.push(PathBuf::from(next())),
            "--set" => request.overrides.push(next()),
            "--var" => {
                let var = next();
                let (name, value) = var.split_once('=').expect("NAME=VALUE");
                request.vars.push((name.to_owned(), value.to_owned()));
            }
            "--push" => request.push = true,
            "--load" => request.load = true,
            "--pull" => request.pull = Some(true),
            "--no-cache" => request.no_cache = Some(true),
            "--check" => request.call = Some("check".to_owned()),
            "--call" => request.call = value.map(str::to_owned),
            "--provenance" => request.provenance = value.map(str::to_owned),
            "--sbom" => request.sbom = value.map(str::to_owned),
            _ => request.targets.push(arg.clone()),
        }
    }
    request
}

/// With two axes or more, the reference lists the members of a matrix's group in a random order.
fn settled(document: Option<Value>) -> Option<String> {
    let mut document = document?;
    if let Some(groups) = document.get_mut("group").and_then(Value::as_object_mut) {
        for targets in groups.values_mut().filter_map(|group| group.get_mut("targets")?.as_array_mut()) {
            targets.sort_by_key(ToString::to_string);
        }
    }
    Some(document.to_string())
}

fn compare(file: &str) {
    let mut wrong = Vec::new();
    for case in corpus(file) {
        let directory = tempfile::tempdir().expect("a folder");
        for (name, content) in &case.files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }
        let theirs = settled(reference(&case, directory.path()));
        let result = resolve_bake(&request(&case, directory.path()), &DiskFiles);
        let problem = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let ours = settled(result.ok().map(|resolved| print_bake(&resolved)));
        let expected = case.expect.as_ref().is_none_or(|part| ours.as_ref().is_some_and(|ours| ours.contains(part)));
        if (ours == theirs) == case.differs || !expected {
            wrong.push(format!("{file}: {}\n  reference: {theirs:?}\n  ours:      {ours:?} {problem}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! equal_to_the_reference {
    ($($name:ident: $file:literal;)*) => {
        $(#[test] fn $name() { compare($file); })*
    };
}

equal_to_the_reference! {
    bake_attributes: "attributes.cases";
    bake_compose: "compose.cases";
    bake_differences_are_those_listed: "differences.cases";
    bake_expressions: "expressions.cases";
    bake_flags: "flags.cases";
    bake_functions: "functions.cases";
    bake_groups_and_inherits: "groups-and-inherits.cases";
    bake_json: "json.cases";
    bake_language: "language.cases";
    bake_matrix: "matrix.cases";
    bake_references: "references.cases";
    bake_refused_expressions: "refused-expressions.cases";
    bake_several_files: "several-files.cases";
    bake_variables: "variables.cases";
}
