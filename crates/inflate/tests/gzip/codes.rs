//! Blocks with codes that no compressor would choose.

use minidock_inflate::Problem;

use crate::reference::{Random, flate2, ours, wrapped};

/// Writes bits, the first one lowest.
#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
    at: usize,
}

impl Writer {
    pub fn bits(&mut self, value: usize, count: usize) {
        for i in 0..count {
            if self.at.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> i & 1) as u8) << (self.at % 8);
            self.at += 1;
        }
    }

    /// The code of a symbol, its first bit highest.
    fn code(&mut self, lengths: &[u8], symbol: usize) {
        let length = lengths[symbol];
        let mut code = 0_usize;
        for (other, l) in lengths.iter().enumerate() {
            if *l > 0 && (*l < length || *l == length && other < symbol) {
                code += 1 << (length - l);
            }
        }
        for i in (0..length).rev() {
            self.bits(code >> i & 1, 1);
        }
    }

    /// The beginning of a block with these codes, each length on its own.
    pub fn dynamic(&mut self, last: bool, litlen: &[u8], distance: &[u8]) {
        self.bits(usize::from(last), 1);
        self.bits(2, 2);
        self.bits(litlen.len() - 257, 5);
        self.bits(distance.len() - 1, 5);
        self.bits(15, 4);
        // 16 codes of four bits, for 0 to 15.
        for symbol in [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ] {
            self.bits(if symbol < 16 { 4 } else { 0 }, 3);
        }
        for length in litlen.iter().chain(distance) {
            self.code(&[4; 16], usize::from(*length));
        }
    }
}

/// Lengths of a complete code for `count` of `all` symbols, up to 15 bits, as uneven as chance makes them.
fn lengths(random: &mut Random, all: usize, needed: &[usize], count: usize) -> Vec<u8> {
    let mut leaves = vec![0_u8];
    let deep = random.below(3) > 0;
    while leaves.len() < count {
        // Mostly the deepest, for long codes.
        let i = match deep && random.below(4) > 0 {
            true => leaves.len() - 1,
            false => random.below(leaves.len()),
        };
        if leaves[i] < 15 {
            let length = leaves.remove(i) + 1;
            leaves.extend([length, length]);
        } else {
            let at = random.below(leaves.len());
            let end = leaves.len() - 1;
            leaves.swap(at, end);
        }
    }
    let mut symbols: Vec<usize> = (0..all).filter(|s| !needed.contains(s)).collect();
    let mut lengths = vec![0; all];
    for (i, leaf) in leaves.into_iter().enumerate() {
        let symbol = match needed.get(i) {
            Some(symbol) => *symbol,
            None => symbols.swap_remove(random.below(symbols.len())),
        };
        lengths[symbol] = leaf.max(1);
    }
    lengths
}

