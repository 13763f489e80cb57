use std::io::{self, Read};

/// Reads the headers of a layer's tar and the first bytes of each file; the rest is passed over, nothing is ever written.
///
/// Understands what layers are made of in practice: ustar, GNU long names, PAX paths and sizes, GNU sparse headers. Every
/// record that must be held is bounded. Made for scanning: attributes that decide nothing here are not parsed.
pub(super) struct TarStream<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the current entry, padding included, that were not taken yet.
    left: u64,
    entries: u64,
}

/// An entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TarEntry {
    /// Path as written, not made safe: data, never a place to write to.
    pub(super) path: Vec<u8>,
    /// Permission bits.
    pub(super) mode: u32,
    /// Whether it is a regular file with content.
    pub(super) is_file: bool,
    /// Bytes of content that follow.
    pub(super) size: u64,
}

const BLOCK: usize = 512;
/// The largest long name or PAX header that is held.
const RECORD_LIMIT: u64 = 1 << 20;
/// The longest path that is reported.
const PATH_LIMIT: usize = 4096;
/// Entries per layer.
const ENTRY_LIMIT: u64 = 5_000_000;

impl<R: Read> TarStream<R> {
    /// A tar that is read from `inner`.
    pub(super) fn new(inner: R) -> Self {
        Self { inner, buffer: vec![0; 128 << 10].into_boxed_slice(), start: 0, end: 0, left: 0, entries: 0 }
    }

    /// The next entry; `None` at the end-of-archive blocks or where the stream ends between two entries (Go and Docker take
    /// layers without end blocks too).
    pub(super) fn next_entry(&mut self) -> io::Result<Option<TarEntry>> {
        let mut long_name: Option<Vec<u8>> = None;
        let mut pax = Pax::default();
        loop {
            self.skip(self.left)?;
            self.left = 0;
            let Some(header) = self.header()? else { return Ok(None) };
            self.entries += 1;
            if self.entries > ENTRY_LIMIT {
                return Err(malformed("it has over 5,000,000 entries"));
            }
            let own_size = number(&header[124..136]).ok_or_else(|| malformed("a size is not a number"))?;
            match header[156] {
                // PAX values hold for the next entry only; global ones carry comments in practice and decide nothing here.
                b'L' => long_name = Some(cut_at_nul(&self.record(own_size)?).to_vec()),
                b'x' => pax = Pax::parse(&self.record(own_size)?)?,
                b'K' | b'g' => self.left = padded(own_size)?,
                kind => {
                    if kind == b'S' && header[482] != 0 {
                        self.skip_sparse_maps()?;
                    }
                    let size = pax.size.unwrap_or(own_size);
                    // A link has no content even where a (stale) size is written; every reader agrees on that.
                    let has_content = !matches!(kind, b'1'..=b'6');
                    self.left = if has_content { padded(size)? } else { 0 };
                    let path = pax.path.take().or(long_name).unwrap_or_else(|| ustar_path(&header));
                    let mode = number(&header[100..108]).unwrap_or(0) & 0o7777;
                    return Ok(Some(TarEntry {
                        path: path[..path.len().min(PATH_LIMIT)].to_vec(),
                        mode: u32::try_from(mode).unwrap_or(0),
                        is_file: matches!(kind, b'0' | 0 | b'7' | b'S') && !path.ends_with(b"/"),
                        size: if has_content { size } else { 0 },
                    }));
                }
            }
        }
    }

