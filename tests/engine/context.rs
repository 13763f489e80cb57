//! What of a directory reaches the builder: compared with `buildctl`, which sends it by the reference implementation.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use std::sync::atomic::{AtomicBool, Ordering};

use catamaran::base::{Digest, Epoch, ErrorClass, Failure};
use catamaran::engine::{BuiltImage, ContextSource, Engine, EngineError};
use catamaran::event::Event;
use tokio::process::Command;

use super::bench::{Bench, SHELL};
use crate::support::daemon::Daemon;
use crate::support::dice::{Dice, seed};
use crate::support::images::noise;
use crate::support::tools;

const EPOCH: u64 = 1_700_000_000;

/// Builds the bench's context with `buildctl`; the digest of the image, or what it wrote.
async fn reference(bench: &Bench, dockerfile: &str) -> Result<Digest, String> {
    let out = tempfile::tempdir_in(bench.directory.path()).expect("a temporary directory");
    let context = bench.context();
    let output = format!(
        "type=oci,tar=false,oci-mediatypes=true,compression=gzip,rewrite-timestamp=true,source-date-epoch={EPOCH},dest={}",
        out.path().display()
    );
    let result = Command::new(tools::tool("bin/buildctl"))
        .args([
            "--addr",
            Daemon::shared().address(),
            "build",
            "--frontend=dockerfile.v0",
            "--no-cache",
            "--progress=plain",
        ])
        .arg(format!("--local=context={}", context.display()))
        .arg(format!("--local=dockerfile={}", context.display()))
        .arg(format!("--opt=filename={dockerfile}"))
        .arg("--opt=platform=linux/amd64")
        .arg(format!("--opt=build-arg:SOURCE_DATE_EPOCH={EPOCH}"))
        .arg(format!("--output={output}"))
        .output()
        .await
        .expect("buildctl can be started");
    if !result.status.success() {
        return Err(String::from_utf8_lossy(&result.stderr).into_owned());
    }
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(out.path().join("index.json")).expect("an index")).expect("JSON");
    Ok(index["manifests"][0]["digest"].as_str().expect("as this test made it").parse().expect("as this test made it"))
}

async fn ours(bench: &Bench, dockerfile: &str) -> Result<BuiltImage, EngineError> {
    let mut request = bench.request("linux/amd64");
    request.dockerfile.name = dockerfile.to_owned();
    request.epoch = Some(Epoch::from_seconds(EPOCH).expect("as this test made it"));
    request.no_cache = true;
    bench.engine.build(request).await
}

/// Both ways must make the same image, byte for byte.
async fn agree(bench: &Bench, dockerfile: &str, what: &str) -> BuiltImage {
    let image = ours(bench, dockerfile).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let reference = reference(bench, dockerfile).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(image.manifest.digest, reference, "{what}: {:?}", paths(bench, &image));
    image
}

/// Paths of all layers, in the order of the archives.
fn paths(bench: &Bench, image: &BuiltImage) -> Vec<String> {
    let manifest = bench.json(&image.manifest);
    let layers: Vec<catamaran::base::Descriptor> =
        serde_json::from_value(manifest["layers"].clone()).expect("as this test made it");
    let mut paths = Vec::new();
    for layer in &layers {
        use catamaran::store::BlobSource;
        let bytes = bench.layout.read(layer, 1 << 30).expect("as this test made it");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        for entry in archive.entries().expect("as this test made it") {
            paths.push(String::from_utf8_lossy(&entry.expect("as this test made it").path_bytes()).into_owned());
        }
    }
    paths
}

fn link(bench: &Bench, name: &str, target: &str) {
    let path = bench.context().join(name);
    fs::create_dir_all(path.parent().expect("as this test made it")).expect("as this test made it");
    symlink(target, path).expect("as this test made it");
}

fn chmod(bench: &Bench, name: &str, mode: u32) {
    fs::set_permissions(bench.context().join(name), Permissions::from_mode(mode)).expect("as this test made it");
}

