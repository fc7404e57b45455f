//! Sound streams.

use std::io::{BufReader, Read};

use minidock_inflate::Gzip;

use crate::reference::{Pieces, Random, flate2, gzip, ours, read, samples};

#[test]
fn all_levels_of_all_kinds_of_data() {
    for size in [0, 1, 2, 10, 300, 5000, 70_000, 1_200_000] {
        for (name, plain) in samples(size) {
            for level in 0..=9 {
                let stream = gzip(&plain, level);
                let read = ours(&stream);
                assert!(
                    read.as_ref() == Ok(&plain),
                    "{name}, {size} bytes, level {level}: {:?}",
                    read.map(|r| r.len())
                );
            }
        }
    }
}

#[test]
fn input_cut_in_two_anywhere() {
    for (name, plain) in samples(600) {
        for level in [0, 1, 6] {
            let stream = gzip(&plain, level);
            for cut in 0..stream.len() {
                let (first, second) = stream.split_at(cut);
                let reader = Read::chain(first, second);
                let read = read(Gzip::new(reader));
                assert!(read == Ok(plain.clone()), "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn input_in_pieces_output_in_pieces() {
    let mut random = Random(1);
    for (name, plain) in samples(400_000) {
        for level in [0, 1, 9] {
            let stream = gzip(&plain, level);
            for most in [1, 2, 7, 40, 3000] {
                let mut sizes = Random(most as u64);
                let pieces = Pieces::new(&stream, || 1 + sizes.below(most));
                let mut decoder = Gzip::new(pieces);
                let mut read = Vec::new();
                let mut buffer = vec![0; 70_000];
                loop {
                    let room = match random.below(9) {
                        0 => 1,
                        1 => 1 + random.below(20),
                        _ => 1 + random.below(70_000),
                    };
                    let n = decoder.read(&mut buffer[..room]).unwrap();
                    if n == 0 {
                        break;
                    }
                    read.extend_from_slice(&buffer[..n]);
                }
                assert!(read == plain, "{name} by up to {most} bytes");
            }
        }
    }
}

#[test]
fn members_and_padding() {
    let mut random = Random(2);
    let mut members = Vec::new();
    let mut plain = Vec::new();
    for size in [0, 5, 40_000, 0, 300_000, 1] {
        for (_, sample) in samples(size) {
            members.extend_from_slice(&gzip(&sample, 1 + random.below(9) as u32));
            members.resize(members.len() + random.below(3) * 200, 0);
            plain.extend_from_slice(&sample);
        }
    }
    assert!(flate2(&members).unwrap() == plain);
    assert!(ours(&members).unwrap() == plain);
    let drip = BufReader::with_capacity(1, &members[..]);
    assert!(read(Gzip::new(drip)) == Ok(plain));
}

#[test]
fn a_match_never_reaches_into_the_member_before() {
    // "abcd" stored, and then a match in a member of its own, with fixed codes: length 3, distance 1.
    let first = gzip(b"abcd", 0);
    let mut second = gzip(b"", 1)[..10].to_vec();
    second.extend_from_slice(&[0b0000_0011, 0b0000_0010, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let both = [first, second].concat();
    assert!(flate2(&both).is_err());
    assert_eq!(ours(&both), Err(minidock_inflate::Problem::Distance));
}

#[test]
fn a_reader_that_fails_is_asked_again() {
    struct Fails<R>(R, bool);
    impl<R: Read> Read for Fails<R> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            self.0.read(buffer)
        }
    }
    let plain = samples(100_000).remove(0).1;
    let stream = gzip(&plain, 6);
    let mut decoder = Gzip::new(BufReader::with_capacity(100, Fails(&stream[..], false)));
    let mut read = Vec::new();
    let mut failures = 0;
    loop {
        let mut buffer = [0; 1000];
        match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => read.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => failures += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(read == plain);
    assert!(failures > 100, "{failures}");
}
