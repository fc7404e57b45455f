//! What a file system cannot represent, kept beside a layer's files.
//!
//! # Form
//! Text, one JSON object a line. The first line is `{"minidock-aside":2}`: the format's number; a reader refuses others.
//! Each further line is about one `path`: the real one (no symlink on the way), relative to the layer's root, which itself
//! is `""`. Names are bytes, so a string's characters stand for one byte each (U+0000 to U+00FF, as in ISO 8859-1).
//!
//! | line | meaning |
//! |---|---|
//! | `{"path":P,"owner":[U,G]}` | P belongs to user U and group G |
//! | `{"path":P,"device":["c",MAJOR,MINOR]}` | P is a device (`"b"`: a block device); an empty file stands for it |
//! | `{"path":P,"xattrs":[[NAME,VALUE],…]}` | P has extended attributes that could not be set |
//! | `{"path":P,"same":T}` | P is one more name of the file T: what is known of T now goes for P |
//! | `{"path":P,"gone":true}` | P and all below it was replaced: nothing said before counts |
//!
//! The first three can stand in one object. A line is all that is known of its path: it replaces what earlier lines said.
//! So the file is written in one pass while a layer is unpacked, and the last word counts, as it does in the layer's tar.
//!
//! # What the absence of a record means
//! Where a store's files have their true owners ([`Ownership::Host`](crate::Ownership::Host)), the file system tells the
//! truth wherever no record contradicts it. Where they all belong to the caller
//! ([`Ownership::Single`](crate::Ownership::Single)), what has no record belongs to 0:0.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// The format that this code writes and reads.
const FORMAT: u32 = 2;
/// Longest line in bytes: a path of 4 KiB and attributes of 1 MiB (as much as a tar's header may have), each byte as
/// `\u00XX`, with room to spare.
const MAX_LINE: u64 = 8 << 20;

/// Names and values of extended attributes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether a device is of characters or of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A character device.
    #[serde(rename = "c")]
    Char,
    /// A block device.
    #[serde(rename = "b")]
    Block,
}

/// A device that an empty file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(DeviceKind, u32, u32)", from = "(DeviceKind, u32, u32)")]
pub struct Device {
    /// Of characters or of blocks.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl From<Device> for (DeviceKind, u32, u32) {
    fn from(device: Device) -> Self {
        (device.kind, device.major, device.minor)
    }
}

impl From<(DeviceKind, u32, u32)> for Device {
    fn from((kind, major, minor): (DeviceKind, u32, u32)) -> Self {
        Self { kind, major, minor }
    }
}

/// What is kept aside of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The true user and group.
    pub owner: Option<(u32, u32)>,
    /// What it is instead of an empty file.
    pub device: Option<Device>,
    /// The extended attributes that could not be set.
    pub xattrs: Xattrs,
}

impl Record {
    /// Whether the file system tells all there is to tell.
    pub fn is_empty(&self) -> bool {
        self.owner.is_none() && self.device.is_none() && self.xattrs.is_empty()
    }
}

/// Bytes as a string of characters up to U+00FF.
#[derive(Clone, Debug)]
struct Text(Vec<u8>);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().copied().map(char::from).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.chars()
            .map(u8::try_from)
            .collect::<Result<Vec<u8>, _>>()
            .map(Self)
            .map_err(|_| serde::de::Error::custom("a character stands for no byte"))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(rename = "minidock-aside")]
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<(Text, Text)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same: Option<Text>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

impl Line {
    fn about(path: &[u8]) -> Self {
        Self {
            path: Text(path.to_vec()),
            owner: None,
            device: None,
            xattrs: Vec::new(),
            same: None,
            gone: false,
        }
    }
}

/// Writes an `aside` file.
///
/// Memory is eight bytes or so for each record, so that nothing need be said of what was never mentioned.
#[derive(Debug)]
pub struct AsideWriter<W: Write> {
    to: BufWriter<W>,
    /// Hashes of the paths that have records; `None` where that is unknown. Two paths with one hash cost a needless line.
    known: Option<HashSet<u64>>,
    hasher: RandomState,
}

