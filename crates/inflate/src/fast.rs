//! Where most of the time is spent: codes to bytes while there is input and room enough to look at neither.

use crate::Problem;
use crate::bits::Bits;
use crate::huffman::{
    DISTANCE_BITS, DISTANCE_SIZE, ELSEWHERE, END, LITERAL, LITLEN_BITS, LITLEN_SIZE, OTHER, Tables,
};
use crate::window::{LIMIT, LITERALS, SIZE, Window, literal, repeat};

/// Bytes that two refills look at.
const AHEAD: usize = 16;

/// So many ones; looked up sooner than calculated where the processor is not known to have BMI2.
static MASKS: [u64; 64] = {
    let mut masks = [0; 64];
    let mut bits = 0;
    while bits < 64 {
        masks[bits] = (1 << bits) - 1;
        bits += 1;
    }
    masks
};

/// Adds bytes above the bits that are there, up to 64 in all, of which 56 to 63 count: the others are added again, the
/// same, by the next refill. Returns how many bytes are used.
#[inline(always)]
fn refill(buffer: &mut u64, count: &mut u32, input: &[u8; AHEAD], at: usize) -> usize {
    let mut word = [0; 8];
    if let Some(bytes) = input.get(at..at + 8) {
        word.copy_from_slice(bytes);
    }
    *buffer |= u64::from_le_bytes(word) << (*count & 63);
    let used = (!*count >> 3) & 7;
    *count |= 56;
    used as usize
}

/// Returns whether the block has ended; else too little is left of input or room.
#[inline(never)]
pub fn run(
    tables: &Tables,
    bits: &mut Bits,
    input: &mut &[u8],
    window: &mut Window,
) -> Result<bool, Problem> {
    const LITLEN_MASK: u64 = (1 << LITLEN_BITS) - 1;
    const DISTANCE_MASK: u64 = (1 << DISTANCE_BITS) - 1;
    let (litlen, distances) = (&tables.litlen, &tables.distance);
    let bytes: &mut [u8; SIZE] = &mut window.bytes;
    let mut end = window.end;
    // Only the lowest six bits of the count matter: whole entries are subtracted from it.
    let (mut buffer, mut count) = (bits.buffer, bits.count);
    let mut rest = *input;
    let Some(next) = rest.first_chunk::<AHEAD>() else {
        return Ok(false);
    };
    rest = &rest[refill(&mut buffer, &mut count, next, 0)..];
    let mut entry = litlen[(buffer & LITLEN_MASK) as usize];
    let ended = loop {
        let Some(next) = rest.first_chunk::<AHEAD>() else {
            break false;
        };
        if end > LIMIT {
            break false;
        }
        if entry & LITERAL != 0 {
            literal(bytes, end, entry);
            end += 1;
            buffer >>= entry & 63;
            count = count.wrapping_sub(entry);
            entry = litlen[(buffer & LITLEN_MASK) as usize];
            if entry & LITERAL != 0 {
                literal(bytes, end, entry);
                end += 1;
                buffer >>= entry & 63;
                count = count.wrapping_sub(entry);
                entry = litlen[(buffer & LITLEN_MASK) as usize];
                if entry & LITERAL != 0 {
                    literal(bytes, end, entry);
                    end += 1;
                    buffer >>= entry & 63;
                    count = count.wrapping_sub(entry);
                    entry = litlen[(buffer & LITLEN_MASK) as usize];
                    rest = &rest[refill(&mut buffer, &mut count, next, 0)..];
                    continue;
                }
            }
        }
        let mut before = buffer;
        buffer >>= entry & 63;
        count = count.wrapping_sub(entry);
        if entry & OTHER != 0 {
            if entry & ELSEWHERE != 0 {
                let part = (1_u64 << (entry >> 8 & 15)) - 1;
                let at = (entry >> 16) as usize + (buffer & part) as usize;
                entry = litlen[at & (LITLEN_SIZE - 1)];
                before = buffer;
                buffer >>= entry & 63;
                count = count.wrapping_sub(entry);
            }
            if entry & LITERAL != 0 {
                literal(bytes, end, entry);
                end += 1;
                entry = litlen[(buffer & LITLEN_MASK) as usize];
                rest = &rest[refill(&mut buffer, &mut count, next, 0)..];
                continue;
            }
            if entry & OTHER != 0 {
                if entry & END == 0 {
                    return Err(Problem::LiteralCode);
                }
                break true;
            }
        }
        let extra = (before & MASKS[(entry & 63) as usize]) >> (entry >> 8 & 15);
        let length = (entry >> 16) as usize + extra as usize;

        entry = distances[(buffer & DISTANCE_MASK) as usize];
        let used = refill(&mut buffer, &mut count, next, 0);
        before = buffer;
        buffer >>= entry & 63;
        count = count.wrapping_sub(entry);
        if entry & OTHER != 0 {
            if entry & ELSEWHERE == 0 {
                return Err(Problem::DistanceCode);
            }
            let part = (1_u64 << (entry >> 8 & 15)) - 1;
            let at = (entry >> 16) as usize + (buffer & part) as usize;
            entry = distances[at & (DISTANCE_SIZE - 1)];
            if entry & OTHER != 0 {
                return Err(Problem::DistanceCode);
            }
            before = buffer;
            buffer >>= entry & 63;
            count = count.wrapping_sub(entry);
        }
        let extra = (before & MASKS[(entry & 63) as usize]) >> (entry >> 8 & 15);
        let distance = (entry >> 16) as usize + extra as usize;
        // Before the copy, which takes its time.
        entry = litlen[(buffer & LITLEN_MASK) as usize];
        let used = used + refill(&mut buffer, &mut count, next, used);
        rest = &rest[used..];
        // Below zero is far above the limit.
        let from = end.wrapping_sub(distance);
        if from > LIMIT + LITERALS {
            return Err(Problem::Distance);
        }
        repeat(bytes, from, end, length).ok_or(Problem::Distance)?;
        end += length;
    };
    count &= 63;
    *bits = Bits {
        buffer: buffer & ((1 << count) - 1),
        count,
    };
    *input = rest;
    window.end = end;
    Ok(ended)
}
