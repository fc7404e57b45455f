//! The 512 bytes before each entry: POSIX.1-1988 ustar, its GNU dialect and the older v7, which share most of their fields.

use std::ops::Range;

pub(super) const BLOCK: usize = 512;

/// A header as it stands in the archive.
pub(super) struct Header(pub(super) [u8; BLOCK]);

/// What is wrong, as the end of a sentence.
pub(super) type Problem = String;

const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: Range<usize> = 157..257;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;

impl Header {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }

    /// The type flag; zero, as v7 wrote it, is a file's `0`.
    pub(super) fn flag(&self) -> u8 {
        match self.0[KIND] {
            0 => b'0',
            flag => flag,
        }
    }

    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        // Only POSIX has a prefix; GNU and, further back, star keep times there.
        if &self.0[257..263] != b"ustar\0" {
            return name.to_vec();
        }
        let star = &self.0[508..512] == b"tar\0";
        let prefix = until_nul(&self.0[345..if star { 476 } else { 500 }]);
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.0[LINK]).to_vec()
    }

    pub(super) fn size(&self) -> Result<u64, Problem> {
        unsigned(&self.0[SIZE], "size")
    }

    /// Permission bits; some writers add the file type, as `stat` has it.
    pub(super) fn mode(&self) -> Result<u32, Problem> {
        unsigned(&self.0[MODE], "mode").map(|m| u32::try_from(m & 0o7777).unwrap_or(0))
    }

    pub(super) fn uid(&self) -> Result<u64, Problem> {
        unsigned(&self.0[UID], "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, Problem> {
        unsigned(&self.0[GID], "gid")
    }

    pub(super) fn mtime(&self) -> Result<i64, Problem> {
        signed(&self.0[MTIME], "mtime")
    }

    pub(super) fn device(&self) -> Result<(u32, u32), Problem> {
        let number = |field: Range<usize>| {
            let number = unsigned(&self.0[field], "device number")?;
            u32::try_from(number).map_err(|_| format!("has the impossible device number {number}"))
        };
        Ok((number(MAJOR)?, number(MINOR)?))
    }

    pub(super) fn check_sum(&self) -> Result<(), Problem> {
        let wrong =
            || "a header's checksum is wrong: this is no tar archive, or it is damaged".to_owned();
        let stored = unsigned(&self.0[CHECKSUM], "checksum").map_err(|_| wrong())?;
        // The checksum itself counts as blanks. Some old writers summed signed bytes.
        let own = &self.0[CHECKSUM];
        let plain = |bytes: &[u8]| bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
        let signed = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|b| i32::from(b.cast_signed()))
                .sum::<i32>()
        };
        if stored == u64::from(plain(&self.0) - plain(own) + 8 * 32)
            || i64::try_from(stored).ok() == Some(i64::from(signed(&self.0) - signed(own) + 8 * 32))
        {
            return Ok(());
        }
        Err(wrong())
    }
}

pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes
        .iter()
        .position(|b| *b == 0)
        .map_or(bytes, |end| &bytes[..end])
}

pub(super) fn unsigned(field: &[u8], what: &str) -> Result<u64, Problem> {
    u64::try_from(signed(field, what)?).map_err(|_| format!("has a negative {what}"))
}

/// A number field: octal digits between blanks and NULs, or GNU's base 256 (big endian, two's complement, first bit set).
pub(super) fn signed(field: &[u8], what: &str) -> Result<i64, Problem> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        return base_256(field).ok_or_else(|| format!("has a {what} beyond 64 bits"));
    }
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let end = field
        .iter()
        .rposition(|b| !blank(b))
        .map_or(start, |i| i + 1);
    until_nul(&field[start..end])
        .iter()
        .try_fold(0_i64, |value, digit| match digit {
            b'0'..=b'7' => value.checked_mul(8).map(|v| v + i64::from(digit - b'0')),
            _ => None,
        })
        .ok_or_else(|| format!("has a {what} that is no number"))
}

fn base_256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative {
        field[0] | 0x80
    } else {
        field[0] & 0x7f
    };
    let start: i128 = if negative { -1 } else { 0 };
    // Twelve bytes at most: no overflow.
    let value = std::iter::once(first)
        .chain(field[1..].iter().copied())
        .fold(start, |value, byte| (value << 8) | i128::from(byte));
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"644     ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o77_777_777)),
            (b"\0\x000000644", Some(0o644)),
            (b"0000008\0", None),
            (b"-000644\0", None),
            (b"+000644\0", None),
            (b"64 4\0\0\0\0", None),
            (b"0x1f\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some(i64::MAX),
            ),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\xff\xff\xfe\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(signed(field, "size").ok(), expected, "{field:?}");
        }
        assert_eq!(
            unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff", "uid").unwrap_err(),
            "has a negative uid"
        );
    }

    #[test]
    fn prefixes_are_those_of_posix_only() {
        let mut header = Header([0; BLOCK]);
        header.0[..4].copy_from_slice(b"name");
        header.0[345..351].copy_from_slice(b"prefix");
        assert_eq!(header.name(), b"name");
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        assert_eq!(header.name(), b"prefix/name");
        header.0[257..265].copy_from_slice(b"ustar  \0");
        assert_eq!(header.name(), b"name");
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header.0[345..476].fill(b'p');
        header.0[476..488].copy_from_slice(b"15000000000\0");
        header.0[508..512].copy_from_slice(b"tar\0");
        assert_eq!(header.name(), [&[b'p'; 131][..], b"/name"].concat());
    }
}
