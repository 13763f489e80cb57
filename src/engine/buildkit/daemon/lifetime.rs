use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::logs;
use crate::sys::{ChildExit, Lifeline};

/// How long a daemon may take to end in order. Its data bases are made for crashes: nothing is lost by not waiting longer.
const GRACE: Duration = Duration::from_secs(3);

/// How long the kernel may take to end what is left: processes in uninterruptible waits end when their waits do.
const END: Duration = Duration::from_secs(10);

/// A daemon that was started for this process.
///
/// Dropping it kills the daemon with everything it started; [`stop`](Self::stop) lets it end in order first. The same
/// happens, without the order, when this process dies.
pub struct StartedBuilder {
    pub(super) address: String,
    pub(super) version: String,
    pub(super) log: PathBuf,
    /// Limits of this daemon that people should know, in sentences.
    pub(super) limits: Vec<String>,
    pub(super) lifeline: Mutex<Option<Lifeline>>,
    pub(super) ended: watch::Receiver<Option<ChildExit>>,
}

impl StartedBuilder {
    /// Where it listens, as a BuildKit address: `unix:///…`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The version as it tells it: `v0.32.2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where its output goes.
    pub fn log(&self) -> &std::path::Path {
        &self.log
    }

    /// What it cannot do on this machine, in sentences; empty as a rule.
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<ChildExit> {
        *self.ended.borrow()
    }

    /// Ends when the daemon does. Safe to drop.
    pub async fn ended(&self) -> ChildExit {
        wait(self.ended.clone()).await
    }

    /// Why it ended by itself, in one line: how, and its own words where its log has some. `None` while it lives.
    pub fn last_words(&self) -> Option<String> {
        let exit = self.exit()?;
        Some(match logs::last_error(&logs::tail(&self.log)) {
            Some(words) => format!("buildkitd {exit}: {words}"),
            None => format!("buildkitd {exit}"),
        })
    }

    /// Ends the daemon: in order if it does so within some seconds, else with force. Returns when its last process, mount
    /// and socket are gone. May be called at any time and again. Connections should be closed before: the daemon waits
    /// for calls that are under way (moby/buildkit cmd/buildkitd/main.go, `GracefulStop`).
    pub async fn stop(&self) {
        let lifeline = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut lifeline) = lifeline {
            lifeline.terminate();
            // Being late is what the next line is for.
            let _ = tokio::time::timeout(GRACE, self.ended()).await;
            drop(lifeline);
        }
        let _ = tokio::time::timeout(END, self.ended()).await;
    }
}

async fn wait(mut ended: watch::Receiver<Option<ChildExit>>) -> ChildExit {
    match ended.wait_for(Option::is_some).await {
        // The sender sends before it goes away.
        Ok(exit) => exit.unwrap_or(ChildExit::Signal(9)),
        Err(_) => ChildExit::Signal(9),
    }
}

impl fmt::Debug for StartedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartedBuilder")
            .field("address", &self.address)
            .field("exit", &self.exit())
            .finish_non_exhaustive()
    }
}
