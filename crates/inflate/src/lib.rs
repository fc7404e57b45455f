//! gzip, decoded: RFC 1952 around RFC 1951.
//!
//! Inflating is what unpacking a layer waits for, so this is made for speed, in safe Rust. Ideas are those of libdeflate,
//! ISA-L and Fabian Giesen's notes on reading bits; all code is our own. It accepts what zlib accepts, and its tests compare it with
//! zlib-rs.
//!
//! - `header`: header and trailer of a member, byte by byte.
//! - `stream`: members, padding, checksums; what was decoded and not handed out yet.
//! - `block`: headers of blocks, stored blocks, and one code at a time where the input or the room come to an end. It can
//!   stop anywhere: nothing is taken from the bits until all that belongs together is there, at most 48 bits.
//! - `fast`: the loop for everything else. It knows that there are 16 more bytes of input and room for a match.
//! - `huffman`: tables whose entries hold all there is to know about a code.
//! - `window`: a buffer whose first part is what matches may reach, so that a match is a copy within it and what was decoded is
//!   handed out from where it is.
//!
//! # Speed
//! - Bits are refilled eight bytes at a time without a branch, twice for a match: while an entry that does not depend on
//!   it is being loaded.
//! - The entry of the next code is looked up before a match is copied.
//! - An index into a table is masked, the window's size is a constant, and a distance is checked by the one comparison that also
//!   bounds the copy: a place before the beginning wraps around to far above the limit. The compiler drops its own checks.
//! - Copies are of 16 bytes each and write beyond the end of the match; the window has room for that.
//!
//! Tried and left: entries that stand for two literals, as ISA-L has them (5 % slower, most of it for making them); tables for 10
//! or 12 bits at once, four literals between refills, a refill only when one is due (no faster); no jump for the first
//! literal (12 % slower); BMI2 (1 to 2 % faster, which is not worth unsafe code).

mod bits;
mod block;
mod fast;
mod header;
mod huffman;
mod problem;
mod stream;
mod window;

use std::io::{self, BufRead, Read};

pub use problem::Problem;
use stream::Stream;

/// All members of a gzip stream, one after the other. Zeros between and after them are padding, as for gzip(1); anything else
/// is damage.
///
/// # Errors
/// Those of the reader, after which it may be asked again, and a [`Problem`] with the stream, which stays. What was decoded since bytes
/// were handed out last is lost then.
#[derive(Debug)]
pub struct Gzip<R> {
    reader: R,
    stream: Stream,
}

impl<R: BufRead> Gzip<R> {
    /// Decodes what `reader` brings.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            stream: Stream::new(),
        }
    }
}

impl<R: BufRead> BufRead for Gzip<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.stream.fresh().is_empty() {
            let mut input = match self.reader.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                input => input?,
            };
            let all = input.len();
            let result = self.stream.advance(&mut input);
            let used = all - input.len();
            self.reader.consume(used);
            result?;
            if all == 0 {
                break;
            }
        }
        Ok(self.stream.fresh())
    }

    fn consume(&mut self, n: usize) {
        self.stream.consume(n);
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let fresh = self.fill_buf()?;
        let n = fresh.len().min(buffer.len());
        buffer[..n].copy_from_slice(&fresh[..n]);
        self.consume(n);
        Ok(n)
    }
}
