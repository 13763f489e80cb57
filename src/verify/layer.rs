use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::elf::{HEAD, Program, is_live};
use super::tar_stream::TarStream;
use super::zstd::Frames;
use crate::base::{Digest, DigestHasher, Platform, glob_matches, media_type};

/// How a layer is compressed, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// Of a layer of `media_type`; the error says why it cannot be looked into.
    pub(super) fn of(media_type: &str) -> Result<Self, String> {
        // The deprecated pair must still be read (image-spec, "manifest").
        match media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.") {
            Some("tar+gzip") => return Ok(Self::Gzip),
            Some("tar+zstd") => return Ok(Self::Zstd),
            Some("tar") => return Ok(Self::Plain),
            _ => {}
        }
        match media_type {
            media_type::LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Ok(Self::Gzip),
            media_type::LAYER => Ok(Self::Plain),
            media_type::LAYER_ZSTD => Ok(Self::Zstd),
            other => Err(format!("its type is `{other}`")),
        }
    }
}

/// What a layer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LayerScan {
    /// Digest of the uncompressed bytes.
    pub(super) diff_id: Digest,
    /// Programs and libraries that were compared.
    pub(super) executables: u64,
    /// For each platform asked about, in its order: programs for another processor.
    pub(super) foreign: Vec<Foreign>,
}

/// Programs of a layer that do not run on a platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// The first [`Foreign::LIMIT`] of them, in the layer's order.
    pub programs: Vec<ForeignProgram>,
    /// How many there are beyond those.
    pub more: u64,
}

/// A program, or a library, for another processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignProgram {
    /// Path in the image, as the layer has it.
    pub path: String,
    /// The processor it is for, in the words of platforms where it has one.
    pub processor: String,
}

impl Foreign {
    /// Programs that are kept by name: enough for any cross compiler, and a bound for a layer that is made to hurt.
    pub const LIMIT: usize = 10_000;

    fn add(&mut self, path: &[u8], processor: impl FnOnce() -> String) {
        if self.programs.len() < Self::LIMIT {
            let path = String::from_utf8_lossy(path).into_owned();
            self.programs.push(ForeignProgram { path, processor: processor() });
        } else {
            self.more += 1;
        }
    }

    /// The first program that no glob of `declared` matches, and how many more there are.
    ///
    /// Globs are matched with whole paths from the root of the image, without a slash in front; `*` matches slashes too.
    /// Programs beyond the limit have no names, so that nothing can declare them.
    pub fn undeclared(&self, declared: &[String]) -> Option<(&ForeignProgram, u64)> {
        let is_declared = |program: &&ForeignProgram| {
            let path = program.path.strip_prefix("./").unwrap_or(&program.path).trim_start_matches('/');
            declared.iter().any(|glob| glob_matches(glob.trim_start_matches('/'), path))
        };
        let mut others = self.programs.iter().filter(|program| !is_declared(program));
        match others.next() {
            Some(first) => Some((first, others.count() as u64 + self.more)),
            None => self.programs.last().filter(|_| self.more > 0).map(|last| (last, self.more)),
        }
    }
}

/// Uncompresses a layer once, from the first byte to the last: diff ID and programs in the same pass, constant memory.
///
/// `blob` verifies itself while it is read. A stream that cannot be uncompressed may do so because its bytes are damaged: then
/// the rest is read, so that the blob's own verdict comes first.
pub(super) fn scan(blob: impl Read, compression: Compression, platforms: &[Platform]) -> io::Result<LayerScan> {
    let mut blob = BufReader::with_capacity(128 << 10, blob);
    let found = match blob.fill_buf()? {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or one of the sixteen kinds that are passed over (RFC 8878, 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::Plain,
    };
    let result = match (compression, found) {
        (Compression::Gzip, Compression::Gzip) => scan_tar(MultiGzDecoder::new(&mut blob), platforms),
        (Compression::Zstd, Compression::Zstd) => scan_tar(Frames::new(&mut blob), platforms),
        (Compression::Plain, Compression::Plain) => scan_tar(&mut blob, platforms),
        (said, found) => Err(wrong_type(said, found)),
    };
    // Reaching the end is what proves the blob; its error, if any, is the cause of the other.
    io::copy(&mut blob, &mut io::sink())?;
    result
}

fn wrong_type(said: Compression, found: Compression) -> io::Error {
    let words = |compression| match compression {
        Compression::Plain => "not compressed",
        Compression::Gzip => "compressed with gzip",
        Compression::Zstd => "compressed with zstd",
    };
    let text = format!("it is {}, its type says that it is {}", words(found), words(said));
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn scan_tar(uncompressed: impl Read, platforms: &[Platform]) -> io::Result<LayerScan> {
    let mut tar = TarStream::new(Hashing { inner: uncompressed, hasher: DigestHasher::new() });
    let mut foreign = vec![Foreign::default(); platforms.len()];
    let mut executables = 0;
    while let Some(entry) = tar.next_entry()? {
        if !entry.is_file || entry.size < HEAD as u64 {
            continue;
        }
        let mut buffer = [0; HEAD];
        let Some(program) = Program::parse(tar.head(entry.size, &mut buffer)?) else { continue };
        executables += 1;
        for (platform, foreign) in platforms.iter().zip(&mut foreign) {
            if program.runs_on(platform) == Some(false) && is_live(&entry.path, entry.mode, platform) {
                foreign.add(&entry.path, || program.processor());
            }
        }
    }
    let diff_id = tar.drain()?.hasher.finish();
    Ok(LayerScan { diff_id, executables, foreign })
}

struct Hashing<R> {
    inner: R,
    hasher: DigestHasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(paths: &[&str], more: u64) -> Foreign {
        let program = |path: &&str| ForeignProgram { path: (*path).to_owned(), processor: "amd64".to_owned() };
        Foreign { programs: paths.iter().map(program).collect(), more }
    }

    #[test]
    fn d19_declared_programs_are_no_finding_and_all_others_are() {
        let found = foreign(&["usr/bin/qemu-x86_64-static", "./opt/cross/bin/ld", "usr/bin/tini"], 0);
        let declared = |globs: &[&str]| -> Vec<String> { globs.iter().map(|glob| (*glob).to_owned()).collect() };
        let first =
            |globs: &[&str]| found.undeclared(&declared(globs)).map(|(program, more)| (program.path.as_str(), more));
        assert_eq!(first(&[]), Some(("usr/bin/qemu-x86_64-static", 2)));
        assert_eq!(first(&["usr/bin/qemu-*-static", "/opt/cross/*"]), Some(("usr/bin/tini", 0)));
        assert_eq!(first(&["usr/bin/*", "opt/*"]), None);
        assert_eq!(foreign(&[], 0).undeclared(&[]), None);
        // What has no name cannot be declared.
        let unnamed = foreign(&["a"], 3);
        assert_eq!(unnamed.undeclared(&declared(&["*"])).map(|(_, more)| more), Some(3));
    }
}
