//! The bytes that were decoded last.

use crate::Problem;

/// How far back a match may reach.
pub const REACH: usize = 32 << 10;
/// Bytes decoded until those before the last [`REACH`] are let go.
const FRESH: usize = 128 << 10;
/// Longest match.
const LONGEST: usize = 258;
/// Literals that may come before a match without another look at the limit.
pub const LITERALS: usize = 2;
/// What is written beyond the end of a match, at most.
const BEYOND: usize = 31;
const SLACK: usize = LITERALS + LONGEST + BEYOND;
/// Its length is known to the compiler, as are the limits of all places that are read and written: they need no checks.
pub const SIZE: usize = REACH + FRESH + SLACK;
/// Up to here, there is room for [`LITERALS`] and a match.
pub const LIMIT: usize = SIZE - SLACK;

/// Bytes that were decoded, and room for more.
#[derive(Debug)]
pub struct Window {
    /// The bytes.
    pub bytes: Box<[u8; SIZE]>,
    /// Where the next one goes.
    pub end: usize,
}

impl Window {
    /// An empty one.
    pub fn new() -> Self {
        let bytes = vec![0; SIZE].into_boxed_slice();
        let bytes = bytes.try_into().unwrap_or_else(|_| Box::new([0; SIZE]));
        Self { bytes, end: 0 }
    }

    /// Whether there is room for a match and a few literals.
    pub fn has_room(&self) -> bool {
        self.end <= LIMIT
    }

    /// Makes room, if there is none, by forgetting what no match can reach.
    pub fn make_room(&mut self) {
        if !self.has_room() {
            self.bytes.copy_within(self.end - REACH..self.end, 0);
            self.end = REACH;
        }
    }

    /// Adds the literal of an entry.
    pub fn add(&mut self, entry: u32) {
        if self.has_room() {
            literal(&mut self.bytes, self.end, entry);
            self.end += 1;
        }
    }

    /// Repeats what was decoded `distance` bytes ago.
    pub fn repeat(&mut self, distance: usize, length: usize) -> Result<(), Problem> {
        let from = self.end.wrapping_sub(distance);
        if from > LIMIT || self.end > LIMIT {
            return Err(Problem::Distance);
        }
        repeat(&mut self.bytes, from, self.end, length).ok_or(Problem::Distance)?;
        self.end += length;
        Ok(())
    }

    /// Adds as many bytes as there is room for, and returns their number.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let n = bytes.len().min(room.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.end += n;
        n
    }
}

/// Writes the literal of an entry.
#[inline(always)]
pub fn literal(bytes: &mut [u8; SIZE], at: usize, entry: u32) {
    if let Some(to) = bytes.get_mut(at) {
        *to = (entry >> 16) as u8;
    }
}

#[inline(always)]
fn load<const N: usize>(bytes: &[u8; SIZE], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.wrapping_add(N))?.first_chunk().copied()
}

#[inline(always)]
fn store<const N: usize>(bytes: &mut [u8; SIZE], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..at.wrapping_add(N))?.first_chunk_mut()? = value;
    Some(())
}

/// Copies `length` bytes, up to 258, from `from` to `to`, which is further on and up to [`LIMIT`] and [`LITERALS`], one
/// by one as it were: what is read may have just been written. Writes up to 31 bytes more. `None` never comes.
#[inline(always)]
pub fn repeat(bytes: &mut [u8; SIZE], from: usize, to: usize, length: usize) -> Option<()> {
    if to - from < 16 {
        return near(bytes, from, to, length);
    }
    store::<16>(bytes, to, load(bytes, from)?)?;
    store::<16>(bytes, to + 16, load(bytes, from + 16)?)?;
    if length > 32 {
        return far(bytes, from + 32, to + 32, length - 32);
    }
    Some(())
}

/// The same for longer matches, at least 16 bytes away.
#[inline(never)]
fn far(bytes: &mut [u8; SIZE], from: usize, to: usize, length: usize) -> Option<()> {
    let mut done = 0;
    while done < length {
        store::<16>(bytes, to + done, load(bytes, from + done)?)?;
        store::<16>(bytes, to + done + 16, load(bytes, from + done + 16)?)?;
        done += 32;
    }
    Some(())
}

/// The same for less than 16 bytes of distance.
#[inline(never)]
fn near(bytes: &mut [u8; SIZE], from: usize, to: usize, length: usize) -> Option<()> {
    let distance = to - from;
    let mut done = 0;
    if distance >= 8 {
        while done < length {
            store::<8>(bytes, to + done, load(bytes, from + done)?)?;
            done += 8;
        }
    } else if distance == 1 {
        let value = [load::<1>(bytes, from)?[0]; 16];
        while done < length {
            store(bytes, to + done, value)?;
            done += 16;
        }
    } else {
        let seed = u64::from_le_bytes(load(bytes, from)?);
        let pattern = (seed & ((1 << (8 * distance)) - 1)).wrapping_mul(REPEATED[distance & 7]);
        let step = 8 - 8 % distance.clamp(1, 8);
        while done < length {
            store(bytes, to + done, pattern.to_le_bytes())?;
            done += step;
        }
    }
    Some(())
}

/// What repeats a pattern of so many bytes in eight of them when they are multiplied.
const REPEATED: [u64; 8] = {
    let mut factors = [0; 8];
    let mut period = 1;
    while period < 8 {
        let mut at = 0;
        while at < 8 {
            factors[period] |= 1 << (8 * at);
            at += period;
        }
        period += 1;
    }
    factors
};
