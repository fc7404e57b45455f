//! Archives that want to break something: refused in words, or made harmless.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use support::{Tar, World, gzip};

fn refused(tar: Tar) -> String {
    World::new().try_unpack(tar).unwrap_err()
}

#[test]
fn names_that_fit_no_file_system_are_refused() {
    let error = refused(Tar::new().file(&"n".repeat(256), b""));
    assert!(
        error.contains("256 bytes") && error.contains("255 is the most"),
        "{error}"
    );
    World::new().unpack(Tar::new().file(&"n".repeat(255), b""));
    // Its own name is never made.
    World::new().unpack(Tar::new().file(&format!(".wh.{}", "n".repeat(255)), b""));
    let error = refused(Tar::new().file(&"d/".repeat(2100), b""));
    assert!(error.contains("4095 is the most"), "{error}");
}

#[test]
fn the_deepest_name_needs_few_descriptors() {
    let world = World::new();
    let deep = "d/".repeat(2040);
    world.unpack(
        Tar::new()
            .file(&format!("{deep}f"), b"1")
            .file(&format!("{deep}g"), b"2"),
    );
}

#[test]
fn symlinks_lead_no_deeper_than_names_do() {
    let long = "d/".repeat(2000);
    let tar = Tar::new()
        .folder(&long, 0o755)
        .symlink("l", &long)
        .symlink(&format!("{long}m"), &long)
        .file("l/d/d/d/x", b"");
    World::new().try_unpack(tar).unwrap();
    let tar = Tar::new()
        .symlink("l", &long)
        .file(&format!("l/{long}x"), b"");
    let error = refused(tar);
    assert!(error.contains("too deep"), "{error}");
}

#[test]
fn a_folder_named_like_a_whiteout_is_refused() {
    for tar in [
        Tar::new().file(".wh.a/b", b""),
        Tar::new().symlink("l", ".wh.a").file("l/b", b""),
    ] {
        let error = refused(tar);
        assert!(
            error.contains(".wh.a") && error.contains("whiteout"),
            "{error}"
        );
    }
}

#[test]
fn owners_go_up_to_two_to_the_32_less_2() {
    let world = World::new();
    world.unpack(
        Tar::new()
            .owner((u32::MAX - 1, u32::MAX - 1))
            .file("a", b""),
    );
    let error = refused(Tar::new().owner((u32::MAX, 0)).file("a", b""));
    assert!(
        error.contains("owner that cannot be: 4294967295:0"),
        "{error}"
    );
    let error = refused(Tar::new().pax(&[("gid", "4294967296")]).file("a", b""));
    assert!(error.contains("owner that cannot be"), "{error}");
    let negative = Tar::new().file("a", b"").patch(|h| h[108..116].fill(0xff));
    assert!(refused(negative).contains("negative uid"));
}

#[test]
fn what_is_malformed_names_the_entry_and_the_reason() {
    for (tar, reason) in [
        (
            Tar::new().file("f", b"").patch(|h| h[156] = b'Z'),
            "unknown type 'Z'",
        ),
        (
            Tar::new().file("f", b"").patch(|h| h[156] = b'M'),
            "another volume",
        ),
        (
            Tar::new().file("f", b"").patch(|h| h[100] = b'x'),
            "mode that is no number",
        ),
        (
            Tar::new().pax(&[("size", "-1")]).file("f", b""),
            "negative size",
        ),
        (
            Tar::new().pax(&[("mtime", "soon")]).file("f", b""),
            "mtime that is no number",
        ),
        (
            Tar::new().pax(&[("path", "f\0g")]).file("x", b""),
            "NUL byte",
        ),
        (
            Tar::new().pax(&[("linkpath", "a\0")]).symlink("f", "x"),
            "NUL byte",
        ),
        (Tar::new().symlink("f", ""), "symlink to nowhere"),
        (Tar::new().file("f/../../x", b""), "leads out"),
    ] {
        let error = refused(tar);
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(error.contains("\"f"), "{error}");
    }
    let error = refused(Tar::new().pax(&[("path", "x")]));
    assert!(error.contains("ends after an extension header"), "{error}");
}

