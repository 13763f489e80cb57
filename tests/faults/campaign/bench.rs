//! Everything that one row of runs needs, and one run of every kind.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::fleet::{BOTH, Ended, Fleet};
use super::kinds::{Kind, LIES, pick_act};
use crate::support::builder::LyingBuilder;
use crate::support::cutter::{Cutter, Damage, Way};
use crate::support::daemon::Daemon;
use crate::support::dice::Dice;
use crate::support::registry::skopeo;
use crate::support::scripted::{Login, Scripted};
use crate::support::tiny::{Tiny, index};

/// What became of a run.
pub(super) struct Told {
    /// Whether the fault came about; a kill may come too late.
    pub(super) fired: bool,
    /// What was injected, in words.
    pub(super) what: String,
    pub(super) code: Option<i32>,
    /// Promises that were broken.
    pub(super) broken: Vec<String>,
}

/// Builders, a registry, and projects that they serve.
pub(super) struct Bench {
    folder: TempDir,
    daemon: Daemon,
    cutter: Cutter,
    liar: LyingBuilder,
    registry: Scripted,
    real: Fleet,
    scripted: Fleet,
    released: Fleet,
    /// Bytes that a run without a fault moves, up and down.
    bytes: (u64, u64),
    /// What a run without a fault takes, by a real builder and by a scripted one.
    took: [Duration; 2],
    /// The last one, so that it drops last.
    _runtime: Runtime,
}

impl Bench {
    pub(super) fn new(runtime: Runtime) -> Self {
        let folder = tempfile::Builder::new().prefix("campaign").tempdir().expect("a folder");
        let cutter = Cutter::start(&folder.path().join("cutter"));
        let guard = runtime.enter();
        let liar = LyingBuilder::start(&folder.path().join("liar"));
        let registry = runtime.block_on(Scripted::start(Login::None));
        drop(guard);
        let (real, scripted) = (Fleet::real(), Fleet::scripted(None));
        let released = Fleet::scripted(Some(registry.address.clone()));
        let daemon = Daemon::start();
        let (bytes, took) = ((0, 0), [Duration::ZERO; 2]);
        let mut bench =
            Self { folder, daemon, cutter, liar, registry, real, scripted, released, bytes, took, _runtime: runtime };
        for round in 0..2 {
            bench.measure(&format!("first {round}"));
        }
        bench
    }

    /// Runs without a fault, to know what they take.
    fn measure(&mut self, stamp: &str) {
        let stamp = stamp.replace(' ', "-");
        for real in [true, false] {
            self.prepare(real, &stamp);
            let begin = Instant::now();
            let ended = self.fleet(real).run(&self.build(real).each_ref().map(String::as_str));
            self.took[usize::from(!real)] = begin.elapsed();
            assert_eq!(ended.code, Some(0), "without a fault: {}", ended.text);
            let fleet = self.fleet(real);
            assert_eq!(fleet.is_whole(&fleet.layout()), Ok(()), "{}", ended.text);
            if real {
                self.bytes = self.cutter.bytes();
            }
        }
    }

    fn fleet(&self, real: bool) -> &Fleet {
        if real { &self.real } else { &self.scripted }
    }

    /// Everything is in order, and the next run makes everything anew.
    fn prepare(&mut self, real: bool, stamp: &str) {
        if real { &mut self.real } else { &mut self.scripted }.stamp(stamp);
        self.mend(stamp);
    }

    /// Takes every fault away.
    fn mend(&self, stamp: &str) {
        self.cutter.script(self.daemon.address(), None);
        self.liar.script(stamp, None);
        self.registry.calm_down();
    }

    fn build(&self, real: bool) -> [String; 3] {
        let socket = self.folder.path().join(if real { "cutter" } else { "liar" });
        ["build".to_owned(), "--builder".to_owned(), format!("unix://{}", socket.display())]
    }

