use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::error::SendError;
use super::filter::{Filter, Selection};
use super::observer::Observer;
use super::table::{Announced, Table};
use super::tree::{Tree, is_gone, is_swapped};
use super::walk::{Entry, Walk};
use crate::engine::RenderedFile;
use crate::engine::buildkit::proto::fsutil::types::packet::PacketType;
use crate::engine::buildkit::proto::fsutil::types::{Packet, Stat};

/// Bytes of a file in one packet. Larger ones are hardly faster, but with two dozen solves at once they double the memory:
/// each packet is held by the queue here, by HTTP/2 inside the tunnel and by HTTP/2 outside of it.
const CHUNK: usize = 32 * 1024;
/// Files that are read at once, as many as the reference sender takes. The daemon takes data of any that it asked for.
const READERS: usize = 4;
/// Packets between the readers and the connection: enough that neither waits for the other in turns.
const QUEUE: usize = 16;

/// What to send.
#[derive(Debug)]
pub(super) struct Job {
    /// What the daemon calls it.
    pub(super) name: String,
    pub(super) directory: PathBuf,
    /// Clean paths relative to it.
    pub(super) always_excluded: Vec<Vec<u8>>,
    pub(super) rendered: Vec<RenderedFile>,
    pub(super) selection: Selection,
}

/// Packets to the daemon. Dropping it ends the transfer.
#[derive(Debug)]
pub(super) struct Outgoing {
    packets: mpsc::Receiver<Result<Packet, Status>>,
    ended: bool,
    _driver: AbortOnDropHandle<()>,
    _stop: DropGuard,
}

/// Sends a directory by the protocol of fsutil (`send.go`, `receive.go`), in these steps: a STAT for every entry and an empty
/// one; for each REQ the DATA of that file and an empty one; FIN for FIN, and the end at once.
///
/// `incoming` is always drained, whatever the packets to the daemon wait for: HTTP/2 has a budget for small frames that
/// nobody reads, and the connection dies when it is used up. Everything that touches the disk is done by threads.
pub(super) fn send<S>(job: Job, incoming: S, observer: Observer) -> Outgoing
where
    S: Stream<Item = Result<Packet, Status>> + Send + Unpin + 'static,
{
    let (out, packets) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let transfer = Arc::new(Transfer {
        job,
        observer,
        tree: OnceLock::new(),
        table: Mutex::default(),
        queue: Mutex::default(),
        failure: Mutex::default(),
        out,
        stop: stop.clone(),
    });
    let driver = AbortOnDropHandle::new(tokio::spawn(transfer.drive(incoming)));
    Outgoing { packets, ended: false, _driver: driver, _stop: stop.drop_guard() }
}

impl Stream for Outgoing {
    type Item = Result<Packet, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = self.packets.poll_recv(context);
        if let Poll::Ready(item) = &next {
            // Nothing comes after FIN, whoever still holds a sender: the daemon waits for our end before it ends.
            self.ended = item
                .as_ref()
                .is_none_or(|item| item.as_ref().map_or(true, |packet| packet.r#type() == PacketType::PacketFin));
        }
        next
    }
}

struct Transfer {
    job: Job,
    observer: Observer,
    /// Set before the first STAT goes out.
    tree: OnceLock<Tree>,
    table: Mutex<Table>,
    queue: Mutex<Queue>,
    failure: Mutex<Option<SendError>>,
    out: mpsc::Sender<Result<Packet, Status>>,
    stop: CancellationToken,
}

/// Files that the daemon asked for and nobody reads yet.
#[derive(Default)]
struct Queue {
    files: VecDeque<(u32, Announced)>,
    readers: usize,
}

/// How listening to the daemon ended.
enum End {
    Finished,
    /// The daemon gave up, in its words.
    Refused(String),
    /// It broke the protocol, or the stream did.
    Broken(Status),
    /// We gave up.
    Stopped,
}

impl Transfer {
    async fn drive<S>(self: Arc<Self>, mut incoming: S)
    where
        S: Stream<Item = Result<Packet, Status>> + Send + Unpin,
    {
        let mut threads = JoinSet::new();
        let walker = self.clone();
        threads.spawn_blocking(move || walker.announce_all());
        let end = tokio::select! {
            biased;
            () = self.stop.cancelled() => End::Stopped,
            end = self.listen(&mut incoming, &mut threads) => end,
        };
        let last = match end {
            End::Finished => Ok(packet(PacketType::PacketFin)),
            End::Refused(words) => Err(Status::aborted(format!("the builder gave up: {words}"))),
            End::Broken(status) => Err(status),
            End::Stopped => {
                let words = lock(&self.failure).as_ref().unwrap_or(&SendError::GivenUp).to_string();
                let told = Packet { data: Bytes::from(words.clone()), ..packet(PacketType::PacketErr) };
                self.tell(Ok(told)).await;
                Err(Status::failed_precondition(words))
            }
        };
        self.stop.cancel();
        self.tell(last).await;
    }

    /// Sends one of the last packets. That nobody is there any more to be told is no news.
    async fn tell(&self, item: Result<Packet, Status>) {
        if self.out.send(item).await.is_err() {
            self.stop.cancel();
        }
    }

