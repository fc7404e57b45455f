//! The members of an archive: where their bytes are, and what is known of them.
//!
//! In an uncompressed file they stay where they are, and the layers are read from there once, when they are unpacked. A
//! compressed archive or a pipe is read to its end, and its members are set down in the session's folder and hashed on the
//! way.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use minidock_oci::{Algorithm, Digest, Hasher, MAX_MANIFEST_SIZE};
use minidock_store::Writer;
use serde::de::DeserializeOwned;

use super::Error;
use super::guard::{Counted, HEADERS, Proportionate, Rationed};

/// More members than any image archive has; each costs memory before anything is known of it.
const MAX_MEMBERS: usize = 100_000;
/// Links to links that are followed.
const MAX_LINKS: usize = 8;
const BUFFER: usize = 128 << 10;
/// A full disk is looked for after as many bytes.
const SPACE_INTERVAL: usize = 8 << 20;
/// Members up to this many bytes are hashed when they are found: documents, and the smallest of layers.
const HASHED_AT_ONCE: u64 = 256 << 10;

/// Where a member's bytes are.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a file of the session's.
    SetDown(PathBuf),
    /// In the archive, from this offset on.
    Within(Arc<File>, u64),
}

/// A regular file of the archive.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its normalised name.
    pub name: String,
    /// Where its bytes are.
    pub place: Place,
    /// How many.
    pub size: u64,
    /// Their digest, where it was found out.
    hashed: Option<Digest>,
    /// Their first bytes, which tell the compression.
    pub magic: [u8; minidock_layer::MAGIC],
}

impl Member {
    /// Reads a JSON member.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        if self.size > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge(self.name.clone()));
        }
        let mut bytes = Vec::new();
        self.open()
            .and_then(|mut content| content.read_to_end(&mut bytes))
            .map_err(|source| self.unreadable(source))?;
        Ok(bytes)
    }

    /// Its bytes.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.place {
            Place::SetDown(path) => Box::new(File::open(path)?),
            Place::Within(file, offset) => Box::new(Range {
                file: Arc::clone(file),
                at: *offset,
                left: self.size,
            }),
        })
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Spool {
            operation: "read",
            member: self.name.clone(),
            source,
        }
    }

    /// The digest of its bytes, as far as it is known without reading them: found out already, or promised by its name,
    /// which whoever reads it has to verify.
    pub fn known_digest(&self) -> Option<Digest> {
        self.hashed.clone().or_else(|| self.promised())
    }

    /// The digest of its bytes, found out now if need be.
    pub fn digest(&self) -> Result<Digest, Error> {
        if let Some(known) = self.known_digest() {
            return Ok(known);
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut content = self.open().map_err(|e| self.unreadable(e))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.unreadable(e)),
            }
        }
    }

    /// Whether its name promises its digest: below `blobs/`, or as a config of Docker's before version 25.
    fn promised(&self) -> Option<Digest> {
        match self.name.strip_prefix("blobs/") {
            Some(rest) => rest.replacen('/', ":", 1).parse().ok(),
            None => self
                .name
                .strip_suffix(".json")
                .and_then(|hex| format!("sha256:{hex}").parse().ok()),
        }
    }

    /// Reads and parses a JSON member.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.read()?).map_err(|source| Error::Json {
            member: self.name.clone(),
            source,
        })
    }
}

#[derive(Debug)]
enum Entry {
    File(Member),
    /// A link to this name.
    Link(String),
    Other,
}

/// All members of an archive by normalised name.
#[derive(Debug, Default)]
pub struct Members {
    entries: HashMap<String, Entry>,
    /// How many there were, folders and replaced ones too.
    seen: usize,
}

impl Members {
    /// Finds the members of an archive, whatever it is: a file or a pipe, compressed or not.
    pub fn read(writer: &Writer, mut archive: File) -> Result<Self, Error> {
        let is_file = archive.metadata().is_ok_and(|meta| meta.is_file());
        // Who passes a file that was read from before means the rest.
        if is_file && archive.stream_position().is_ok_and(|at| at == 0) {
            let mut start = [0; minidock_layer::MAGIC];
            let n = archive.read_at(&mut start, 0).map_err(Error::Tar)?;
            if !minidock_layer::is_compressed(&start[..n]) {
                return Self::find(archive);
            }
        }
        Self::set_down(writer, archive)
    }

