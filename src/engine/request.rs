use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::buildkit::Selection;
use crate::base::{CellId, Descriptor, Digest, Epoch, Platform, Reference, Secret, SolveOptions};
use crate::event::{EventSink, NoEvents};

/// Everything about one cell that an engine needs to build it.
#[derive(Clone)]
pub struct BuildRequest {
    /// The cell: names logs, events and errors. Its platform is what is built.
    pub cell: CellId,
    /// The main context.
    pub context: ContextSource,
    /// Files that stand in its directories for the builder alone.
    pub rendered: Vec<RenderedFile>,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// A file without patterns, where no ignore file says any. The builder finds it as the Dockerfile's own, and so does not look
    /// for one in the main context: what it asks for by that name then, it copies.
    pub no_patterns: Option<PathBuf>,
    /// The stage to build; the last one if absent.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Image labels.
    pub labels: BTreeMap<String, String>,
    /// Images and directories that replace what a `FROM`, `COPY --from` or mount names.
    pub contexts: Vec<NamedContext>,
    /// What images that are pulled from registries must be, whatever their tags show when the builder looks: where one of
    /// these is named, as a base, as a source of files or as the frontend, its digest is taken.
    pub pins: Vec<(Reference, Digest)>,
    /// Whether the builder's own frontend reads the Dockerfile, whatever its `# syntax=` line says.
    pub own_frontend: bool,
    /// Secrets by id, for `RUN --mount=type=secret`. Not part of any cache key.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Agents by id, for `RUN --mount=type=ssh`.
    pub ssh: BTreeMap<String, SshSource>,
    /// Extra `/etc/hosts` entries, (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Ignore the builder's cache.
    pub no_cache: bool,
    /// What else is asked for.
    pub options: SolveOptions,
    /// Clamp times in config, history and layers to this.
    pub epoch: Option<Epoch>,
    /// Names a directory and component on this machine, stable from run to run, so that the builder transfers only changes.
    pub context_key: String,
    /// Where facts go while it is built.
    pub events: Arc<dyn EventSink>,
    /// Ends the build when cancelled.
    pub cancel: CancellationToken,
}

/// Where the files of a context come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory of this machine.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Paths relative to it that are never part of the context, whatever the ignore files say (the state directory).
        always_excluded: Vec<PathBuf>,
    },
    /// A git or http(s) URL that the builder fetches itself.
    Remote(String),
}

/// The Dockerfile of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileSource {
    /// The directory it is in (for a rendered template: the directory it was rendered into).
    pub directory: PathBuf,
    /// Its file name there. `NAME.dockerignore` beside it wins over `.dockerignore` of the context.
    pub name: String,
    /// For a rendered template whose lines are those of the text: the template, which is what somebody wrote and can mend.
    pub template: Option<PathBuf>,
    /// Whose it is.
    pub place: DockerfilePlace,
}

/// Where a Dockerfile comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerfilePlace {
    /// A directory of this machine.
    Directory,
    /// The main context, which the builder fetches: `name` is the path in it, and there is no `directory`.
    Context,
}

impl DockerfileSource {
    /// The file to name when something is wrong with it.
    pub fn written(&self) -> PathBuf {
        self.template.clone().unwrap_or_else(|| self.directory.join(&self.name))
    }
}

/// A file that the builder finds in a directory of a request although it lies elsewhere: nothing is written among sources.
///
/// It takes the place of whatever has its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RenderedFile {
    /// Where the builder finds it: in a directory that exists, without symbolic links on the way.
    pub path: PathBuf,
    /// The file that is sent, with its permissions. Other content must have another time or size: builders go by these.
    pub file: PathBuf,
}

/// A named context (`--build-context`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// An image in the layout, served by digest: never pulled from a registry.
    ///
    /// There may be several of one name, each for another platform: a stage `FROM --platform=$BUILDPLATFORM NAME` takes
    /// the one for the builder's own platform.
    Image {
        /// The name as the Dockerfile has it (`base`, `docker.io/library/alpine:3.22`).
        name: String,
        /// The platform that it stands for the name on; an image that is for another one is refused.
        platform: Platform,
        /// Manifest or index of the image.
        descriptor: Box<Descriptor>,
    },
    /// A directory of this machine.
    Directory {
        /// The name as the Dockerfile has it.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// Passed to the builder as written (`docker-image://…`, a git URL).
    Remote {
        /// The name as the Dockerfile has it.
        name: String,
        /// What it stands for.
        url: String,
    },
}

/// Where a secret's value comes from; read when the builder asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A value, such as one from the environment.
    Value(Secret),
}

/// The ssh agent behind an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshSource {
    /// The socket of a running agent.
    Agent(PathBuf),
}

/// What an engine made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The image's manifest, in the layout with everything it refers to.
    pub manifest: Descriptor,
    /// The platform that its config says.
    pub platform: Platform,
    /// Attestation manifests that came with it.
    pub attestations: Vec<Descriptor>,
    /// Address of the builder.
    pub builder: String,
    /// Bytes of blobs that travelled from the builder.
    pub received: u64,
    /// Bytes of context files that travelled to it.
    pub sent: u64,
    /// What it read of the request's directories.
    pub reads: ContextReads,
}

/// What a builder read of a request's directories, so that one knows later what the image depends on.
///
/// The frontend works it out of the Dockerfile with everything that only it knows: variables that a base sets, triggers of a
/// base, links. More than was read may be told, never less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextReads {
    /// When the first file may have been read: what changed later may be in the image or not.
    pub since: SystemTime,
    /// What was asked for, each once; nothing where that is not known, so that it may be everything.
    pub asked: Option<Vec<Asked>>,
}

/// What a builder asked for of one directory, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The named context; nothing for the main one.
    pub context: Option<String>,
    /// What of it.
    pub selection: Selection,
}

impl BuildRequest {
    /// A build of `dockerfile` with `context` that asks for nothing else, tells nobody and is not cancelled.
    pub fn new(cell: CellId, context: ContextSource, dockerfile: DockerfileSource, context_key: String) -> Self {
        Self {
            cell,
            context,
            rendered: Vec::new(),
            dockerfile,
            no_patterns: None,
            target: None,
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            contexts: Vec::new(),
            pins: Vec::new(),
            own_frontend: false,
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            extra_hosts: Vec::new(),
            no_cache: false,
            options: SolveOptions::default(),
            epoch: None,
            context_key,
            events: Arc::new(NoEvents),
            cancel: CancellationToken::new(),
        }
    }
}

impl fmt::Debug for BuildRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildRequest").field("cell", &self.cell).finish_non_exhaustive()
    }
}
