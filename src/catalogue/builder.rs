//! buildkitd, its container runtime and its surroundings: C2xx.

use super::Entry;
use crate::base::ErrorClass::{Build, Builder};

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new("C201", "there is no builder at the socket", &["no such file or directory", "not a socket"])
        .of(&[Builder])
        .means("nothing made the socket: buildkitd does not run, or it listens elsewhere")
        .fix("start buildkitd, or leave out `--builder` and BUILDKIT_HOST to have one started for the run")
        .seen("dial unix /run/buildkit/buildkitd.sock: connect: no such file or directory"),
    Entry::new("C202", "the builder's socket may not be used", &["permission denied"])
        .of(&[Builder])
        .means("the socket belongs to another user or group")
        .fix("join the group that the socket belongs to, or start buildkitd with `--group`")
        .seen("dial unix /run/buildkit/buildkitd.sock: connect: permission denied"),
    Entry::new("C203", "no builder listens", &["connection refused"])
        .of(&[Builder])
        .means("the machine answers and nothing listens at the port or socket: buildkitd has ended, or listens elsewhere")
        .fix("start buildkitd there, and see that `--addr` names what is asked for")
        .seen("dial tcp 10.0.0.7:1234: connect: connection refused"),
    Entry::new("C204", "the builder wants another certificate", &["certificate required", "bad certificate", "certificaterequired", "didn't provide a certificate"])
        .of(&[Builder])
        .means("the builder asks for a client certificate, and got none or one that it does not trust")
        .fix("give the builder's `ca`, `cert` and `key` in its `[builder.NAME]`")
        .seen("remote error: tls: certificate required"),
    Entry::new("C205", "the builder went away", &["error reading from server: eof", "transport is closing", "connection reset by peer", "broken pipe", "h2 protocol error", "keepalive"])
        .of(&[Builder])
        .means("the connection broke while it was building: buildkitd ended (often killed for want of memory), its machine did, or the network between")
        .fix("look into buildkitd's log and its machine's `dmesg`, then run the same command again: finished cells are kept")
        .seen("rpc error: code = Unavailable desc = error reading from server: EOF"),
    Entry::new("C206", "the ids of an ordinary user cannot be mapped", &["newuidmap*operation not permitted", "newuidmap*could not set caps", "newgidmap*not permitted", "newuidmap*not found", "newuidmap*failed"])
        .means("a builder of an ordinary user needs `newuidmap` and `newgidmap` with the right to map ids, which containers and some file systems take away")
        .fix("install them (`apt-get install uidmap`), and let a container have `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`")
        .seen("[rootlesskit:parent] error: failed to setup UID/GID map: newuidmap 11 [0 1000 1 1 100000 65536] failed: newuidmap: write to uid_map failed: Operation not permitted"),
    Entry::new("C207", "the user has no ids of its own", &["no subuid ranges found", "no subgid ranges found", "no subordinate id"])
        .means("a builder of an ordinary user needs a range of ids in /etc/subuid and /etc/subgid")
        .fix("let root run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`")
        .seen("[rootlesskit:parent] error: failed to setup UID/GID map: failed to compute uid/gid map: No subuid ranges found for user 1001 (\"ci\")"),
    Entry::new("C208", "user namespaces are forbidden", &["fork/exec /proc/self/exe: operation not permitted", "fork/exec /proc/self/exe: permission denied", "unshare*operation not permitted", "apparmor_restrict_unprivileged_userns"])
        .means("the kernel, AppArmor or the surrounding container lets no ordinary user make a user namespace")
        .fix("let root run `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu) or loosen the container, or name a builder that runs elsewhere")
        .seen("[rootlesskit:parent] error: failed to start the child: fork/exec /proc/self/exe: operation not permitted"),
    Entry::new("C209", "overlayfs does not work there", &["failed to mount overlay", "overlayfs is not available", "failed to mount*fstype: overlay", "mount callback failed*overlay", "overlay*invalid argument"])
        .means("the builder's root lies on a file system that overlayfs cannot lie on, such as another overlayfs or a network file system")
        .fix("move the builder's root to a local disk or a volume, or start buildkitd with `--oci-worker-snapshotter=native`")
        .seen("failed to mount /tmp/containerd-mount1234: [{overlay overlay  [workdir=/var/lib/buildkit/runc-overlayfs]}]: mount source: \"overlay\", fstype: overlay, err: invalid argument"),
    Entry::new("C210", "the system call filter cannot be set", &["seccomp filter", "seccomp rule"])
        .means("the container runtime and the seccomp library or kernel of the builder do not fit each other")
        .fix("update runc and libseccomp on the builder")
        .seen("runc run failed: unable to start container process: error loading seccomp filter into kernel: error loading seccomp filter: errno 524"),
    Entry::new("C211", "control groups cannot be used", &["unable to apply cgroup configuration", "no cgroup mount found", "cgroup: open /sys/fs/cgroup", "cgroup mountpoint does not exist", "/sys/fs/cgroup*permission denied"])
        .means("the builder may not make a control group for the step: inside of a container they are hidden or read-only, and an ordinary user needs them delegated")
        .fix("run the builder's container with `--privileged` or `--cgroupns=host`, or have systemd delegate (`Delegate=yes`)")
        .seen("runc run failed: no cgroup mount found in mountinfo"),
    Entry::new("C212", "/proc cannot be mounted", &["mount proc:/proc", "mounting \"proc\" to rootfs", "mount `proc` to"])
        .means("the builder runs in a container that hides parts of /proc, and may then mount no new one")
        .fix("give the container the whole of it (`--security-opt systempaths=unconfined`), or start buildkitd with `--oci-worker-no-process-sandbox`")
        .seen("runc run failed: unable to start container process: error during container init: error mounting \"proc\" to rootfs at \"/proc\": mount proc:/proc (via /proc/self/fd/6), flags: 0xe: operation not permitted"),
    Entry::new("C213", "there is no container runtime", &["exec: \"runc\": executable file not found", "exec: \"buildkit-runc\": executable file not found", "no worker found"])
        .means("buildkitd finds no `runc` to run steps with")
        .fix("install it on the builder: `apt-get install runc`")
        .seen("exec: \"runc\": executable file not found in $PATH"),
    Entry::new("C214", "another builder uses the same root", &["could not lock*another instance running"])
        .means("two buildkitd cannot share one directory")
        .fix("end the other one, or give this one its own `--root`")
        .seen("could not lock /var/lib/buildkit/buildkitd.lock, another instance running?"),
    Entry::new("C215", "the Dockerfile's syntax image cannot be had", &["source metadata for docker.io/docker/dockerfile", "resolve image config for docker.io/docker/dockerfile", "failed to resolve*docker/dockerfile:"])
        .means("the first line `# syntax=docker/dockerfile:…` has the builder fetch an image that reads the Dockerfile, and it cannot be reached")
        .fix("delete the line (buildkitd reads Dockerfiles by itself), or let the builder reach Docker Hub or a mirror of it")
        .seen("failed to resolve source metadata for docker.io/docker/dockerfile:1.4: failed to do request: Head \"https://registry-1.docker.io/v2/docker/dockerfile/manifests/1.4\": dial tcp: lookup registry-1.docker.io: no such host"),
    Entry::new("C216", "the frontend ended early", &["frontend grpc server closed unexpectedly"])
        .means("the image that `# syntax=` names crashed, or is for another platform than the builder")
        .fix("take a newer one, or delete the line")
        .seen("failed to solve: frontend grpc server closed unexpectedly"),
    Entry::new("C217", "the builder does not grant a right", &["granting entitlement*is not allowed", "security.insecure is not allowed", "network.host is not allowed"])
        .means("the Dockerfile asks for `--security=insecure` or `--network=host`, and the builder's own settings forbid it")
        .fix("start buildkitd with `--allow-insecure-entitlement NAME`, or do without")
        .seen("failed to solve: granting entitlement security.insecure is not allowed by build daemon configuration"),
    Entry::new("C218", "the cache could not be exported", &["error writing layer blob", "error writing manifest blob", "failed to export cache", "cache export"])
        .means("the image was built, and storing its cache where `cache-to` says failed: no right to push there, no space, or a registry that does not take cache manifests")
        .fix("see that the place can be written; for registries that refuse it add `image-manifest=true`, or `ignore-error=true` to go on without")
        .seen("error writing layer blob: failed to copy: failed to send write: error reading from server: EOF: unavailable"),
    Entry::new("C219", "a cache could not be imported", &["cache importer"])
        .means("what `cache-from` names does not exist yet or cannot be reached; the build goes on without where it can")
        .fix("leave it out until something was exported there, or look at the name and the credentials")
        .seen("failed to configure registry cache importer: registry.example.com/app:cache: not found"),
    Entry::new("C220", "the builder's cache lost something", &["parent snapshot*does not exist", "missing content", "content digest*not found", "failed to get reader from content store", "blob not found"])
        .of(&[Builder, Build])
        .means("the builder's cache refers to data that is gone: it was cleaned from outside, or ended without power")
        .fix("run the same command again; if it stays, empty the builder's cache with `buildctl prune --all`")
        .seen("failed to prepare extraction snapshot \"extract-123 sha256:ab\": parent snapshot sha256:cd does not exist: not found"),
    Entry::new("C221", "the builder's solver is confused", &["inconsistent graph state"])
        .means("a bug of buildkitd that shows when many builds share steps")
        .fix("run the same command again; update buildkitd if it comes back")
        .seen("failed to solve: failed to get edge: inconsistent graph state in edge [internal] load metadata sha256:ab 0"),
    Entry::new("C222", "the builder lost its client", &["no active session", "no active sessions"])
        .means("the builder asked this program for files or credentials, and the connection that it asks over was gone")
        .fix("see that nothing between the two ends quiet connections, then run the same command again")
        .seen("failed to compute cache key: no active session for x3k2: context deadline exceeded"),
    Entry::new("C223", "a message is too large", &["received message larger than max", "trying to send message larger than max"])
        .means("a Dockerfile, build argument or attestation is larger than what fits into one message of the builder (16 MB)")
        .fix("put large data into a file of the context instead of an ARG or a heredoc")
        .seen("ResourceExhausted: grpc: received message larger than max (17012345 vs. 16777216)"),
    Entry::new("C225", "the AppArmor profile cannot be set", &["unable to apply apparmor profile", "apparmor failed to apply profile"])
        .means("the builder's runtime asks for a profile that the kernel does not know, or from inside of a container that may not set one")
        .fix("start the builder's container with `--security-opt apparmor=unconfined`")
        .seen("runc run failed: unable to start container process: error during container init: unable to apply apparmor profile: apparmor failed to apply profile: write /proc/self/attr/apparmor/exec: no such file or directory"),
    Entry::new("C228", "the kernel's keys are used up", &["unable to join session keyring", "unable to create session key"])
        .means("each container takes a key of its user, and the kernel's limit for one user is reached")
        .fix("on the builder raise it: `sysctl kernel.keys.maxkeys=2000`")
        .seen("runc run failed: unable to start container process: error during container init: unable to join session keyring: unable to create session key: disk quota exceeded"),
    Entry::new("C230", "an image has too many layers", &["max depth exceeded", "too many lowerdirs"])
        .means("overlayfs takes some 128 layers at most, those of the base included")
        .fix("join RUN, COPY and ADD instructions, or start from a base with fewer layers")
        .seen("failed to prepare 7xu1: max depth exceeded"),
    Entry::new("C231", "an address or port is taken", &["address already in use"])
        .means("something else listens where this wants to listen")
        .fix("end the other, or choose another address or port")
        .seen("listen tcp 0.0.0.0:1234: bind: address already in use"),
];
