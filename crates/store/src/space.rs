//! Room on the disk: adding stops while some is left, for everybody else who writes to it.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use minidock_layer::Limits;

use crate::{StoreError, Writer};

/// A full disk is looked for after as many bytes read, which may unpack to a thousand times as much.
const INTERVAL: u64 = 64 << 10;
/// By default, this part of the disk stays free,
const PART: u64 = 100;
/// but no more than this.
const ENOUGH: u64 = 256 << 20;

/// How much may be added to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// How far one layer may go.
    pub layer: Limits,
    /// Bytes of the disk that are to stay free; `None` for a hundredth of it, at most 256 MiB.
    pub keep_free: Option<u64>,
}

/// What a disk has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Enough.
    Enough,
    /// Too few bytes: how many there are, and how many are to stay free.
    Bytes(u64, u64),
    /// Too few files can be made: so many.
    Files(u64),
}

/// What is left on the disk of a folder.
fn room(folder: &Path, keep_free: Option<u64>) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(folder)?;
    let unit = disk.f_frsize;
    let keep = keep_free.unwrap_or_else(|| (disk.f_blocks.saturating_mul(unit) / PART).min(ENOUGH));
    // A file system that counts its inodes may run out of them first.
    let scarce = keep_free != Some(0) && disk.f_files > 0 && disk.f_favail < disk.f_files / PART;
    let free = disk.f_bavail.saturating_mul(unit);
    Ok(match (free < keep, scarce) {
        (true, _) => Room::Bytes(free, keep),
        (false, true) => Room::Files(disk.f_favail),
        (false, false) => Room::Enough,
    })
}

impl Writer {
    /// Fails when so little space is left on the store's disk that adding has to stop.
    ///
    /// # Errors
    /// [`StoreError::KeepFree`], or [`StoreError::KeepFiles`] where it is files that are scarce.
    pub fn check_space(&self) -> Result<(), StoreError> {
        let path = self.store.root();
        let room = room(path, self.bounds.keep_free)
            .map_err(StoreError::io("look at the disk of", path))?;
        let path = path.to_owned();
        match room {
            Room::Enough => Ok(()),
            Room::Bytes(free, keep) => Err(StoreError::KeepFree { path, free, keep }),
            Room::Files(left) => Err(StoreError::KeepFiles { path, left }),
        }
    }
}

/// Reads what is being added, and stops when the disk is about to be full.
pub struct Careful<'w, R> {
    writer: &'w Writer,
    from: R,
    until: u64,
    full: &'w AtomicBool,
}

impl<'w, R> Careful<'w, R> {
    /// `full` tells afterwards why reading ended.
    pub fn new(writer: &'w Writer, from: R, full: &'w AtomicBool) -> Self {
        Self {
            writer,
            from,
            until: 0,
            full,
        }
    }
}

impl<R: Read> Read for Careful<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.until == 0 {
            if let Err(error) = self.writer.check_space() {
                self.full.store(true, Ordering::Relaxed);
                return Err(io::Error::other(error));
            }
            self.until = INTERVAL;
        }
        let most = usize::try_from(self.until)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let n = self.from.read(&mut buffer[..most])?;
        self.until -= n as u64;
        Ok(n)
    }
}
