use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::prefetch::stored_image;
use super::wanted::is_local;
use super::{Bases, RunError};
use crate::base::{Descriptor, Digest, Platform, Reference, shown_url};
use crate::engine::NamedContext;
use crate::plan::{Base, Cell, CellBuild, CellWork, ContextSource, Plan};
use crate::store::Layout;

/// What cells take from outside in one run: by which digests, and what of it the layout has.
///
/// What the layout has is served to builders from there, so that they need no registry; everything else is pinned, and the
/// builder pulls it.
#[derive(Debug, Default)]
pub(super) struct Outside {
    bases: Bases,
    /// The manifests that the layout has with everything they refer to, by full reference and platform.
    stored: HashMap<(String, Platform), Descriptor>,
    /// Whether nothing may be pulled.
    offline: bool,
}

/// What of it one request is told.
#[derive(Debug, Default)]
pub(super) struct FromOutside {
    /// Images of the layout, under the names that the Dockerfile has for them.
    pub(super) contexts: Vec<NamedContext>,
    /// What the builder pulls must be.
    pub(super) pins: Vec<(Reference, Digest)>,
    /// The builder's own frontend stands in for the one that the Dockerfile names.
    pub(super) own_frontend: bool,
}

impl Outside {
    /// Looks what of the bases of `cells` the layout has; each cell with its builder's own platform. Blocks.
    pub(super) fn look<'a>(
        bases: Bases,
        layout: &Layout,
        cells: impl Iterator<Item = (&'a CellBuild, Platform)>,
        offline: bool,
    ) -> Result<Self, RunError> {
        let mut looked: HashMap<(String, Platform), Option<Descriptor>> = HashMap::new();
        for (build, native) in cells {
            for base in build.frontend.iter().chain(&build.bases) {
                let platform = base.platform.as_ref().unwrap_or(&native).clone();
                let (Some(root), key) = (bases.root_of(&base.reference), (base.reference.familiar(), platform)) else {
                    continue;
                };
                if let Entry::Vacant(entry) = looked.entry(key) {
                    let found = stored_image(layout, &root, &entry.key().1)?;
                    if let Some(found) = &found {
                        bases.check(&base.reference, &entry.key().1, &found.digest)?;
                    }
                    entry.insert(found);
                }
            }
        }
        let stored = looked.into_iter().filter_map(|(key, found)| Some((key, found?))).collect();
        Ok(Self { bases, stored, offline })
    }

    /// Only known, nothing looked for.
    pub(super) fn known(bases: Bases) -> Self {
        Self { bases, ..Self::default() }
    }

    /// By which digests.
    pub(super) fn bases(&self) -> &Bases {
        &self.bases
    }

    fn stored(&self, base: &Base, native: &Platform) -> Option<&Descriptor> {
        // A context of this name would replace the stage of the same name, with everything in it.
        let platform = base.platform.as_ref().unwrap_or(native).clone();
        self.stored.get(&(base.reference.familiar(), platform)).filter(|_| !base.names_stage)
    }

    /// What the request for `build` is told, on a builder of platform `native`.
    pub(super) fn of_cell(&self, build: &CellBuild, native: &Platform) -> FromOutside {
        let mut found = FromOutside::default();
        for base in build.frontend.iter().chain(&build.bases) {
            if let Some(manifest) = self.stored(base, native) {
                let platform = base.platform.as_ref().unwrap_or(native).clone();
                let name = base.context.clone().unwrap_or_else(|| base.reference.to_string());
                let context = NamedContext::Image { name, platform, descriptor: Box::new(manifest.clone()) };
                if !found.contexts.contains(&context) {
                    found.contexts.push(context);
                }
            }
            // Also of what is served: a second try may be on a builder of another platform, for which it is not.
            if let Some(root) = self.bases.root_of(&base.reference) {
                let pin = (base.reference.clone(), root);
                if !found.pins.contains(&pin) {
                    found.pins.push(pin);
                }
            }
        }
        found.own_frontend = build.frontend.as_ref().is_some_and(|base| self.is_stood_in_for(base, native));
        found
    }