const LENGTHS: [(usize, usize); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];
const DISTANCES: [(usize, usize); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

/// A block of random symbols with random codes, and what it means.
fn block(random: &mut Random, writer: &mut Writer, plain: &mut Vec<u8>, last: bool, count: usize) {
    let symbols = 2 + random.below(284);
    let litlen = lengths(random, 286, &[256, 65], symbols);
    let symbols = 2 + random.below(28);
    let distance = lengths(random, 30, &[0], symbols);
    writer.dynamic(last, &litlen, &distance);
    let used = |lengths: &[u8]| -> Vec<usize> {
        let all = 0..lengths.len();
        all.filter(|s| lengths[*s] > 0 && *s != 256).collect()
    };
    let (symbols, distances) = (used(&litlen), used(&distance));
    for _ in 0..count {
        let symbol = symbols[random.below(symbols.len())];
        if symbol < 256 {
            writer.code(&litlen, symbol);
            plain.push(symbol as u8);
            continue;
        }
        let near = |s: &&usize| DISTANCES[**s].0 <= plain.len();
        let near: Vec<&usize> = distances.iter().filter(near).collect();
        if near.is_empty() {
            continue;
        }
        writer.code(&litlen, symbol);
        let (least, extra) = LENGTHS[symbol - 257];
        let more = random.below(1 << extra);
        writer.bits(more, extra);
        let length = least + more;
        let symbol = *near[random.below(near.len())];
        writer.code(&distance, symbol);
        let (least, extra) = DISTANCES[symbol];
        let more = random.below((plain.len() - least + 1).min(1 << extra));
        writer.bits(more, extra);
        for _ in 0..length {
            plain.push(plain[plain.len() - least - more]);
        }
    }
    writer.code(&litlen, 256);
}

#[test]
fn random_codes() {
    for seed in 0..150 {
        let random = &mut Random(seed);
        let (mut writer, mut plain) = (Writer::default(), Vec::new());
        for i in 0..6 {
            let count = random.below(4000);
            block(random, &mut writer, &mut plain, i == 5, count);
        }
        let stream = wrapped(&writer.bytes, &plain);
        assert!(flate2(&stream).unwrap() == plain, "seed {seed}");
        let read = ours(&stream);
        assert!(
            read == Ok(plain),
            "seed {seed}: {:?}",
            read.map(|r| r.len())
        );
    }
}

#[test]
fn many_small_blocks() {
    let random = &mut Random(7);
    let (mut writer, mut plain) = (Writer::default(), Vec::new());
    for i in 0..2000 {
        let count = random.below(12);
        block(random, &mut writer, &mut plain, i == 1999, count);
    }
    let stream = wrapped(&writer.bytes, &plain);
    assert!(flate2(&stream).unwrap() == plain);
    assert!(ours(&stream) == Ok(plain));
}

/// Codes for "A", the end and length 3, and these distances; then the match.
fn with_distances(distance: &[u8], symbols: &[usize]) -> Vec<u8> {
    let mut litlen = [0; 258];
    (litlen[65], litlen[256], litlen[257]) = (1, 2, 2);
    let mut writer = Writer::default();
    writer.dynamic(true, &litlen, distance);
    writer.code(&litlen, 65);
    for symbol in symbols {
        writer.code(&litlen, 257);
        writer.code(distance, *symbol);
    }
    writer.code(&litlen, 256);
    let plain = vec![b'A'; 1 + 3 * symbols.len()];
    wrapped(&writer.bytes, &plain)
}

#[test]
fn distance_codes_that_are_no_full_tree() {
    // One code of one bit is fine, and none as long as none is used.
    for (distance, symbols, plain) in [
        (&[1][..], &[0][..], &b"AAAA"[..]),
        (&[0, 1], &[], b"A"),
        (&[0], &[], b"A"),
    ] {
        let stream = with_distances(distance, symbols);
        assert_eq!(flate2(&stream).unwrap(), plain);
        assert_eq!(ours(&stream).unwrap(), plain);
    }
    for (distance, symbols, problem) in [
        (&[2][..], &[0][..], Problem::DistanceCodes),
        (&[1, 2], &[0], Problem::DistanceCodes),
        (&[1, 1, 1], &[0], Problem::DistanceCodes),
        (&[0], &[0], Problem::DistanceCode),
        // Distance 2 after one byte.
        (&[1, 1], &[1], Problem::Distance),
    ] {
        let stream = with_distances(distance, symbols);
        assert!(flate2(&stream).is_err(), "{distance:?}");
        assert_eq!(ours(&stream), Err(problem), "{distance:?}");
    }
    // The code that is not there: 1 where only 0 is.
    let mut litlen = [0; 258];
    (litlen[65], litlen[256], litlen[257]) = (1, 2, 2);
    let mut writer = Writer::default();
    writer.dynamic(true, &litlen, &[1]);
    writer.code(&litlen, 65);
    writer.code(&litlen, 257);
    writer.bits(0xffff, 16);
    let stream = wrapped(&writer.bytes, b"");
    assert!(flate2(&stream).is_err());
    assert_eq!(ours(&stream), Err(Problem::DistanceCode));
}

#[test]
fn literal_codes_that_are_no_full_tree() {
    for (lengths, problem) in [
        // The end alone.
        (&[(256, 1)][..], None),
        (&[(256, 2)], Some(Problem::LiteralCodes)),
        (&[(65, 1)], Some(Problem::NoEnd)),
        (&[(65, 1), (256, 2)], Some(Problem::LiteralCodes)),
        (&[(65, 1), (66, 1), (256, 1)], Some(Problem::LiteralCodes)),
    ] {
        let mut litlen = [0; 257];
        for (symbol, length) in lengths {
            litlen[*symbol] = *length;
        }
        let mut writer = Writer::default();
        writer.dynamic(true, &litlen, &[0]);
        writer.bits(0, 8);
        let stream = wrapped(&writer.bytes, b"");
        let stream = match problem {
            // The end took one bit.
            None => wrapped(&writer.bytes[..writer.bytes.len() - 1], b""),
            Some(_) => stream,
        };
        assert_eq!(flate2(&stream).is_err(), problem.is_some(), "{lengths:?}");
        assert_eq!(ours(&stream).err(), problem, "{lengths:?}");
    }
}

#[test]
fn counts_beyond_what_there_is() {
    for (literals, distances) in [(30, 0), (31, 0), (0, 30), (0, 31)] {
        let mut writer = Writer::default();
        for (value, bits) in [(1, 1), (2, 2), (literals, 5), (distances, 5), (15, 4)] {
            writer.bits(value, bits);
        }
        let stream = wrapped(&[&writer.bytes[..], &[0; 200]].concat(), b"");
        assert!(flate2(&stream).is_err());
        assert_eq!(ours(&stream), Err(Problem::CodeCount));
    }
}

#[test]
fn fixed_codes_that_mean_nothing() {
    let fixed: Vec<u8> = (0..288)
        .map(|s| match s {
            0..144 => 8,
            144..256 => 9,
            256..280 => 7,
            _ => 8,
        })
        .collect();
    for (symbol, distance, problem) in [
        (286, None, Problem::LiteralCode),
        (287, None, Problem::LiteralCode),
        (257, Some(30), Problem::DistanceCode),
        (257, Some(31), Problem::DistanceCode),
        (257, Some(1), Problem::Distance),
    ] {
        // Near the end of the input and far from it.
        for more in [0, 100] {
            let mut writer = Writer::default();
            writer.bits(1, 1);
            writer.bits(1, 2);
            writer.code(&fixed, 65);
            writer.code(&fixed, symbol);
            if let Some(distance) = distance {
                writer.code(&[5; 32], distance);
            }
            let stream = wrapped(&[&writer.bytes[..], &vec![0; more]].concat(), b"");
            assert!(flate2(&stream).is_err());
            assert_eq!(ours(&stream), Err(problem));
        }
    }
}

/// Where the buffer's end comes after none, one, two or three literals, and a match follows.
#[test]
fn literals_and_near_matches_at_any_place() {
    let random = &mut Random(9);
    let fixed: Vec<u8> = [(144, 8), (112, 9), (24, 7), (8, 8)]
        .iter()
        .flat_map(|(count, length)| vec![*length; *count])
        .collect();
    let (mut writer, mut plain) = (Writer::default(), b"0123456789abcdef".to_vec());
    writer.bits(1, 1);
    writer.bits(1, 2);
    plain
        .iter()
        .for_each(|b| writer.code(&fixed, usize::from(*b)));
    while plain.len() < 12_000_000 {
        for _ in 0..random.below(4) {
            let byte = random.below(100) as u8;
            writer.code(&fixed, usize::from(byte));
            plain.push(byte);
        }
        let length = random.below(8);
        writer.code(&fixed, 257 + length);
        let distance = random.below(4);
        writer.code(&[5; 32], distance);
        for _ in 0..3 + length {
            plain.push(plain[plain.len() - 1 - distance]);
        }
    }
    writer.code(&fixed, 256);
    let read = ours(&wrapped(&writer.bytes, &plain));
    assert!(read == Ok(plain), "{:?}", read.map(|r| r.len()));
}
