use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::base::Digest;
use crate::store::{Layout, StoreError};

/// Which blobs are being written by any session of this process, so that each is received once.
///
/// Cells of one component share their base, and the daemon offers it to each of them at the same time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ingests(Arc<Mutex<HashMap<Digest, Waiting>>>);

/// The turn at one digest, and how many have or want it.
#[derive(Debug)]
struct Waiting {
    turn: Arc<Semaphore>,
    users: usize,
}

/// The right to write one blob; dropping it lets the next one have it.
#[derive(Debug)]
pub(super) struct Claim {
    ingests: Ingests,
    digest: Digest,
    permit: Option<OwnedSemaphorePermit>,
}

impl Ingests {
    /// Waits until nobody else writes `digest`. Cancellation-safe.
    pub(super) async fn claim(&self, digest: Digest) -> Claim {
        let turn = {
            let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = map.entry(digest).or_insert_with(|| Waiting { turn: Arc::new(Semaphore::new(1)), users: 0 });
            entry.users += 1;
            entry.turn.clone()
        };
        // Made before the wait, so that giving up takes the user off the list again.
        let mut claim = Claim { ingests: self.clone(), digest, permit: None };
        claim.permit = turn.acquire_owned().await.ok();
        claim
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut map = self.ingests.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.permit = None;
        if let Some(entry) = map.get_mut(&self.digest) {
            entry.users -= 1;
            if entry.users == 0 {
                map.remove(&self.digest);
            }
        }
    }
}

/// What sessions of one solve received, and the first thing that went wrong in storing it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Receipt {
    bytes: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<StoreError>>>,
}

impl Receipt {
    /// Bytes of blobs that travelled.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The first failure, which the daemon knows only as a text.
    pub(crate) fn take_failure(&self) -> Option<StoreError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn fail(&self, error: StoreError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// A blob that a thread of its own hashes and writes while the next bytes are on their way.
///
/// The daemon sends a megabyte and waits for the answer: answering when the bytes are taken rather than when they are on
/// disk lets both sides work at once. What is promised to be durable is only promised by [`Ingest::commit`].
#[derive(Debug)]
pub(super) struct Ingest {
    orders: mpsc::Sender<Order>,
    /// Why the thread stopped taking orders.
    failure: Arc<Mutex<Option<StoreError>>>,
    taken: u64,
}

#[derive(Debug)]
enum Order {
    Append(Bytes),
    Restart,
    Commit { digest: Digest, size: u64, done: oneshot::Sender<()> },
}

/// Messages between the reactor and the thread; each holds up to a megabyte.
const QUEUE: usize = 2;

impl Ingest {
    /// Begins to write a blob.
    pub(super) fn begin(layout: Layout) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let failure = Arc::new(Mutex::new(None));
        let slot = failure.clone();
        tokio::task::spawn_blocking(move || {
            let mut queue = queue;
            let result = work(&layout, &mut queue);
            // Before the queue is closed: whoever finds it closed looks here.
            if let Err((error, done)) = result {
                slot.lock().unwrap_or_else(PoisonError::into_inner).replace(error);
                drop(done);
            }
            drop(queue);
        });
        Self { orders, failure, taken: 0 }
    }

    /// Bytes taken so far: the only offset at which more may come.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next bytes; waits while the disk is behind. An error may be that of bytes taken earlier.
    pub(super) async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.taken += bytes.len() as u64;
        self.send(Order::Append(bytes)).await
    }

    /// Forgets what was taken.
    pub(super) async fn restart(&mut self) -> Result<(), StoreError> {
        self.taken = 0;
        self.send(Order::Restart).await
    }

    /// Makes the blob durable under `digest`; when this returns, its bytes and its name survive a power cut.
    pub(super) async fn commit(&mut self, digest: Digest, size: u64) -> Result<(), StoreError> {
        let (done, result) = oneshot::channel();
        self.send(Order::Commit { digest, size, done }).await?;
        match result.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failed()),
        }
    }

    async fn send(&mut self, order: Order) -> Result<(), StoreError> {
        match self.orders.send(order).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failed()),
        }
    }

    /// Without an answer the thread ends only when the runtime does.
    fn failed(&self) -> StoreError {
        let slot = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        slot.unwrap_or_else(|| StoreError::Io {
            action: "write",
            path: "ingest".into(),
            source: std::io::Error::other("the program is ending"),
        })
    }
}

/// Does what is ordered until the commit, the first error, or the end of the orders: an abandoned blob leaves nothing.
///
/// An error of the commit comes with the channel that waits for it.
fn work(layout: &Layout, queue: &mut mpsc::Receiver<Order>) -> Result<(), (StoreError, Option<oneshot::Sender<()>>)> {
    let early = |error| (error, None);
    let mut writer = layout.writer().map_err(early)?;
    while let Some(order) = queue.blocking_recv() {
        match order {
            Order::Append(bytes) => writer.append(&bytes).map_err(early)?,
            Order::Restart => writer.restart().map_err(early)?,
            Order::Commit { digest, size, done } => {
                return match writer.commit(Some(digest), Some(size)) {
                    Ok(_) => {
                        let _unheard = done.send(());
                        Ok(())
                    }
                    Err(error) => Err((error, Some(done))),
                };
            }
        }
    }
    Ok(())
}
