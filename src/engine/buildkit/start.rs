use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::daemon::{self, DaemonOptions, StartedBuilder};
use super::{BuildKitEngine, BuilderGuard, ConnectOptions};
use crate::base::{CredentialSource, Platform};
use crate::engine::EngineError;
use crate::store::Layout;

/// What a builder is started with, and what its engine is given. See [`DaemonOptions`] and [`ConnectOptions`].
pub struct StartOptions {
    /// The daemon.
    pub daemon: DaemonOptions,
    /// Where results go and named contexts come from.
    pub layout: Layout,
    /// Credentials for pulls of base images.
    pub credentials: Arc<dyn CredentialSource>,
    /// Fetches registry tokens, so that passwords do not leave this process.
    pub token_client: Option<reqwest::Client>,
}

/// How long a daemon that has answered already may take to tell what it can do. It probes foreign platforms for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Time from the break of a connection until the daemon's end is certainly known, if it has ended.
const END_BECOMES_KNOWN: Duration = Duration::from_millis(300);

/// Starts a builder for this process and connects to it. [`crate::engine::Engine::close`] ends it; so do dropping the engine
/// and the death of this process, each with everything that the builder started.
///
/// # Errors
/// [`EngineError::CannotStart`] with the cause and what to do; [`EngineError::Unreachable`] if it started but then answers
/// nothing useful.
pub async fn start(options: StartOptions) -> Result<BuildKitEngine, EngineError> {
    let StartOptions { daemon: settings, layout, credentials, token_client } = options;
    let search = daemon::search_path(&settings.binary, &settings.search);
    let builder = StartedBuilder::start(settings).await?;
    let connect = ConnectOptions {
        address: builder.address().to_owned(),
        tls: None,
        layout,
        credentials,
        token_client,
        connect_timeout: CONNECT_TIMEOUT,
    };
    match BuildKitEngine::connect(connect).await {
        Ok(mut engine) => {
            engine.capabilities.platforms.extend(bundled(&search, &engine.capabilities.platforms));
            Ok(engine.with_guard(Box::new(builder)))
        }
        Err(error) => {
            builder.stop().await;
            Err(error)
        }
    }
}

/// Platforms that a daemon runs although it does not list them: an emulator of this name in its PATH is mounted into the
/// containers that need it (moby/buildkit `solver/llbsolver/ops/exec_binfmt.go`), with nothing registered in the kernel. The
/// official image ships them.
fn bundled(search: &[PathBuf], listed: &[Platform]) -> Vec<Platform> {
    EMULATED
        .iter()
        .filter(|(_, machine)| search.iter().any(|folder| folder.join(format!("buildkit-qemu-{machine}")).is_file()))
        .filter_map(|(architecture, _)| Platform::from_parts("linux", architecture, None).ok())
        .filter(|platform| !listed.iter().any(|known| platform.runs_on(known)))
        .collect()
}

/// (architecture for OCI, machine for qemu)
const EMULATED: [(&str, &str); 8] = [
    ("amd64", "x86_64"),
    ("arm64", "aarch64"),
    ("arm", "arm"),
    ("386", "i386"),
    ("riscv64", "riscv64"),
    ("ppc64le", "ppc64le"),
    ("s390x", "s390x"),
    ("mips64le", "mips64el"),
];

impl fmt::Debug for StartOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartOptions").field("daemon", &self.daemon).finish_non_exhaustive()
    }
}

impl BuilderGuard for StartedBuilder {
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move { self.stop().await }.boxed()
    }

    fn last_words(&self) -> Option<String> {
        // The connection breaks some milliseconds before the daemon's end is known. Blocking so briefly, once, for a run
        // that is failing anyway, is the price for a cause instead of "connection reset".
        let begin = Instant::now();
        while self.exit().is_none() && begin.elapsed() < END_BECOMES_KNOWN {
            std::thread::sleep(Duration::from_millis(5));
        }
        StartedBuilder::last_words(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_beside_the_daemon_counts_where_nothing_better_is_listed() {
        let folder = tempfile::tempdir().expect("a folder");
        for machine in ["aarch64", "riscv64"] {
            std::fs::write(folder.path().join(format!("buildkit-qemu-{machine}")), "").expect("a file");
        }
        let platform = |text: &str| text.parse::<Platform>().expect("a platform");
        let search = [folder.path().to_owned()];
        assert_eq!(bundled(&search, &[platform("amd64"), platform("arm64")]), [platform("riscv64")]);
        assert_eq!(bundled(&[], &[platform("amd64")]), []);
    }
}
