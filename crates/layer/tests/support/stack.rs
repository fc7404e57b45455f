//! Layers on top of each other, and what they show: walked by ourselves, and by the kernel's overlay.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use minidock_layer::aside::Aside;
use minidock_layer::merged::{Level, Merged, Next, NodeKind, Owners};
use minidock_layer::{Error, Expect, Limits, Lower, Options, Ownership, Target, Whiteouts};

/// What a file is, with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    File(Vec<u8>),
    Folder,
    Symlink(Vec<u8>),
    Fifo,
    Device(char, u32, u32),
}

/// A file as a container sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub what: What,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, u32),
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// All names of the file, this one too.
    pub names: Vec<String>,
}

/// Path to file; without the root.
pub type Tree = BTreeMap<String, Shown>;

pub struct Stack {
    folder: tempfile::TempDir,
    ownership: Ownership,
    whiteouts: Whiteouts,
    count: usize,
}

impl Stack {
    pub fn new(ownership: Ownership, whiteouts: Whiteouts) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            ownership,
            whiteouts,
            count: 0,
        }
    }

    pub fn tree(&self, layer: usize) -> PathBuf {
        self.folder.path().join(layer.to_string()).join("fs")
    }

    fn aside(&self, layer: usize) -> PathBuf {
        self.folder.path().join(layer.to_string()).join("aside")
    }

    /// Unpacks a layer on top of the others, as the store does.
    pub fn apply(&mut self, tar: &[u8]) -> Result<(), String> {
        self.try_apply(tar).map_err(|e| {
            let cause = std::error::Error::source(&e)
                .map(|c| format!(": {c}"))
                .unwrap_or_default();
            format!("{e}{cause}")
        })
    }

    fn try_apply(&mut self, tar: &[u8]) -> Result<(), Error> {
        let (path, aside_path) = (self.tree(self.count), self.aside(self.count));
        std::fs::create_dir_all(&path).unwrap();
        let tree = File::open(&path).unwrap();
        let aside = File::options()
            .append(true)
            .create_new(true)
            .open(&aside_path)
            .unwrap();
        let target = Target {
            tree: tree.as_fd(),
            blob: None,
            aside: Some(&aside),
        };
        let options = Options {
            ownership: self.ownership,
            limits: Limits::default(),
            whiteouts: self.whiteouts,
        };
        let unpacked = minidock_layer::unpack(tar, &Expect::default(), &target, &options)?;
        let mut hides = false;
        if !unpacked.needs_lower.is_empty() {
            let lower: Vec<Lower> = (0..self.count)
                .rev()
                .map(|i| Lower::new(File::open(self.tree(i)).unwrap().into(), self.aside(i)))
                .collect();
            let lower: Vec<&Lower> = lower.iter().collect();
            let needs = unpacked.needs_lower;
            hides = minidock_layer::complete(tree.as_fd(), Some(&aside), needs, &lower, &options)?;
        }
        let (mut devices, mut sockets) = (0, 0);
        count_whiteouts(&path, &mut devices, &mut sockets);
        let made = match self.whiteouts {
            Whiteouts::Devices => [devices, sockets],
            Whiteouts::Sockets => [sockets, devices],
        };
        assert_eq!(made[1], 0, "whiteouts of the other form");
        assert!(hides || made[0] == 0, "whiteouts that nobody is told of");
        self.count += 1;
        Ok(())
    }

    pub fn view(&self) -> Merged {
        let level = |i: usize| Level {
            tree: File::open(self.tree(i)).unwrap().into(),
            aside: Aside::read(File::open(self.aside(i)).unwrap()).unwrap(),
            owners: match self.ownership {
                Ownership::Host => Owners::True,
                Ownership::Single => Owners::Aside,
            },
            root_seen: false,
            is_upper: false,
            named_whiteouts: false,
        };
        Merged::new((0..self.count).rev().map(level).collect())
    }

    /// What the layers show, found by walking them.
    pub fn shown(&self) -> Tree {
        let view = self.view();
        let mut inodes: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
        let mut found = BTreeMap::new();
        view.walk(&view.root().unwrap(), &mut |node| -> Result<Next, Error> {
            if node.path.is_empty() {
                return Ok(Next::Into);
            }
            let path = String::from_utf8_lossy(&node.path).into_owned();
            let (_, device, inode) = node.inode();
            inodes
                .entry((device, inode))
                .or_default()
                .push(path.clone());
            let what = match node.kind {
                NodeKind::File => {
                    let mut content = Vec::new();
                    std::io::Read::read_to_end(&mut node.open()?, &mut content).unwrap();
                    What::File(content)
                }
                NodeKind::Directory => What::Folder,
                NodeKind::Symlink => What::Symlink(node.link_target()?),
                NodeKind::Fifo => What::Fifo,
                NodeKind::Socket => panic!("a socket"),
                NodeKind::Device(kind, major, minor) => {
                    let letter = match kind {
                        minidock_layer::aside::DeviceKind::Char => 'c',
                        minidock_layer::aside::DeviceKind::Block => 'b',
                    };
                    What::Device(letter, major, minor)
                }
            };
            let xattrs = node.xattrs()?.into_iter();
            let shown = Shown {
                what,
                mode: node.mode,
                owner: (node.uid, node.gid),
                mtime: node.mtime,
                xattrs: xattrs
                    .map(|(n, v)| (String::from_utf8_lossy(&n).into_owned(), v))
                    .collect(),
                names: Vec::new(),
            };
            found.insert(path, ((device, inode), shown));
            Ok(Next::Into)
        })
        .unwrap();
        with_names(found, &inodes)
    }

    /// What the kernel's overlay of the layers shows. Root only.
    pub fn mounted(&self) -> Tree {
        let base = self.folder.path();
        for name in ["upper", "work", "merged"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        let lower: Vec<String> = (0..self.count).rev().map(|i| format!("{i}/fs")).collect();
        let options = format!(
            "userxattr,lowerdir={},upperdir=upper,workdir=work",
            lower.join(":")
        );
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options, "merged"])
            .current_dir(base)
            .status()
            .unwrap();
        assert!(mounted.success(), "mount -o {options}");
        let merged = Mounted(base.join("merged"));
        let mut inodes: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
        let mut found = BTreeMap::new();
        visit(&merged.0, "", &mut inodes, &mut found);
        with_names(found, &inodes)
    }
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

