use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, PollSender, WaitForCancellationFutureOwned};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Server};
use tonic::{Request, Status, Streaming};

use crate::engine::buildkit::connect::{HEADER_LIST_LIMIT, control};
use crate::engine::buildkit::identity::Identity;
use crate::engine::buildkit::proto::moby::buildkit::v1::BytesMessage;
use crate::engine::buildkit::words;

// moby/buildkit session/session.go; sent by us with the Session call, in lower case as HTTP/2 wants them. The first alone
// decides which session is found; the daemon looks two methods up in the last before it calls them.
const ID: &str = "x-docker-expose-session-uuid";
const NAME: &str = "x-docker-expose-session-name";
const SHARED_KEY: &str = "x-docker-expose-session-sharedkey";
const METHOD: &str = "x-docker-expose-session-grpc-method";

/// Inside the tunnel the daemon sends blobs and we send files: with the defaults of 64 KiB both are half as fast, and a
/// connection whose window is not much larger than a stream's starves the health check behind a reader that waits.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// The daemon opens a stream for every blob of an image before it sends the first.
const STREAMS: u32 = 4096;

/// Bytes that are gathered before they go as one message.
const CHUNK: usize = 64 << 10;

/// Messages on their way out; more only costs memory.
const QUEUE: usize = 8;

/// How long the daemon may take to begin speaking.
const OPENING: Duration = Duration::from_secs(30);

/// A session that the daemon knows: it may call the services that were given to [`Session::open`] until this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    id: Identity,
    end: CancellationToken,
    death: watch::Receiver<Option<String>>,
}

impl Session {
    /// Opens a session (`/moby.buildkit.v1.Control/Session`) that serves `routes`.
    ///
    /// `methods` are the full names of the methods served; `shared_key` names what local directories are kept under on
    /// the daemon: equal keys must mean equal directories with equal filters.
    pub(crate) async fn open(
        channel: &Channel,
        shared_key: &str,
        methods: &[&str],
        routes: Routes,
    ) -> Result<Self, Status> {
        let id = Identity::random();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let request = request(&id, shared_key, methods, ReceiverStream::new(receiver))?;
        let mut control = control(channel);
        // The daemon speaks first; its first bytes bring the headers of the response.
        let incoming = tokio::time::timeout(OPENING, control.session(request))
            .await
            .map_err(|_| Status::unavailable("the daemon did not take up the session"))??
            .into_inner();
        let end = CancellationToken::new();
        let (died, death) = watch::channel(None);
        let pipe = Pipe {
            incoming,
            current: Bytes::new(),
            outgoing: PollSender::new(sender),
            gathered: BytesMut::new(),
            end: Box::pin(end.clone().cancelled_owned()),
            died,
        };
        tokio::spawn(serve(pipe, routes, end.clone()));
        Ok(Self { id, end, death })
    }

    /// The name that a solve refers to it by.
    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Waits until the daemon ends the session or it breaks, and says why. Pending for ever while it is well.
    pub(crate) async fn died(&self) -> String {
        let mut death = self.death.clone();
        match death.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "its server ended".to_owned(),
        }
    }

    /// Whether it can still be used.
    pub(crate) fn is_alive(&self) -> bool {
        self.death.borrow().is_none() && self.death.has_changed().is_ok()
    }
}

/// Closing the pipe under the server is what ends it: its own shutdown waits for the daemon, which waits for us.
impl Drop for Session {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

fn request(
    id: &Identity,
    shared_key: &str,
    methods: &[&str],
    outgoing: ReceiverStream<BytesMessage>,
) -> Result<Request<ReceiverStream<BytesMessage>>, Status> {
    let value = |text: &str| {
        text.parse::<MetadataValue<Ascii>>().map_err(|_| Status::invalid_argument("session metadata must be ASCII"))
    };
    let mut request = Request::new(outgoing);
    let metadata = request.metadata_mut();
    metadata.insert(ID, value(id.as_str())?);
    metadata.insert(NAME, value("catamaran")?);
    metadata.insert(SHARED_KEY, value(shared_key)?);
    for method in methods {
        metadata.append(METHOD, value(method)?);
    }
    Ok(request)
}

async fn serve(pipe: Pipe, routes: Routes, end: CancellationToken) {
    // `serve_with_incoming` returns when there is no more to accept, while the connection goes on: never let it end.
    let incoming = stream::once(async { Ok::<_, io::Error>(pipe) }).chain(stream::pending());
    let served = Server::builder()
        .http2_max_header_list_size(HEADER_LIST_LIMIT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        // A daemon that cancels a build resets its reads by the hundred; it is no attack.
        .http2_max_pending_accept_reset_streams(Some(STREAMS as usize))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, end.cancelled())
        .await;
    // What broke is told by the pipe: the server has nothing to add.
    drop(served);
}

/// The two directions of the Session call as one stream of bytes. Borders of messages mean nothing.
struct Pipe {
    incoming: Streaming<BytesMessage>,
    current: Bytes,
    outgoing: PollSender<BytesMessage>,
    gathered: BytesMut,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    died: watch::Sender<Option<String>>,
}

impl Pipe {
    fn die(&self, reason: String) {
        self.died.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(reason);
            first
        });
    }

    /// Sends what was gathered as one message.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(context)).map_err(gone)?;
        let data = self.gathered.split().freeze();
        Poll::Ready(self.outgoing.send_item(BytesMessage { data }).map_err(gone))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.die("the connection inside it ended".to_owned());
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            if self.end.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.incoming).poll_next(context)) {
                Some(Ok(message)) => self.current = message.data,
                Some(Err(status)) => {
                    self.die(words::status(&status));
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
                }
                None => {
                    self.die("the daemon ended it".to_owned());
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..count]);
        self.current.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// Gathers until it is flushed, which the HTTP/2 codec does after each burst of frames: a message for every write would
/// double their number.
impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= CHUNK {
            ready!(self.poll_send(context))?;
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= CHUNK {
            ready!(self.poll_send(context))?;
        }
        for slice in slices {
            self.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}

impl Connected for Pipe {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
