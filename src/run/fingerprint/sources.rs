use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::{Contents, Ignores};
use super::hashes::settled_before;
use super::reads::IGNORE_FILE;
use super::{Fingerprint, Input, InputKind, Read};
use crate::base::{CellId, ComponentName, Descriptor, Digest, NetworkMode, SolveOptions};
use crate::config::{is_pinned, is_remote};
use crate::engine::buildkit::SETTINGS;
use crate::engine::{ContextReads, RenderedFile};
use crate::plan::{Base, Cell, CellBuild, ContextSource, Plan, RenderedTemplate};
use crate::run::cell::{always_excluded, ignore_candidates};
use crate::run::templates::{is_rendered, rendered_files};
use crate::run::{Bases, StateDir, services};

/// Where the inputs of one cell come from, and those that are known without looking at any context.
#[derive(Debug)]
pub(in crate::run) struct Sources {
    /// Everything but files of contexts and images of other cells.
    pub(super) own: Vec<Input>,
    /// Images of other cells, each with the name that it is used by.
    images: Vec<(InputKind, String, CellId)>,
    /// Directories that the builder may read, the main context first.
    directories: Vec<Directory>,
    /// The Dockerfile, where it is built from as it lies there, and what it was when it was looked at.
    dockerfile: Option<(PathBuf, Digest)>,
    /// Files that the builder gets rendered, where they are written to, and what they were rendered to.
    templates: Vec<Arc<RenderedTemplate>>,
    state: StateDir,
    /// Files beside the Dockerfile that come before the context's ignore file.
    ignore: Vec<PathBuf>,
}

/// A directory of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    /// The named context; nothing for the main one.
    pub(super) context: Option<String>,
    pub(super) path: PathBuf,
    pub(super) excluded: Vec<PathBuf>,
    /// Files that the builder finds in it although they lie elsewhere.
    pub(super) rendered: Vec<RenderedFile>,
}

impl Sources {
    /// Those of `cell`. An error in words where its Dockerfile cannot be read.
    pub(in crate::run) fn new(
        plan: &Plan,
        cell: &Cell,
        build: &CellBuild,
        state: &StateDir,
        bases: &Bases,
    ) -> Result<Self, String> {
        let mut own = settings(plan, build);
        let declared = |name: &ComponentName| {
            let digest = services::declared(plan.services.get(name)?);
            Some(Input { kind: InputKind::ServiceSettings, name: name.to_string(), digest })
        };
        own.extend(cell.services.iter().filter_map(declared));
        let name = build.fetched.clone().unwrap_or_else(|| shown(&build.dockerfile, &plan.root));
        let text = match (&build.fetched, &build.rendered) {
            // It is a part of the context, which is an input of its own.
            (Some(_), _) => Digest::of(""),
            (None, Some(text)) => Digest::of(text.as_bytes()),
            (None, None) => {
                dockerfile_digest(&build.dockerfile).map_err(|error| format!("cannot read `{name}`: {error}"))?
            }
        };
        own.push(Input { kind: InputKind::Dockerfile, name, digest: text });
        let declared = plan.component(&cell.id.component).map(|component| component.foreign.as_slice());
        own.extend(declared.unwrap_or_default().iter().map(|path| Input::new(InputKind::Foreign, path, "")));
        for (base, digest) in bases.of_cell(build) {
            let mut name = base.reference.to_string();
            if base.platform.as_ref() != Some(&cell.id.platform) {
                let platform = base.platform.as_ref().map_or_else(|| "the builder".to_owned(), ToString::to_string);
                name = format!("{name} for {platform}");
            }
            let digest = digest.unwrap_or_else(|| Digest::of(&name));
            own.push(Input { kind: InputKind::Base, name, digest });
        }
        let main = match &build.context {
            ContextSource::Directory(path) => Some(path.clone()),
            // Never asked for; if it were, it would be this.
            ContextSource::Cell(_) => build.dockerfile.parent().map(Path::to_owned),
            ContextSource::Remote(_) => None,
        };
        let excluded = main.as_deref().map(|path| always_excluded(path, plan, state)).unwrap_or_default();
        let rendered = rendered_files(state, build).map_err(|error| error.to_string())?;
        let mut directories = Vec::new();
        for context in &build.contexts {
            let ContextSource::Directory(path) = &context.source else { continue };
            // The same directory under another name hides the same things.
            let excluded = if main.as_ref() == Some(path) { excluded.clone() } else { Vec::new() };
            directories.push(Directory {
                context: Some(context.name.clone()),
                path: path.clone(),
                excluded,
                rendered: rendered.clone(),
            });
        }
        directories.extend(main.map(|path| Directory { context: None, path, excluded, rendered }));
        Ok(Self {
            own,
            images: images(plan, cell, build),
            directories,
            dockerfile: (build.rendered.is_none() && build.fetched.is_none()).then(|| (build.dockerfile.clone(), text)),
            templates: build.templates.clone(),
            state: state.clone(),
            ignore: if build.fetched.is_some() { Vec::new() } else { ignore_candidates(&build.dockerfile) },
        })
    }

