//! Compiles the protocols of `proto/` to Rust, without a `protoc`.

use std::error::Error;
use std::path::Path;

const ROOT: &str = "proto";

/// Everything else is imported by these.
const FILES: [&str; 8] = [
    "moby/buildkit/v1/control.proto",
    "moby/buildkit/v1/frontend/gateway.proto",
    "moby/buildkit/secrets/v1/secrets.proto",
    "moby/filesync/v1/auth.proto",
    "moby/filesync/v1/filesync.proto",
    "moby/sshforward/v1/ssh.proto",
    "containerd/services/content/v1/content.proto",
    "grpc/health/v1/health.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let paths = FILES.map(|file| Path::new(ROOT).join(file));
    let descriptors = protox::compile(paths, [ROOT])?;
    tonic_prost_build::configure()
        // Payloads of megabytes pass through: a reference into the received buffer instead of a copy.
        .bytes(".")
        .include_file("protocols.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
