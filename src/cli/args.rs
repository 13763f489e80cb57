#![expect(clippy::doc_markdown, reason = "these comments are what `--help` shows")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::exit;
use crate::base::{ComponentName, Prefix};
use crate::plan::Selector;
use crate::run::{Place, Rename};

/// Builds every image of a repository for every platform, proves that none is missing, and publishes them as one release.
#[derive(Debug, Parser)]
#[command(
    name = "catamaran",
    version,
    about = "Builds every image of a repository for every platform, proves that none is missing,\nand publishes or bundles them as one release.",
    after_help = after_help(),
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(super) struct Arguments {
    /// What all commands take.
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

fn after_help() -> String {
    format!(
        "Examples:
  catamaran plan                       what would be built, and why in this order
  catamaran build                      every component for every platform
  catamaran build web 'job-*/arm64'    one component, and some cells
  catamaran build --push               and publish, if nothing is missing
  catamaran status                     what is there; needs no builder

{}",
        exit::TABLE
    )
}

/// What all commands take.
#[derive(Debug, Args)]
pub(super) struct GlobalArgs {
    /// Start in this directory.
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub(super) directory: Option<PathBuf>,
    /// Read this project file instead of looking for catamaran.toml [repeatable].
    #[arg(short = 'f', long = "file", value_name = "FILE", global = true)]
    pub(super) files: Vec<PathBuf>,
    /// Keep layout, logs and records here instead of in .catamaran beside the project file.
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) state: Option<PathBuf>,
    /// Set a variable of [vars], over everything else; with a bake file also TARGET.KEY=VALUE [repeatable].
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, global = true)]
    pub(super) set: Vec<Setting>,
    /// Say more.
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
    /// Print one JSON document on stdout.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Trust the certificate authorities in this PEM file too (as SSL_CERT_FILE does) [repeatable].
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) ca: Vec<PathBuf>,
    /// Speak plain HTTP with this registry host; loopback hosts need no mention [repeatable].
    #[arg(long, value_name = "HOST", global = true)]
    pub(super) plain_http: Vec<String>,
    /// Move no more than so many bytes of blobs per second to and from one registry: 500K, 20M, 1G; at least 64K.
    #[arg(long, value_name = "BYTES", value_parser = rate, global = true)]
    pub(super) rate: Option<u64>,
    /// Programs for another processor at these paths of images are there on purpose, as `foreign` in catamaran.toml says;
    /// with NAME= only those of one component [repeatable].
    #[arg(long, value_name = "[NAME=]GLOB", value_parser = foreign, global = true)]
    pub(super) foreign: Vec<(Option<ComponentName>, String)>,
}

/// `20M`: bytes, with the letters that stand for powers of 1024. Less than what an upload has to show of progress while
/// others share the rate would only be cut off again and again.
fn rate(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64 << 10;
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    let (number, shift) = match bare.char_indices().last() {
        Some((at, 'K')) => (&bare[..at], 10),
        Some((at, 'M')) => (&bare[..at], 20),
        Some((at, 'G')) => (&bare[..at], 30),
        _ => (bare, 0),
    };
    let number: u64 = number.trim().parse().map_err(|_| format!("`{text}` is no number of bytes such as 20M"))?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is more than anything moves"))?;
    if bytes < LEAST { Err(format!("`{text}` is less than 64K a second")) } else { Ok(bytes) }
}