    /// Whether the builder's own frontend does the work of the one that is named: without a network, for Docker's stable
    /// one, which daemons have inside. Another language, or a channel with features of its own, has no such stand-in. Nor
    /// has one that is known by its digest: that says which frontend makes the image, and another one may make another.
    fn is_stood_in_for(&self, frontend: &Base, native: &Platform) -> bool {
        let repository = frontend.reference.repository();
        let docker = repository.host() == "docker.io" && repository.remote_path() == "docker/dockerfile";
        let stable = frontend.reference.tag().is_none_or(|tag| {
            let tag = tag.as_str();
            tag == "latest" || (tag.starts_with('1') && !tag.contains("labs") && !tag.contains("experimental"))
        });
        let exact = self.bases.root_of(&frontend.reference).is_some();
        self.offline && docker && stable && !exact && self.stored(frontend, native).is_none()
    }

    /// The frontends of `cells` that the builder's own stands in for.
    pub(super) fn stood_in_for<'a>(
        &self,
        cells: impl Iterator<Item = (&'a CellBuild, Platform)>,
    ) -> Vec<&'a Reference> {
        let mut all: Vec<&Reference> = cells
            .filter_map(|(build, native)| build.frontend.as_ref().filter(|base| self.is_stood_in_for(base, &native)))
            .map(|base| &base.reference)
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// Everything that keeps `cells` from being made without a network, each finding once.
    pub(super) fn missing(
        &self,
        plan: &Plan,
        layout: &Layout,
        cells: &[(&Cell, Platform)],
    ) -> Result<Vec<RunError>, RunError> {
        let mut found: Vec<RunError> = Vec::new();
        let mut add = |error: RunError| {
            if !found.iter().any(|known| known.to_string() == error.to_string()) {
                found.push(error);
            }
        };
        for (cell, native) in cells {
            match &cell.work {
                CellWork::Build(build) => {
                    let frontend = build.frontend.iter().filter(|base| !self.is_stood_in_for(base, native));
                    let roles = frontend.map(|base| (base, "read by the frontend"));
                    for (base, role) in roles.chain(build.bases.iter().map(|base| (base, "made from"))) {
                        if self.stored(base, native).is_none() {
                            add(self.not_here(cell, base, role, native));
                        }
                    }
                    let contexts = build.contexts.iter().map(|context| &context.source);
                    for source in contexts.chain([&build.context]) {
                        // An image is one of the bases.
                        if let ContextSource::Remote(url) = source
                            && !url.starts_with("docker-image://")
                        {
                            add(remote(cell, url));
                        }
                    }
                }
                CellWork::Mirror(reference) => {
                    let root = self.bases.root_of(reference);
                    let image = root.map(|root| stored_image(layout, &root, &cell.id.platform)).transpose()?.flatten();
                    if image.is_none() {
                        let span = plan.component(&cell.id.component).and_then(|component| component.span.clone());
                        let what = format!("`{reference}` for {} is not in the layout", cell.id);
                        add(RunError::NotHere { what, help: PREFETCH.to_owned(), span });
                    }
                }
                CellWork::Excluded(_) => {}
            }
        }
        Ok(found)
    }

    /// `role` says what the image is to the component.
    fn not_here(&self, cell: &Cell, base: &Base, role: &str, native: &Platform) -> RunError {
        let platform = base.platform.as_ref().unwrap_or(native);
        let (component, reference) = (&cell.id.component, &base.reference);
        let (what, help) = if is_local(reference) {
            let what = format!("`{component}` is {role} `{reference}`, a name that only the builder may know");
            (what, "name the image's registry, or the component that makes it".to_owned())
        } else if base.names_stage && self.stored.contains_key(&(reference.familiar(), platform.clone())) {
            let what = format!("`{component}` has a stage of the name of its base `{reference}`");
            (what, "give the stage another name: the base cannot be served from the layout under the same".to_owned())
        } else {
            let what = format!("`{component}` is {role} `{reference}` for {platform}, which is not in the layout");
            (what, PREFETCH.to_owned())
        };
        RunError::NotHere { what, help, span: Some(base.span.clone()) }
    }
}

const PREFETCH: &str = "run `catamaran prefetch` where there is a network";

fn remote(cell: &Cell, url: &str) -> RunError {
    RunError::NotHere {
        what: format!(
            "`{}` takes a context from `{}`, which the builder would fetch",
            cell.id.component,
            shown_url(url)
        ),
        help: "build without `--offline`, or take the context from a directory".to_owned(),
        span: None,
    }
}
