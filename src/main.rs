//! The `catamaran` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = catamaran::sys::supervised(std::env::args_os()) {
        return code;
    }
    catamaran::cli::main(std::env::args_os())
}
