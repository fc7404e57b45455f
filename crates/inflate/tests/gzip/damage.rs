//! Streams that are damaged.

use std::io::Read;

use flate2::bufread::DeflateDecoder;
use minidock_inflate::Problem;

use crate::reference::{Random, deflate, flate2, gzip, ours, samples, wrapped};

#[test]
fn cut_anywhere() {
    for (name, plain) in samples(700) {
        for level in [0, 1, 6] {
            let stream = gzip(&plain, level);
            for end in 0..stream.len() {
                let read = ours(&stream[..end]);
                assert_eq!(read, Err(Problem::Truncated), "{name} cut at {end}");
            }
        }
    }
}

#[test]
fn any_bit_changed() {
    for (name, plain) in samples(300) {
        let stream = gzip(&plain, 6);
        for bit in 0..stream.len() * 8 {
            let mut stream = stream.clone();
            stream[bit / 8] ^= 1 << (bit % 8);
            match (flate2(&stream), ours(&stream)) {
                (Ok(theirs), Ok(ours)) => assert_eq!(theirs, ours, "{name}, bit {bit}"),
                (Err(_), Err(_)) => {}
                (theirs, ours) => panic!("{name}, bit {bit}: {theirs:?}, {ours:?}"),
            }
        }
    }
}

/// Blocks that were changed, without a checksum that would tell: what flate2 makes of them.
fn compare(blocks: &[u8]) -> bool {
    let mut theirs = DeflateDecoder::new(blocks);
    let mut plain = Vec::new();
    match theirs.read_to_end(&mut plain) {
        Ok(_) => {
            let used = theirs.total_in() as usize;
            let read = ours(&wrapped(&blocks[..used], &plain));
            assert!(read == Ok(plain), "{:?}", read.map(|r| r.len()));
            true
        }
        Err(e) => {
            let stream = [&wrapped(b"", b"")[..10], blocks].concat();
            let problem = ours(&stream).unwrap_err();
            let after = matches!(problem, Problem::Crc | Problem::Size | Problem::Trailing);
            assert!(!after, "{problem}, but {e}");
            let cut = e.kind() == std::io::ErrorKind::UnexpectedEof;
            assert_eq!(cut, problem == Problem::Truncated, "{problem}, but {e}");
            false
        }
    }
}

#[test]
fn changed_blocks() {
    let random = &mut Random(3);
    let (mut sound, mut damaged) = (0, 0);
    for size in [40, 500, 6000, 60_000] {
        for (_, plain) in samples(size) {
            for level in [0, 1, 6] {
                let blocks = deflate(&plain, level);
                for _ in 0..60 {
                    let mut blocks = blocks.clone();
                    for _ in 0..1 + random.below(3) {
                        // Mostly near the beginning, where the codes are.
                        let end = if random.below(3) > 0 {
                            90
                        } else {
                            blocks.len()
                        };
                        let at = random.below(end.min(blocks.len()));
                        match random.below(4) {
                            0 => blocks[at] = random.next() as u8,
                            1 | 2 => blocks[at] ^= 1 << random.below(8),
                            _ => drop(blocks.remove(at)),
                        }
                    }
                    match compare(&blocks) {
                        true => sound += 1,
                        false => damaged += 1,
                    }
                }
            }
        }
    }
    assert!(sound > 500 && damaged > 500, "{sound} {damaged}");
}

#[test]
fn random_blocks() {
    let random = &mut Random(4);
    for _ in 0..30_000 {
        let size = 1 + random.below(120);
        let mut blocks: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
        // Fixed or dynamic codes.
        let kind = 2 + 2 * random.below(2) as u8;
        blocks[0] = blocks[0] & !6 | kind;
        compare(&blocks);
    }
}