type Found = BTreeMap<String, ((u64, u64), Shown)>;

fn with_names(found: Found, inodes: &BTreeMap<(u64, u64), Vec<String>>) -> Tree {
    let named = |(path, (inode, shown)): (String, ((u64, u64), Shown))| {
        let mut names = match shown.what {
            What::Folder => vec![path.clone()],
            _ => inodes[&inode].clone(),
        };
        names.sort();
        (path, Shown { names, ..shown })
    };
    found.into_iter().map(named).collect()
}

fn visit(
    folder: &Path,
    path: &str,
    inodes: &mut BTreeMap<(u64, u64), Vec<String>>,
    found: &mut Found,
) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let place = entry.path();
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        let path = path.trim_start_matches('/').to_owned();
        let meta = std::fs::symlink_metadata(&place)
            .unwrap_or_else(|e| panic!("{path} is listed, but: {e}"));
        let what = match meta.mode() & 0o170_000 {
            0o100_000 => What::File(std::fs::read(&place).unwrap()),
            0o040_000 => What::Folder,
            0o120_000 => What::Symlink(
                std::fs::read_link(&place)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
            ),
            0o010_000 => What::Fifo,
            kind => What::Device(
                if kind == 0o020_000 { 'c' } else { 'b' },
                rustix::fs::major(meta.rdev()),
                rustix::fs::minor(meta.rdev()),
            ),
        };
        let inode = (meta.dev(), meta.ino());
        inodes.entry(inode).or_default().push(path.clone());
        if what == What::Folder {
            visit(&place, &path, inodes, found);
        }
        let shown = Shown {
            what,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap()),
            xattrs: xattrs(&place),
            names: Vec::new(),
        };
        found.insert(path, (inode, shown));
    }
}

/// Extended attributes that an ordinary program sees.
pub fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0_u8; 65_536];
    let n = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let mut found: Vec<_> = list[..n]
        .split(|b| *b == 0)
        .filter(|n| n.starts_with(b"user.") || *n == b"security.capability")
        .map(|name| {
            let name = std::str::from_utf8(name).unwrap();
            let mut value = vec![0_u8; 65_536];
            let n = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_owned(), value[..n].to_vec())
        })
        .collect();
    found.sort();
    found
}

fn count_whiteouts(folder: &Path, devices: &mut u32, sockets: &mut u32) {
    // Modes keep those out that are not root; what is in there, a test of its own sees.
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        match meta.mode() & 0o170_000 {
            0o020_000 if meta.rdev() == 0 => *devices += 1,
            0o140_000 => *sockets += 1,
            0o040_000 => count_whiteouts(&path, devices, sockets),
            _ => {}
        }
    }
}