    /// Goes from header to header.
    fn find(archive: File) -> Result<Self, Error> {
        let length = archive.metadata().map_err(Error::Tar)?.len();
        let shared = Arc::new(archive.try_clone().map_err(Error::Tar)?);
        let left = Cell::new(HEADERS);
        let mut tar = tar::Archive::new(Rationed {
            from: archive,
            left: &left,
        });
        let mut members = Self::default();
        let mut entries = tar.entries_with_seek().map_err(Error::Tar)?;
        while let Some(entry) = next(&mut entries, &left) {
            let entry = members.entry(entry)?;
            let offset = entry.raw_file_position();
            members.add(entry, |name, entry| {
                let size = entry.size();
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(cut_off(name));
                }
                within(&shared, name, offset, size)
            })?;
        }
        members.some()
    }

    /// Reads to the end.
    fn set_down(writer: &Writer, archive: File) -> Result<Self, Error> {
        let came = AtomicU64::new(0);
        let counted = Counted {
            from: archive,
            count: &came,
        };
        let plain = minidock_layer::decompress(BufReader::with_capacity(BUFFER, counted))
            .map_err(|e| Error::Compression(Box::new(e)))?;
        let limits = writer.bounds().layer;
        let mut plain = Proportionate::new(plain, &came, limits);
        let members = Self::set_down_all(writer, &mut plain);
        if plain.is_bomb() {
            return Err(Error::Bomb(limits.max_ratio));
        }
        members
    }

    fn set_down_all(writer: &Writer, plain: &mut impl Read) -> Result<Self, Error> {
        let left = Cell::new(HEADERS);
        let mut tar = tar::Archive::new(Rationed {
            from: plain,
            left: &left,
        });
        let mut members = Self::default();
        let mut entries = tar.entries().map_err(Error::Tar)?;
        while let Some(entry) = next(&mut entries, &left) {
            let entry = members.entry(entry)?;
            members.add(entry, |name, entry| set_down(writer, name, entry))?;
        }
        let members = members.some()?;
        // Whoever writes into a pipe is not to be killed by SIGPIPE for its padding.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(Error::Tar)?;
        Ok(members)
    }

    /// What cannot even begin is no archive.
    fn entry<T>(&self, entry: io::Result<T>) -> Result<T, Error> {
        entry.map_err(|e| match self.entries.is_empty() {
            true => Error::NotTar,
            false => Error::Tar(e),
        })
    }

    fn some(self) -> Result<Self, Error> {
        if self.entries.is_empty() {
            return Err(Error::NoImage);
        }
        Ok(self)
    }

    fn add<R: Read>(
        &mut self,
        mut entry: tar::Entry<'_, R>,
        file: impl FnOnce(&str, &mut tar::Entry<'_, R>) -> Result<Member, Error>,
    ) -> Result<(), Error> {
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = normalise("", &raw).ok_or_else(|| Error::Escape(raw.clone()))?;
        self.seen += 1;
        if self.seen > MAX_MEMBERS {
            return Err(Error::TooMany(MAX_MEMBERS));
        }
        let kind = entry.header().entry_type();
        let link = entry
            .link_name_bytes()
            .map(|l| String::from_utf8_lossy(&l).into_owned());
        let value = match (kind, link) {
            (tar::EntryType::Directory, _) => return Ok(()),
            (tar::EntryType::Regular | tar::EntryType::Continuous, _) => {
                Entry::File(file(&name, &mut entry)?)
            }
            (tar::EntryType::Symlink, Some(target)) => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                normalise(folder, &target).map_or(Entry::Other, Entry::Link)
            }
            (tar::EntryType::Link, Some(target)) => {
                normalise("", &target).map_or(Entry::Other, Entry::Link)
            }
            _ => Entry::Other,
        };
        // As in tar, the last member of a name counts.
        if let Some(Entry::File(old)) = self.entries.insert(name, value)
            && let Place::SetDown(path) = old.place
        {
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// Whether there is a member of this name.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The file of this name, through links within the archive. A member below `blobs/` must have
    /// the digest that its name says.
    pub fn get(&self, what: &'static str, name: &str) -> Result<&Member, Error> {
        let mut at = normalise("", name).ok_or_else(|| Error::Escape(name.to_owned()))?;
        for _ in 0..MAX_LINKS {
            match self.entries.get(&at) {
                Some(Entry::File(member)) => return member.checked(),
                Some(Entry::Link(target)) => at.clone_from(target),
                Some(Entry::Other) => return Err(Error::NotAFile(name.to_owned())),
                None => {
                    return Err(Error::Missing {
                        what,
                        name: name.to_owned(),
                    });
                }
            }
        }
        Err(Error::NotAFile(name.to_owned()))
    }

    /// The blob of this digest in an OCI image layout.
    pub fn blob(&self, what: &'static str, digest: &Digest) -> Result<&Member, Error> {
        let algorithm = digest.algorithm().as_str();
        self.get(what, &format!("blobs/{algorithm}/{}", digest.hex()))
    }
}

impl Member {
    fn checked(&self) -> Result<&Self, Error> {
        match (self.promised(), &self.hashed) {
            (Some(promised), Some(actual)) if promised != *actual => Err(Error::Digest {
                member: self.name.clone(),
                actual: actual.clone(),
            }),
            _ => Ok(self),
        }
    }
}

/// The next entry, whose headers are bounded and whose content is not.
fn next<E>(entries: &mut impl Iterator<Item = E>, left: &Cell<u64>) -> Option<E> {
    left.set(HEADERS);
    let entry = entries.next();
    left.set(u64::MAX);
    entry
}

/// A name below `folder` without `.`, `..` and doubled slashes; `None` when it climbs out or is
/// absolute where that makes a difference.
fn normalise(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    if !folder.is_empty() && name.starts_with('/') {
        return None;
    }
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn set_down(
    writer: &Writer,
    name: &str,
    entry: &mut tar::Entry<'_, impl Read>,
) -> Result<Member, Error> {
    let path = writer.temporary();
    let failed = |operation| {
        let member = name.to_owned();
        move |source| Error::Spool {
            operation,
            member,
            source,
        }
    };
    let mut file = create(&path).map_err(failed("set down"))?;
    let mut hasher = Hasher::new(algorithm(name));
    let mut buffer = vec![0; BUFFER];
    let mut magic = [0; minidock_layer::MAGIC];
    let mut size: u64 = 0;
    // Many small members fill a disk as well, so the first bytes are not free.
    let mut unchecked = SPACE_INTERVAL;
    loop {
        if unchecked >= SPACE_INTERVAL {
            writer.check_space()?;
            unchecked = 0;
        }
        let n = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::Tar(e)),
        };
        if size == 0 {
            let known = n.min(magic.len());
            magic[..known].copy_from_slice(&buffer[..known]);
        }
        unchecked += n;
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(failed("set down"))?;
        size += n as u64;
    }
    // The tar crate ends an entry quietly where the input ends.
    if size != entry.size() {
        return Err(cut_off(name));
    }
    Ok(Member {
        name: name.to_owned(),
        place: Place::SetDown(path),
        size,
        hashed: Some(hasher.finish()),
        magic,
    })
}

