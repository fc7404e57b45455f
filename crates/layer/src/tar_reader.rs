//! Reading tar entries from a stream: POSIX ustar, PAX (`pax(1)`) and GNU extensions.
//!
//! An own reader, because a layer's tar is foreign bytes on the hottest path: sizes are checked before they are used,
//! extension headers are bounded, sparse files of all four encodings are told apart, and nothing is copied twice.

use std::io::{self, Read};

use crate::Error;

const BLOCK: usize = 512;
/// Largest PAX or GNU long-name header in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most extents of a sparse file.
const MAX_EXTENTS: usize = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry's header, extensions applied.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: Kind,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Size of the file.
    pub size: u64,
    pub mtime: (i64, u32),
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored bytes belong: offset and length. `None`: all in one piece.
    pub sparse: Option<Vec<(u64, u64)>>,
}

#[derive(Clone, Debug, Default)]
struct Pax {
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    fn get(&self, key: &str) -> Option<&[u8]> {
        self.records
            .iter()
            .rev()
            .find(|(k, _)| k == key.as_bytes())
            .map(|(_, v)| v.as_slice())
    }
}

/// Reads entries one after the other.
pub struct TarReader<R> {
    input: R,
    global: Pax,
    /// Data and padding of the current entry that were not read yet.
    remaining: u64,
    padding: u64,
    position: u64,
}

impl<R: Read> TarReader<R> {
    pub fn new(input: R) -> Self {
        Self {
            input,
            global: Pax::default(),
            remaining: 0,
            padding: 0,
            position: 0,
        }
    }

    pub fn into_inner(self) -> R {
        self.input
    }

    fn malformed(&self, problem: impl Into<String>) -> Error {
        Error::Tar {
            offset: self.position,
            problem: problem.into(),
        }
    }

