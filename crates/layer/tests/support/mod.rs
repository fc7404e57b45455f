//! Tars written byte by byte, so that they can be as wrong as wanted; and a place to unpack them in.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses some of it"
)]

pub mod stack;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use minidock_layer::{Expect, Limits, Options, Ownership, Target, Unpacked, Whiteouts};

#[derive(Clone)]
pub struct Tar {
    bytes: Vec<u8>,
    mtime: i64,
    owner: (u32, u32),
}

pub fn fix_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..512].iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Tar {
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            mtime: 1_600_000_000,
            owner: (0, 0),
        }
    }

    /// Owner of the next entry.
    pub fn owner(mut self, owner: (u32, u32)) -> Self {
        self.owner = owner;
        self
    }

    pub fn mtime(mut self, mtime: i64) -> Self {
        self.mtime = mtime;
        self
    }

    fn entry(mut self, kind: u8, name: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        let time = self.mtime;
        self.mtime = 1_600_000_000;
        let owner = std::mem::take(&mut self.owner);
        let mut fields: Vec<(&str, String)> = Vec::new();
        if name.len() > 100 {
            fields.push(("path", name.to_owned()));
        }
        if link.len() > 100 {
            fields.push(("linkpath", link.to_owned()));
        }
        if !(0..1 << 33).contains(&time) {
            fields.push(("mtime", time.to_string()));
        }
        if !fields.is_empty() {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
            self = self.pax(&fields);
        }
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, &name.as_bytes()[..name.len().min(100)]);
        put(100, format!("{mode:07o}\0").as_bytes());
        let id = |id: u32| {
            let mut field = [0_u8; 8];
            field[0] = 0x80;
            field[4..].copy_from_slice(&id.to_be_bytes());
            field
        };
        put(108, &id(owner.0));
        put(116, &id(owner.1));
        put(124, format!("{:011o}\0", data.len()).as_bytes());
        put(
            136,
            format!("{:011o}\0", time.clamp(0, (1 << 33) - 1)).as_bytes(),
        );
        put(156, &[kind]);
        put(157, &link.as_bytes()[..link.len().min(100)]);
        put(257, b"ustar\x0000");
        fix_checksum(&mut header);
        self.bytes.extend(header);
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn pax(self, fields: &[(&str, &str)]) -> Self {
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(k, v)| (*k, v.as_bytes())).collect();
        self.pax_bytes(&fields)
    }

    pub fn pax_bytes(self, fields: &[(&str, &[u8])]) -> Self {
        self.extension(b'x', &pax_records(fields))
    }

    pub fn pax_raw(self, data: &[u8]) -> Self {
        self.extension(b'x', data)
    }

    pub fn global(self, fields: &[(&str, &[u8])]) -> Self {
        self.extension(b'g', &pax_records(fields))
    }

    /// A header that speaks of the next entry.
    pub fn extension(mut self, kind: u8, data: &[u8]) -> Self {
        let (time, owner) = (self.mtime, self.owner);
        self.mtime = 1_600_000_000;
        self.owner = (0, 0);
        let mut tar = self.entry(kind, "PaxHeaders/x", "", 0o644, data);
        (tar.mtime, tar.owner) = (time, owner);
        tar
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(b'0', name, "", 0o644, data)
    }

    pub fn file_mode(self, name: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(b'0', name, "", mode, data)
    }

    pub fn folder(self, name: &str, mode: u32) -> Self {
        self.entry(b'5', name, "", mode, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, 0o644, b"")
    }

    pub fn fifo(self, name: &str) -> Self {
        self.fifo_mode(name, 0o644)
    }

    pub fn fifo_mode(self, name: &str, mode: u32) -> Self {
        self.entry(b'6', name, "", mode, b"")
    }

    /// A device: `3` of characters, `4` of blocks.
    pub fn device(self, kind: u8, name: &str, major: u32, minor: u32) -> Self {
        let start = self.bytes.len();
        let mut tar = self.entry(kind, name, "", 0o600, b"");
        let header = &mut tar.bytes[start..start + 512];
        for (at, number) in [(329, major), (337, minor)] {
            header[at] = 0x80;
            header[at + 4..at + 8].copy_from_slice(&number.to_be_bytes());
        }
        fix_checksum(header);
        tar
    }

    /// Changes the header of the last entry, which has no content.
    pub fn patch(mut self, change: impl FnOnce(&mut [u8])) -> Self {
        let start = self.bytes.len() - 512;
        change(&mut self.bytes[start..]);
        fix_checksum(&mut self.bytes[start..]);
        self
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

fn pax_records(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in fields {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        write!(data, "{length} {key}=").unwrap();
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    data
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

pub fn is_opaque(folder: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::getxattr(folder, "user.overlay.opaque", &mut value[..])
        .is_ok_and(|n| &value[..n] == b"y")
}

/// A folder with room for layers, and beside them something that must stay as it is.
pub struct World {
    folder: tempfile::TempDir,
    count: AtomicUsize,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        std::fs::write(folder.path().join("outside/canary"), "alive").unwrap();
        Self {
            folder,
            count: AtomicUsize::new(0),
        }
    }

    pub fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    fn run(&self, blob: &[u8], limits: Limits) -> Result<(PathBuf, Unpacked), String> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let tree = self.folder.path().join(format!("tree{number}"));
        std::fs::create_dir(&tree).unwrap();
        let opened = File::open(&tree).unwrap();
        let target = Target {
            tree: opened.as_fd(),
            blob: None,
            aside: None,
        };
        let ownership = if rustix::process::geteuid().is_root() {
            Ownership::Host
        } else {
            Ownership::Single
        };
        let options = Options {
            ownership,
            limits,
            whiteouts: Whiteouts::default(),
        };
        let unpacked = minidock_layer::unpack(blob, &Expect::default(), &target, &options);
        // A base layer has nothing below, but is to be told so.
        let unpacked = unpacked.and_then(|u| {
            let needs = u.needs_lower.clone();
            minidock_layer::complete(opened.as_fd(), None, needs, &[], &options).map(|_| u)
        });
        unpacked.map(|u| (tree, u)).map_err(|e| {
            let cause = std::error::Error::source(&e)
                .map(|c| format!(": {c}"))
                .unwrap_or_default();
            format!("{e}{cause}")
        })
    }

    pub fn unpack(&self, tar: Tar) -> PathBuf {
        self.run(&tar.finish(), Limits::default()).unwrap().0
    }

    pub fn unpack_foreign(&self, tar: &[u8]) -> PathBuf {
        self.run(tar, Limits::default()).unwrap().0
    }

    pub fn try_unpack(&self, tar: Tar) -> Result<(), String> {
        self.try_bytes(&tar.finish())
    }

    pub fn try_bytes(&self, blob: &[u8]) -> Result<(), String> {
        self.run(blob, Limits::default()).map(drop)
    }

    pub fn unpack_bytes(&self, blob: &[u8]) -> Result<Unpacked, String> {
        self.run(blob, Limits::default()).map(|(_, u)| u)
    }

    pub fn try_with_limits(&self, blob: &[u8], limits: Limits) -> Result<(), String> {
        self.run(blob, limits).map(drop)
    }

    pub fn assert_untouched(&self) {
        self.assert_untouched_by("the archive");
    }

    pub fn assert_untouched_by(&self, what: &str) {
        let names: Vec<_> = std::fs::read_dir(self.outside())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["canary"], "{what}");
        let canary = self.outside().join("canary");
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive", "{what}");
        assert_eq!(
            std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(&canary).unwrap()),
            1,
            "{what}"
        );
        assert!(!is_opaque(&self.outside()), "{what}");
        let beside: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(
            beside
                .iter()
                .all(|n| n == "outside" || n.to_string_lossy().starts_with("tree")),
            "{what}: {beside:?}"
        );
    }
}
