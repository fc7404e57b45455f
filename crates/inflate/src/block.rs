//! DEFLATE: blocks to bytes.

use crate::Problem;
use crate::bits::Bits;
use crate::fast;
use crate::huffman::{
    DISTANCE_BITS, DISTANCE_SIZE, ELSEWHERE, END, LITERAL, LITLEN_BITS, LITLEN_SIZE, OTHER, Sorted,
    Tables,
};
use crate::window::Window;

/// The order in which the lengths of the code for lengths are sent, RFC 1951 section 3.2.7.
const ORDER: [u8; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// Bits of the longest code for lengths.
const LENGTH_CODE_BITS: u32 = 7;

/// Why decoding stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All input is used.
    Input,
    /// The window has no more room.
    Room,
    /// The last block has ended.
    End,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Block,
    StoredSize,
    Stored(usize),
    Counts,
    LengthCode,
    Lengths,
    Codes,
    End,
}

/// Where in the blocks we are.
#[derive(Debug)]
pub struct Inflate {
    /// What was read and not used yet.
    pub bits: Bits,
    next: Next,
    last: bool,
    tables: Box<Tables>,
    code: Box<LengthCode>,
}

/// The lengths of a block's codes, as they come.
#[derive(Debug)]
struct LengthCode {
    /// What the next seven bits mean: symbol, and bits of its code.
    table: [(u8, u8); 1 << LENGTH_CODE_BITS],
    literals: usize,
    distances: usize,
    /// How many lengths have their codes sent, at first those of the code for lengths.
    codes: usize,
    have: usize,
    /// 16 more, for what is written before it is checked.
    lengths: [u8; 320],
}

impl Inflate {
    /// For a stream that begins.
    pub fn new() -> Self {
        Self {
            bits: Bits::default(),
            next: Next::Block,
            last: false,
            tables: Tables::new(),
            code: Box::new(LengthCode {
                table: [(0, 0); 1 << LENGTH_CODE_BITS],
                literals: 0,
                distances: 0,
                codes: 0,
                have: 0,
                lengths: [0; 320],
            }),
        }
    }

    /// Begins another stream with the next bits.
    pub fn restart(&mut self) {
        self.next = Next::Block;
    }

    /// Decodes until there is a reason to stop.
    pub fn run(&mut self, input: &mut &[u8], window: &mut Window) -> Result<Stop, Problem> {
        loop {
            self.bits.fill(input);
            let next = match self.next {
                Next::Block => self.block()?,
                Next::StoredSize => self.stored_size()?,
                Next::Stored(left) => match self.stored(left, input, window) {
                    Ok(next) => Some(next),
                    Err(stop) => return Ok(stop),
                },
                Next::Counts => self.counts()?,
                Next::LengthCode => self.length_code()?,
                Next::Lengths => self.lengths()?,
                Next::Codes => match self.codes(input, window)? {
                    Stop::End => Some(self.after_block()),
                    stop => return Ok(stop),
                },
                Next::End => return Ok(Stop::End),
            };
            match next {
                Some(next) => self.next = next,
                None if input.is_empty() => return Ok(Stop::Input),
                None => {}
            }
        }
    }

    fn after_block(&self) -> Next {
        if self.last { Next::End } else { Next::Block }
    }

    fn block(&mut self) -> Result<Option<Next>, Problem> {
        let Some(head) = self.bits.take(3) else {
            return Ok(None);
        };
        self.last = head & 1 == 1;
        Ok(Some(match head >> 1 {
            0 => {
                self.bits.align();
                Next::StoredSize
            }
            1 => {
                self.tables.set_fixed()?;
                Next::Codes
            }
            2 => Next::Counts,
            _ => return Err(Problem::BlockType),
        }))
    }

    fn stored_size(&mut self) -> Result<Option<Next>, Problem> {
        let Some(size) = self.bits.take(32) else {
            return Ok(None);
        };
        if size & 0xffff != !size >> 16 {
            return Err(Problem::StoredSize);
        }
        Ok(Some(Next::Stored((size & 0xffff) as usize)))
    }

    fn stored(
        &mut self,
        mut left: usize,
        input: &mut &[u8],
        window: &mut Window,
    ) -> Result<Next, Stop> {
        loop {
            if left == 0 {
                return Ok(self.after_block());
            }
            self.next = Next::Stored(left);
            if !window.has_room() {
                return Err(Stop::Room);
            }
            if let Some(byte) = self.bits.take(8) {
                left -= window.extend(&[byte as u8]);
                continue;
            }
            if input.is_empty() {
                return Err(Stop::Input);
            }
            let (bytes, _) = input.split_at(left.min(input.len()));
            let n = window.extend(bytes);
            *input = &input[n..];
            left -= n;
        }
    }

    fn counts(&mut self) -> Result<Option<Next>, Problem> {
        let Some(counts) = self.bits.take(14) else {
            return Ok(None);
        };
        let code = &mut self.code;
        code.literals = 257 + (counts & 31) as usize;
        code.distances = 1 + (counts >> 5 & 31) as usize;
        code.codes = 4 + (counts >> 10) as usize;
        code.have = 0;
        code.lengths[..ORDER.len()].fill(0);
        if code.literals > 286 || code.distances > 30 {
            return Err(Problem::CodeCount);
        }
        Ok(Some(Next::LengthCode))
    }

