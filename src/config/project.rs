use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::solve::SolveSpec;
use crate::base::{ComponentName, Epoch, Platform, Prefix, Reference, Repository, Span, Spanned, Tag, Warning};

/// Where to look for a project and what it may use.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// `-C`, or the working directory. The search for `catamaran.toml` goes up from here; `files` are relative to it.
    pub directory: PathBuf,
    /// `-f`, in order; empty to search.
    pub files: Vec<PathBuf>,
    /// The process environment, as `cli` read it. Only names that the project mentions are looked at.
    pub environment: BTreeMap<String, String>,
    /// `--set NAME=VALUE`, in order; the last one of a name wins, over everything else.
    pub sets: Vec<(String, String)>,
    /// `--set TARGET.KEY…` in all forms of bake, in order, as typed.
    pub overrides: Vec<String>,
    /// Names on the command line, as typed. Targets of a bake file that `default` does not reach are components only if
    /// they are named here.
    pub names: Vec<String>,
    /// Seconds since 1970-01-01, for `timestamp()` of bake files.
    pub now: i64,
}

/// A project as its files say it: every value validated by itself, paths resolved, nothing compared with anything yet.
#[derive(Debug, Clone)]
pub struct Project {
    /// `name`, or the folder's.
    pub name: String,
    /// The project file; the first one where there are several.
    pub file: PathBuf,
    /// The folder of that file; `.catamaran` lies here.
    pub root: PathBuf,
    /// `platforms`.
    pub platforms: Vec<Spanned<Platform>>,
    /// `image`: the repository name below a prefix, with `{component}` in it.
    pub image: Spanned<String>,
    /// `tag`, with `${…}` and `{git}` filled in.
    pub tag: Spanned<Tag>,
    /// `registry`.
    pub registries: Vec<Spanned<Prefix>>,
    /// `arch-tags`.
    pub arch_tags: bool,
    /// `SOURCE_DATE_EPOCH` or `epoch`.
    pub epoch: Option<Epoch>,
    /// `[vars]`, resolved, by name.
    pub vars: IndexMap<String, Variable>,
    /// `[component.*]`, in the order of the file.
    pub components: IndexMap<ComponentName, ComponentSpec>,
    /// `[external.*]`.
    pub externals: IndexMap<ComponentName, ExternalSpec>,
    /// `[service.*]`.
    pub services: IndexMap<ComponentName, ServiceSpec>,
    /// `[builder.*]`.
    pub builders: IndexMap<String, BuilderSpec>,
    /// `[group]`: a name for several components on a command line.
    pub groups: IndexMap<String, Vec<Spanned<ComponentName>>>,
    /// Names that occur in `${…}` of the project file.
    pub mentioned: BTreeSet<String>,
    /// Defaults of `${NAME:-default}` that stand for names that nobody set; their origin is the place.
    pub defaults: IndexMap<String, Variable>,
    /// Every Dockerfile-like file in the roots of `[discover]` and what it is, by path. Empty without `[discover]`.
    pub finds: Vec<Find>,
    /// Components of a bake file that were neither asked for nor are reached by `default`, by name; of their settings only
    /// the references are known.
    pub unselected: IndexMap<ComponentName, ComponentSpec>,
    /// What the files say that does not come to pass here, each told once.
    pub warnings: Vec<Warning>,
}

/// A file that discovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// Its path, relative to the project's root where it is below it.
    pub path: PathBuf,
    /// What it is.
    pub outcome: FindOutcome,
}

/// What a file that discovery found is. One that is nothing is an error instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindOutcome {
    /// It makes this component or external (which may be excluded).
    Component(ComponentName),
    /// `[discover] exclude` leaves it out, for this reason.
    LeftOut(String),
}

