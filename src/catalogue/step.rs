//! What programs in steps say: C5xx.

use super::Entry;
use crate::base::ErrorClass::Build;

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new("C501", "a script with Windows line ends", &["^m: bad interpreter", "\\r': no such file", "\r: not found", "$'\\r': command not found", "\\r: command not found", "\r': no such file", "illegal option -\r", "set: illegal option -\\r", "'bash\\r'", "'sh\\r'"])
        .of(&[Build])
        .means("the script's lines end in CR LF, and the CR is taken for a part of a name")
        .fix("have git check it out with LF (`*.sh text eol=lf` in `.gitattributes`), or turn it with `sed -i 's/\\r$//'`")
        .seen("env: 'bash\\r': No such file or directory"),
    Entry::new("C526", "`RUN` with a list that is none", &["/bin/sh: *[*: not found", "[*,: not found", "[*,: command not found"])
        .of(&[Build])
        .means("the list is not JSON, so the shell takes it for a command: words must stand in double quotes, without a comma at the end")
        .fix("write `RUN [\"npm\", \"ci\"]` with double quotes")
        .seen("/bin/sh: 1: [npm,: not found"),
    Entry::new("C507", "a script for bash run by sh", &["bad substitution", "syntax error: \"(\" unexpected", "[[: not found", "source: not found", "pushd: not found", "illegal option -o pipefail", "redirection unexpected"])
        .of(&[Build])
        .means("RUN uses /bin/sh, which in Debian and alpine is not bash, and this is written for bash")
        .fix("put `SHELL [\"/bin/bash\", \"-c\"]` before it, or write it for sh")
        .seen("/bin/sh: 1: set: Illegal option -o pipefail"),
    Entry::new("C503", "what a program needs to start is missing", &["exec *: no such file or directory"])
        .of(&[Build])
        .means("the file is there and what it names as its interpreter is not: a first line with CR LF, a missing bash, or a program for another C library")
        .fix("look at the first line of a script; for a program run `file` on it and install what it names")
        .seen("exec /entrypoint.sh: no such file or directory"),
    Entry::new("C513", "git wants a login", &["could not read username", "terminal prompts disabled", "authentication failed for 'http"])
        .means("a private repository is fetched over HTTPS without a login")
        .fix("give a token as a secret (`RUN --mount=type=secret,id=…`), or fetch over ssh with `RUN --mount=type=ssh`")
        .seen("fatal: could not read Username for 'https://github.com': terminal prompts disabled"),
    Entry::new("C514", "an ssh host is not known", &["host key verification failed"])
        .means("ssh does not know the key of the host and nobody can be asked")
        .fix("add it before: `RUN mkdir -p ~/.ssh && ssh-keyscan HOST >> ~/.ssh/known_hosts`")
        .seen("Host key verification failed."),
    Entry::new("C515", "ssh refuses the key", &["permission denied (publickey"])
        .means("the host knows none of the keys that ssh offers, or none are there")
        .fix("forward the agent with `RUN --mount=type=ssh`, declare it in the component's `ssh`, and see `ssh-add -l`")
        .seen("git@github.com: Permission denied (publickey)."),
    Entry::new("C516", "git does not trust the folder", &["detected dubious ownership"])
        .means("the repository belongs to another user than the one who runs git")
        .fix("say that it is meant: `RUN git config --global --add safe.directory /src`")
        .seen("fatal: detected dubious ownership in repository at '/src'"),
    Entry::new("C517", "there is no git repository", &["not a git repository"])
        .means("the step asks git about the sources, and `.git` is not in the context: `.dockerignore` leaves it out, or it was never copied")
        .fix("pass what is needed as a build argument (`args = { VERSION = \"{git}\" }`), or let `.git` into the context")
        .seen("fatal: not a git repository (or any of the parent directories): .git"),
    Entry::new("C518", "a download is not there", &["the requested url returned error: 404", "error 404: not found", "404 not found", "server returned error: http/1.1 404"])
        .of(&[Build])
        .means("the server has nothing at this address; often the file does not exist for this platform, or the version is gone")
        .fix("open the address by hand; for several platforms put TARGETARCH into it as the server spells it")
        .seen("curl: (22) The requested URL returned error: 404"),
    Entry::new("C519", "a download is refused", &["the requested url returned error: 403", "error 403: forbidden", "the requested url returned error: 401"])
        .of(&[Build])
        .means("the server wants a login, or does not like this address or client")
        .fix("give the credentials as a secret, or use another source")
        .seen("curl: (22) The requested URL returned error: 403"),
    Entry::new("C520", "not the archive that was expected", &["not in gzip format", "this does not look like a tar archive", "end-of-central-directory signature not found", "file format not recognized by xz", "invalid gzip magic", "invalid magic", "unexpected end of file"])
        .of(&[Build])
        .means("what was downloaded is no archive: often an error page, saved under the archive's name")
        .fix("let the download fail itself (`curl --fail`), and open the address by hand")
        .seen("gzip: stdin: not in gzip format"),
    Entry::new("C521", "files cannot be given away", &["cannot change ownership to uid", "chown*operation not permitted", "lchown*invalid argument", "lchown*operation not permitted"])
        .means("the owner is outside of the ids that the builder may use, as for a builder of an ordinary user")
        .fix("unpack with `tar --no-same-owner`, or give the builder a larger range in /etc/subuid and /etc/subgid")
        .seen("tar: node-v18/README.md: Cannot change ownership to uid 1001, gid 1001: Operation not permitted"),
    Entry::new("C522", "a checksum does not fit", &["computed checksum did not match",
"computed checksums did not match", "checksums did not match", "checksum mismatch for file"])
        .of(&[Build])
        .means("the file is not the one whose checksum is written down: another version, another platform, or an error page")
        .fix("look at what was downloaded; each platform has a checksum of its own")
        .seen("sha256sum: WARNING: 1 computed checksum did NOT match"),
    Entry::new("C524", "there is no systemd in a build", &["system has not been booted with systemd", "failed to connect to bus"])
        .of(&[Build])
        .means("a step has no init system, so no services can be started or enabled through it")
        .fix("leave `systemctl start` out; enable a unit by its link, or start the program in CMD")
        .seen("System has not been booted with systemd as init system (PID 1). Can't operate."),
    Entry::new("C525", "there is no docker in a build", &["cannot connect to the docker daemon", "docker.sock: connect: no such file"])
        .of(&[Build])
        .means("a step wants to talk to a docker daemon, and a build has none")
        .fix("take the image from another component with `contexts`, or move the step out of the Dockerfile")
        .seen("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"),
    Entry::new("C527", "a user or group is there already", &["user '*' already exists", "group '*' already exists", "gid '*' already exists", "uid * is not unique", "gid '*' in use", "uid '*' in use"])
        .of(&[Build])
        .means("the base already has this user, group or number; newer bases often bring a user with the number 1000")
        .fix("choose another number, or remove the base's user before")
        .seen("useradd: user 'app' already exists"),
    Entry::new("C528", "text in an unknown encoding", &["unicodedecodeerror: 'ascii'", "invalid byte sequence in us-ascii", "unicodeencodeerror: 'ascii'"])
        .of(&[Build])
        .means("the image has no locale, so the program takes text for ASCII")
        .fix("set `ENV LANG=C.UTF-8`")
        .seen("UnicodeDecodeError: 'ascii' codec can't decode byte 0xc3 in position 12: ordinal not in range(128)"),
    Entry::new("C508", "a C library that is too old", &["version `glibc_*' not found", "version `glibcxx_*' not found"])
        .of(&[Build])
        .means("the program was built on a newer distribution than the one that runs it")
        .fix("build and run on the same base, or link statically")
        .seen("./app: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by ./app)"),
    Entry::new("C510", "a program for another C library", &["error relocating", "error loading shared library ld-linux", "libc.musl-*: cannot open"])
        .of(&[Build])
        .means("alpine has musl where most programs expect glibc, or the other way round")
        .fix("take a base with the C library that the program was built for, or build it statically")
        .seen("Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by /app/node)"),
    Entry::new("C509", "a library is missing", &["error while loading shared libraries", "error loading shared library", "cannot open shared object file"])
        .of(&[Build])
        .means("the program needs a library that the image does not have, often because only the program was copied from another stage")
        .fix("install the package that holds the library, or copy it along; `ldd PROGRAM` lists them")
        .seen("node: error while loading shared libraries: libatomic.so.1: cannot open shared object file: No such file or directory"),
    Entry::new("C504", "a file that may not be run", &[])
        .of(&[Build])
        .exits(&[126])
        .means("exit code 126: the file is there and cannot be run; mostly it lacks the x bit, which Windows and some archives lose")
        .fix("set it: `COPY --chmod=755`, or `git update-index --chmod=+x FILE`")
        .seen("/bin/sh: 1: ./build.sh: Permission denied"),
    Entry::new("C511", "the step lacks a right", &["operation not permitted", "mount: permission denied", "are you root"])
        .of(&[Build])
        .means("steps have no right to mount, to load modules or to change the kernel's settings")
        .fix("do without it in a build; if it must be, `RUN --security=insecure` with a builder that allows it")
        .seen("mount: /mnt: operation not permitted."),
    Entry::new("C505", "the step's user may not do that", &["eacces: permission denied", "permission denied"])
        .of(&[Build])
        .exits(&[1, 2, 13, 100, 243, 255])
        .means("the step runs as the user that USER names, and the file or folder belongs to another one")
        .fix("copy with `COPY --chown=USER`, or do the step before USER")
        .seen("npm error Error: EACCES: permission denied, mkdir '/app/node_modules'"),
    Entry::new("C502", "a command is not in the image", &[])
        .of(&[Build])
        .exits(&[127])
        .means("exit code 127: the shell does not find the command in the image; or a script's first line names a program that is not there")
        .fix("install it in an earlier instruction, or name it by its whole path")
        .seen("/bin/sh: 1: gcc: not found"),
];
