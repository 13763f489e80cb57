use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::SystemTime;

use tokio::sync::OnceCell;
use tonic::service::Routes;

use super::connect::MESSAGE_LIMIT;
use super::engine::Shared;
use super::proto::grpc::health::v1::health_server::HealthServer;
use super::proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use super::recipe::Recipe;
use super::session::{AskedSlot, FileSync, Health, LocalFailure, LocalFailureSlot, LocalSource, Session};
use super::words;
use crate::base::Digest;
use crate::engine::{
    Asked, BuildRequest, ContextReads, ContextSource, DockerfilePlace, EngineError, NamedContext, RenderedFile,
};

/// The name of the main context's files, fixed by the frontend (moby/buildkit frontend/dockerui).
pub(super) const CONTEXT: &str = "context";
/// The name of the Dockerfile's directory, likewise.
pub(super) const DOCKERFILE: &str = "dockerfile";

/// A session that serves the directories of one component to the solves of all its platforms.
///
/// The daemon then sees one source where it would see one for each platform, and reads it once.
#[derive(Debug)]
pub(super) struct ContextSession {
    pub(super) session: Session,
    sent: Arc<AtomicU64>,
    failure: LocalFailureSlot,
    /// Before the first file was read.
    opened: SystemTime,
    asked: AskedSlot,
}

impl ContextSession {
    /// Bytes of files that travelled since this was last asked: of several solves that share the session each takes what
    /// nobody took yet, so that the sum is right.
    pub(super) fn take_sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// What the daemon has read through this session, for whichever of its solves, with the names of the request's contexts.
    pub(super) fn reads(&self, request: &BuildRequest) -> ContextReads {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |local: &str| {
            let index: usize = local.strip_prefix("named-")?.parse().ok()?;
            match request.contexts.get(index)? {
                NamedContext::Directory { name, .. } => Some(name.clone()),
                NamedContext::Image { .. } | NamedContext::Remote { .. } => None,
            }
        };
        let asked = asked.iter().filter_map(|(local, selection)| {
            let context = if local == CONTEXT { None } else { Some(named(local)?) };
            Some(Asked { context, selection: selection.clone() })
        });
        ContextReads { since: self.opened, asked: Some(asked.collect()) }
    }

    /// What went wrong in reading files, if anything did.
    pub(super) fn failure(&self) -> Option<LocalFailure> {
        self.failure.get()
    }
}

/// A place for a context session: the first of several solves opens it, the others wait for that.
#[derive(Debug, Default)]
pub(super) struct ContextEntry(OnceCell<Arc<ContextSession>>);

/// A context session in use; the session ends with the last one of it.
#[derive(Debug)]
pub(super) struct ContextLease {
    _entry: Arc<ContextEntry>,
    session: Arc<ContextSession>,
}

impl std::ops::Deref for ContextLease {
    type Target = ContextSession;

    fn deref(&self) -> &ContextSession {
        &self.session
    }
}

impl Shared {
    /// The session that serves the request's directories: one that is open already, or a new one.
    pub(super) async fn context(
        &self,
        request: &BuildRequest,
        recipe: Option<&Recipe>,
    ) -> Result<ContextLease, EngineError> {
        let sources = sources(request);
        let key = key(request, recipe, &sources);
        let entry = self.context_entry(&key);
        let session = entry.0.get_or_try_init(|| self.open_context(&key, sources, request)).await?.clone();
        Ok(ContextLease { _entry: entry, session })
    }

    fn context_entry(&self, key: &str) -> Arc<ContextEntry> {
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = contexts.get(key).and_then(Weak::upgrade)
            && entry.0.get().is_none_or(|context| context.session.is_alive() && context.failure().is_none())
        {
            return entry;
        }
        contexts.retain(|_, entry| entry.strong_count() > 0);
        let entry = Arc::new(ContextEntry::default());
        contexts.insert(key.to_owned(), Arc::downgrade(&entry));
        entry
    }

