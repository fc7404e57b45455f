//! A layer's blob: compressed and digested while it is written.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use minidock_oci::{Algorithm, DiffId, Digest, Hasher};

/// How a layer is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// gzip, which every registry and engine knows.
    #[default]
    Gzip,
    /// zstd: smaller and several times faster; engines since 2019 or so.
    Zstd,
    /// As it is.
    None,
}

/// zlib's default.
const GZIP_LEVEL: u32 = 6;
/// zstd's default.
const ZSTD_LEVEL: i32 = 3;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Digest of the stored bytes.
    pub blob: Digest,
    /// Their number.
    pub blob_size: u64,
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Its size.
    pub tar_size: u64,
}

/// Takes a tar and writes the blob.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    plain: Hasher,
    size: u64,
    to: Packed<'a>,
}

struct Digested<'a> {
    to: BufWriter<&'a File>,
    hasher: Hasher,
    size: u64,
}

impl std::fmt::Debug for Digested<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.size)
    }
}

enum Packed<'a> {
    Gzip(Box<flate2::write::GzEncoder<Digested<'a>>>),
    Zstd(zstd::stream::write::Encoder<'static, Digested<'a>>),
    Plain(Digested<'a>),
}

impl std::fmt::Debug for Packed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
            Self::Plain(_) => "plain",
        })
    }
}

impl Write for Digested<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<'a> BlobWriter<'a> {
    /// Starts a blob in an empty file.
    ///
    /// # Errors
    /// When the compressor cannot be had.
    pub fn new(to: &'a File, compression: Compression) -> io::Result<Self> {
        let to = Digested {
            to: BufWriter::with_capacity(128 << 10, to),
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        };
        // The gzip header holds neither a time nor a name: nothing in it changes.
        let to = match compression {
            Compression::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Packed::Gzip(Box::new(flate2::GzBuilder::new().write(to, level)))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(to, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Packed::Zstd(encoder)
            }
            Compression::None => Packed::Plain(to),
        };
        Ok(Self {
            plain: Hasher::new(Algorithm::Sha256),
            size: 0,
            to,
        })
    }

    /// Ends the blob.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<Written> {
        let mut end = match self.to {
            Packed::Gzip(encoder) => encoder.finish()?,
            Packed::Zstd(encoder) => encoder.finish()?,
            Packed::Plain(end) => end,
        };
        end.to.flush()?;
        Ok(Written {
            blob: end.hasher.finish(),
            blob_size: end.size,
            diff_id: DiffId(self.plain.finish()),
            tar_size: self.size,
        })
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            Packed::Gzip(to) => to.write_all(bytes)?,
            Packed::Zstd(to) => to.write_all(bytes)?,
            Packed::Plain(to) => to.write_all(bytes)?,
        }
        self.plain.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
