//! Files with holes, in GNU's sparse format 1.0, which GNU tar, bsdtar, Go's `archive/tar` and thereby all container
//! engines read.
//!
//! Whether a file has holes is asked of the file system; which of its blocks are left out, its content alone decides, so that
//! the bytes do not depend on how a file system rounds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{BLOCK, Header, TarWriter};

/// What is looked at as a whole.
const UNIT: u64 = 64 << 10;
/// Fewer bytes of zeros are not worth the trouble.
const WORTH: u64 = 1 << 20;
/// Most pieces: a file with more is written out whole.
const MAX_PIECES: usize = 100_000;

/// Offset and length of the pieces that hold something; `None` where writing it whole is as good.
pub fn pieces(file: &File, size: u64, buffer: &mut [u8]) -> io::Result<Option<Vec<(u64, u64)>>> {
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    let mut stored = 0;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) if data < size => data,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => return Ok(None),
        };
        // Asked where data is: at the start of its unit there may be a hole, and this would come to no end.
        let hole = match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(hole) => hole.clamp(data + 1, size),
            Err(_) => return Ok(None),
        };
        let mut unit = data / UNIT * UNIT;
        while unit < hole {
            let length = UNIT.min(size - unit);
            if !is_zero(file, unit, length, buffer)? {
                stored += length;
                match pieces.last_mut() {
                    Some((start, n)) if *start + *n == unit => *n += length,
                    _ => pieces.push((unit, length)),
                }
            }
            unit += length;
        }
        at = unit;
    }
    let worth = size - stored >= WORTH && pieces.len() <= MAX_PIECES;
    Ok(worth.then_some(pieces))
}

fn is_zero(file: &File, at: u64, length: u64, buffer: &mut [u8]) -> io::Result<bool> {
    let mut done = 0;
    while done < length {
        let want = buffer
            .len()
            .min(usize::try_from(length - done).unwrap_or(usize::MAX));
        let n = file.read_at(&mut buffer[..want], at + done)?;
        if n == 0 {
            break;
        }
        if buffer[..n].iter().any(|b| *b != 0) {
            return Ok(false);
        }
        done += n as u64;
    }
    Ok(true)
}

impl<W: Write> TarWriter<W> {
    /// Writes a file of which only `pieces` hold something.
    pub(super) fn sparse(
        &mut self,
        header: &Header<'_>,
        file: &File,
        pieces: &[(u64, u64)],
        buffer: &mut [u8],
    ) -> io::Result<()> {
        // The last piece ends the file, if only with nothing.
        let end = pieces.last().map_or(0, |(at, n)| at + n);
        let tail = (end < header.size).then_some((header.size, 0));
        let mut map = format!("{}\n", pieces.len() + usize::from(tail.is_some()));
        for (at, length) in pieces.iter().chain(tail.iter()) {
            map.push_str(&format!("{at}\n{length}\n"));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        let stored: u64 = pieces.iter().map(|(_, n)| n).sum();
        let records = [
            ("GNU.sparse.major", b"1".to_vec()),
            ("GNU.sparse.minor", b"0".to_vec()),
            ("GNU.sparse.name", header.path.to_vec()),
            ("GNU.sparse.realsize", header.size.to_string().into_bytes()),
        ];
        let stand_in = super::pax::shortened(b"GNUSparseFile.0/", header.path);
        let stored_header = Header {
            size: map.len() as u64 + stored,
            ..header.clone()
        };
        self.entry_with(&stored_header, &records, Some(&stand_in))?;
        self.data(&map)?;
        for (at, length) in pieces {
            let mut piece = Piece {
                file,
                at: *at,
                end: at + length,
            };
            let before = self.missing;
            loop {
                match piece.read(buffer)? {
                    0 => break,
                    n => self.data(&buffer[..n])?,
                }
            }
            // Shrunk meanwhile: the others keep their places.
            let mut short = length - (before - self.missing);
            buffer.fill(0);
            while short > 0 {
                let n = buffer
                    .len()
                    .min(usize::try_from(short).unwrap_or(usize::MAX));
                self.data(&buffer[..n])?;
                short -= n as u64;
            }
        }
        Ok(())
    }
}

struct Piece<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let n = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces_of(size: u64, writes: &[(u64, &[u8])]) -> Option<Vec<(u64, u64)>> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (at, data) in writes {
            file.write_all_at(data, *at).unwrap();
        }
        pieces(&file, size, &mut [1; 8 << 10]).unwrap()
    }

    #[test]
    fn pieces_are_whole_units_wherever_the_data_begins() {
        let unit = UNIT;
        let big = 4 << 20;
        for (size, writes, expected) in [
            (big, &[(big - 1, &b"x"[..])][..], vec![(big - unit, unit)]),
            (big, &[(unit + 5000, b"x")], vec![(unit, unit)]),
            (big, &[(0, b"x")], vec![(0, unit)]),
            (
                big,
                &[(unit - 1, b"xy"), (3 * unit - 4096, b"z")],
                vec![(0, 3 * unit)],
            ),
            (big + 7, &[(big + 6, b"x")], vec![(big, 7)]),
            (big, &[(unit, &[0; 4096])], vec![]),
            (big, &[], vec![]),
        ] {
            assert_eq!(pieces_of(size, writes), Some(expected), "{writes:?}");
        }
        assert_eq!(pieces_of(unit, &[(0, b"x")]), None);
    }
}
