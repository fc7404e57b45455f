//! How far a compressed archive may go.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use minidock_layer::Limits;

/// Counts the bytes of an archive as they come.
pub struct Counted<'c, R> {
    pub from: R,
    pub count: &'c AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Hands out what an archive inflates to, as long as that is in proportion.
pub struct Proportionate<'c, R> {
    from: R,
    came: &'c AtomicU64,
    given: u64,
    limits: Limits,
    /// Whether it had to stop.
    bomb: bool,
}

impl<'c, R> Proportionate<'c, R> {
    pub fn new(from: R, came: &'c AtomicU64, limits: Limits) -> Self {
        Self {
            from,
            came,
            given: 0,
            limits,
            bomb: false,
        }
    }

    /// Whether reading failed since it is out of proportion.
    pub fn is_bomb(&self) -> bool {
        self.bomb
    }
}

impl<R: Read> Read for Proportionate<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.given += n as u64;
        let Limits {
            max_ratio,
            ratio_free,
            ..
        } = self.limits;
        let came = self.came.load(Ordering::Relaxed);
        if self.given > ratio_free && self.given / max_ratio.max(1) > came {
            self.bomb = true;
            return Err(io::Error::other("it looks like a decompression bomb"));
        }
        Ok(n)
    }
}
