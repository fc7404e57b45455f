//! Whether two files hold the same, without reading their holes: a file of a terabyte may have none but these.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

const BUFFER: usize = 128 << 10;

/// Whether the first `size` bytes of two files are equal.
pub fn same(a: &File, b: &File, size: u64) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut at = 0;
    loop {
        // Where both have a hole, both have zeros.
        at = data(a, at)?.min(data(b, at)?);
        if at >= size {
            return Ok(true);
        }
        let n = read_full(a, &mut left, at)?;
        let m = read_full(b, &mut right, at)?;
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
        at += n as u64;
    }
}

/// Where the next data is at the earliest; beyond every file when there is none.
fn data(file: &File, at: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(data.max(at)),
        Err(Errno::NXIO) => Ok(u64::MAX),
        // The file system cannot tell.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
        Err(e) => Err(e.into()),
    }
}

fn read_full(from: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, writes: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in writes {
            file.write_all_at(bytes, *at).unwrap();
        }
        file
    }

    #[test]
    fn holes_are_zeros_and_are_not_read() {
        // Reading this would take minutes.
        let huge = 1 << 40;
        let end = (huge - 1, &b"x"[..]);
        let same = |a: &[(u64, &[u8])], b: &[(u64, &[u8])]| {
            same(&file(huge, a), &file(huge, b), huge).unwrap()
        };
        assert!(same(&[end], &[end]));
        assert!(same(&[end, (4096, &[0; 4096])], &[end]));
        assert!(!same(&[end], &[]));
        assert!(!same(&[], &[(1 << 39, b"y")]));
        assert!(!same(&[(7, b"a"), end], &[(7, b"b"), end]));
    }
}
