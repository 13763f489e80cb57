use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a cgroup that is still busy is tried again, and the time in between.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Removes a directory with everything in it, as far as it goes. Symbolic links are removed, never followed.
pub(super) fn remove_tree(path: &Path) {
    // Nobody is left to tell about a failure; the next start makes another attempt.
    drop(fs::remove_dir_all(path));
}

/// Removes the cgroup `name` in every hierarchy of this machine. Only empty cgroups can be removed (cgroups(7)), and nothing
/// else is asked for: one that still has a process stays.
pub fn remove_cgroup(name: &str) {
    // A name with a separator could lead anywhere.
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return;
    }
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return };
    for mount in cgroup_mounts(&mounts) {
        let group = mount.join(name);
        // The kernel takes a moment to let go of processes that have just died.
        for _ in 0..ATTEMPTS {
            remove_group(&group, 8);
            if !group.exists() {
                break;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// `proc_pid_mountinfo(5)`: the mount point is field 5; the type is the first one after a lone `-`.
fn cgroup_mounts(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let kind = back.split(' ').next()?;
            (kind == "cgroup" || kind == "cgroup2").then(|| front.split(' ').nth(4).map(PathBuf::from)).flatten()
        })
        .collect()
}

/// A cgroup's files cannot be removed and need not be: rmdir(2) takes a cgroup that has no children.
fn remove_group(path: &Path, depth: u8) {
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path(), depth - 1);
        }
    }
    drop(fs::remove_dir(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_is_found() {
        let text = "30 23 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                    31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    32 23 0:28 / /cgroup rw - tmpfs cgroup rw\nbroken\n";
        let expected = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"].map(PathBuf::from);
        assert_eq!(cgroup_mounts(text), expected);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (kept, gone) = (folder.path().join("kept"), folder.path().join("gone"));
        fs::create_dir_all(kept.join("x")).expect("a folder");
        fs::create_dir_all(&gone).expect("a folder");
        std::os::unix::fs::symlink(&kept, gone.join("link")).expect("a link");
        remove_tree(&gone);
        assert!(kept.join("x").exists() && !gone.exists());
    }
}