impl<W: Write> AsideWriter<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(to: W) -> Result<Self, Error> {
        let mut writer = Self {
            known: Some(HashSet::new()),
            ..Self::append(to)
        };
        writer.line(&Head { format: FORMAT })?;
        Ok(writer)
    }

    /// Continues a file that [`new`](Self::new) started.
    pub fn append(to: W) -> Self {
        Self {
            to: BufWriter::new(to),
            known: None,
            hasher: RandomState::new(),
        }
    }

    /// Sets all that is kept of a path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set(&mut self, path: &[u8], record: &Record) -> Result<(), Error> {
        if record.is_empty() && !self.may_know(path) {
            return Ok(());
        }
        self.remember(path);
        self.line(&Line {
            owner: record.owner,
            device: record.device,
            xattrs: record
                .xattrs
                .iter()
                .map(|(name, value)| (Text(name.clone()), Text(value.clone())))
                .collect(),
            ..Line::about(path)
        })
    }

    /// `path` becomes another name of the file `target`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        if !self.may_know(target) && !self.may_know(path) {
            return Ok(());
        }
        self.remember(path);
        self.line(&Line {
            same: Some(Text(target.to_vec())),
            ..Line::about(path)
        })
    }

    /// `path`, with all below it, is removed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn gone(&mut self, path: &[u8]) -> Result<(), Error> {
        if self.known.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(());
        }
        self.line(&Line {
            gone: true,
            ..Line::about(path)
        })
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.to.flush().map_err(Error::WriteAside)
    }

    fn may_know(&self, path: &[u8]) -> bool {
        let hash = self.hasher.hash_one(path);
        self.known
            .as_ref()
            .is_none_or(|known| known.contains(&hash))
    }

    fn remember(&mut self, path: &[u8]) {
        let hash = self.hasher.hash_one(path);
        if let Some(known) = &mut self.known {
            known.insert(hash);
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut self.to, line)
            .map_err(|e| Error::WriteAside(e.into()))
            .and_then(|()| self.to.write_all(b"\n").map_err(Error::WriteAside))
    }
}

/// What was kept aside of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    records: BTreeMap<Vec<u8>, Record>,
}