fn cut_off(name: &str) -> Error {
    Error::Tar(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("it ends within the member {name:?}"),
    ))
}

/// A member that stays in the archive.
fn within(archive: &Arc<File>, name: &str, offset: u64, size: u64) -> Result<Member, Error> {
    let mut magic = [0; minidock_layer::MAGIC];
    let known = magic.len().min(usize::try_from(size).unwrap_or(usize::MAX));
    archive
        .read_exact_at(&mut magic[..known], offset)
        .map_err(Error::Tar)?;
    let mut member = Member {
        name: name.to_owned(),
        place: Place::Within(Arc::clone(archive), offset),
        size,
        hashed: None,
        magic,
    };
    if size <= HASHED_AT_ONCE {
        let mut hasher = Hasher::new(algorithm(name));
        hasher.update(&member.read()?);
        member.hashed = Some(hasher.finish());
    }
    Ok(member)
}

fn algorithm(name: &str) -> Algorithm {
    if name.starts_with("blobs/sha512/") {
        Algorithm::Sha512
    } else {
        Algorithm::Sha256
    }
}

/// Some bytes of a file, read without moving its position.
struct Range {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let want = buffer.len().min(most);
        let n = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

fn create(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_archive() {
        let cases = [
            ("", "./a//b/./c", Some("a/b/c")),
            ("", "/a", Some("a")),
            ("", "../a", None),
            ("", "a/../../b", None),
            ("x/y", "../z/layer.tar", Some("x/z/layer.tar")),
            ("x", "../../etc/passwd", None),
            ("x", "/etc/passwd", None),
        ];
        for (folder, name, expected) in cases {
            assert_eq!(
                normalise(folder, name).as_deref(),
                expected,
                "{folder} {name}"
            );
        }
    }
}
