//! One cell in, one OCI image out.
//!
//! In: a [`BuildRequest`] that holds everything about one (component, platform). Out: a [`BuiltImage`] whose blobs are all in
//! the layout. Nothing above this room knows BuildKit; nothing below it knows projects, plans or registries. An engine is
//! one builder; several builders are several engines, and `run` chooses between them.

pub mod buildkit;
mod error;
mod request;
mod service;

pub use error::{EngineError, Hindrance, Origin};
pub use request::{
    Asked, BuildRequest, BuiltImage, ContextReads, ContextSource, DockerfilePlace, DockerfileSource, NamedContext,
    RenderedFile, SecretSource, SshSource,
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
    /// How programs of `platform` run here, whatever the builder's own processor is.
    ///
    /// 32-bit programs of the same family that a builder lists run on its processor: packages of qemu register no emulator
    /// for these. One whose processor cannot (some arm64 servers) does not list them, unless somebody registered one by hand.
    pub fn execution(&self, platform: &Platform) -> Execution {
        let listed = || self.platforms.iter().any(|known| platform.runs_on(known));
        if platform.runs_on(&self.native) || (is_half_of(platform, &self.native) && listed()) {
            Execution::Native
        } else if listed() {
            Execution::Emulated(interpreter(platform))
        } else {
            Execution::Absent
        }
    }
}

/// Whether `platform` is what 64-bit processors of `native` may run in 32 bits.
fn is_half_of(platform: &Platform, native: &Platform) -> bool {
    let pair = (platform.architecture(), native.architecture());
    platform.os() == native.os() && matches!(pair, ("386", "amd64") | ("arm", "arm64"))
}

/// Name of the interpreter that runs `platform`'s programs, as qemu calls its user-mode emulators.
fn interpreter(platform: &Platform) -> String {
    let machine = match platform.architecture() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        "loong64" => "loongarch64",
        "mips64le" => "mips64el",
        "mipsle" => "mipsel",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(native: &str, listed: &[&str], platform: &str) -> Execution {
        let platform_of = |text: &str| text.parse::<Platform>().expect(text);
        let capabilities = Capabilities {
            address: "unix:///b".to_owned(),
            version: "buildkit".to_owned(),
            native: platform_of(native),
            platforms: listed.iter().map(|text| platform_of(text)).collect(),
            parallelism: 4,
        };
        capabilities.execution(&platform_of(platform))
    }

    #[test]
    fn both_directions_are_told_by_the_builders_own_processor() {
        let emulated = |name: &str| Execution::Emulated(name.to_owned());
        let (arm, amd) = (["arm64", "amd64", "arm/v7", "riscv64"], ["amd64", "arm64", "386", "mips64le"]);
        for (native, listed, platform, expected) in [
            ("arm64", &arm[..], "arm64", Execution::Native),
            ("arm64", &arm, "amd64", emulated("qemu-x86_64")),
            ("arm64", &arm, "arm/v7", Execution::Native),
            ("arm64", &arm, "arm/v6", Execution::Native),
            ("arm64", &arm, "riscv64", emulated("qemu-riscv64")),
            ("arm64", &arm, "s390x", Execution::Absent),
            // A processor without 32 bits, and no emulator.
            ("arm64", &["arm64", "amd64"], "arm/v7", Execution::Absent),
            ("arm64", &["arm64"], "amd64", Execution::Absent),
            ("amd64", &amd, "amd64", Execution::Native),
            ("amd64", &amd, "arm64", emulated("qemu-aarch64")),
            ("amd64", &amd, "386", Execution::Native),
            ("amd64", &amd, "mips64le", emulated("qemu-mips64el")),
            ("amd64", &["amd64", "arm64", "arm/v7"], "arm/v7", emulated("qemu-arm")),
            ("amd64", &["amd64"], "arm64", Execution::Absent),
        ] {
            assert_eq!(execution(native, listed, platform), expected, "{platform} on {native}");
        }
    }
}