/// `[NAME=]GLOB`. What would be every file is no exception but the end of the check.
fn foreign(text: &str) -> Result<(Option<ComponentName>, String), String> {
    let (name, glob) = match text.split_once('=') {
        Some((name, glob)) => (Some(name.parse().map_err(|_| format!("`{name}` is no name of a component"))?), glob),
        None => (None, text),
    };
    if glob.chars().all(|c| matches!(c, '*' | '/' | '?')) {
        return Err(format!("`{glob}` is every file: name the programs, as in `usr/bin/qemu-*-static`"));
    }
    Ok((name, glob.to_owned()))
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write catamaran.toml from the Dockerfiles that are found, and say what was left out.
    Init,
    /// Build cells, join them into indexes, and show the whole matrix.
    Build(BuildArgs),
    /// Show the matrix: every component found, its place in the order, and what is left out.
    Plan(PlanArgs),
    /// Find out before the first solve what would fail: builders, emulators, disk.
    Check(CheckArgs),
    /// Resolve everything that comes from outside to digests, and write catamaran.lock.
    Lock(LockArgs),
    /// Bring everything that comes from outside into the layout.
    Prefetch(PrefetchArgs),
    /// Tell which cells a build would build, and what changed since they were built last; builds nothing.
    Why(WhyArgs),
    /// Compare the matrix with what is there; needs no builder.
    Status(SelectArgs),
    /// Prove that every blob is whole and of the right platform, in the layout or in a bundle.
    Verify(VerifyArgs),
    /// Publish the release: blobs and manifests everywhere first, tags last.
    Push(PushArgs),
    /// Write the release into one file.
    Export(ExportArgs),
    /// Publish what a bundle holds, proven whole before the first byte is sent.
    Import(ImportArgs),
    /// Copy an image with all its platforms, or some: registries, layouts, exported files.
    Copy(CopyArgs),
    /// Show the full log of a cell's last build.
    Logs(LogsArgs),
    /// Write one page about the last build: the matrix, a time line, sizes and failures.
    Report(ReportArgs),
    /// Tell other programs what is there: digests, sizes, times, builders and sources, as JSON.
    Metadata(SelectArgs),
    /// Explain a known failure by the id that stands behind its `why`.
    Explain(ExplainArgs),
    /// Print the JSON schema of catamaran.toml, for editors.
    Schema,
}

impl Command {
    /// Whether nothing is left half done wherever it is stopped.
    pub(super) const fn only_reads(&self) -> bool {
        matches!(self, Self::Plan(_) | Self::Why(_) | Self::Explain(_) | Self::Schema)
    }

    /// Whether stderr is to be a stream of events for a program.
    pub(super) fn streams(&self) -> bool {
        let progress = match self {
            Self::Build(args) => &args.progress,
            Self::Prefetch(args) => &args.progress,
            Self::Push(args) => &args.progress,
            Self::Export(args) => &args.progress,
            Self::Import(args) => &args.progress,
            Self::Copy(args) => &args.progress,
            Self::Init
            | Self::Plan(_)
            | Self::Check(_)
            | Self::Lock(_)
            | Self::Why(_)
            | Self::Status(_)
            | Self::Verify(_)
            | Self::Logs(_)
            | Self::Report(_)
            | Self::Metadata(_)
            | Self::Explain(_)
            | Self::Schema => return false,
        };
        progress.progress == ProgressKind::Json
    }
}

/// Which cells.
#[derive(Debug, Args)]
pub(super) struct SelectArgs {
    /// NAME, NAME/PLATFORM or a glob; everything if none is given.
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<Selector>,
    /// Only these platforms; what comes of it is a subset [repeatable, or separated by commas].
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub(super) platform: Option<Vec<String>>,
}

/// Which cells to build although nothing changed.
#[derive(Debug, Args)]
pub(super) struct ForceArgs {
    /// Build what is selected even if nothing changed; with =NAME only these, NAME/PLATFORM or a glob [repeatable].
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        action = clap::ArgAction::Append
    )]
    pub(super) force: Vec<Selector>,
}

/// `why`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran why                        what the next build would build
  catamaran why web/arm64              everything that changed for one cell
  catamaran why --force=base           and what else would follow from building base again")]
pub(super) struct WhyArgs {
    /// Which cells.
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// Which cells to build although nothing changed.
    #[command(flatten)]
    pub(super) force: ForceArgs,
}

/// Where a release goes.
#[derive(Debug, Args)]
pub(super) struct ToArgs {
    /// A registry, with a path if wanted, in place of the project's [repeatable].
    #[arg(long, value_name = "PREFIX", num_args = 1)]
    pub(super) to: Vec<Prefix>,
}

