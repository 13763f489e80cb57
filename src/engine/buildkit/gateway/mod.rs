//! Containers that run beside builds, through the daemon's gateway (`moby.buildkit.v1.frontend.LLBBridge`).
//!
//! In: a request for a service. Out: a handle on it. A build without a frontend is held open; inside it the service's image is
//! mounted and its process runs for as long as the build is not returned from. Everything that belongs to it ends with the
//! build, and the build ends with our connection: nothing can be left behind. Must not know components or when to start.

mod bridge;
mod definition;
mod image;
mod network;
mod probe;
mod process;
mod service;
mod teller;

pub(super) use network::Network;
