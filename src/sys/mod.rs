//! Linux: namespaces, mounts, id maps, child processes; the only room with `unsafe`.
