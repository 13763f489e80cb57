use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel lists who runs foreign executables; the format is told in its `admin-guide/binfmt-misc`.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Bytes that can still be written below `path`, by this user. `path` or a parent of it must exist.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let mut nearest = path;
    loop {
        match rustix::fs::statvfs(nearest) {
            Ok(answer) => return Ok(answer.f_bavail.saturating_mul(answer.f_frsize)),
            Err(rustix::io::Errno::NOENT) => {
                nearest = nearest.parent().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How many files this process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimit {
    /// The limit in force; `None` is no limit.
    pub soft: Option<u64>,
    /// How far it can be raised without privilege; `None` is no limit.
    pub hard: Option<u64>,
}

/// Asks how many files this process may have open.
pub fn file_limit() -> FileLimit {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    FileLimit { soft: limit.current, hard: limit.maximum }
}

/// Why this machine forbids ordinary users to make user namespaces, where one of the known switches says so. `None` is no
/// promise: containers forbid them without a switch that could be read.
pub fn user_namespaces_forbidden() -> Option<&'static str> {
    let is = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        Some("the sysctl `user.max_user_namespaces` is 0")
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        Some("the sysctl `kernel.unprivileged_userns_clone` is 0")
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        Some("the sysctl `kernel.apparmor_restrict_unprivileged_userns` is 1")
    } else {
        None
    }
}

/// A processor as the header of an ELF executable names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// `EI_CLASS`: 1 for 32 bits, 2 for 64.
    pub class: u8,
    /// `EI_DATA`: 1 for little endian, 2 for big.
    pub data: u8,
    /// `e_machine`
    pub machine: u16,
}

impl Machine {
    /// The machine of an architecture as OCI names it (`arm64`); `None` for names that have no ELF machine here.
    pub fn of(architecture: &str) -> Option<Self> {
        let (class, data, machine) = match architecture {
            "amd64" => (2, 1, 62),
            "386" => (1, 1, 3),
            "arm64" => (2, 1, 183),
            "arm" => (1, 1, 40),
            "riscv64" => (2, 1, 243),
            "ppc64le" => (2, 1, 21),
            "ppc64" => (2, 2, 21),
            "s390x" => (2, 2, 22),
            "mips64le" => (2, 1, 8),
            "mips64" => (2, 2, 8),
            "mipsle" => (1, 1, 8),
            "mips" => (1, 2, 8),
            "loong64" => (2, 1, 258),
            _ => return None,
        };
        Some(Self { class, data, machine })
    }
}

/// An interpreter that the kernel starts for executables of another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    /// The name of the registration (`qemu-aarch64`).
    pub name: String,
    /// The interpreter's path, as it was when it was registered.
    pub interpreter: PathBuf,
    /// What it runs.
    pub machine: Machine,
    /// Whether the registration is switched on.
    pub enabled: bool,
    /// `F`: the interpreter was opened when it was registered, so that it also works in containers that do not hold it.
    pub fixed: bool,
    /// `P`: programs keep their own `argv[0]`. Without it, programs that look at their name (busybox) misbehave.
    pub keeps_name: bool,
}

/// Everything that is registered with the kernel to run ELF executables of other machines. Empty where `binfmt_misc` is not
/// mounted or not readable.
pub fn emulators() -> Vec<Emulator> {
    let Ok(entries) = fs::read_dir(BINFMT) else { return Vec::new() };
    let mut found: Vec<Emulator> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() != "register" && entry.file_name() != "status")
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            parse_registration(&entry.file_name().to_string_lossy(), &text)
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Reads one file of `binfmt_misc`; `None` for what is not about ELF machines (file extensions, scripts, Java).
fn parse_registration(name: &str, text: &str) -> Option<Emulator> {
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let magic = field("magic ")?;
    let byte = |at: usize| u8::from_str_radix(magic.get(2 * at..2 * at + 2)?, 16).ok();
    // A magic number that starts elsewhere in the file is no ELF header.
    if field("offset ")? != "0" || !magic.starts_with("7f454c46") {
        return None;
    }
    // elf(5): e_machine is two bytes at 18, in the byte order of the machine itself.
    let (class, data) = (byte(4)?, byte(5)?);
    let machine =
        if data == 2 { u16::from_be_bytes([byte(18)?, byte(19)?]) } else { u16::from_le_bytes([byte(18)?, byte(19)?]) };
    let flags = field("flags:").unwrap_or_default();
    Some(Emulator {
        name: name.to_owned(),
        interpreter: PathBuf::from(field("interpreter ")?),
        machine: Machine { class, data, machine },
        enabled: text.lines().next() == Some("enabled"),
        fixed: flags.contains('F'),
        keeps_name: flags.contains('P'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_tells_machine_and_flags() {
        let text = "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OCF\noffset 0\n\
                    magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        let emulator = parse_registration("qemu-aarch64", text).expect("an ELF registration");
        assert_eq!(Some(emulator.machine), Machine::of("arm64"));
        assert!(emulator.enabled && emulator.fixed && !emulator.keeps_name);
        assert_eq!(emulator.interpreter, Path::new("/usr/bin/qemu-aarch64"));
    }

    /// What Debian's qemu-user-binfmt registers on an arm64 machine for amd64, and what `tonistiigi/binfmt` does.
    #[test]
    fn an_arm64_machine_tells_how_it_runs_amd64() {
        let magic = "magic 7f454c4602010100000000000000000002003e00\nmask fffffffffffefe00fffffffffffffffffeffffff\n";
        let read = |interpreter: &str, flags: &str, state: &str| {
            let text = format!("{state}\ninterpreter {interpreter}\nflags: {flags}\noffset 0\n{magic}");
            parse_registration("qemu-x86_64", &text).expect("an ELF registration")
        };
        let debian = read("/usr/libexec/qemu-binfmt/x86_64-binfmt-P", "POCF", "enabled");
        assert_eq!(Some(debian.machine), Machine::of("amd64"));
        assert!(debian.enabled && debian.fixed && debian.keeps_name);
        let other = read("/usr/bin/qemu-x86_64", "OCF", "enabled");
        assert!(other.enabled && other.fixed && !other.keeps_name);
        let bare = read("/usr/bin/qemu-x86_64-static", "OC", "disabled");
        assert!(!bare.enabled && !bare.fixed, "C alone says nothing about containers");
    }

    #[test]
    fn big_endian_machines_are_read_in_their_order() {
        let text = "disabled\ninterpreter /q\nflags: \noffset 0\nmagic 7f454c4602020100000000000000000000020016\n";
        let emulator = parse_registration("qemu-s390x", text).expect("an ELF registration");
        assert_eq!(Some(emulator.machine), Machine::of("s390x"));
        assert!(!emulator.enabled && !emulator.fixed);
    }

    #[test]
    fn what_is_no_elf_machine_is_left_out() {
        for text in [
            "enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n",
            "enabled\ninterpreter /usr/bin/python\nflags: \noffset 0\nmagic 6f0d0d0a\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic 7f454c46\n",
            "enabled\ninterpreter /x\nflags: \noffset 0\nmagic 7f454c46äöü\n",
            "",
        ] {
            assert_eq!(parse_registration("x", text), None, "{text}");
        }
    }

    #[test]
    fn free_space_is_that_of_the_nearest_folder() {
        let there = free_bytes(Path::new("/")).expect("a root file system");
        let below = free_bytes(Path::new("/no/such/folder/yet")).expect("its parent exists");
        assert!(there > 0 && below > 0);
    }
}
