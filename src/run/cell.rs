use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::outside::FromOutside;
use super::state::write_atomically;
use super::templates::rendered_files;
use super::{RunError, StateDir};
use crate::base::{CellId, Descriptor, Digest, DigestHasher, Epoch, Secret};
use crate::config::SecretSpec;
use crate::dockerfile::ignore::DockerIgnore;
use crate::engine::{
    BuildRequest, ContextSource, DockerfilePlace, DockerfileSource, NamedContext, RenderedFile, SecretSource, SshSource,
};
use crate::event::EventSink;
use crate::plan::{self, CellBuild, Plan};

/// What a build takes from outside the project, as the command line found it.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Values of the environment that secrets of the project name.
    pub secrets: BTreeMap<String, Secret>,
    /// The socket of the user's ssh agent.
    pub ssh_agent: Option<PathBuf>,
}

/// Everything about one cell's request that does not change while the run goes on.
pub(super) struct Prepared {
    pub(super) build: Box<CellBuild>,
    dockerfile: DockerfileSource,
    rendered: Vec<RenderedFile>,
    excluded: Vec<PathBuf>,
    no_patterns: PathBuf,
    key: String,
    epoch: Option<Epoch>,
    secrets: BTreeMap<String, SecretSource>,
    ssh: BTreeMap<String, SshSource>,
}

impl Prepared {
    /// Prepares a cell: writes a rendered Dockerfile to its place, finds secrets and agents.
    pub(super) fn new(
        plan: &Plan,
        id: &CellId,
        build: &CellBuild,
        state: &StateDir,
        inputs: &Inputs,
    ) -> Result<Self, RunError> {
        let dockerfile = match (&build.fetched, &build.rendered) {
            (Some(path), _) => fetched(path),
            (None, Some(text)) => rendered(state, &build.dockerfile, text)?,
            (None, None) => in_place(&build.dockerfile),
        };
        let rendered = rendered_files(state, build)?;
        let mut secrets = BTreeMap::new();
        for (name, spec) in &build.secrets {
            let source = match spec {
                SecretSpec::File(path) => SecretSource::File(path.clone()),
                SecretSpec::Environment(variable) => {
                    let value = inputs.secrets.get(variable).ok_or_else(|| RunError::NoSecret {
                        component: id.component.clone(),
                        secret: name.clone(),
                        variable: variable.clone(),
                    })?;
                    SecretSource::Value(value.clone())
                }
            };
            secrets.insert(name.clone(), source);
        }
        let mut ssh = BTreeMap::new();
        for (name, socket) in &build.ssh {
            let socket = socket
                .clone()
                .or_else(|| inputs.ssh_agent.clone())
                .ok_or_else(|| RunError::NoAgent { component: id.component.clone(), agent: name.clone() })?;
            ssh.insert(name.clone(), SshSource::Agent(socket));
        }
        let context = match &build.context {
            plan::ContextSource::Directory(path) => Some(path.as_path()),
            plan::ContextSource::Cell(_) | plan::ContextSource::Remote(_) => None,
        };
        let excluded = context.map(|context| always_excluded(context, plan, state)).unwrap_or_default();
        // Stable from run to run, and different for everything that sends a directory of its own.
        let mut hasher = DigestHasher::new();
        for part in [plan.root.as_os_str(), context.unwrap_or(Path::new("")).as_os_str()] {
            hasher.update(part.as_encoded_bytes());
            hasher.update(&[0]);
        }
        hasher.update(id.component.as_str().as_bytes());
        let key = hasher.finish().short();
        let build = Box::new(build.clone());
        let no_patterns = no_patterns(state)?;
        Ok(Self { build, dockerfile, rendered, excluded, no_patterns, key, epoch: plan.epoch, secrets, ssh })
    }

