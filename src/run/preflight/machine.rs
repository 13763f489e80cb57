use std::collections::BTreeMap;
use std::net::TcpListener;

use super::finding::{Finding, Level};
use crate::base::{ByteSize, CellId, ComponentName, Digest, ErrorClass};
use crate::config::ServicePort;
use crate::plan::{Cell, Plan};
use crate::run::{BuilderSettings, Fallback, RunRecord, StateDir};
use crate::sys::{self, FileLimit};

/// Less free space than this is worth a word before any build.
pub(super) const LITTLE_SPACE: u64 = 2_000_000_000;
/// With less than this not even records and logs can be kept.
pub(super) const NO_SPACE: u64 = 32 << 20;
/// A layer is in the builder as it came and unpacked, and once more in the layout.
const COPIES: u64 = 4;
/// Files that a run with many cells and uploads holds open at once.
const FEW_FILES: u64 = 1024;

/// Space on the disk of the layout, next to what the last run's images of these cells take. Less than `little` is worth a
/// word whatever they take.
pub(super) fn disk(state: &StateDir, selected: &[&Cell], little: u64) -> Finding {
    let free = match sys::free_bytes(state.root()) {
        Ok(free) => free,
        Err(error) => {
            return Finding::new(Level::Warning, "disk", format!("cannot tell how much is free: {error}"))
                .fix("look at the file system of the state directory, or choose another with `--state DIR`");
        }
    };
    judge_disk(free, expected(state, selected), little)
}

/// Bytes of the layers that the last run had for these cells, each layer once.
fn expected(state: &StateDir, selected: &[&Cell]) -> u64 {
    // A record that cannot be read only means that nothing is expected.
    let Ok(Some(record)) = RunRecord::load(state) else { return 0 };
    let ours = |id: &CellId| selected.iter().any(|cell| cell.id == *id);
    let cells = record.cells.iter().filter(|cell| ours(&cell.id()));
    let layers: BTreeMap<Digest, u64> =
        cells.flat_map(|cell| &cell.layers).map(|layer| (layer.digest, layer.size)).collect();
    layers.values().fold(0, |sum, size| sum.saturating_add(*size))
}

fn judge_disk(free: u64, expected: u64, little: u64) -> Finding {
    let mut text = format!("{} free", ByteSize(free));
    if expected > 0 {
        text = format!("{text}; the layers of these cells were {} the last time", ByteSize(expected));
    }
    if free < NO_SPACE {
        return Finding::new(Level::Error(ErrorClass::Disk), "disk", text)
            .fix("make room, or keep the results elsewhere with `--state DIR`");
    }
    if free < little.max(expected.saturating_mul(COPIES)) {
        return Finding::new(Level::Warning, "disk", format!("{text}: a build of all of them may run out of it"))
            .fix("make room, or keep the results elsewhere with `--state DIR`");
    }
    Finding::new(Level::Fine, "disk", text)
}

/// How many files may be open. A builder that is started inherits the limit.
pub(super) fn files() -> Option<Finding> {
    judge_files(sys::file_limit())
}

fn judge_files(limit: FileLimit) -> Option<Finding> {
    let soft = limit.soft.filter(|soft| *soft < FEW_FILES)?;
    let hard = limit.hard.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
    let fix = match limit.hard {
        Some(hard) if hard < FEW_FILES => "raise the hard limit (`nofile` in limits.conf or the unit file)".to_owned(),
        _ => format!("run `ulimit -n {hard}` before"),
    };
    let text = format!("only {soft} files may be open at once: builds with many cells may fail");
    Some(Finding::new(Level::Warning, "files", text).fix(fix))
}

/// The fixed ports of services that somebody else listens on, as far as this machine is where they would run.
pub(super) fn ports(plan: &Plan, selected: &[&Cell], settings: &BuilderSettings) -> Vec<Finding> {
    // The containers of a builder that is started for a run share the network of this machine. Those of one that is
    // reached by a socket do so unless it was set up otherwise, which only a look into it would tell.
    let started =
        settings.forced.is_none() && plan.builders.is_empty() && matches!(settings.fallback, Fallback::Start(_));
    let address = match (&settings.forced, &settings.fallback) {
        (Some(address), _) | (None, Fallback::Address(address)) => address.as_str(),
        (None, Fallback::Start(_)) => "",
    };
    if !started && !address.starts_with("unix:") && !address.starts_with('/') {
        return Vec::new();
    }
    let level = if started { Level::Error(ErrorClass::Preflight) } else { Level::Warning };
    let users = |name: &ComponentName| {
        selected.iter().filter(|cell| cell.services.contains(name)).map(|cell| cell.id.clone()).collect::<Vec<_>>()
    };
    let fixed = plan.services.iter().filter_map(|(name, service)| match service.port {
        Some(ServicePort::Fixed(port)) => Some((name, port, users(name))),
        _ => None,
    });
    fixed
        .filter(|(_, port, cells)| !cells.is_empty() && is_taken(*port))
        .map(|(name, port, cells)| {
            Finding::new(level, name.to_string(), format!("port {port} of service `{name}` is taken on this machine"))
                .fix("end what listens there, or let a free one be found: port = \"auto\"")
                .cells(cells)
        })
        .collect()
}

/// Whether somebody listens on a port of this machine. What may not be asked (a port of root's) counts as free.
fn is_taken(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_last_run_took_is_what_a_disk_is_judged_by() {
        let level = |free, expected| judge_disk(free, expected, LITTLE_SPACE).level;
        assert_eq!(level(100 << 30, 0), Level::Fine);
        assert_eq!(level(1 << 30, 0), Level::Warning);
        assert_eq!(level(1 << 20, 0), Level::Error(ErrorClass::Disk));
        assert_eq!(level(100 << 30, 24 << 30), Level::Fine);
        assert_eq!(level(100 << 30, 26 << 30), Level::Warning);
        assert_eq!(level(100 << 30, u64::MAX), Level::Warning);
    }

    #[test]
    fn a_limit_is_raised_by_whoever_can() {
        let told = |soft, hard| judge_files(FileLimit { soft, hard }).and_then(|finding| finding.fix);
        assert_eq!(told(Some(1024), Some(1024)), None);
        assert_eq!(told(None, None), None);
        assert_eq!(told(Some(256), Some(4096)).as_deref(), Some("run `ulimit -n 4096` before"));
        assert!(told(Some(256), Some(256)).is_some_and(|fix| fix.contains("hard limit")));
    }
}
