//! A stack of layers without mounting it: what it shows, what a container changed in it, and what archives of it hold.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use minidock_layer::aside::{Aside, AsideWriter, Device, DeviceKind, Record};
use minidock_layer::change::{ChangeKind, Comparison};
use minidock_layer::merged::{Level, Merged, Next, Node, NodeKind, Owners};
use minidock_layer::write::{
    ArchiveOptions, BlobWriter, Compression, TarWriter, archive, changes_to_tar,
};
use minidock_layer::{Error, Expect, Limits, Lower, Options, Ownership, Target, Whiteouts};

/// Folders of a store of one id, uppermost last.
struct Stack {
    folder: tempfile::TempDir,
    asides: Vec<Aside>,
    has_upper: bool,
    named_whiteouts: bool,
}

impl Stack {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            asides: Vec::new(),
            has_upper: false,
            named_whiteouts: false,
        }
    }

    fn layer(&mut self, records: &[(&str, Record)]) -> PathBuf {
        let mut bytes = Vec::new();
        let mut aside = AsideWriter::new(&mut bytes).unwrap();
        for (path, record) in records {
            aside.set(path.as_bytes(), record).unwrap();
        }
        aside.finish().unwrap();
        let path = self.folder.path().join(self.asides.len().to_string());
        fs::create_dir(&path).unwrap();
        self.asides.push(Aside::read(&bytes[..]).unwrap());
        path
    }

    fn upper(&mut self) -> PathBuf {
        self.has_upper = true;
        self.layer(&[])
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(number.to_string())
    }

    fn view(&self, skip: usize) -> Merged {
        let top = self.asides.len() - 1;
        let levels = (0..self.asides.len()).rev().skip(skip).map(|number| {
            let is_upper = self.has_upper && number == top;
            Level {
                tree: File::open(self.path(number)).unwrap().into(),
                aside: self.asides[number].clone(),
                owners: if is_upper {
                    Owners::Container { uid: 7, gid: 8 }
                } else {
                    Owners::Aside
                },
                root_seen: !is_upper,
                is_upper,
                named_whiteouts: is_upper && self.named_whiteouts,
            }
        });
        Merged::new(levels.collect())
    }

    fn changes(&self, ours: &[&str]) -> Vec<minidock_layer::change::Change> {
        let upper = File::open(self.path(self.asides.len() - 1)).unwrap();
        let ours: BTreeSet<Vec<u8>> = ours.iter().map(|p| p.as_bytes().to_vec()).collect();
        Comparison {
            merged: &self.view(0),
            lower: &self.view(1),
            upper: upper.as_fd(),
            ours: &ours,
        }
        .changes()
        .unwrap()
    }

    fn diff(&self, ours: &[&str]) -> Vec<String> {
        let letter = |kind| match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'C',
            ChangeKind::Deleted => 'D',
        };
        self.changes(ours)
            .iter()
            .map(|c| format!("{} /{}", letter(c.kind), String::from_utf8_lossy(&c.path)))
            .collect()
    }
}

fn owned(uid: u32, gid: u32) -> Record {
    Record {
        owner: Some((uid, gid)),
        ..Record::default()
    }
}

