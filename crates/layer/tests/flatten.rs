//! A stack of layers as one folder, by overlayfs's rules; and copies of trees.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use minidock_layer::{Files, Ownership, flatten};
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A layer with files of this content; names that end in a slash are folders.
    fn layer(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.path(name);
        fs::create_dir(&root).unwrap();
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                fs::create_dir_all(&path).unwrap();
            } else {
                fs::write(&path, content).unwrap();
            }
        }
        root
    }

    /// Merges layers, the uppermost first.
    fn merged(&self, layers: &[&Path], files: Files) -> PathBuf {
        let target = self.path("merged");
        fs::create_dir(&target).unwrap();
        let open: Vec<File> = layers.iter().map(|l| File::open(l).unwrap()).collect();
        let open: Vec<_> = open.iter().map(AsFd::as_fd).collect();
        let folder = File::open(&target).unwrap();
        let ownership = if rustix::process::geteuid().is_root() {
            Ownership::Host
        } else {
            Ownership::Single
        };
        flatten(&open, folder.as_fd(), files, ownership).unwrap();
        target
    }
}

fn whiteout(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn opaque(path: &Path) {
    rustix::fs::setxattr(path, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
}

/// Every file with its content, every folder with a slash.
fn listing(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if meta.is_dir() {
                found.insert(format!("{name}/"), String::new());
                walk(root, &path, found);
            } else if meta.is_symlink() {
                let to = fs::read_link(&path).unwrap().display().to_string();
                found.insert(name, format!("-> {to}"));
            } else if meta.is_file() {
                found.insert(name, fs::read_to_string(&path).unwrap());
            } else {
                found.insert(name, format!("{:?}", meta.file_type()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn names(root: &Path) -> Vec<String> {
    listing(root).into_keys().collect()
}

#[test]
fn upper_names_win_and_whiteouts_hide() {
    let world = World::new();
    let base = world.layer(
        "base",
        &[
            ("kept", "base"),
            ("changed", "base"),
            ("gone", "base"),
            ("both/base", "base"),
            ("both/sub/deep", "base"),
            ("opaque/base", "base"),
            ("folder-to-file/x", "base"),
            ("file-to-folder", "base"),
            ("removed/x", "base"),
        ],
    );
    let middle = world.layer(
        "middle",
        &[
            ("changed", "middle"),
            ("both/middle", "middle"),
            ("opaque/middle", "middle"),
            ("folder-to-file", "middle"),
            ("file-to-folder/y", "middle"),
        ],
    );
    whiteout(&middle.join("gone"));
    whiteout(&middle.join("removed"));
    opaque(&middle.join("opaque"));
    let top = world.layer(
        "top",
        &[
            ("opaque/top", "top"),
            ("both/sub/top", "top"),
            ("gone", "again"),
            ("removed/", ""),
        ],
    );
    for (number, files) in [Files::Linked, Files::Copied].into_iter().enumerate() {
        let merged = world.merged(&[&top, &middle, &base], files);
        let expected = [
            ("both/", ""),
            ("both/base", "base"),
            ("both/middle", "middle"),
            ("both/sub/", ""),
            ("both/sub/deep", "base"),
            ("both/sub/top", "top"),
            ("changed", "middle"),
            ("file-to-folder/", ""),
            ("file-to-folder/y", "middle"),
            ("folder-to-file", "middle"),
            ("gone", "again"),
            ("kept", "base"),
            ("opaque/", ""),
            ("opaque/middle", "middle"),
            ("opaque/top", "top"),
            // Made anew over a whiteout: what was below it stays hidden.
            ("removed/", ""),
        ];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(listing(&merged), expected);
        fs::rename(&merged, world.path(&format!("merged-{number}"))).unwrap();
    }
}

#[test]
fn a_folder_below_a_file_below_a_folder_does_not_show() {
    let world = World::new();
    let base = world.layer("base", &[("x/base", "")]);
    let middle = world.layer("middle", &[("x", "file")]);
    let top = world.layer("top", &[("x/top", "")]);
    let merged = world.merged(&[&top, &middle, &base], Files::Copied);
    assert_eq!(names(&merged), ["x/", "x/top"]);
}

#[test]
fn folders_are_as_in_the_uppermost_layer_that_has_them() {
    let world = World::new();
    let base = world.layer("base", &[("d/e/f", "")]);
    let top = world.layer("top", &[("d/g", "")]);
    fs::set_permissions(base.join("d"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::set_permissions(base.join("d/e"), PermissionsExt::from_mode(0o1555)).unwrap();
    fs::set_permissions(top.join("d"), PermissionsExt::from_mode(0o2750)).unwrap();
    rustix::fs::setxattr(top.join("d"), "user.mine", b"v", XattrFlags::empty()).unwrap();
    opaque(&base.join("d"));
    let time = |path: &Path, seconds: i64| {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 123_456_789,
        };
        let both = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, path, &both, rustix::fs::AtFlags::empty()).unwrap();
    };
    time(&top.join("d"), -5);
    time(&base.join("d/e"), 1_000);
    let merged = world.merged(&[&top, &base], Files::Linked);
    let d = merged.join("d").metadata().unwrap();
    assert_eq!(
        (d.mode() & 0o7777, d.mtime(), d.mtime_nsec()),
        (0o2750, -5, 123_456_789)
    );
    let e = merged.join("d/e").metadata().unwrap();
    assert_eq!((e.mode() & 0o7777, e.mtime()), (0o1555, 1_000));
    let mut value = [0_u8; 8];
    let length = rustix::fs::getxattr(merged.join("d"), "user.mine", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"v");
    assert!(rustix::fs::getxattr(merged.join("d"), "user.overlay.opaque", &mut value[..]).is_err());
}

#[test]
fn a_copy_shares_no_file_and_keeps_links_holes_and_attributes() {
    let world = World::new();
    let tree = world.layer("tree", &[("a/one", "linked"), ("secret", "s"), ("b/", "")]);
    fs::hard_link(tree.join("a/one"), tree.join("b/two")).unwrap();
    fs::hard_link(tree.join("a/one"), tree.join("three")).unwrap();
    symlink("/outside", tree.join("link")).unwrap();
    rustix::fs::mknodat(
        CWD,
        tree.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    fs::set_permissions(tree.join("secret"), PermissionsExt::from_mode(0o4755)).unwrap();
    rustix::fs::setxattr(tree.join("secret"), "user.mine", b"v", XattrFlags::empty()).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 64 << 20).unwrap();
    sparse.set_len(80 << 20).unwrap();

    // Outside links do not make a file a linked one.
    fs::hard_link(tree.join("secret"), world.path("elsewhere")).unwrap();
    let copy = world.merged(&[&tree], Files::Copied);
    assert_eq!(names(&copy), names(&tree));
    let inode = |root: &Path, name: &str| root.join(name).symlink_metadata().unwrap().ino();
    assert_eq!(inode(&copy, "a/one"), inode(&copy, "b/two"));
    assert_eq!(inode(&copy, "a/one"), inode(&copy, "three"));
    assert_ne!(inode(&copy, "a/one"), inode(&tree, "a/one"));
    fs::write(copy.join("b/two"), "changed").unwrap();
    assert_eq!(fs::read_to_string(copy.join("a/one")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(tree.join("a/one")).unwrap(), "linked");
    let secret = copy.join("secret").metadata().unwrap();
    assert_eq!((secret.mode() & 0o7777, secret.nlink()), (0o4755, 1));
    let mut value = [0_u8; 8];
    let length = rustix::fs::getxattr(copy.join("secret"), "user.mine", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"v");
    assert!(copy.join("fifo").metadata().unwrap().file_type().is_fifo());
    let holes = copy.join("sparse").metadata().unwrap();
    assert_eq!(holes.size(), 80 << 20);
    assert!(holes.blocks() * 512 < 1 << 20, "{} blocks", holes.blocks());
    let mut end = [0_u8; 3];
    let file = File::open(copy.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut end, 64 << 20).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn deep_trees_need_few_descriptors() {
    let world = World::new();
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    let deep: PathBuf = std::iter::repeat_n("d", 300).collect();
    fs::create_dir_all(tree.join(&deep)).unwrap();
    fs::write(tree.join(&deep).join("end"), "x").unwrap();
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: Some(128),
            ..before
        },
    )
    .unwrap();
    let merged = world.merged(&[&tree, &tree, &tree], Files::Linked);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
    assert_eq!(
        fs::read_to_string(merged.join(deep).join("end")).unwrap(),
        "x"
    );
}