#[test]
fn an_archive_cut_anywhere_is_refused_or_whole() {
    let world = World::new();
    let whole = Tar::new()
        .pax(&[("mtime", "1.5")])
        .file("a", &[7; 700])
        .symlink("b", "a")
        .finish();
    for end in (0..whole.len()).step_by(37) {
        let _ = world.try_bytes(&whole[..end]);
        let _ = world.try_bytes(&gzip(&whole)[..end.min(gzip(&whole).len())]);
    }
    world.assert_untouched();
}

#[test]
fn nothing_and_an_archive_of_nothing_are_layers() {
    let world = World::new();
    assert_eq!(world.unpack_bytes(b"").unwrap().entries, 0);
    assert_eq!(world.unpack_bytes(&[0; 1024]).unwrap().entries, 0);
    assert_eq!(world.unpack_bytes(&gzip(b"")).unwrap().entries, 0);
    // Without the blocks of zeros at its end, and without what pads its last entry.
    let bare = Tar::new().file("a", b"1").finish();
    assert_eq!(world.unpack_bytes(&bare[..1024]).unwrap().entries, 1);
    assert_eq!(world.unpack_bytes(&bare[..513]).unwrap().entries, 1);
}

#[test]
fn headers_have_precedence_as_written_down() {
    let world = World::new();
    let tree = world.unpack(
        Tar::new()
            .global(&[("path", b"global"), ("mtime", b"7")])
            .file("header", b"1")
            .pax(&[("path", "own"), ("mtime", "")])
            .mtime(9)
            .file("header", b"2")
            .pax(&[("path", "pax")])
            .extension(b'L', b"gnu\0")
            .file("header", b"3")
            .global(&[("path", b"")])
            .file("header", b"4"),
    );
    let read = |name: &str| std::fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!(read("global"), "1");
    assert_eq!(read("own"), "2");
    assert_eq!(read("gnu"), "3");
    assert_eq!(read("header"), "4");
    let mtime = |name: &str| {
        std::os::unix::fs::MetadataExt::mtime(&std::fs::metadata(tree.join(name)).unwrap())
    };
    assert_eq!((mtime("global"), mtime("own"), mtime("gnu")), (7, 9, 7));
}

#[test]
fn names_that_differ_only_by_case_or_normalisation_are_two() {
    let world = World::new();
    let tree = world.unpack(
        Tar::new()
            .file("a", b"1")
            .file("A", b"2")
            .file("\u{e9}", b"3")
            .file("e\u{301}", b"4")
            .file("new\nline", b"5"),
    );
    assert_eq!(std::fs::read_dir(&tree).unwrap().count(), 5);
    assert_eq!(std::fs::read(tree.join("\u{e9}")).unwrap(), b"3");
}

#[test]
fn gzip_may_be_padded_with_zeros_but_with_nothing_else() {
    use minidock_oci::Digest;
    let world = World::new();
    let plain = Tar::new().file("a", b"1").finish();
    let (one, two) = plain.split_at(700);
    let zeros = [0; 5000];
    for padding in [&zeros[..0], &zeros[..1], &zeros] {
        let blob = [&gzip(one), padding, &gzip(two), padding].concat();
        let unpacked = world.unpack_bytes(&blob).unwrap();
        assert_eq!(unpacked.diff_id.0, Digest::sha256(&plain));
        assert_eq!(unpacked.blob, Digest::sha256(&blob));
        assert_eq!(unpacked.blob_size, blob.len() as u64);
    }
    for garbage in [&b"garbage"[..], b"\0\0garbage", b"\x1f"] {
        let error = world
            .try_bytes(&[&gzip(&plain), garbage].concat())
            .unwrap_err();
        assert!(error.contains("damaged"), "{error}");
    }
}

#[test]
fn zstd_has_frames_some_to_skip_and_windows_of_128_mib_at_most() {
    use minidock_oci::Digest;
    let world = World::new();
    let plain = Tar::new().file("a", &[7; 3000]).finish();
    let (one, two) = plain.split_at(700);
    let skip = b"\x5a\x2a\x4d\x18\x04\0\0\0skip";
    let (one, two) = (support::zstd(one), support::zstd(two));
    let blob = [skip, &one[..], skip, &two[..], skip].concat();
    let unpacked = world.unpack_bytes(&blob).unwrap();
    assert_eq!(unpacked.diff_id.0, Digest::sha256(&plain));
    for (log, fits) in [(27, true), (31, false)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        let result = world.try_bytes(&encoder.finish().unwrap());
        assert_eq!(result.is_ok(), fits, "{log}: {result:?}");
    }
}
