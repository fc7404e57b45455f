//! Where what a container says is cut.

/// Longer lines are cut, as Docker cuts them.
const LONGEST: usize = 16 * 1024;
/// A program whose output is not a terminal writes blocks of this size, whatever they end with.
const BLOCK: usize = 4096;

/// Bytes of one character.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Character {
    bytes: [u8; 4],
    length: usize,
}

impl Character {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl From<&[u8]> for Character {
    fn from(from: &[u8]) -> Self {
        let mut bytes = [0; 4];
        let length = from.len().min(4);
        bytes[..length].copy_from_slice(&from[..length]);
        Self { bytes, length }
    }
}

impl Character {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// What is known of a stream.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last piece ended without a line's end.
    pub inside_line: bool,
    /// The beginning of a character.
    pub kept_back: Character,
    /// Bytes that were not written and not told.
    pub lost: u64,
    /// How many more bytes are given up while no line ends.
    pub skipping: usize,
}

/// A character that was kept back, with what belongs to it.
#[derive(Debug, Default)]
pub(super) struct Head {
    piece: Character,
    /// How much of the new bytes that is.
    pub taken: usize,
}

impl Head {
    pub(super) fn piece(&self) -> &[u8] {
        self.piece.as_slice()
    }
}

impl Progress {
    /// What is left of new bytes after what is given up.
    pub(super) fn after_skipping<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.skipping == 0 {
            return bytes;
        }
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        self.skipping = match end {
            Some(_) => 0,
            None => self.skipping.saturating_sub(bytes.len()),
        };
        let end = end.unwrap_or(bytes.len());
        self.lost += end as u64;
        &bytes[end..]
    }

    /// Takes what was kept back, with as many of the new bytes as make it a character, or show that it is none.
    pub(super) fn complete_character(&mut self, bytes: &[u8]) -> Head {
        let mut piece = std::mem::take(&mut self.kept_back);
        let mut taken = 0;
        while !piece.is_empty() && piece.length < 4 && taken < bytes.len() {
            if !is_incomplete(piece.as_slice()) || !(0x80..0xc0).contains(&bytes[taken]) {
                break;
            }
            piece.bytes[piece.length] = bytes[taken];
            piece.length += 1;
            taken += 1;
        }
        Head { piece, taken }
    }
}

fn is_incomplete(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(e) if e.error_len().is_none())
}

/// Splits off the beginning of a character at the end of text that was cut by a program's buffer: of `length` bytes that came
/// at once, `bytes` are what is left.
pub(super) fn keep_back(bytes: &[u8], length: usize) -> (&[u8], &[u8]) {
    if length < BLOCK {
        return (bytes, &[]);
    }
    let start = memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1);
    match std::str::from_utf8(&bytes[start..]) {
        Err(e) if e.error_len().is_none() => bytes.split_at(start + e.valid_up_to()),
        _ => (bytes, &[]),
    }
}

/// Cuts into lines with their ends, and what is longer than [`LONGEST`] into such pieces, not within a character.
pub(super) fn cut<'a>(head: &'a [u8], rest: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let head = (!head.is_empty()).then_some(head);
    let mut left = rest;
    head.into_iter().chain(std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let window = &left[..left.len().min(LONGEST)];
        let end = match memchr::memchr(b'\n', window) {
            Some(at) => at + 1,
            None if window.len() == left.len() => window.len(),
            None => match std::str::from_utf8(window) {
                Err(e) if e.error_len().is_none() && e.valid_up_to() > 0 => e.valid_up_to(),
                _ => window.len(),
            },
        };
        let piece;
        (piece, left) = left.split_at(end);
        Some(piece)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_ends_and_long_ones_between_characters() {
        let lengths = |bytes: &[u8]| -> Vec<usize> { cut(&[], bytes).map(<[u8]>::len).collect() };
        assert_eq!(lengths(b"a\n\nbc"), [2, 1, 2]);
        assert_eq!(lengths(&[b'x'; LONGEST + 1]), [LONGEST, 1]);
        let accents = "é".repeat(LONGEST);
        assert_eq!(lengths(&accents.as_bytes()[1..]), [LONGEST, LONGEST - 1]);
        let text = format!("x{}", "é".repeat(LONGEST));
        assert_eq!(lengths(text.as_bytes()), [LONGEST - 1, LONGEST, 2]);
        let pieces: Vec<&[u8]> = cut(b"h", b"i\n").collect();
        assert_eq!(pieces, [b"h".as_slice(), b"i\n"]);
    }

    #[test]
    fn only_text_that_a_buffer_cut_is_kept_back() {
        let mut text = "é".repeat(BLOCK).into_bytes();
        text.truncate(BLOCK - 1);
        assert_eq!(keep_back(&text, text.len()).1, b"");
        text.insert(0, b'x');
        assert_eq!(keep_back(&text, text.len()).1, [0xc3]);
        text[0] = 0xff;
        assert_eq!(keep_back(&text, text.len()).1, b"", "it is no text");
    }

    #[test]
    fn a_character_is_completed_or_given_up() {
        for (kept, new, expected, taken) in [
            (&b"\xc3"[..], &b"\xa9x"[..], &b"\xc3\xa9"[..], 1),
            (b"\xf0\x9f", b"\x98\x80\x80", b"\xf0\x9f\x98\x80", 2),
            (b"\xf0\x9f", b"\x98", b"\xf0\x9f\x98", 1),
            (b"\xc3", b"x", b"\xc3", 0),
            (b"", b"\xa9", b"", 0),
        ] {
            let mut progress = Progress {
                kept_back: kept.into(),
                ..Progress::default()
            };
            let head = progress.complete_character(new);
            assert_eq!((head.piece(), head.taken), (expected, taken), "{kept:?}");
            assert!(progress.kept_back.is_empty());
        }
    }
}
