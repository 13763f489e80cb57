use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use super::definition;
use crate::base::Platform;
use crate::engine::buildkit::connect::{MESSAGE_LIMIT, control};
use crate::engine::buildkit::identity::Identity;
use crate::engine::buildkit::proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use crate::engine::buildkit::proto::moby::buildkit::v1::frontend::{
    ExecMessage, NewContainerRequest, PingRequest, Ref, ReleaseContainerRequest, ReturnRequest, SolveRequest, result,
};
use crate::engine::buildkit::proto::moby::buildkit::v1::{SolveRequest as BuildRequest, frontend};
use crate::engine::buildkit::proto::pb;
use crate::engine::buildkit::session::Session;
use crate::engine::buildkit::words;

/// Says which open build a gateway call belongs to (moby/buildkit control/gateway/gateway.go).
const BUILD_ID: &str = "buildkit-controlapi-buildid";

/// The daemon itself waits 3 s for a build that it does not know yet; a busy one may need a second round.
const OPENINGS: usize = 3;

/// How long the daemon may take to end an open build that is returned from; it takes milliseconds.
const RETURNING: Duration = Duration::from_secs(5);

/// A build that is held open: containers run in it until it is returned from or dropped.
pub(super) struct Bridge {
    client: LlbBridgeClient<Channel>,
    build: MetadataValue<Ascii>,
    /// The call that keeps the build open; aborting it ends the build.
    _open: AbortOnDropHandle<()>,
    /// Why the build is over, once it is.
    over: watch::Receiver<Option<String>>,
    session: Session,
}

impl Bridge {
    /// Opens a build (`/moby.buildkit.v1.Control/Solve` without frontend and definition, which must both be absent).
    pub(super) async fn open(channel: &Channel, session: Session) -> Result<Self, Status> {
        let identity = Identity::random();
        let message = BuildRequest {
            r#ref: identity.as_str().to_owned(),
            session: session.id().to_owned(),
            internal: true,
            ..BuildRequest::default()
        };
        let mut control = control(channel);
        let (tell, over) = watch::channel(None);
        let open = tokio::spawn(async move {
            let reason = match control.solve(message).await {
                Ok(_) => "the builder ended it".to_owned(),
                Err(status) => words::status(&status),
            };
            tell.send_replace(Some(reason));
        });
        let client = LlbBridgeClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let build = identity.as_str().parse().map_err(|_| Status::internal("a build's name is not ASCII"))?;
        let bridge = Self { client, build, _open: AbortOnDropHandle::new(open), over, session };
        bridge.ping().await?;
        Ok(bridge)
    }

    async fn ping(&self) -> Result<(), Status> {
        let mut last = Status::not_found("no such job");
        for _ in 0..OPENINGS {
            match self.client().ping(self.of_build(PingRequest {})).await {
                Ok(_) => return Ok(()),
                Err(status) if status.code() == Code::NotFound && self.over.borrow().is_none() => last = status,
                Err(status) => return Err(status),
            }
        }
        Err(last)
    }

    /// Name of the session that serves the layout.
    pub(super) fn session(&self) -> &str {
        self.session.id()
    }

    fn client(&self) -> LlbBridgeClient<Channel> {
        self.client.clone()
    }

    fn of_build<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(BUILD_ID, self.build.clone());
        request
    }

    /// Waits until the daemon ends the build or the session breaks, and says why. Cancel-safe.
    pub(super) async fn ended(&self) -> String {
        let mut over = self.over.clone();
        tokio::select! {
            reason = over.wait_for(Option::is_some) => {
                reason.map_or_else(|_| "its call ended".to_owned(), |reason| reason.clone().unwrap_or_default())
            }
            reason = self.session.died() => reason,
        }
    }

    /// Makes what `definition` says, now, and returns the name that mounts know it by.
    pub(super) async fn solve(&self, definition: pb::Definition) -> Result<String, Status> {
        let message = SolveRequest {
            definition: Some(definition),
            allow_result_return: true,
            allow_result_array_ref: true,
            // Otherwise errors would show only where the result is used.
            evaluate: true,
            ..SolveRequest::default()
        };
        let answer = self.client().solve(self.of_build(message)).await?.into_inner();
        match answer.result.and_then(|result| result.result) {
            Some(result::Result::Ref(reference)) => Ok(reference.id),
            _ => Err(Status::data_loss("the builder's answer holds no result")),
        }
    }

    /// Makes a container with `mounts`, of which one must be `/`, on the network that the worker gives every step.
    pub(super) async fn container(
        &self,
        mounts: Vec<pb::Mount>,
        platform: &Platform,
        hosts: &[(String, String)],
        hostname: &str,
    ) -> Result<String, Status> {
        let id = Identity::random().as_str().to_owned();
        let host = |(host, ip): &(String, String)| pb::HostIp { host: host.clone(), ip: ip.clone() };
        let message = NewContainerRequest {
            container_id: id.clone(),
            mounts,
            network: pb::NetMode::Unset.into(),
            platform: Some(definition::message(platform)),
            extra_hosts: hosts.iter().map(host).collect(),
            hostname: hostname.to_owned(),
            ..NewContainerRequest::default()
        };
        self.client().new_container(self.of_build(message)).await?;
        Ok(id)
    }

    /// Opens a stream for one process: a process that cannot start ends its whole stream.
    pub(super) async fn process(
        &self,
        outgoing: tokio_stream::wrappers::ReceiverStream<ExecMessage>,
    ) -> Result<Streaming<ExecMessage>, Status> {
        Ok(self.client().exec_process(self.of_build(outgoing)).await?.into_inner())
    }

    /// Ends a container with all its processes. Its answer may be how its process ended: nothing to act on.
    pub(super) async fn release(&self, container: &str) {
        let message = ReleaseContainerRequest { container_id: container.to_owned() };
        let _ended = tokio::time::timeout(RETURNING, self.client().release_container(self.of_build(message))).await;
    }

    /// Ends the build in good order. Without it the daemon would see a call that was cancelled.
    pub(super) async fn close(&self) {
        // A result that is there and empty: without one the daemon would crash (seen with v0.32.2).
        let nothing = result::Result::Ref(Ref::default());
        let result = frontend::Result { result: Some(nothing), ..frontend::Result::default() };
        let message = ReturnRequest { result: Some(result), error: None };
        let returned = self.client().r#return(self.of_build(message)).await;
        if returned.is_ok() {
            let mut over = self.over.clone();
            let _late = tokio::time::timeout(RETURNING, over.wait_for(Option::is_some)).await;
        }
    }
}
