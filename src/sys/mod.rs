//! Linux: namespaces, mounts, id maps, child processes; the only room with `unsafe`.
//!
//! In: a program to run and whose ids it may use. Out: a child that cannot outlive this process, and facts about the
//! machine. This room is synchronous, knows nothing of builders, and reads only what the kernel and `/etc` say. How a child
//! is contained is told in [`supervise`](self::supervised).

mod child;
mod cleanup;
mod emulation;
mod error;
mod id_map;
mod lock;
mod mount;
mod probe;
mod process;
mod signal;
mod supervise;

pub use child::{Child, ChildCommand, ChildExit, Identity, Lifeline, Processes};
pub use cleanup::remove_cgroup;
pub use emulation::Emulation;
pub use error::{Stage, SysError};
pub use id_map::{IdMap, NoRanges, User};
pub use lock::{FileLock, lock_holder};
pub use probe::{Emulator, FileLimit, Machine, emulators, file_limit, free_bytes, user_namespaces_forbidden};
pub use supervise::supervised;