    /// The first bytes of the entry that `next_entry` returned, as many as `out` and the entry's `size` have.
    pub(super) fn head<'a>(&mut self, size: u64, out: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let count = usize::try_from(size).unwrap_or(usize::MAX).min(out.len());
        let out = &mut out[..count];
        self.fill_exactly(out)?;
        self.left -= count as u64;
        Ok(out)
    }

    /// Reads the stream to its end, whatever follows the archive: a digest covers that too.
    pub(super) fn drain(mut self) -> io::Result<R> {
        self.start = self.end;
        while self.refill()? {
            self.start = self.end;
        }
        Ok(self.inner)
    }

    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        if self.start == self.end && !self.refill()? {
            return Ok(None);
        }
        let mut header = [0; BLOCK];
        self.fill_exactly(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let written = number(&header[148..156]);
        let sum = |byte: fn(u8) -> i64| -> i64 {
            let counted = |(at, value): (usize, &u8)| byte(if (148..156).contains(&at) { b' ' } else { *value });
            header.iter().enumerate().map(counted).sum()
        };
        // Old writers summed signed bytes; readers take both.
        let sums = [sum(i64::from), sum(|byte| i64::from(byte.cast_signed()))];
        if written.and_then(|written| i64::try_from(written).ok()).is_none_or(|written| !sums.contains(&written)) {
            return Err(malformed("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn record(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > RECORD_LIMIT {
            return Err(malformed("a name or PAX record is over 1 MiB"));
        }
        let mut record = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill_exactly(&mut record)?;
        self.left = padded(size)? - size;
        Ok(record)
    }

    /// Old GNU sparse files continue their map in blocks of their own, each with a flag for a further one at byte 504.
    fn skip_sparse_maps(&mut self) -> io::Result<()> {
        let mut block = [0; BLOCK];
        // 21 map entries a block.
        for _ in 0..65_536 / 21 {
            self.fill_exactly(&mut block)?;
            if block[504] == 0 {
                return Ok(());
            }
        }
        Err(malformed("a sparse map has over 65,536 entries"))
    }

    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            if self.start == self.end && !self.refill()? {
                return Err(cut());
            }
            let step = (self.end - self.start).min(usize::try_from(count).unwrap_or(usize::MAX));
            self.start += step;
            count -= step as u64;
        }
        Ok(())
    }

    fn fill_exactly(&mut self, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            if self.start == self.end && !self.refill()? {
                return Err(cut());
            }
            let step = (self.end - self.start).min(out.len() - filled);
            out[filled..filled + step].copy_from_slice(&self.buffer[self.start..self.start + step]);
            self.start += step;
            filled += step;
        }
        Ok(())
    }

    fn refill(&mut self) -> io::Result<bool> {
        self.start = 0;
        self.end = 0;
        loop {
            match self.inner.read(&mut self.buffer) {
                Ok(count) => {
                    self.end = count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The two PAX values that change where the next header is and what it is called.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Pax {
    /// Records are `LENGTH KEY=VALUE\n`, the length counting itself (POSIX pax, "Extended Header").
    fn parse(mut bytes: &[u8]) -> io::Result<Self> {
        let mut pax = Self::default();
        while !bytes.is_empty() && bytes[0] != 0 {
            let space = bytes.iter().take(12).position(|byte| *byte == b' ');
            let length = space
                .and_then(|space| std::str::from_utf8(&bytes[..space]).ok())
                .and_then(|digits| digits.parse::<usize>().ok())
                .filter(|length| *length <= bytes.len());
            let (Some(space), Some(length)) = (space, length) else {
                return Err(malformed("a PAX record has no length"));
            };
            let Some(record) = bytes.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")) else {
                return Err(malformed("a PAX record has a wrong length"));
            };
            if let Some(path) = record.strip_prefix(b"path=") {
                pax.path = Some(path.to_vec());
            } else if let Some(size) = record.strip_prefix(b"size=") {
                let size = std::str::from_utf8(size).ok().and_then(|digits| digits.parse().ok());
                pax.size = Some(size.ok_or_else(|| malformed("a PAX size is not a number"))?);
            }
            bytes = &bytes[length..];
        }
        Ok(pax)
    }
}

/// An octal number with blanks around it, or base 256 where the first bit is set (GNU).
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let high_is_empty = high.iter().enumerate().all(|(at, byte)| *byte == if at == 0 { 0x80 } else { 0 });
        return (high_is_empty && !high.is_empty())
            .then(|| low.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
    }
    let text: &[u8] = field.trim_ascii_start();
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).map_or(text, |end| &text[..end]);
    let rest = &text[digits.len()..];
    if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        (*digit < b'8').then_some(())?;
        value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))
    })
}

fn ustar_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = cut_at_nul(&header[..100]);
    let prefix = cut_at_nul(&header[345..500]);
    // GNU headers keep times where ustar has the prefix; only `ustar\0` has one.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

fn cut_at_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

fn padded(size: u64) -> io::Result<u64> {
    size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| malformed("a size is impossible"))
}

