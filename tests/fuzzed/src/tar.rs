//! The reader of tar entries.

use minidock_layer::TarReader;

const BLOCK: usize = 512;

/// Reads an archive to its end, once as it is and once with its checksums set right: few mutations get past them.
pub fn read(bytes: &[u8]) {
    read_all(bytes);
    read_all(&with_checksums(bytes));
}

fn read_all(bytes: &[u8]) {
    let mut tar = TarReader::new(bytes);
    let mut buffer = [0; 4096];
    let (mut entries, mut data) = (0, 0);
    while let Ok(Some(entry)) = tar.next() {
        entries += 1;
        assert!(entries <= bytes.len() / BLOCK, "entries out of nothing");
        assert!(!entry.path.contains(&0) && !entry.link.contains(&0));
        while let Ok(n @ 1..) = tar.read_data(&mut buffer) {
            data += n;
        }
        assert!(data <= bytes.len(), "data out of nothing");
        let extents = entry.sparse.unwrap_or_default();
        assert!(extents.iter().all(|(at, length)| at + length <= entry.size));
    }
}

/// Sets the checksum of everything that looks like a header.
pub fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut fixed = bytes.to_vec();
    for header in fixed.chunks_exact_mut(BLOCK) {
        if header[257..262] == *b"ustar" {
            set_checksum(header);
        }
    }
    fixed
}

pub fn set_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// One entry, as wrong as wanted.
pub fn entry(kind: u8, name: &[u8], link: &[u8], mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, &name[..name.len().min(100)]);
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\x000000000\0");
    put(124, format!("{:011o}\0", data.len()).as_bytes());
    put(136, b"14000000000\0");
    put(156, &[kind]);
    put(157, &link[..link.len().min(100)]);
    put(257, b"ustar\x0000");
    set_checksum(&mut header);
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}
