//! What is around the blocks: RFC 1952.

use crate::Problem;

const HAS_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// The header of a member, byte by byte.
#[derive(Clone, Debug, Default)]
pub struct Header {
    part: Part,
    /// Bytes of this part.
    at: u16,
    flags: u8,
    /// Of the extra field.
    size: u16,
    /// What the header has as its checksum.
    sum: u16,
    crc: crc32fast::Hasher,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Fixed,
    ExtraSize,
    Extra,
    Name,
    Comment,
    Crc,
    End,
}

impl Header {
    /// Takes the next byte, and returns whether it was the last one.
    pub fn add(&mut self, byte: u8) -> Result<bool, Problem> {
        let at = self.at;
        self.at = self.at.wrapping_add(1);
        if self.part != Part::Crc {
            self.crc.update(&[byte]);
        }
        let ended = match self.part {
            Part::Fixed => {
                match (at, byte) {
                    (0, 0x1f) | (1, 0x8b) | (2, 8) | (4.., _) => {}
                    (3, flags) if flags & RESERVED == 0 => self.flags = flags,
                    (3, _) => return Err(Problem::ReservedFlag),
                    (2, _) => return Err(Problem::Method),
                    _ => return Err(Problem::Magic),
                }
                at == 9
            }
            Part::ExtraSize => {
                self.size |= u16::from(byte) << (8 * at.min(1));
                at == 1
            }
            Part::Extra => at + 1 == self.size,
            Part::Name | Part::Comment => byte == 0,
            Part::Crc => {
                self.sum |= u16::from(byte) << (8 * at.min(1));
                if at == 1 && u32::from(self.sum) != self.crc.clone().finalize() & 0xffff {
                    return Err(Problem::HeaderCrc);
                }
                at == 1
            }
            Part::End => true,
        };
        if ended {
            self.at = 0;
            self.part = self.after();
        }
        Ok(self.part == Part::End)
    }

    /// The part after this one.
    fn after(&self) -> Part {
        let has = |flag| self.flags & flag != 0;
        let parts = [
            (Part::ExtraSize, has(HAS_EXTRA)),
            (Part::Extra, has(HAS_EXTRA) && self.size > 0),
            (Part::Name, has(HAS_NAME)),
            (Part::Comment, has(HAS_COMMENT)),
            (Part::Crc, has(HAS_CRC)),
        ];
        let past = parts.iter().position(|(part, _)| *part == self.part);
        let later = parts.iter().skip(past.map_or(0, |past| past + 1));
        let mut later = later.filter(|(_, there)| *there);
        later.next().map_or(Part::End, |(part, _)| *part)
    }
}

/// The eight bytes after the blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trailer {
    value: u64,
    at: u32,
}

impl Trailer {
    /// Takes the next byte; after the last one, returns CRC-32 and size modulo 2³².
    pub fn add(&mut self, byte: u8) -> Option<(u32, u32)> {
        self.value |= u64::from(byte) << (8 * self.at.min(7));
        self.at += 1;
        (self.at == 8).then_some((self.value as u32, (self.value >> 32) as u32))
    }
}
