//! Which files there are, which language each is in, and their syntax trees.

use std::io;
use std::path::Path;

use crate::base::SourceText;
use crate::config::error::ConfigProblem;
use crate::config::files::ReadText;
use crate::config::hcl::ast::Body;
use crate::config::hcl::{json, parser};

use super::load::BakeRequest;
use super::scope::SHAPES;

/// Read without being named, those that exist, in this order.
pub(crate) const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// Texts of the files to read, in order; the path is the one that was written.
pub(super) fn read(request: &BakeRequest, reader: &dyn ReadText) -> Result<Vec<SourceText>, Vec<ConfigProblem>> {
    let named: Vec<String> = request.files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
    let separator = request.environment.get("BUILDX_BAKE_PATH_SEPARATOR").map_or(":", String::as_str);
    let from_environment = request.environment.get("BUILDX_BAKE_FILE").filter(|list| !list.is_empty());
    let names = match (named.is_empty(), from_environment) {
        (false, _) => named,
        (true, Some(list)) if separator.is_empty() => vec![list.clone()],
        (true, Some(list)) => list.split(separator).map(str::to_owned).collect(),
        (true, None) => return read_defaults(request, reader),
    };
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        if name == "-" {
            match &request.stdin {
                Some(text) => texts.push(SourceText::new("-", text.clone())),
                None => problems.push(unreadable(&name, io::Error::other("nothing was given on standard input"))),
            }
            continue;
        }
        let local = name.strip_prefix("cwd://").unwrap_or(&name);
        match reader.read_text(&request.directory.join(local)) {
            Ok(text) => texts.push(SourceText::new(local, text)),
            Err(error) => problems.push(unreadable(local, error)),
        }
    }
    if problems.is_empty() { Ok(texts) } else { Err(problems) }
}

fn read_defaults(request: &BakeRequest, reader: &dyn ReadText) -> Result<Vec<SourceText>, Vec<ConfigProblem>> {
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    for name in DEFAULT_FILES {
        match reader.read_text(&request.directory.join(name)) {
            Ok(text) => texts.push(SourceText::new(name, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => problems.push(unreadable(name, error)),
        }
    }
    if texts.is_empty() && problems.is_empty() {
        let message = format!("no bake or compose file in `{}`", request.directory.display());
        let help = Some("name one with `-f FILE`".to_owned());
        problems.push(ConfigProblem::Invalid { message, help, span: None });
    }
    if problems.is_empty() { Ok(texts) } else { Err(problems) }
}

fn unreadable(name: &str, source: io::Error) -> ConfigProblem {
    ConfigProblem::Unreadable { path: name.into(), source, span: None }
}

/// The language of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Compose,
    Hcl,
    Json,
    /// No known ending: compose is tried first, then HCL, then JSON.
    Unknown,
}

pub(super) fn kind_of(path: &Path) -> Kind {
    let name = path.to_string_lossy();
    let lower = name.to_lowercase();
    if [".yml", ".yaml"].iter().any(|ending| lower.ends_with(ending)) {
        Kind::Compose
    } else if name.ends_with(".json") {
        Kind::Json
    } else if name.ends_with(".hcl") {
        Kind::Hcl
    } else {
        Kind::Unknown
    }
}

/// Reads a file that is HCL by its name, or else either syntax.
pub(super) fn parse(source: &SourceText, kind: Kind) -> Result<Body, Vec<ConfigProblem>> {
    match kind {
        Kind::Json => json::parse_file(source, SHAPES),
        Kind::Hcl => parser::parse_file(source),
        Kind::Compose | Kind::Unknown => match parser::parse_file(source) {
            Ok(body) => Ok(body),
            Err(problems) => json::parse_file(source, SHAPES).map_err(|_| problems),
        },
    }
}