/// A bit of everything that a directory can hold and a builder takes.
fn furnish(bench: &Bench) {
    for name in [
        "a/x",
        "a/y/z.rs",
        "a-b",
        "a.b",
        "a b/c d",
        "ä/ö ü.txt",
        "b/.hidden",
        "b/two.rs",
        "top.rs",
        "top.txt",
        "日本/語",
    ] {
        bench.write(name, name);
    }
    bench.write("empty file", "");
    bench.write("tools/suid", "s");
    fs::create_dir_all(bench.context().join("empty/dir")).expect("as this test made it");
    fs::hard_link(bench.context().join("a/x"), bench.context().join("b/hard")).expect("as this test made it");
    fs::hard_link(bench.context().join("a/x"), bench.context().join("zz-hard")).expect("as this test made it");
    for (name, target) in [
        ("links/dangling", "no/where"),
        ("links/absolute", "/a/x"),
        ("links/up", "../a"),
        ("links/loop", "loop"),
        ("links/ping", "pong"),
        ("links/pong", "ping"),
        ("links/outside", "../../../../../etc/passwd"),
    ] {
        link(bench, name, target);
    }
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(bench.context().join("top.rs"), "user.origin", b"here", flags) {
        // Not every file system keeps such; where it does, the reference sends them.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => panic!("an attribute cannot be set: {error}"),
    }
    chmod(bench, "tools/suid", 0o6755);
    chmod(bench, "a-b", 0o400);
    chmod(bench, "empty", 0o1777);
    chmod(bench, "b", 0o2750);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_directories_arrive_as_with_buildctl() {
    let bench = Bench::new().await;
    furnish(&bench);
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let image = agree(&bench, "Dockerfile", "everything").await;
    let paths = paths(&bench, &image);
    for name in ["a/y/z.rs", "ä/ö ü.txt", "empty/dir/", "links/loop", "b/hard"] {
        assert!(paths.iter().any(|path| path == name), "{name} is missing: {paths:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_files_leave_out_what_they_do_with_buildctl() {
    let bench = Bench::new().await;
    furnish(&bench);
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    for ignore in [
        "a\n!a/y/z.rs\n",
        "**\n!**/*.rs\n!Dockerfile\n",
        "*\n!a\n!b/hard\na/y\n",
        "# hard links\na/x\n",
        "/links/\n./b/../top.*\n",
        "ä\n日本\n?.?\n",
        "ä*/**/*.txt\na+b\n*[ ]*\n",
        "\u{feff}a*\n!a-b\n",
        "**/*.rs\n!a/**\na/x\n",
        "empty\n!empty/dir\n",
        "a\nb\n!b\n*\n!*.txt\n",
        "b/*\n!b/two.rs\n!b/[h]ard\n",
    ] {
        bench.write(".dockerignore", ignore);
        agree(&bench, "Dockerfile", &format!(".dockerignore {ignore:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignore_file_of_its_own_wins() {
    let bench = Bench::new().await;
    furnish(&bench);
    bench.write(".dockerignore", "a\n");
    bench.write("other", "FROM scratch\nCOPY . /\n");
    bench.write("other.dockerignore", "b\n");
    let image = agree(&bench, "other", "other.dockerignore").await;
    let paths = paths(&bench, &image);
    assert!(paths.iter().any(|path| path == "a/x") && !paths.iter().any(|path| path.starts_with("b/")), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_is_followed_as_with_buildctl() {
    let bench = Bench::new().await;
    furnish(&bench);
    link(&bench, "to-dir", "a");
    link(&bench, "chain", "links/up");
    link(&bench, "to-file", "/top.txt");
    for copy in [
        "COPY a/y /y\nCOPY *.rs /rs/\n",
        "COPY to-dir/y/z.rs /z\n",
        "COPY to-file /f\n",
        "COPY chain/y /y\n",
        "COPY a*/* /a/\n",
        "COPY [\"a b/c d\", \"/c/\"]\n",
        "COPY ä/ö?ü.txt /o\n",
        "COPY links /links\n",
        "COPY --exclude=*.rs b /b\n",
    ] {
        bench.write("Dockerfile", format!("FROM scratch\n{copy}"));
        agree(&bench, "Dockerfile", copy).await;
    }
}

/// The reference forgets the second way through a link that it has followed, so that this build fails there.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_may_be_followed_twice() {
    let bench = Bench::new().await;
    bench.write("d/a", "1");
    bench.write("d/b", "2");
    link(&bench, "l", "d");
    bench.write("Dockerfile", "FROM scratch\nCOPY l/a /a\nCOPY l/b /b\n");
    let image = ours(&bench, "Dockerfile").await.unwrap();
    assert_eq!((bench.text(&image, "a"), bench.text(&image, "b")), ("1".to_owned(), "2".to_owned()));
}

fn some_path(dice: &mut Dice) -> String {
    let names = ["a", "b", "a-b", "a.b", "ab", "a b", "ä", "A", "z.rs"];
    (0..=dice.below(3)).map(|_| *dice.pick(&names)).collect::<Vec<_>>().join("/")
}

fn some_pattern(dice: &mut Dice) -> String {
    let parts = ["a", "b", "*", "**", "a*", "?", "ä", "[a-c]", "z.rs", "*.rs", "a.b", "A"];
    let sign = *dice.pick(&["", "", "!"]);
    format!("{sign}{}", (0..=dice.below(2)).map(|_| *dice.pick(&parts)).collect::<Vec<_>>().join("/"))
}

/// A random directory of up to 30 things and an ignore file to it.
fn scatter(bench: &Bench, dice: &mut Dice) -> String {
    fs::remove_dir_all(bench.context()).expect("as this test made it");
    fs::create_dir(bench.context()).expect("as this test made it");
    let mut files: Vec<String> = Vec::new();
    for number in 0..10 + dice.below(20) {
        let name = some_path(dice);
        let path = bench.context().join(&name);
        // Another file may be where a directory should be, or something may be there already.
        if fs::create_dir_all(path.parent().expect("as this test made it")).is_err() || path.symlink_metadata().is_ok()
        {
            continue;
        }
        match dice.below(6) {
            0 => symlink(some_path(dice), &path).expect("as this test made it"),
            1 => fs::create_dir(&path).expect("as this test made it"),
            2 if !files.is_empty() => {
                let first = dice.pick(&files).clone();
                fs::hard_link(bench.context().join(first), &path).expect("as this test made it");
            }
            _ => {
                fs::write(&path, noise(number, *dice.pick(&[0, 40_000, 80_000]))).expect("as this test made it");
                fs::set_permissions(&path, Permissions::from_mode(*dice.pick(&[0o644, 0o755, 0o4711])))
                    .expect("as this test made it");
                files.push(name);
            }
        }
    }
    let patterns: Vec<String> = (0..dice.below(6)).map(|_| some_pattern(dice)).collect();
    patterns.join("\n") + "\n!Dockerfile\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn random_directories_arrive_as_with_buildctl() {
    let seed = seed("directories");
    let bench = Bench::new().await;
    let mut dice = Dice(seed);
    for round in 0..8 {
        let ignore = scatter(&bench, &mut dice);
        bench.write(".dockerignore", &ignore);
        bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        agree(&bench, "Dockerfile", &format!("CATAMARAN_SEED={seed} round {round}, {ignore:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_left_out_with_a_warning() {
    let bench = Bench::new().await;
    bench.write("run/file", "1");
    let _socket = UnixListener::bind(bench.context().join("run/agent.sock")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.context().join("run/pipe"), rustix::fs::Mode::RWXU).unwrap();
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let image = ours(&bench, "Dockerfile").await.unwrap();
    assert_eq!(paths(&bench, &image), ["Dockerfile", "run/", "run/file"]);
    let warnings: Vec<String> = bench
        .events
        .all()
        .into_iter()
        .filter_map(|event| match event {
            Event::Warning { text, .. } => Some(text),
            _ => None,
        })
        .collect();
    let wanted = "left out of `context`, as no image holds such: `run/agent.sock` (socket), `run/pipe` (named pipe)";
    assert_eq!(warnings, [wanted]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_directory_never_travels() {
    let bench = Bench::new().await;
    bench.write(".catamaran/layout/blob", "secret");
    bench.write("kept", "1");
    link(&bench, "link", ".catamaran/layout");
    bench.write(".dockerignore", "!.catamaran\n!**\n");
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    let mut request = bench.request("linux/amd64");
    request.context = ContextSource::Directory { path: bench.context(), always_excluded: vec!["./.catamaran/".into()] };
    let image = bench.engine.build(request.clone()).await.unwrap();
    assert_eq!(paths(&bench, &image), [".dockerignore", "Dockerfile", "kept", "link"]);
    bench.write("Dockerfile", "FROM scratch\nCOPY .catamaran/layout/blob /\n");
    let error = bench.engine.build(request).await.unwrap_err();
    assert!(error.to_string().contains("not found") || matches!(error, EngineError::Build { .. }), "{error:?}");
}

/// The daemon knows only that the transfer ended; the cause is known here.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_utf8_is_an_error_that_shows_it() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    fs::write(bench.context().join(OsStr::from_bytes(b"caf\xe9.txt")), "").unwrap();
    let (amd64, arm64) = tokio::join!(bench.build("linux/amd64"), bench.build("linux/arm64"));
    for result in [amd64, arm64] {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, EngineError::Context { path, disk: false, .. } if path == r"caf\xe9.txt"),
            "{error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Build);
        assert!(error.to_string().contains("UTF-8"), "{error}");
    }
    bench.write(".dockerignore", "caf?.txt\n");
    bench.build("linux/amd64").await.expect("the failure is not kept");

    fs::remove_dir_all(bench.context()).unwrap();
    let error = bench.build("linux/amd64").await.unwrap_err();
    assert!(matches!(error, EngineError::Context { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_on_its_way_is_an_error() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    bench.write("growing.log", noise(1, 32 << 20));
    let done = AtomicBool::new(false);
    let path = bench.context().join("growing.log");
    let grow = || {
        let mut file = fs::File::options().append(true).open(&path).unwrap();
        while !done.load(Ordering::Relaxed) {
            std::io::Write::write_all(&mut file, b"one more line\n").unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    let error = std::thread::scope(|scope| {
        scope.spawn(grow);
        let error = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(ours(&bench, "Dockerfile")).unwrap_err()
        });
        done.store(true, Ordering::Relaxed);
        error
    });
    assert!(matches!(&error, EngineError::Context { path, .. } if path == "growing.log"), "{error:?}");
    assert!(error.to_string().contains("changed"), "{error}");
    let image = ours(&bench, "Dockerfile").await.expect("it stands still now");
    assert_eq!(bench.file(&image, "growing.log").unwrap(), fs::read(&path).unwrap());
}

/// Runs without the right of root to read everything, on a runtime of its own.
fn as_nobody_special(run: impl Future<Output = ()> + Send) {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sets = capabilities(None).expect("Linux");
            sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, sets).expect("Linux");
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("Linux")
                .block_on(run);
        });
    });
}

#[test]
fn a_file_that_may_not_be_read_is_an_error_and_never_empty() {
    // Not by the threads without rights.
    let address = Daemon::shared().address();
    as_nobody_special(async {
        let bench = Bench::on(address).await;
        bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        bench.write("secrets/key", "1");
        chmod(&bench, "secrets/key", 0o000);
        let error = ours(&bench, "Dockerfile").await.unwrap_err();
        assert!(matches!(&error, EngineError::Context { path, disk: true, .. } if path == "secrets/key"), "{error:?}");
        chmod(&bench, "secrets", 0o000);
        let error = ours(&bench, "Dockerfile").await.unwrap_err();
        assert!(matches!(&error, EngineError::Context { path, disk: true, .. } if path == "secrets"), "{error:?}");
        bench.write(".dockerignore", "secrets\n");
        let image = ours(&bench, "Dockerfile").await.unwrap();
        assert_eq!(paths(&bench, &image), [".dockerignore", "Dockerfile"]);
        chmod(&bench, "secrets", 0o700);
    });
}

/// Patterns travel as headers; at this length the reference implementation fails.
#[tokio::test(flavor = "multi_thread")]
async fn an_ignore_file_of_200_kb() {
    use std::fmt::Write as _;
    let bench = Bench::new().await;
    let mut ignore = String::new();
    for number in 0..24_000 {
        writeln!(ignore, "f{number:05}.o").unwrap();
    }
    assert!(ignore.len() > 200 * 1024);
    bench.write(".dockerignore", ignore);
    bench.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    for name in ["f00000.o", "f23999.o", "f24000.o", "kept"] {
        bench.write(name, "1");
    }
    let image = ours(&bench, "Dockerfile").await.unwrap();
    assert_eq!(paths(&bench, &image), [".dockerignore", "Dockerfile", "f24000.o", "kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_files_travel_once() {
    let bench = Bench::new().await;
    bench.shells();
    for directory in 0..100 {
        let path = bench.context().join(format!("d{directory}"));
        fs::create_dir(&path).unwrap();
        for file in 0..500 {
            fs::write(path.join(format!("f{file}")), [b'x'; 20]).unwrap();
        }
    }
    // Mounted rather than copied, or most of the time would go into a layer of them.
    bench.write("Dockerfile", format!("{SHELL}RUN --mount=type=bind,target=/ctx cat /ctx/d*/f* | wc -c >/bytes\n"));
    let image = bench.build("linux/amd64").await.unwrap();
    assert_eq!(bench.text(&image, "bytes"), "1000000");
    assert!(image.sent >= 1_000_000, "{}", image.sent);
    let again = bench.build("linux/amd64").await.unwrap();
    assert_eq!(again.manifest, image.manifest);
    let dockerfile = fs::metadata(bench.context().join("Dockerfile")).unwrap().len();
    assert!(again.sent <= dockerfile, "nothing but the Dockerfile travels again, not {} bytes", again.sent);
}
