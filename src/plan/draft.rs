use std::collections::BTreeMap;
use std::sync::Arc;

use super::source::Source;
use super::{Base, Cell, CellBuild, CellWork, ContextSource, PlannedContext, RenderedTemplate, Selection};
use crate::base::{CellId, ComponentName, Platform, Reference, Span};
use crate::config::{AnnotationLevel, ComponentSpec, ContextRef};
use crate::dockerfile::{Facts, StagePlatform, Use};

pub(super) fn excluded(id: CellId, reason: String) -> Cell {
    let work = CellWork::Excluded(reason);
    Cell { id, needs: Vec::new(), services: Vec::new(), work, selection: Selection::Unselected }
}

pub(super) fn mirrored(id: CellId, image: Reference) -> Cell {
    let work = CellWork::Mirror(image);
    Cell { id, needs: Vec::new(), services: Vec::new(), work, selection: Selection::Unselected }
}

/// A cell while its parts are put together.
pub(super) struct CellDraft {
    pub(super) id: CellId,
    pub(super) needs: Vec<CellId>,
    pub(super) services: Vec<ComponentName>,
    pub(super) contexts: Vec<PlannedContext>,
    pub(super) bases: Vec<Base>,
    pub(super) native: Vec<(CellId, Span)>,
    pub(super) templates: Vec<Arc<RenderedTemplate>>,
    pub(super) work: Option<CellBuild>,
}

impl CellDraft {
    pub(super) const fn new(id: CellId) -> Self {
        Self {
            id,
            needs: Vec::new(),
            services: Vec::new(),
            contexts: Vec::new(),
            bases: Vec::new(),
            native: Vec::new(),
            templates: Vec::new(),
            work: None,
        }
    }

    pub(super) fn need(&mut self, id: CellId) {
        if !self.needs.contains(&id) {
            self.needs.push(id);
        }
    }

    /// A use of the context `name`, which is `source` on its platform.
    pub(super) fn take(&mut self, name: &str, source: CellId, used: &Use) {
        if used.platform == StagePlatform::Builder {
            self.native.push((source.clone(), used.span.clone()));
        }
        self.context(name, source);
    }

    pub(super) fn context(&mut self, name: &str, source: CellId) {
        self.need(source.clone());
        let context = PlannedContext { name: name.to_owned(), source: ContextSource::Cell(source) };
        if !self.contexts.contains(&context) {
            self.contexts.push(context);
        }
    }

    /// A cell whose Dockerfile could not be read is never seen: its problem is reported instead.
    pub(super) fn finish(self) -> Cell {
        let work = match self.work {
            Some(build) => CellWork::Build(Box::new(CellBuild {
                contexts: self.contexts,
                bases: self.bases,
                native: self.native,
                templates: self.templates,
                ..build
            })),
            None => CellWork::Excluded("its Dockerfile cannot be read".to_owned()),
        };
        Cell { id: self.id, needs: self.needs, services: self.services, work, selection: Selection::Unselected }
    }
}

/// What is built from a Dockerfile that is known. `several`: whether the component has more platforms than this one.
pub(super) fn cell_build(
    spec: &ComponentSpec,
    source: &Source,
    args: BTreeMap<String, String>,
    facts: &Facts,
    (platform, several): (&Platform, bool),
) -> CellBuild {
    let executes = facts.executes.iter().filter_map(|(platform, span)| match platform {
        StagePlatform::Fixed(platform) => Some((platform.clone(), span.clone())),
        StagePlatform::Builder => None,
    });
    CellBuild {
        frontend: source.frontend(&args),
        rendered: source.rendered.clone(),
        args,
        executes: executes.collect(),
        stands_on: facts
            .base
            .as_ref()
            .filter(|_| !source.file.directives.is_foreign())
            .map(|base| (base.name.clone(), facts.own_layers)),
        ..declared_build(spec, (platform, several))
    }
}

/// What is built, as far as the project file says it.
pub(super) fn declared_build(spec: &ComponentSpec, (platform, several): (&Platform, bool)) -> CellBuild {
    let context = match &spec.context.value {
        ContextRef::Directory(path) => ContextSource::Directory(path.clone()),
        ContextRef::Remote(url) => ContextSource::Remote(url.clone()),
        // A main context is a directory or a URL; components are named contexts.
        ContextRef::Component(name) => ContextSource::Remote(format!("component:{name}")),
    };
    CellBuild {
        frontend: None,
        context,
        dockerfile: spec.dockerfile.value.clone(),
        rendered: None,
        fetched: spec.dockerfile_fetched.clone(),
        templates: Vec::new(),
        target: spec.target.as_ref().map(|target| target.value.clone()),
        args: spec.args.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
        labels: spec.labels.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
        contexts: Vec::new(),
        secrets: spec.secrets.iter().map(|(id, secret)| (id.clone(), secret.value.clone())).collect(),
        ssh: spec.ssh.iter().map(|(id, socket)| (id.clone(), socket.clone())).collect(),
        extra_hosts: spec.extra_hosts.clone(),
        no_cache: spec.no_cache,
        options: spec.solve.on(platform, several),
        entry_annotations: spec.solve.annotations_of(AnnotationLevel::ManifestDescriptor, Some(platform)),
        executes: Vec::new(),
        stands_on: None,
        bases: Vec::new(),
        native: Vec::new(),
    }
}