/// How progress is shown.
#[derive(Debug, Args)]
pub(super) struct ProgressArgs {
    /// How progress is shown on stderr.
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(super) progress: ProgressKind,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressKind {
    /// A live view on a terminal, lines elsewhere.
    Auto,
    /// The live view.
    Tty,
    /// Lines.
    Plain,
    /// One JSON object a line.
    Json,
}

/// `build`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran build --jobs 8
  catamaran build --platform arm64
  catamaran build --builder tcp://arm.example.com:1234
  catamaran build --push --to registry.example.com/infra
  catamaran build --export release.tar")]
pub(super) struct BuildArgs {
    /// Which cells.
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// Cells at once; by default about twice the cores of the builder.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Which cells to build although nothing changed.
    #[command(flatten)]
    pub(super) force: ForceArgs,
    /// Stop at the first cell that fails instead of finishing what does not need it.
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Build everything on this builder: unix:///path or tcp://host:port.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) builder: Option<String>,
    /// Connect to nothing but the builder; refuse to start if anything is not there (see `prefetch`).
    #[arg(long, conflicts_with = "push")]
    pub(super) offline: bool,
    /// Publish afterwards, if the whole matrix is there.
    #[arg(long)]
    pub(super) push: bool,
    /// Let builds that ask for it do what builds may usually not: network.host, security.insecure [repeatable].
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(super) allow: Vec<String>,
    /// Write a bundle afterwards, if the whole matrix is there.
    #[arg(long, value_name = "FILE")]
    pub(super) export: Option<PathBuf>,
    /// Write what was built into this file, in the form of `docker buildx bake --metadata-file`.
    #[arg(long, value_name = "FILE")]
    pub(super) metadata_file: Option<PathBuf>,
    /// Where to publish.
    #[command(flatten)]
    pub(super) to: ToArgs,
    /// How progress is shown.
    #[command(flatten)]
    pub(super) progress: ProgressArgs,
}

/// `lock`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran lock                       resolve what the lock does not say yet
  catamaran lock --update alpine:3     resolve this image anew
  catamaran lock --update web          everything that `web` is made from
  catamaran lock --update '*'          everything
  catamaran lock --check               exit with 2 if the lock is not up to date; asks no registry")]
pub(super) struct LockArgs {
    /// Resolve anew what this component, external, image or glob means [repeatable].
    #[arg(long, value_name = "NAME", conflicts_with = "check")]
    pub(super) update: Vec<String>,
    /// Write nothing; exit with 2 if the lock does not say all that the project takes from outside.
    #[arg(long)]
    pub(super) check: bool,
}

/// `prefetch`
#[derive(Debug, Args)]
pub(super) struct PrefetchArgs {
    /// How progress is shown.
    #[command(flatten)]
    pub(super) progress: ProgressArgs,
}

/// `plan`
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Which cells.
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// Where to publish.
    #[command(flatten)]
    pub(super) to: ToArgs,
    /// Print the graph of components instead.
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["vars", "explain", "print", "json"])]
    pub(super) graph: Option<GraphFormat>,
    /// Print the variables instead: value, who set it, what uses it.
    #[arg(long, conflicts_with_all = ["explain", "print", "json"])]
    pub(super) vars: bool,
    /// Print where each setting of this component comes from instead.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["print", "json"])]
    pub(super) explain: Option<String>,
    /// Print bake and compose files resolved, in the form of another tool.
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    pub(super) print: Option<PrintFormat>,
}

/// A view of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// For Graphviz.
    Dot,
    /// For Mermaid.
    Mermaid,
}

/// A form of the resolved project for another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrintFormat {
    /// What `docker buildx bake --print` gives.
    Bake,
}

/// What one `--set` says.
#[derive(Debug, Clone)]
pub(super) enum Setting {
    /// `NAME=VALUE`: a variable.
    Variable(String, String),
    /// `TARGET.KEY[.SUB][+]=VALUE`, or `TARGET.args.NAME` for the value of the environment: bake takes it apart.
    Override(String),
}

fn assignment(text: &str) -> Result<Setting, String> {
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    if name.contains('.') {
        return Ok(Setting::Override(text.to_owned()));
    }
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Setting::Variable(name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// `check`
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Which cells.
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// Where a push would go.
    #[command(flatten)]
    pub(super) to: ToArgs,
    /// The builder that would build everything.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) builder: Option<String>,
}

/// `verify`
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A bundle, or names as elsewhere for a subset of the layout; all of the layout if none is given.
    #[arg(value_name = "FILE|NAME")]
    pub(super) targets: Vec<String>,
    /// Only these platforms of the layout, which proves a subset [repeatable, or separated by commas].
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub(super) platform: Option<Vec<String>>,
    /// Only hash blobs and follow references; do not look into layers for programs of another processor.
    #[arg(long)]
    pub(super) shallow: bool,
}

/// `push`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran push
  catamaran push --to registry.example.com/infra --to mirror.example.com/infra
  catamaran push web                   just this component
  catamaran push web/arm64             and of it just this platform")]
pub(super) struct PushArgs {
    /// Which components.
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// Where to publish.
    #[command(flatten)]
    pub(super) to: ToArgs,
    /// Show what would be sent, mounted and moved, and send nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Ask the registries for everything behind unchanged tags too, even if it was read back within the last hour.
    #[arg(long)]
    pub(super) verify: bool,
    /// How progress is shown.
    #[command(flatten)]
    pub(super) progress: ProgressArgs,
}

