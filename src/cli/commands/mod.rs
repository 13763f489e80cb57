//! One file per command: each tells its story from top to bottom.

mod build;
mod check;
mod copy;
mod explain;
mod export;
mod import;
mod init;
mod lock;
mod logs;
mod metadata;
mod plan;
mod prefetch;
mod push;
mod report;
mod schema;
mod status;
mod verify;
mod watch;
mod why;

use tokio_util::sync::CancellationToken;

use super::args::Command;
use super::{Console, Settings};

/// Does a command's work; returns its exit code.
pub(super) async fn run(settings: &Settings, command: Command, console: &Console, cancel: &CancellationToken) -> u8 {
    match command {
        Command::Init => init::init(settings, console),
        Command::Build(args) => Box::pin(build::build(settings, args, console, cancel)).await,
        Command::Plan(args) => plan::plan(settings, &args, console),
        Command::Check(args) => Box::pin(check::check(settings, args, console, cancel)).await,
        Command::Lock(args) => Box::pin(lock::lock(settings, &args, console, cancel)).await,
        Command::Prefetch(args) => Box::pin(prefetch::prefetch(settings, &args, console, cancel)).await,
        Command::Why(args) => why::why(settings, &args, console),
        Command::Status(args) => status::status(settings, &args, console),
        Command::Verify(args) => Box::pin(verify::verify(settings, args, console, cancel)).await,
        Command::Push(args) => Box::pin(push::push(settings, args, console, cancel)).await,
        Command::Export(args) => Box::pin(export::export(settings, args, console, cancel)).await,
        Command::Copy(args) => Box::pin(copy::copy(settings, args, console, cancel)).await,
        Command::Import(args) => Box::pin(import::import(settings, args, console, cancel)).await,
        Command::Report(args) => report::report(settings, &args, console),
        Command::Metadata(args) => metadata::metadata(settings, &args, console),
        Command::Explain(args) => explain::explain(settings, &args, console),
        Command::Schema => schema::schema(console),
        Command::Logs(args) => logs::logs(settings, &args, console),
    }
}
