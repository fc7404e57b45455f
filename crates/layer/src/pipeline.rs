//! Two threads and a few buffers: read, hash and inflate on one; hash and make files on the other.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use minidock_oci::{Algorithm, DiffId, Digest, Hasher};

use crate::decode::{decompress, read_full};
use crate::extract::Extractor;
use crate::tar_reader::TarReader;
use crate::{Error, Expect, Identified, Options, Target, Unpacked};

const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 8;
/// Bytes read from the source at a time.
const READ: usize = 128 << 10;

/// What the two threads know of each other.
#[derive(Debug, Default)]
struct Watch {
    /// Bytes read from the source so far.
    size: AtomicU64,
    /// The files cannot be made: nothing that the source may still bring matters.
    stop: AtomicBool,
}

/// Counts, hashes, bounds and keeps the bytes as they come.
struct Source<'a, R> {
    input: R,
    keep: Option<&'a File>,
    hasher: Hasher,
    size: u64,
    limit: Option<u64>,
    watch: &'a Watch,
    failed: Option<Error>,
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.size += n as u64;
        self.watch.size.store(self.size, Ordering::Relaxed);
        if self.watch.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the files could not be made"));
        }
        if let Some(limit) = self.limit.filter(|limit| self.size > *limit) {
            self.failed = Some(Error::BlobSize {
                expected: limit,
                actual: self.size,
            });
            return Err(io::Error::other("more bytes than promised"));
        }
        self.hasher.update(&buffer[..n]);
        if let Some(mut file) = self.keep {
            file.write_all(&buffer[..n]).map_err(|e| {
                let kind = e.kind();
                self.failed = Some(Error::Blob(e));
                io::Error::new(kind, "the blob cannot be kept")
            })?;
        }
        Ok(n)
    }
}

/// What was learned of the stored bytes.
struct Stored {
    blob: Digest,
    size: u64,
}

/// Reads the source to its end, handing inflated chunks to `consume`; a consumer that wants no more (`false`) is given
/// none, but the source is read on: its digest needs all of it.
fn read_source<R: Read + Send>(
    input: R,
    keep: Option<&File>,
    expect: &Expect<'_>,
    watch: &Watch,
    consume: &mut dyn FnMut(&mut dyn Read) -> Result<(), Error>,
) -> Result<Stored, Error> {
    let algorithm = expect.blob.map_or(Algorithm::Sha256, Digest::algorithm);
    let mut source = Source {
        input,
        keep,
        hasher: Hasher::new(algorithm),
        size: 0,
        limit: expect.blob_size,
        watch,
        failed: None,
    };
    let inflated = decompress(BufReader::with_capacity(READ, &mut source))
        .and_then(|mut plain| consume(&mut *plain));
    // What follows the compressed stream counts in the digest all the same; and where the stream is damaged, wrong bytes
    // are the reason to tell.
    let drained = match (&source.failed, &inflated) {
        (None, Ok(()) | Err(Error::Compression(_) | Error::UnsupportedCompression(_))) => {
            io::copy(&mut source, &mut io::sink())
                .map(drop)
                .map_err(Error::Read)
        }
        _ => Ok(()),
    };
    if let Some(error) = source.failed {
        return Err(error);
    }
    if let Err(error @ (Error::Bomb(_) | Error::TooMuch { .. } | Error::Read(_))) = inflated {
        return Err(error);
    }
    drained?;
    let stored = Stored {
        size: source.size,
        blob: source.hasher.finish(),
    };
    check_stored(&stored, expect)?;
    inflated?;
    Ok(stored)
}

fn check_stored(stored: &Stored, expect: &Expect<'_>) -> Result<(), Error> {
    if let Some(expected) = expect.blob_size.filter(|s| *s != stored.size) {
        return Err(Error::BlobSize {
            expected,
            actual: stored.size,
        });
    }
    match expect.blob {
        Some(expected) if *expected != stored.blob => Err(Error::BlobDigest {
            expected: expected.clone(),
            actual: stored.blob.clone(),
        }),
        _ => Ok(()),
    }
}

/// Hashes and counts the uncompressed bytes, and stops a bomb.
struct Plain {
    hasher: Hasher,
    size: u64,
}

