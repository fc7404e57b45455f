//! When something was said, as text.

use std::io::Write as _;

use jiff::Timestamp;

/// RFC 3339 with nanoseconds, in UTC.
#[derive(Debug)]
pub(super) struct Moment {
    text: [u8; 40],
    length: usize,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self::of(Timestamp::now())
    }

    pub(super) fn of(time: Timestamp) -> Self {
        let mut text = [0; 40];
        let mut rest = &mut text[..];
        // It is 30 bytes long.
        let _ = write!(rest, "{time:.9}");
        let length = 40 - rest.len();
        Self { text, length }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_always_there() {
        let text = |s, ns| {
            Moment::of(Timestamp::new(s, ns).unwrap())
                .as_str()
                .to_owned()
        };
        assert_eq!(text(1_136_073_600, 0), "2006-01-01T00:00:00.000000000Z");
        assert_eq!(text(1_136_073_600, 120), "2006-01-01T00:00:00.000000120Z");
    }
}
