use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::trouble::Trouble;
use super::{RegistryError, RetryPolicy};
use crate::base::ErrorClass;

/// The mood of one host, shared by everything that talks to it: a pause it asked for concerns all workers, and failures
/// without any success between them are counted together, so that many workers do not each make a series of their own.
#[derive(Debug)]
pub(super) struct Pace {
    until: Mutex<Option<Instant>>,
    /// The host said 429 without saying for how long: one request at a time until it has taken some.
    narrow: AtomicU32,
    gate: Semaphore,
    strikes: AtomicU32,
    /// What kind of trouble people were told of, until it is over.
    told: Mutex<Option<ErrorClass>>,
}

/// Failures in a row, over all workers, that end every series; in units of one operation's tries.
const PATIENCE: u32 = 3;
/// Successes in a row after which a host that limited us is trusted with parallel requests again.
const RECOVERY: u32 = 16;

impl Default for Pace {
    fn default() -> Self {
        Self {
            until: Mutex::new(None),
            narrow: AtomicU32::new(0),
            gate: Semaphore::new(1),
            strikes: AtomicU32::new(0),
            told: Mutex::new(None),
        }
    }
}

impl Pace {
    /// Waits while the host wants no requests; the permit, where there is one, is held during the request.
    pub(super) async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        // The gate comes first: whoever waits behind it must look at the pause when its turn comes.
        let permit = if self.narrow.load(Ordering::Relaxed) > 0 { self.gate.acquire().await.ok() } else { None };
        loop {
            let until = *self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return permit,
            }
        }
    }

    /// The host answered as it should.
    pub(super) fn succeeded(&self) {
        self.strikes.store(0, Ordering::Relaxed);
        let _ = self.narrow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    /// Whether trouble of this kind is news: a hundred workers wait for one host that is down, each several times.
    pub(super) fn is_news(&self, class: ErrorClass) -> bool {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        told.replace(class) != Some(class)
    }

    /// Whether it is news that the host answers: true once after trouble that was told.
    pub(super) fn is_over(&self) -> bool {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take().is_some()
    }

    /// One request at a time, until the host has taken some.
    pub(super) fn narrow(&self) {
        self.narrow.store(RECOVERY, Ordering::Relaxed);
    }

    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut slot = self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if slot.is_none_or(|current| current < until) {
            *slot = Some(until);
        }
    }
}

/// The tries of one operation.
#[derive(Debug)]
pub(super) struct Tries {
    policy: RetryPolicy,
    made: u32,
    waited: Duration,
}

impl Tries {
    pub(super) const fn new(policy: RetryPolicy) -> Self {
        Self { policy, made: 0, waited: Duration::ZERO }
    }

    /// Says how long to wait before the next try, or why there is none.
    ///
    /// Full jitter (a random part of a doubling wait) where the host says nothing, its `Retry-After` up to a cap where it
    /// does; that wait then concerns every request to the host.
    pub(super) fn after(&mut self, pace: &Pace, trouble: Trouble) -> Result<Duration, RegistryError> {
        if !trouble.transient {
            return Err(trouble.into_error());
        }
        self.made += trouble.weight;
        let strikes = pace.strikes.fetch_add(trouble.weight, Ordering::Relaxed) + trouble.weight;
        if self.made >= self.policy.tries || strikes >= self.policy.tries.saturating_mul(PATIENCE) {
            return Err(self.give_up(trouble));
        }
        let doubled = self.policy.first_wait.saturating_mul(1 << (self.made - 1).min(16));
        let longest = doubled.min(self.policy.longest_wait);
        let wait = match trouble.retry_after {
            Some(asked) => asked.min(self.policy.longest_retry_after),
            None => longest.mul_f64(random_part()),
        };
        if trouble.limited {
            if trouble.retry_after.is_none() {
                pace.narrow();
            }
            pace.pause(wait);
        }
        self.waited += wait;
        Ok(wait)
    }