/// One `[component.NAME]`.
#[derive(Debug, Clone)]
pub struct ComponentSpec {
    /// Where its header stands.
    pub span: Option<Span>,
    /// The main context: a directory, or a URL that the builder fetches.
    pub context: Spanned<ContextRef>,
    /// The Dockerfile.
    pub dockerfile: Spanned<PathBuf>,
    /// A Dockerfile written in the project file itself; then `dockerfile` only names it in messages.
    pub dockerfile_inline: Option<Spanned<String>>,
    /// The Dockerfile's path in the main context, where that is a URL and the Dockerfile is among what the builder fetches;
    /// then `dockerfile` only says where this is written.
    pub dockerfile_fetched: Option<String>,
    /// The stage to build; the last one if absent.
    pub target: Option<Spanned<String>>,
    /// Components that come first, and services that run while this is built.
    pub needs: Vec<Spanned<ComponentName>>,
    /// Named contexts.
    pub contexts: IndexMap<String, Spanned<ContextRef>>,
    /// Build arguments.
    pub args: IndexMap<String, Spanned<String>>,
    /// Image labels.
    pub labels: IndexMap<String, Spanned<String>>,
    /// Build secrets by id.
    pub secrets: IndexMap<String, Spanned<SecretSpec>>,
    /// Ids of ssh agents that are offered, with the socket where one was written; else `SSH_AUTH_SOCK` is meant.
    pub ssh: IndexMap<String, Option<PathBuf>>,
    /// Extra `/etc/hosts` entries, (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Ignore the builder's cache.
    pub no_cache: bool,
    /// What else the builder is asked for.
    pub solve: SolveSpec,
    /// Narrower platforms than the project's.
    pub platforms: Option<Vec<Spanned<Platform>>>,
    /// Globs of the programs for other processors that are in its image on purpose.
    pub foreign: Vec<Spanned<String>>,
    /// Files that the builder finds rendered, under the name without `.tpl`; each with the place of what lists it.
    pub templates: Vec<Spanned<PathBuf>>,
    /// Why it is left out.
    pub exclude: Option<Spanned<String>>,
    /// Repository name in place of the project's `image`.
    pub image: Option<Spanned<String>>,
    /// Tag in place of the project's.
    pub tag: Option<Spanned<Tag>>,
    /// Further tags of the same images.
    pub tags: Vec<Spanned<Tag>>,
    /// Prefixes in place of the project's.
    pub registries: Option<Vec<Spanned<Prefix>>>,
    /// Whole references in place of prefix, image and tag (`tags` of a bake or compose file, where they may be none).
    pub references: Option<Vec<Spanned<Reference>>>,
    /// What is different on single platforms.
    pub variations: IndexMap<Platform, Variation>,
}

/// What is different about a component on one platform.
#[derive(Debug, Clone)]
pub struct Variation {
    /// Where its header stands.
    pub span: Option<Span>,
    /// Another Dockerfile.
    pub dockerfile: Option<Spanned<PathBuf>>,
    /// The same in a main context that the builder fetches.
    pub dockerfile_fetched: Option<String>,
    /// Another target.
    pub target: Option<Spanned<String>>,
    /// Further or other build arguments.
    pub args: IndexMap<String, Spanned<String>>,
    /// Why this platform alone is left out.
    pub exclude: Option<Spanned<String>>,
}

impl ComponentSpec {
    /// The component as it is on `platform`.
    pub fn on(&self, platform: &Platform) -> Cow<'_, Self> {
        let Some(variation) = self.variations.get(platform) else { return Cow::Borrowed(self) };
        let mut spec = self.clone();
        if let Some(dockerfile) = &variation.dockerfile {
            spec.dockerfile = dockerfile.clone();
            spec.dockerfile_inline = None;
            spec.dockerfile_fetched.clone_from(&variation.dockerfile_fetched);
        }
        if let Some(target) = &variation.target {
            spec.target = Some(target.clone());
        }
        spec.args.extend(variation.args.iter().map(|(name, value)| (name.clone(), value.clone())));
        if let Some(exclude) = &variation.exclude {
            spec.exclude = Some(exclude.clone());
        }
        Cow::Owned(spec)
    }

    /// A component of which nothing is known but where it is declared; its paths are empty.
    pub(crate) fn new(span: Option<Span>) -> Self {
        Self {
            span,
            context: Spanned::unplaced(ContextRef::Directory(PathBuf::new())),
            dockerfile: Spanned::unplaced(PathBuf::new()),
            dockerfile_inline: None,
            dockerfile_fetched: None,
            target: None,
            needs: Vec::new(),
            contexts: IndexMap::new(),
            args: IndexMap::new(),
            labels: IndexMap::new(),
            secrets: IndexMap::new(),
            ssh: IndexMap::new(),
            extra_hosts: Vec::new(),
            no_cache: false,
            solve: SolveSpec::default(),
            platforms: None,
            foreign: Vec::new(),
            templates: Vec::new(),
            exclude: None,
            image: None,
            tag: None,
            tags: Vec::new(),
            registries: None,
            references: None,
            variations: IndexMap::new(),
        }
    }
}

