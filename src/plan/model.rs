use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::PlannedVariable;
use crate::base::{CellId, ComponentName, Epoch, Platform, Prefix, Reference, SolveOptions, Span, Warning};
use crate::config::{BuilderSpec, Find, Readiness, SecretSpec, ServicePort};

/// What a command line narrows or replaces.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// `--platform`: only these; the result is a subset.
    pub platforms: Option<Vec<Platform>>,
    /// Names on the command line; empty for everything.
    pub names: Vec<Selector>,
    /// `--to`, in place of the project's registries; empty to keep them.
    pub to: Vec<Prefix>,
    /// The platform of the builder, for `BUILDPLATFORM` in Dockerfiles; the host's if unknown.
    pub build_platform: Option<Platform>,
}

/// `NAME`, `NAME/PLATFORM`, or a glob (`*`, `?`, `[…]`) in the place of either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    pub(super) text: String,
}

impl FromStr for Selector {
    type Err = std::convert::Infallible;

    /// Takes any text: whether it selects anything is known only to [`plan`](super::plan).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::of(text))
    }
}

impl Selector {
    /// Takes any text, as [`FromStr`] does.
    pub fn of(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// What will happen: the resolved matrix.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the project.
    pub project: String,
    /// The project's tag, for headlines; components may have their own.
    pub tag: String,
    /// The project file.
    pub file: PathBuf,
    /// Its folder.
    pub root: PathBuf,
    /// The platforms of the matrix, after `--platform`, in the project's order.
    pub platforms: Vec<Platform>,
    /// Where a release goes: `--to`, else the project's `registry`. May be empty, see [`Plan::require_registries`].
    pub registries: Vec<Prefix>,
    /// Whether TAG-ARCH names are pushed too; the names are those of [`arch_reference`](super::arch_reference).
    pub arch_tags: bool,
    /// Times in images are clamped to this.
    pub epoch: Option<Epoch>,
    /// Components and externals, excluded ones too, in the order of the project.
    pub components: Vec<Component>,
    /// All cells, needed ones before those that need them; cells of excluded components are here too, and are nowhere needed.
    pub cells: Vec<Cell>,
    /// Services by name.
    pub services: IndexMap<ComponentName, PlannedService>,
    /// Named builders.
    pub builders: IndexMap<String, BuilderSpec>,
    /// Every Dockerfile-like file that discovery found and what it is.
    pub finds: Vec<Find>,
    /// The variables of the project, their origins and their uses.
    pub vars: Vec<PlannedVariable>,
    /// What of the command line narrowed this plan, if anything did.
    pub subset: Subset,
    /// What is no part of this matrix, but would be if it were named: targets outside a bake file's `default`.
    pub unselected: Vec<Unselected>,
    /// What the files say that does not come to pass here.
    pub warnings: Vec<Warning>,
}

/// A component that is only built when it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unselected {
    /// Its name.
    pub name: ComponentName,
    /// What its index is published as, as in [`Component::references`].
    pub references: Vec<Reference>,
}

/// What narrowed a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subset {
    /// `--platform` left platforms out: what is not in `cells` is not judged, nor what [`Plan::is_brought`] says of.
    pub platforms: bool,
    /// Names were given: `Cell::selection` says which cells they mean; `cells` is the whole matrix.
    pub names: bool,
}

/// One component or external.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// Built or mirrored.
    pub kind: ComponentKind,
    /// What its index is published as, one per prefix (or per tag of a bake file). Never empty; the first one is its name
    /// in the layout and in bundles.
    pub references: Vec<Reference>,
    /// Whether `references` say where to push: there was a prefix, or they were written whole.
    pub addressed: bool,
    /// Whether it is only built from: a target without tags of its own that is the context of others. Nothing publishes it.
    pub intermediate: bool,
    /// The repository of the first of `references` below its prefix: what stays where another prefix takes its place.
    pub path: String,
    /// The Dockerfile, relative to the project's root where it is below it. None where its text is in the project file, or it
    /// is [fetched](Component::fetched).
    pub dockerfile: Option<PathBuf>,
    /// Where its Dockerfile is that the builder fetches with the context: the URL without credentials, and the path in it. What such a file says is
    /// not known here: bases, and whether it is made from other components but as `needs` and `contexts` say.
    pub fetched: Option<(String, String)>,
    /// Its platforms in this plan, sorted.
    pub platforms: Vec<Platform>,
    /// Globs of the programs for other processors that are in its image on purpose.
    pub foreign: Vec<String>,
    /// The declared reason, if it is left out.
    pub excluded: Option<String>,
    /// 1 for what needs no other component, else one more than the latest that it needs.
    pub phase: usize,
    /// Images from outside that its Dockerfile starts from or copies from, each once, as written after expansion.
    pub bases: Vec<String>,
    /// The components it waits for and why.
    pub needs: Vec<Need>,
    /// Annotations of its index.
    pub annotations: BTreeMap<String, String>,
    /// Where it is declared.
    pub span: Option<Span>,
}

