//! Reading tar entries from a stream: POSIX ustar, PAX (`pax(1)`) and GNU extensions.
//!
//! An own reader, because a layer's tar is foreign bytes on the hottest path: sizes are checked before they are used,
//! extension headers are bounded, sparse files of all four encodings are told apart, and nothing is copied twice.
//!
//! Where writers disagree, Go's `archive/tar` decides, which Docker, containerd and Podman read with: a GNU long name goes
//! before a PAX `path`, entries without content have none whatever size they claim, a lone block of zeros is damage. Global
//! PAX headers, which Docker ignores, are applied as POSIX says.

mod header;
mod pax;
mod sparse;

use std::io::{self, BufRead, Read};

use crate::Error;
use crate::buffers::{Piece, Shared};

use header::{BLOCK, Header, until_nul};
use pax::{Global, Pax, Records};

/// Largest PAX or GNU long-name header in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry's header, extensions applied.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name, as it stands in the archive. Never with a NUL.
    pub path: Vec<u8>,
    /// A link's target. Never with a NUL.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner; not yet known to fit a file system.
    pub uid: u64,
    /// Group; not yet known to fit a file system.
    pub gid: u64,
    /// Size of the file.
    pub size: u64,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored bytes belong: offset and length. `None`: all in one piece.
    pub sparse: Option<Vec<(u64, u64)>>,
}

/// What precedes an entry's header and speaks of it.
#[derive(Debug, Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    any: bool,
}

/// Reads entries one after the other.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    global: Global,
    /// Data and padding of the current entry that were not read yet.
    remaining: u64,
    padding: u64,
    position: u64,
}

impl<R: BufRead> TarReader<R> {
    /// Some of the current entry's data, at most `most` bytes, without copying it; empty at its end.
    ///
    /// # Errors
    /// When the archive ends before, or cannot be read.
    pub fn data(&mut self, most: usize) -> Result<&[u8], Error> {
        let most = most.min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(&[]);
        }
        let have = loop {
            match self.input.fill_buf() {
                Ok(data) => break data.len(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Read(e)),
            }
        };
        if have == 0 {
            return Err(self.malformed("it ends in the middle of an entry"));
        }
        let data = self.input.fill_buf().map_err(Error::Read)?;
        Ok(&data[..have.min(most)])
    }

    /// All of the current entry's data at once, if it stands in one buffer and has at most `most` bytes.
    pub(crate) fn whole(&mut self, most: u64) -> Option<Piece>
    where
        R: Shared,
    {
        let len = usize::try_from(self.remaining.min(most + 1)).ok()?;
        if len as u64 > most {
            return None;
        }
        let piece = self.input.piece(len)?;
        self.consume(len);
        Some(piece)
    }

    /// Goes past `n` bytes that [`TarReader::data`] gave.
    pub fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.remaining -= n as u64;
        self.position += n as u64;
    }
}

impl<R: Read> TarReader<R> {
    /// A reader of uncompressed tar.
    pub fn new(input: R) -> Self {
        Self {
            input,
            global: Global::default(),
            remaining: 0,
            padding: 0,
            position: 0,
        }
    }

