use crate::base::Platform;

/// What the program prints: where the kernel lists the addresses of a network namespace.
pub(super) const ADDRESSES: &str = "/proc/net/fib_trie";

/// Where it is put into a container.
pub(super) const PLACE: &str = "/.catamaran-addresses";

/// Where the one segment is loaded: any page that is not the first ones.
const LOADED: u64 = 0x40_0000;
/// Bytes of the two headers of an ELF file with one segment.
const HEADERS: u64 = 64 + 56;

/// A program of some two hundred bytes that prints [`ADDRESSES`] and ends: images without a shell have nothing that could tell
/// their container's address. It needs no library and no loader, and looks at no argument.
///
/// Runs on the processor of `native`, whatever the image around it is for; `None` for one that we have no words for.
pub(super) fn program(native: &Platform) -> Option<Vec<u8>> {
    let (machine, code) = match native.architecture() {
        "amd64" => (62_u16, AMD64.to_vec()),
        "arm64" => (183, ARM64.iter().flat_map(|word| word.to_le_bytes()).collect()),
        _ => return None,
    };
    let size = HEADERS + code.len() as u64 + ADDRESSES.len() as u64 + 1;
    let mut bytes = Vec::new();
    // elf(5), Elf64_Ehdr: class 64, little endian, version 1, System V.
    bytes.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // An executable; version; entry; program headers at 64; no sections; flags; sizes and counts.
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    for word in [LOADED + HEADERS, 64, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    // Elf64_Phdr: PT_LOAD, readable and executable, the whole file, aligned as any kernel's pages are.
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    for word in [0, LOADED, LOADED, size, size, 0x1_0000] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(code);
    bytes.extend(ADDRESSES.as_bytes());
    bytes.push(0);
    Some(bytes)
}

/// open, then read and write until nothing comes, then exit with what the last call gave: 0 is well.
#[rustfmt::skip]
const AMD64: [u8; 68] = [
    0x6a, 0x02,                                // push 2 (open)
    0x58,                                      // pop rax
    0x48, 0x8d, 0x3d, 0x3a, 0x00, 0x00, 0x00,  // lea rdi, [path, right behind the code]
    0x31, 0xf6,                                // xor esi, esi (read only)
    0x0f, 0x05,                                // syscall
    0x85, 0xc0,                                // test eax, eax
    0x78, 0x29,                                // js done
    0x89, 0xc3,                                // mov ebx, eax
    0x48, 0x81, 0xec, 0x00, 0x10, 0x00, 0x00,  // sub rsp, 4096
    0x31, 0xc0,                                // again: xor eax, eax (read)
    0x89, 0xdf,                                // mov edi, ebx
    0x48, 0x89, 0xe6,                          // mov rsi, rsp
    0xba, 0x00, 0x10, 0x00, 0x00,              // mov edx, 4096
    0x0f, 0x05,                                // syscall
    0x85, 0xc0,                                // test eax, eax
    0x7e, 0x0e,                                // jle done
    0x89, 0xc2,                                // mov edx, eax
    0x6a, 0x01,                                // push 1 (write)
    0x58,                                      // pop rax
    0x89, 0xc7,                                // mov edi, eax (standard output)
    0x48, 0x89, 0xe6,                          // mov rsi, rsp
    0x0f, 0x05,                                // syscall
    0xeb, 0xe0,                                // jmp again
    0x89, 0xc7,                                // done: mov edi, eax
    0xb8, 0x3c, 0x00, 0x00, 0x00,              // mov eax, 60 (exit)
    0x0f, 0x05,                                // syscall
];

/// The same.
#[rustfmt::skip]
const ARM64: [u32; 24] = [
    0x9280_0c60,  // mov x0, #-100 (the working directory, not needed for an absolute path)
    0x1000_02e1,  // adr x1, path (right behind the code)
    0xd280_0002,  // mov x2, #0 (read only)
    0xd280_0003,  // mov x3, #0
    0xd280_0708,  // mov x8, #56 (openat)
    0xd400_0001,  // svc #0
    0xb7f8_0200,  // tbnz x0, #63, done
    0xaa00_03f3,  // mov x19, x0
    0xd140_07ff,  // sub sp, sp, #4096
    0xaa13_03e0,  // again: mov x0, x19
    0x9100_03e1,  // mov x1, sp
    0xd282_0002,  // mov x2, #4096
    0xd280_07e8,  // mov x8, #63 (read)
    0xd400_0001,  // svc #0
    0xf100_001f,  // cmp x0, #0
    0x5400_00ed,  // b.le done
    0xaa00_03e2,  // mov x2, x0
    0xd280_0020,  // mov x0, #1 (standard output)
    0x9100_03e1,  // mov x1, sp
    0xd280_0808,  // mov x8, #64 (write)
    0xd400_0001,  // svc #0
    0x17ff_fff4,  // b again
    0xd280_0ba8,  // done: mov x8, #93 (exit)
    0xd400_0001,  // svc #0
];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn it_prints_the_addresses_on_this_machine_and_on_an_emulated_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines = |text: &str| text.lines().filter(|line| line.contains("host LOCAL")).count();
        let known = lines(&std::fs::read_to_string(ADDRESSES).expect("a proc"));
        for architecture in ["amd64", "arm64"] {
            let bytes = program(&architecture.parse().expect("a platform")).expect("it is known");
            let path = folder.path().join(architecture);
            std::fs::write(&path, bytes).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).expect("ours");
            let output = Command::new(&path).output().expect("an emulator is missing: run scripts/setup");
            assert!(output.status.success(), "{architecture}: {output:?}");
            let text = String::from_utf8(output.stdout).expect("a text");
            assert!(text.contains("127.0.0.1"), "{architecture}: {text}");
            assert_eq!(lines(&text), known, "{architecture}: {text}");
        }
        assert_eq!(program(&"riscv64".parse().expect("a platform")), None);
    }
}
