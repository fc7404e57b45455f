//! Three threads and a few buffers: one reads and inflates, one hashes and keeps the blob, one makes the files.
//!
//! Inflating gzip takes the longest and depends on nothing but its input, so its thread does nothing else; the system shares
//! the other processors among the other two. Buffers are handed on, never copied, and go back to where they came from
//! when the last thread is done with them: their number bounds the memory, and waiting for one is what slows down a
//! thread that is ahead.
//!
//! Only inflating gzip takes longer than hashing. An uncompressed layer or one of zstd leaves the reading thread time, so it
//! keeps the blob. A fourth thread fills small files, in batches (`extract::fill`).

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ScopedJoinHandle;

use crate::buffers::{Buffer, Buffers, Bytes, Piece, Shared};
use crate::decode::{Decoder, MAGIC, is_compressed, is_gzip, read_full};
use crate::extract::{Extractor, filler};
use crate::hashing::{Hashed, Work, hash};
use crate::tar_reader::TarReader;
use crate::{Error, Expect, Identified, Limits, Options, Target, Unpacked};

/// What the threads know of each other.
#[derive(Debug, Default)]
struct Watch {
    /// Bytes read from the source so far.
    size: AtomicU64,
    /// The files cannot be made, or the blob not be kept: nothing that the source may still bring matters.
    stop: AtomicBool,
}

/// Reads, counts and bounds the bytes as they come, and sends them on once they were used.
struct Source<'a, R> {
    input: R,
    buffers: &'a Buffers,
    current: Option<Buffer>,
    at: usize,
    size: u64,
    limit: Option<u64>,
    watch: &'a Watch,
    hashing: Sender<Work>,
    /// Where the blob is kept, if that is not for the hashing thread to do.
    keep: Option<&'a File>,
    failed: Option<Error>,
    /// Why the input ended, told after the bytes that came before it: they are kept.
    ended: Option<io::Error>,
}

impl<R: Read> Source<'_, R> {
    /// Fills the next buffer; an empty one means the end.
    fn next(&mut self) -> io::Result<Buffer> {
        let mut buffer = self.buffers.take();
        let n = self.read_input(buffer.room())?;
        buffer.filled(n);
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
        Ok(buffer)
    }

    /// Like [`read_full`], but what came before an error is not lost.
    fn read_input(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.ended.take() {
            return Err(error);
        }
        let mut have = 0;
        while have < room.len() {
            match self.input.read(&mut room[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if have == 0 => return Err(e),
                Err(e) => {
                    self.ended = Some(e);
                    break;
                }
            }
        }
        Ok(have)
    }

    fn send(&self, work: Work) -> io::Result<()> {
        // The other side has ended with an error, which is the one to tell.
        let gone = |_| io::Error::other("the blob cannot be kept");
        self.hashing.send(work).map_err(gone)
    }

    fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        self.keep.map_or(Ok(()), |mut file| file.write_all(bytes))
    }

    /// Takes all there is, uncompressed as it is.
    fn pass_on(&mut self, plain: &mut Plain<'_>) -> Result<(), Error> {
        loop {
            let buffer = match self.current.take() {
                Some(buffer) => buffer,
                None => self.next().map_err(Error::Read)?,
            };
            if buffer.is_empty() {
                return Ok(());
            }
            self.keep(&buffer).map_err(Error::Blob)?;
            let bytes = Arc::new(buffer);
            self.send(Work::Both(Arc::clone(&bytes)))
                .map_err(Error::Read)?;
            plain.add(bytes, self.watch)?;
        }
    }

    fn inflate(&mut self, plain: &mut Plain<'_>) -> Result<(), Error> {
        let (hashing, buffers, watch) = (self.hashing.clone(), self.buffers, self.watch);
        let magic = self.fill_buf().map_err(Error::Read)?;
        let magic = magic[..magic.len().min(MAGIC)].to_vec();
        let mut reader = Decoder::new(&magic, &mut *self)?;
        loop {
            let mut buffer = buffers.take();
            let n = read_full(&mut reader, buffer.room()).map_err(Error::Compression)?;
            buffer.filled(n);
            if n == 0 {
                return Ok(());
            }
            let bytes = Arc::new(buffer);
            if hashing.send(Work::Plain(Arc::clone(&bytes))).is_err() {
                return Err(Error::Read(io::Error::other("the blob cannot be kept")));
            }
            if !plain.add(bytes, watch)? {
                // The other side ended with an error, which is the one to tell.
                return Ok(());
            }
        }
    }

    /// What follows the compressed stream counts in the digest all the same.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            let n = self.fill_buf()?.len();
            if n == 0 {
                return Ok(());
            }
            self.consume(n);
        }
    }
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(buffer.len());
        buffer[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Source<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|b| self.at == b.len()) {
            if let Some(used) = self.current.take()
                && !used.is_empty()
            {
                if let Err(error) = self.keep(&used) {
                    self.failed = Some(Error::Blob(error));
                    return Err(io::Error::other("the blob cannot be kept"));
                }
                self.send(match self.keep {
                    Some(_) => Work::Stored(Arc::new(used)),
                    None => Work::ToKeep(Arc::new(used)),
                })?;
            }
            self.at = 0;
            self.current = Some(self.next()?);
        }
        Ok(self.current.as_ref().map_or(&[], |b| &b[self.at..]))
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

