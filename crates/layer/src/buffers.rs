//! Buffers that are used again and again, and bound how far one thread gets ahead of another.

use std::io::BufRead;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes in a buffer: small enough to stay in a processor's cache from one thread to the next.
const SIZE: usize = 256 << 10;
/// Buffers of one layer.
const COUNT: usize = 24;

/// A filled buffer that several threads look at.
pub type Bytes = Arc<Buffer>;

/// Some bytes of a shared buffer, which is not used again before they are dropped.
pub struct Piece {
    bytes: Bytes,
    range: Range<usize>,
}

impl Piece {
    /// `len` bytes at `at`, if the buffer has them.
    pub fn of(bytes: &Bytes, at: usize, len: usize) -> Option<Self> {
        let range = at..at.checked_add(len)?;
        let bytes = Arc::clone(bytes);
        (range.end <= bytes.len()).then_some(Self { bytes, range })
    }

    /// Whether two are of one buffer.
    pub fn beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

/// A reader of shared buffers.
pub trait Shared: BufRead {
    /// The next `len` bytes, which are not consumed, if they stand together.
    fn piece(&self, len: usize) -> Option<Piece>;
}

/// The buffers that nobody uses at the moment.
pub struct Buffers {
    free: Receiver<Vec<u8>>,
    back: Sender<Vec<u8>>,
}

impl Buffers {
    /// Their memory is taken when they are first used.
    pub fn new() -> Self {
        let (back, free) = channel();
        for _ in 0..COUNT {
            // Its receiver is here.
            let _ = back.send(Vec::new());
        }
        Self { free, back }
    }

    /// Waits for a buffer.
    pub fn take(&self) -> Buffer {
        let mut bytes = self.free.recv().unwrap_or_default();
        if bytes.is_empty() {
            bytes = vec![0; SIZE];
        }
        Buffer {
            bytes,
            len: 0,
            back: self.back.clone(),
        }
    }
}

/// A buffer; it goes back when it is dropped.
pub struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    back: Sender<Vec<u8>>,
}

impl Buffer {
    /// All of its memory, to be written to.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Says how much of it was written to.
    pub fn filled(&mut self, len: usize) {
        self.len = len.min(self.bytes.len());
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.back.send(std::mem::take(&mut self.bytes));
    }
}
