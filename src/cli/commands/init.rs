use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use crate::cli::error::CliError;
use crate::cli::exit;
use crate::cli::{Console, Settings};
use crate::config::init::propose;

/// `catamaran init`: writes `catamaran.toml` from what is found, and says what was left out and why.
pub(super) fn init(settings: &Settings, console: &Console) -> u8 {
    let directory = settings.path(std::path::Path::new(""));
    let path = directory.join("catamaran.toml");
    let proposal = match propose(&directory) {
        Ok(proposal) => proposal,
        Err(source) => return console.fail(&CliError::Unusable { path: directory, source }),
    };
    if proposal.components == 0 {
        let message = format!("there is no Dockerfile in `{}` or below it", directory.display());
        return console
            .fail(&CliError::Unknown { message, help: Some("start where the Dockerfiles are: -C DIR".to_owned()) });
    }
    // Never over a file that somebody wrote.
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(proposal.text.as_bytes()));
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let message = format!("`{}` is there already", path.display());
            let help = Some("move it away first; init never writes over a file".to_owned());
            return console.fail(&CliError::Unknown { message, help });
        }
        Err(source) => return console.fail(&CliError::Unusable { path, source }),
    }
    let mut out = format!("wrote catamaran.toml: {} components\n", proposal.components);
    for note in &proposal.notes {
        let _ = writeln!(out, "{}: {}", crate::base::Printable(&note.path.to_string_lossy()), note.text);
    }
    out.push_str("next: catamaran plan\n");
    console.print(&out);
    exit::DONE
}