    /// One run with one fault, and one without.
    pub(super) fn run(&mut self, kind: Kind, number: u64, seed: u64) -> Told {
        let mut dice = Dice(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
        let stamp = format!("{seed}-{number}");
        match kind {
            Kind::Registry => return self.run_registry(&mut dice, &stamp),
            Kind::FullDisk => return self.run_full_disk(&mut dice, &stamp),
            _ => {}
        }
        let real = match kind {
            Kind::BuilderKilled | Kind::Cut | Kind::Changed => true,
            Kind::Lie => false,
            _ => dice.below(2) == 0,
        };
        self.prepare(real, &stamp);
        let (ended, fired, what) = match kind {
            Kind::BuilderKilled => self.kill_builder(&mut dice),
            Kind::Cut | Kind::Changed => self.damage(kind, &mut dice),
            Kind::Lie => self.lie(&stamp, &mut dice),
            Kind::Killed => self.kill(real, &mut dice),
            Kind::Clock => self.clock(real, &mut dice),
            _ => self.refuse_calls(real, kind, &mut dice),
        };
        let mut broken = self.judge(self.fleet(real), &ended, number);
        if kind == Kind::InputOutput || kind == Kind::NoSpace {
            // Where it was no file that failed, an error came that no kernel gives: what matters then is the exit code.
            broken.retain(|text| fired || !text.starts_with("it "));
        }
        self.mend(&stamp);
        again(self.fleet(real), &self.build(real), &mut broken);
        Told { fired, what, code: ended.code, broken }
    }

    /// What a run may not have done.
    fn judge(&self, fleet: &Fleet, ended: &Ended, number: u64) -> Vec<String> {
        let mut broken = Vec::new();
        if ended.hung {
            broken.push(format!("it hung: {}", ended.text));
        }
        if ended.text.contains("panicked at") {
            broken.push(format!("it panicked: {}", ended.text));
        }
        if ended.code == Some(0) {
            if let Err(error) = fleet.is_whole(&fleet.layout()) {
                broken.push(format!("exit 0 with {error}: {}", ended.text));
            } else if number.is_multiple_of(50) {
                self.second_opinion(fleet);
            }
        }
        broken
    }

    /// Another program reads it, too.
    fn second_opinion(&self, fleet: &Fleet) {
        for (number, reference) in fleet.references().iter().enumerate() {
            let target = self.folder.path().join(format!("copy-{number}"));
            let source = format!("oci:{}:{reference}", fleet.layout().display());
            skopeo(&["copy", "--all", "--quiet", &source, &format!("dir:{}", target.display())]);
            fs::remove_dir_all(target).expect("a folder");
        }
    }

    /// A moment within a run.
    fn moment(&self, real: bool, dice: &mut Dice) -> Duration {
        let whole = u64::try_from(self.took[usize::from(!real)].as_micros()).expect("short");
        Duration::from_micros(dice.below(whole))
    }

    fn start(&self, real: bool, before: &[String]) -> std::process::Child {
        let fleet = self.fleet(real);
        fleet.start(fleet.command(before, &self.build(real).each_ref().map(String::as_str)))
    }

    fn kill_builder(&mut self, dice: &mut Dice) -> (Ended, bool, String) {
        let after = self.moment(true, dice);
        let mut child = self.start(true, &[]);
        thread::sleep(after);
        let fired = child.try_wait().expect("a child").is_none();
        self.daemon.kill();
        let ended = self.real.end(child);
        self.daemon = Daemon::start();
        (ended, fired, format!("the builder is killed after {after:?}"))
    }

    fn damage(&self, kind: Kind, dice: &mut Dice) -> (Ended, bool, String) {
        let way = if kind == Kind::Changed || dice.below(2) == 0 { Way::Down } else { Way::Up };
        let at = dice.below(if way == Way::Down { self.bytes.1 } else { self.bytes.0 });
        let damage = if kind == Kind::Changed { Damage::Change(at) } else { Damage::Cut(at) };
        self.cutter.script(self.daemon.address(), Some((way, damage)));
        let ended = self.real.end(self.start(true, &[]));
        (ended, self.cutter.fired(), format!("{way:?} {damage:?}"))
    }

    fn lie(&self, stamp: &str, dice: &mut Dice) -> (Ended, bool, String) {
        let number = usize::try_from(dice.below(4)).expect("small");
        let lie = LIES[usize::try_from(dice.below(LIES.len() as u64)).expect("small")](dice);
        self.liar.script(stamp, Some((number, lie)));
        let ended = self.scripted.end(self.start(false, &[]));
        (ended, self.liar.lied(), format!("solve {number}: {lie:?}"))
    }

    fn kill(&self, real: bool, dice: &mut Dice) -> (Ended, bool, String) {
        let after = self.moment(real, dice);
        let mut child = self.start(real, &[]);
        thread::sleep(after);
        drop(child.kill());
        let ended = self.fleet(real).end(child);
        let fired = ended.code.is_none();
        (ended, fired, format!("SIGKILL after {after:?}"))
    }

    /// The machine's time goes another way all of a sudden, for the program alone. Its monotonic clock goes on, as a real one.
    fn clock(&self, real: bool, dice: &mut Dice) -> (Ended, bool, String) {
        let jump = *dice.pick(&["+400d", "-400d", "+3h", "-3h", "+40d", "-2d", "-20000d", "-1", "+100y"]);
        let after = self.moment(real, dice);
        let file = self.folder.path().join("time");
        fs::write(&file, "+0").expect("a file");
        let fleet = self.fleet(real);
        let mut command = fleet.command(&[], &self.build(real).each_ref().map(String::as_str));
        let library = ["x86_64", "aarch64"]
            .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
            .into_iter()
            .find(|path| std::path::Path::new(path).is_file())
            .expect("libfaketime is there: run scripts/setup test");
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &file).env("FAKETIME_NO_CACHE", "1");
        command.env("NO_FAKE_STAT", "1").env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let mut child = fleet.start(command);
        thread::sleep(after);
        let fired = child.try_wait().expect("a child").is_none();
        let new = self.folder.path().join("new");
        fs::write(&new, jump).expect("a file");
        fs::rename(new, &file).expect("a file");
        (fleet.end(child), fired, format!("{jump} after {after:?}"))
    }