impl Aside {
    /// Reads a file that [`AsideWriter`] wrote. An empty one holds nothing.
    ///
    /// # Errors
    /// When it cannot be read, is of another format, or is damaged.
    pub fn read(from: impl Read) -> Result<Self, Error> {
        let mut aside = Self::default();
        let mut from = BufReader::new(from);
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let n = (&mut from)
                .take(MAX_LINE)
                .read_until(b'\n', &mut text)
                .map_err(Error::ReadAside)?;
            if n == 0 {
                break;
            }
            let damaged = |problem: String| Error::Aside {
                line: number,
                problem,
            };
            let json = |e: serde_json::Error| damaged(e.to_string());
            if number == 1 {
                let head: Head = serde_json::from_slice(&text).map_err(json)?;
                if head.format != FORMAT {
                    return Err(Error::AsideFormat {
                        found: head.format,
                        known: FORMAT,
                    });
                }
                continue;
            }
            if text.last() != Some(&b'\n') {
                return Err(damaged("it is cut off".into()));
            }
            aside.apply(serde_json::from_slice(&text).map_err(json)?);
        }
        Ok(aside)
    }

    fn apply(&mut self, line: Line) {
        let path = line.path.0;
        if line.gone {
            self.remove_tree(&path);
            return;
        }
        let record = match line.same {
            Some(target) => self.records.get(&target.0).cloned().unwrap_or_default(),
            None => Record {
                owner: line.owner,
                device: line.device,
                xattrs: line
                    .xattrs
                    .into_iter()
                    .map(|(name, value)| (name.0, value.0))
                    .collect(),
            },
        };
        if record.is_empty() {
            self.records.remove(&path);
        } else {
            self.records.insert(path, record);
        }
    }

    fn remove_tree(&mut self, path: &[u8]) {
        if path.is_empty() {
            self.records.clear();
            return;
        }
        self.records.remove(path);
        let first = [path, b"/"].concat();
        // `0` is the character after `/`.
        let last = [path, b"0"].concat();
        let below: Vec<Vec<u8>> = self
            .records
            .range(first..last)
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            self.records.remove(&path);
        }
    }

    /// Adds what is known of a path otherwise.
    pub fn insert(&mut self, path: Vec<u8>, record: Record) {
        self.records.insert(path, record);
    }

    /// What is kept of a path, if anything.
    pub fn get(&self, path: &[u8]) -> Option<&Record> {
        self.records.get(path)
    }

    /// All records, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Record)> {
        self.records.iter().map(|(path, r)| (path.as_slice(), r))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(uid: u32, gid: u32) -> Record {
        Record {
            owner: Some((uid, gid)),
            ..Record::default()
        }
    }

    fn written(write: impl FnOnce(&mut AsideWriter<&mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = AsideWriter::new(&mut bytes).unwrap();
        write(&mut writer);
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn everything_comes_back_whatever_its_bytes() {
        let every: Vec<u8> = (0..=255).collect();
        let record = Record {
            owner: Some((u32::MAX - 1, 7)),
            device: Some(Device {
                kind: DeviceKind::Block,
                major: 8,
                minor: 1,
            }),
            xattrs: vec![
                (b"security.capability".to_vec(), every.clone()),
                (b"trusted.\xff".to_vec(), Vec::new()),
            ],
        };
        let bytes = written(|w| {
            w.set(&every, &record).unwrap();
            w.set(b"", &owned(1, 2)).unwrap();
        });
        let aside = Aside::read(&bytes[..]).unwrap();
        assert_eq!(aside.get(&every), Some(&record));
        assert_eq!(aside.get(b""), Some(&owned(1, 2)));
        assert_eq!(aside.iter().count(), 2);
    }

    #[test]
    fn the_form_is_the_documented_one() {
        let bytes = written(|w| {
            let record = Record {
                owner: Some((1000, 5)),
                device: Some(Device {
                    kind: DeviceKind::Char,
                    major: 1,
                    minor: 3,
                }),
                xattrs: vec![(b"user.a".to_vec(), b"\xe9\n".to_vec())],
            };
            w.set(b"dev/null", &record).unwrap();
            w.link(b"dev/zero", b"dev/null").unwrap();
            w.gone(b"dev").unwrap();
        });
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"minidock-aside\":2}\n\
             {\"path\":\"dev/null\",\"owner\":[1000,5],\"device\":[\"c\",1,3],\"xattrs\":[[\"user.a\",\"\u{e9}\\n\"]]}\n\
             {\"path\":\"dev/zero\",\"same\":\"dev/null\"}\n\
             {\"path\":\"dev\",\"gone\":true}\n"
        );
    }

    #[test]
    fn the_last_word_counts() {
        let bytes = written(|w| {
            w.set(b"a", &owned(1, 1)).unwrap();
            w.set(b"a", &owned(2, 2)).unwrap();
            w.set(b"b", &owned(3, 3)).unwrap();
            w.set(b"b", &Record::default()).unwrap();
            w.set(b"d", &owned(4, 4)).unwrap();
            w.set(b"d/x", &owned(5, 5)).unwrap();
            w.set(b"d0", &owned(6, 6)).unwrap();
            w.set(b"d-", &owned(7, 7)).unwrap();
            w.gone(b"d").unwrap();
            w.set(b"d/y", &owned(8, 8)).unwrap();
        });
        let aside = Aside::read(&bytes[..]).unwrap();
        let found: Vec<_> = aside
            .iter()
            .map(|(p, r)| (p.to_vec(), r.owner.unwrap().0))
            .collect();
        let expected: Vec<(Vec<u8>, u32)> = [("a", 2), ("d-", 7), ("d/y", 8), ("d0", 6)]
            .map(|(p, u)| (p.into(), u))
            .into();
        assert_eq!(found, expected);
    }

    #[test]
    fn another_name_keeps_what_the_first_had_when_it_was_made() {
        let bytes = written(|w| {
            w.set(b"first", &owned(1, 1)).unwrap();
            w.link(b"second", b"first").unwrap();
            w.set(b"first", &owned(2, 2)).unwrap();
            w.set(b"third", &owned(3, 3)).unwrap();
            w.link(b"third", b"roots").unwrap();
        });
        let aside = Aside::read(&bytes[..]).unwrap();
        assert_eq!(aside.get(b"second"), Some(&owned(1, 1)));
        assert_eq!(aside.get(b"first"), Some(&owned(2, 2)));
        assert_eq!(aside.get(b"third"), None);
    }

    #[test]
    fn nothing_is_said_of_what_needs_no_saying() {
        let bytes = written(|w| {
            w.set(b"a", &Record::default()).unwrap();
            w.link(b"b", b"a").unwrap();
            w.gone(b"c").unwrap();
        });
        assert_eq!(bytes, b"{\"minidock-aside\":2}\n");
    }

    #[test]
    fn what_is_appended_replaces_as_well() {
        let mut bytes = written(|w| w.set(b"a", &owned(1, 1)).unwrap());
        let mut more = AsideWriter::append(&mut bytes);
        more.set(b"a", &Record::default()).unwrap();
        more.set(b"b", &owned(2, 2)).unwrap();
        more.finish().unwrap();
        let aside = Aside::read(&bytes[..]).unwrap();
        assert_eq!(aside.get(b"a"), None);
        assert_eq!(aside.get(b"b"), Some(&owned(2, 2)));
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        let read = |text: &str| Aside::read(text.as_bytes());
        assert_eq!(read("").unwrap(), Aside::default());
        assert!(matches!(
            read("{\"minidock-aside\":3}\n"),
            Err(Error::AsideFormat { found: 3, known: 2 })
        ));
        let head = "{\"minidock-aside\":2}\n";
        for bad in [
            "nonsense\n",
            "{\"path\":\"a\",\"owner\":[1,2]}\n",
            &format!("{head}{{\"path\":\"a\"}}"),
            &format!("{head}{{\"path\":\"\u{100}\"}}\n"),
            &format!("{head}{{\"path\":\"a\",\"owner\":[-1,2]}}\n"),
            &format!("{head}{{\"path\":\"a\",\"later\":1}}\n"),
            &format!("{head}\n"),
        ] {
            assert!(matches!(read(bad), Err(Error::Aside { .. })), "{bad}");
        }
    }
}
