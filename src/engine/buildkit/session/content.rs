use std::io::{Read, Seek, SeekFrom};
use std::pin::Pin;

use bytes::BytesMut;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::ingest::{Claim, Ingest, Ingests, Receipt};
use crate::base::{Descriptor, Digest, Failure};
use crate::engine::buildkit::proto::containerd::services::content::v1::{
    AbortRequest, Info, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse, StatusRequest,
    StatusResponse, WriteAction, WriteContentRequest, WriteContentResponse, content_server,
};
use crate::store::{BlobSource, Layout, StoreError};

/// Names the store that a call is meant for (moby/buildkit session/content/attachable.go).
const STORE: &str = "buildkit-attachable-store-id";

/// Where the exporter puts results when it makes no tar.
const EXPORT: &str = "export";

/// What the layout is called in `oci-layout://` contexts. Must look like an image's name: lower case, no `:`.
pub(crate) const LAYOUT_STORE: &str = "catamaran";

/// Bytes of a blob that go as one message to the daemon, which reads a megabyte at a time.
const READ_CHUNK: usize = 256 << 10;

/// The layout as the daemon sees it (`containerd.services.content.v1.Content`): results come in through the store `export`,
/// named contexts go out through `oci:catamaran`. Every session writes into the one layout; only the receipts differ.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    layout: Layout,
    ingests: Ingests,
    receipt: Receipt,
}

impl Content {
    /// Serves `layout`, counting what comes in on `receipt`.
    pub(crate) fn new(layout: Layout, ingests: Ingests, receipt: Receipt) -> Self {
        Self { layout, ingests, receipt }
    }

    /// Size of a blob that may be read.
    async fn size(&self, digest: Digest) -> Result<u64, Status> {
        let layout = self.layout.clone();
        let size = blocking(move || layout.size_of(&digest)).await?.map_err(|error| refuse(&error))?;
        size.ok_or_else(|| Status::not_found(format!("content {digest}: not found")))
    }
}

/// Which store a call means. A call without one must not land anywhere by default.
fn store(metadata: &MetadataMap) -> Result<&str, Status> {
    metadata
        .get(STORE)
        .ok_or_else(|| Status::invalid_argument(format!("request lacks metadata {STORE:?}")))?
        .to_str()
        .map_err(|_| Status::invalid_argument(format!("metadata {STORE:?} is not a text")))
}

/// Named contexts are read by digest; so the store of results can be no way round their names either.
fn readable(metadata: &MetadataMap) -> Result<(), Status> {
    match store(metadata)? {
        EXPORT => Ok(()),
        name if name.strip_prefix("oci:") == Some(LAYOUT_STORE) => Ok(()),
        name => Err(Status::not_found(format!("unknown store {name}"))),
    }
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse::<Digest>().map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Runs what touches the disk off the reactor: a health check that waits behind it ends the session.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Status::aborted("the program is ending"))
}

