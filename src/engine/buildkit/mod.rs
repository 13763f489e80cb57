//! The BuildKit engine: drives `buildkitd` over gRPC.