    fn length_code(&mut self) -> Result<Option<Next>, Problem> {
        let code = &mut self.code;
        while code.have < code.codes {
            let Some(length) = self.bits.take(3) else {
                return Ok(None);
            };
            if let Some(symbol) = ORDER.get(code.have) {
                code.lengths[usize::from(*symbol)] = length as u8;
            }
            code.have += 1;
        }
        code.set_table().ok_or(Problem::LengthCode)?;
        code.have = 0;
        Ok(Some(Next::Lengths))
    }

    fn lengths(&mut self) -> Result<Option<Next>, Problem> {
        let code = &mut self.code;
        let all = code.literals + code.distances;
        while code.have < all {
            let (symbol, bits) = code.table[(self.bits.buffer & 127) as usize];
            let bits = u32::from(bits);
            let (least, extra) = match symbol {
                16 => (3, 2),
                17 => (3, 3),
                18 => (11, 7),
                _ => (1, 0),
            };
            let Some(all_bits) = self.bits.take(bits + extra) else {
                return Ok(None);
            };
            let count = least + (all_bits >> bits) as usize;
            let value = match symbol {
                16 => *code
                    .have
                    .checked_sub(1)
                    .and_then(|last| code.lengths.get(last))
                    .ok_or(Problem::Lengths)?,
                17 | 18 => 0,
                length => length,
            };
            if code.have + count > all {
                return Err(Problem::Lengths);
            }
            code.lengths[code.have..code.have + count].fill(value);
            code.have += count;
        }
        if code.lengths[256] == 0 {
            return Err(Problem::NoEnd);
        }
        let (literals, distances) = code.lengths[..all].split_at(code.literals);
        self.tables.set(literals, distances)?;
        Ok(Some(Next::Codes))
    }

    fn codes(&mut self, input: &mut &[u8], window: &mut Window) -> Result<Stop, Problem> {
        loop {
            if fast::run(&self.tables, &mut self.bits, input, window)? {
                return Ok(Stop::End);
            }
            if !window.has_room() {
                return Ok(Stop::Room);
            }
            self.bits.fill(input);
            match self.one(window)? {
                Some(Stop::End) => return Ok(Stop::End),
                Some(_) => {}
                None if input.is_empty() => return Ok(Stop::Input),
                None => {}
            }
        }
    }

    /// Decodes one code of literals or length and distance, where there may be too few bits for it: then nothing is done.
    fn one(&mut self, window: &mut Window) -> Result<Option<Stop>, Problem> {
        let mut bits = self.bits;
        let tables = &self.tables;
        let mut entry = look::<LITLEN_SIZE>(&tables.litlen, 0, LITLEN_BITS, &bits);
        if entry & (OTHER | ELSEWHERE) == OTHER | ELSEWHERE {
            let Some(_) = bits.take(entry & 63) else {
                return Ok(None);
            };
            entry = look(&tables.litlen, entry >> 16, entry >> 8 & 15, &bits);
        }
        let Some(length) = bits.take(entry & 63) else {
            return Ok(None);
        };
        if entry & LITERAL != 0 {
            window.add(entry);
        } else if entry & OTHER != 0 {
            if entry & END == 0 {
                return Err(Problem::LiteralCode);
            }
            self.bits = bits;
            return Ok(Some(Stop::End));
        } else {
            let length = (entry >> 16) + (length >> (entry >> 8 & 15));
            let mut entry = look::<DISTANCE_SIZE>(&tables.distance, 0, DISTANCE_BITS, &bits);
            if entry & (OTHER | ELSEWHERE) == OTHER | ELSEWHERE {
                let Some(_) = bits.take(entry & 63) else {
                    return Ok(None);
                };
                entry = look(&tables.distance, entry >> 16, entry >> 8 & 15, &bits);
            }
            let Some(distance) = bits.take(entry & 63) else {
                return Ok(None);
            };
            if entry & OTHER != 0 {
                return Err(Problem::DistanceCode);
            }
            let distance = (entry >> 16) + (distance >> (entry >> 8 & 15));
            window.repeat(distance as usize, length as usize)?;
        }
        self.bits = bits;
        Ok(Some(Stop::Room))
    }
}

/// The entry of the next bits in a part of a table.
fn look<const N: usize>(table: &[u32; N], start: u32, part: u32, bits: &Bits) -> u32 {
    let next = (bits.buffer & ((1 << part) - 1)) as usize;
    table[(start as usize + next) & (N - 1)]
}

impl LengthCode {
    /// Knows the code for lengths from now on. `None` where its lengths make no code.
    fn set_table(&mut self) -> Option<()> {
        let sorted = Sorted::new(&self.lengths[..ORDER.len()])?;
        let mut symbols = sorted.symbols.iter();
        let mut code = 0_usize;
        let all = sorted.counts.iter().skip(1);
        // zlib takes no code at all for zeros of one bit each; that the end of the block has no code ends it then.
        self.table.fill((0, 1));
        let mut room = 1 << LENGTH_CODE_BITS;
        for (length, count) in (1_u32..).zip(all) {
            for _ in 0..*count {
                let symbol = *symbols.next()? as u8;
                let slots = self.table.iter_mut().skip(code).step_by(1 << length);
                slots.for_each(|slot| *slot = (symbol, length as u8));
                code = crate::huffman::next_code(code, length);
                room -= (1 << LENGTH_CODE_BITS) >> length;
            }
        }
        // Here, a single code is not enough.
        (room == 0 || room == 1 << LENGTH_CODE_BITS).then_some(())
    }
}
