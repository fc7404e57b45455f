//! The members of an archive, set down in the session's folder and hashed on the way.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use minidock_oci::{Algorithm, Digest, Hasher, MAX_MANIFEST_SIZE};
use minidock_store::Writer;
use serde::de::DeserializeOwned;

use super::Error;

/// More members than any image archive has; each costs memory before anything is known of it.
const MAX_MEMBERS: usize = 100_000;
/// Links to links that are followed.
const MAX_LINKS: usize = 8;
const BUFFER: usize = 128 << 10;

/// A regular file of the archive.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its normalised name.
    pub name: String,
    /// Where its bytes are.
    pub file: PathBuf,
    /// How many.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
    /// Their first bytes, which tell the compression.
    pub magic: [u8; 4],
}

impl Member {
    /// Reads a JSON member.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        if self.size > MAX_MANIFEST_SIZE {
            return Err(Error::TooLarge(self.name.clone()));
        }
        std::fs::read(&self.file).map_err(|source| Error::Spool {
            operation: "read",
            member: self.name.clone(),
            source,
        })
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
}

impl Members {
    /// Reads an archive, compressed or not, to its end.
    pub fn read(writer: &Writer, archive: impl Read + Send) -> Result<Self, Error> {
        let plain = minidock_layer::decompress(BufReader::with_capacity(BUFFER, archive))
            .map_err(|e| Error::Compression(Box::new(e)))?;
        let mut tar = tar::Archive::new(plain);
        let mut members = Self::default();
        for entry in tar.entries().map_err(Error::Tar)? {
            let entry = entry.map_err(|e| match members.entries.is_empty() {
                true => Error::NotTar,
                false => Error::Tar(e),
            })?;
            members.add(writer, entry)?;
        }
        if members.entries.is_empty() {
            return Err(Error::NoImage);
        }
        // Whoever writes into a pipe is not to be killed by SIGPIPE for its padding.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(Error::Tar)?;
        Ok(members)
    }

    fn add(&mut self, writer: &Writer, mut entry: tar::Entry<'_, impl Read>) -> Result<(), Error> {
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = normalise("", &raw).ok_or_else(|| Error::Escape(raw.clone()))?;
        if self.entries.len() >= MAX_MEMBERS {
            return Err(Error::TooMany(MAX_MEMBERS));
        }
        let kind = entry.header().entry_type();
        let link = entry
            .link_name_bytes()
            .map(|l| String::from_utf8_lossy(&l).into_owned());
        let value = match (kind, link) {
            (tar::EntryType::Directory, _) => return Ok(()),
            (tar::EntryType::Regular | tar::EntryType::Continuous, _) => {
                Entry::File(set_down(writer, &name, &mut entry)?)
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
        if let Some(Entry::File(old)) = self.entries.insert(name, value) {
            // As in tar, the last member of a name counts.
            let _ = std::fs::remove_file(old.file);
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
        let promised = match self.name.strip_prefix("blobs/") {
            Some(rest) => rest.replacen('/', ":", 1).parse::<Digest>().ok(),
            // Docker before version 25 names a config by its digest.
            None => self
                .name
                .strip_suffix(".json")
                .and_then(|hex| format!("sha256:{hex}").parse().ok()),
        };
        match promised {
            Some(promised) if promised != self.digest => Err(Error::Digest {
                member: self.name.clone(),
                actual: self.digest.clone(),
            }),
            _ => Ok(self),
        }
    }
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
    let algorithm = if name.starts_with("blobs/sha512/") {
        Algorithm::Sha512
    } else {
        Algorithm::Sha256
    };
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER];
    let mut magic = [0; 4];
    let mut size: u64 = 0;
    loop {
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
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(failed("set down"))?;
        size += n as u64;
    }
    // The tar crate ends an entry quietly where the input ends.
    if size != entry.size() {
        return Err(Error::Tar(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it ends within the member {name:?}"),
        )));
    }
    Ok(Member {
        name: name.to_owned(),
        file: path,
        size,
        digest: hasher.finish(),
        magic,
    })
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
