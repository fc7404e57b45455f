//! Compression told by magic bytes, as Docker does: media types lie.

use std::io::{self, BufRead, Read};

use crate::Error;

/// Largest zstd window that is accepted: 128 MiB, as in `zstd --long=27`.
const MAX_WINDOW_LOG: u32 = 27;

/// Decompresses gzip (all members), zstd (all frames) or nothing.
///
/// # Errors
/// When the first bytes cannot be read, or name a compression that is not supported.
pub fn decompress<'r>(
    mut reader: impl BufRead + Send + 'r,
) -> Result<Box<dyn Read + Send + 'r>, Error> {
    let magic = reader.fill_buf().map_err(Error::Read)?;
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd_decoder(reader)?,
        // Skippable frames may come before the first real one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => zstd_decoder(reader)?,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(Error::UnsupportedCompression("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Err(Error::UnsupportedCompression("bzip2")),
        _ => Box::new(reader),
    })
}

fn zstd_decoder<'r>(reader: impl BufRead + Send + 'r) -> Result<Box<dyn Read + Send + 'r>, Error> {
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(reader).map_err(Error::Compression)?;
    decoder
        .window_log_max(MAX_WINDOW_LOG)
        .map_err(Error::Compression)?;
    Ok(Box::new(decoder))
}

/// Reads until the buffer is full or the input ends.
pub fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match input.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}
