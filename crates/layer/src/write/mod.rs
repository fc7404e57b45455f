//! Files to a tar archive and to a layer's blob: the same bytes for the same files, on every machine and each time.

mod blob;
mod pax;
mod sparse;
mod tree;

use std::io::{self, Read, Write};

use crate::aside::DeviceKind;
use crate::merged::NodeKind;

pub use blob::{BlobWriter, Compression, Written};
pub use tree::{ArchiveOptions, archive, archive_node, changes_to_tar};

const BLOCK: usize = 512;
/// Largest numbers that fit into a header's octal fields.
const MAX_ID: u64 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

/// An entry of an archive.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// Its name. A folder's gets a slash at its end.
    pub path: &'a [u8],
    /// What it is; `None`: another name of the file `link`.
    pub kind: Option<NodeKind>,
    /// Where a symlink points to, or the first name of the file.
    pub link: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Bytes of content that follow.
    pub size: u64,
    /// Extended attributes, sorted.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Header<'a> {
    /// A regular file of root's, with nothing special about it.
    pub fn file(path: &'a [u8], size: u64, mtime: i64) -> Self {
        Self {
            path,
            kind: Some(NodeKind::File),
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (mtime, 0),
            size,
            xattrs: &[],
        }
    }

    /// A folder of root's.
    pub fn folder(path: &'a [u8], mtime: i64) -> Self {
        Self {
            kind: Some(NodeKind::Directory),
            mode: 0o755,
            ..Self::file(path, 0, mtime)
        }
    }
}

/// Writes tar archives: ustar, with PAX records for what that cannot say (pax(1)). Never buffers content.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    to: W,
    /// Content of the current entry that is still to come.
    missing: u64,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    /// Starts an archive.
    pub fn new(to: W) -> Self {
        Self {
            to,
            missing: 0,
            padding: 0,
        }
    }

    /// Starts an entry; `size` bytes of content have to follow.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn entry(&mut self, header: &Header<'_>) -> io::Result<()> {
        self.entry_with(header, &[], None)
    }

    /// An entry with further PAX records, and with another name than the one in them.
    fn entry_with(
        &mut self,
        header: &Header<'_>,
        records: &[(&str, Vec<u8>)],
        stand_in: Option<&[u8]>,
    ) -> io::Result<()> {
        self.end_entry()?;
        let mut path = header.path.to_vec();
        if header.kind == Some(NodeKind::Directory) && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let pax = pax::records(header, &path, records, stand_in.is_some());
        if !pax.is_empty() {
            let name = pax::shortened(b"PaxHeaders.0/", &path);
            let block = block(&name, b"", b'x', 0o644, (0, 0), pax.len() as u64, 0, (0, 0));
            self.to.write_all(&block)?;
            self.to.write_all(&pax)?;
            self.pad(pax.len() as u64)?;
        }
        let (kind, device) = type_flag(header.kind);
        let name = stand_in.unwrap_or(&path);
        let owner = (header.uid, header.gid);
        let block = block(
            name,
            header.link,
            kind,
            header.mode,
            owner,
            header.size,
            header.mtime.0,
            device,
        );
        self.to.write_all(&block)?;
        self.missing = header.size;
        self.padding = padding(header.size);
        Ok(())
    }

    /// Some of the current entry's content. More than it was to have is left out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n = bytes
            .len()
            .min(usize::try_from(self.missing).unwrap_or(usize::MAX));
        self.to.write_all(&bytes[..n])?;
        self.missing -= n as u64;
        Ok(())
    }

    /// The content of the current entry. A source that ends early is filled up with zeros, one that does not end is cut: the
    /// file of a container that runs may have changed since its size was read.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy(&mut self, from: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
        while self.missing > 0 {
            let want = buffer
                .len()
                .min(usize::try_from(self.missing).unwrap_or(usize::MAX));
            match from.read(&mut buffer[..want]) {
                Ok(0) => break,
                Ok(n) => self.data(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// An entry with all its content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn small_file(&mut self, path: &[u8], content: &[u8], mtime: i64) -> io::Result<()> {
        self.entry(&Header::file(path, content.len() as u64, mtime))?;
        self.data(content)
    }

    fn end_entry(&mut self) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while self.missing > 0 {
            let n = ZEROS
                .len()
                .min(usize::try_from(self.missing).unwrap_or(usize::MAX));
            self.data(&ZEROS[..n])?;
        }
        let padding = std::mem::take(&mut self.padding);
        self.to.write_all(&ZEROS[..padding])
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.to.write_all(&[0; BLOCK][..padding(size)])
    }

    /// Ends the archive and hands back what it was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_entry()?;
        self.to.write_all(&[0; 2 * BLOCK])?;
        Ok(self.to)
    }
}

fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

fn type_flag(kind: Option<NodeKind>) -> (u8, (u32, u32)) {
    match kind {
        None => (b'1', (0, 0)),
        Some(NodeKind::File | NodeKind::Socket) => (b'0', (0, 0)),
        Some(NodeKind::Symlink) => (b'2', (0, 0)),
        Some(NodeKind::Device(DeviceKind::Char, major, minor)) => (b'3', (major, minor)),
        Some(NodeKind::Device(DeviceKind::Block, major, minor)) => (b'4', (major, minor)),
        Some(NodeKind::Directory) => (b'5', (0, 0)),
        Some(NodeKind::Fifo) => (b'6', (0, 0)),
    }
}

/// A ustar header. What does not fit is cut: a PAX record says it.
#[expect(
    clippy::too_many_arguments,
    reason = "the fields of a tar header, in its order"
)]
fn block(
    name: &[u8],
    link: &[u8],
    kind: u8,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    mtime: i64,
    device: (u32, u32),
) -> [u8; BLOCK] {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, width: usize, bytes: &[u8]| {
        let n = bytes.len().min(width);
        block[at..at + n].copy_from_slice(&bytes[..n]);
    };
    let octal = |value: u64, digits: usize| format!("{value:0digits$o}\0").into_bytes();
    let limited = |value: u64, most: u64| if value > most { 0 } else { value };
    put(0, 100, name);
    put(100, 8, &octal(u64::from(mode & 0o7777), 7));
    put(108, 8, &octal(limited(owner.0.into(), MAX_ID), 7));
    put(116, 8, &octal(limited(owner.1.into(), MAX_ID), 7));
    put(124, 12, &octal(limited(size, MAX_SIZE), 11));
    put(
        136,
        12,
        &octal(limited(u64::try_from(mtime).unwrap_or(0), MAX_SIZE), 11),
    );
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, link);
    put(257, 8, b"ustar\x0000");
    if matches!(kind, b'3' | b'4') {
        put(329, 8, &octal(limited(device.0.into(), MAX_ID), 7));
        put(337, 8, &octal(limited(device.1.into(), MAX_ID), 7));
    }
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
