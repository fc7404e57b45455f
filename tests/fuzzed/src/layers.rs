//! Whole layers, one on top of the other, into a folder beside one that must stay as it is.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use minidock_layer::aside::Aside;
use minidock_layer::merged::{Level, Merged, Next, Owners};
use minidock_layer::{Error, Expect, Limits, Lower, Options, Ownership, Target, Whiteouts};

use crate::tar::{entry, with_checksums};

/// Small enough that no input takes long.
const LIMITS: Limits = Limits {
    max_ratio: 50,
    ratio_free: 1 << 20,
    max_entries: 1000,
    max_size: 4 << 20,
};

/// Bytes that start like an archive are a layer as they are; others are a programme that makes layers.
pub fn apply(bytes: &[u8]) {
    let world = World::new();
    let before = world.outside();
    let tars = match bytes.get(257..262) {
        Some(b"ustar") => vec![bytes.to_vec(), with_checksums(bytes)],
        _ if bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5\x2f\xfd") => {
            vec![bytes.to_vec()]
        }
        _ => programme(bytes, &world),
    };
    let mut layers = Vec::new();
    for tar in tars {
        let folder = world.folder.path().join(layers.len().to_string());
        let applied = world.layer(&folder, &tar, &layers);
        assert_eq!(before, world.outside(), "something outside changed");
        let opened = File::open(world.folder.path()).unwrap();
        if applied.is_ok() {
            layers.push(folder);
            world.walk(&layers).unwrap();
        } else {
            let name = folder.file_name().unwrap();
            minidock_layer::remove_tree(opened.as_fd(), name).unwrap();
        }
    }
    let opened = File::open(world.folder.path()).unwrap();
    for layer in layers {
        minidock_layer::remove_tree(opened.as_fd(), layer.file_name().unwrap()).unwrap();
    }
    assert_eq!(before, world.outside(), "something outside changed");
}

struct World {
    folder: tempfile::TempDir,
}

/// What can be seen of the outside.
type Outside = Vec<(PathBuf, u32, u64, i64, i64, Vec<u8>)>;

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("a"), "alive").unwrap();
        std::fs::create_dir(outside.join("b")).unwrap();
        Self { folder }
    }

    fn outside(&self) -> Outside {
        let outside = self.folder.path().join("outside");
        let mut all = vec![outside.clone()];
        all.extend(
            std::fs::read_dir(&outside)
                .unwrap()
                .map(|e| e.unwrap().path()),
        );
        all.sort();
        let look = |path: PathBuf| {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let mut xattrs = vec![0; 1024];
            let n = rustix::fs::llistxattr(&path, &mut xattrs[..]).unwrap_or(0);
            xattrs.truncate(n);
            xattrs.extend(std::fs::read(&path).unwrap_or_default());
            (
                path,
                meta.mode(),
                meta.nlink(),
                meta.mtime(),
                meta.mtime_nsec(),
                xattrs,
            )
        };
        all.into_iter().map(look).collect()
    }

    fn layer(&self, folder: &Path, tar: &[u8], below: &[PathBuf]) -> Result<(), Error> {
        std::fs::create_dir_all(folder.join("fs")).unwrap();
        let tree = File::open(folder.join("fs")).unwrap();
        let aside = File::options()
            .append(true)
            .create_new(true)
            .open(folder.join("aside"))
            .unwrap();
        let target = Target {
            tree: tree.as_fd(),
            blob: None,
            aside: Some(&aside),
        };
        let options = Options {
            ownership: Ownership::Single,
            limits: LIMITS,
            whiteouts: Whiteouts::default(),
        };
        let unpacked = minidock_layer::unpack(tar, &Expect::default(), &target, &options)?;
        let lower: Vec<Lower> = below
            .iter()
            .rev()
            .map(|l| Lower::new(File::open(l.join("fs")).unwrap().into(), l.join("aside")))
            .collect();
        let lower: Vec<&Lower> = lower.iter().collect();
        let needs = unpacked.needs_lower;
        minidock_layer::complete(tree.as_fd(), Some(&aside), needs, &lower, &options).map(drop)
    }

    fn walk(&self, layers: &[PathBuf]) -> Result<(), Error> {
        let level = |folder: &PathBuf| Level {
            tree: File::open(folder.join("fs")).unwrap().into(),
            aside: Aside::read(File::open(folder.join("aside")).unwrap()).unwrap(),
            owners: Owners::Aside,
            root_seen: false,
            is_upper: false,
            named_whiteouts: false,
        };
        // Modes are the image's: an ordinary user cannot look into all folders.
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let view = Merged::new(layers.iter().rev().map(level).collect());
        view.walk(&view.root()?, &mut |_| Ok(Next::Into))
    }
}

const NAMES: [&[u8]; 24] = [
    b"a",
    b"b",
    b"c",
    b"a/b",
    b"a/c",
    b"b/a",
    b"a/b/c",
    b"c/b/a",
    b"./a",
    b"/b",
    b"a/",
    b".",
    b"",
    b"../outside/a",
    b"a/../b",
    b".wh.a",
    b".wh.b",
    b"a/.wh.b",
    b"b/.wh.a",
    b".wh..wh..opq",
    b"a/.wh..wh..opq",
    b".wh..",
    b".wh.",
    b".wh..wh.plnk/x",
];
const KINDS: [u8; 16] = *b"0000555221116340";

/// Four bytes an entry: kind and mode, name, link, content or attribute; 255 begins another layer.
fn programme(bytes: &[u8], world: &World) -> Vec<Vec<u8>> {
    let outside = world.folder.path().join("outside");
    let links: Vec<Vec<u8>> = NAMES
        .iter()
        .map(|n| n.to_vec())
        .chain([
            outside.as_os_str().as_bytes().to_vec(),
            outside.join("a").as_os_str().as_bytes().to_vec(),
            b"../outside".to_vec(),
            b"../../outside/a".to_vec(),
            b"../../../../../..".to_vec(),
            b"c".to_vec(),
            b"/".to_vec(),
        ])
        .collect();
    let mut layers = vec![Vec::new()];
    for op in bytes.chunks_exact(4).take(64) {
        if op[0] == 255 {
            if layers.len() < 4 {
                layers.push(Vec::new());
            }
            continue;
        }
        let Some(layer) = layers.last_mut() else {
            return layers;
        };
        let kind = KINDS[usize::from(op[0] & 15)];
        let mode = [0o755, 0o000, 0o500, 0o4777][usize::from(op[0] >> 4 & 3)];
        let name = NAMES[usize::from(op[1]) % NAMES.len()];
        let link = &links[usize::from(op[2]) % links.len()];
        match op[3] & 7 {
            7 => layer.extend(entry(
                b'x',
                b"x",
                b"",
                0,
                b"39 SCHILY.xattr.user.overlay.opaque=yy\n",
            )),
            6 => layer.extend(entry(
                b'x',
                b"x",
                b"",
                0,
                b"30 SCHILY.xattr.user.test=123\n",
            )),
            _ => {}
        }
        let content = if kind == b'0' {
            &bytes[..bytes.len().min(3)]
        } else {
            b""
        };
        layer.extend(entry(kind, name, link, mode, content));
    }
    layers
}
