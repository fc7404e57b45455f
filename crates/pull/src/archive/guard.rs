//! How far a compressed archive may go.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
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

/// Lets through so many bytes and no more, unless it is told otherwise. The headers of one member, names and extensions, are
/// kept in memory by whoever reads them: without a bound a name of gigabytes would be.
pub struct Rationed<'c, R> {
    pub from: R,
    pub left: &'c Cell<u64>,
}

/// Bytes of all headers of one member, and of what is skipped between two: names and extensions of real archives stay below
/// some KiB.
pub const HEADERS: u64 = 4 << 20;

impl<R: Read> Read for Rationed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(format!(
                "a member has more than {HEADERS} bytes of headers"
            )));
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = self.from.read(&mut buffer[..most])?;
        if left != u64::MAX {
            self.left.set(left - n as u64);
        }
        Ok(n)
    }
}

impl<R: Seek> Seek for Rationed<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.from.seek(to)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ration_is_never_exceeded() {
        let left = Cell::new(10);
        let mut rationed = Rationed {
            from: io::repeat(b'x'),
            left: &left,
        };
        let mut bytes = [0; 4];
        assert_eq!(rationed.read(&mut bytes).unwrap(), 4);
        assert_eq!(rationed.read(&mut [0; 100]).unwrap(), 6);
        assert!(rationed.read(&mut bytes).is_err());
        left.set(u64::MAX);
        assert_eq!(rationed.read(&mut bytes).unwrap(), 4);
        assert_eq!(left.get(), u64::MAX);
    }
}