/// The daemon shows the words; which status they come with decides whether it tries again. `Unavailable` would make it poll.
fn refuse(error: &StoreError) -> Status {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let text = format!("{error}{source}");
    match error {
        StoreError::Missing { .. } => Status::not_found(text),
        StoreError::Io { .. } => Status::resource_exhausted(text),
        _ => Status::data_loss(format!("{text} ({:?})", error.class())),
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl content_server::Content for Content {
    type ReadStream = ReceiverStream<Result<ReadContentResponse, Status>>;
    type WriteStream = Responses<WriteContentResponse>;

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        readable(request.metadata())?;
        let digest = digest(&request.get_ref().digest)?;
        let size = self.size(digest).await?;
        let size = i64::try_from(size).map_err(|_| Status::out_of_range("size"))?;
        let info = Info { digest: digest.to_string(), size, ..Info::default() };
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        readable(request.metadata())?;
        let request = request.get_ref();
        let digest = digest(&request.digest)?;
        let size = self.size(digest).await?;
        let range = range(size, request.offset, request.size)?;
        let (sender, receiver) = mpsc::channel(2);
        let layout = self.layout.clone();
        tokio::task::spawn_blocking(move || {
            // The daemon drops most reads early; there is nobody left to tell then.
            if let Err(error) = send(&layout, &digest, range, &sender) {
                let _unheard = sender.blocking_send(Err(refuse(&error)));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    /// Partial blobs are never shown: the answer is always that there is none.
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        store(request.metadata())?;
        Err(Status::not_found(format!("no ingest {}", request.get_ref().r#ref)))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        match store(request.metadata())? {
            EXPORT => {}
            name => return Err(Status::not_found(format!("unknown store {name}"))),
        }
        let writing = Writing { content: self.clone(), blob: None };
        let answers = stream::try_unfold((request.into_inner(), Some(writing)), |(mut requests, writing)| async move {
            let Some(mut writing) = writing else { return Ok(None) };
            // An answer, also a refusal, only ever follows a message: anything unprompted reaches the daemon as `EOF`.
            let Some(message) = requests.message().await? else { return Ok(None) };
            let (answer, more) = writing.answer(message).await?;
            Ok(Some((answer, (requests, more.then_some(writing)))))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Result<Response<()>, Status> {
        store(request.metadata())?;
        Ok(Response::new(()))
    }
}

/// The part of a blob that was asked for, as (first, length): clamped at the end, `wanted == 0` is all that follows.
fn range(size: u64, offset: i64, wanted: i64) -> Result<(u64, u64), Status> {
    let offset = u64::try_from(offset).map_err(|_| Status::out_of_range("negative offset"))?;
    let wanted = u64::try_from(wanted).map_err(|_| Status::out_of_range("negative size"))?;
    let rest = size.checked_sub(offset).ok_or_else(|| Status::out_of_range("read past object length"))?;
    Ok((offset, if wanted == 0 { rest } else { wanted.min(rest) }))
}

fn send(
    layout: &Layout,
    digest: &Digest,
    (first, mut left): (u64, u64),
    sender: &mpsc::Sender<Result<ReadContentResponse, Status>>,
) -> Result<(), StoreError> {
    let mut file = layout.open_raw(digest)?.file;
    let failed = |source| StoreError::Io { action: "read", path: layout.root().join(digest.hex()), source };
    file.seek(SeekFrom::Start(first)).map_err(failed)?;
    let mut offset = first;
    while left > 0 {
        let length = left.min(READ_CHUNK as u64);
        let mut data = BytesMut::zeroed(usize::try_from(length).unwrap_or(READ_CHUNK));
        file.read_exact(&mut data).map_err(failed)?;
        let answer = ReadContentResponse { offset: i64::try_from(offset).unwrap_or(i64::MAX), data: data.freeze() };
        if sender.blocking_send(Ok(answer)).is_err() {
            return Ok(());
        }
        offset += length;
        left -= length;
    }
    Ok(())
}

/// One `Write` stream: one blob on its way in.
struct Writing {
    content: Content,
    blob: Option<Blob>,
}

struct Blob {
    layout: Layout,
    expected: Descriptor,
    /// Begun with the first byte: the daemon opens the streams of all blobs at once, and sends four at a time.
    ingest: Option<Ingest>,
    /// Held until the blob is durable or given up.
    _claim: Claim,
}

impl Writing {
    /// The answer to one message, and whether more may follow.
    async fn answer(&mut self, message: WriteContentRequest) -> Result<(WriteContentResponse, bool), Status> {
        let action = WriteAction::try_from(message.action)
            .map_err(|_| Status::invalid_argument(format!("unknown action {}", message.action)))?;
        if self.blob.is_none() {
            self.open(&message).await?;
        }
        let Self { content, blob: Some(blob) } = self else {
            return Err(Status::internal("no blob is open"));
        };
        let receipt = &content.receipt;
        if action != WriteAction::Stat {
            blob.take(&message, receipt).await?;
        }
        if action == WriteAction::Commit {
            blob.commit(&message, receipt).await?;
        }
        let answer = WriteContentResponse {
            action: action.into(),
            offset: i64::try_from(blob.taken()).map_err(|_| Status::out_of_range("offset"))?,
            total: i64::try_from(blob.expected.size).map_err(|_| Status::out_of_range("total"))?,
            digest: blob.expected.digest.to_string(),
            ..WriteContentResponse::default()
        };
        Ok((answer, action != WriteAction::Commit))
    }

    /// The first message says what is coming: without digest and size it could not be judged.
    ///
    /// This is the one place to wait for another writer of the blob. From the third message on the stream holds one of four
    /// places that all builds of the daemon share, and waiting there could be waiting for oneself.
    async fn open(&mut self, first: &WriteContentRequest) -> Result<(), Status> {
        let digest = digest(&first.expected)?;
        let size = u64::try_from(first.total).map_err(|_| Status::invalid_argument("negative total"))?;
        let expected = Descriptor::new("", digest, size);
        self.refuse_known(&expected).await?;
        let claim = self.content.ingests.claim(digest).await;
        // Whoever was waited for may have finished it.
        self.refuse_known(&expected).await?;
        self.blob = Some(Blob { layout: self.content.layout.clone(), expected, ingest: None, _claim: claim });
        Ok(())
    }

    /// `AlreadyExists` is a success for the daemon, and saves sending the bytes.
    async fn refuse_known(&self, expected: &Descriptor) -> Result<(), Status> {
        let (layout, descriptor) = (self.content.layout.clone(), expected.clone());
        match blocking(move || layout.has(&descriptor)).await? {
            Ok(false) => Ok(()),
            Ok(true) => Err(Status::already_exists(format!("content {}: already exists", expected.digest))),
            Err(error) => Err(self.content.receipt.refused(error)),
        }
    }
}

impl Blob {
    fn taken(&self) -> u64 {
        self.ingest.as_ref().map_or(0, Ingest::taken)
    }

    fn ingest(&mut self) -> &mut Ingest {
        self.ingest.get_or_insert_with(|| Ingest::begin(self.layout.clone()))
    }

    async fn take(&mut self, message: &WriteContentRequest, receipt: &Receipt) -> Result<(), Status> {
        let offset = u64::try_from(message.offset).map_err(|_| Status::out_of_range("negative offset"))?;
        let taken = self.taken();
        if offset != taken {
            // The rules of containerd's contentserver.go: zero begins again, anything else must fit.
            if offset != 0 || message.data.is_empty() {
                if message.data.is_empty() {
                    return Ok(());
                }
                return Err(Status::out_of_range(format!("write @{offset} must occur at current offset {taken}")));
            }
            self.ingest().restart().await.map_err(|error| receipt.refused(error))?;
        }
        if message.data.is_empty() {
            return Ok(());
        }
        let length = message.data.len() as u64;
        if self.taken() + length > self.expected.size {
            return Err(Status::out_of_range(format!("blob is longer than its {} bytes", self.expected.size)));
        }
        receipt.count(length);
        self.ingest().append(message.data.clone()).await.map_err(|error| receipt.refused(error))
    }

    async fn commit(&mut self, message: &WriteContentRequest, receipt: &Receipt) -> Result<(), Status> {
        let Descriptor { digest, size, .. } = self.expected;
        let mismatch = |what| Status::failed_precondition(format!("{what} of the commit of {digest} differs"));
        if message.total > 0 && u64::try_from(message.total) != Ok(size) {
            return Err(mismatch("size"));
        }
        if !message.expected.is_empty() && message.expected != digest.to_string() {
            return Err(mismatch("digest"));
        }
        self.ingest().commit(digest, size).await.map_err(|error| receipt.refused(error))
    }
}

impl Receipt {
    /// Keeps `error` for the cell and makes of it what the daemon gets.
    fn refused(&self, error: StoreError) -> Status {
        let status = refuse(&error);
        self.fail(error);
        status
    }
}

#[cfg(test)]
mod tests;
