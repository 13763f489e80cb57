use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Response, Status};

use super::attributes::{self, COMPATIBILITY_VERSION, EXPORTER, FRONTEND};
use super::connect::control;
use super::context::ContextLease;
use super::engine::Shared;
use super::fault;
use super::identity::Identity;
use super::mask::Mask;
use super::named::NamedImage;
use super::proto::moby::buildkit::v1::{Exporter, SolveRequest, SolveResponse, StatusRequest};
use super::recipe::{Recipe, wrong_base};
use super::session::{Receipt, Session};
use super::status::Progress;
use super::words;
use crate::engine::{BuildRequest, ContextReads, EngineError};
use crate::store::StoreError;

/// How long the status stream may be silent after the solve has ended; it normally ends before it.
const SILENCE: Duration = Duration::from_secs(5);
/// The same where it has not said a word: a solve that was refused has no status, and the daemon would look for it for 6 s.
const REFUSED: Duration = Duration::from_millis(500);
/// How long the daemon may take to end the steps of a cancelled solve; it takes milliseconds.
const ENDING: Duration = Duration::from_secs(10);

/// A solve with everything it needs open.
pub(super) struct Solve {
    pub(super) images: Vec<NamedImage>,
    pub(super) recipe: Option<Recipe>,
    pub(super) context: ContextLease,
    pub(super) session: Session,
    pub(super) receipt: Receipt,
}

/// What a solve that ended well says, not yet believed.
pub(super) struct Outcome {
    pub(super) response: HashMap<String, String>,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) reads: ContextReads,
    /// What was handed over and could not be taken: the cause, if anything is missing in the end.
    pub(super) refused: Option<StoreError>,
}

/// Why there is no more to wait for.
enum End {
    Answered(Result<Response<SolveResponse>, Status>),
    SessionDied(String),
    Cancelled,
}

impl Solve {
    /// Runs the solve (`/moby.buildkit.v1.Control/Solve`) to its end.
    ///
    /// Dropping the future drops the call, which ends the daemon's work on it; cancelling the request's token also waits for
    /// that end. The sessions outlive the call in both cases but the first: closed before it, they would be the reason.
    pub(super) async fn run(self, shared: &Shared, request: &BuildRequest) -> Result<Outcome, EngineError> {
        let build = Identity::random();
        let secrets = request.secrets.clone();
        let mask = tokio::task::spawn_blocking(move || Mask::new(&secrets)).await;
        let mask = mask.map_err(|_| EngineError::Cancelled { cell: request.cell.clone() })?;
        let mut progress = Progress::new(request.cell.clone(), request.events.clone(), mask);
        let end = self.follow(&build, shared, request, &mut progress).await;
        progress.finish();
        match end {
            End::Answered(Ok(response)) => self.wrong_base(request, &progress).map_or(Ok(()), Err).map(|()| Outcome {
                response: response.into_inner().exporter_response,
                received: self.receipt.bytes(),
                sent: self.context.take_sent(),
                reads: self.context.reads(request),
                refused: self.receipt.take_failure(),
            }),
            End::Answered(Err(status)) => Err(self.failure(&status, shared, request, &progress)),
            End::SessionDied(reason) => Err(shared.lost(&format!("its session ended: {reason}"))),
            End::Cancelled => Err(EngineError::Cancelled { cell: request.cell.clone() }),
        }
    }

