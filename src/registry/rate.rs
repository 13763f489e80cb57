use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A cap on the bytes of blobs that move to and from one host in a second, shared by everything that moves some.
///
/// Each piece is given its own span of time, and goes on when that is over: no second has more than its share, and many
/// uploads at once get equal parts of it.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u64,
    /// When all that was let pass so far has had its time.
    over: Mutex<Instant>,
}

impl Rate {
    pub(super) fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), over: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may have moved.
    pub(super) async fn pass(&self, bytes: u64) {
        let until = {
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.per_second);
            let span = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
            *over = (*over).max(Instant::now()) + span;
            *over
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_share_one_rate() {
        let begun = Instant::now();
        let rate = Rate::new(1_000_000);
        // A tenth of a second altogether, however it is cut.
        let all = (0..10).map(|_| rate.pass(10_000));
        futures_util::future::join_all(all).await;
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
        rate.pass(0).await;
    }
}
