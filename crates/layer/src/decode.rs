//! Compression told by magic bytes, as Docker does: media types lie.

use std::io::{self, BufRead, Read};

use minidock_inflate::Gzip;

use crate::Error;

/// Largest zstd window that is accepted: 128 MiB, as in `zstd --long=27`.
const MAX_WINDOW_LOG: u32 = 27;

/// Longest magic that is told apart, in bytes.
pub const MAGIC: usize = 6;

/// Whether [`decompress`] would do more than pass on what begins like this, or refuse it.
pub fn is_compressed(start: &[u8]) -> bool {
    !matches!(kind(start), Ok(Kind::None))
}

/// Whether it is what takes longest to decompress.
pub fn is_gzip(start: &[u8]) -> bool {
    matches!(kind(start), Ok(Kind::Gzip))
}

/// How something is compressed.
enum Kind {
    None,
    Gzip,
    Zstd,
}

fn kind(magic: &[u8]) -> Result<Kind, Error> {
    Ok(match magic {
        [0x1f, 0x8b, ..] => Kind::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Zstd,
        // Skippable frames may come before the first real one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Kind::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(Error::UnsupportedCompression("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => return Err(Error::UnsupportedCompression("bzip2")),
        _ => Kind::None,
    })
}

/// Decompresses gzip (all members), zstd (all frames) or nothing.
///
/// # Errors
/// When the first bytes cannot be read, or name a compression that is not supported.
pub fn decompress<'r>(
    mut reader: impl BufRead + Send + 'r,
) -> Result<Box<dyn Read + Send + 'r>, Error> {
    // A pipe or a network may bring the first bytes one by one, so what is there at first is not enough to tell.
    let mut magic = [0; MAGIC];
    let have = read_full(&mut reader, &mut magic).map_err(Error::Read)?;
    let reader = io::Cursor::new(magic).take(have as u64).chain(reader);
    Ok(Box::new(Decoder::new(&magic[..have], reader)?))
}

/// Decompresses as it is read.
pub enum Decoder<R: BufRead> {
    /// Nothing to do.
    None(R),
    /// All members.
    Gzip(Box<Gzip<R>>),
    /// All frames.
    Zstd(zstd::Decoder<'static, R>),
}

impl<R: BufRead> Decoder<R> {
    /// A decoder for what begins with `magic` (six bytes, if there are as many), which `reader` still has to bring.
    pub fn new(magic: &[u8], reader: R) -> Result<Self, Error> {
        Ok(match kind(magic)? {
            Kind::None => Self::None(reader),
            Kind::Gzip => Self::Gzip(Box::new(Gzip::new(reader))),
            Kind::Zstd => {
                let decoder = zstd::Decoder::with_buffer(reader);
                let mut decoder = decoder.map_err(Error::Compression)?;
                let window = decoder.window_log_max(MAX_WINDOW_LOG);
                window.map_err(Error::Compression)?;
                Self::Zstd(decoder)
            }
        })
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// Reads until the buffer is full or the input ends.
pub fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
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

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use super::*;

    /// One byte a read.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(buffer.len()).min(1);
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn a_compression_is_told_however_slowly_its_magic_comes() {
        let text = b"some text, some more text, some text again";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for (stored, plain) in [
            (gzip.finish().unwrap().as_slice(), &text[..]),
            (&zstd, text),
            (text, text),
            (b"abc", b"abc"),
            (b"", b""),
        ] {
            let mut read = Vec::new();
            let mut plain_reader = decompress(BufReader::new(Drip(stored))).unwrap();
            plain_reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, plain);
        }
        for unsupported in [&b"\xfd7zXZ\0..."[..], b"BZh9..."] {
            let result = decompress(BufReader::new(Drip(unsupported)));
            assert!(matches!(result, Err(Error::UnsupportedCompression(_))));
        }
    }
}