/// The uncompressed bytes on their way to the files; stops a bomb.
struct Plain<'a> {
    files: Option<Sender<Bytes>>,
    limits: &'a Limits,
    size: u64,
}

impl Plain<'_> {
    /// Returns whether anybody wants more.
    fn add(&mut self, bytes: Bytes, watch: &Watch) -> Result<bool, Error> {
        self.size += bytes.len() as u64;
        if self.size > self.limits.max_size {
            return Err(Error::TooMuch {
                what: "bytes",
                limit: self.limits.max_size,
            });
        }
        let stored = watch.size.load(Ordering::Relaxed);
        if self.size > self.limits.ratio_free && self.size / self.limits.max_ratio > stored {
            return Err(Error::Bomb(self.limits.max_ratio));
        }
        Ok(match &self.files {
            Some(files) => files.send(bytes).is_ok(),
            None => true,
        })
    }
}

/// How reading went.
struct Reading {
    failed: Option<Error>,
    inflated: Result<(), Error>,
    drained: Result<(), Error>,
}

/// Reads the source to its end. Once nobody wants files any more, it is read on: its digest needs all of it.
fn read_source<R: Read + Send>(mut source: Source<'_, R>, mut plain: Plain<'_>) -> Reading {
    let start = source
        .fill_buf()
        .map(|magic| (is_compressed(magic), is_gzip(magic)));
    if let Ok((_, true)) = start {
        source.keep = None;
    }
    let inflated = match start {
        Err(e) => Err(Error::Read(e)),
        Ok((true, _)) => source.inflate(&mut plain),
        Ok((false, _)) => source.pass_on(&mut plain),
    };
    // The files can be finished while the rest is read.
    drop(plain);
    // Where the stream is damaged, wrong bytes are the reason to tell.
    let drained = match (&source.failed, &inflated) {
        (None, Ok(()) | Err(Error::Compression(_) | Error::UnsupportedCompression(_))) => {
            source.drain().map_err(Error::Read)
        }
        _ => Ok(()),
    };
    Reading {
        failed: source.failed,
        inflated,
        drained,
    }
}

/// What comes of reading and hashing: the first reason that explains the others, or the digests.
fn conclude(
    read: Reading,
    hashed: Result<Hashed, Error>,
    expect: &Expect<'_>,
) -> Result<Hashed, Error> {
    if let Some(error) = read.failed {
        return Err(error);
    }
    let hashed = hashed?;
    if let Err(error @ (Error::Bomb(_) | Error::TooMuch { .. } | Error::Read(_) | Error::Blob(_))) =
        read.inflated
    {
        return Err(error);
    }
    read.drained?;
    hashed.check_stored(expect)?;
    read.inflated?;
    Ok(hashed)
}