    async fn open_context(
        &self,
        key: &str,
        sources: Vec<LocalSource>,
        request: &BuildRequest,
    ) -> Result<Arc<ContextSession>, EngineError> {
        const METHODS: [&str; 2] = ["/grpc.health.v1.Health/Check", "/moby.filesync.v1.FileSync/DiffCopy"];
        let opened = SystemTime::now();
        let (sent, failure) = (Arc::new(AtomicU64::new(0)), LocalFailureSlot::default());
        let files = FileSync::new(sources, sent.clone(), failure.clone())
            .warn_to(request.events.clone(), Some(request.cell.clone()));
        let asked = files.asked();
        let files = FileSyncServer::new(files)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let routes = Routes::new(HealthServer::new(Health)).add_service(files);
        let session = Session::open(&self.channel, key, &METHODS, routes)
            .await
            .map_err(|status| self.lost(&format!("it takes no session: {}", words::status(&status))))?;
        Ok(Arc::new(ContextSession { session, sent, failure, opened, asked }))
    }
}

/// The directories of this machine that a request lets the daemon read, under the names it asks for them by.
fn sources(request: &BuildRequest) -> Vec<LocalSource> {
    let source = |name: &str, directory: &PathBuf, always_excluded: &[PathBuf]| LocalSource {
        name: name.to_owned(),
        directory: directory.clone(),
        always_excluded: always_excluded.to_vec(),
        rendered: request.rendered.clone(),
    };
    let mut sources = Vec::new();
    if request.dockerfile.place == DockerfilePlace::Directory {
        // The Dockerfile is what the request says, whatever else is rendered beside it.
        let dockerfile = source(DOCKERFILE, &request.dockerfile.directory, &[]);
        let beside = request.dockerfile.directory.join(format!("{}.dockerignore", request.dockerfile.name));
        let ignore = request.no_patterns.iter().map(|file| RenderedFile { path: beside.clone(), file: file.clone() });
        sources.push(LocalSource { rendered: ignore.collect(), ..dockerfile });
    }
    let mut excluded: &[PathBuf] = &[];
    if let ContextSource::Directory { path, always_excluded } = &request.context {
        sources.push(source(CONTEXT, path, always_excluded));
        excluded = always_excluded;
    }
    for (local, path) in named_directories(request) {
        // The same directory under another name hides the same things.
        let same = matches!(&request.context, ContextSource::Directory { path: main, .. } if main == path);
        sources.push(source(&local, path, if same { excluded } else { &[] }));
    }
    sources
}

/// Named contexts that are directories, with names that cannot collide with the two fixed ones.
pub(super) fn named_directories(request: &BuildRequest) -> impl Iterator<Item = (String, &PathBuf)> {
    request.contexts.iter().enumerate().filter_map(|(index, context)| match context {
        NamedContext::Directory { path, .. } => Some((format!("named-{index}"), path)),
        NamedContext::Image { .. } | NamedContext::Remote { .. } => None,
    })
}

/// The name under which the daemon keeps the directories' files from run to run.
///
/// Equal keys must mean equal files: the daemon mirrors what it was sent last under a key, so two sources with one key undo
/// each other in every run. Hence the caller's name of directory and component, the directories themselves, and the platform
/// where the Dockerfile copies other files for another one.
fn key(request: &BuildRequest, recipe: Option<&Recipe>, sources: &[LocalSource]) -> String {
    let mut parts = vec!["context v1".to_owned(), request.context_key.clone(), request.dockerfile.name.clone()];
    if recipe.is_some_and(|recipe| recipe.differs_by_platform) {
        parts.push(request.cell.platform.to_string());
    }
    let mut seen = HashSet::new();
    for source in sources {
        if seen.insert(&source.name) {
            parts.push(source.name.clone());
            parts.push(source.directory.display().to_string());
            parts.extend(source.always_excluded.iter().map(|path| path.display().to_string()));
        }
    }
    Digest::of(parts.join("\0")).hex()
}