    /// A call to the kernel answers with an error, once in a thread.
    fn refuse_calls(&self, real: bool, kind: Kind, dice: &mut Dice) -> (Ended, bool, String) {
        let error = if kind == Kind::NoSpace { "ENOSPC" } else { "EIO" };
        let (call, most) = *dice.pick(&[
            ("write", 40),
            ("write", 12),
            ("fsync", 8),
            ("fsync", 3),
            ("rename", 6),
            ("openat", 60),
            ("mkdir", 4),
            ("fchmod", 5),
            ("ftruncate", 2),
        ]);
        let (nth, log) = (1 + dice.below(most), self.folder.path().join("calls"));
        let shown = log.display().to_string();
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={nth}"));
        let before = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-o", &shown, "-e", &trace, "-e", &inject];
        drop(fs::remove_file(&log));
        let child = self.start(real, &before.map(str::to_owned));
        // Sockets and counters of the kernel's are no disk: the runtime may not outlive errors that they never have.
        let no_file = ["anon_inode:", "socket:", "pipe:"];
        let ended = self.fleet(real).end_unless(child, || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.lines().any(|line| line.contains("(INJECTED)") && no_file.iter().any(|kind| line.contains(kind)))
        });
        let log = fs::read_to_string(log).expect("strace has written: run scripts/setup test");
        let root = format!("{}/", self.fleet(real).project.root().display());
        let injected = || log.lines().filter(|line| line.contains("(INJECTED)"));
        let what = injected().find(|line| line.contains(&root)).unwrap_or_default().to_owned();
        let runtime = ended.text.contains("failed to wake I/O driver");
        let fired =
            !what.is_empty() && !runtime && !injected().any(|line| no_file.iter().any(|kind| line.contains(kind)));
        (ended, fired, format!("{call} {nth} of a thread: {what}"))
    }

    /// The file system of the state is full at some point; in its own mount namespace, out of which a copy comes.
    fn run_full_disk(&mut self, dice: &mut Dice, stamp: &str) -> Told {
        self.prepare(true, stamp);
        let limit = match dice.below(4) {
            0 => format!("size=100m,nr_inodes={}", 2 + dice.below(90)),
            _ => format!("size={}k", 4 + 4 * dice.below(360)),
        };
        let script = format!(
            "mount -t tmpfs -o {limit} none .catamaran && {{ \"$@\" >out1 2>&1; echo $? >code1; \
             mkdir -p copy1 copy2; cp -a .catamaran/. copy1; mount -o remount,size=200m,nr_inodes=100000 .catamaran; \
             \"$@\" >out2 2>&1; echo $? >code2; cp -a .catamaran/. copy2; }}"
        );
        let mut before = vec!["unshare".to_owned(), "--mount".to_owned()];
        if !rustix::process::geteuid().is_root() {
            before.push("--map-root-user".to_owned());
        }
        before.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
        let fleet = &self.real;
        fs::create_dir_all(fleet.project.path(".catamaran")).expect("a folder");
        let all = fleet.end(self.start(true, &before));
        let read = |name: &str| fs::read_to_string(fleet.project.path(name)).unwrap_or_default();
        let code = |name: &str| read(name).trim().parse::<i32>().ok();
        let (first, second) = (code("code1"), code("code2"));
        let mut broken = Vec::new();
        if all.hung {
            broken.push(format!("it hung: {}{}", read("out1"), read("out2")));
        }
        if first == Some(0)
            && let Err(error) = fleet.is_whole(&fleet.project.path("copy1/layout"))
        {
            broken.push(format!("exit 0 with {error}: {}", read("out1")));
        }
        let whole = fleet.is_whole(&fleet.project.path("copy2/layout"));
        if second != Some(0) || whole.is_err() {
            broken.push(format!("the rerun ended with {second:?}, {whole:?}: {}{}", all.text, read("out2")));
        }
        for name in ["copy1", "copy2", "code1", "code2"] {
            let path = fleet.project.path(name);
            drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
        }
        Told { fired: first != Some(0), what: limit, code: first, broken }
    }

    /// The registry does not as it should, while an image is mirrored from it and the release is pushed to it.
    fn run_registry(&mut self, dice: &mut Dice, stamp: &str) -> Told {
        self.released.stamp(stamp);
        self.mend(stamp);
        let images = BOTH.map(|platform| Tiny::honest(platform, stamp, 100));
        for image in &images {
            self.registry.put_blob("lib/ext", &image.layer.bytes);
            self.registry.put_blob("lib/ext", &image.config.bytes);
            self.registry.put_manifest("lib/ext", image.manifest.media_type, &image.manifest.bytes, None);
        }
        let both = index(&[(BOTH[0], &images[0]), (BOTH[1], &images[1])]);
        self.registry.put_manifest("lib/ext", both.media_type, &both.bytes, Some(stamp));
        let (skip, times, act) = pick_act(dice);
        self.registry.script("", "", skip, times, act.clone());
        let build = self.build(false);
        let arguments = [&build[..], &["--push".to_owned()]].concat();
        let ended = self.released.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let fired = self.registry.seen().len() > skip;
        let mut broken = self.judge(&self.released, &ended, 1);
        self.mend_registry(&ended, &mut broken);
        self.mend(stamp);
        again(&self.released, &arguments, &mut broken);
        Told { fired, what: format!("{times} times after {skip} requests: {act:?}"), code: ended.code, broken }
    }

    /// What was pushed with exit code 0 is there.
    fn mend_registry(&self, ended: &Ended, broken: &mut Vec<String>) {
        self.registry.calm_down();
        if ended.code != Some(0) {
            return;
        }
        for reference in self.released.references() {
            let Some((_, place)) = reference.split_once('/') else { continue };
            let (repository, tag) = place.rsplit_once(':').expect("a tag");
            if let Err(error) = self.registry.is_whole(repository, tag, &self.released.layout()) {
                broken.push(format!("exit 0, and in the registry {reference} {error}: {}", ended.text));
            }
        }
    }
}

/// The same without a fault.
fn again(fleet: &Fleet, arguments: &[String], broken: &mut Vec<String>) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = fleet.run(&arguments);
    if ended.code != Some(0) || ended.hung {
        broken.push(format!("the rerun without a fault ended with {:?}: {}", ended.code, ended.text));
    } else if let Err(error) = fleet.is_whole(&fleet.layout()) {
        broken.push(format!("the rerun ended with 0, with {error}: {}", ended.text));
    }
}
