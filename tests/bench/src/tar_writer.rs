//! Tar entries, as many as one likes, without a crate's cost per entry.

use std::io::{self, Write};

const BLOCK: usize = 512;

/// Writes ustar entries.
pub struct TarWriter<W> {
    pub out: W,
}

impl<W: Write> TarWriter<W> {
    /// A folder; its name ends with `/`.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.header(path, b'5', mode, 0, "")
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.header(path, b'2', 0o777, 0, target)
    }

    /// A file with its content.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.header(path, b'0', mode, content.len() as u64, "")?;
        self.out.write_all(content)?;
        self.pad(content.len() as u64)
    }

    /// A file whose content comes from elsewhere.
    pub fn stream(&mut self, path: &str, size: u64, content: &mut dyn io::Read) -> io::Result<()> {
        self.header(path, b'0', 0o644, size, "")?;
        io::copy(content, &mut self.out)?;
        self.pad(size)
    }

    /// The end of the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..(BLOCK - over) % BLOCK])
    }

    fn header(&mut self, path: &str, kind: u8, mode: u32, size: u64, link: &str) -> io::Result<()> {
        let mut block = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        if path.len() <= 100 {
            put(0, path);
        } else {
            // The split has to be at a slash, with at most 100 bytes after it.
            let at = path[..path.len() - 1]
                .char_indices()
                .filter(|(i, c)| *c == '/' && path.len() - i - 1 <= 100)
                .map(|(i, _)| i)
                .next()
                .ok_or_else(|| io::Error::other(format!("{path} is too long")))?;
            put(345, &path[..at]);
            put(0, &path[at + 1..]);
        }
        put(100, &format!("{mode:07o}"));
        put(108, "0000000\x000000000\0");
        put(124, &format!("{size:011o}"));
        put(136, "14000000000");
        put(148, "        ");
        put(157, link);
        put(257, "ustar\x0000");
        block[156] = kind;
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.out.write_all(&block)
    }
}