    /// Reads some of the current entry's data; 0 at its end.
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
        let mut buffer = [0_u8; 4096];
        while left > 0 {
            let want = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.read_some(&mut buffer[..want])?;
            if n == 0 {
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
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip()?;
        let mut pax = Pax::default();
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        loop {
            let mut block = [0_u8; BLOCK];
            if !self.read_block(&mut block)? || block.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            self.check_sum(&block)?;
            let size = self.number(&block[124..136], "size")?;
            match block[156] {
                b'x' => pax = self.parse_pax(size)?,
                b'g' => {
                    let global = self.parse_pax(size)?;
                    self.global.records.extend(global.records);
                    if self.global.records.len() > 10_000 {
                        return Err(self.malformed("too many global extension records"));
                    }
                }
                b'L' => long_name = Some(until_nul(&self.read_extension(size)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.read_extension(size)?).to_vec()),
                // GNU volume labels and multi-volume notes say nothing about files.
                b'V' | b'M' | b'N' => {
                    self.begin_data(size)?;
                    self.skip()?;
                }
                _ => {
                    return self
                        .entry(&block, size, &pax, long_name, long_link)
                        .map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        size: u64,
        pax: &Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, Error> {
        let global = std::mem::take(&mut self.global);
        let get = |key: &str| pax.get(key).or_else(|| global.get(key));
        let decimal = |key: &str| {
            get(key)
                .and_then(|v| std::str::from_utf8(v).ok())
                .map(str::parse::<u64>)
        };
        let stored = match decimal("size") {
            Some(Ok(size)) => size,
            Some(Err(_)) => return Err(self.malformed("a PAX size is no number")),
            None => size,
        };
        let id = |key: &str, field: &[u8], what| match decimal(key) {
            Some(Ok(id)) => Ok(id),
            Some(Err(_)) => Err(self.malformed(format!("a PAX {key} is no number"))),
            None => self.number(field, what),
        };
        let uid = id("uid", &block[108..116], "uid")?;
        let gid = id("gid", &block[116..124], "gid")?;
        let mtime = match get("mtime") {
            Some(text) => {
                parse_time(text).ok_or_else(|| self.malformed("a PAX mtime is no number"))?
            }
            None => (self.signed(&block[136..148], "mtime")?, 0),
        };
        let path = get("GNU.sparse.name")
            .or_else(|| get("path"))
            .map(<[u8]>::to_vec)
            .or(long_name)
            .unwrap_or_else(|| header_name(block));
        let link = get("linkpath")
            .map(<[u8]>::to_vec)
            .or(long_link)
            .unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
        let kind = match block[156] {
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(self.malformed(format!(
                    "an entry has the unknown type {:?}",
                    char::from(other)
                )));
            }
        };
        let device = |field| {
            self.number(field, "device number")
                .map(|n| u32::try_from(n).unwrap_or(0))
        };
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                (device(&block[329..337])?, device(&block[337..345])?)
            }
            _ => (0, 0),
        };
        let mut entry = Entry {
            kind,
            path,
            link,
            mode: u32::try_from(self.number(&block[100..108], "mode")? & 0o7777).unwrap_or(0),
            uid,
            gid,
            size: stored,
            mtime,
            device,
            xattrs: xattrs(&global, pax),
            sparse: None,
        };
        // Only files have data, whatever their header says; old writers give hard links a size.
        self.begin_data(if kind == Kind::File { stored } else { 0 })?;
        if kind == Kind::File {
            self.sparse(block, pax, &mut entry)?;
        }
        self.global = global;
        Ok(entry)
    }

    fn sparse(&mut self, block: &[u8; BLOCK], pax: &Pax, entry: &mut Entry) -> Result<(), Error> {
        let number = |v: &[u8]| {
            std::str::from_utf8(v)
                .ok()
                .and_then(|t| t.parse::<u64>().ok())
        };
        let extents = if block[156] == b'S' {
            entry.size = self.number(&block[483..495], "real size")?;
            Some(self.old_gnu_extents(block)?)
        } else if pax.get("GNU.sparse.major").and_then(number) == Some(1) {
            Some(self.pax_1_extents()?)
        } else if let Some(map) = pax.get("GNU.sparse.map") {
            let numbers: Option<Vec<u64>> = map.split(|b| *b == b',').map(number).collect();
            Some(self.pairs(numbers)?)
        } else if pax.get("GNU.sparse.numblocks").is_some() {
            let wanted = |k: &[u8]| k == b"GNU.sparse.offset" || k == b"GNU.sparse.numbytes";
            let numbers = pax
                .records
                .iter()
                .filter(|(k, _)| wanted(k))
                .map(|(_, v)| number(v))
                .collect();
            Some(self.pairs(numbers)?)
        } else {
            None
        };
        let Some(extents) = extents else {
            return Ok(());
        };
        if let Some(size) = pax
            .get("GNU.sparse.realsize")
            .or_else(|| pax.get("GNU.sparse.size"))
        {
            entry.size =
                number(size).ok_or_else(|| self.malformed("a sparse file's size is no number"))?;
        }
        let mut end = 0;
        let mut sum: u64 = 0;
        for &(offset, length) in &extents {
            let next = offset
                .checked_add(length)
                .filter(|n| *n <= entry.size && offset >= end);
            end = next.ok_or_else(|| {
                self.malformed("a sparse file's map is out of order or out of bounds")
            })?;
            sum += length;
        }
        if sum != self.remaining {
            return Err(self.malformed("a sparse file's map does not fit its data"));
        }
        entry.sparse = Some(extents);
        Ok(())
    }

    fn pairs(&self, numbers: Option<Vec<u64>>) -> Result<Vec<(u64, u64)>, Error> {
        let numbers = numbers.filter(|n| n.len() % 2 == 0);
        let numbers = numbers.ok_or_else(|| self.malformed("a sparse file's map is malformed"))?;
        Ok(numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect())
    }

    fn old_gnu_extents(&mut self, block: &[u8; BLOCK]) -> Result<Vec<(u64, u64)>, Error> {
        let mut extents = Vec::new();
        let mut add = |this: &Self, raw: &[u8]| -> Result<(), Error> {
            for pair in raw.chunks_exact(24) {
                if pair[0] != 0 {
                    extents.push((
                        this.number(&pair[..12], "offset")?,
                        this.number(&pair[12..], "length")?,
                    ));
                }
            }
            if extents.len() > MAX_EXTENTS {
                return Err(this.malformed("a sparse file has too many extents"));
            }
            Ok(())
        };
        add(self, &block[386..482])?;
        let mut more = block[482] != 0;
        while more {
            let mut extension = [0_u8; BLOCK];
            if !self.read_block(&mut extension)? {
                return Err(self.malformed("it ends in the middle of a sparse file's map"));
            }
            add(self, &extension[..504])?;
            more = extension[504] != 0;
        }
        Ok(extents)
    }

    /// PAX format 1.0 keeps the map as decimal lines at the start of the data.
    fn pax_1_extents(&mut self) -> Result<Vec<(u64, u64)>, Error> {
        let mut block = [0_u8; BLOCK];
        let mut at = BLOCK;
        let mut line = |this: &mut Self| -> Result<u64, Error> {
            let mut value: u64 = 0;
            loop {
                if at == BLOCK {
                    let mut have = 0;
                    while have < BLOCK {
                        let n = this.read_data(&mut block[have..])?;
                        if n == 0 {
                            return Err(this.malformed("a sparse file's map is cut off"));
                        }
                        have += n;
                    }
                    at = 0;
                }
                let byte = block[at];
                at += 1;
                match byte {
                    b'\n' => return Ok(value),
                    b'0'..=b'9' => {
                        value = value
                            .checked_mul(10)
                            .and_then(|v| v.checked_add(u64::from(byte - b'0')))
                            .ok_or_else(|| this.malformed("a sparse file's map is malformed"))?;
                    }
                    _ => return Err(this.malformed("a sparse file's map is malformed")),
                }
            }
        };
        let count = line(self)?;
        if count > MAX_EXTENTS as u64 {
            return Err(self.malformed("a sparse file has too many extents"));
        }
        (0..count).map(|_| Ok((line(self)?, line(self)?))).collect()
    }

    fn parse_pax(&mut self, size: u64) -> Result<Pax, Error> {
        let data = self.read_extension(size)?;
        let mut rest = data.as_slice();
        let mut records = Vec::new();
        while !rest.is_empty() && rest[0] != 0 {
            let record = (|| {
                let space = rest.iter().take(20).position(|b| *b == b' ')?;
                let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
                let record = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
                let equals = record.iter().position(|b| *b == b'=')?;
                Some((
                    length,
                    record[..equals].to_vec(),
                    record[equals + 1..].to_vec(),
                ))
            })();
            let (length, key, value) =
                record.ok_or_else(|| self.malformed("a PAX header is malformed"))?;
            records.push((key, value));
            rest = &rest[length..];
        }
        Ok(Pax { records })
    }

    fn check_sum(&self, block: &[u8; BLOCK]) -> Result<(), Error> {
        let stored = self.number(&block[148..156], "checksum")?;
        let outside = |i: usize| !(148..156).contains(&i);
        let unsigned: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| if outside(i) { u64::from(*b) } else { 32 })
            .sum();
        let signed: i64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| {
                if outside(i) {
                    i64::from(b.cast_signed())
                } else {
                    32
                }
            })
            .sum();
        // Some old writers summed signed bytes.
        if stored == unsigned || i64::try_from(stored) == Ok(signed) {
            return Ok(());
        }
        Err(self
            .malformed("a header's checksum is wrong: this is no tar archive, or it is damaged"))
    }

