//! gzip streams, decoded by us and by flate2.

use std::io::{BufReader, Read};

use flate2::bufread::{DeflateDecoder, GzDecoder};
use minidock_inflate::{Gzip, Problem};

/// More is not decoded: a few bytes may stand for many.
const MOST: u64 = 1 << 20;

/// Bytes as a stream, and as the blocks of one whose checksum is right: what was changed in blocks would seldom go beyond
/// their checksum otherwise.
pub fn decode(bytes: &[u8]) {
    stream(bytes);
    if let Some(blocks) = bytes.get(10..) {
        whole(blocks);
    }
}

fn ours(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut plain = Vec::new();
    match Gzip::new(bytes).take(MOST).read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(e) => Err(*e.get_ref().unwrap().downcast_ref().unwrap()),
    }
}

fn stream(bytes: &[u8]) {
    let decoded = ours(bytes);
    let mut slowly = Vec::new();
    let result = Gzip::new(BufReader::with_capacity(3, bytes))
        .take(MOST)
        .read_to_end(&mut slowly);
    match &decoded {
        Ok(plain) => assert!(*plain == slowly),
        Err(_) => assert!(result.is_err()),
    }
    // flate2 alone takes no padding, which is compared elsewhere: the first member then.
    let mut theirs = Vec::new();
    let result = GzDecoder::new(bytes).take(MOST).read_to_end(&mut theirs);
    match decoded {
        Ok(plain) => assert!(result.is_ok() && plain.starts_with(&theirs)),
        Err(Problem::Trailing) => assert!(result.is_ok()),
        Err(_) => {}
    }
}

fn whole(blocks: &[u8]) {
    let mut decoder = DeflateDecoder::new(blocks);
    let mut theirs = Vec::new();
    let result = decoder.by_ref().take(MOST).read_to_end(&mut theirs);
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    match result {
        Ok(_) if theirs.len() as u64 == MOST => {}
        Ok(_) => {
            let mut crc = flate2::Crc::new();
            crc.update(&theirs);
            let end = usize::try_from(decoder.total_in()).unwrap();
            let size = u32::try_from(theirs.len()).unwrap().to_le_bytes();
            let sum = crc.sum().to_le_bytes();
            let stream = [&header[..], &blocks[..end], &sum, &size].concat();
            assert!(ours(&stream) == Ok(theirs));
        }
        Err(_) => {
            let problem = ours(&[&header[..], blocks].concat());
            let too_late = [Problem::Crc, Problem::Size, Problem::Trailing].map(Err);
            assert!(
                problem.is_err() && !too_late.contains(&problem),
                "{problem:?}"
            );
        }
    }
}
