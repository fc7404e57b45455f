//! Tables that say what the next bits mean.
//!
//! A code of up to [`LITLEN_BITS`] (or [`DISTANCE_BITS`]) bits is found by one look into the first part of its table, a longer
//! one by a second look into a part of its own. An entry holds all that follows from the code, so that nothing else has
//! to be looked up:
//!
//! | bits  | literal              | length, distance         | end, unused code | rest of the code elsewhere |
//! |-------|----------------------|--------------------------|------------------|----------------------------|
//! | 0-5   | bits to take         | the same, with the extra | bits to take     | bits of the first look     |
//! | 8-11  | –                    | bits of the code alone   | –                | bits of the second look    |
//! | 14    | –                    | –                        | [`OTHER`]        | [`OTHER`]                  |
//! | 15    | [`LITERAL`]          | –                        | –                | –                          |
//! | 16-31 | the byte             | least value              | [`END`] or 0     | where the second part is   |

use crate::Problem;

/// Bits of the first look at a literal or length.
pub const LITLEN_BITS: u32 = 11;
/// Bits of the first look at a distance.
pub const DISTANCE_BITS: u32 = 8;
/// Room for 288 codes of up to 15 bits, which take up to 2,342 entries, and then up to a power of two: an index that is
/// masked needs no check.
pub const LITLEN_SIZE: usize = 4096;
/// Room for 32 codes of up to 15 bits, which take up to 402 entries.
pub const DISTANCE_SIZE: usize = 512;
/// Codes have up to 15 bits.
const MAX_BITS: usize = 15;

/// A byte.
pub const LITERAL: u32 = 1 << 15;
/// Neither literal, length nor distance.
pub const OTHER: u32 = 1 << 14;
/// With [`OTHER`]: the rest of the code is elsewhere.
pub const ELSEWHERE: u32 = 1 << 13;
/// With [`OTHER`]: the block ends.
pub const END: u32 = 1 << 16;

/// A code of so many bits has been added to an entry: to those to take and to those of the code.
const PER_BIT: u32 = 0x101;
/// Codes of a length: least length and extra bits, RFC 1951 section 3.2.5.
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// What each symbol of literals and lengths means; those beyond 285 are never sent.
const LITLEN_MEANINGS: [u32; 288] = {
    let mut meanings = [OTHER; 288];
    let mut i = 0;
    while i < 256 {
        meanings[i] = LITERAL | (i as u32) << 16;
        i += 1;
    }
    meanings[256] = OTHER | END;
    let mut i = 0;
    while i < LENGTHS.len() {
        let (least, extra) = LENGTHS[i];
        meanings[257 + i] = (least as u32) << 16 | extra as u32;
        i += 1;
    }
    meanings
};

/// What each symbol of distances means; 30 and 31 are never sent.
const DISTANCE_MEANINGS: [u32; 32] = {
    let mut meanings = [OTHER; 32];
    let mut least = 1_u32;
    let mut i = 0;
    while i < 30 {
        let extra = if i < 4 { 0 } else { (i as u32 - 2) / 2 };
        meanings[i] = least << 16 | extra;
        least += 1 << extra;
        i += 1;
    }
    meanings
};

/// What the codes of a block mean.
#[derive(Debug)]
pub struct Tables {
    /// Literals, lengths and the end.
    pub litlen: [u32; LITLEN_SIZE],
    /// Distances.
    pub distance: [u32; DISTANCE_SIZE],
    fixed: bool,
}

impl Tables {
    /// Tables that nothing can be decoded with.
    pub fn new() -> Box<Self> {
        Box::new(Self {
            litlen: [OTHER; LITLEN_SIZE],
            distance: [OTHER; DISTANCE_SIZE],
            fixed: false,
        })
    }

    /// Those of a block with fixed codes, RFC 1951 section 3.2.6.
    pub fn set_fixed(&mut self) -> Result<(), Problem> {
        if self.fixed {
            return Ok(());
        }
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.set(&lengths, &[5; 32])?;
        self.fixed = true;
        Ok(())
    }