    pub(super) fn directory(&self, context: Option<&str>) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.context.as_deref() == context)
    }

    /// The patterns that are left out of a context (moby/buildkit frontend/dockerui: of the main one by the file beside the
    /// Dockerfile, if there is one).
    pub(super) fn excludes(&self, context: Option<&str>, ignores: &Ignores) -> Arc<[String]> {
        let beside = || self.ignore.iter().find_map(|path| ignores.patterns(path));
        let inside = || ignores.patterns(&self.directory(context)?.path.join(IGNORE_FILE));
        let patterns = if context.is_none() { beside().or_else(inside) } else { inside() };
        patterns.unwrap_or_default()
    }

    /// The cells whose images it is made from.
    pub(super) fn needs(&self) -> impl Iterator<Item = &CellId> {
        self.images.iter().map(|(_, _, cell)| cell)
    }

    /// The inputs that are images of other cells, as far as these are known.
    pub(super) fn image_inputs(&self, image: impl Fn(&CellId) -> Option<Digest>) -> Vec<Input> {
        let input = |(kind, name, cell): &(InputKind, String, CellId)| {
            Some(Input { kind: *kind, name: name.clone(), digest: image(cell)? })
        };
        self.images.iter().filter_map(input).collect()
    }

    /// Whether the other cells' images are those that `fingerprint` was made from.
    pub(in crate::run) fn has_images_of(
        &self,
        fingerprint: &Fingerprint,
        results: &BTreeMap<CellId, Descriptor>,
    ) -> bool {
        let mut now = self.image_inputs(|cell| results.get(cell).map(|image| image.digest));
        now.sort();
        now.dedup();
        let is_image = |input: &&Input| matches!(input.kind, InputKind::Component | InputKind::Service);
        now.iter().eq(fingerprint.inputs.iter().filter(is_image))
    }

    /// The fingerprint of an image that was just built, with what the builder said that it read.
    ///
    /// Files are looked at only now, since only now is it known which: none of them may have changed since the builder began
    /// to read. The other order would be worse: files that are looked at before can be others when they are read.
    pub(in crate::run) fn of_build(
        &self,
        contents: &Contents,
        reads: &ContextReads,
        results: &BTreeMap<CellId, Descriptor>,
    ) -> Fingerprint {
        let mut inputs = self.own.clone();
        inputs.extend(self.image_inputs(|cell| results.get(cell).map(|image| image.digest)));
        let ignores = Ignores::default();
        let whole = self.directories.iter().map(|directory| directory.context.as_deref());
        let found = Read::of_build(reads, whole, |context| self.excludes(context, &ignores).to_vec());
        let settled = settled_before(reads.since);
        let (reads, mut unsettled) = match found {
            Ok(reads) => (reads, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        for read in &reads {
            let Some(directory) = self.directory(read.context.as_deref()) else { continue };
            let excludes = self.excludes(read.context.as_deref(), &ignores);
            for (name, selection) in read.parts(&excludes) {
                match contents.list(&directory.path, &directory.excluded, &directory.rendered, &selection) {
                    Ok((listing, newest)) => {
                        if newest >= settled {
                            unsettled = Some(format!("files of `{name}` changed while it was built"));
                        }
                        listing.keep(&contents.listings);
                        inputs.push(Input { kind: InputKind::Files, name, digest: listing.digest() });
                    }
                    Err(reason) => unsettled = Some(reason),
                }
            }
        }
        let dockerfile = self.dockerfile.as_ref().map(|(path, _)| path);
        let texts = dockerfile.into_iter().chain(&self.ignore).map(PathBuf::as_path);
        let main = self.directory(None).map(|directory| directory.path.join(IGNORE_FILE));
        if let Some(path) = texts.chain(main.as_deref()).find(|path| !is_settled(path, settled)) {
            unsettled = Some(format!("`{}` changed while it was built", path.display()));
        }
        // It was looked at before the builder began to read, perhaps long before: services and other cells come first.
        if let Some((path, digest)) = &self.dockerfile
            && dockerfile_digest(path).ok() != Some(*digest)
        {
            unsettled = Some(format!("`{}` changed before it was built", path.display()));
        }
        let rendered = self.directories.iter().flat_map(|directory| &directory.rendered);
        let other = |template: &&Arc<RenderedTemplate>| !is_rendered(&self.state, template, rendered.clone());
        if let (false, Some(template)) = (self.directories.is_empty(), self.templates.iter().find(other)) {
            unsettled = Some(format!("`{}` changed before it was built", template.path.display()));
        }
        Fingerprint::new(inputs, reads, unsettled)
    }
}

/// A Dockerfile over this is none: the builder takes no message of this size.
const DOCKERFILE_LIMIT: u64 = 16 << 20;

fn dockerfile_digest(path: &Path) -> io::Result<Digest> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(DOCKERFILE_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > DOCKERFILE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 16 MiB"));
    }
    Ok(Digest::of(text))
}