    async fn follow(&self, build: &Identity, shared: &Shared, request: &BuildRequest, progress: &mut Progress) -> End {
        let mut control = control(&shared.channel);
        let mut solve = Box::pin(control.solve(self.message(build, request)));
        let messages = AtomicU64::new(0);
        let mut status = pin!(drain(&shared.channel, build, progress, &messages));
        let mut drained = false;
        let end = loop {
            tokio::select! {
                biased;
                answer = &mut solve => break End::Answered(answer),
                () = request.cancel.cancelled() => break End::Cancelled,
                () = shared.closed.cancelled() => break End::Cancelled,
                reason = self.session.died() => break End::SessionDied(reason),
                reason = self.context.session.died() => break End::SessionDied(reason),
                () = &mut status, if !drained => drained = true,
            }
        };
        // The order matters: the call first, then its status to the end, and only then, by the caller, the sessions.
        drop(solve);
        if drained {
            return end;
        }
        match end {
            End::Answered(_) => loop {
                let before = messages.load(Ordering::Relaxed);
                let patience = if before == 0 { REFUSED } else { SILENCE };
                let ended = tokio::time::timeout(patience, &mut status).await.is_ok();
                if ended || messages.load(Ordering::Relaxed) == before {
                    break;
                }
            },
            End::Cancelled => {
                let _late = tokio::time::timeout(ENDING, &mut status).await;
            }
            End::SessionDied(_) => {}
        }
        end
    }

    fn message(&self, build: &Identity, request: &BuildRequest) -> SolveRequest {
        let exporter = attributes::exporter(request);
        SolveRequest {
            r#ref: build.as_str().to_owned(),
            session: self.session.id().to_owned(),
            frontend: FRONTEND.to_owned(),
            source_policy: attributes::source_policy(request),
            frontend_attrs: attributes::frontend(request, &self.images, self.context.session.id()),
            // Both forms: daemons before v0.13 read only the first, and would export nothing without a word.
            exporter_deprecated: EXPORTER.to_owned(),
            exporter_attrs_deprecated: exporter.clone(),
            exporters: vec![Exporter { r#type: EXPORTER.to_owned(), attrs: exporter }],
            cache: attributes::cache(request),
            entitlements: request.options.entitlements.iter().cloned().collect(),
            // Not recorded in the daemon's history, which would keep build arguments in clear, readable by every client.
            internal: true,
            compatibility_version: COMPATIBILITY_VERSION,
            ..SolveRequest::default()
        }
    }

    /// The builder only warns about a base that was pulled for another platform, and labels the result as it was asked to.
    fn wrong_base(&self, request: &BuildRequest, progress: &Progress) -> Option<EngineError> {
        let wanted = &request.cell.platform;
        let warnings = progress.foreign_bases();
        match &self.recipe {
            // Only what the image stands on: an asset may well be made by whatever runs.
            Some(recipe) => {
                let base = recipe.base.as_ref()?;
                let line = u32::try_from(base.span.line()).ok();
                let warning = warnings.iter().find(|warning| warning.line == line)?;
                Some(wrong_base(base, wanted, warning.found.clone()))
            }
            None => warnings.first().map(|warning| EngineError::WrongBase {
                name: warning.image.clone(),
                wanted: Box::new(wanted.clone()),
                found: warning.found.clone(),
                span: None,
            }),
        }
    }

    /// The root cause: what went wrong here is known to the daemon only as a text, if at all.
    fn failure(&self, status: &Status, shared: &Shared, request: &BuildRequest, progress: &Progress) -> EngineError {
        if let Some(error) = self.receipt.take_failure() {
            return EngineError::Store(error);
        }
        if fault::is_loss(status) {
            return shared.lost(&words::status(status));
        }
        // The context's session is shared with other cells, whose failures are not this one's.
        if let Some(failure) = self.context.failure()
            && (status.message().contains(&failure.reason) || status.message().contains(&failure.path))
        {
            return failure.into();
        }
        if !self.session.is_alive() || !self.context.session.is_alive() {
            return shared.lost(&words::status(status));
        }
        fault::judge(status, progress, request)
    }
}

/// Reads the status stream to its end, whatever it says: unread, a few of them would block the whole connection.
async fn drain(channel: &Channel, build: &Identity, progress: &mut Progress, messages: &AtomicU64) {
    let request = StatusRequest { r#ref: build.as_str().to_owned() };
    let Ok(response) = control(channel).status(request).await else { return };
    let mut stream = response.into_inner();
    // An error of this stream is never the cause: the solve has its own.
    while let Ok(Some(message)) = stream.message().await {
        messages.fetch_add(1, Ordering::Relaxed);
        progress.take(message);
    }
}
