//! One line of a log: a piece of what a container said, or a note that something is missing.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Stream;

/// Takes the bytes of a line as they come.
pub(super) trait Output {
    /// More bytes.
    fn put(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// What lines of one moment have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub stream: Stream,
    /// RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// A JSON object, or nothing.
    pub attributes: &'a str,
}

/// Writes a piece.
pub(super) fn piece(out: &mut impl Output, frame: Frame<'_>, bytes: &[u8], continues: bool) {
    out.put(br#"{"log":""#);
    let text = std::str::from_utf8(bytes);
    match text {
        Ok(text) => escaped(out, text),
        Err(_) => {
            for chunk in bytes.utf8_chunks() {
                escaped(out, chunk.valid());
                for _ in chunk.invalid() {
                    out.put("\u{fffd}".as_bytes());
                }
            }
        }
    }
    ending(out, frame);
    if text.is_err() {
        out.put(br#","bytes":""#);
        // Whole groups of three bytes need no padding.
        for part in bytes.chunks(768) {
            let mut encoded = [0; 1024];
            if let Ok(length) = STANDARD.encode_slice(part, &mut encoded) {
                out.put(&encoded[..length]);
            }
        }
        out.put(b"\"");
    }
    if continues {
        out.put(br#","continues":true"#);
    }
    out.put(b"}\n");
}

/// Writes that so many bytes are missing here.
pub(super) fn note(out: &mut impl Output, frame: Frame<'_>, lost: u64) {
    out.put(br#"{"log":""#);
    ending(out, frame);
    let mut digits = [0; 40];
    let mut rest = &mut digits[..];
    let _ = write!(rest, r#","lost":{lost}"#);
    let unused = rest.len();
    out.put(&digits[..digits.len() - unused]);
    out.put(b"}\n");
}

fn ending(out: &mut impl Output, frame: Frame<'_>) {
    out.put(br#"","stream":""#);
    out.put(frame.stream.name().as_bytes());
    if !frame.attributes.is_empty() {
        out.put(br#"","attrs":"#);
        out.put(frame.attributes.as_bytes());
        out.put(br#","time":""#);
    } else {
        out.put(br#"","time":""#);
    }
    out.put(frame.time.as_bytes());
    out.put(b"\"");
}

/// A JSON string's inside (RFC 8259, section 7).
fn escaped(out: &mut impl Output, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.put(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.put(br#"\""#),
            b'\\' => out.put(br"\\"),
            b'\n' => out.put(br"\n"),
            b'\r' => out.put(br"\r"),
            b'\t' => out.put(br"\t"),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.put(&[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
            }
        }
    }
    out.put(&bytes[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(attributes: &str) -> Frame<'_> {
        Frame {
            stream: Stream::Stderr,
            time: "2026-01-02T03:04:05.000000006Z",
            attributes,
        }
    }

    fn written(bytes: &[u8], attributes: &str, continues: bool) -> String {
        let mut out = Vec::new();
        piece(&mut out, frame(attributes), bytes, continues);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_written_as_docker_writes_it() {
        assert_eq!(
            written("a\"\\\t\u{1}é\u{7f}\n".as_bytes(), "", false),
            "{\"log\":\"a\\\"\\\\\\t\\u0001é\u{7f}\\n\",\"stream\":\"stderr\",\"time\":\"2026-01-02T03:04:05.000000006Z\"}\n"
        );
        assert_eq!(
            written(b"x", r#"{"a":"b"}"#, true),
            "{\"log\":\"x\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"b\"},\"time\":\"2026-01-02T03:04:05.000000006Z\",\"continues\":true}\n"
        );
    }

    #[test]
    fn other_bytes_are_kept_beside_what_can_be_read_of_them() {
        let bytes: Vec<u8> = (0..=255).cycle().take(2000).collect();
        let line: serde_json::Value = serde_json::from_str(&written(&bytes, "", false)).unwrap();
        assert_eq!(
            STANDARD.decode(line["bytes"].as_str().unwrap()).unwrap(),
            bytes
        );
        assert_eq!(
            line["log"].as_str().unwrap().chars().count(),
            bytes.len(),
            "each byte is one character or one replacement"
        );
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut out = Vec::new();
        note(&mut out, frame(""), u64::MAX);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["lost"], u64::MAX);
        assert_eq!(line["log"], "");
    }
}
