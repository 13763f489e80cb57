use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Body, Method};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use url::Url;

use super::PushSource;
use super::meter::Meter;
use super::rate::Rate;
use crate::base::{Descriptor, DigestHasher};
use crate::store::StoreError;

/// One request as it is meant: it can be sent any number of times.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
}

impl Call {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::None }
    }
}

/// The body of a request, rewindable.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    None,
    Bytes(Bytes),
    Blob(Box<BlobPayload>),
}

impl Payload {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.size(),
        }
    }
}

/// A blob as a request body: read from disk and hashed again each time it is sent.
#[derive(Debug, Clone)]
pub(super) struct BlobPayload {
    pub(super) source: PushSource,
    pub(super) descriptor: Descriptor,
    /// The bytes that are sent.
    range: Range<u64>,
    /// Why the disk ended a body early. The HTTP library only sees a body that failed.
    pub(super) failure: Arc<Mutex<Option<StoreError>>>,
    /// Told about every piece that is handed to the connection.
    pub(super) gauge: Gauge,
}

/// Counts the bytes of one blob that were handed to the connection, for the time-out, and passes them on to whoever
/// watches the whole push.
#[derive(Debug, Clone, Default)]
pub(super) struct Gauge {
    handed: Arc<AtomicU64>,
    meter: Option<Arc<Meter>>,
    rate: Option<Arc<Rate>>,
}

impl Gauge {
    pub(super) fn with_meter(meter: Arc<Meter>) -> Self {
        Self { handed: Arc::default(), meter: Some(meter), rate: None }
    }

    /// The same, no faster than `rate`.
    #[must_use]
    pub(super) fn capped(mut self, rate: Option<Arc<Rate>>) -> Self {
        self.rate = rate;
        self
    }

    /// Waits until so many bytes more may go.
    pub(super) async fn pass(&self, bytes: u64) {
        if let Some(rate) = &self.rate {
            rate.pass(bytes).await;
        }
    }

    pub(super) fn add(&self, bytes: u64) {
        self.handed.fetch_add(bytes, Ordering::Relaxed);
        if let Some(meter) = &self.meter {
            meter.add(bytes);
        }
    }

    /// What a failed try had sent does not count as done.
    pub(super) fn take_back(&self, bytes: u64) {
        if let Some(meter) = &self.meter {
            meter.take_back(bytes);
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }
}

/// Pieces between the disk and the connection: large enough that hand-over costs nothing, small enough that many uploads
/// at once stay within a few megabytes.
const PIECE: usize = 128 << 10;
/// Pieces read ahead of the connection.
const AHEAD: usize = 3;

impl BlobPayload {
    pub(super) fn new(source: &PushSource, descriptor: &Descriptor, gauge: Gauge) -> Self {
        Self::part(source, descriptor, 0..descriptor.size, gauge)
    }

    /// A part of a blob. Only whole blobs are hashed on their way.
    pub(super) fn part(source: &PushSource, descriptor: &Descriptor, range: Range<u64>, gauge: Gauge) -> Self {
        Self { source: source.clone(), descriptor: descriptor.clone(), range, failure: Arc::default(), gauge }
    }

    /// Bytes that are sent.
    pub(super) const fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn open(&self) -> Result<Box<dyn Read>, StoreError> {
        if self.size() == self.descriptor.size {
            return Ok(Box::new(self.source.blobs().open(&self.descriptor)?));
        }
        let rest = self.source.blobs().open_at(&self.descriptor, self.range.start)?;
        Ok(Box::new(rest.take(self.size())))
    }

    /// Reads the whole blob and compares its digest. Blocks.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let mut reader = self.source.blobs().open(&self.descriptor)?;
        let mut buffer = vec![0_u8; PIECE];
        while reader.read(&mut buffer).map_err(|source| self.unreadable(source))? > 0 {}
        Ok(())
    }

    /// What the disk had against the last body, if anything.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// A body that streams the blob, and `counted` that is told about the bytes too.
    ///
    /// The last piece is held back until the whole is known to be right: a body one byte short of its Content-Length can
    /// never be taken for the blob, so corrupt bytes are never offered to a registry as complete.
    pub(super) fn body(&self, counted: Arc<AtomicU64>) -> Body {
        let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(AHEAD);
        let payload = self.clone();
        let reading = tokio::task::spawn_blocking(move || payload.read_into(&sender));
        // The task ends by itself when the receiver is gone; nobody needs its result, which goes through the channel.
        drop(reading);
        let gauge = self.gauge.clone();
        Body::wrap_stream(ReceiverStream::new(receiver).then(move |piece| {
            let (gauge, counted) = (gauge.clone(), Arc::clone(&counted));
            async move {
                if let Ok(piece) = &piece {
                    gauge.pass(piece.len() as u64).await;
                    gauge.add(piece.len() as u64);
                    counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
                }
                piece
            }
        }))
    }

    fn read_into(&self, sender: &mpsc::Sender<Result<Bytes, std::io::Error>>) {
        if let Err(error) = self.read_pieces(sender) {
            *self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
            // The connection must see a failed body, else it would wait for the rest.
            let broken = std::io::Error::other("the blob could not be read");
            drop(sender.blocking_send(Err(broken)));
        }
    }

    fn read_pieces(&self, sender: &mpsc::Sender<Result<Bytes, std::io::Error>>) -> Result<(), StoreError> {
        let mut reader = self.open()?;
        let mut held: Option<Bytes> = None;
        loop {
            let mut piece = vec![0_u8; PIECE.min(usize::try_from(self.size()).unwrap_or(PIECE).max(1))];
            let mut filled = 0;
            while filled < piece.len() {
                let count = reader.read(&mut piece[filled..]).map_err(|source| self.unreadable(source))?;
                if count == 0 {
                    break;
                }
                filled += count;
            }
            piece.truncate(filled);
            if let Some(ready) = held.take()
                && !ready.is_empty()
                && sender.blocking_send(Ok(ready)).is_err()
            {
                // The exchange is over: answered early, or given up.
                return Ok(());
            }
            if filled == 0 {
                return Ok(());
            }
            held = Some(Bytes::from(piece));
        }
    }

    /// What a failed read means. The reader tells of wrong bytes in words only: look again for the typed answer.
    fn unreadable(&self, source: std::io::Error) -> StoreError {
        let expected = self.descriptor.digest;
        if source.kind() == std::io::ErrorKind::InvalidData
            && let Ok(mut raw) = self.source.blobs().open_at(&self.descriptor, 0)
        {
            let mut hasher = DigestHasher::new();
            let mut buffer = vec![0_u8; PIECE];
            while let Ok(count) = raw.read(&mut buffer)
                && count > 0
            {
                hasher.update(&buffer[..count]);
            }
            return StoreError::Corrupt { expected, found: hasher.finish() };
        }
        let path = self.source.blobs().place(&expected);
        StoreError::Io { action: "read", path, source }
    }
}
