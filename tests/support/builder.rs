//! A builder within the test: it takes every solve and hands over an image of its own making, or what a lie makes of it.
//!
//! It speaks as buildkitd does (`moby.buildkit.v1.Control`, and `containerd.services.content.v1.Content` back through the
//! session), and where it lies it does not care for what it is answered: nobody but the program can notice.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::service_fn;

use super::tiny::{Blob, Tiny, index};
use protocols::containerd::services::content::v1::content_client::ContentClient;
use protocols::containerd::services::content::v1::{WriteAction, WriteContentRequest};
use protocols::moby::buildkit::v1::control_server::{Control, ControlServer};
use protocols::moby::buildkit::v1::{
    BytesMessage, InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, SolveRequest, SolveResponse,
    StatusRequest, StatusResponse, types,
};
use protocols::pb;

#[expect(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
#[allow(dead_code, reason = "a builder has no use for all of it; an expectation would count as a use")]
mod protocols {
    include!(concat!(env!("OUT_DIR"), "/protocols.rs"));
}

/// What it does instead of the ordinary. Blobs count from 0: layer, config, manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Hands over so many thousandths of a blob, and says that this was all of it.
    Truncated(usize, usize),
    /// Hands over as little, and says that the blob is just so long.
    Short(usize, usize),
    /// Changes a byte of a blob that lies so many thousandths into it.
    Altered(usize, usize),
    /// Does not hand over a blob.
    Skipped(usize),
    /// Ends with the whole blobs on the way: nothing is committed.
    Uncommitted(usize),
    /// Makes an image for another platform, in which everything fits together.
    OtherPlatform,
    /// Answers with an index that calls such an image one of the platform that was wanted.
    OtherInIndex,
    /// Puts programs for another processor into an image that is right otherwise.
    OtherPrograms,
    /// Answers that it made what it has made for another platform before.
    OtherCell,
    /// Answers without saying what it made.
    Nothing,
    /// Answers with what is no descriptor.
    Garbage,
    /// Ends the session after so many blobs, and the solve with it.
    EndsSession(usize),
    /// Refuses, with words of its own.
    Refuses,
}

#[derive(Default)]
struct Inner {
    stamp: String,
    lie: Option<(usize, Lie)>,
    solves: usize,
    fired: bool,
    sessions: HashMap<String, (Channel, AbortHandle)>,
    made: HashMap<String, Tiny>,
}

/// The builder; ends with this value.
pub(crate) struct LyingBuilder {
    inner: Arc<Mutex<Inner>>,
    serving: AbortHandle,
}

impl LyingBuilder {
    /// Listens at a socket. Within a runtime.
    pub(crate) fn start(socket: &Path) -> Self {
        let inner = Arc::<Mutex<Inner>>::default();
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).expect("a socket"));
        let service = ControlServer::new(Service(Arc::clone(&inner)));
        let serving = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { inner, serving: serving.abort_handle() }
    }

    /// From now on images have this stamp, and the solve of this number is lied about.
    pub(crate) fn script(&self, stamp: &str, lie: Option<(usize, Lie)>) {
        let mut inner = lock(&self.inner);
        stamp.clone_into(&mut inner.stamp);
        (inner.lie, inner.solves, inner.fired) = (lie, 0, false);
    }

    /// Whether it has lied.
    pub(crate) fn lied(&self) -> bool {
        lock(&self.inner).fired
    }
}

impl Drop for LyingBuilder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().expect("nobody panics while holding this")
}

struct Service(Arc<Mutex<Inner>>);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Control for Service {
    type StatusStream = Responses<StatusResponse>;
    type SessionStream = Responses<BytesMessage>;

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let request = request.into_inner();
        let wanted = request.frontend_attrs.get("platform").cloned().unwrap_or_default();
        let (stamp, number, lie) = {
            let mut inner = lock(&self.0);
            let number = inner.solves;
            inner.solves += 1;
            let lie = inner.lie.filter(|(at, _)| *at == number).map(|(_, lie)| lie);
            inner.fired |= lie.is_some();
            (inner.stamp.clone(), number, lie)
        };
        let answer = self.build(&request.session, &wanted, (&stamp, number), lie).await?;
        let exporter_response = answer
            .map(|answer| ("containerimage.descriptor".to_owned(), STANDARD.encode(answer)))
            .into_iter()
            .collect();
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        Ok(Response::new(Box::pin(stream::empty())))
    }

    /// Bytes in both directions; within them the builder is the client.
    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let id = request.metadata().get("x-docker-expose-session-uuid").and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Status::invalid_argument("a session without a name"))?.to_owned();
        let (near, far) = tokio::io::duplex(1 << 20);
        let (sender, receiver) = mpsc::channel(8);
        let carrying = tokio::spawn(carry(request.into_inner(), near, sender)).abort_handle();
        let (inner, far) = (Arc::clone(&self.0), Arc::new(Mutex::new(Some(far))));
        tokio::spawn(async move {
            let connector = service_fn(move |_| {
                let far = far.lock().expect("nobody panics").take();
                async move { far.map(TokioIo::new).ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
            });
            let endpoint = Endpoint::from_static("http://session");
            if let Ok(channel) = endpoint.connect_with_connector(connector).await {
                lock(&inner).sessions.insert(id, (channel, carrying));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(Ok))))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Result<Response<ListWorkersResponse>, Status> {
        let platform = |architecture: &str| pb::Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            ..pb::Platform::default()
        };
        let platforms = vec![platform("amd64"), platform("arm64")];
        let record = vec![types::WorkerRecord { platforms, ..types::WorkerRecord::default() }];
        Ok(Response::new(ListWorkersResponse { record }))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(Status::unimplemented("older than the call"))
    }
}

