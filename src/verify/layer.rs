use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::elf::{HEAD, Program, is_live};
use super::tar_stream::TarStream;
use crate::base::{Digest, DigestHasher, Platform, media_type};

/// How a layer is compressed, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
}

impl Compression {
    /// Of a layer of `media_type`; the error says why it cannot be looked into.
    pub(super) fn of(media_type: &str) -> Result<Self, String> {
        // The deprecated pair must still be read (image-spec, "manifest").
        match media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.") {
            Some("tar+gzip") => return Ok(Self::Gzip),
            Some("tar") => return Ok(Self::Plain),
            _ => {}
        }
        match media_type {
            media_type::LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Ok(Self::Gzip),
            media_type::LAYER => Ok(Self::Plain),
            media_type::LAYER_ZSTD => Err("it is compressed with zstd, which is not understood yet".to_owned()),
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
pub(super) struct Foreign {
    /// The first: its path and processor.
    pub(super) first: Option<(String, String)>,
    /// How many there are.
    pub(super) count: u64,
}

/// Uncompresses a layer once, from the first byte to the last: diff ID and programs in the same pass, constant memory.
///
/// `blob` verifies itself while it is read. A stream that cannot be uncompressed may do so because its bytes are damaged: then
/// the rest is read, so that the blob's own verdict comes first.
pub(super) fn scan(blob: impl Read, compression: Compression, platforms: &[Platform]) -> io::Result<LayerScan> {
    let mut blob = BufReader::with_capacity(128 << 10, blob);
    let is_gzip = blob.fill_buf()?.starts_with(b"\x1f\x8b");
    let result = match (compression, is_gzip) {
        (Compression::Gzip, true) => {
            let mut decoder = MultiGzDecoder::new(&mut blob);
            scan_tar(&mut decoder, platforms)
        }
        (Compression::Plain, false) => scan_tar(&mut blob, platforms),
        (Compression::Gzip, false) => Err(wrong_type("it is not compressed with gzip, as its type says")),
        (Compression::Plain, true) => Err(wrong_type("it is compressed with gzip, which its type does not say")),
    };
    // Reaching the end is what proves the blob; its error, if any, is the cause of the other.
    io::copy(&mut blob, &mut io::sink())?;
    result
}

fn wrong_type(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
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
                foreign.count += 1;
                foreign
                    .first
                    .get_or_insert_with(|| (String::from_utf8_lossy(&entry.path).into_owned(), program.processor()));
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