    /// The request, with the images of the cells that it starts from.
    pub(super) fn request(
        &self,
        cell: &CellId,
        results: &BTreeMap<CellId, Descriptor>,
        outside: FromOutside,
        events: Arc<dyn EventSink>,
        cancel: CancellationToken,
    ) -> Result<BuildRequest, RunError> {
        let build = &self.build;
        let mut contexts = outside.contexts;
        for context in &build.contexts {
            contexts.push(named_context(cell, &context.name, &context.source, results)?);
        }
        let context = match &build.context {
            plan::ContextSource::Directory(path) => {
                ContextSource::Directory { path: path.clone(), always_excluded: self.excluded.clone() }
            }
            plan::ContextSource::Remote(url) => ContextSource::Remote(url.clone()),
            // The frontend takes a named context for the main one too; its own context is then never asked for.
            plan::ContextSource::Cell(_) => {
                contexts.push(named_context(cell, "context", &build.context, results)?);
                ContextSource::Directory { path: self.dockerfile.directory.clone(), always_excluded: Vec::new() }
            }
        };
        Ok(BuildRequest {
            cell: cell.clone(),
            context,
            rendered: self.rendered.clone(),
            dockerfile: self.dockerfile.clone(),
            no_patterns: lacks_patterns(build).then(|| self.no_patterns.clone()),
            target: build.target.clone(),
            args: build.args.clone(),
            labels: build.labels.clone(),
            contexts,
            pins: outside.pins,
            own_frontend: outside.own_frontend,
            secrets: self.secrets.clone(),
            ssh: self.ssh.clone(),
            extra_hosts: build.extra_hosts.clone(),
            no_cache: build.no_cache,
            options: build.options.clone(),
            epoch: self.epoch,
            context_key: self.key.clone(),
            events,
            cancel,
        })
    }
}

fn named_context(
    cell: &CellId,
    name: &str,
    source: &plan::ContextSource,
    results: &BTreeMap<CellId, Descriptor>,
) -> Result<NamedContext, RunError> {
    let name = name.to_owned();
    Ok(match source {
        plan::ContextSource::Cell(other) => {
            let descriptor = results.get(other).ok_or_else(|| RunError::Internal {
                message: format!("{cell} starts before {other}, whose image it needs"),
            })?;
            NamedContext::Image { name, platform: other.platform.clone(), descriptor: Box::new(descriptor.clone()) }
        }
        plan::ContextSource::Directory(path) => NamedContext::Directory { name, path: path.clone() },
        plan::ContextSource::Remote(url) => NamedContext::Remote { name, url: url.clone() },
    })
}

fn in_place(path: &Path) -> DockerfileSource {
    DockerfileSource {
        directory: path.parent().unwrap_or(Path::new(".")).to_owned(),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        template: None,
        place: DockerfilePlace::Directory,
    }
}

/// The Dockerfile at `path` of a main context that the builder fetches.
fn fetched(path: &str) -> DockerfileSource {
    let (directory, name) = (PathBuf::new(), path.to_owned());
    DockerfileSource { directory, name, template: None, place: DockerfilePlace::Context }
}

/// Writes a rendered Dockerfile into a directory named by its content, so that two runs never change one under each other.
///
/// `NAME.dockerignore` beside the template comes along: the builder looks for it beside the Dockerfile.
fn rendered(state: &StateDir, template: &Path, text: &str) -> Result<DockerfileSource, RunError> {
    let beside = in_place(template);
    let name = beside.name.strip_suffix(".tpl").unwrap_or(&beside.name).to_owned();
    let mut ignore = None;
    for path in ignore_candidates(template) {
        match std::fs::read(&path) {
            Ok(bytes) => {
                ignore = Some(bytes);
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(RunError::state("read", &path, source)),
        }
    }
    let mut hasher = DigestHasher::new();
    // An ignore file without a line is not the same as none: it keeps that of the context from being read.
    for part in [Some(name.as_bytes()), Some(text.as_bytes()), ignore.as_deref()].into_iter().flatten() {
        hasher.update(Digest::of(part).raw());
    }
    let directory = state.rendered().join(hasher.finish().hex());
    // A value of several lines moves all lines behind it: then only the rendered file has the line that is meant.
    let same_lines = |written: Vec<u8>| lines(&written) == lines(text.as_bytes());
    let is_template = template.extension().is_some_and(|extension| extension == "tpl");
    let written = (is_template && fs_text(template).is_some_and(same_lines)).then(|| template.to_owned());
    let source = DockerfileSource {
        directory: directory.clone(),
        name: name.clone(),
        template: written,
        place: DockerfilePlace::Directory,
    };
    let write = |path: PathBuf, bytes: &[u8]| {
        write_atomically(&path, bytes).map_err(|source| RunError::state("write", &path, source))
    };
    // Named by its content: what is there is right, and writing it again would cost an fsync for each cell.
    if fs_text(&directory.join(&name)).as_deref() == Some(text.as_bytes()) && ignore.is_none() {
        return Ok(source);
    }
    write(directory.join(&name), text.as_bytes())?;
    if let Some(ignore) = ignore {
        write(directory.join(format!("{name}.dockerignore")), &ignore)?;
    }
    Ok(source)
}

/// An ignore file without patterns, and not empty: to the frontend an empty one is none.
fn no_patterns(state: &StateDir) -> Result<PathBuf, RunError> {
    const TEXT: &str = "# nothing is left out\n";
    let path = state.rendered().join("no.dockerignore");
    if fs_text(&path).as_deref() != Some(TEXT.as_bytes()) {
        write_atomically(&path, TEXT.as_bytes()).map_err(|source| RunError::state("write", &path, source))?;
    }
    Ok(path)
}

/// Whether nothing is left out of a build's main context, by a file beside the Dockerfile or in the context. In doubt it is not
/// so, and the builder looks for itself.
fn lacks_patterns(build: &CellBuild) -> bool {
    let plan::ContextSource::Directory(context) = &build.context else { return false };
    let mut files = ignore_candidates(&build.dockerfile).into_iter().chain([context.join(".dockerignore")]);
    files.all(|path| match std::fs::symlink_metadata(&path) {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(found) if !found.is_file() || found.len() > IGNORE_LIMIT => false,
        Ok(_) => std::fs::read_to_string(&path)
            .is_ok_and(|text| DockerIgnore::parse(&text).is_ok_and(|ignore| ignore.patterns().is_empty())),
    })
}

/// An ignore file over this is left to the builder.
const IGNORE_LIMIT: u64 = 1 << 20;

fn lines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count()
}

