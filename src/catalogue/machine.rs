//! Processors and emulators, memory, disk, limits, the clock: C1xx.

use super::Entry;

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new("C101", "a program of another processor", &["exec format error", "cannot execute binary file"])
        .means("the program is for another processor than the one that is to run it, and no emulator takes it up: the base holds another platform's programs under this platform's name, or the builder lacks the emulator")
        .fix("look at the base for this platform, and at the builder with `catamaran check`")
        .seen("exec /bin/sh: exec format error"),
    Entry::new("C102", "the emulator crashed", &["qemu: uncaught target signal"])
        .means("the emulator on the builder cannot run this program; compilers, runtimes with a JIT and threads hit its limits first")
        .fix("build this platform on a native builder (`[builder.NAME] address = \"tcp://…\"`), or update the emulator there")
        .seen("qemu: uncaught target signal 11 (Segmentation fault) - core dumped"),
    Entry::new("C103", "a loader of another platform is missing", &["could not open '/lib*/ld-", "failed to open elf at", "could not open '/lib*ld-linux"])
        .means("the program is linked for another platform, whose loader is not in this image")
        .fix("copy a program that was built for this platform: take TARGETARCH into the build or the download")
        .seen("qemu-x86_64: Could not open '/lib64/ld-linux-x86-64.so.2': No such file or directory"),
    Entry::new("C104", "an instruction that the processor does not have", &["illegal instruction"])
        .means("the program was compiled for a newer processor than the builder's, or than the emulated one")
        .fix("compile for the platform's baseline (no `-march=native`), or build on another builder")
        .seen("Illegal instruction (core dumped)"),
    Entry::new("C105", "a change of user does not work under emulation", &["effective uid is not 0", "sudo: * must be owned by uid 0 and have the setuid bit set"])
        .means("programs that change their user need an emulator that was registered with the flag C, or a file system that honours the setuid bit")
        .fix("leave `sudo` out (steps run as root unless USER says otherwise), or register the emulator with its flags `OCF`")
        .seen("sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set or an NFS file system without root privileges?"),
    Entry::new("C107", "killed, most likely for want of memory", &[])
        .exits(&[137])
        .means("exit code 137 is SIGKILL: the kernel ended the process since memory ran out, on the builder or in its container")
        .fix("run fewer cells at once (`--jobs 2`), give the builder more memory, or have the step use fewer threads")
        .seen("process \"/bin/sh -c make -j64\" did not complete successfully: exit code: 137"),
    Entry::new("C108", "memory ran out", &["cannot allocate memory", "out of memory allocating", "std::bad_alloc", "virtual memory exhausted"])
        .means("the builder has no memory left for this step, or the step's own limit is reached")
        .fix("run fewer cells at once (`--jobs 2`), or give the builder more memory")
        .seen("fork/exec /usr/local/go/pkg/tool/linux_arm64/compile: cannot allocate memory"),
    Entry::new("C109", "Node's heap is full", &["javascript heap out of memory", "reached heap limit"])
        .means("Node limits its own heap, whatever memory the builder has")
        .fix("set `ENV NODE_OPTIONS=--max-old-space-size=4096` before the step")
        .seen("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"),
    Entry::new("C110", "Java's heap is full", &["java.lang.outofmemoryerror", "gc overhead limit exceeded"])
        .means("the Java machine limits its own heap, by default to a quarter of the memory")
        .fix("set `ENV JAVA_TOOL_OPTIONS=-Xmx2g` before the step, or `org.gradle.jvmargs` for Gradle")
        .seen("Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space"),
    Entry::new("C111", "the compiler was killed", &["killed signal terminated program", "signal: 9, sigkill", "signal: killed"])
        .means("the kernel ended the compiler since memory ran out; many compile at once")
        .fix("compile with fewer threads (`make -j2`, `CARGO_BUILD_JOBS=2`), run fewer cells at once, or give the builder more memory")
        .seen("c++: fatal error: Killed signal terminated program cc1plus"),
    Entry::new("C113", "the disk is full", &["no space left on device", "enospc: no space left"])
        .means("the file system of the builder, of this machine or of a mount in the step is full")
        .fix("free space where the message points to; a builder's cache goes with `buildctl prune`")
        .seen("write /var/lib/docker/tmp/GetImageBlob071238439: no space left on device"),
    Entry::new("C114", "the disk quota is used up", &["disk quota exceeded"])
        .means("the user may not store more on this file system, though it is not full")
        .fix("free space of this user, have the quota raised, or move the state with `--state DIR`")
        .seen("mkdir /home/ci/.local/share/buildkit/runc-overlayfs: disk quota exceeded"),
    Entry::new("C115", "the file system is read-only", &["read-only file system"])
        .means("something writes where nothing can be written: a read-only mount, of the step or under the project, or a disk that the kernel froze after an error")
        .fix("write elsewhere (what catamaran keeps: `--state DIR`), or take `ro` from the mount; on the builder itself look into `dmesg`")
        .seen("cp: cannot create regular file '/src/x': Read-only file system"),
    Entry::new("C116", "too many open files", &["too many open files", "emfile"])
        .means("the limit of open files is reached: of the builder, of the step, or of catamaran itself where it cannot send a file")
        .fix("raise the limit (`ulimit -n 65536`, in systemd `LimitNOFILE=`) and start again what has reached it")
        .seen("accept tcp [::]:8080: accept4: too many open files"),
    Entry::new("C117", "too many watched files", &["system limit for number of file watchers reached", "inotify_init*too many", "inotify watches"])
        .means("a watcher wants more inotify watches than the kernel of the builder allows; builds need none")
        .fix("run the tool without watching, or on the builder `sysctl fs.inotify.max_user_watches=524288`")
        .seen("Error: ENOSPC: System limit for number of file watchers reached, watch '/app/node_modules'"),
    Entry::new("C118", "too many processes", &["resource temporarily unavailable", "pthread_create failed", "failed to create new os thread"])
        .means("the limit of processes or threads of the builder's user or control group is reached")
        .fix("run fewer cells at once (`--jobs 2`), or raise `TasksMax=` or `pids.max` of the builder")
        .seen("runtime: failed to create new OS thread (have 21 already; errno=11)"),
    Entry::new("C119", "the disk does not answer rightly", &["input/output error"])
        .means("the kernel could not read or write: a failing disk, or a network file system that went away")
        .fix("look into `dmesg` of the machine that the message is about")
        .seen("read /var/lib/buildkit/cache.db: input/output error"),
    Entry::new("C120", "a file of a network file system is gone", &["stale file handle", "stale nfs file handle"])
        .means("the file was replaced or removed on the server while it was open here")
        .fix("keep the context and the state on a local disk, or run the same command again")
        .seen("open /nfs/src/main.go: stale NFS file handle"),
    Entry::new("C121", "a name is too long", &["file name too long"])
        .means("a file name has more than 255 bytes, or a path more than 4096; encrypted folders allow fewer")
        .fix("shorten the name, or keep the state elsewhere with `--state DIR`")
        .seen("open /home/u/.Private/…: file name too long"),
    Entry::new("C122", "a program crashed", &[])
        .exits(&[139])
        .means("exit code 139 is SIGSEGV: the program wrote where it must not; under emulation the emulator may be the reason")
        .fix("build this platform on a native builder, or update the program and the emulator")
        .seen("process \"/bin/sh -c npm run build\" did not complete successfully: exit code: 139"),
    Entry::new("C123", "ended from outside", &[])
        .exits(&[143])
        .means("exit code 143 is SIGTERM: something asked the process to end, such as a time limit of the step or a builder that shuts down")
        .fix("look for a `timeout` in the step, and at the builder's own log")
        .seen("process \"/bin/sh -c timeout 60 ./test\" did not complete successfully: exit code: 143"),
    Entry::new("C124", "aborted", &[])
        .exits(&[134])
        .means("exit code 134 is SIGABRT: the program found itself in a state that it cannot go on from; often memory ran out")
        .fix("read its last lines of output, and give it more memory")
        .seen("process \"/bin/sh -c node build.js\" did not complete successfully: exit code: 134"),
    Entry::new("C125", "a program that is being written", &["text file busy"])
        .means("the program is started while something still has it open for writing")
        .fix("put a `sync` or the start of the program into a RUN of its own")
        .seen("/bin/sh: 1: ./install.sh: Text file busy"),
    Entry::new("C126", "a rename across file systems", &["invalid cross-device link", "exdev: cross-device link"])
        .means("the step renames something between layers or mounts, which are different file systems")
        .fix("let the step copy and remove instead (`cp -a` and `rm -r`), or keep both places in one mount")
        .seen("npm error EXDEV: cross-device link not permitted, rename '/app/node_modules/x' -> '/cache/x'"),
    Entry::new("C127", "a circle of symbolic links", &["too many levels of symbolic links"])
        .means("a symbolic link leads back to itself")
        .fix("remove the link; `find DIR -type l` shows them")
        .seen("stat /app/current/current: too many levels of symbolic links"),
    Entry::new("C128", "a clock is behind", &["is not valid yet", "certificate is not yet valid", "x509: certificate*is before", "notvalidyet"])
        .means("what is signed lies in the future for the machine that checks it: its clock is behind")
        .fix("set the clock of the machine that runs the builder (`timedatectl set-ntp true`)")
        .seen("E: Release file for http://deb.debian.org/debian/dists/bookworm-updates/InRelease is not valid yet (invalid for another 2h 3min 4s). Updates for this repository will not be applied."),
    Entry::new("C129", "a certificate has expired", &["certificate has expired", "x509: certificate*is after", "certificate expired", "certificate: expired"])
        .means("the server's certificate, or one that it is signed with, is past its end; a clock that is ahead looks the same")
        .fix("renew the certificate of the server, and look at the clock of the machine that says so")
        .seen("tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-11-24T11:00:00Z is after 2026-11-01T00:00:00Z"),
];
