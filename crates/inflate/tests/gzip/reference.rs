//! flate2 to compare with, data to compress, readers that bring it in pieces.

use std::io::{self, BufRead, Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder};
use minidock_inflate::{Gzip, Problem};

/// splitmix64
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Brings at most so many bytes at once.
pub struct Pieces<'a, F> {
    rest: &'a [u8],
    piece: usize,
    size: F,
}

impl<'a, F: FnMut() -> usize> Pieces<'a, F> {
    pub fn new(rest: &'a [u8], size: F) -> Self {
        Self {
            rest,
            piece: 0,
            size,
        }
    }
}

impl<F: FnMut() -> usize> Read for Pieces<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.rest[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<F: FnMut() -> usize> BufRead for Pieces<'_, F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece == 0 {
            self.piece = (self.size)().clamp(1, self.rest.len().max(1));
        }
        Ok(&self.rest[..self.piece.min(self.rest.len())])
    }

    fn consume(&mut self, n: usize) {
        self.rest = &self.rest[n..];
        self.piece = self.piece.saturating_sub(n);
    }
}

pub fn ours(stream: &[u8]) -> Result<Vec<u8>, Problem> {
    read(Gzip::new(stream))
}

pub fn read(mut decoder: impl Read) -> Result<Vec<u8>, Problem> {
    let mut plain = Vec::new();
    match decoder.read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(e) => {
            let problem = *e.get_ref().unwrap().downcast_ref::<Problem>().unwrap();
            let again = decoder.read(&mut [0; 9]).unwrap_err();
            assert_eq!(again.to_string(), problem.to_string(), "it stays damaged");
            Err(problem)
        }
    }
}

/// Members one after the other by flate2, zeros between and after them.
pub fn flate2(mut stream: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    loop {
        let mut member = GzDecoder::new(stream);
        member.read_to_end(&mut plain)?;
        stream = member.into_inner();
        let zeros = stream.iter().take_while(|b| **b == 0).count();
        stream = &stream[zeros..];
        match stream.first() {
            None => return Ok(plain),
            Some(0x1f) => {}
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

pub fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Header and trailer around blocks.
pub fn wrapped(blocks: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(plain);
    let size = plain.len() as u32;
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [
        &header[..],
        blocks,
        &crc.sum().to_le_bytes(),
        &size.to_le_bytes(),
    ]
    .concat()
}

/// Different kinds of data of about this size, each with its name.
pub fn samples(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random(size as u64);
    let words: Vec<Vec<u8>> = (0..300)
        .map(|_| {
            let length = 1 + random.below(9);
            (0..length).map(|_| b'a' + random.below(26) as u8).collect()
        })
        .collect();
    let mut text = Vec::new();
    while text.len() < size {
        let word = random.below(300) * random.below(300) / 300;
        text.extend_from_slice(&words[word]);
        text.push(b' ');
    }
    let noise: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
    let few: Vec<u8> = (0..size)
        .map(|_| [0, 0, 0, 7, 255][random.below(5)])
        .collect();
    let mut short_periods = Vec::new();
    while short_periods.len() < size {
        let period = 1 + random.below(40);
        let pattern: Vec<u8> = (0..period).map(|_| random.next() as u8).collect();
        for i in 0..random.below(700) {
            short_periods.push(pattern[i % period]);
        }
    }
    // Matches from as far away as they may come.
    let far: Vec<u8> = (0..size)
        .map(|i| noise[i % 32_768.min(noise.len().max(1))])
        .collect();
    // Each byte twice as frequent as the next one, so that codes become long.
    let skewed: Vec<u8> = (0..size)
        .map(|_| random.next().trailing_zeros() as u8)
        .collect();
    vec![
        ("text", text),
        ("noise", noise),
        ("few", few),
        ("zeros", vec![0; size]),
        ("short periods", short_periods),
        ("far", far),
        ("skewed", skewed),
    ]
}
