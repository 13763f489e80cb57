//! The daemon's side of the content store, played by a client over a connection in memory.

use std::time::Duration;

use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};

use super::content_server::ContentServer;
use super::*;
use crate::engine::buildkit::proto::containerd::services::content::v1::content_client::ContentClient;

struct Stand {
    layout: Layout,
    ingests: Ingests,
    _directory: TempDir,
}

/// One session: a client of the daemon's kind, and what came of it.
struct Peer {
    client: ContentClient<Channel>,
    receipt: Receipt,
}

impl Stand {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::create(directory.path()).unwrap();
        Self { layout, ingests: Ingests::default(), _directory: directory }
    }

    async fn peer(&self) -> Peer {
        let receipt = Receipt::default();
        let content = Content::new(self.layout.clone(), self.ingests.clone(), receipt.clone());
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let service = ContentServer::new(content).max_decoding_message_size(16 << 20);
        let incoming = stream::once(async { Ok::<_, std::io::Error>(ours) }).chain(stream::pending());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let mut theirs = Some(TokioIo::new(theirs));
        let connector = tower::service_fn(move |_| {
            let theirs = theirs.take();
            async move { theirs.ok_or_else(|| std::io::Error::other("connected before")) }
        });
        let channel = Endpoint::from_static("http://x").connect_with_connector(connector).await.unwrap();
        Peer { client: ContentClient::new(channel).max_encoding_message_size(16 << 20), receipt }
    }

    fn content(&self, digest: Digest) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.layout.open_raw(&digest).ok()?.file.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }
}

/// A `Write` stream as the daemon uses it: a message, then its answer.
struct Writer {
    messages: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
}

fn to_store<T>(store: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(STORE, store.parse().unwrap());
    request
}

fn first(digest: Digest, total: usize) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Stat.into(),
        r#ref: format!("layer-{digest}"),
        total: total.try_into().unwrap(),
        expected: digest.to_string(),
        ..WriteContentRequest::default()
    }
}

fn data(offset: usize, bytes: &[u8]) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Write.into(),
        offset: offset.try_into().unwrap(),
        data: bytes.to_vec().into(),
        ..WriteContentRequest::default()
    }
}

fn commit(digest: Digest, total: usize) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Commit.into(),
        offset: total.try_into().unwrap(),
        total: total.try_into().unwrap(),
        expected: digest.to_string(),
        ..WriteContentRequest::default()
    }
}

impl Peer {
    async fn write(&mut self) -> Writer {
        let (messages, receiver) = mpsc::channel(1);
        let answers = self.client.write(to_store(EXPORT, ReceiverStream::new(receiver))).await.unwrap().into_inner();
        Writer { messages, answers }
    }
}

impl Writer {
    async fn say(&mut self, message: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        self.messages.send(message).await.unwrap();
        self.answers.message().await.map(|answer| answer.expect("an answer"))
    }
}

#[tokio::test]
async fn a_blob_is_durable_when_its_commit_is_answered() {
    let stand = Stand::new();
    let mut peer = stand.peer().await;
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let digest = Digest::of(&bytes);
    let mut writer = peer.write().await;
    for _ in 0..3 {
        let answer = writer.say(first(digest, bytes.len())).await.unwrap();
        assert_eq!((answer.offset, answer.total), (0, 9_000_000));
    }
    // The largest chunk that the daemon may send, and then the rest.
    assert_eq!(writer.say(data(0, &bytes[..8 << 20])).await.unwrap().offset, 8 << 20);
    assert_eq!(writer.say(data(8 << 20, &bytes[8 << 20..])).await.unwrap().offset, 9_000_000);
    assert_eq!(stand.content(digest), None, "nothing partial is ever seen");
    let answer = writer.say(commit(digest, bytes.len())).await.unwrap();
    assert_eq!((answer.offset, answer.digest), (9_000_000, digest.to_string()));
    assert!(stand.content(digest) == Some(bytes));
    assert!(writer.answers.message().await.unwrap().is_none(), "the stream ends");
    assert_eq!(peer.receipt.bytes(), 9_000_000);

    let status = peer.write().await.say(first(digest, 9_000_000)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(peer.receipt.bytes(), 9_000_000, "nothing travelled again");
}

#[tokio::test]
async fn a_second_writer_waits_at_its_first_message_and_is_told_that_it_is_there() {
    let stand = Stand::new();
    let (mut one, mut two) = (stand.peer().await, stand.peer().await);
    let digest = Digest::of("shared");
    let mut first_writer = one.write().await;
    first_writer.say(first(digest, 6)).await.unwrap();
    let mut second_writer = two.write().await;
    second_writer.messages.send(first(digest, 6)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), second_writer.answers.message()).await;
    assert!(early.is_err(), "{early:?}");
    first_writer.say(data(0, b"shared")).await.unwrap();
    first_writer.say(commit(digest, 6)).await.unwrap();
    let status = second_writer.answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(two.receipt.bytes(), 0);
}