/// `export`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran export release.tar
  catamaran export release.tar --allow-missing web/arm64 --allow-missing '*/linux/riscv64'
  catamaran export web.tar web         a subset: just this component")]
pub(super) struct ExportArgs {
    /// The file to write.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Which components.
    #[command(flatten)]
    pub(super) select: SelectArgs,
    /// Write the bundle without these cells, stamped INCOMPLETE: NAME, NAME/PLATFORM or a glob [repeatable].
    #[arg(long, value_name = "NAME/PLATFORM")]
    pub(super) allow_missing: Vec<Selector>,
    /// The registry that the images in it are named for.
    #[command(flatten)]
    pub(super) to: ToArgs,
    /// How progress is shown.
    #[command(flatten)]
    pub(super) progress: ProgressArgs,
}

/// `copy`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran copy alpine:3 registry.example.com/base/alpine:3
  catamaran copy alpine:3 oci:alpine:3 --platform linux/amd64,linux/arm64
  catamaran copy bundle:release.tar:web registry.example.com/web:1.0")]
pub(super) struct CopyArgs {
    /// HOST/REPOSITORY[:TAG], oci:DIR[:NAME], or bundle:FILE[:NAME].
    #[arg(value_name = "SRC")]
    pub(super) source: Place,
    /// The same.
    #[arg(value_name = "DST")]
    pub(super) destination: Place,
    /// Only these platforms, in an index of its own that says which one it is of [repeatable, or separated by commas].
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub(super) platform: Option<Vec<String>>,
    /// What refers to the image as well, such as signatures; from a registry to a registry.
    #[arg(long)]
    pub(super) referrers: bool,
    /// How progress is shown.
    #[command(flatten)]
    pub(super) progress: ProgressArgs,
}

/// `import`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran import release.tar --to registry.example.com/infra
  catamaran import release.tar --to registry.example.com --rename web=tools/web --rename api=api:2.0
  catamaran import release.tar --to registry.example.com --dry-run")]
pub(super) struct ImportArgs {
    /// The bundle.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// A registry, with a path if wanted, below which the images are published [repeatable].
    #[arg(long, value_name = "PREFIX", num_args = 1, required = true)]
    pub(super) to: Vec<Prefix>,
    /// Publish this component, or repository, as this repository, with another tag if wanted [repeatable].
    #[arg(long, value_name = "OLD=NEW[:TAG]")]
    pub(super) rename: Vec<Rename>,
    /// Publish a bundle that is stamped INCOMPLETE too.
    #[arg(long)]
    pub(super) allow_incomplete: bool,
    /// Only hash blobs and follow references before; do not look into layers for programs of another processor.
    #[arg(long)]
    pub(super) shallow: bool,
    /// Show what would be sent, mounted and moved, and send nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How progress is shown.
    #[command(flatten)]
    pub(super) progress: ProgressArgs,
}

/// `report`
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The file to write; `-` is stdout.
    #[arg(short, long, value_name = "FILE", default_value = "catamaran-report.html")]
    pub(super) output: PathBuf,
}

/// `explain`
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The id, such as C101; all are listed if none is given.
    #[arg(value_name = "ID")]
    pub(super) id: Option<String>,
}

/// `logs`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  catamaran logs web/arm64
  catamaran logs 'job-*'
  catamaran logs --failed")]
pub(super) struct LogsArgs {
    /// NAME, NAME/PLATFORM or a glob.
    #[arg(value_name = "NAME", required_unless_present = "failed")]
    pub(super) names: Vec<Selector>,
    /// Only the cells that failed in the last build.
    #[arg(long)]
    pub(super) failed: bool,
}

/// Commands and flags that are promised and that this version does not have.
const PROMISED: &[&str] =
    &["--engine", "--offline", "builder", "diff", "gc", "index", "inspect", "join", "load", "part", "serve"];

/// A refusal in words that fit: what is promised for later is no typing error, and an unknown flag is never meant as a name.
pub(super) fn refused(mut error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return error,
    };
    let named = match error.get(kind) {
        Some(ContextValue::String(name)) => name.split('=').next().unwrap_or_default().to_owned(),
        _ => return error,
    };
    if PROMISED.contains(&named.as_str()) {
        let message = format!("`{named}` is not available in this version\n");
        return clap::Error::raw(ErrorKind::UnknownArgument, message);
    }
    // "to pass it as a value, use `--`" would send people the wrong way: no name begins with a dash.
    error.remove(ContextKind::Suggested);
    error
}
