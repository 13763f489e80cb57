//! Finds what is left of a builder: processes, mounts, sockets, cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A process, told apart from a later one of the same number by its start time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    started: String,
    pub(crate) name: String,
}

/// (process, parent, state), from `proc_pid_stat(5)`.
fn stat(pid: u32) -> Option<(Process, u32, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (front, back) = text.rsplit_once(')')?;
    let fields: Vec<&str> = back.split_whitespace().collect();
    let name = front.split_once('(')?.1.to_owned();
    let process = Process { pid, started: (*fields.get(19)?).to_owned(), name };
    Some((process, fields.get(1)?.parse().ok()?, (*fields.first()?).to_owned()))
}

fn all() -> Vec<(Process, u32, String)> {
    let entries = fs::read_dir("/proc").expect("a proc");
    entries.filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// Everything that descends from `ancestor`, itself left out.
pub(crate) fn descendants(ancestor: u32) -> BTreeSet<Process> {
    let all = all();
    let (mut found, mut parents) = (BTreeSet::new(), vec![ancestor]);
    while let Some(parent) = parents.pop() {
        for (process, _, _) in all.iter().filter(|(_, of, _)| *of == parent) {
            parents.push(process.pid);
            found.insert(process.clone());
        }
    }
    found
}

/// Which of `processes` still run. What has ended and was not collected by its parent does not run.
pub(crate) fn running(processes: &BTreeSet<Process>) -> Vec<Process> {
    let runs = |process: &&Process| {
        stat(process.pid).is_some_and(|(now, _, state)| now.started == process.started && state != "Z" && state != "X")
    };
    processes.iter().filter(runs).cloned().collect()
}

/// Mount points of this machine below `folder`.
pub(crate) fn mounts_below(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("a proc");
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(folder)).map(str::to_owned).collect()
}

/// cgroups of the run whose private directory was called `name`, in all hierarchies.
pub(crate) fn cgroups(name: &str) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("a proc");
    let mounts = text.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    mounts.map(|mount| Path::new(mount).join(name)).filter(|path| path.exists()).collect()
}

/// Names in `folder`, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}