    async fn listen<S>(self: &Arc<Self>, incoming: &mut S, threads: &mut JoinSet<()>) -> End
    where
        S: Stream<Item = Result<Packet, Status>> + Unpin,
    {
        loop {
            let packet = match incoming.next().await {
                Some(Ok(packet)) => packet,
                Some(Err(status)) => return End::Broken(status),
                None => return End::Broken(Status::cancelled("the stream ended before the transfer did")),
            };
            match packet.r#type() {
                PacketType::PacketReq => {
                    let Some(file) = lock(&self.table).take(packet.id) else {
                        return End::Broken(Status::invalid_argument(format!("invalid file id {}", packet.id)));
                    };
                    while threads.try_join_next().is_some() {}
                    if self.enqueue(packet.id, file) {
                        let reader = self.clone();
                        threads.spawn_blocking(move || reader.read_files());
                    }
                }
                PacketType::PacketFin => return End::Finished,
                PacketType::PacketErr => return End::Refused(String::from_utf8_lossy(&packet.data).into_owned()),
                PacketType::PacketStat | PacketType::PacketData => {
                    return End::Broken(Status::invalid_argument("a receiver sends neither STAT nor DATA"));
                }
            }
        }
    }

    /// Queues a file; true if one more reader is wanted for it.
    fn enqueue(&self, number: u32, file: Announced) -> bool {
        let mut queue = lock(&self.queue);
        queue.files.push_back((number, file));
        let more = queue.readers < READERS;
        queue.readers += usize::from(more);
        more
    }

    /// The thread that walks.
    fn announce_all(&self) {
        if let Err(error) = self.try_announce_all() {
            self.fail(error);
        }
    }

    fn try_announce_all(&self) -> Result<(), SendError> {
        let directory = &self.job.directory;
        let failed = |error| SendError::io(directory.as_os_str().as_encoded_bytes(), &error);
        let tree =
            Tree::open(directory).and_then(|tree| tree.with_rendered(directory, &self.job.rendered)).map_err(failed)?;
        let tree = self.tree.get_or_init(|| tree);
        let filter = Filter::new(&self.job.name, &self.job.selection, tree)?;
        let given_up = || self.stop.is_cancelled() || self.out.is_closed();
        let mut walk = Walk::new(tree, &filter, &self.job.always_excluded, &given_up);
        for entry in walk.by_ref() {
            let entry = entry?;
            lock(&self.table).announce(&entry).ok_or_else(|| {
                SendError::refused(entry.path.as_bytes(), "there are more files than can be numbered")
            })?;
            self.put(Packet { stat: Some(stat(entry)), ..packet(PacketType::PacketStat) })?;
        }
        self.observer.left_out(&self.job.name, walk.left_out());
        self.put(packet(PacketType::PacketStat))
    }

    /// A thread that reads files until none is asked for.
    fn read_files(&self) {
        loop {
            let next = {
                let mut queue = lock(&self.queue);
                let next = queue.files.pop_front().filter(|_| !self.stop.is_cancelled());
                if next.is_none() {
                    queue.readers -= 1;
                }
                next
            };
            let Some((number, file)) = next else { return };
            if let Err(error) = self.send_file(number, &file) {
                self.fail(error);
            }
        }
    }

    /// Sends the content of one file.
    ///
    /// It must be what was announced, from the first byte to the last: a file that somebody writes meanwhile would reach the
    /// image half old and half new, and a file that cannot be read would reach it empty, as it does with the reference.
    fn send_file(&self, number: u32, announced: &Announced) -> Result<(), SendError> {
        let path = announced.path.as_bytes();
        let changed = || SendError::changed(path);
        let failed = |error: io::Error| match error {
            _ if is_gone(&error) => SendError::refused(path, "it vanished while it was being sent"),
            _ if is_swapped(&error) => changed(),
            _ => SendError::io(path, &error),
        };
        let tree = self.tree.get().ok_or(SendError::GivenUp)?;
        let mut file = tree.file(path).map_err(failed)?;
        if !same(&file, announced).map_err(failed)? {
            return Err(changed());
        }
        let size = u64::try_from(announced.size).unwrap_or(0);
        let mut sent = 0;
        while sent < size {
            let chunk = usize::try_from(size - sent).unwrap_or(CHUNK).min(CHUNK);
            let mut data = vec![0; chunk];
            let length = read(&mut file, &mut data).map_err(failed)?;
            if length == 0 {
                return Err(changed());
            }
            data.truncate(length);
            self.put(Packet { id: number, data: data.into(), ..packet(PacketType::PacketData) })?;
            sent += length as u64;
            self.observer.sent.fetch_add(length as u64, Ordering::Relaxed);
        }
        if !same(&file, announced).map_err(failed)? {
            return Err(changed());
        }
        self.put(Packet { id: number, ..packet(PacketType::PacketData) })
    }

    /// Hands a packet to the connection, waiting for room.
    fn put(&self, packet: Packet) -> Result<(), SendError> {
        if self.stop.is_cancelled() {
            return Err(SendError::GivenUp);
        }
        self.out.blocking_send(Ok(packet)).map_err(|_| SendError::GivenUp)
    }

    /// Ends the transfer; the first reason is the one that is told.
    fn fail(&self, error: SendError) {
        if let Some(failure) = error.to_failure() {
            self.observer.failure.record(failure);
        }
        lock(&self.failure).get_or_insert(error);
        self.stop.cancel();
    }
}

/// Whether a file is still the one that was announced. Inode numbers are not compared: not every file system keeps them.
fn same(file: &std::fs::File, announced: &Announced) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let modified = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    let size = i64::try_from(metadata.len()).unwrap_or(i64::MAX);
    Ok(metadata.is_file() && size == announced.size && modified == announced.modified)
}

fn read(file: &mut std::fs::File, data: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(data) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn packet(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

fn stat(entry: Entry) -> Stat {
    Stat {
        path: entry.path,
        mode: entry.mode,
        size: entry.size,
        mod_time: entry.modified,
        linkname: entry.link,
        ..Stat::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