/// Whether a file was not changed at or after `settled`; one that is not there was not.
fn is_settled(path: &Path, settled: i64) -> bool {
    fs::metadata(path).map_or(true, |found| {
        let rest = if found.ctime_nsec() == 0 { 999_999_999 } else { found.ctime_nsec() };
        found.ctime().saturating_mul(1_000_000_000).saturating_add(rest) < settled
    })
}

/// What else a request asks for, as far as it can change the image: caches only make it faster. What forbids reuse altogether
/// is [`always`]'s to say.
fn options(options: &SolveOptions) -> Vec<Input> {
    // In full, so that whoever adds a field decides what it means here.
    let SolveOptions {
        network,
        entitlements,
        shm_bytes,
        ulimits,
        cgroup_parent,
        resources,
        no_cache_stages: _,
        pull: _,
        cache_from: _,
        cache_to: _,
        attestations,
        annotations,
    } = options;
    let input = |name: String, value: &str| Input::new(InputKind::Option, name, value);
    let network = (*network != NetworkMode::Default).then(|| input("network".to_owned(), &format!("{network:?}")));
    let mut found: Vec<Input> = network.into_iter().collect();
    found.extend(entitlements.iter().map(|name| input(format!("entitlement {name}"), "")));
    found.extend(shm_bytes.iter().map(|bytes| input("shm-size".to_owned(), &bytes.to_string())));
    found.extend(ulimits.iter().map(|limit| input(format!("ulimit {limit}"), "")));
    found.extend(cgroup_parent.iter().map(|parent| input("cgroup-parent".to_owned(), parent)));
    found.extend(resources.iter().map(|(name, value)| input(name.clone(), value)));
    found.extend(attestations.iter().map(|(kind, value)| input(format!("attestation {kind}"), value)));
    found.extend(annotations.iter().map(|(name, value)| input(format!("annotation {name}"), value)));
    found
}