    /// What follows the archive, once [`TarReader::next`] gave `None`.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::Tar {
            offset: self.position,
            problem: problem.into(),
        }
    }

    fn malformed_entry(&self, path: &[u8], problem: &str) -> Error {
        self.malformed(format!(
            "the entry {:?} {problem}",
            String::from_utf8_lossy(path)
        ))
    }

    /// Reads some of the current entry's data; 0 at its end.
    ///
    /// # Errors
    /// When the archive ends before, or cannot be read.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let want = buffer
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.read_some(&mut buffer[..want])?;
        if n == 0 {
            return Err(self.malformed("it ends in the middle of an entry"));
        }
        self.remaining -= n as u64;
        Ok(n)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.input.read(buffer) {
                Ok(n) => {
                    self.position += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Read(e)),
            }
        }
    }

    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Error> {
        let mut have = 0;
        while have < BLOCK {
            let n = self.read_some(&mut block[have..])?;
            if n == 0 {
                if have == 0 {
                    return Ok(false);
                }
                return Err(self.malformed("it ends in the middle of a header"));
            }
            have += n;
        }
        Ok(true)
    }

    fn skip(&mut self) -> Result<(), Error> {
        let mut left = self.remaining + self.padding;
        // Nearly always only the padding: a larger one would cost more to clear than it saves.
        let mut buffer = [0_u8; BLOCK];
        while left > 0 {
            let want = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.read_some(&mut buffer[..want])?;
            if n == 0 {
                // Some writers leave out what would pad the last entry.
                if left <= self.padding {
                    break;
                }
                return Err(self.malformed("it ends in the middle of an entry"));
            }
            left -= n as u64;
        }
        self.remaining = 0;
        self.padding = 0;
        Ok(())
    }

    fn begin_data(&mut self, stored: u64) -> Result<(), Error> {
        let rounded = stored
            .checked_next_multiple_of(BLOCK as u64)
            .filter(|r| *r < 1 << 62);
        let rounded = rounded.ok_or_else(|| self.malformed("an entry has an absurd size"))?;
        self.remaining = stored;
        self.padding = rounded - stored;
        Ok(())
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION {
            return Err(self.malformed(format!(
                "an extension header of {size} bytes is larger than {MAX_EXTENSION}"
            )));
        }
        self.begin_data(size)?;
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut have = 0;
        while have < data.len() {
            have += self.read_data(&mut data[have..])?;
        }
        self.skip()?;
        Ok(data)
    }

    /// The next entry; `None` at the end of the archive.
    ///
    /// # Errors
    /// When the archive is malformed or cut off, or cannot be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not be asked for the data in between"
    )]
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip()?;
        let mut extensions = Extensions::default();
        let mut header = Header([0; BLOCK]);
        loop {
            if !self.read_block(&mut header.0)? {
                return self.end(&extensions);
            }
            if header.is_zero() {
                self.end_mark()?;
                return self.end(&extensions);
            }
            header.check_sum().map_err(|p| self.malformed(p))?;
            let named =
                |this: &Self, problem: String| this.malformed_entry(&header.name(), &problem);
            let size = header.size().map_err(|p| named(self, p))?;
            match header.flag() {
                // `X` is Solaris's name for it.
                b'x' | b'X' => {
                    let data = self.read_extension(size)?;
                    extensions.pax = Pax::parse(&data).map_err(|p| self.malformed(p))?;
                }
                b'g' => {
                    let data = self.read_extension(size)?;
                    Pax::parse(&data)
                        .and_then(|pax| self.global.merge(pax))
                        .map_err(|p| self.malformed(p))?;
                    continue;
                }
                b'L' => {
                    let data = self.read_extension(size)?;
                    extensions.long_name = Some(until_nul(&data).to_vec());
                }
                b'K' => {
                    let data = self.read_extension(size)?;
                    extensions.long_link = Some(until_nul(&data).to_vec());
                }
                // A volume's label says nothing about files.
                b'V' => {
                    self.begin_data(size)?;
                    self.skip()?;
                    continue;
                }
                b'M' => {
                    return Err(named(
                        self,
                        "continues one of another volume: only whole archives are layers".into(),
                    ));
                }
                _ => return self.entry(&header, size, extensions).map(Some),
            }
            extensions.any = true;
        }
    }

    fn end(&self, extensions: &Extensions) -> Result<Option<Entry>, Error> {
        if extensions.any {
            return Err(self.malformed("it ends after an extension header, before the entry"));
        }
        Ok(None)
    }

    /// Two blocks of zeros end an archive; a cut archive may have one.
    fn end_mark(&mut self) -> Result<(), Error> {
        let mut second = Header([0; BLOCK]);
        if self.read_block(&mut second.0)? && !second.is_zero() {
            return Err(self.malformed("a single block of zeros is followed by something else"));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        extensions: Extensions,
    ) -> Result<Entry, Error> {
        let global = std::mem::take(&mut self.global);
        let Extensions {
            pax,
            long_name,
            long_link,
            ..
        } = extensions;
        let records = Records {
            global: &global,
            own: &pax,
        };
        let path = long_name
            .or_else(|| {
                let own = pax.get("GNU.sparse.name").filter(|name| !name.is_empty());
                own.or_else(|| records.get("path")).map(<[u8]>::to_vec)
            })
            .unwrap_or_else(|| header.name());
        let link = long_link
            .or_else(|| records.get("linkpath").map(<[u8]>::to_vec))
            .unwrap_or_else(|| header.link());
        let (mut entry, stored) = parse(header, size, &records, &path, link)
            .map_err(|problem| self.malformed_entry(&path, &problem))?;
        entry.path = path;
        self.begin_data(stored)?;
        if entry.kind == Kind::File {
            self.sparse(header, &pax, &mut entry)?;
        }
        self.global = global;
        Ok(entry)
    }
}

/// A header with its extensions but without its name, and how many bytes of data follow it.
fn parse(
    header: &Header,
    size: u64,
    records: &Records<'_>,
    path: &[u8],
    link: Vec<u8>,
) -> Result<(Entry, u64), String> {
    if path.contains(&0) {
        return Err("has a NUL byte in its name".into());
    }
    if link.contains(&0) {
        return Err("has a NUL byte in its link's target".into());
    }
    let kind = match header.flag() {
        b'0' if path.ends_with(b"/") => Kind::Directory,
        b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        // `D` is a folder with the list of its files as data, of GNU tar's incremental archives.
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(format!("has the unknown type {:?}", char::from(other))),
    };
    let size = records.number("size")?.unwrap_or(size);
    // Only files have data, whatever their header says; old writers give hard links a size.
    let has_data = kind == Kind::File || header.flag() == b'D';
    let entry = Entry {
        kind,
        path: Vec::new(),
        link,
        mode: header.mode()?,
        uid: match records.number("uid")? {
            Some(uid) => uid,
            None => header.uid()?,
        },
        gid: match records.number("gid")? {
            Some(gid) => gid,
            None => header.gid()?,
        },
        size: if kind == Kind::File { size } else { 0 },
        mtime: match records.mtime()? {
            Some(mtime) => mtime,
            None => (header.mtime()?, 0),
        },
        device: match kind {
            Kind::CharDevice | Kind::BlockDevice => header.device()?,
            _ => (0, 0),
        },
        xattrs: records.xattrs()?,
        sparse: None,
    };
    Ok((entry, if has_data { size } else { 0 }))
}