    /// Those of a block that brings the lengths of its codes.
    pub fn set(&mut self, litlen: &[u8], distance: &[u8]) -> Result<(), Problem> {
        self.fixed = false;
        build(&mut self.litlen, LITLEN_BITS, litlen, &LITLEN_MEANINGS)
            .ok_or(Problem::LiteralCodes)?;
        build(
            &mut self.distance,
            DISTANCE_BITS,
            distance,
            &DISTANCE_MEANINGS,
        )
        .ok_or(Problem::DistanceCodes)
    }
}

/// The codes of `lengths`, in order: how many there are of each length, and their symbols from the shortest to the longest.
pub struct Sorted {
    /// Number of codes of each length.
    pub counts: [u16; MAX_BITS + 1],
    /// Symbols that have a code.
    pub symbols: [u16; 288],
}

impl Sorted {
    /// `None` where there are more codes than can be told apart, or fewer than there should be: a single code of one bit is
    /// fine, and none at all, as for zlib.
    pub fn new(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0_u16; MAX_BITS + 1];
        for length in lengths {
            counts[usize::from(*length & 15)] += 1;
        }
        counts[0] = 0;
        let mut left = 1_i32;
        let mut starts = [0_u16; MAX_BITS + 1];
        let mut sum = 0;
        for (start, count) in starts.iter_mut().zip(&counts).skip(1) {
            left = (left << 1) - i32::from(*count);
            if left < 0 {
                return None;
            }
            *start = sum;
            sum += *count;
        }
        if left > 0 && sum > 0 && !(sum == 1 && counts[1] == 1) {
            return None;
        }
        let mut symbols = [0; 288];
        for (symbol, length) in lengths.iter().enumerate() {
            if *length != 0 {
                let start = &mut starts[usize::from(*length & 15)];
                *symbols.get_mut(usize::from(*start))? = symbol as u16;
                *start += 1;
            }
        }
        Some(Self { counts, symbols })
    }
}

/// The next code of the same length, where codes are written from their first bit up.
pub fn next_code(code: usize, length: u32) -> usize {
    let zeros = !code & ((1 << length) - 1);
    match zeros.checked_ilog2() {
        None => 0,
        Some(top) => code & ((1 << top) - 1) | 1 << top,
    }
}

/// Fills a table. `None` where the lengths make no codes.
fn build<const N: usize>(
    table: &mut [u32; N],
    bits: u32,
    lengths: &[u8],
    meanings: &[u32],
) -> Option<()> {
    let sorted = Sorted::new(lengths)?;
    let mut symbols = sorted.symbols.iter();
    let mut meaning = || meanings.get(usize::from(*symbols.next()?)).copied();
    let mut code = 0;
    // What has no code is only there where one bit says it all.
    table[0] = OTHER | 1;
    for length in 1..=bits {
        // One bit more: what is known so far does not depend on it.
        let half = 1 << (length - 1);
        let (known, more) = table.split_at_mut_checked(half)?;
        more.get_mut(..half)?.copy_from_slice(known);
        for _ in 0..sorted.counts[length as usize] {
            *table.get_mut(code)? = meaning()? + length * PER_BIT;
            code = next_code(code, length);
        }
    }
    // Longer codes, in parts of their own.
    let mut counts = sorted.counts;
    let mut end = 1_usize << bits;
    let (mut start, mut prefix) = (0, usize::MAX);
    for length in bits + 1..=MAX_BITS as u32 {
        while counts[length as usize] > 0 {
            let first = code & ((1 << bits) - 1);
            if first != prefix {
                prefix = first;
                start = end;
                let mut part_bits = length - bits;
                let mut room = i32::from(counts[length as usize]);
                while room < 1 << part_bits && bits + part_bits < MAX_BITS as u32 {
                    part_bits += 1;
                    room = room * 2 + i32::from(counts[(bits + part_bits) as usize]);
                }
                end += 1 << part_bits;
                *table.get_mut(prefix)? =
                    OTHER | ELSEWHERE | (start as u32) << 16 | part_bits << 8 | bits;
            }
            let rest = length - bits;
            let entry = meaning()? + rest * PER_BIT;
            let part = table.get_mut(start..end)?;
            for slot in part.iter_mut().skip(code >> bits).step_by(1 << rest) {
                *slot = entry;
            }
            code = next_code(code, length);
            counts[length as usize] -= 1;
        }
    }
    Some(())
}