/// Built or mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentKind {
    /// Made from a Dockerfile.
    Built,
    /// A third-party image that is mirrored.
    External,
}

/// A component that another one waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The other component.
    pub name: ComponentName,
    /// Whether it runs meanwhile.
    pub service: bool,
    /// Why.
    pub reason: NeedReason,
}

/// Why a component waits for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NeedReason {
    /// `needs` says so.
    Declared,
    /// `contexts.NAME = "component:…"`.
    Context(String),
    /// A `FROM`, `COPY --from` or mount of its Dockerfile names the other's image, as written here.
    Inferred(String),
}

/// A service and the cell it runs from.
#[derive(Debug, Clone)]
pub struct PlannedService {
    /// The cell; of the host's platform where the component has it and nothing else is asked for.
    pub cell: CellId,
    /// For cells of these platforms another one: a builder of the project takes them, whose own platform is not the host's.
    pub elsewhere: BTreeMap<Platform, CellId>,
    /// Whether each cell gets the service of its own platform instead.
    pub same_platform: bool,
    /// The port it listens on.
    pub port: Option<ServicePort>,
    /// How to tell that it is up.
    pub ready: Option<Readiness>,
    /// What runs, in place of the image's own command.
    pub command: Option<Vec<String>>,
    /// Its environment, on top of the image's.
    pub env: IndexMap<String, String>,
    /// Files that are put into its container: absolute path there, file here.
    pub files: IndexMap<String, PathBuf>,
    /// Further host names that it is known by.
    pub hosts: Vec<String>,
    /// Services that it needs itself; each is known and stands before it in [`Plan::services`].
    pub needs: Vec<ComponentName>,
    /// Time between two looks at whether it is up.
    pub interval: Duration,
    /// How long it may take to be up.
    pub timeout: Duration,
}

impl PlannedService {
    /// The cell that it runs from for a cell of `platform`.
    pub fn cell_for(&self, platform: &Platform) -> CellId {
        if self.same_platform {
            return CellId::new(self.cell.component.clone(), platform.clone());
        }
        self.elsewhere.get(platform).unwrap_or(&self.cell).clone()
    }
}

/// One cell of the matrix.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Which.
    pub id: CellId,
    /// The cells it waits for. All of them are earlier in [`Plan::cells`], none of them is excluded.
    pub needs: Vec<CellId>,
    /// The services (of [`Plan::services`]) that run while it is built; their cells are in `needs` too.
    pub services: Vec<ComponentName>,
    /// What brings it about.
    pub work: CellWork,
    /// Whether the names on the command line mean it.
    pub selection: Selection,
}

/// Whether the names on a command line mean a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selection {
    /// Not asked for, and nothing that was asked for needs it.
    Unselected,
    /// Needed by a cell that was asked for.
    Required,
    /// Asked for, by name or because no name was given.
    Selected,
}

/// What brings a cell about.
#[derive(Debug, Clone)]
pub enum CellWork {
    /// An engine builds it.
    Build(Box<CellBuild>),
    /// It is copied from a registry.
    Mirror(Reference),
    /// It is left out, for this declared reason.
    Excluded(String),
}

