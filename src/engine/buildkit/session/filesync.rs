//! The directories of this machine that the daemon may read (`moby.filesync.v1.FileSync`).
//!
//! The daemon names a source and says what of it it wants; the walk, the filters and the packets are those of
//! tonistiigi/fsutil, of which the daemon runs the receiving half.

mod error;
mod filter;
mod follow;
mod inventory;
mod mode;
mod observer;
mod overlay;
mod request;
mod send;
mod table;
mod tree;
mod walk;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

pub use self::filter::Selection;
pub use self::inventory::{Inventory, InventoryEntry, LocalTree};
use self::observer::Observer;
use self::send::Job;
use super::LocalFailureSlot;
use crate::base::CellId;
use crate::engine::RenderedFile;
use crate::engine::buildkit::proto::fsutil::types::Packet;
use crate::engine::buildkit::proto::moby::filesync::v1::file_sync_server;
use crate::event::EventSink;

/// A directory that the daemon may read under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalSource {
    /// What the daemon asks for in `dir-name`: `context`, `dockerfile`, or a named context's local name.
    pub(crate) name: String,
    /// The directory.
    pub(crate) directory: PathBuf,
    /// Paths relative to it that are never sent, whatever the patterns say.
    pub(crate) always_excluded: Vec<PathBuf>,
    /// Files that stand in it for the builder alone; those that lie elsewhere are of no concern.
    pub(crate) rendered: Vec<RenderedFile>,
}

/// What the daemon asked for of its sources, filled as it asks.
pub(crate) type AskedSlot = Arc<Mutex<BTreeSet<(String, Selection)>>>;

/// Sends files of local directories to the daemon (`/moby.filesync.v1.FileSync/DiffCopy`).
#[derive(Debug, Clone)]
pub(crate) struct FileSync {
    sources: Arc<[LocalSource]>,
    observer: Observer,
}

impl FileSync {
    /// Serves `sources`; adds bytes of file contents to `sent`, and keeps the first failure in `failure`.
    pub(crate) fn new(sources: Vec<LocalSource>, sent: Arc<AtomicU64>, failure: LocalFailureSlot) -> Self {
        Self { sources: sources.into(), observer: Observer::new(sent, failure) }
    }

    /// What the daemon asked for so far: each source's name with what of it, each once.
    pub(crate) fn asked(&self) -> AskedSlot {
        self.observer.asked.clone()
    }

    /// Warns of sockets, pipes and devices, which are not sent.
    pub(crate) fn warn_to(mut self, events: Arc<dyn EventSink>, cell: Option<CellId>) -> Self {
        self.observer.warn_to(events, cell);
        self
    }
}

#[tonic::async_trait]
impl file_sync_server::FileSync for FileSync {
    type DiffCopyStream = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let (name, selection) = request::decode(request.metadata())?;
        // The name is the border of what the daemon may see: no other directory stands in for one that is not there.
        let source = self
            .sources
            .iter()
            .find(|source| source.name == name)
            .ok_or_else(|| Status::not_found(format!("no access allowed to dir {name:?}")))?;
        self.observer.asked(&name, &selection);
        let job = Job {
            name,
            directory: source.directory.clone(),
            always_excluded: source.always_excluded.iter().map(|path| relative(path)).collect(),
            rendered: source.rendered.clone(),
            selection,
        };
        Ok(Response::new(Box::pin(send::send(job, request.into_inner(), self.observer.clone()))))
    }
}

/// A path below the root as the walk has it: clean, without a `./` in front.
fn relative(path: &std::path::Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = path
        .components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .map(|part| part.as_os_str().as_bytes())
        .collect();
    parts.join(&b'/')
}