    fn give_up(&self, trouble: Trouble) -> RegistryError {
        match *trouble.error {
            RegistryError::Refused { host, action, .. } if trouble.limited => {
                RegistryError::RateLimited { host, action, tries: self.made, waited: self.waited }
            }
            error => error,
        }
    }
}

/// A number between one half and one, different every time: so that many workers do not come back at the same moment.
fn random_part() -> f64 {
    // The standard library's hash keys are its only source of randomness; spreading retries needs no better one.
    let bits = RandomState::new().build_hasher().finish();
    let thousandth = u16::try_from(bits % 1000).unwrap_or_default();
    0.5 + f64::from(thousandth) / 2000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Answer;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            tries: 4,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(3),
            longest_retry_after: Duration::from_secs(60),
        }
    }

    fn trouble(status: u16, retry_after: Option<u64>) -> Trouble {
        Trouble {
            error: Box::new(RegistryError::Refused {
                host: "h".to_owned(),
                action: "a".to_owned(),
                status,
                answer: Answer::default(),
            }),
            transient: true,
            limited: status == 429,
            retry_after: retry_after.map(Duration::from_secs),
            weight: 1,
        }
    }

    #[tokio::test]
    async fn waits_longer_each_time_and_gives_up() {
        let pace = Pace::default();
        let mut tries = Tries::new(policy());
        let mut waits = Vec::new();
        let error = loop {
            match tries.after(&pace, trouble(503, None)) {
                Ok(wait) => waits.push(wait),
                Err(error) => break error,
            }
        };
        assert_eq!(waits.len(), 3);
        for (wait, longest) in waits.iter().zip([1, 2, 3]) {
            let longest = Duration::from_secs(longest);
            assert!(*wait >= longest / 2 && *wait <= longest, "{wait:?} of {longest:?}");
        }
        assert!(matches!(error, RegistryError::Refused { status: 503, .. }));
        // Other operations at the same host do not each make a series of their own.
        let mut series = std::iter::from_fn(|| Some(Tries::new(policy()).after(&pace, trouble(503, None)).is_ok()));
        assert_eq!(series.position(|goes_on| !goes_on), Some(7), "twelve failures in a row end it");
        pace.succeeded();
        assert!(Tries::new(policy()).after(&pace, trouble(503, None)).is_ok());
    }

    #[tokio::test]
    async fn a_pause_that_the_host_asks_for_holds_everybody() {
        let pace = Pace::default();
        let asked = Duration::from_millis(30);
        let limited = Trouble { retry_after: Some(asked), ..trouble(429, None) };
        assert_eq!(Tries::new(policy()).after(&pace, limited).expect("a wait"), asked);
        let before = Instant::now();
        assert!(pace.wait().await.is_none(), "a limit with a time does not narrow");
        assert!(before.elapsed() >= asked);
        let long = Tries::new(policy()).after(&pace, trouble(429, Some(100_000))).expect("a wait");
        assert_eq!(long, Duration::from_secs(60), "a registry cannot stop us for a day");
    }

    #[test]
    fn trouble_is_told_once_until_it_is_another_or_over() {
        let pace = Pace::default();
        assert!(!pace.is_over(), "nothing was told");
        assert!(pace.is_news(ErrorClass::Network));
        assert!(!pace.is_news(ErrorClass::Network));
        assert!(pace.is_news(ErrorClass::RateLimited));
        assert!(pace.is_over() && !pace.is_over());
        assert!(pace.is_news(ErrorClass::RateLimited));
    }

    #[tokio::test]
    async fn a_limit_without_a_time_narrows_to_one_request() {
        let pace = Pace::default();
        let quick = RetryPolicy { first_wait: Duration::from_millis(1), ..policy() };
        Tries::new(quick).after(&pace, trouble(429, None)).expect("a wait");
        let first = pace.wait().await;
        assert!(first.is_some());
        let second = tokio::time::timeout(Duration::from_millis(50), pace.wait()).await;
        assert!(second.is_err(), "one at a time");
        drop(first);
        for _ in 0..RECOVERY {
            pace.succeeded();
        }
        assert!(pace.wait().await.is_none());
    }
}
