//! Headers and trailers.

use minidock_inflate::Problem;

use crate::reference::{flate2, gzip, ours, wrapped};

/// A header with these flags, and what they say follows.
fn header(flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3];
    header.extend_from_slice(rest);
    if flags & 2 != 0 {
        let mut crc = flate2::Crc::new();
        crc.update(&header);
        header.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
    }
    header
}

#[test]
fn all_parts_of_a_header() {
    let body = &gzip(b"contents", 6)[10..];
    for flags in 0..32 {
        for extra in [&b""[..], b"xy\x01\0z"] {
            let mut rest = Vec::new();
            if flags & 4 != 0 {
                rest.extend_from_slice(&(extra.len() as u16).to_le_bytes());
                rest.extend_from_slice(extra);
            }
            if flags & 8 != 0 {
                rest.extend_from_slice(b"name\0");
            }
            if flags & 16 != 0 {
                rest.extend_from_slice(b"\0");
            }
            let header = header(flags, &rest);
            let stream = [&header, body].concat();
            assert_eq!(flate2(&stream).unwrap(), b"contents", "{flags:b}");
            assert_eq!(ours(&stream).unwrap(), b"contents", "{flags:b}");
            if flags & 2 != 0 {
                let mut stream = stream.clone();
                stream[header.len() - 1] ^= 1;
                assert!(flate2(&stream).is_err());
                assert_eq!(ours(&stream), Err(Problem::HeaderCrc));
            }
        }
    }
}

#[test]
fn what_is_no_header() {
    let good = gzip(b"contents", 6);
    for (at, value, problem) in [
        (0, 0x1e, Problem::Magic),
        (1, 0x8a, Problem::Magic),
        (2, 7, Problem::Method),
        (3, 0x20, Problem::ReservedFlag),
        (3, 0x40, Problem::ReservedFlag),
        (3, 0x80, Problem::ReservedFlag),
    ] {
        let mut stream = good.clone();
        stream[at] = value;
        assert!(flate2(&stream).is_err());
        assert_eq!(ours(&stream), Err(problem));
    }
    assert_eq!(ours(b""), Err(Problem::Truncated));
}

#[test]
fn what_the_trailer_says() {
    let good = gzip(b"contents", 6);
    for (from_end, problem) in [
        (8, Problem::Crc),
        (5, Problem::Crc),
        (4, Problem::Size),
        (1, Problem::Size),
    ] {
        let mut stream = good.clone();
        let at = stream.len() - from_end;
        stream[at] ^= 0x10;
        assert!(flate2(&stream).is_err());
        assert_eq!(ours(&stream), Err(problem));
    }
}

#[test]
fn what_follows() {
    let good = gzip(b"contents", 6);
    for (after, result) in [
        (&b""[..], Ok(b"contents".to_vec())),
        (b"\0", Ok(b"contents".to_vec())),
        (&[0; 5000], Ok(b"contents".to_vec())),
        (b"x", Err(Problem::Trailing)),
        (b"\0\0\0x", Err(Problem::Trailing)),
        (b"\x1f", Err(Problem::Truncated)),
        (b"\0\x1f\x8b\x08", Err(Problem::Truncated)),
        (b"\x1f\x8bx", Err(Problem::Method)),
        (b"\x1fx", Err(Problem::Magic)),
    ] {
        let stream = [&good[..], after].concat();
        assert_eq!(flate2(&stream).is_err(), result.is_err(), "{after:?}");
        assert_eq!(ours(&stream), result, "{after:?}");
    }
}

#[test]
fn stored_blocks() {
    // Empty ones, one whose size and complement differ, one in the middle of bytes, and a type that there is not.
    let empty = [0, 0, 0, 0xff, 0xff];
    let last = [1, 2, 0, 0xfd, 0xff, b'h', b'i'];
    let stream = wrapped(&[&empty[..], &empty, &empty, &last].concat(), b"hi");
    assert_eq!(flate2(&stream).unwrap(), b"hi");
    assert_eq!(ours(&stream).unwrap(), b"hi");
    let stream = wrapped(&[1, 2, 0, 0xfd, 0xfe, b'h', b'i'], b"hi");
    assert!(flate2(&stream).is_err());
    assert_eq!(ours(&stream), Err(Problem::StoredSize));
    let stream = wrapped(&[7, 2, 0, 0xfd, 0xff], b"");
    assert!(flate2(&stream).is_err());
    assert_eq!(ours(&stream), Err(Problem::BlockType));
    // An empty block of fixed codes ends within a byte; the bits up to the next one do not matter.
    let stream = wrapped(&[[2, 0xfc].as_slice(), &last[1..]].concat(), b"hi");
    assert_eq!(flate2(&stream).is_err(), ours(&stream).is_err());
}
