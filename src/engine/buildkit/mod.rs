//! The BuildKit engine: drives `buildkitd` over gRPC.

mod proto;
mod session;
