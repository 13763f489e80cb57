use crate::base::Digest;

/// Size of a tar block, and so of a header.
pub(super) const BLOCK: u64 = 512;

/// A header or a block of zeros.
pub(super) type Block = [u8; 512];

/// The largest size that eleven octal digits hold: 8 GiB less one byte. What is larger is written in base 256.
const OCTAL_LIMIT: u64 = 0o777_7777_7777;

/// The largest size that an entry can have: what readers in Go keep, a signed 64-bit number.
pub(super) const SIZE_LIMIT: u64 = i64::MAX.unsigned_abs();

/// Where blobs lie, as in a layout.
const BLOBS: &str = "blobs/sha256/";

/// The only entry that a bundle may have under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum EntryName {
    /// `oci-layout`
    Marker,
    /// `index.json`
    Index,
    /// `manifest.json`
    DockerView,
    /// `catamaran.json`
    Lock,
    /// `blobs/sha256/…`
    Blob(Digest),
}

impl EntryName {
    /// A white list: what is not one of these names is no name, whatever it might do on some file system.
    fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"oci-layout" => Self::Marker,
            b"index.json" => Self::Index,
            b"manifest.json" => Self::DockerView,
            b"catamaran.json" => Self::Lock,
            _ => {
                let hex = std::str::from_utf8(name).ok()?.strip_prefix(BLOBS)?;
                Self::Blob(Digest::from_hex(hex).ok()?)
            }
        })
    }

    /// The name as it stands in the file.
    pub(super) fn text(self) -> String {
        match self {
            Self::Marker => "oci-layout".to_owned(),
            Self::Index => "index.json".to_owned(),
            Self::DockerView => "manifest.json".to_owned(),
            Self::Lock => super::LOCK_NAME.to_owned(),
            Self::Blob(digest) => blob_name(&digest),
        }
    }
}

/// Name of a blob's entry.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

/// The USTAR header (POSIX.1-1988) of a regular file: mode 0644, owner 0, time 0, everything else empty.
///
/// `size` is at most [`SIZE_LIMIT`]; one that octal digits cannot hold is in GNU's base 256 (a first byte of 0x80, then big
/// endian), which GNU tar, libarchive, Go and Python read in a USTAR header too. All that could differ between two machines or runs is left out.
pub(super) fn encode(name: EntryName, size: u64) -> Block {
    let mut header: Block = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, &name.text());
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    if size <= OCTAL_LIMIT {
        put(124, &format!("{size:011o}"));
    }
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    put(329, "0000000");
    put(337, "0000000");
    if size > OCTAL_LIMIT {
        header[124] = 0x80;
        header[128..136].copy_from_slice(&size.to_be_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// How files begin that somebody compressed on the way (RFC 1952, RFC 8878, the xz format).
const COMPRESSED: [(&[u8], &str); 3] =
    [(&[0x1f, 0x8b], "gzip"), (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"), (&[0xfd, b'7', b'z', b'X', b'Z'], "xz")];

/// The name and size that a header says.
///
/// Only a header that [`encode`] could have written is taken: this refuses links, devices, other names, extensions and
/// every two-faced size at once, instead of one by one. The error says what is wrong.
pub(super) fn decode(header: &Block) -> Result<(EntryName, u64), String> {
    for (magic, name) in COMPRESSED {
        if header.starts_with(magic) {
            return Err(format!("it is compressed by {name}, and a bundle is a plain tar: unpack it first"));
        }
    }
    let written = octal(&header[148..154]);
    let counted = |(at, value): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { *value });
    let sum: u64 = header.iter().enumerate().map(counted).sum();
    if written != Some(sum) {
        return Err("its header's checksum is wrong".to_owned());
    }
    let raw_name = &header[..header[..100].iter().position(|byte| *byte == 0).unwrap_or(100)];
    let shown = || String::from_utf8_lossy(raw_name).into_owned();
    let Some(name) = EntryName::parse(raw_name) else {
        return Err(format!("`{}` is no name that a bundle may have", crate::base::Printable(&shown())));
    };
    let field: &[u8; 12] = header[124..136].try_into().expect("twelve bytes");
    let size = match field {
        // That nothing else could have been written, such as a small number in the large form, is checked below.
        [0x80, 0, 0, 0, large @ ..] => Some(u64::from_be_bytes(*large)).filter(|size| *size <= SIZE_LIMIT),
        _ => octal(&field[..11]),
    };
    let Some(size) = size else {
        return Err(format!("the size of `{}` is neither eleven octal digits nor a number in base 256", shown()));
    };
    if encode(name, size) != *header {
        return Err(format!("`{}` is not a plain USTAR file: another program packed it", shown()));
    }
    Ok((name, size))
}

/// Octal digits and nothing else.
fn octal(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |value: u64, digit| matches!(digit, b'0'..=b'7').then(|| value << 3 | u64::from(digit - b'0')))
}

/// `size` and the zeros up to the next block.
pub(super) const fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = EntryName> {
        prop_oneof![
            Just(EntryName::Marker),
            Just(EntryName::Index),
            Just(EntryName::DockerView),
            Just(EntryName::Lock),
            any::<[u8; 32]>().prop_map(|raw| EntryName::Blob(Digest::from_raw(raw))),
        ]
    }

    fn sizes() -> impl Strategy<Value = u64> {
        let at_the_limit = OCTAL_LIMIT - 2..OCTAL_LIMIT + 3;
        prop_oneof![0..=OCTAL_LIMIT, at_the_limit, OCTAL_LIMIT..=SIZE_LIMIT, Just(SIZE_LIMIT)]
    }

    #[test]
    fn a_small_size_in_the_large_form_is_refused() {
        let mut block = encode(EntryName::Lock, OCTAL_LIMIT + 1);
        block[128..136].copy_from_slice(&5_u64.to_be_bytes());
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(
            decode(&block),
            Err("`catamaran.json` is not a plain USTAR file: another program packed it".to_owned())
        );
    }

    #[test]
    fn who_compressed_a_bundle_is_told_so() {
        let mut block = encode(EntryName::Lock, 5);
        block[..2].copy_from_slice(&[0x1f, 0x8b]);
        let error = decode(&block).expect_err("is no header");
        assert!(error.contains("compressed by gzip"), "{error}");
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(name in names(), size in sizes()) {
            prop_assert_eq!(decode(&encode(name, size)), Ok((name, size)));
        }

        #[test]
        fn another_reader_agrees(name in names(), size in sizes()) {
            let block = encode(name, size);
            let header = tar::Header::from_byte_slice(&block);
            prop_assert_eq!(header.path_bytes().into_owned(), name.text().into_bytes());
            prop_assert_eq!(header.size().expect("a size"), size);
            prop_assert_eq!(header.mode().expect("a mode"), 0o644);
            prop_assert_eq!(header.mtime().expect("a time"), 0);
            prop_assert!(header.as_ustar().is_some());
        }

        #[test]
        fn one_changed_bit_is_never_taken(name in names(), size in sizes(), at in 0_usize..512, bit in 0_u8..8) {
            let mut block = encode(name, size);
            block[at] ^= 1 << bit;
            prop_assert!(decode(&block).is_err());
        }

        #[test]
        fn anything_else_is_an_error(block in prop::collection::vec(any::<u8>(), 512)) {
            let block: Block = block.try_into().expect("512 bytes");
            prop_assert!(decode(&block).is_err());
        }
    }
}
