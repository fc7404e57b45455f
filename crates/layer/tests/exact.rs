//! What a layer's entries become, case by case; and what they must never become.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use minidock_layer::{Ownership, Whiteouts};
use support::stack::Stack;
use support::{Tar, World, is_opaque};

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let mut stack = Stack::new(Ownership::Single, Whiteouts::Devices);
    let below = Tar::new().file("a/gone", b"").file("b/low", b"");
    stack
        .apply(&below.file("c/low", b"").file("a/kept", b"").finish())
        .unwrap();
    let layer = Tar::new()
        .file("a/kept", b"1")
        .file("a/.wh.gone", b"")
        .file("a/.wh.kept", b"")
        .folder("b", 0o755)
        .file("b/.wh..wh..opq", b"")
        .file("b/own", b"2")
        .file(".wh.c", b"")
        .file("c/again", b"3")
        .file("a/.wh..wh.aufs", b"");
    stack.apply(&layer.finish()).unwrap();
    let tree = stack.tree(1);
    assert_eq!(std::fs::read(tree.join("a/kept")).unwrap(), b"1");
    let gone = std::fs::symlink_metadata(tree.join("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(is_opaque(&tree.join("b")) && tree.join("b/own").exists());
    // Deleted and made anew in one layer: what was below stays hidden.
    assert!(is_opaque(&tree.join("c")) && tree.join("c/again").exists());
    assert!(!is_opaque(&tree.join("a")));
    let mut names: Vec<_> = std::fs::read_dir(tree.join("a"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["gone", "kept"]);
}

#[test]
fn the_last_entry_of_a_path_wins_whatever_was_there() {
    let world = World::new();
    let tree = world.unpack(
        Tar::new()
            .file("x", b"file")
            .folder("x", 0o700)
            .file("x/in", b"1")
            .file("y/deep/er", b"1")
            .symlink("y", "elsewhere")
            .symlink("z", "nowhere")
            .folder("z", 0o750)
            .file("w", b"1")
            .file("w", b"22")
            .file("v", b"1")
            .hard_link("v2", "v")
            .file("v", b"changed"),
    );
    assert_eq!(std::fs::read(tree.join("x/in")).unwrap(), b"1");
    assert_eq!(
        std::fs::read_link(tree.join("y")).unwrap(),
        Path::new("elsewhere")
    );
    assert_eq!(
        std::fs::symlink_metadata(tree.join("z")).unwrap().mode(),
        0o40750
    );
    assert_eq!(std::fs::read(tree.join("w")).unwrap(), b"22");
    assert_eq!(
        std::fs::read(tree.join("v2")).unwrap(),
        b"1",
        "replacing a name wrote through its hard link"
    );
}

#[test]
fn modes_and_times_are_those_of_the_archive() {
    let world = World::new();
    let long = "n".repeat(255);
    let deep = format!("{}/end", "d/".repeat(120));
    let tree = world.unpack(
        Tar::new()
            .folder("closed", 0o000)
            .file("closed/in", b"1")
            .folder("sticky", 0o1777)
            .mtime(-5)
            .file_mode("suid", 0o4755, b"1")
            .mtime(4_000_000_000)
            .file(&long, b"1")
            .pax(&[("mtime", "1700000000.123456789")])
            .file("precise", b"1")
            .file(&deep, b"1")
            .fifo("pipe"),
    );
    let meta = |p: &str| std::fs::symlink_metadata(tree.join(p)).unwrap();
    assert_eq!(meta("closed").mode() & 0o7777, 0);
    assert_eq!(meta("sticky").mode() & 0o7777, 0o1777);
    assert_eq!(
        (meta("suid").mode() & 0o7777, meta("suid").mtime()),
        (0o4755, -5)
    );
    assert_eq!(meta(&long).mtime(), 4_000_000_000);
    assert_eq!(
        (meta("precise").mtime(), meta("precise").mtime_nsec()),
        (1_700_000_000, 123_456_789)
    );
    assert!(tree.join(&deep).exists());
    assert!(meta("pipe").file_type().is_fifo());
    std::fs::set_permissions(
        tree.join("closed"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    assert!(tree.join("closed/in").exists());
}

#[test]
fn a_symlink_on_the_way_is_followed_within_the_layer_only() {
    let world = World::new();
    let tree = world.unpack(
        Tar::new()
            .folder("usr/lib", 0o755)
            .symlink("lib", "usr/lib")
            .file("lib/inside", b"1")
            .symlink("abs", "/usr")
            .file("abs/too", b"2")
            .symlink("up", "../../../../../../..")
            .file("up/canary", b"3")
            .symlink("new", "made/by/link")
            .file("new/file", b"4"),
    );
    assert_eq!(std::fs::read(tree.join("usr/lib/inside")).unwrap(), b"1");
    assert_eq!(std::fs::read(tree.join("usr/too")).unwrap(), b"2");
    assert_eq!(std::fs::read(tree.join("canary")).unwrap(), b"3");
    assert_eq!(std::fs::read(tree.join("made/by/link/file")).unwrap(), b"4");
    world.assert_untouched();
}

#[test]
fn nothing_outside_the_layer_is_reached() {
    let world = World::new();
    let outside = world.outside();
    let target = outside.to_str().unwrap().to_owned();
    let canary = outside.join("canary").to_str().unwrap().to_owned();
    let attacks: Vec<(&str, Tar)> = vec![
        ("dotdot", Tar::new().file("../canary", b"x")),
        ("dotdot inside", Tar::new().file("a/../../canary", b"x")),
        ("absolute", Tar::new().file(&canary, b"x")),
        (
            "write through",
            Tar::new().symlink("l", &target).file("l/canary", b"x"),
        ),
        (
            "whiteout through",
            Tar::new().symlink("l", &target).file("l/.wh.canary", b""),
        ),
        (
            "opaque through",
            Tar::new().symlink("l", &target).file("l/.wh..wh..opq", b""),
        ),
        (
            "folder through",
            Tar::new()
                .symlink("l", &target)
                .folder("l", 0o777)
                .folder("l/x", 0o777),
        ),
        (
            "link to outside",
            Tar::new().hard_link("h", &canary).file("h", b"x"),
        ),
        (
            "link through",
            Tar::new().symlink("l", &target).hard_link("h", "l/canary"),
        ),
        (
            "link climbing",
            Tar::new().hard_link("h", "../outside/canary"),
        ),
        (
            "last symlink",
            Tar::new().symlink("l", &canary).file("l", b"x"),
        ),
        (
            "loop",
            Tar::new()
                .symlink("a", "b")
                .symlink("b", "a")
                .file("a/x", b"x"),
        ),
        ("whiteout of dot", Tar::new().file(".wh..", b"")),
        ("whiteout of dotdot", Tar::new().file(".wh...", b"")),
        ("whiteout of nothing", Tar::new().file(".wh.", b"")),
        (
            "root as file",
            Tar::new().file("./", b"x").symlink(".", "/tmp"),
        ),
        ("root as link", Tar::new().symlink("/", &target)),
    ];
    for (name, tar) in attacks {
        // Refused or made harmless: either will do, as long as nothing happened outside.
        let _ = world.try_unpack(tar);
        world.assert_untouched_by(name);
    }
}

#[test]
fn what_is_malformed_is_refused_in_words() {
    let world = World::new();
    let plain = Tar::new().file("a", &[7; 3000]).finish();
    let cut = plain[..1500].to_vec();
    let mut sum = plain.clone();
    sum[0] ^= 1;
    let mut negative = plain.clone();
    negative[124..136].copy_from_slice(&[0xff; 12]);
    support::fix_checksum(&mut negative);
    let mut huge = plain.clone();
    huge[124..136].copy_from_slice(&[
        0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    support::fix_checksum(&mut huge);
    let mut kind = plain.clone();
    kind[156] = b'Z';
    support::fix_checksum(&mut kind);
    for (bytes, expected) in [
        (cut, "middle of an entry"),
        (sum, "checksum"),
        (negative, "negative"),
        (huge, "absurd"),
        (kind, "unknown type"),
        (b"\xfd7zXZ\0rest".to_vec(), "xz"),
        (b"BZh91AY&SY".to_vec(), "bzip2"),
    ] {
        let error = world.try_bytes(&bytes).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let pax = Tar::new().pax_raw(b"11 path=abc").file("x", b"1");
    assert!(world.try_unpack(pax).unwrap_err().contains("PAX"));
    let dots = Tar::new().file("a/../b", b"1");
    assert!(world.try_unpack(dots).unwrap_err().contains("leads out"));
}

#[test]
fn gzip_members_zstd_frames_and_padding_count_in_the_digest() {
    use minidock_oci::Digest;
    let world = World::new();
    let mut plain = Tar::new().file("a", b"1").finish();
    plain.extend([0; 10_240]);
    let (one, two) = plain.split_at(700);
    let gzip = [support::gzip(one), support::gzip(two)].concat();
    let zstd = [support::zstd(one), support::zstd(two)].concat();
    for blob in [plain.clone(), gzip, zstd] {
        let unpacked = world.unpack_bytes(&blob).unwrap();
        assert_eq!(unpacked.diff_id.0, Digest::sha256(&plain));
        assert_eq!(unpacked.blob, Digest::sha256(&blob));
        assert_eq!(unpacked.blob_size, blob.len() as u64);
    }
}

#[test]
fn a_bomb_is_stopped() {
    let world = World::new();
    let limits = minidock_layer::Limits {
        ratio_free: 1 << 20,
        ..Default::default()
    };
    let zeros = Tar::new().file("zeros", &vec![0; 8 << 20]).finish();
    let error = world
        .try_with_limits(&support::gzip(&zeros), limits)
        .unwrap_err();
    assert!(error.contains("bomb"), "{error}");
    let limits = minidock_layer::Limits {
        max_entries: 3,
        ..Default::default()
    };
    let many = (0..5).fold(Tar::new(), |t, i| t.file(&i.to_string(), b""));
    let error = world.try_with_limits(&many.finish(), limits).unwrap_err();
    assert!(error.contains("more than 3 entries"), "{error}");
    let sparse = Tar::new().pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "9000000000000000000"),
    ]);
    let error = world
        .try_unpack(sparse.file("s", &[b"0\n".as_slice(), &[0; 510]].concat()))
        .unwrap_err();
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn sparse_files_keep_their_holes_and_content() {
    let world = World::new();
    let map = b"2\n0\n3\n100000\n2\n";
    let mut data = map.to_vec();
    data.resize(512, 0);
    data.extend(b"abcXY");
    let sparse = Tar::new().pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "real"),
        ("GNU.sparse.realsize", "200000"),
    ]);
    let tree = world.unpack(sparse.file("GNUSparseFile.0/real", &data));
    let content = std::fs::read(tree.join("real")).unwrap();
    assert_eq!(content.len(), 200_000);
    assert_eq!(
        (&content[..3], &content[100_000..100_002]),
        (&b"abc"[..], &b"XY"[..])
    );
    assert!(content[3..100_000].iter().all(|b| *b == 0));
}

/// Enough small files in a row to be filled in batches, with large ones between, of which some are replaced, linked to and
/// shut away as soon as their names are made.
#[test]
fn thousands_of_small_files_have_their_own_content_mode_and_time() {
    let content = |i: usize| format!("{i} ").repeat(i % 97).into_bytes();
    let mode = |i: usize| [0o644, 0o755, 0o4755, 0o2711, 0o000, 0o400][i % 6];
    let mut tar = Tar::new();
    for folder in 0..20 {
        tar = tar.folder(&format!("f{folder}"), 0o500);
        for i in 0..200 {
            let i = folder * 200 + i;
            let name = format!("f{folder}/{i}");
            if i % 9 == 0 {
                tar = tar.file_mode(&name, 0o4777, b"replaced at once");
            }
            if i % 50 == 0 {
                tar = tar.file("large", &vec![b'L'; 300_000]);
            }
            let mtime = i64::try_from(i).unwrap() - 2000;
            tar = tar.mtime(mtime).file_mode(&name, mode(i), &content(i));
            if i % 11 == 0 {
                tar = tar.hard_link(&format!("link{i}"), &name);
            }
            if i % 13 == 0 {
                tar = tar
                    .file_mode(&format!("gone{i}"), 0o644, b"gone")
                    .folder(&format!("gone{i}"), 0o711);
            }
        }
    }
    let world = World::new();
    let tree = world.unpack(tar);
    for i in 0..4000 {
        let path = tree.join(format!("f{}/{i}", i / 200));
        let found = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o7777, mode(i), "{i}");
        assert_eq!(found.mtime(), i64::try_from(i).unwrap() - 2000, "{i}");
        assert_eq!(found.len(), content(i).len() as u64, "{i}");
        if found.mode() & 0o400 != 0 {
            assert_eq!(std::fs::read(&path).unwrap(), content(i), "{i}");
        }
        if i % 11 == 0 {
            let link = std::fs::symlink_metadata(tree.join(format!("link{i}"))).unwrap();
            assert_eq!((link.ino(), link.nlink()), (found.ino(), 2), "{i}");
        }
        if i % 13 == 0 {
            assert!(tree.join(format!("gone{i}")).is_dir(), "{i}");
        }
    }
    assert_eq!(std::fs::read(tree.join("large")).unwrap().len(), 300_000);
}
