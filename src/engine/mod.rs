//! One cell in, one OCI image out.
//!
//! In: a [`BuildRequest`] that holds everything about one (component, platform). Out: a [`BuiltImage`] whose blobs are all in
//! the layout. Nothing above this room knows BuildKit; nothing below it knows projects, plans or registries. An engine is
//! one builder; several builders are several engines, and `run` chooses between them.

pub mod buildkit;
mod error;
mod request;
mod service;

pub use error::EngineError;
pub use request::{
    Asked, BuildRequest, BuiltImage, ContextReads, ContextSource, DockerfileSource, NamedContext, RenderedFile,
    SecretSource, SshSource,
};
pub use service::{ServiceEnd, ServiceFile, ServiceHandle, ServicePort, ServiceProbe, ServiceRequest};

use futures_util::future::BoxFuture;

use crate::base::Platform;
use crate::event::Execution;

/// What an engine is and can do, asked once after connecting.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// The address that people know it by.
    pub address: String,
    /// `buildkit 0.32.2`
    pub version: String,
    /// The platform that runs without emulation.
    pub native: Platform,
    /// Every platform whose programs it can run, the native one first.
    pub platforms: Vec<Platform>,
    /// Cells that are worth building at once on it: about twice its cores where they are known, else 4.
    pub parallelism: usize,
}

impl Capabilities {
    /// How programs of `platform` run here.
    pub fn execution(&self, platform: &Platform) -> Execution {
        if platform.runs_on(&self.native) {
            Execution::Native
        } else if self.platforms.iter().any(|known| platform.runs_on(known)) {
            Execution::Emulated(interpreter(platform))
        } else {
            Execution::Absent
        }
    }
}

/// Name of the interpreter that runs `platform`'s programs, as qemu calls its user-mode emulators.
fn interpreter(platform: &Platform) -> String {
    let machine = match platform.architecture() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        "loong64" => "loongarch64",
        other => other,
    };
    format!("qemu-{machine}")
}

/// Builds cells. One value is one builder; calls run at the same time without limit of its own.
pub trait Engine: Send + Sync {
    /// What this engine is and can do; does not change while it lives.
    fn capabilities(&self) -> &Capabilities;

    /// Builds one cell.
    ///
    /// On success every blob reachable from the image is in the layout, verified. The platform in the image's config was
    /// compared with the one asked for: a mismatch is an [`EngineError::WrongPlatform`]. Cancelling the request's token ends
    /// the builder's work and returns [`EngineError::Cancelled`]; dropping the future does the same without waiting.
    fn build(&self, request: BuildRequest) -> BoxFuture<'_, Result<BuiltImage, EngineError>>;

    /// Runs an image as a service, and returns once it is up.
    ///
    /// It runs beside builds, in a container with no more rights than their steps have. Cancelling the request's token, or
    /// dropping the future, ends it.
    ///
    /// # Errors
    /// [`EngineError::Service`] when it cannot be started, ends early, or is not up in time; nothing of it is left then.
    fn serve(&self, request: ServiceRequest) -> BoxFuture<'_, Result<ServiceHandle, EngineError>>;

    /// Ends the engine and, where it was started for this run, its builder with every step, mount and port of it. Idempotent.
    fn close(&self) -> BoxFuture<'_, ()>;
}
