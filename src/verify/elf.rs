use crate::base::Platform;

/// Bytes of a file that [`Program::parse`] needs.
pub(super) const HEAD: usize = 64;

/// What the head of an ELF file says about the processor it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    machine: u16,
    wide: bool,
    little: bool,
}

/// Machines of general processors (`e_machine` of the System V ABI): what an operating system runs programs of. Everything
/// else (BPF, GPUs, microcontrollers, `EM_NONE`) is firmware or data to it and is never meant to be executed by it.
const PROCESSORS: &[(u16, &str)] = &[
    (2, "sparc"),
    (3, "386"),
    (4, "m68k"),
    (8, "mips"),
    (15, "parisc"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (42, "sh"),
    (43, "sparc64"),
    (50, "ia64"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];

impl Program {
    /// Reads the first [`HEAD`] bytes of a file. `None`: no ELF executable or shared object (so not object files, whose
    /// type is `ET_REL`, nor core files), or one for no general processor.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        if head.len() < 52 || &head[..4] != b"\x7fELF" {
            return None;
        }
        let wide = match head[4] {
            1 => false,
            2 => true,
            _ => return None,
        };
        let little = match head[5] {
            1 => true,
            2 => false,
            _ => return None,
        };
        let half = |at: usize| {
            let bytes = [head[at], head[at + 1]];
            if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
        };
        let (kind, machine) = (half(16), half(18));
        // ET_EXEC and ET_DYN: a position-independent executable is a shared object by type.
        let program = matches!(kind, 2 | 3) && PROCESSORS.iter().any(|known| known.0 == machine);
        program.then_some(Self { machine, wide, little })
    }

    /// The processor in the words of platforms where it has one: `arm64`, `mips64le`, `sparc`.
    pub(super) fn processor(self) -> String {
        let name = PROCESSORS.iter().find(|known| known.0 == self.machine).map_or("unknown", |known| known.1);
        match (self.machine, self.wide, self.little) {
            (8, wide, little) => format!("mips{}{}", if wide { "64" } else { "" }, if little { "le" } else { "" }),
            (21, _, true) => "ppc64le".to_owned(),
            (22, false, _) => "s390".to_owned(),
            (243, false, _) => "riscv32".to_owned(),
            _ => name.to_owned(),
        }
    }

    /// Whether it runs on `platform` without emulation; 32-bit programs run on their 64-bit successors. `None` where nothing
    /// is known about the platform's programs (another system than Linux).
    pub(super) fn runs_on(self, platform: &Platform) -> Option<bool> {
        if platform.os() != "linux" {
            return None;
        }
        let own = self.processor();
        Some(match platform.architecture() {
            "amd64" => matches!(own.as_str(), "amd64" | "386"),
            "arm64" => matches!(own.as_str(), "arm64" | "arm"),
            "s390x" => matches!(own.as_str(), "s390x" | "s390"),
            "ppc64" => matches!(own.as_str(), "ppc64" | "ppc"),
            "mips64" => matches!(own.as_str(), "mips64" | "mips"),
            "mips64le" => matches!(own.as_str(), "mips64le" | "mipsle"),
            "wasm" => return None,
            other => own == other,
        })
    }
}