#[tokio::test]
async fn when_a_writer_gives_up_one_of_those_that_wait_takes_over() {
    let stand = Stand::new();
    let digest = Digest::of("shared");
    let mut one = stand.peer().await;
    let mut first_writer = one.write().await;
    first_writer.say(first(digest, 6)).await.unwrap();
    first_writer.say(data(0, b"sha")).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut peer = stand.peer().await;
        others.push(tokio::spawn(async move {
            let mut writer = peer.write().await;
            let answer = match writer.say(first(digest, 6)).await {
                Ok(answer) => answer,
                Err(status) => return status.code(),
            };
            assert_eq!(answer.offset, 0, "the bytes of the other one are gone");
            writer.say(data(0, b"shared")).await.unwrap();
            writer.say(commit(digest, 6)).await.unwrap();
            Code::Ok
        }));
    }
    drop(first_writer);
    let mut codes = Vec::new();
    for other in others {
        codes.push(other.await.unwrap());
    }
    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Code::AlreadyExists).count(), 2, "{codes:?}");
    assert_eq!(stand.content(digest).unwrap(), b"shared");
    assert!(stand.ingests.is_idle());
    // The thread of the one that gave up ends in its own time.
    let ingest = stand.layout.root().join("ingest");
    let emptied = async {
        while std::fs::read_dir(&ingest).unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), emptied).await.expect("what was given up leaves nothing");
}

#[tokio::test]
async fn bytes_that_are_not_what_they_must_be_never_become_a_blob() {
    let stand = Stand::new();
    let mut peer = stand.peer().await;
    let digest = Digest::of("right");
    let mut writer = peer.write().await;
    writer.say(first(digest, 5)).await.unwrap();
    writer.say(data(0, b"wrong")).await.unwrap();
    let status = writer.say(commit(digest, 5)).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(stand.content(digest), None);
    assert!(matches!(peer.receipt.take_failure(), Some(StoreError::Corrupt { .. })));

    let mut writer = peer.write().await;
    writer.say(first(digest, 5)).await.unwrap();
    writer.say(data(0, b"rig")).await.unwrap();
    let status = writer.say(commit(digest, 5)).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    let mut writer = peer.write().await;
    writer.say(first(digest, 5)).await.unwrap();
    let status = writer.say(data(0, b"right and more")).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn offsets_follow_the_rules_of_containerd() {
    let stand = Stand::new();
    let mut peer = stand.peer().await;
    let digest = Digest::of("abcdef");
    let mut writer = peer.write().await;
    writer.say(first(digest, 6)).await.unwrap();
    writer.say(data(0, b"xxx")).await.unwrap();
    assert_eq!(writer.say(data(0, b"abc")).await.unwrap().offset, 3, "zero begins again");
    assert_eq!(writer.say(data(3, b"def")).await.unwrap().offset, 6);
    writer.say(commit(digest, 6)).await.unwrap();
    assert_eq!(stand.content(digest).unwrap(), b"abcdef");

    let other = Digest::of("other");
    let mut writer = peer.write().await;
    writer.say(first(other, 5)).await.unwrap();
    assert_eq!(writer.say(data(2, b"her")).await.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn what_it_is_not_told_is_refused() {
    let stand = Stand::new();
    let mut peer = stand.peer().await;
    let info = InfoRequest { digest: Digest::of("x").to_string() };
    let status = peer.client.info(info.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "no store is no default");
    for store in ["oci:other", "local:/etc", ""] {
        let status = peer.client.info(to_store(store, info.clone())).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{store}");
    }
    let (_sender, receiver) = mpsc::channel(1);
    let status = peer.client.write(to_store("oci:catamaran", ReceiverStream::new(receiver))).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "bases are not written to");
    for bad in ["", "sha256:../../etc/passwd", "sha512:00"] {
        let mut message = first(Digest::of("x"), 1);
        bad.clone_into(&mut message.expected);
        assert_eq!(peer.write().await.say(message).await.unwrap_err().code(), Code::InvalidArgument, "{bad}");
    }
}

#[tokio::test]
async fn any_part_of_a_blob_can_be_read() {
    let stand = Stand::new();
    let mut peer = stand.peer().await;
    let bytes: Vec<u8> = (0..700_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let digest = stand.layout.put("", &bytes).unwrap().digest;
    let request = InfoRequest { digest: digest.to_string() };
    let info = peer.client.info(to_store("oci:catamaran", request)).await.unwrap().into_inner().info.unwrap();
    assert_eq!((info.size, info.digest), (700_000, digest.to_string()));
    for (offset, size, expected) in
        [(0, 0, 0..700_000), (5, 10, 5..15), (699_990, 1 << 20, 699_990..700_000), (700_000, 0, 0..0)]
    {
        let request = ReadContentRequest { digest: digest.to_string(), offset, size };
        let mut answers = peer.client.read(to_store("oci:catamaran", request)).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            assert_eq!(answer.offset, offset + i64::try_from(found.len()).unwrap());
            found.extend_from_slice(&answer.data);
        }
        assert!(found == bytes[expected], "{offset} {size}");
    }
    for (offset, size) in [(700_001, 0), (-1, 0), (0, -1)] {
        let request = ReadContentRequest { digest: digest.to_string(), offset, size };
        let status = peer.client.read(to_store("oci:catamaran", request)).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
    }
    let request = ReadContentRequest { digest: Digest::of("missing").to_string(), offset: 0, size: 0 };
    let status = peer.client.read(to_store("oci:catamaran", request)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}
