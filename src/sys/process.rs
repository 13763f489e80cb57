use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

/// How long processes may take to die of SIGKILL. Only uninterruptible waits in the kernel make them take any time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills every descendant of this process, which must be a subreaper, and returns when none is left.
///
/// One round is not enough: a process that is killed may have started another one just before. Whoever is started after the
/// list was read is found in the next round, as its parent, or we in its place, still has it.
pub(super) fn end_descendants() {
    let own = rustix::process::getpid();
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let descendants = descendants(own.as_raw_pid(), &parents());
        if descendants.is_empty() {
            return;
        }
        for pid in descendants.into_iter().filter_map(Pid::from_raw) {
            // It may have ended since.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // Dead ones that nobody collects would count as descendants for ever.
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        thread::sleep(Duration::from_millis(2));
    }
}

/// Every visible process with its parent.
fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

/// `proc_pid_stat(5)`: `PID (NAME) STATE PARENT …`, where the name may hold anything, also parentheses.
fn parent_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(ancestor: i32, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut next = vec![ancestor];
    while let Some(parent) = next.pop() {
        let children = parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid);
        // A set, so that a list which changed while it was read cannot lead in circles.
        next.extend(children.filter(|pid| *pid != ancestor && found.insert(*pid)).collect::<Vec<_>>());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_at_every_depth_and_circles_end() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 9), (9, 5), (1, 4)]);
        assert_eq!(descendants(2, &parents), BTreeSet::from([1, 3, 4]));
        assert_eq!(descendants(7, &parents), BTreeSet::new());
    }

    #[test]
    fn a_name_may_look_like_the_rest_of_its_line() {
        assert_eq!(parent_of("12 (a) S 7 (b) R 34 1 1"), Some(34));
        assert_eq!(parent_of("12 (x"), None);
    }
}