/// Whether a file is one that the image's own system would execute or load, judged by mode and place.
///
/// Images hold programs for other processors on purpose: prebuilt modules of language packages, test data, firmware. A
/// file counts if it has an execute bit; a library without one counts where the dynamic loader looks for libraries.
pub(super) fn is_live(path: &[u8], mode: u32, platform: &Platform) -> bool {
    if mode & 0o111 != 0 {
        return true;
    }
    let path = path.strip_prefix(b"./").or_else(|| path.strip_prefix(b"/")).unwrap_or(path);
    let directory = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
    let Ok(directory) = std::str::from_utf8(directory) else { return false };
    let directory =
        directory.strip_prefix("usr/local/").or_else(|| directory.strip_prefix("usr/")).unwrap_or(directory);
    if matches!(directory, "lib" | "lib64") {
        return true;
    }
    // Debian's directory of the platform's own libraries; another platform's is there on purpose.
    let own = match platform.architecture() {
        "amd64" => "x86_64-linux-gnu",
        "arm64" => "aarch64-linux-gnu",
        "arm" => "arm-linux-gnueabihf",
        "386" => "i386-linux-gnu",
        "riscv64" => "riscv64-linux-gnu",
        "ppc64le" => "powerpc64le-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        _ => return false,
    };
    directory.strip_prefix("lib/") == Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(class: u8, data: u8, kind: u16, machine: u16) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[..4].copy_from_slice(b"\x7fELF");
        head[4] = class;
        head[5] = data;
        let order = |value: u16| if data == 1 { value.to_le_bytes() } else { value.to_be_bytes() };
        head[16..18].copy_from_slice(&order(kind));
        head[18..20].copy_from_slice(&order(machine));
        head
    }

    fn verdict(class: u8, data: u8, kind: u16, machine: u16, platform: &str) -> Option<bool> {
        let platform = platform.parse().expect("a platform");
        Program::parse(&head(class, data, kind, machine)).and_then(|program| program.runs_on(&platform))
    }

    #[test]
    fn d19_knows_which_programs_run_where() {
        assert_eq!(verdict(2, 1, 2, 62, "amd64"), Some(true));
        assert_eq!(verdict(2, 1, 3, 62, "arm64"), Some(false), "a position-independent executable too");
        assert_eq!(verdict(1, 1, 2, 3, "amd64"), Some(true), "32-bit x86 on amd64");
        assert_eq!(verdict(1, 1, 2, 62, "amd64"), Some(true), "x32");
        assert_eq!(verdict(1, 1, 3, 40, "arm64"), Some(true), "arm on arm64");
        assert_eq!(verdict(2, 1, 3, 183, "arm/v7"), Some(false), "but not the reverse");
        assert_eq!(verdict(2, 1, 3, 21, "ppc64le"), Some(true));
        assert_eq!(verdict(2, 2, 3, 21, "ppc64le"), Some(false), "the byte order decides");
        assert_eq!(verdict(2, 2, 2, 22, "s390x"), Some(true));
        assert_eq!(verdict(2, 1, 2, 243, "riscv64"), Some(true));
        assert_eq!(verdict(1, 1, 2, 243, "riscv64"), Some(false));
        assert_eq!(verdict(2, 1, 2, 62, "windows/amd64"), None);
    }

    #[test]
    fn d19_passes_over_what_no_system_executes() {
        for (kind, machine) in [(1, 62), (4, 62), (2, 0), (1, 247), (3, 247), (3, 190), (3, 224), (2, 83)] {
            assert_eq!(verdict(2, 1, kind, machine, "arm64"), None, "type {kind}, machine {machine}");
        }
        for text in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF", &[0; 64]] {
            assert_eq!(Program::parse(text), None);
        }
        let mut odd = head(3, 1, 2, 62);
        assert_eq!(Program::parse(&odd), None, "no such class");
        odd[4] = 2;
        odd[5] = 0;
        assert_eq!(Program::parse(&odd), None, "no such byte order");
    }

    #[test]
    fn counts_what_is_executed_or_loaded() {
        let arm64 = "arm64".parse().expect("a platform");
        for (path, mode) in [
            ("srv/app/tool", 0o755),
            ("usr/lib/libfoo.so.1", 0o644),
            ("./lib/ld.so", 0o644),
            ("usr/local/lib/libfoo.so", 0o644),
            ("usr/lib/aarch64-linux-gnu/libc.so.6", 0o644),
        ] {
            assert!(is_live(path.as_bytes(), mode, &arm64), "{path}");
        }
        for path in ["app/node_modules/x/prebuilds/linux-x64/x.node", "usr/lib/x86_64-linux-gnu/libc.so.6", "x"] {
            assert!(!is_live(path.as_bytes(), 0o644, &arm64), "{path}");
        }
    }
}
