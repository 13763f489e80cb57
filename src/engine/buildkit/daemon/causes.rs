//! Reasons for which a daemon does not start, with what to do about each.

use std::error::Error;
use std::io;
use std::path::Path;

use crate::engine::EngineError;
use crate::sys::{self, NoRanges, Stage, SysError, User};

/// What helps where nothing on this machine does.
const ANOTHER: &str = "name a builder that runs elsewhere with `--builder`";

/// An error without a log: the daemon did not run.
pub(super) fn cannot_start(reason: impl Into<String>, help: impl Into<String>) -> EngineError {
    EngineError::CannotStart { reason: reason.into(), help: help.into(), output: Vec::new() }
}

/// A file or directory of ours could not be made.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> EngineError {
    let help = match error.kind() {
        io::ErrorKind::StorageFull => format!("free some space on the file system of `{}`", path.display()),
        _ => "name a place that can be written with `--state DIR`".to_owned(),
    };
    cannot_start(format!("cannot write `{}`: {error}", path.display()), help)
}

/// There is nothing to run containers with.
pub(super) fn no_runtime() -> EngineError {
    cannot_start(
        "there is no `runc` on the PATH, which buildkitd runs its steps with",
        "install it: `apt-get install runc`",
    )
}

/// An ordinary user without ids beside its own.
pub(super) fn no_ranges(user: &User, reason: &NoRanges) -> EngineError {
    cannot_start(
        format!("{reason}, and without such ids no RUN step works for an ordinary user"),
        ranges_help(user, reason),
    )
}

/// How ids are had, as one command.
pub(super) fn ranges_help(user: &User, reason: &NoRanges) -> String {
    match reason {
        NoRanges::NoTool { .. } => "install it: `apt-get install uidmap`".to_owned(),
        _ => format!(
            "let root run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}`, with a range that nobody has",
            user.label()
        ),
    }
}

/// The containment failed before the daemon ran.
pub(super) fn not_contained(error: &SysError, user: &User) -> EngineError {
    let mut reason = error.to_string();
    if let Some(source) = error.source() {
        reason = format!("{reason}: {source}");
    }
    let forbidden = sys::user_namespaces_forbidden().filter(|_| !user.is_root());
    let help = match error {
        SysError::IdMap { .. } | SysError::Refused { stage: Stage::UserNamespace, .. } => match forbidden {
            Some(switch) => {
                reason = format!("{reason} ({switch})");
                format!("let root allow user namespaces, run as root, or {ANOTHER}")
            }
            None => format!("run outside of containers that forbid user namespaces, run as root, or {ANOTHER}"),
        },
        SysError::Refused { stage: Stage::Proc, .. } => {
            format!(
                "let the container have its whole `/proc` (docker: `--security-opt systempaths=unconfined`), or {ANOTHER}"
            )
        }
        SysError::Refused { .. } if user.is_root() => {
            format!("let the container be privileged (docker: `--privileged`), or {ANOTHER}")
        }
        SysError::Run { .. } => format!("install buildkitd again for this machine, or {ANOTHER}"),
        _ => ANOTHER.to_owned(),
    };
    cannot_start(reason, help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Failure as _;

    #[test]
    fn every_cause_has_its_own_words() {
        let (root, user) = (User { uid: 0, gid: 0, name: None }, User { uid: 7, gid: 7, name: Some("ann".to_owned()) });
        let refused = |stage| SysError::Refused { stage, source: io::Error::from_raw_os_error(1) };
        let help = |error: &EngineError| error.help().unwrap_or_default();
        let error = not_contained(&refused(Stage::ProcessNamespace), &root);
        assert!(error.to_string().contains("cannot make a process namespace: Operation not permitted"), "{error}");
        assert!(help(&error).contains("--privileged"));
        assert!(help(&not_contained(&refused(Stage::Proc), &user)).contains("systempaths"));
        assert!(help(&not_contained(&refused(Stage::UserNamespace), &user)).contains("user namespaces"));
        let tool = NoRanges::NoTool { tool: "newuidmap" };
        assert!(help(&no_ranges(&user, &tool)).contains("uidmap"));
        let entry = NoRanges::NoEntry { file: "/etc/subuid".into(), user: "ann".to_owned() };
        assert!(help(&no_ranges(&user, &entry)).contains("usermod --add-subuids 100000-165535"));
        assert!(help(&cannot_write(Path::new("/x"), &io::ErrorKind::StorageFull.into())).contains("free some space"));
    }
}
