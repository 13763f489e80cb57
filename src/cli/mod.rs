//! Arguments, environment and files in; exit code out.
//!
//! In: what was typed, the environment, the terminal. Out: one command's work, told on two streams, and an exit code from
//! the public table. What was typed ([`args`](self)) becomes what is meant ([`Settings`]) once, and nothing behind that sees
//! a flag. This is the only room that reads the environment and ends the process.

mod args;
mod commands;
mod console;
mod environment;
mod error;
mod exit;
mod settings;
mod signals;

use console::Console;
use environment::Environment;
use error::CliError;
use settings::Settings;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use args::{Arguments, Command};

/// Runs the program with `arguments`, its name in front.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are what was asked for; everything else is usage. A closed stream changes nothing.
            let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            drop(args::refused(error).print());
            return ExitCode::from(code);
        }
    };
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(source) => {
            return ExitCode::from(Console::unknowing().fail(&CliError::Surroundings(source)));
        }
    };
    // The one TLS implementation of the process; a second installation would be refused, and there is none.
    drop(rustls::crypto::ring::default_provider().install_default());
    let Arguments { global, command } = arguments;
    let settings = Settings::new(global, environment);
    let console = Console::new(&settings.environment, &settings.root());
    // Before anything else can be told: whoever reads a stream of events reads nothing but that.
    let console = if command.streams() { console.streaming() } else { console };
    ExitCode::from(on_runtime(&settings, command, &console))
}

/// How long work on the disk that nobody waits for any more may keep the process alive.
const GRACE: Duration = Duration::from_secs(2);

fn on_runtime(settings: &Settings, command: Command, console: &Console) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return console.fail(&CliError::Surroundings(source)),
    };
    let code = runtime.block_on(async {
        let cancel = signals::listen(console.clone(), command.only_reads());
        Box::pin(commands::run(settings, command, console, &cancel)).await
    });
    runtime.shutdown_timeout(GRACE);
    code
}
