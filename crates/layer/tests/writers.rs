//! Archives of the tars that people have: what we make of them is what they were given.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use support::World;

/// Of each path: kind and mode, size and content or target, time, and the first of its names.
type Facts = BTreeMap<Vec<u8>, String>;

/// What a format cannot say.
#[derive(Clone, Copy)]
struct Able {
    /// Names of more than 100 bytes, and of more than 255 with their folder.
    long: bool,
    /// Times before 1970 and after 2242.
    times: bool,
    nanos: bool,
    xattrs: bool,
}

const OLD: Able = Able {
    long: false,
    times: false,
    nanos: false,
    xattrs: false,
};
const GNU: Able = Able {
    long: true,
    times: true,
    ..OLD
};
const PAX: Able = Able { nanos: true, ..GNU };
const ALL: Able = Able {
    xattrs: true,
    ..PAX
};

fn date(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with all that the format can hold.
fn source(root: &Path, able: Able) {
    let mut made: Vec<PathBuf> = Vec::new();
    let mut file = |name: &[u8], content: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        made.push(path.clone());
        path
    };
    let plain = file(b"plain", b"content");
    file(b"dir/new\nline", b"1");
    file(b"dir/back\\slash \"quoted\" *?[x]", b"2");
    file(b"dir/bytes\xff\xfe", b"3");
    file(b"empty", b"");
    file(b"block", &[7; 512]);
    let setuid = file(b"setuid", b"4");
    fs::set_permissions(&setuid, PermissionsExt::from_mode(0o4711)).unwrap();
    let holes = file(b"holes", b"");
    let holes = fs::OpenOptions::new().write(true).open(holes).unwrap();
    holes.set_len(6 << 20).unwrap();
    for at in [5_u64, 1 << 20, (3 << 20) + 7777, (6 << 20) - 1] {
        holes.write_all_at(b"x", at).unwrap();
    }
    let only = file(b"onlyhole", b"");
    let only = fs::OpenOptions::new().write(true).open(only).unwrap();
    only.set_len(3 << 20).unwrap();
    file(
        &[&[b'm'; 60][..], b"/", &[b'n'; 36]].concat(),
        b"99 bytes with what tar puts in front",
    );
    if able.long {
        let long = file(&[b'l'; 255], b"5");
        file(&[&[b'p'; 200][..], b"/", &[b'q'; 200]].concat(), b"6");
        fs::hard_link(long, root.join("to-long")).unwrap();
        symlink("t".repeat(300), root.join("long-link")).unwrap();
    }
    fs::hard_link(&plain, root.join("dir/hard")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    rustix::fs::mknodat(
        CWD,
        root.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    fs::set_permissions(root.join("sticky"), PermissionsExt::from_mode(0o1770)).unwrap();
    if able.xattrs {
        for (name, value) in [("user.bytes", &b"a=\n\0\xff"[..]), ("user.none", b"")] {
            rustix::fs::setxattr(&plain, name, value, XattrFlags::empty()).unwrap();
        }
    }
    for (i, path) in made.iter().enumerate() {
        date(
            path,
            1_000_000_000 + i64::try_from(i).unwrap(),
            if able.nanos { 5 } else { 0 },
        );
    }
    if able.times {
        date(&root.join("empty"), -86_400, 0);
        date(&root.join("block"), 1 << 33, 0);
    }
    for folder in ["sticky", "dir", "link", "fifo", ""] {
        date(&root.join(folder), 1_234_567_890, 0);
    }
}

fn facts(root: &Path, able: Able) -> Facts {
    let mut found = Facts::new();
    let mut names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    let mut paths = Vec::new();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                todo.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        let meta = path.symlink_metadata().unwrap();
        let what = if meta.is_file() {
            let content = fs::read(&path).unwrap();
            let sum = content.iter().zip(1_u64..).fold(0, |sum: u64, (b, at)| {
                sum.wrapping_add(u64::from(*b).wrapping_mul(at))
            });
            format!("{} bytes, {sum}", content.len())
        } else if meta.is_symlink() {
            format!("to {:?}", fs::read_link(&path).unwrap())
        } else {
            String::new()
        };
        let first = names.entry(meta.ino()).or_insert_with(|| name.to_owned());
        let first = String::from_utf8_lossy(first).into_owned();
        let time = (meta.mtime(), if able.nanos { meta.mtime_nsec() } else { 0 });
        let mut xattrs = Vec::new();
        if able.xattrs && meta.is_file() {
            for name in ["user.bytes", "user.none"] {
                let mut value = [0; 64];
                if let Ok(n) = rustix::fs::getxattr(&path, name, &mut value[..]) {
                    xattrs.push((name, value[..n].to_owned()));
                }
            }
        }
        let text = format!("{:o} {what} {time:?} {first} {xattrs:?}", meta.mode());
        found.insert(name.to_owned(), text);
    }
    found
}

const PYTHON: &str = r#"
import os, sys, tarfile
os.chdir(sys.argv[1])
form = getattr(tarfile, sys.argv[2] + "_FORMAT")
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=form, errors="surrogateescape") as tar:
    for folder, inner, files in os.walk("."):
        for name in sorted(inner + files):
            tar.add(os.path.join(folder, name), recursive=False)
