//! Package managers, compilers and build tools: C6xx.

use super::Entry;
use crate::base::ErrorClass::Build;

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new("C601", "apt does not know the package", &["unable to locate package"])
        .of(&[Build])
        .means("the lists of packages are not there (images come without), or this distribution has no such package for this platform")
        .fix("run `apt-get update` in the same RUN before the install, and look at the name")
        .seen("E: Unable to locate package libfoo-dev"),
    Entry::new("C605", "apt got other bytes than it expected", &["hash sum mismatch"])
        .of(&[Build])
        .means("a proxy or mirror gave an old or changed file")
        .fix("run it again; behind a proxy set `Acquire::http::No-Cache \"true\"`, or use an https source")
        .seen("E: Failed to fetch http://archive.ubuntu.com/ubuntu/dists/jammy/main/binary-arm64/Packages.gz  Hash Sum mismatch"),
    Entry::new("C602", "apt's lists are older than the mirror", &["failed to fetch*404", "e: failed to fetch"])
        .of(&[Build])
        .means("the package's version is gone from the mirror: the `apt-get update` of an earlier step came out of the cache")
        .fix("put `apt-get update` and `apt-get install` into one RUN, and build with `--force` once")
        .seen("E: Failed to fetch http://deb.debian.org/debian/pool/main/c/curl/curl_7.88.1-10_amd64.deb  404  Not Found [IP: 151.101.2.132 80]"),
    Entry::new("C603", "apt does not trust a signature", &["no_pubkey", "the following signatures couldn't be verified"])
        .of(&[Build])
        .means("the key of a package source is not in the image")
        .fix("put the key into /etc/apt/keyrings and name it with `signed-by=` in the source")
        .seen("W: GPG error: https://repo.example.com stable InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 648ACFD622F3D138"),
    Entry::new("C604", "the distribution is not kept any more", &["does not have a release file", "no longer has a release file", "cannot prepare internal mirrorlist", "cannot find a valid baseurl"])
        .of(&[Build])
        .means("the release that the base is made of has ended, and its packages were moved to an archive")
        .fix("take a base of a supported release; for the old one point the sources to the archive (`archive.debian.org`, `old-releases.ubuntu.com`, `vault.centos.org`)")
        .seen("E: The repository 'http://deb.debian.org/debian stretch Release' does not have a Release file."),
    Entry::new("C606", "apt is locked", &["could not get lock", "unable to lock"])
        .of(&[Build])
        .means("another step uses the same cache mount of apt at the same time")
        .fix("give the mount `sharing=locked`: `RUN --mount=type=cache,target=/var/cache/apt,sharing=locked`")
        .seen("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 0"),
    Entry::new("C607", "apt has no version of the package", &["has no installation candidate"])
        .of(&[Build])
        .means("the package is known and not to be had in this release or for this platform")
        .fix("look for its new name, or for a source that has it for this platform")
        .seen("E: Package 'python2' has no installation candidate"),
    Entry::new("C609", "apt cannot check signatures at all", &["at least one invalid signature was encountered"])
        .of(&[Build])
        .means("the disk is full, or the builder's runtime is too old for the image's system calls")
        .fix("free space on the builder, and update runc and libseccomp there")
        .seen("E: The repository 'http://deb.debian.org/debian bookworm InRelease' is not signed. At least one invalid signature was encountered."),
    Entry::new("C608", "a package could not be set up", &["dpkg: error processing", "sub-process /usr/bin/dpkg returned an error"])
        .of(&[Build])
        .means("a package's own script failed; the lines before say why. Under emulation some scripts do")
        .fix("read the lines above; for questions set `DEBIAN_FRONTEND=noninteractive` in the RUN")
        .seen("dpkg: error processing package libc-bin (--configure):"),
    Entry::new("C610", "apk does not know the package", &["unable to select packages", "unsatisfiable constraints", "(no such package)"])
        .of(&[Build])
        .means("this release of alpine has no such package or version for this platform")
        .fix("look it up at pkgs.alpinelinux.org; versions are replaced, so pin with `~` instead of `=`")
        .seen("ERROR: unable to select packages:"),
    Entry::new("C611", "apk does not trust a signature", &["untrusted signature"])
        .of(&[Build])
        .means("the key of a package source is not in /etc/apk/keys, or a proxy changes what is fetched")
        .fix("add the key, or take the proxy out")
        .seen("ERROR: http://mirror.example.com/alpine/v3.20/main: UNTRUSTED signature"),
    Entry::new("C612", "apk cannot reach its mirror", &["temporary error (try again later)", "apkindex*: network error", "apkindex*: permission denied", "dns lookup error", "dns: transient error"])
        .of(&[Build])
        .means("the builder does not reach the alpine mirror: no network, no name server, or a proxy that looks into TLS")
        .fix("try the address from the builder's machine; behind a proxy pass HTTP_PROXY, or use a mirror")
        .seen("WARNING: fetching https://dl-cdn.alpinelinux.org/alpine/v3.20/main: temporary error (try again later)"),
    Entry::new("C614", "dnf does not know the package", &["no match for argument", "unable to find a match", "no package * available"])
        .of(&[Build])
        .means("no repository that is switched on has this package for this platform")
        .fix("switch on the repository that has it (`dnf install epel-release`, `crb`), and look at the name")
        .seen("Error: Unable to find a match: htop"),
    Entry::new("C616", "pip may not change the system's Python", &["externally-managed-environment"])
        .of(&[Build])
        .means("the distribution keeps its Python for itself")
        .fix("use an environment of your own: `RUN python3 -m venv /venv && /venv/bin/pip install …`")
        .seen("error: externally-managed-environment"),
    Entry::new("C617", "pip got another file than was written down", &["do not match the hashes", "hash mismatch"])
        .of(&[Build])
        .means("the hashes in the requirements are those of other files: each platform has wheels of its own")
        .fix("write down the hashes of all platforms (`pip-compile --generate-hashes`)")
        .seen("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."),
    Entry::new("C615", "pip finds no such version", &["no matching distribution found", "could not find a version that satisfies"])
        .of(&[Build])
        .means("the index has no such version for this Python and platform; many packages have wheels for amd64 only, and none for musl")
        .fix("look at the package's files for this platform and Python; on alpine try a Debian base")
        .seen("ERROR: No matching distribution found for torch==1.8.0"),
    Entry::new("C618", "a Python package has to be compiled and cannot", &["failed building wheel", "failed to build installable wheels", "command 'gcc' failed", "error: command '*gcc' failed", "unable to execute 'gcc'", "metadata-generation-failed"])
        .of(&[Build])
        .means("there is no wheel for this platform, so pip compiles, and the compiler or a header is missing")
        .fix("install the compiler and headers (`build-essential python3-dev`), or pin a version that has a wheel for this platform")
        .seen("ERROR: Failed building wheel for cryptography"),
    Entry::new("C620", "npm's lock file does not fit", &["can only install packages when your package.json and package-lock.json", "can only install with an existing package-lock"])
        .of(&[Build])
        .means("package.json and package-lock.json say different things, or the lock file was not copied")
        .fix("run `npm install` on your machine and commit the lock file; COPY both before `npm ci`")
        .seen("npm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync."),
    Entry::new("C622", "npm cannot fit the versions together", &["code eresolve", "could not resolve dependency"])
        .of(&[Build])
        .means("two packages want versions of a third one that exclude each other")
        .fix("update the one that is behind, or pass `--legacy-peer-deps`")
        .seen("npm error code ERESOLVE"),
    Entry::new("C623", "npm got other bytes than were written down", &["code eintegrity"])
        .of(&[Build])
        .means("the package in the registry or its mirror is not the one in the lock file")
        .fix("clean the mirror's copy, or make the lock file anew")
        .seen("npm error code EINTEGRITY"),
    Entry::new("C621", "npm does not find the package", &["code e404"])
        .of(&[Build])
        .means("the registry has no such package, or tells strangers so about a private one")
        .fix("look at the name; for a private one give `.npmrc` as a secret")
        .seen("npm error code E404"),
    Entry::new("C625", "npm wants a login", &["code e401", "code e403", "code eneedauth"])
        .of(&[Build])
        .means("the npm registry refuses the login, or there is none")
        .fix("give `.npmrc` as a secret: `RUN --mount=type=secret,id=npmrc,target=/root/.npmrc`")
        .seen("npm error code E401"),
    Entry::new("C624", "npm cannot reach its registry", &["npm *code etimedout", "npm *code econnreset", "npm *code eai_again", "npm *code econnrefused", "npm *code enotfound", "npm *network "])
        .of(&[Build])
        .means("the builder does not reach the npm registry")
        .fix("try the address from the builder's machine; behind a proxy pass HTTPS_PROXY as a build argument, or set a mirror with `npm config set registry`")
        .seen("npm error code ETIMEDOUT"),
    Entry::new("C626", "a package for another platform", &["code ebadplatform", "cannot find module @rollup/rollup-linux", "npm has a bug related to optional dependencies", "you installed esbuild for another platform", "could not load the \"sharp\" module"])
        .of(&[Build])
        .means("node_modules or the lock file were made on another platform, and hold its programs")
        .fix("keep `node_modules` out of the context (`.dockerignore`), and make the lock file anew with all platforms")
        .seen("Error: You installed esbuild for another platform than the one you're currently using."),
    Entry::new("C627", "the wrong version of Node", &["the engine \"node\" is incompatible", "unsupported engine", "code ebadengine"])
        .of(&[Build])
        .means("a package wants another Node than the base has")
        .fix("take a base with the Node that it asks for")
        .seen("error foo@9.0.0: The engine \"node\" is incompatible with this module. Expected version \">=18\". Got \"16.20.2\""),
    Entry::new("C628", "old JavaScript on a new OpenSSL", &["digital envelope routines::unsupported", "err_ossl_evp_unsupported"])
        .of(&[Build])
        .means("webpack 4 and others use a hash that OpenSSL 3 in Node 17 and later refuses")
        .fix("update the bundler, or set `ENV NODE_OPTIONS=--openssl-legacy-provider`")
        .seen("Error: error:0308010C:digital envelope routines::unsupported"),
    Entry::new("C629", "yarn's lock file does not fit", &["your lockfile needs to be updated", "the lockfile would have been modified by this install"])
        .of(&[Build])
        .means("package.json and yarn.lock say different things")
        .fix("run `yarn install` on your machine and commit yarn.lock")
        .seen("error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`."),
    Entry::new("C630", "pnpm's lock file does not fit", &["err_pnpm_outdated_lockfile", "err_pnpm_no_lockfile"])
        .of(&[Build])
        .means("package.json and pnpm-lock.yaml say different things, or the lock file was not copied")
        .fix("run `pnpm install` on your machine and commit pnpm-lock.yaml")
        .seen("ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\" because pnpm-lock.yaml is not up to date with package.json"),
    Entry::new("C631", "a Go module was changed", &["verifying *: checksum mismatch", "security error"])
        .of(&[Build])
        .means("the module's content is not what go.sum says: its tag was moved, or a proxy has an old one")
        .fix("ask why the tag moved; then take the new checksum with `go mod tidy`")
        .seen("verifying example.com/mod@v1.2.3: checksum mismatch"),
    Entry::new("C632", "Go's proxy cannot be reached", &["proxy.golang.org", "sum.golang.org", "goproxy"])
        .of(&[Build])
        .means("the builder does not reach the module proxy or the checksum database")
        .fix("pass GOPROXY and GOFLAGS as build arguments, or vendor the modules; GOPRIVATE keeps private ones from it")
        .seen("go: example.com/mod@v1.0.0: Get \"https://proxy.golang.org/example.com/mod/@v/v1.0.0.mod\": dial tcp 142.250.1.1:443: i/o timeout"),
    Entry::new("C633", "the base's Go is too old", &["go.mod requires go >=", "requires go 1.*(running go", "invalid go version", "is not available*toolchain"])
        .of(&[Build])
        .means("go.mod asks for a newer Go than the base has, and it may not fetch one")
        .fix("take a newer `golang` base")
        .seen("go: go.mod requires go >= 1.26 (running go 1.24.1; GOTOOLCHAIN=local)"),
    Entry::new("C634", "go.sum lacks a module", &["missing go.sum entry"])
        .of(&[Build])
        .means("go.sum was not copied, or go.mod was changed without it")
        .fix("run `go mod tidy` on your machine, and COPY go.mod and go.sum")
        .seen("main.go:4:2: missing go.sum entry for module providing package github.com/pkg/errors; to add:"),
    Entry::new("C636", "cgo has no C compiler", &["cgo: c compiler", "exec: \"gcc\": executable file not found"])
        .of(&[Build])
        .means("a package of the program uses C, and the base has no compiler for this platform")
        .fix("install one (`apk add build-base`), or set `CGO_ENABLED=0` where no C is needed")
        .seen("cgo: C compiler \"gcc\" not found: exec: \"gcc\": executable file not found in $PATH"),
    Entry::new("C637", "Cargo.lock does not fit", &["needs to be updated but --locked was passed", "cannot update the lock file", "cannot create the lock file"])
        .of(&[Build])
        .means("Cargo.toml and Cargo.lock say different things, or the lock file was not copied")
        .fix("run `cargo update --workspace` on your machine and commit Cargo.lock")
        .seen("error: the lock file /src/Cargo.lock needs to be updated but --locked was passed to prevent this"),
    Entry::new("C638", "Rust has no linker", &["linker `*` not found"])
        .of(&[Build])
        .means("the image has no C toolchain, or none for the target that is compiled for")
        .fix("install it (`apt-get install gcc`, for another target `gcc-aarch64-linux-gnu`)")
        .seen("error: linker `cc` not found"),
    Entry::new("C639", "cargo cannot reach its registry", &["spurious network error", "failed to download from `https://*crates.io", "failed to query replaced source registry", "download of * failed"])
        .of(&[Build])
        .means("the builder does not reach the crate registry")
        .fix("pass HTTPS_PROXY as a build argument, use a mirror (`[source.crates-io] replace-with`), or vendor the crates")
        .seen("warning: spurious network error (3 tries remaining): [28] Timeout was reached (download of `serde v1.0.219` failed to transfer more than 10 bytes in 30s)"),
    Entry::new("C640", "the base's Rust is too old", &["requires rustc", "cannot be built because it requires rustc", "feature `edition20*` is required"])
        .of(&[Build])
        .means("a crate asks for a newer Rust than the base has")
        .fix("take a newer `rust` base")
        .seen("error: package `clap v4.6.0` cannot be built because it requires rustc 1.85 or newer, while the currently active rustc version is 1.74.0"),
    Entry::new("C641", "OpenSSL's headers are missing", &["could not find directory of openssl installation", "openssl/ssl.h: no such file", "openssl/opensslv.h: no such file"])
        .of(&[Build])
        .means("a program is compiled against OpenSSL, and its development package is not in the image")
        .fix("install it: `libssl-dev pkg-config` (Debian), `openssl-dev` (alpine)")
        .seen("Could not find directory of OpenSSL installation, and this `-sys` crate cannot proceed without this knowledge."),
    Entry::new("C644", "Java does not trust a certificate", &["pkix path building failed", "unable to find valid certification path"])
        .of(&[Build])
        .means("the server's certificate is signed by an authority that is not in Java's own store, such as a company's proxy")
        .fix("import it before: `keytool -importcert -cacerts -noprompt -file ca.pem -storepass changeit`")
        .seen("sun.security.validator.ValidatorException: PKIX path building failed: unable to find valid certification path to requested target"),
    Entry::new("C643", "Maven does not find the artifact", &["could not find artifact", "was not found in https"])
        .of(&[Build])
        .means("no repository that is asked has the artifact; inside of a build your own `~/.m2` is not there")
        .fix("name the repository that has it in the pom, or give `settings.xml` as a secret")
        .seen("[ERROR] Could not find artifact com.example:lib:jar:1.0-SNAPSHOT in central (https://repo.maven.apache.org/maven2)"),
    Entry::new("C642", "Maven cannot reach its repository", &["could not transfer artifact"])
        .of(&[Build])
        .means("the builder does not reach the Maven repository")
        .fix("give `settings.xml` with a proxy or mirror as a secret; HTTPS_PROXY is not read by Maven")
        .seen("[ERROR] Could not transfer artifact org.apache:apache:pom:30 from/to central (https://repo.maven.apache.org/maven2): Connect timed out"),
    Entry::new("C645", "Gradle cannot get a dependency", &["could not resolve all files for configuration", "could not resolve all artifacts for configuration"])
        .of(&[Build])
        .means("no repository gave a dependency: it is not there, or not reached")
        .fix("read the lines below `Could not resolve`; pass a proxy with `systemProp.https.proxyHost`")
        .seen("> Could not resolve all files for configuration ':app:compileClasspath'."),
    Entry::new("C646", "the wrong version of Java", &["unsupported class file major version", "invalid target release", "has been compiled by a more recent version", "release version * not supported"])
        .of(&[Build])
        .means("something was compiled for a newer Java than the one that runs")
        .fix("take a base with the Java that the project asks for")
        .seen("Unsupported class file major version 65"),
    Entry::new("C648", "the bundle lacks this platform", &["your bundle only supports platforms"])
        .of(&[Build])
        .means("Gemfile.lock was made on another platform, and names only that one")
        .fix("add the platforms: `bundle lock --add-platform x86_64-linux aarch64-linux`")
        .seen("Your bundle only supports platforms [\"x86_64-darwin-22\"] but your local platform is aarch64-linux."),
    Entry::new("C647", "a gem has to be compiled and cannot", &["failed to build gem native extension"])
        .of(&[Build])
        .means("the gem holds C code, and a compiler or a header is missing")
        .fix("install them (`apt-get install build-essential`, and the library's `-dev` package)")
        .seen("ERROR: Failed to build gem native extension."),
    Entry::new("C649", "NuGet cannot reach its source", &["nu1301", "unable to load the service index"])
        .of(&[Build])
        .means("the builder does not reach the package source, or it wants a login")
        .fix("give `nuget.config` as a secret, or pass the proxy as a build argument")
        .seen("error NU1301: Unable to load the service index for source https://api.nuget.org/v3/index.json."),
    Entry::new("C650", "Composer cannot fit the versions together", &["your requirements could not be resolved to an installable set"])
        .of(&[Build])
        .means("a package wants another PHP version or an extension that the base does not have")
        .fix("install the extension (`docker-php-ext-install NAME`), or take another base")
        .seen("Your requirements could not be resolved to an installable set of packages."),
    Entry::new("C651", "a header is missing", &["fatal error: *: no such file or directory"])
        .of(&[Build])
        .means("a development package is not in the image")
        .fix("install the package that holds the header (`apt-file search NAME.h`)")
        .seen("src/main.c:1:10: fatal error: zlib.h: No such file or directory"),
    Entry::new("C652", "make has no such rule", &["no rule to make target"])
        .of(&[Build])
        .means("a file that the Makefile needs was not copied, or is named otherwise")
        .fix("look at what COPY takes along and at `.dockerignore`")
        .seen("make: *** No rule to make target 'src/version.h', needed by 'all'.  Stop."),
    Entry::new("C653", "a Python module is missing", &["modulenotfounderror", "importerror: no module named"])
        .of(&[Build])
        .means("the module is not installed for the Python that runs")
        .fix("add it to the requirements; a virtual environment must be the one that was installed into")
        .seen("ModuleNotFoundError: No module named 'setuptools'"),
    Entry::new("C654", "a JavaScript module is missing", &["error: cannot find module", "module_not_found", "module not found: error: can't resolve"])
        .of(&[Build])
        .means("the module is not installed, or the file was not copied; names differ in capitals on Linux")
        .fix("add it to package.json, and look at what COPY takes along")
        .seen("Error: Cannot find module 'typescript'"),
];
