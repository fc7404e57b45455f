//! Decodes a file and tells how many bytes came out: `inflate ours|flate2 FILE [copy]`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool to measure with"
)]
use std::io::{BufRead, BufReader, Read};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let file = BufReader::with_capacity(256 << 10, std::fs::File::open(&args[2]).unwrap());
    let mut sum = 0;
    let mut buffer = vec![0; 256 << 10];
    match args[1].as_str() {
        "ours" => {
            let mut decoder = minidock_inflate::Gzip::new(file);
            loop {
                let n = decoder.fill_buf().unwrap().len();
                if n == 0 {
                    break;
                }
                sum += n;
                decoder.consume(n);
            }
        }
        "read" => {
            let mut decoder = minidock_inflate::Gzip::new(file);
            loop {
                let n = decoder.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                sum += n;
            }
        }
        _ => {
            let mut decoder = flate2::bufread::MultiGzDecoder::new(file);
            loop {
                let n = decoder.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                sum += n;
            }
        }
    }
    println!("{sum}");
}