"#;

#[test]
fn what_other_programs_archive_comes_back() {
    let writers: &[(&str, &[&str], Able)] = &[
        ("tar", &["--format=v7"], Able { ..OLD }),
        ("tar", &["--format=ustar"], OLD),
        ("tar", &["--format=oldgnu"], GNU),
        ("tar", &["--format=oldgnu", "--sparse"], GNU),
        ("tar", &["--format=gnu"], GNU),
        ("tar", &["--format=gnu", "--sparse"], GNU),
        ("tar", &["--format=pax", "--xattrs"], ALL),
        (
            "tar",
            &[
                "--format=pax",
                "--xattrs",
                "--sparse",
                "--sparse-version=0.0",
            ],
            ALL,
        ),
        (
            "tar",
            &[
                "--format=pax",
                "--xattrs",
                "--sparse",
                "--sparse-version=0.1",
            ],
            ALL,
        ),
        (
            "tar",
            &[
                "--format=pax",
                "--xattrs",
                "--sparse",
                "--sparse-version=1.0",
            ],
            ALL,
        ),
        ("bsdtar", &["--format=ustar"], OLD),
        (
            "bsdtar",
            &["--format=gnutar"],
            Able {
                times: false,
                ..GNU
            },
        ),
        ("bsdtar", &["--format=pax"], ALL),
        (
            "busybox",
            &["tar"],
            Able {
                times: false,
                ..GNU
            },
        ),
        ("python3", &["USTAR"], OLD),
        ("python3", &["GNU"], GNU),
        (
            "python3",
            &["PAX"],
            Able {
                nanos: false,
                ..PAX
            },
        ),
    ];
    let world = World::new();
    for (program, flags, able) in writers {
        let folder = tempfile::tempdir().unwrap();
        source(folder.path(), *able);
        let mut command = Command::new(program);
        match *program {
            "python3" => command.args(["-c", PYTHON]).arg(folder.path()).args(*flags),
            _ => command
                .args(*flags)
                .args(["-cf", "-", "-C"])
                .arg(folder.path())
                .arg("."),
        };
        let Ok(output) = command.output() else {
            let must = std::env::var_os("MINIDOCK_TEST_MUST_WORK").is_some();
            assert!(!must && *program != "tar", "{program} cannot be run");
            eprintln!("{program} is not installed: its archives were not tried");
            continue;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        // GNU tar's v7 has no fifos, and says so.
        let is_v7 = flags.contains(&"--format=v7");
        assert!(
            output.status.success() || is_v7,
            "{program} {flags:?}: {errors}"
        );
        let tree = world.unpack_foreign(&output.stdout);
        let mut expected = facts(folder.path(), *able);
        if is_v7 {
            expected.remove(&b"fifo"[..]);
        }
        let actual = facts(&tree, *able);
        for (path, fact) in &expected {
            let name = String::from_utf8_lossy(path);
            assert_eq!(actual.get(path), Some(fact), "{name}: {program} {flags:?}");
        }
        assert_eq!(actual.len(), expected.len(), "{program} {flags:?}");
    }
}