async fn carry(mut incoming: Streaming<BytesMessage>, near: DuplexStream, sender: mpsc::Sender<BytesMessage>) {
    let (mut read, mut write) = tokio::io::split(near);
    let inwards = async {
        while let Ok(Some(message)) = incoming.message().await {
            if write.write_all(&message.data).await.is_err() {
                break;
            }
        }
    };
    let outwards = async {
        let mut piece = vec![0; 32 << 10];
        while let Ok(count @ 1..) = read.read(&mut piece).await {
            let data = piece[..count].to_vec().into();
            if sender.send(BytesMessage { data }).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = inwards => (), () = outwards => () }
}

impl Service {
    /// Hands over an image and returns the descriptor that the solve is answered with.
    async fn build(
        &self,
        session: &str,
        wanted: &str,
        (stamp, number): (&str, usize),
        lie: Option<Lie>,
    ) -> Result<Option<Vec<u8>>, Status> {
        let other = if wanted == "linux/arm64" { "linux/amd64" } else { "linux/arm64" };
        let image = match lie {
            Some(Lie::OtherPlatform | Lie::OtherInIndex) => Tiny::honest(other, stamp, number),
            Some(Lie::OtherPrograms) => Tiny::new(wanted, other, stamp, number),
            Some(Lie::Refuses) => return Err(Status::unknown("it is not to be")),
            _ => Tiny::honest(wanted, stamp, number),
        };
        let mut blobs = vec![image.layer.clone(), image.config.clone(), image.manifest.clone()];
        let mut root = image.manifest.descriptor();
        if lie == Some(Lie::OtherInIndex) {
            let index = index(&[(wanted, &image)]);
            root = index.descriptor();
            blobs.push(index);
        }
        if lie == Some(Lie::OtherCell)
            && let Some(other) = lock(&self.0).made.get(other)
        {
            root = other.manifest.descriptor();
        }
        let (channel, end) = self.session(session).await?;
        for (at, blob) in blobs.iter().enumerate() {
            if lie == Some(Lie::EndsSession(at)) {
                end.abort();
                return Err(Status::unavailable("the session ended"));
            }
            let here = match lie {
                Some(
                    Lie::Truncated(of, _)
                    | Lie::Short(of, _)
                    | Lie::Altered(of, _)
                    | Lie::Skipped(of)
                    | Lie::Uncommitted(of),
                ) => of == at,
                _ => false,
            };
            let lie = lie.filter(|_| here);
            // Whoever lies goes on whatever it is told.
            drop(hand_over(&channel, blob, lie).await);
        }
        lock(&self.0).made.insert(wanted.to_owned(), image);
        Ok(match lie {
            Some(Lie::Nothing) => None,
            Some(Lie::Garbage) => Some(b"{\"digest\": 7".to_vec()),
            _ => Some(root.to_string().into_bytes()),
        })
    }

    /// A session of this name, once it is there.
    async fn session(&self, id: &str) -> Result<(Channel, AbortHandle), Status> {
        for _ in 0..500 {
            if let Some((channel, end)) = lock(&self.0).sessions.get(id) {
                return Ok((channel.clone(), end.clone()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(Status::not_found(format!("no active session for {id}")))
    }
}

/// Writes one blob into the store `export` of a session, as the exporter does: a look, the bytes, a commit.
async fn hand_over(channel: &Channel, blob: &Blob, lie: Option<Lie>) -> Result<(), Status> {
    let (mut bytes, digest) = (blob.bytes.clone(), blob.digest().to_string());
    let part = |thousandths: usize| (blob.bytes.len() * thousandths / 1000).min(blob.bytes.len() - 1);
    let mut total = bytes.len();
    match lie {
        Some(Lie::Skipped(_)) => return Ok(()),
        Some(Lie::Truncated(_, thousandths)) => bytes.truncate(part(thousandths)),
        Some(Lie::Short(_, thousandths)) => {
            bytes.truncate(part(thousandths));
            total = bytes.len();
        }
        Some(Lie::Altered(_, thousandths)) => bytes[part(thousandths)] ^= 1,
        _ => {}
    }
    let total = i64::try_from(total).expect("small");
    let message = |action: WriteAction, offset: usize, data: &[u8]| WriteContentRequest {
        action: action.into(),
        r#ref: digest.clone(),
        total,
        expected: digest.clone(),
        offset: i64::try_from(offset).expect("small"),
        data: data.to_vec().into(),
        ..WriteContentRequest::default()
    };
    let (sender, receiver) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.metadata_mut().insert("buildkit-attachable-store-id", "export".parse().expect("ASCII"));
    let gone = |_| Status::aborted("the stream is gone");
    sender.send(message(WriteAction::Stat, 0, &[])).await.map_err(gone)?;
    let mut answers = ContentClient::new(channel.clone()).write(request).await?.into_inner();
    match answers.message().await {
        Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
        other => drop(other?),
    }
    let mut offset = 0;
    for piece in bytes.chunks(8 << 10) {
        sender.send(message(WriteAction::Write, offset, piece)).await.map_err(gone)?;
        answers.message().await?;
        offset += piece.len();
    }
    if !matches!(lie, Some(Lie::Uncommitted(_))) {
        sender.send(message(WriteAction::Commit, offset, &[])).await.map_err(gone)?;
        answers.message().await?;
    }
    Ok(())
}