fn fs_text(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

/// Where the ignore file of a Dockerfile's own may lie, the one that wins first: beside it, and for a template under either
/// name.
pub(super) fn ignore_candidates(dockerfile: &Path) -> Vec<PathBuf> {
    let DockerfileSource { directory, name, .. } = in_place(dockerfile);
    let plain = name.strip_suffix(".tpl").filter(|plain| !plain.is_empty());
    let names = std::iter::once(name.as_str()).chain(plain);
    names.map(|name| directory.join(format!("{name}.dockerignore"))).collect()
}

/// The state directory's place in a context: results of one build must never be inputs of the next.
pub(super) fn always_excluded(context: &Path, plan: &Plan, state: &StateDir) -> Vec<PathBuf> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let context = real(context);
    // `--state` may have moved it, and an older one may still lie in its first place.
    let mut found = Vec::new();
    for directory in [state.root().to_owned(), plan.root.join(".catamaran")] {
        // The last part may not exist yet, its parent does.
        let directory = match (directory.parent(), directory.file_name()) {
            (Some(parent), Some(name)) => real(parent).join(name),
            _ => real(&directory),
        };
        if let Ok(relative) = directory.strip_prefix(&context)
            && !relative.as_os_str().is_empty()
            && !found.iter().any(|known| known == relative)
        {
            found.push(relative.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d5_the_same_template_is_rendered_to_the_same_place() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path().join("state"));
        let template = directory.path().join("Dockerfile.tpl");
        let first = rendered(&state, &template, "FROM scratch\n").expect("it can be written");
        assert_eq!(rendered(&state, &template, "FROM scratch\n").expect("it can be written"), first);
        assert_eq!(first.name, "Dockerfile");
        let text = std::fs::read_to_string(first.directory.join("Dockerfile")).expect("it is there");
        assert_eq!(text, "FROM scratch\n");
        std::fs::write(directory.path().join("Dockerfile.dockerignore"), "x\n").expect("it can be written");
        let second = rendered(&state, &template, "FROM scratch\n").expect("it can be written");
        assert_ne!(second.directory, first.directory);
        assert!(second.directory.join("Dockerfile.dockerignore").exists());
        std::fs::write(directory.path().join("Dockerfile.dockerignore"), "").expect("it can be written");
        let third = rendered(&state, &template, "FROM scratch\n").expect("it can be written");
        assert_ne!(third.directory, first.directory, "an empty one is read in place of the context's");
        assert!(third.directory.join("Dockerfile.dockerignore").exists());
        assert!(!first.directory.join("Dockerfile.dockerignore").exists());
    }
}
