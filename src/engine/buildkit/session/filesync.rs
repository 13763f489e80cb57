use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::LocalFailureSlot;
use crate::engine::buildkit::proto::fsutil::types::Packet;
use crate::engine::buildkit::proto::moby::filesync::v1::file_sync_server;

/// A directory that the daemon may read under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalSource {
    /// What the daemon asks for in `dir-name`: `context`, `dockerfile`, or a named context's local name.
    pub(crate) name: String,
    /// The directory.
    pub(crate) directory: PathBuf,
    /// Paths relative to it that are never sent, whatever the patterns say.
    pub(crate) always_excluded: Vec<PathBuf>,
}

/// Sends files of local directories to the daemon (`/moby.filesync.v1.FileSync/DiffCopy`).
#[derive(Debug, Clone)]
pub(crate) struct FileSync {
    sources: Arc<[LocalSource]>,
    sent: Arc<AtomicU64>,
    failure: LocalFailureSlot,
}

impl FileSync {
    /// Serves `sources`; adds bytes of file contents to `sent`, and keeps the first failure in `failure`.
    pub(crate) fn new(sources: Vec<LocalSource>, sent: Arc<AtomicU64>, failure: LocalFailureSlot) -> Self {
        Self { sources: sources.into(), sent, failure }
    }
}

#[tonic::async_trait]
impl file_sync_server::FileSync for FileSync {
    type DiffCopyStream = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

    async fn diff_copy(&self, _request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let _ = (&self.sources, &self.sent, &self.failure);
        Err(Status::unimplemented("not there yet"))
    }
}
