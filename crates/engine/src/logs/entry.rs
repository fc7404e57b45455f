//! Understanding a line.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Stream;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Which stream.
    pub stream: Stream,
    /// RFC 3339.
    pub time: Cow<'a, str>,
    /// The exact bytes, with the line's end where there is one.
    pub bytes: Cow<'a, [u8]>,
    /// It goes on with a line that has begun.
    pub continues: bool,
    /// How many bytes are missing here.
    pub lost: u64,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    bytes: Option<Cow<'a, str>>,
    #[serde(default)]
    continues: bool,
    #[serde(default)]
    lost: u64,
}

impl<'a> LogEntry<'a> {
    /// Understands a line of a log, ours or Docker's; `None` for one that was not written whole.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line: Line<'a> = serde_json::from_slice(line).ok()?;
        let bytes = match (line.bytes, line.log) {
            (Some(bytes), _) => Cow::Owned(STANDARD.decode(bytes.as_bytes()).ok()?),
            (None, Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            (None, Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        };
        Some(Self {
            stream: match &*line.stream {
                "stdout" => Stream::Stdout,
                "stderr" => Stream::Stderr,
                _ => return None,
            },
            time: line.time,
            bytes,
            continues: line.continues,
            lost: line.lost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::files;
    use super::super::json_file::JsonFile;
    use super::super::options::Settings;
    use super::*;

    /// A generator of numbers that are random enough (xorshift).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound as u64).unwrap()
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for seed in 1..60_u64 {
            let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ seed);
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings {
                max_size: Some(200 + numbers.below(20_000) as u64),
                max_file: 100_000,
                ..Settings::default()
            };
            let mut said = [Vec::new(), Vec::new()];
            for _run in 0..3 {
                let mut log = JsonFile::open(folder.path(), &settings, String::new()).unwrap();
                for _chunk in 0..20 {
                    let stream = [Stream::Stdout, Stream::Stderr][numbers.below(2)];
                    let most = [4, 100, 5000, 40_000][numbers.below(4)];
                    let words = ["\n", "é", "\u{1f600}", "\"\\", "\0\x1b", "text", "\u{fffd}"];
                    let mut chunk = Vec::new();
                    let binary = numbers.below(3) == 0;
                    for _ in 0..numbers.below(most) / 4 + 1 {
                        if binary {
                            chunk.push(u8::try_from(numbers.below(256)).unwrap());
                        } else {
                            chunk.extend(words[numbers.below(words.len())].bytes());
                        }
                    }
                    chunk.truncate(most);
                    said[stream as usize].extend_from_slice(&chunk);
                    log.write(stream, &chunk);
                }
                log.finish();
            }
            let mut paths: Vec<_> = files::numbers(folder.path()).unwrap();
            let mut read = [Vec::new(), Vec::new()];
            let mut take = |path: &std::path::Path| {
                let content = std::fs::read(path).unwrap();
                for line in content.split_inclusive(|b| *b == b'\n') {
                    let entry = LogEntry::parse(line).unwrap();
                    assert_eq!(entry.lost, 0);
                    read[entry.stream as usize].extend_from_slice(&entry.bytes);
                }
            };
            paths.sort_unstable();
            for number in paths {
                take(&files::rotated(folder.path(), number));
            }
            take(&folder.path().join(files::NAME));
            assert!(read == said, "seed {seed}");
        }
    }

    #[test]
    fn dockers_lines_are_understood_and_torn_ones_are_not() {
        let line = br#"{"log":"\u003ca\u003e\r\n","stream":"stderr","attrs":{"k":"v"},"time":"2026-01-02T03:04:05.6Z"}"#;
        let entry = LogEntry::parse(line).unwrap();
        assert_eq!(
            (&*entry.bytes, entry.stream),
            (&b"<a>\r\n"[..], Stream::Stderr)
        );
        assert_eq!(entry.time, "2026-01-02T03:04:05.6Z");
        for end in 0..line.len() {
            assert_eq!(LogEntry::parse(&line[..end]), None);
        }
    }
}
