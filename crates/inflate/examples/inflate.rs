//! Decodes a file again and again, from memory, and tells the least and the median time that it took:
//! `inflate [ours|flate2] FILE [RUNS]`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool to measure with"
)]

use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

/// As `layer` does it.
const BUFFER: usize = 256 << 10;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let stream = std::fs::read(&args[2]).unwrap();
    let runs = args.get(3).map_or(1, |runs| runs.parse().unwrap());
    let mut times: Vec<_> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            let reader = BufReader::with_capacity(BUFFER, &stream[..]);
            let size = match args[1].as_str() {
                "flate2" => read(flate2::bufread::MultiGzDecoder::new(reader)),
                "read" => read(minidock_inflate::Gzip::new(reader)),
                _ => buf_read(minidock_inflate::Gzip::new(reader)),
            };
            (start.elapsed(), size)
        })
        .collect();
    times.sort();
    let (least, median) = (times[0], times[times.len() / 2]);
    println!("{} bytes, {:?}, {:?}", least.1, least.0, median.0);
}

fn read(mut decoder: impl Read) -> usize {
    let mut buffer = vec![0; BUFFER];
    let mut sum = 0;
    loop {
        match decoder.read(&mut buffer).unwrap() {
            0 => return sum,
            n => sum += n,
        }
    }
}

fn buf_read(mut decoder: impl BufRead) -> usize {
    let mut sum = 0;
    loop {
        let n = decoder.fill_buf().unwrap().len();
        if n == 0 {
            return sum;
        }
        sum += n;
        decoder.consume(n);
    }
}