/// Why a component is built every time, if it asks for that: what it makes depends on more than can be looked at.
pub(super) fn always(build: &CellBuild) -> Option<&'static str> {
    if build.no_cache || !build.options.no_cache_stages.is_empty() {
        return Some("its component says `no-cache`");
    }
    // A base that is named by its digest cannot move. What those of a Dockerfile are that is fetched is not known.
    let moves = |base: &Base| base.reference.digest().is_none();
    if build.options.pull && (build.fetched.is_some() || build.bases.iter().any(moves)) {
        return Some("its component says `pull`");
    }
    let sources = build.contexts.iter().map(|context| &context.source).chain([&build.context]);
    let mut urls = sources.filter_map(|source| match source {
        ContextSource::Remote(url) => Some(url),
        ContextSource::Directory(_) | ContextSource::Cell(_) => None,
    });
    // (Images and layouts among them are bases.)
    urls.any(|url| is_remote(url) && !is_pinned(url))
        .then_some("it has a context by URL, without a commit: what is there now is not known")
}

/// What a request says beside its files and images.
fn settings(plan: &Plan, build: &CellBuild) -> Vec<Input> {
    let mut own = vec![Input::new(InputKind::Engine, "buildkit", SETTINGS)];
    own.extend(build.target.iter().map(|target| Input::new(InputKind::Target, "", target)));
    own.extend(plan.epoch.iter().map(|epoch| Input::new(InputKind::Epoch, "", epoch.seconds().to_string())));
    own.extend(build.args.iter().map(|(name, value)| Input::new(InputKind::Arg, name, value)));
    own.extend(options(&build.options));
    own.extend(build.labels.iter().map(|(name, value)| Input::new(InputKind::Label, name, value)));
    own.extend(build.extra_hosts.iter().map(|(name, value)| Input::new(InputKind::Host, name, value)));
    own.extend(build.secrets.keys().map(|id| Input::new(InputKind::Secret, id, "")));
    own.extend(build.ssh.keys().map(|id| Input::new(InputKind::Ssh, id, "")));
    if let ContextSource::Remote(url) = &build.context {
        own.push(Input::new(InputKind::Context, "the main one", url));
    }
    let named = build.contexts.iter().filter_map(|context| match &context.source {
        ContextSource::Remote(url) => Some(Input::new(InputKind::Context, &context.name, url)),
        // Its files are inputs of their own, where the builder reads any. That there is one counts in any case: it takes the
        // place of a stage or an image of its name.
        ContextSource::Directory(_) => Some(Input::new(InputKind::Context, &context.name, "directory")),
        ContextSource::Cell(_) => None,
    });
    own.extend(named);
    own
}

/// The images of other cells that a cell is made from: what each is to it, the name of that input, and the cell.
pub(in crate::run) fn images(plan: &Plan, cell: &Cell, build: &CellBuild) -> Vec<(InputKind, String, CellId)> {
    let named = build.contexts.iter().map(|context| (context.name.as_str(), &context.source));
    let contexts = named.chain([("the main context", &build.context)]).filter_map(|(name, source)| match source {
        ContextSource::Cell(other) => {
            // What it is used as tells two that have changed places.
            let plain = name == other.component.as_str() && other.platform == cell.id.platform;
            let name = if plain { other.to_string() } else { format!("{other} as {name}") };
            Some((InputKind::Component, name, other.clone()))
        }
        ContextSource::Directory(_) | ContextSource::Remote(_) => None,
    });
    let service = |name: &ComponentName| {
        Some((InputKind::Service, name.to_string(), plan.services.get(name)?.cell_for(&cell.id.platform)))
    };
    contexts.chain(cell.services.iter().filter_map(service)).collect()
}

/// A path for people: below the project, relative to it.
fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
