use futures_util::stream::Pending;
use tonic::{Request, Response, Status};

use crate::engine::buildkit::proto::grpc::health::v1::health_check_response::ServingStatus;
use crate::engine::buildkit::proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, health_server};

/// Answers the check that the daemon makes every five seconds: after two that fail it ends the session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Health;

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pending<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn watch(&self, _request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }
}