/// Everything about a cell that an engine has to know, and that needs no I/O to find out.
#[derive(Debug, Clone)]
pub struct CellBuild {
    /// The main context.
    pub context: ContextSource,
    /// The Dockerfile's path. For a rendered template the path of the template: see `rendered`.
    pub dockerfile: PathBuf,
    /// Text to build from in place of the file's: a rendered template or an inline Dockerfile. Whoever runs the plan
    /// writes it to a content-addressed place in the state directory.
    pub rendered: Option<Arc<str>>,
    /// The Dockerfile's path in the main context, where the builder fetches both; then `dockerfile` and `rendered` say nothing.
    pub fetched: Option<String>,
    /// Files that the builder finds in the cell's directories in place of their templates.
    pub templates: Vec<Arc<RenderedTemplate>>,
    /// The stage to build.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Image labels.
    pub labels: BTreeMap<String, String>,
    /// Named contexts, declared and inferred.
    pub contexts: Vec<PlannedContext>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSpec>,
    /// Ssh agents by id; without a socket `SSH_AUTH_SOCK` is meant.
    pub ssh: BTreeMap<String, Option<PathBuf>>,
    /// Extra `/etc/hosts` entries, (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Ignore the builder's cache.
    pub no_cache: bool,
    /// What else the builder is asked for.
    pub options: SolveOptions,
    /// Annotations of this image's entry in its index.
    pub entry_annotations: BTreeMap<String, String>,
    /// The platforms on which a RUN of this build executes, with the line of the first one. Stages of the builder's own
    /// platform (`--platform=$BUILDPLATFORM`) are not counted: empty means that no emulator is ever needed.
    pub executes: Vec<(Platform, Span)>,
    /// The image that this one stands on, by the name that the Dockerfile has for it, and how many layers the Dockerfile puts on
    /// that at most. Nothing where it stands on none, or another frontend reads the file.
    pub stands_on: Option<(String, usize)>,
    /// Images that the builder pulls from outside for this cell.
    pub bases: Vec<Base>,
    /// The image that reads the Dockerfile, where a `# syntax=` line or the argument `BUILDKIT_SYNTAX` names one. It runs on
    /// the builder, for the builder's own platform.
    pub frontend: Option<Base>,
    /// The cells that stages of the builder's own platform take, with the line: planned for a builder whose platform is
    /// that of these cells, and wrong on any other.
    pub native: Vec<(CellId, Span)>,
}

/// A template file with its names filled in. Whoever runs the plan writes the text to a content-addressed place in the state
/// directory and lets the builder find it beside the template, under its name without `.tpl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedTemplate {
    /// The template.
    pub path: PathBuf,
    /// What it is rendered to.
    pub text: String,
    /// The variables that it uses.
    pub variables: BTreeSet<String>,
}

/// An image from outside that a cell needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// As written, after expansion.
    pub reference: Reference,
    /// For which platform; none: for the builder's own.
    pub platform: Option<Platform>,
    /// Where.
    pub span: Span,
    /// Whether a stage of the Dockerfile has the same name: a named context for it would take the stage's place too.
    pub names_stage: bool,
    /// The name that the Dockerfile has for it, where that is a named context (`docker-image://…`).
    pub context: Option<String>,
}

/// A named context of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedContext {
    /// The name, as the Dockerfile has it.
    pub name: String,
    /// What it stands for.
    pub source: ContextSource,
}

/// Where a context comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// Another cell's result, by digest.
    Cell(CellId),
    /// A directory.
    Directory(PathBuf),
    /// A URL for the builder.
    Remote(String),
}

impl Plan {
    /// The component of this name.
    pub fn component(&self, name: &ComponentName) -> Option<&Component> {
        self.components.iter().find(|component| component.name == *name)
    }

    /// The cell of this id.
    pub fn cell(&self, id: &CellId) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.id == *id)
    }

    /// The cells that count: all but the excluded ones, and those that are only [brought along](Plan::is_brought).
    pub fn expected(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.is_excluded() && !self.is_brought(&cell.id))
    }

    /// Whether `--platform` left a cell out and it is in this plan all the same: a service runs from it that other cells
    /// need, or it is needed by such a one. It is built, and is no part of what the command is about.
    pub fn is_brought(&self, cell: &CellId) -> bool {
        self.subset.platforms && !self.platforms.contains(&cell.platform)
    }

    /// The cells that are [brought along](Plan::is_brought).
    pub fn brought(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| !cell.is_excluded() && self.is_brought(&cell.id))
    }
}

impl Cell {
    /// Whether it is left out.
    pub fn is_excluded(&self) -> bool {
        matches!(self.work, CellWork::Excluded(_))
    }

    /// What to build, where it is built.
    pub fn build(&self) -> Option<&CellBuild> {
        match &self.work {
            CellWork::Build(build) => Some(build),
            CellWork::Mirror(_) | CellWork::Excluded(_) => None,
        }
    }
}

impl Plan {
    /// That all selected components say where they go; else it is a configuration error, known before anything is contacted.
    pub fn require_registries(&self) -> Result<(), super::PlanError> {
        let selected = |component: &&Component| {
            let cells = self.cells.iter().filter(|cell| cell.id.component == component.name);
            component.excluded.is_none() && cells.into_iter().any(|cell| cell.selection == Selection::Selected)
        };
        let (addressed, open): (Vec<_>, Vec<_>) =
            self.components.iter().filter(selected).partition(|component| component.addressed);
        let own = open.iter().find(|component| !component.intermediate);
        let lacking = own.or_else(|| open.first().filter(|_| addressed.is_empty()));
        match lacking {
            None => Ok(()),
            Some(component) => {
                let (component, file) = (component.name.clone(), self.file.clone());
                Err(super::PlanProblem::NoRegistry { component, alone: addressed.is_empty(), file }.into())
            }
        }
    }
}
