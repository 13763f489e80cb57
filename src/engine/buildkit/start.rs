use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::daemon::{DaemonOptions, StartedBuilder};
use super::{BuildKitEngine, BuilderGuard, ConnectOptions};
use crate::base::CredentialSource;
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

/// Starts a builder for this process and connects to it. [`crate::engine::Engine::close`] ends it; so do dropping the engine
/// and the death of this process, each with everything that the builder started.
///
/// # Errors
/// [`EngineError::CannotStart`] with the cause and what to do; [`EngineError::Unreachable`] if it started but then answers
/// nothing useful.
pub async fn start(options: StartOptions) -> Result<BuildKitEngine, EngineError> {
    let StartOptions { daemon, layout, credentials, token_client } = options;
    let builder = StartedBuilder::start(daemon).await?;
    let connect = ConnectOptions {
        address: builder.address().to_owned(),
        tls: None,
        layout,
        credentials,
        token_client,
        connect_timeout: CONNECT_TIMEOUT,
    };
    match BuildKitEngine::connect(connect).await {
        Ok(engine) => Ok(engine.with_guard(Box::new(builder))),
        Err(error) => {
            builder.stop().await;
            Err(error)
        }
    }
}

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
        StartedBuilder::last_words(self)
    }
}