impl Plain {
    fn new(expect: &Expect<'_>) -> Self {
        let algorithm = expect
            .diff_id
            .map_or(Algorithm::Sha256, |d| d.0.algorithm());
        Self {
            hasher: Hasher::new(algorithm),
            size: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    fn finish(self, expect: &Expect<'_>) -> Result<(DiffId, u64), Error> {
        let actual = DiffId(self.hasher.finish());
        match expect.diff_id {
            Some(expected) if *expected != actual => Err(Error::DiffId {
                expected: expected.clone(),
                actual,
            }),
            _ => Ok((actual, self.size)),
        }
    }
}

/// Verifies a layer's bytes without making files.
///
/// # Errors
/// When they are not what was promised, or cannot be read or decompressed.
pub fn identify(input: impl Read + Send, expect: &Expect<'_>) -> Result<Identified, Error> {
    let mut plain = Plain::new(expect);
    let mut buffer = vec![0; CHUNK];
    let stored = read_source(input, None, expect, &Watch::default(), &mut |reader| {
        loop {
            let n = read_full(reader, &mut buffer).map_err(Error::Compression)?;
            if n == 0 {
                return Ok(());
            }
            plain.add(&buffer[..n]);
        }
    })?;
    let (diff_id, tar_size) = plain.finish(expect)?;
    Ok(Identified {
        blob: stored.blob,
        blob_size: stored.size,
        diff_id,
        tar_size,
    })
}

/// The inflated bytes as the file-making thread sees them: hashed as they are taken.
struct Chunks<'a> {
    full: Receiver<Vec<u8>>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    plain: &'a mut Plain,
}

impl Chunks<'_> {
    fn next(&mut self) -> bool {
        let used = std::mem::take(&mut self.current);
        if used.capacity() > 0 {
            let _ = self.empty.try_send(used);
        }
        self.at = 0;
        match self.full.recv() {
            Ok(chunk) => {
                self.plain.add(&chunk);
                self.current = chunk;
                true
            }
            Err(_) => false,
        }
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() && !self.next() {
            return Ok(0);
        }
        let n = buffer.len().min(self.current.len() - self.at);
        buffer[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Reads a layer's bytes to their end, verifies them and makes its files.
///
/// # Errors
/// When the bytes are not what was promised, are no layer, go beyond the limits, or the files cannot be made. What was
/// made until then is the caller's to remove.
pub fn unpack(
    input: impl Read + Send,
    expect: &Expect<'_>,
    target: &Target<'_>,
    options: &Options,
) -> Result<Unpacked, Error> {
    let (full, chunks) = sync_channel::<Vec<u8>>(CHUNKS);
    let (empty, recycled) = sync_channel::<Vec<u8>>(CHUNKS + 2);
    let mut plain = Plain::new(expect);
    let limits = options.limits;
    let keep = target.blob;
    let shared = Watch::default();
    let watch = &shared;
    let (stored, made) = std::thread::scope(|scope| {
        let inflating = std::thread::Builder::new()
            .name("inflate".into())
            .spawn_scoped(scope, move || {
                read_source(input, keep, expect, watch, &mut |reader| {
                    let mut total: u64 = 0;
                    loop {
                        let mut chunk = recycled.try_recv().unwrap_or_default();
                        chunk.resize(CHUNK, 0);
                        let n = read_full(reader, &mut chunk).map_err(Error::Compression)?;
                        total += n as u64;
                        if total > limits.max_size {
                            return Err(Error::TooMuch {
                                what: "bytes",
                                limit: limits.max_size,
                            });
                        }
                        let stored = watch.size.load(Ordering::Relaxed);
                        if total > limits.ratio_free && total / limits.max_ratio > stored {
                            return Err(Error::Bomb(limits.max_ratio));
                        }
                        if n == 0 {
                            return Ok(());
                        }
                        chunk.truncate(n);
                        // The other side ended with an error, which is the one to tell.
                        if full.send(chunk).is_err() {
                            return Ok(());
                        }
                    }
                })
            });
        let made = make_files(chunks, empty, &mut plain, target, options);
        if matches!(made, Err(Error::File { .. } | Error::TooMuch { .. })) {
            watch.stop.store(true, Ordering::Relaxed);
        }
        let stored = match inflating {
            Ok(thread) => thread.join().unwrap_or_else(|_| {
                Err(Error::Read(io::Error::other(
                    "the inflating thread panicked",
                )))
            }),
            Err(e) => Err(Error::Read(e)),
        };
        (stored, made)
    });
    // Bytes that are not the promised ones explain whatever else went wrong with them.
    let (stored, made) = match (stored, made) {
        (Err(e @ (Error::BlobDigest { .. } | Error::BlobSize { .. } | Error::Blob(_))), _)
        | (_, Err(e @ (Error::File { .. } | Error::TooMuch { .. })))
        | (Err(e), _)
        | (_, Err(e)) => return Err(e),
        (Ok(stored), Ok(made)) => (stored, made),
    };
    let (diff_id, tar_size) = plain.finish(expect)?;
    Ok(Unpacked {
        blob: stored.blob,
        blob_size: stored.size,
        diff_id,
        tar_size,
        content_size: made.content_size,
        entries: made.entries,
        root_seen: made.root_seen,
        needs_lower: made.needs_lower,
    })
}

struct Made {
    content_size: u64,
    entries: u64,
    root_seen: bool,
    needs_lower: crate::NeedsLower,
}

fn make_files(
    full: Receiver<Vec<u8>>,
    empty: SyncSender<Vec<u8>>,
    plain: &mut Plain,
    target: &Target<'_>,
    options: &Options,
) -> Result<Made, Error> {
    let mut extractor = Extractor::new(target, options)?;
    let mut tar = TarReader::new(Chunks {
        full,
        empty,
        current: Vec::new(),
        at: 0,
        plain,
    });
    extractor.run(&mut tar)?;
    // Zeros and anything else after the end of the archive count in the diff_id.
    let mut rest = tar.into_inner();
    while rest.next() {}
    let (content_size, entries) = (extractor.content_size, extractor.entries);
    let (root_seen, needs_lower) = extractor.finish()?;
    Ok(Made {
        content_size,
        entries,
        root_seen,
        needs_lower,
    })
}