fn whiteout(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn mark(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

fn date(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    use rustix::fs::{AtFlags, CWD};
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn all(view: &Merged) -> Vec<String> {
    let mut lines = Vec::new();
    view.walk(&view.root().unwrap(), &mut |node: &Node| {
        let kind = match node.kind {
            NodeKind::File => format!("file of {}", node.size),
            NodeKind::Symlink => {
                let target = node.link_target().unwrap();
                format!("-> {}", String::from_utf8_lossy(&target))
            }
            other => format!("{other:?}").to_lowercase(),
        };
        let path = String::from_utf8_lossy(&node.path);
        lines.push(format!("{path} {kind} {}:{}", node.uid, node.gid));
        Ok::<_, Error>(Next::Into)
    })
    .unwrap();
    lines
}

#[test]
fn layers_are_merged_as_overlayfs_does() {
    let mut stack = Stack::new();
    let device = Record {
        device: Some(Device {
            kind: DeviceKind::Char,
            major: 1,
            minor: 3,
        }),
        ..owned(0, 5)
    };
    let base = stack.layer(&[
        ("", owned(9, 9)),
        ("kept/low", owned(1, 2)),
        ("null", device),
    ]);
    for dir in ["kept", "hidden", "gone", "file-later", "again"] {
        fs::create_dir(base.join(dir)).unwrap();
        fs::write(base.join(dir).join("low"), "low").unwrap();
    }
    fs::write(base.join("null"), "").unwrap();
    fs::write(base.join("dir-later"), "x").unwrap();
    let middle = stack.layer(&[("hidden", owned(3, 3))]);
    for dir in ["kept", "hidden", "dir-later"] {
        fs::create_dir(middle.join(dir)).unwrap();
        fs::write(middle.join(dir).join("middle"), "12345").unwrap();
    }
    mark(&middle.join("hidden"), "user.overlay.opaque", b"y");
    whiteout(&middle.join("gone"));
    whiteout(&middle.join("again"));
    whiteout(&middle.join("never-was"));
    fs::write(middle.join("file-later"), "1").unwrap();
    let top = stack.layer(&[]);
    fs::create_dir(top.join("again")).unwrap();
    whiteout(&top.join("null"));
    symlink("/kept/../kept/low", top.join("link")).unwrap();
    let expected = [
        " directory 0:0",
        "again directory 0:0",
        "dir-later directory 0:0",
        "dir-later/middle file of 5 0:0",
        "file-later file of 1 0:0",
        "hidden directory 3:3",
        "hidden/middle file of 5 0:0",
        "kept directory 0:0",
        "kept/low file of 3 1:2",
        "kept/middle file of 5 0:0",
        "link -> /kept/../kept/low 0:0",
    ];
    assert_eq!(all(&stack.view(0)), expected);
    let base_only = all(&stack.view(2));
    assert!(base_only.contains(&" directory 9:9".to_owned()));
    assert!(
        base_only.contains(&"null device(char, 1, 3) 0:5".to_owned()),
        "{base_only:?}"
    );
    let view = stack.view(0);
    let resolved = view.resolve(Path::new("/link")).unwrap().unwrap();
    assert_eq!(resolved.path, b"kept/low");
    assert!(view.resolve(Path::new("gone/low")).unwrap().is_none());
    assert!(view.lookup(b"link/x").unwrap().is_none());
    let up = view.resolve(Path::new("../../kept")).unwrap().unwrap();
    assert_eq!(up.path, b"kept");
}

#[test]
fn whiteouts_of_fuse_overlayfs_may_be_files_in_what_a_container_wrote() {
    let mut stack = Stack::new();
    let base = stack.layer(&[]);
    fs::create_dir_all(base.join("d/inner")).unwrap();
    for name in ["gone", "kept", "d/gone", "d/inner/x", "d/.wh.odd"] {
        fs::write(base.join(name), "").unwrap();
    }
    let upper = stack.upper();
    fs::create_dir(upper.join("d")).unwrap();
    for name in [".wh.gone", "d/.wh.gone", "d/.wh.inner", "d/new"] {
        fs::write(upper.join(name), "").unwrap();
    }
    std::os::unix::net::UnixListener::bind(upper.join("socket")).unwrap();
    // Elsewhere such a name is any other, and a socket is a socket in every container.
    let seen = |stack: &Stack| -> Vec<String> {
        let view = stack.view(0);
        for path in [&b"gone"[..], b"d/gone", b"d/inner", b"d/inner/x"] {
            let there = view.lookup(path).unwrap().is_some();
            assert_eq!(there, !stack.named_whiteouts);
        }
        let lines = all(&view).into_iter();
        let names = lines.map(|l| l.split(' ').next().unwrap_or_default().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    };
    assert!(seen(&stack).contains(&".wh.gone".to_owned()));
    stack.named_whiteouts = true;
    assert_eq!(seen(&stack), ["d", "d/.wh.odd", "d/new", "kept", "socket"]);
    assert_eq!(
        stack.diff(&[]),
        [
            "C /d",
            "D /d/gone",
            "D /d/inner",
            "A /d/new",
            "D /gone",
            "A /socket"
        ]
    );
}

#[test]
fn a_view_deeper_than_there_are_descriptors_is_walked() {
    let mut stack = Stack::new();
    let base = stack.layer(&[]);
    fs::create_dir_all(base.join("d/".repeat(1500))).unwrap();
    fs::write(base.join("z"), "").unwrap();
    let view = stack.view(0);
    let (mut visited, mut most) = (Vec::new(), 0);
    view.walk(&view.root().unwrap(), &mut |node: &Node| {
        visited.push(node.path.len());
        if node.path.len() % 100 == 1 {
            most = most.max(fs::read_dir("/proc/self/fd").unwrap().count());
        }
        Ok::<_, Error>(Next::Into)
    })
    .unwrap();
    assert_eq!((visited.len(), *visited.last().unwrap()), (1502, 1));
    // Other tests have some open as well.
    assert!(most < 500, "{most} descriptors");
}

/// A container on two layers that did some of everything.
fn busy() -> Stack {
    let mut stack = Stack::new();
    let base = stack.layer(&[("etc/owned", owned(5, 6)), ("srv", owned(5, 5))]);
    for dir in ["etc", "srv", "var", "var/a", "opt", "opt/sub", "tmp"] {
        fs::create_dir(base.join(dir)).unwrap();
    }
    for file in [
        "etc/owned",
        "etc/touched",
        "srv/x",
        "var/a/1",
        "var/a/2",
        "opt/old",
        "opt/sub/in",
    ] {
        fs::write(base.join(file), "same").unwrap();
        date(&base.join(file), 1000);
    }
    for dir in ["etc", "srv", "var/a", "var", "opt/sub", "opt", "tmp"] {
        date(&base.join(dir), 1000);
    }
    let upper = stack.upper();
    let copy_up = |path: &str| {
        if base.join(path).is_dir() {
            fs::create_dir(upper.join(path)).unwrap();
        } else {
            fs::copy(base.join(path), upper.join(path)).unwrap();
        }
        mark(&upper.join(path), "user.overlay.origin", b"");
        date(&upper.join(path), 1000);
    };
    copy_up("etc");
    // Copied up and not changed; changed; content changed behind the clock's back.
    copy_up("etc/touched");
    copy_up("etc/owned");
    fs::write(upper.join("etc/owned"), "more than before").unwrap();
    copy_up("srv");
    copy_up("srv/x");
    fs::write(upper.join("srv/x"), "SAME").unwrap();
    date(&upper.join("srv/x"), 1000);
    date(&upper.join("srv"), 1000);
    // A folder that was removed and made anew, one that became a file, files that are gone and new.
    fs::create_dir(upper.join("opt")).unwrap();
    fs::create_dir(upper.join("opt/sub")).unwrap();
    mark(&upper.join("opt"), "user.overlay.opaque", b"y");
    fs::write(upper.join("opt/new"), "n").unwrap();
    copy_up("var");
    fs::write(upper.join("var/a"), "now a file").unwrap();
    whiteout(&upper.join("etc/never-was"));
    fs::create_dir_all(upper.join("proc")).unwrap();
    fs::create_dir_all(upper.join("dev/pts")).unwrap();
    fs::write(upper.join("etc/hosts"), "").unwrap();
    date(&upper.join("etc"), 2000);
    symlink("/proc/mounts", upper.join("etc/mtab")).unwrap();
    stack
}

const OURS: [&str; 6] = [
    "dev",
    "dev/pts",
    "proc",
    "etc/hosts",
    "etc/mtab",
    "tmp/volume",
];

#[test]
fn changes_are_those_that_docker_tells() {
    let stack = busy();
    let expected = [
        "C /etc",
        "C /etc/owned",
        "C /opt",
        "A /opt/new",
        "D /opt/old",
        "C /opt/sub",
        "D /opt/sub/in",
        "C /srv",
        "C /srv/x",
        "C /var",
        "C /var/a",
        "D /var/a/1",
        "D /var/a/2",
    ];
    assert_eq!(stack.diff(&OURS), expected);
    // With nothing but our own places, nothing was changed.
    fs::write(stack.path(1).join("etc/hosts"), "no placeholder any more").unwrap();
    assert!(stack.diff(&OURS).contains(&"A /etc/hosts".to_owned()));
}

#[test]
fn places_for_mounts_are_no_change() {
    let mut stack = Stack::new();
    let base = stack.layer(&[]);
    fs::create_dir(base.join("etc")).unwrap();
    date(&base.join("etc"), 1000);
    let upper = stack.upper();
    fs::create_dir_all(upper.join("etc")).unwrap();
    mark(&upper.join("etc"), "user.overlay.origin", b"");
    fs::create_dir_all(upper.join("dev/pts")).unwrap();
    symlink("/proc/mounts", upper.join("etc/mtab")).unwrap();
    assert_eq!(stack.diff(&OURS), [""; 0]);
    fs::create_dir(upper.join("dev/mine")).unwrap();
    assert_eq!(stack.diff(&OURS), ["A /dev", "A /dev/mine"]);
}

#[test]
fn what_was_copied_up_keeps_its_owner_and_what_is_new_is_the_containers() {
    let stack = busy();
    let view = stack.view(0);
    let owner = |path: &str| {
        let node = view.lookup(path.as_bytes()).unwrap().unwrap();
        (node.uid, node.gid)
    };
    assert_eq!(owner("etc/owned"), (5, 6));
    assert_eq!(owner("etc/touched"), (0, 0));
    assert_eq!(owner("srv"), (5, 5));
    assert_eq!(owner("opt/new"), (7, 8));
    assert_eq!(owner("opt"), (7, 8), "made anew, not copied up");
    assert_eq!(owner(""), (0, 0));
}

fn layer_of(stack: &Stack) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    let options = ArchiveOptions { latest: Some(1500) };
    changes_to_tar(&stack.view(0), &stack.changes(&OURS), &mut tar, &options).unwrap();
    tar.finish().unwrap()
}

/// Unpacks a layer onto another, if there is one.
fn unpack(tar: &[u8], into: &Path, below: Option<(&Path, &Aside)>) -> Aside {
    let tree = File::open(into).unwrap();
    let aside = tempfile::NamedTempFile::new().unwrap();
    let target = Target {
        tree: tree.as_fd(),
        blob: None,
        aside: Some(aside.as_file()),
    };
    let options = Options {
        ownership: Ownership::Single,
        limits: Limits::default(),
        whiteouts: Whiteouts::default(),
    };
    let unpacked = minidock_layer::unpack(tar, &Expect::default(), &target, &options).unwrap();
    let kept = tempfile::NamedTempFile::new().unwrap();
    let lower: Vec<Lower> = below
        .map(|(tree, records)| {
            let mut writer = AsideWriter::new(kept.as_file()).unwrap();
            for (path, record) in records.iter() {
                writer.set(path, record).unwrap();
            }
            writer.finish().unwrap();
            Lower::new(File::open(tree).unwrap().into(), kept.path())
        })
        .into_iter()
        .collect();
    let lower: Vec<&Lower> = lower.iter().collect();
    let more = File::options().append(true).open(aside.path()).unwrap();
    let needs = unpacked.needs_lower;
    minidock_layer::complete(tree.as_fd(), Some(&more), needs, &lower, &options).unwrap();
    Aside::read(File::open(aside.path()).unwrap()).unwrap()
}

#[test]
fn a_layer_of_the_changes_on_top_of_the_layers_shows_what_the_container_saw() {
    let stack = busy();
    let tar = layer_of(&stack);
    let mut again = Stack::new();
    let base = again.layer(&[]);
    fs::remove_dir(&base).unwrap();
    fs::rename(stack.path(0), &base).unwrap();
    again.asides[0] = stack.asides[0].clone();
    let layer = again.layer(&[]);
    again.asides[1] = unpack(&tar, &layer, Some((&base, &again.asides[0])));
    let mut expected = {
        fs::rename(&base, stack.path(0)).unwrap();
        let lines = all(&stack.view(0));
        fs::rename(stack.path(0), &base).unwrap();
        lines
    };
    expected.retain(|line| !OURS.iter().any(|p| line.starts_with(&format!("{p} "))));
    assert_eq!(all(&again.view(0)), expected);
    assert_eq!(fs::read(layer.join("srv/x")).unwrap(), b"SAME");
    let etc = fs::metadata(layer.join("etc")).unwrap();
    assert_eq!(etc.mtime(), 1500, "later than wanted");
}

#[test]
fn a_layer_has_the_same_bytes_each_time_and_no_trace_of_the_overlay() {
    let (first, second) = (layer_of(&busy()), layer_of(&busy()));
    assert!(first == second, "two containers that did the same differ");
    let needle = b"overlay";
    assert!(!first.windows(needle.len()).any(|w| w == needle));
    let names: Vec<String> = tar::Archive::new(&first[..])
        .entries()
        .unwrap()
        .map(|e| String::from_utf8(e.unwrap().path_bytes().into_owned()).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "etc/",
            "etc/owned",
            "opt/",
            "opt/new",
            "opt/.wh.old",
            "opt/sub/",
            "opt/sub/.wh.in",
            "srv/",
            "srv/x",
            "var/",
            "var/a"
        ]
    );
}

#[test]
fn compressed_bytes_are_the_known_ones() {
    let mut content = Vec::new();
    for i in 0..200_000_u32 {
        content.extend(i.wrapping_mul(2_654_435_761).to_le_bytes()[..2].iter());
        content.extend(b"text that repeats ");
    }
    let digest = |compression| {
        let file = tempfile::tempfile().unwrap();
        let mut blob = BlobWriter::new(&file, compression).unwrap();
        blob.write_all(&content).unwrap();
        let written = blob.finish().unwrap();
        assert_eq!(written.tar_size, content.len() as u64);
        assert_eq!(written.blob_size, file.metadata().unwrap().len());
        let mut stored = vec![0; usize::try_from(written.blob_size).unwrap()];
        file.read_exact_at(&mut stored, 0).unwrap();
        let seen = minidock_layer::identify(&stored[..], &Expect::default()).unwrap();
        assert_eq!(
            (seen.blob, seen.diff_id),
            (written.blob.clone(), written.diff_id)
        );
        written.blob.short().to_owned()
    };
    // Another release of a compressor may change these; another machine may not.
    expect_test::expect!["0e2e2c1d6807"].assert_eq(&digest(Compression::Gzip));
    expect_test::expect!["2d09a1959a25"].assert_eq(&digest(Compression::Zstd));
}

/// Everything that a tar can be asked to hold.
fn hard() -> (Stack, PathBuf) {
    let mut stack = Stack::new();
    let long = "l".repeat(255);
    let big = owned(u32::MAX - 1, 3_000_000);
    let base = stack.layer(&[
        ("big-id", big),
        (
            "capable",
            Record {
                xattrs: vec![
                    (
                        b"security.capability".to_vec(),
                        b"\x01\0\0\x02\0 \0\0\n=\0".to_vec(),
                    ),
                    (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
                ],
                ..Record::default()
            },
        ),
    ]);
    let file = |name: &str, content: &[u8], mode: u32, time: i64| {
        let path = base.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        date(&path, time);
    };
    file("big-id", b"", 0o644, 5);
    file("capable", b"", 0o4755, -7);
    file("late", b"x", 0o600, 1 << 33);
    file(&long, b"y", 0o640, 1);
    file("new\nline", b"", 0o644, 1);
    let raw = base.join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    fs::write(&raw, "raw").unwrap();
    fs::write(base.join(std::ffi::OsStr::from_bytes(&[0xe9; 200])), "").unwrap();
    mark(&base.join("late"), "user.note", b"a\nb=c");
    fs::create_dir_all(base.join("deep/".repeat(60))).unwrap();
    fs::hard_link(base.join("late"), base.join("deep/late")).unwrap();
    symlink("t".repeat(150), base.join("far")).unwrap();
    fs::hard_link(base.join("far"), base.join("far2")).unwrap();
    let sparse = File::create(base.join("sparse")).unwrap();
    sparse.set_len(3 << 30).unwrap();
    sparse.write_all_at(b"middle", 1 << 30).unwrap();
    sparse.write_all_at(b"\0\0\0", 1 << 20).unwrap();
    let hole = File::create(base.join("hole")).unwrap();
    hole.set_len(2 << 20).unwrap();
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(
        CWD,
        base.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    (stack, base)
}

fn archived(stack: &Stack) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    archive(&stack.view(0), &mut tar, &ArchiveOptions::default()).unwrap();
    tar.finish().unwrap()
}

/// All that is to know of a file.
fn facts(view: &Merged) -> Vec<String> {
    let mut lines = Vec::new();
    let mut groups: Vec<((usize, u64, u64), Vec<u8>)> = Vec::new();
    view.walk(&view.root().unwrap(), &mut |node: &Node| {
        if node.path.is_empty() {
            return Ok::<_, Error>(Next::Into);
        }
        let first = match groups.iter().find(|(inode, _)| *inode == node.inode()) {
            Some((_, first)) => first.clone(),
            None => {
                groups.push((node.inode(), node.path.clone()));
                node.path.clone()
            }
        };
        let content = match node.kind {
            NodeKind::File if node.size < 1000 => {
                std::io::read_to_string(node.open().unwrap()).unwrap()
            }
            NodeKind::Symlink => String::from_utf8(node.link_target().unwrap()).unwrap(),
            _ => String::new(),
        };
        lines.push(format!(
            "{} {:?} {:o} {}:{} {:?} {} {:?} {} {content}",
            node.path.escape_ascii(),
            node.kind,
            node.mode,
            node.uid,
            node.gid,
            node.mtime,
            node.size,
            node.xattrs().unwrap(),
            first.escape_ascii()
        ));
        Ok(Next::Into)
    })
    .unwrap();
    lines
}

#[test]
fn an_archive_unpacked_is_what_was_archived() {
    let (stack, base) = hard();
    let tar = archived(&stack);
    assert!(tar.len() < 1 << 20, "holes were written out: {}", tar.len());
    let mut again = Stack::new();
    let layer = again.layer(&[]);
    again.asides[0] = unpack(&tar, &layer, None);
    assert_eq!(facts(&again.view(0)), facts(&stack.view(0)));
    let sparse = File::open(layer.join("sparse")).unwrap();
    let mut middle = [0; 8];
    sparse.read_exact_at(&mut middle, 1 << 30).unwrap();
    assert_eq!(&middle, b"middle\0\0");
    assert!(sparse.metadata().unwrap().blocks() < 1000);
    drop(base);
}

#[test]
fn gnu_tar_and_bsdtar_read_it_alike() {
    let (stack, _) = hard();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, archived(&stack)).unwrap();
    for program in ["tar", "bsdtar"] {
        let to = folder.path().join(program);
        fs::create_dir(&to).unwrap();
        let mut command = std::process::Command::new(program);
        command
            .arg("-xf")
            .arg(&path)
            .arg("-C")
            .arg(&to)
            .args(["--no-same-owner", "--no-xattrs"]);
        let Ok(output) = command.output() else {
            assert!(program != "tar", "tar cannot be run");
            eprintln!("{program} is not installed: not compared");
            continue;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {errors}");
        let expected: Vec<_> = names(&stack.path(0));
        assert_eq!(names(&to), expected, "{program}: {errors}");
        let meta = |name: &str| fs::symlink_metadata(to.join(name)).unwrap();
        assert_eq!(meta("late").mtime(), 1 << 33, "{program}");
        assert_eq!(meta("capable").mtime(), -7, "{program}");
        assert_eq!(meta("late").ino(), meta("deep/late").ino(), "{program}");
        assert_eq!(meta("far").ino(), meta("far2").ino(), "{program}");
        assert_eq!(meta("sparse").len(), 3 << 30, "{program}");
        assert!(meta("sparse").blocks() < 10_000, "{program}");
    }
}

fn names(root: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let inside = path.strip_prefix(root).unwrap();
            found.push(inside.as_os_str().as_bytes().to_vec());
            if path.symlink_metadata().unwrap().is_dir() {
                todo.push(path);
            }
        }
    }
    found.sort();
    found
}
