use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags};

/// Makes every mount of this (new) namespace a slave: what is mounted here stays here, and what the host unmounts goes here
/// too. Fully private would keep the host's file systems busy for as long as the child lives.
pub(super) fn detach_from_host() -> io::Result<()> {
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Mounts the `/proc` of this process namespace. Without it `/proc/PID` would mean processes of the host.
pub(super) fn proc() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", "/proc", "proc", flags, None::<&CStr>)?)
}

/// Puts something empty over `path`, if it is there: a small file system over a directory, `/dev/null` over a file.
pub(super) fn hide(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(kind) if kind.is_dir() => Ok(rustix::mount::mount(
            "tmpfs",
            path,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            Some(c"mode=0700"),
        )?),
        Ok(_) => Ok(rustix::mount::mount_bind("/dev/null", path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
