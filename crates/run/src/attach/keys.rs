//! The keys that detach a terminal.

/// Keys that, typed one after the other, detach a terminal and are not passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed, and held back.
    typed: usize,
}

/// What is no list of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown character: '{0}'")]
pub struct KeyError(String);

impl Default for DetachKeys {
    /// Docker's: Ctrl-P, Ctrl-Q.
    fn default() -> Self {
        Self {
            keys: vec![16, 17],
            typed: 0,
        }
    }
}

impl DetachKeys {
    /// Reads Docker's notation: keys with commas between them, a key being one character or `ctrl-` and a letter or one of
    /// `@[\]^_`. Nothing at all detaches by no key.
    ///
    /// # Errors
    /// When a key is none.
    pub fn parse(text: &str) -> Result<Option<Self>, KeyError> {
        if text.is_empty() {
            return Ok(None);
        }
        let key = |word: &str| {
            let unknown = || KeyError(word.to_owned());
            match (word.strip_prefix("ctrl-"), word.as_bytes()) {
                (_, [key]) => Ok(*key),
                (Some(rest), _) => match rest.as_bytes() {
                    [key @ (b'a'..=b'z' | b'A'..=b'Z')] => Ok(key.to_ascii_lowercase() - b'a' + 1),
                    [key @ b'@'..=b'_'] => Ok(key - b'@'),
                    _ => Err(unknown()),
                },
                _ => Err(unknown()),
            }
        };
        let keys = text.split(',').map(key).collect::<Result<_, _>>()?;
        Ok(Some(Self { keys, typed: 0 }))
    }

    /// Takes what was typed, puts what is to be passed on into `on`, and says whether the last key was typed.
    pub(crate) fn typed(&mut self, bytes: &[u8], on: &mut Vec<u8>) -> bool {
        for &byte in bytes {
            if self.keys.get(self.typed) == Some(&byte) {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    self.typed = 0;
                    return true;
                }
                continue;
            }
            on.extend_from_slice(self.keys.get(..self.typed).unwrap_or_default());
            self.typed = 0;
            if self.keys.first() == Some(&byte) && self.keys.len() > 1 {
                self.typed = 1;
            } else {
                on.push(byte);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_is_dockers() {
        let keys = |text| DetachKeys::parse(text).map(|keys| keys.map(|keys| keys.keys));
        assert_eq!(keys("ctrl-p,ctrl-q"), Ok(Some(vec![16, 17])));
        assert_eq!(
            keys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"),
            Ok(Some(vec![0, 27, 28, 29, 30, 31]))
        );
        assert_eq!(keys("a,ctrl-A,%"), Ok(Some(vec![b'a', 1, b'%'])));
        assert_eq!(keys(""), Ok(None));
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-pq", "é"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_whole_sequence_detaches_and_the_rest_is_passed_on() {
        let feed = |pieces: &[&[u8]]| {
            let mut keys = DetachKeys::default();
            let mut on = Vec::new();
            let left = pieces.iter().any(|piece| keys.typed(piece, &mut on));
            (left, on)
        };
        assert_eq!(feed(&[b"ab\x10\x11cd"]), (true, b"ab".to_vec()));
        assert_eq!(feed(&[b"\x10", b"\x11"]), (true, vec![]));
        assert_eq!(feed(&[b"\x10", b"x\x11"]), (false, b"\x10x\x11".to_vec()));
        assert_eq!(feed(&[b"\x10\x10\x11"]), (true, b"\x10".to_vec()));
        assert_eq!(feed(&[b"\x10"]), (false, vec![]));
    }
}