fn malformed(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends within an entry")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is in a tar: path, size, first bytes.
    type Seen = Vec<(Vec<u8>, u64, Vec<u8>)>;

    fn ours(bytes: &[u8]) -> io::Result<Seen> {
        let mut tar = TarStream::new(bytes);
        let mut seen = Vec::new();
        while let Some(entry) = tar.next_entry()? {
            if entry.is_file {
                let mut head = [0; 64];
                let head = tar.head(entry.size, &mut head)?.to_vec();
                seen.push((entry.path, entry.size, head));
            }
        }
        tar.drain()?;
        Ok(seen)
    }

    /// The same by an independent reader.
    fn theirs(bytes: &[u8]) -> io::Result<Seen> {
        let mut archive = tar::Archive::new(bytes);
        let mut seen = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            if (kind.is_file() || kind.is_contiguous()) && !entry.path_bytes().ends_with(b"/") {
                let path = entry.path_bytes().into_owned();
                let size = entry.size();
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                content.truncate(64);
                seen.push((path, size, content));
            }
        }
        Ok(seen)
    }

    fn archive(files: &[(String, Vec<u8>, bool)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content, pax) in files {
            if *pax {
                let extensions = [("path", path.as_bytes()), ("comment", b"x")];
                tar.append_pax_extensions(extensions).expect("memory");
            }
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            // Too long for a header: a GNU long name, unless PAX has said it already.
            if *pax {
                header.set_path("short").expect("short");
                header.set_cksum();
                tar.append(&header, &content[..]).expect("memory");
            } else {
                tar.append_data(&mut header, path, &content[..]).expect("memory");
            }
            let mut link = tar::Header::new_gnu();
            link.set_size(0);
            link.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut link, "link", path).expect("memory");
        }
        tar.into_inner().expect("memory")
    }

    proptest! {
        #[test]
        fn sees_what_another_reader_sees(
            files in prop::collection::vec(
                ("[a-z]{1,20}(/[a-z]{1,30}){0,9}", prop::collection::vec(any::<u8>(), 0..1500), any::<bool>()), 0..6
            )
        ) {
            let bytes = archive(&files);
            let seen = ours(&bytes).expect("a good archive");
            prop_assert_eq!(&seen, &theirs(&bytes).expect("a good archive"));
            prop_assert_eq!(seen.len(), files.len());
        }

        #[test]
        fn never_panics_on_damage(
            files in prop::collection::vec(
                ("[a-z]{1,20}(/[a-z]{1,30}){0,9}", prop::collection::vec(any::<u8>(), 0..600), any::<bool>()), 1..4
            ),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = archive(&files);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
                // With a right checksum the damage gets past the first gate.
                let block = at / BLOCK * BLOCK;
                if block + BLOCK <= bytes.len() {
                    let sum: u32 = bytes[block..block + BLOCK].iter().enumerate()
                        .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
                    bytes[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
            let length = cut.index(bytes.len() + 1);
            // Either an error or a listing; both are fine, endless loops and panics are not.
            let _seen = ours(&bytes[..length]).is_ok();
        }

        #[test]
        fn never_panics_on_anything(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let _seen = ours(&bytes).is_ok();
        }

        #[test]
        fn reads_the_numbers_that_it_writes(value in 0_u64..1 << 33) {
            prop_assert_eq!(number(format!("{value:011o}\0").as_bytes()), Some(value));
            prop_assert_eq!(number(format!("{value:>11o} ").as_bytes()), Some(value));
        }
    }

    #[test]
    fn bounds_what_it_must_hold() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(8 << 30);
        header.set_cksum();
        let error = ours(header.as_bytes()).expect_err("8 GiB of name");
        assert!(error.to_string().contains("over 1 MiB"), "{error}");
    }

    #[test]
    fn base_256_and_odd_numbers() {
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(1 << 33));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None, "negative");
        assert_eq!(number(b"\x80\x01\0\0\0\0\0\0\0\0\0\0"), None, "over 64 bits");
        assert_eq!(number(b"            "), Some(0), "old writers leave it blank");
        assert_eq!(number(b"0000008\0"), None);
        assert_eq!(number(b"12x\0"), None);
    }

    #[test]
    fn a_stream_that_ends_between_entries_is_whole_and_within_one_is_not() {
        let bytes = archive(&[("a".to_owned(), vec![1; 600], false)]);
        assert!(ours(&bytes[..512 + 1024]).is_ok());
        assert!(ours(&bytes[..512 + 1023]).is_err());
        assert!(ours(&bytes[..700]).is_err());
        assert!(ours(&[]).is_ok());
    }
}
