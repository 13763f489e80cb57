use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;

use super::connect::{BuilderGuard, MESSAGE_LIMIT};
use super::context::ContextEntry;
use super::gateway::Network;
use super::named;
use super::proto::containerd::services::content::v1::content_server::ContentServer;
use super::proto::grpc::health::v1::health_server::HealthServer;
use super::proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use super::proto::moby::filesync::v1::auth_server::AuthServer;
use super::proto::moby::sshforward::v1::ssh_server::SshServer;
use super::recipe::Recipe;
use super::result;
use super::session::{Auth, Content, Health, Ingests, Receipt, Secrets, Session, Ssh};
use super::solve::{Outcome, Solve};
use super::words;
use crate::base::Platform;
use crate::engine::{BuildRequest, BuiltImage, Capabilities, Engine, EngineError, ServiceHandle, ServiceRequest};
use crate::store::{Layout, StoreError};

/// What the session of a solve serves.
const METHODS: [&str; 11] = [
    "/grpc.health.v1.Health/Check",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Write",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
];

/// A buildkitd, driven over gRPC.
pub struct BuildKitEngine {
    pub(super) capabilities: Capabilities,
    pub(super) shared: Arc<Shared>,
}

/// What all builds of an engine use together.
pub(super) struct Shared {
    pub(super) address: String,
    pub(super) channel: Channel,
    pub(super) layout: Layout,
    pub(super) ingests: Ingests,
    pub(super) auth: Auth,
    /// Sessions that serve context directories, as long as a build uses them.
    pub(super) contexts: Mutex<HashMap<String, Weak<ContextEntry>>>,
    pub(super) network: Network,
    /// The builder's own platform.
    pub(super) native: Platform,
    pub(super) closed: CancellationToken,
    pub(super) guard: Mutex<Option<Box<dyn BuilderGuard>>>,
}

impl Shared {
    pub(super) fn guard(&self) -> MutexGuard<'_, Option<Box<dyn BuilderGuard>>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The builder went away; where it was started for this run, its own log may tell why.
    pub(super) fn lost(&self, reason: &str) -> EngineError {
        let words = self.guard().as_ref().and_then(|guard| guard.last_words());
        let reason = words.map_or_else(|| reason.to_owned(), |words| format!("{words} ({reason})"));
        EngineError::Lost { address: self.address.clone(), reason }
    }
}

impl fmt::Debug for BuildKitEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildKitEngine").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl Engine for BuildKitEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn build(&self, request: BuildRequest) -> BoxFuture<'_, Result<BuiltImage, EngineError>> {
        async move {
            let cancelled = || EngineError::Cancelled { cell: request.cell.clone() };
            if request.cancel.is_cancelled() {
                return Err(cancelled());
            }
            // An engine that is closed under a build is no failure of the build.
            let cancel = request.cancel.child_token();
            let solve = tokio::select! {
                solve = self.prepare(&request) => solve?,
                () = cancel.cancelled() => return Err(cancelled()),
                () = self.shared.closed.cancelled() => return Err(cancelled()),
            };
            let outcome = solve.run(&self.shared, &request).await?;
            self.accept(&request, outcome).await
        }
        .boxed()
    }

    fn serve(&self, request: ServiceRequest) -> BoxFuture<'_, Result<ServiceHandle, EngineError>> {
        self.run_service(request).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.shared.closed.cancel();
            let guard = self.shared.guard().take();
            if let Some(guard) = guard {
                guard.close().await;
            }
        }
        .boxed()
    }
}

impl BuildKitEngine {
    /// Everything that comes before the solve: bases of the right platform, and the sessions.
    async fn prepare(&self, request: &BuildRequest) -> Result<Solve, EngineError> {
        let mut images = named::check(&self.shared.layout, request).await?;
        let recipe = self.recipe(request).await?;
        if let Some(recipe) = &recipe {
            images.extend(recipe.plain_names(request, &images));
        }
        let context = self.shared.context(request, recipe.as_ref()).await?;
        let receipt = Receipt::default();
        let session = self.open_session(request, &receipt).await?;
        Ok(Solve { images, recipe, context, session, receipt })
    }

    async fn recipe(&self, request: &BuildRequest) -> Result<Option<Recipe>, EngineError> {
        let (native, wanted) = (self.capabilities.native.clone(), request.cell.platform.clone());
        let request = request.clone();
        tokio::task::spawn_blocking(move || {
            let recipe = Recipe::read(&request, &native);
            if let Some(recipe) = &recipe {
                recipe.check_base(&wanted, &native)?;
                recipe.check_contexts(&request, &native)?;
            }
            Ok(recipe)
        })
        .await
        .map_err(|error| EngineError::BadResult { reason: error.to_string() })?
    }

    /// The session of one solve. It serves no files: a context session that died would be replaced by it without a word.
    async fn open_session(&self, request: &BuildRequest, receipt: &Receipt) -> Result<Session, EngineError> {
        let shared = &self.shared;
        let content = Content::new(shared.layout.clone(), shared.ingests.clone(), receipt.clone());
        let routes = Routes::new(HealthServer::new(Health))
            .add_service(
                ContentServer::new(content)
                    .max_decoding_message_size(MESSAGE_LIMIT)
                    .max_encoding_message_size(MESSAGE_LIMIT),
            )
            .add_service(AuthServer::new(shared.auth.clone()))
            .add_service(SecretsServer::new(Secrets::new(request.secrets.clone())))
            .add_service(SshServer::new(Ssh::new(request.ssh.clone())));
        Session::open(&shared.channel, "", &METHODS, routes)
            .await
            .map_err(|status| shared.lost(&format!("it takes no session: {}", words::status(&status))))
    }

    /// Judges what came of a solve, and proves that it is all there.
    async fn accept(&self, request: &BuildRequest, outcome: Outcome) -> Result<BuiltImage, EngineError> {
        let layout = self.shared.layout.clone();
        let wanted = request.cell.platform.clone();
        let response = outcome.response;
        let found = tokio::task::spawn_blocking(move || result::read(&layout, &response, &wanted))
            .await
            .map_err(|error| EngineError::BadResult { reason: error.to_string() })?;
        let found = match (found, outcome.refused) {
            // What it sent was not what it said, or found no room: that is why it is not there.
            (Err(EngineError::Store(StoreError::Missing { .. })), Some(cause)) => {
                return Err(EngineError::Store(cause));
            }
            (Err(EngineError::Store(StoreError::Missing { digest })), None) => {
                return Err(EngineError::BadResult { reason: format!("it has not handed over blob `{digest}`") });
            }
            (found, _) => found?,
        };
        Ok(BuiltImage {
            manifest: found.manifest,
            platform: found.platform,
            attestations: found.attestations,
            builder: self.shared.address.clone(),
            received: outcome.received,
            sent: outcome.sent,
            reads: outcome.reads,
        })
    }
}

#[cfg(test)]
mod tests;
