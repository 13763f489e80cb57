use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The largest window that is kept in memory: what `zstd --long` uses and every decoder takes (RFC 8878 asks for 8 MB at least).
const WINDOW_LIMIT: u64 = 128 << 20;

/// Uncompresses a zstd stream frame by frame.
///
/// Layers have more than one: `zstd:chunked` writes a frame for each file and keeps its table in skippable ones. Checksums of
/// frames are passed over, because the blob's digest covers all of it.
pub(super) struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Frames<R> {
    /// The uncompressed bytes of `source`.
    pub(super) fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_LIMIT);
        Self { source, decoder, within: false }
    }

    /// Begins the next frame; false at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.within = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(malformed(&error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| malformed(&error))?;
            }
            // A frame may be empty, so that nothing here is not yet the end.
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => self.within = false,
                count => return Ok(count),
            }
        }
    }
}

fn malformed(error: &FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it cannot be uncompressed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one raw block without a checksum: single segment, one byte of size (RFC 8878, 3.1.1).
    pub(in crate::verify) fn raw_frame(content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len()).expect("a small frame");
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
        frame.extend(size.to_le_bytes());
        frame.extend(&(size << 3 | 1).to_le_bytes()[..3]);
        frame.extend(content);
        frame
    }

    fn all(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Frames::new(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn reads_frame_after_frame_and_passes_over_the_others() {
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let stream = [raw_frame(b"one"), skippable.clone(), raw_frame(b""), raw_frame(b" two"), skippable].concat();
        assert_eq!(all(&stream).expect("a stream"), b"one two");
        assert_eq!(all(b"").expect("nothing"), b"");
    }

    #[test]
    fn says_what_cannot_be_uncompressed() {
        let frame = raw_frame(b"content");
        for broken in [&frame[..frame.len() - 1], b"no zstd at all", &[0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1]] {
            assert!(all(broken).is_err());
        }
        // 2^41 bytes of window: nobody has that memory.
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0];
        assert!(all(&huge).expect_err("too large").to_string().contains("cannot be uncompressed"));
    }
}
