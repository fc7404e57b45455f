//! Files with holes, in the four encodings that GNU tar and those after it write: old GNU headers (type `S`), and PAX
//! formats 0.0, 0.1 and 1.0 ("GNU tar manual", "Storing Sparse Files").

use std::io::Read;

use super::header::{BLOCK, Header, Problem, unsigned};
use super::pax::{Pax, decimal};
use super::{Entry, TarReader};
use crate::Error;

/// Most extents of a sparse file.
const MAX_EXTENTS: usize = 1 << 20;

/// Offset and length of what is stored.
pub(super) type Extents = Vec<(u64, u64)>;

impl<R: Read> TarReader<R> {
    /// Reads a file's map, if it has one, wherever it is.
    pub(super) fn sparse(
        &mut self,
        header: &Header,
        pax: &Pax,
        entry: &mut Entry,
    ) -> Result<(), Error> {
        let wrong = |this: &Self, problem: Problem| this.malformed_entry(&entry.path, &problem);
        let extents = if header.flag() == b'S' {
            entry.size = unsigned(&header.0[483..495], "real size").map_err(|p| wrong(self, p))?;
            self.old_gnu_extents(header, &entry.path)?
        } else if pax.get("GNU.sparse.major").and_then(decimal) == Some(1) {
            self.pax_1_extents(&entry.path)?
        } else {
            match pax_0_extents(pax) {
                None => return Ok(()),
                Some(extents) => extents.map_err(|p| wrong(self, p))?,
            }
        };
        let size = pax
            .get("GNU.sparse.realsize")
            .or_else(|| pax.get("GNU.sparse.size"));
        if let Some(size) = size {
            entry.size = decimal(size)
                .ok_or_else(|| wrong(self, "has a sparse size that is no number".into()))?;
        }
        check(&extents, entry.size, self.remaining).map_err(|p| wrong(self, p))?;
        entry.sparse = Some(extents);
        Ok(())
    }

    fn old_gnu_extents(&mut self, header: &Header, path: &[u8]) -> Result<Extents, Error> {
        let mut extents = Vec::new();
        let mut more = header.0[482] != 0;
        add_pairs(&mut extents, &header.0[386..482]).map_err(|p| self.malformed_entry(path, &p))?;
        while more {
            let mut extension = [0_u8; BLOCK];
            if !self.read_block(&mut extension)? {
                return Err(self.malformed_entry(path, "is cut off in its sparse map"));
            }
            add_pairs(&mut extents, &extension[..504])
                .map_err(|p| self.malformed_entry(path, &p))?;
            more = extension[504] != 0;
        }
        Ok(extents)
    }

    /// Format 1.0 keeps the map as decimal lines at the start of the data.
    fn pax_1_extents(&mut self, path: &[u8]) -> Result<Extents, Error> {
        let mut lines = Lines {
            block: [0; BLOCK],
            at: BLOCK,
        };
        let count = lines.next(self, path)?;
        if count > MAX_EXTENTS as u64 {
            return Err(self.malformed_entry(path, "has too many extents"));
        }
        (0..count)
            .map(|_| Ok((lines.next(self, path)?, lines.next(self, path)?)))
            .collect()
    }
}

fn add_pairs(extents: &mut Extents, raw: &[u8]) -> Result<(), Problem> {
    for pair in raw.chunks_exact(24) {
        if pair[0] != 0 {
            extents.push((
                unsigned(&pair[..12], "sparse offset")?,
                unsigned(&pair[12..], "sparse length")?,
            ));
        }
    }
    // The map's blocks count in no header's size.
    if extents.len() > MAX_EXTENTS {
        return Err("has too many extents".into());
    }
    Ok(())
}

/// Format 0.1 has the map in one record, 0.0 in many of the same names.
fn pax_0_extents(pax: &Pax) -> Option<Result<Extents, Problem>> {
    let numbers: Option<Vec<u64>> = if let Some(map) = pax.get("GNU.sparse.map") {
        map.split(|b| *b == b',').map(decimal).collect()
    } else if pax.get("GNU.sparse.numblocks").is_some() {
        let wanted = |k: &[u8]| k == b"GNU.sparse.offset" || k == b"GNU.sparse.numbytes";
        pax.records
            .iter()
            .filter(|(k, _)| wanted(k))
            .map(|(_, v)| decimal(v))
            .collect()
    } else {
        return None;
    };
    Some(match numbers {
        Some(numbers) if numbers.len() % 2 == 0 => {
            Ok(numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect())
        }
        _ => Err("has a malformed sparse map".into()),
    })
}

/// The extents must be in order, within the file, and as long as what is stored.
fn check(extents: &[(u64, u64)], size: u64, stored: u64) -> Result<(), Problem> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for &(offset, length) in extents {
        end = offset
            .checked_add(length)
            .filter(|next| *next <= size && offset >= end)
            .ok_or("has a sparse map that is out of order or out of bounds")?;
        sum += length;
    }
    if sum != stored {
        return Err("has a sparse map that does not fit its data".into());
    }
    Ok(())
}

/// Decimal lines in the blocks before the data.
struct Lines {
    block: [u8; BLOCK],
    at: usize,
}

impl Lines {
    fn next<R: Read>(&mut self, reader: &mut TarReader<R>, path: &[u8]) -> Result<u64, Error> {
        let mut value: Option<u64> = None;
        loop {
            if self.at == BLOCK {
                let mut have = 0;
                while have < BLOCK {
                    let n = reader.read_data(&mut self.block[have..])?;
                    if n == 0 {
                        return Err(reader.malformed_entry(path, "is cut off in its sparse map"));
                    }
                    have += n;
                }
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            let next = match (byte, value) {
                (b'\n', Some(value)) => return Ok(value),
                (b'0'..=b'9', value) => value
                    .unwrap_or(0)
                    .checked_mul(10)
                    .and_then(|v| v.checked_add(u64::from(byte - b'0'))),
                _ => None,
            };
            if next.is_none() {
                return Err(reader.malformed_entry(path, "has a malformed sparse map"));
            }
            value = next;
        }
    }
}