/// The inflated bytes as the file-making thread sees them.
struct Chunks {
    full: Receiver<Bytes>,
    current: Option<Bytes>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(buffer.len());
        buffer[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_none_or(|b| self.at == b.len()) {
            self.at = 0;
            // Given back before another is waited for.
            drop(self.current.take());
            self.current = self.full.recv().ok();
        }
        Ok(self.current.as_ref().map_or(&[], |b| &b[self.at..]))
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Shared for Chunks {
    fn piece(&self, len: usize) -> Option<Piece> {
        Piece::of(self.current.as_ref()?, self.at, len)
    }
}

/// Verifies a layer's bytes without making files.
///
/// # Errors
/// When they are not what was promised, or cannot be read or decompressed.
pub fn identify(input: impl Read + Send, expect: &Expect<'_>) -> Result<Identified, Error> {
    let limits = Limits {
        max_ratio: u64::MAX,
        max_size: u64::MAX,
        ..Limits::default()
    };
    let (hashed, ()) = run(input, None, expect, &limits, None, |_| Ok(()))?;
    let (diff_id, tar_size) = hashed.diff_id(expect)?;
    Ok(Identified {
        blob: hashed.blob,
        blob_size: hashed.blob_size,
        diff_id,
        tar_size,
    })
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
    let (full, chunks) = channel();
    let (hashed, made) = run(
        input,
        target.blob,
        expect,
        &options.limits,
        Some(full),
        |watch| {
            let made = make_files(chunks, target, options);
            if matches!(made, Err(Error::File { .. } | Error::TooMuch { .. })) {
                watch.stop.store(true, Ordering::Relaxed);
            }
            made
        },
    )?;
    let (diff_id, tar_size) = hashed.diff_id(expect)?;
    Ok(Unpacked {
        blob: hashed.blob,
        blob_size: hashed.blob_size,
        diff_id,
        tar_size,
        content_size: made.content_size,
        entries: made.entries,
        root_seen: made.root_seen,
        needs_lower: made.needs_lower,
    })
}

/// Reads on the calling thread, hashes on another and does `make` on a third.
fn run<T: Send>(
    input: impl Read + Send,
    keep: Option<&File>,
    expect: &Expect<'_>,
    limits: &Limits,
    files: Option<Sender<Bytes>>,
    make: impl FnOnce(&Watch) -> Result<T, Error> + Send,
) -> Result<(Hashed, T), Error> {
    let watch = &Watch::default();
    let buffers = Buffers::new();
    let (hashing, work) = channel();
    let (hashed, made) = std::thread::scope(|scope| {
        let spawn = |name: &str| std::thread::Builder::new().name(name.into());
        let hasher = spawn("hash").spawn_scoped(scope, move || {
            let result = hash(&work, keep, expect);
            if result.is_err() {
                watch.stop.store(true, Ordering::Relaxed);
            }
            result
        });
        let maker = spawn("files").spawn_scoped(scope, move || make(watch));
        let source = Source {
            input,
            buffers: &buffers,
            current: None,
            at: 0,
            size: 0,
            limit: expect.blob_size,
            watch,
            hashing,
            keep,
            failed: None,
            ended: None,
        };
        let plain = Plain {
            files,
            limits,
            size: 0,
        };
        let read = read_source(source, plain);
        (conclude(read, join(hasher), expect), join(maker))
    });
    // Bytes that are not the promised ones explain whatever else went wrong with them.
    match (hashed, made) {
        (Err(e @ (Error::BlobDigest { .. } | Error::BlobSize { .. } | Error::Blob(_))), _)
        | (_, Err(e @ (Error::File { .. } | Error::TooMuch { .. })))
        | (Err(e), _)
        | (_, Err(e)) => Err(e),
        (Ok(hashed), Ok(made)) => Ok((hashed, made)),
    }
}

fn join<T>(thread: io::Result<ScopedJoinHandle<'_, Result<T, Error>>>) -> Result<T, Error> {
    let panicked = |_| Err(Error::Read(io::Error::other("a thread panicked")));
    thread.map_err(Error::Read)?.join().unwrap_or_else(panicked)
}

struct Made {
    content_size: u64,
    entries: u64,
    root_seen: bool,
    needs_lower: crate::NeedsLower,
}

/// Makes the files, on the calling thread and one that fills the small ones.
fn make_files(
    full: Receiver<Bytes>,
    target: &Target<'_>,
    options: &Options,
) -> Result<Made, Error> {
    let (filler, batches) = filler();
    let mut extractor = Extractor::new(target, options, filler)?;
    let extractor = std::thread::scope(move |scope| {
        let filling = std::thread::Builder::new()
            .name("fill".into())
            .spawn_scoped(scope, move || batches.fill());
        let applied = apply(full, &mut extractor);
        extractor.no_more();
        join(filling).and(applied).map(|()| extractor)
    })?;
    let (content_size, entries) = (extractor.content_size, extractor.entries);
    let (root_seen, needs_lower) = extractor.finish()?;
    Ok(Made {
        content_size,
        entries,
        root_seen,
        needs_lower,
    })
}

fn apply(full: Receiver<Bytes>, extractor: &mut Extractor<'_>) -> Result<(), Error> {
    let mut tar = TarReader::new(Chunks {
        full,
        current: None,
        at: 0,
    });
    extractor.run(&mut tar)?;
    // Zeros and anything else after the end of the archive count in the diff_id: they have to come through.
    let rest = tar.into_inner();
    drop(rest.current);
    while rest.full.recv().is_ok() {}
    Ok(())
}