    fn number(&self, field: &[u8], what: &str) -> Result<u64, Error> {
        u64::try_from(self.signed(field, what)?)
            .map_err(|_| self.malformed(format!("an entry has a negative {what}")))
    }

    fn signed(&self, field: &[u8], what: &str) -> Result<i64, Error> {
        let bad = || self.malformed(format!("an entry's {what} is no number"));
        if field[0] & 0x80 != 0 {
            // GNU base-256, big endian, two's complement.
            let negative = field[0] & 0x40 != 0;
            let mut value: i128 = if negative { -1 } else { 0 };
            for (i, byte) in field.iter().enumerate() {
                let byte = match (i, negative) {
                    (0, true) => *byte | 0x80,
                    (0, false) => byte & 0x7f,
                    _ => *byte,
                };
                value = (value << 8) | i128::from(byte);
            }
            return i64::try_from(value).map_err(|_| bad());
        }
        let text = until_nul(field);
        let text = std::str::from_utf8(text).map_err(|_| bad())?.trim();
        if text.is_empty() {
            return Ok(0);
        }
        i64::from_str_radix(text, 8).map_err(|_| bad())
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes
        .iter()
        .position(|b| *b == 0)
        .map_or(bytes, |end| &bytes[..end])
}

fn header_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    // Only POSIX ustar has a prefix; GNU keeps times there.
    if &block[257..263] != b"ustar\0" || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    let nanos: u32 = nine.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

fn xattrs(global: &Pax, pax: &Pax) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (key, value) in global.records.iter().chain(&pax.records) {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            found.retain(|(n, _)| n != name);
            found.push((name.to_vec(), value.clone()));
        }
    }
    found
}
