//! What a caller with one id keeps aside while a layer is unpacked.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::os::fd::AsFd;

use minidock_layer::aside::{Aside, Device, DeviceKind, Record};
use minidock_layer::{Expect, Limits, Options, Ownership, Target, Whiteouts};

/// Unpacks as a caller with one id would, whoever runs the test.
fn aside_of(tar: &[u8]) -> Aside {
    let folder = tempfile::tempdir().unwrap();
    let tree_path = folder.path().join("tree");
    std::fs::create_dir(&tree_path).unwrap();
    let tree = File::open(&tree_path).unwrap();
    let file = File::create_new(folder.path().join("aside")).unwrap();
    let target = Target {
        tree: tree.as_fd(),
        blob: None,
        aside: Some(&file),
    };
    let options = Options {
        ownership: Ownership::Single,
        limits: Limits::default(),
        whiteouts: Whiteouts::default(),
    };
    minidock_layer::unpack(tar, &Expect::default(), &target, &options).unwrap();
    Aside::read(File::open(folder.path().join("aside")).unwrap()).unwrap()
}

/// Entries with owners, written by the `tar` crate.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, link: &str, owner: (u64, u64)) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_size(0);
        header.set_mtime(1_600_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        self.0.append_data(&mut header, path, &b""[..]).unwrap();
        self
    }

    /// Extended attributes of the next entry.
    fn xattrs(mut self, xattrs: &[(&str, &[u8])]) -> Self {
        let keys: Vec<(String, &[u8])> = xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), *value))
            .collect();
        self.0
            .append_pax_extensions(keys.iter().map(|(k, v)| (k.as_str(), *v)))
            .unwrap();
        self
    }

    fn folder(self, path: &str, owner: (u64, u64)) -> Self {
        self.entry(tar::EntryType::Directory, path, "", owner)
    }

    fn file(self, path: &str, owner: (u64, u64)) -> Self {
        self.entry(tar::EntryType::Regular, path, "", owner)
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn owned(owner: (u32, u32)) -> Record {
    Record {
        owner: Some(owner),
        ..Record::default()
    }
}

fn all(aside: &Aside) -> Vec<(String, Record)> {
    aside
        .iter()
        .map(|(path, record)| (String::from_utf8(path.to_vec()).unwrap(), record.clone()))
        .collect()
}

#[test]
fn owners_devices_and_attributes() {
    let tar = Tar::new()
        .folder("./", (1, 2))
        .folder("home", (0, 0))
        .folder("home/user", (1000, 1000))
        .xattrs(&[
            ("trusted.secret", b"\0\xff"),
            ("user.fuseoverlayfs.opaque", b"y"),
        ])
        .file("home/user/file", (1000, 100))
        .entry(tar::EntryType::Link, "home/again", "home/user/file", (0, 0))
        .entry(tar::EntryType::Symlink, "home/link", "user", (3, 4))
        .entry(tar::EntryType::Char, "null", "", (0, 0))
        .xattrs(&[("security.selinux", b"x")])
        .entry(tar::EntryType::Block, "disk", "", (0, 6))
        .entry(tar::EntryType::Fifo, "pipe", "", (7, 8));
    let file = Record {
        xattrs: vec![
            (b"trusted.secret".to_vec(), b"\0\xff".to_vec()),
            (b"user.fuseoverlayfs.opaque".to_vec(), b"y".to_vec()),
        ],
        ..owned((1000, 100))
    };
    let device = |kind| Device {
        kind,
        major: 1,
        minor: 3,
    };
    let expected = vec![
        ("".to_owned(), owned((1, 2))),
        (
            "disk".to_owned(),
            Record {
                device: Some(device(DeviceKind::Block)),
                xattrs: vec![(b"security.selinux".to_vec(), b"x".to_vec())],
                ..owned((0, 6))
            },
        ),
        ("home/again".to_owned(), file.clone()),
        ("home/link".to_owned(), owned((3, 4))),
        ("home/user".to_owned(), owned((1000, 1000))),
        ("home/user/file".to_owned(), file),
        (
            "null".to_owned(),
            Record {
                device: Some(device(DeviceKind::Char)),
                ..Record::default()
            },
        ),
        ("pipe".to_owned(), owned((7, 8))),
    ];
    assert_eq!(all(&aside_of(&tar.finish())), expected);
}

#[test]
fn what_is_replaced_later_leaves_nothing_behind() {
    let tar = Tar::new()
        .folder("d", (1, 1))
        .file("d/f", (2, 2))
        .entry(tar::EntryType::Char, "d/null", "", (3, 3))
        .file("f", (4, 4))
        .folder("again", (5, 5))
        .folder("link", (6, 6))
        // A folder that becomes a symlink, a file that becomes a folder, one that is told twice.
        .entry(tar::EntryType::Symlink, "d", "elsewhere", (0, 0))
        .folder("f", (0, 0))
        .folder("again", (0, 0))
        .file("link/inside", (7, 7))
        // Written through a symlink: the real path counts.
        .entry(tar::EntryType::Symlink, "alias", "link", (0, 0))
        .file("alias/inside", (8, 8));
    assert_eq!(
        all(&aside_of(&tar.finish())),
        vec![
            ("link".to_owned(), owned((6, 6))),
            ("link/inside".to_owned(), owned((8, 8))),
        ]
    );
}