/// What a context stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextRef {
    /// `component:NAME`: the result of another component for the same platform.
    Component(ComponentName),
    /// A directory of this machine.
    Directory(PathBuf),
    /// `docker-image://…`, a git or http(s) URL: for the builder to fetch.
    Remote(String),
}

/// One `[external.NAME]`: mirrored, not built.
#[derive(Debug, Clone)]
pub struct ExternalSpec {
    /// Where its header stands.
    pub span: Option<Span>,
    /// Where it comes from.
    pub image: Spanned<Reference>,
    /// Narrower platforms than the project's.
    pub platforms: Option<Vec<Spanned<Platform>>>,
    /// `as`: repository below the prefix, and tag.
    pub published: Option<Spanned<(Repository, Tag)>>,
    /// Globs of the programs for other processors that are in its image on purpose.
    pub foreign: Vec<Spanned<String>>,
    /// Why it is left out.
    pub exclude: Option<Spanned<String>>,
}

/// One `[service.NAME]`: the component or external of that name runs while cells that need it build.
#[derive(Debug, Clone)]
pub struct ServiceSpec {
    /// Where its header stands.
    pub span: Option<Span>,
    /// The port it listens on.
    pub port: Option<ServicePort>,
    /// How to tell that it is up.
    pub ready: Option<Spanned<Readiness>>,
    /// What runs, in place of the image's own command.
    pub command: Option<Spanned<Vec<String>>>,
    /// Its environment, on top of the image's.
    pub env: IndexMap<String, Spanned<String>>,
    /// Files that are put into its container: absolute path there, file here.
    pub files: IndexMap<String, Spanned<PathBuf>>,
    /// Further host names that it is known by.
    pub hosts: Vec<Spanned<String>>,
    /// Which platform of its image runs.
    pub platform: ServicePlatform,
    /// Services that it needs itself.
    pub needs: Vec<Spanned<ComponentName>>,
    /// Time between two looks at whether it is up.
    pub interval: Duration,
    /// How long it may take to be up.
    pub timeout: Duration,
}

/// The port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServicePort {
    /// This one.
    Fixed(u16),
    /// `"auto"`: a free one.
    Auto,
}

/// Which platform of a service's image runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ServicePlatform {
    /// The one that needs no emulation.
    #[default]
    Native,
    /// That of each cell that needs it.
    Same,
    /// This one.
    One(Platform),
}

/// How to tell that a service is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// An `http://` URL that answers with a good status.
    Http(String),
    /// A port that accepts.
    Tcp(u16),
    /// A command in its container that exits with 0.
    Exec(Vec<String>),
}

/// One `[builder.NAME]`.
#[derive(Debug, Clone)]
pub struct BuilderSpec {
    /// Its address, such as `tcp://arm.example.com:1234`.
    pub address: Spanned<String>,
    /// The platforms it takes; empty: every one that no other builder takes.
    pub platforms: Vec<Spanned<Platform>>,
    /// How many cells it takes at once; nothing: as many as it says.
    pub capacity: Option<usize>,
    /// Certificate authority of its server.
    pub ca: Option<PathBuf>,
    /// Client certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Where the value of a secret is found when it is needed. The value is never in the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSpec {
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
}

/// A value of `[vars]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The value.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

/// Who set a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file of `[vars] files`.
    File(Span),
    /// `[vars] set`.
    Project(Span),
    /// The environment.
    Environment,
    /// `--set`.
    CommandLine,
    /// Nobody: the default written where the name is used.
    Default(Span),
}
