//! What layers on top of others become: each test is a case of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs::File;
use std::os::fd::AsFd;

use minidock_layer::{Ownership, Whiteouts, compare};
use support::Tar;
use support::stack::{Shown, Stack, What};

const FORMS: [Whiteouts; 2] = [Whiteouts::Devices, Whiteouts::Sockets];

/// The layers on top of each other; with whiteouts of the other form they are the same.
fn stack(layers: Vec<Tar>) -> Stack {
    let [devices, sockets] = FORMS.map(|form| Stack::new(Ownership::Single, form));
    let mut stacks = [devices, sockets];
    let layers: Vec<Vec<u8>> = layers.into_iter().map(Tar::finish).collect();
    for stack in &mut stacks {
        for layer in &layers {
            stack.apply(layer).unwrap();
        }
    }
    let [devices, sockets] = stacks;
    assert_eq!(devices.shown(), sockets.shown());
    for layer in 0..layers.len() {
        let [one, other] = [&devices, &sockets].map(|s| File::open(s.tree(layer)).unwrap());
        let differences = compare(one.as_fd(), other.as_fd()).unwrap();
        assert_eq!((differences.count, differences.first), (0, None));
    }
    devices
}

fn refused(layers: Vec<Tar>) -> String {
    let layers: Vec<Vec<u8>> = layers.into_iter().map(Tar::finish).collect();
    let (last, others) = layers.split_last().unwrap();
    let [devices, sockets] = FORMS.map(|form| {
        let mut stack = Stack::new(Ownership::Single, form);
        for layer in others {
            stack.apply(layer).unwrap();
        }
        stack.apply(last).unwrap_err()
    });
    assert_eq!(devices, sockets);
    devices
}

fn names(stack: &Stack) -> Vec<String> {
    stack.shown().into_keys().collect()
}

fn shown(stack: &Stack, path: &str) -> Shown {
    stack.shown().remove(path).unwrap()
}

#[test]
fn a_whiteout_of_something_that_is_not_there_shows_nothing() {
    let base = Tar::new().file("a/f", b"").symlink("l", "a");
    let layer = Tar::new()
        .file("a/.wh.missing", b"")
        .file("nowhere/deep/.wh.f", b"")
        .file("l/.wh.f", b"")
        .file("a/f/.wh.x", b"")
        .file("empty/.wh..wh..opq", b"");
    let stack = stack(vec![base, layer]);
    assert_eq!(names(&stack), ["a", "a/f", "l"]);
    assert_eq!(shown(&stack, "l").what, What::Symlink(b"a".into()));
}

#[test]
fn a_whiteout_in_a_base_layer_leaves_no_trace() {
    let stack = stack(vec![Tar::new().file("a/.wh.b", b"").file("a/c", b"")]);
    assert_eq!(names(&stack), ["a", "a/c"]);
    assert!(!stack.tree(0).join("a/b").exists());
    assert!(std::fs::symlink_metadata(stack.tree(0).join("a/b")).is_err());
}

#[test]
fn the_roots_opaque_marker_hides_all_layers_below_in_any_order() {
    let base = || Tar::new().file("low", b"").file("both/low", b"");
    let before = Tar::new().file(".wh..wh..opq", b"").file("both/own", b"");
    let after = Tar::new().file("both/own", b"").file(".wh..wh..opq", b"");
    for layer in [before, after] {
        assert_eq!(names(&stack(vec![base(), layer])), ["both", "both/own"]);
    }
}

#[test]
fn a_folder_in_place_of_the_layers_own_file_is_a_new_one() {
    let base = Tar::new().file("d/low", b"");
    let layer = Tar::new()
        .file("d", b"")
        .folder("d", 0o700)
        .file("d/own", b"");
    assert_eq!(names(&stack(vec![base, layer])), ["d", "d/own"]);
}

#[test]
fn a_symlink_of_a_lower_layer_is_replaced_by_a_folder_as_docker_does() {
    let base = Tar::new().file("usr/bin/sh", b"").symlink("bin", "usr/bin");
    let stack = stack(vec![base, Tar::new().file("bin/tool", b"1")]);
    assert_eq!(shown(&stack, "bin").what, What::Folder);
    assert_eq!(
        names(&stack),
        ["bin", "bin/tool", "usr", "usr/bin", "usr/bin/sh"]
    );
}

#[test]
fn a_folder_without_an_entry_is_the_one_below_with_owner_and_attributes() {
    let base = Tar::new()
        .owner((1000, 100))
        .mtime(5)
        .pax_bytes(&[
            ("SCHILY.xattr.user.kept", b"1"),
            ("SCHILY.xattr.trusted.aside", b"2"),
        ])
        .folder("home", 0o2750);
    let stack = stack(vec![base, Tar::new().file("home/f", b"")]);
    let home = shown(&stack, "home");
    assert_eq!(
        (home.mode, home.owner, home.mtime),
        (0o2750, (1000, 100), (5, 0))
    );
    let expected =
        [("trusted.aside", b"2"), ("user.kept", b"1")].map(|(n, v)| (n.to_owned(), v.to_vec()));
    assert_eq!(home.xattrs, expected);
}

#[test]
fn a_folder_that_comes_after_its_whiteout_has_nothing_of_the_one_below() {
    let base = Tar::new()
        .owner((1000, 100))
        .folder("d", 0o700)
        .file("d/low", b"");
    let layer = Tar::new().file(".wh.d", b"").file("d/own", b"");
    let stack = stack(vec![base, layer]);
    let d = shown(&stack, "d");
    assert_eq!((d.mode, d.owner), (0o755, (0, 0)));
    assert_eq!(names(&stack), ["d", "d/own"]);
}

#[test]
fn hard_links_to_a_lower_layers_file_are_that_file() {
    let base = Tar::new()
        .owner((1000, 100))
        .file_mode("a/f", 0o4755, b"content")
        .symlink("l", "a")
        .symlink("s", "gone");
    let layer = Tar::new()
        .hard_link("one", "a/f")
        .hard_link("two", "one")
        .hard_link("x/three", "l/f")
        .hard_link("t", "s");
    let stack = stack(vec![base, layer]);
    let one = shown(&stack, "one");
    assert_eq!(one.what, What::File(b"content".into()));
    assert_eq!((one.mode, one.owner), (0o4755, (1000, 100)));
    assert_eq!(one.names, ["a/f", "one", "two", "x/three"]);
    assert_eq!(shown(&stack, "x/three").owner, (1000, 100));
    assert_eq!(shown(&stack, "t").what, What::Symlink(b"gone".into()));
}

#[test]
fn what_replaces_a_hard_link_to_a_lower_file_replaces_only_that_name() {
    let base = Tar::new().file("f", b"low");
    let layer = Tar::new()
        .hard_link("a", "f")
        .hard_link("b", "f")
        .file("a/x", b"")
        .file("b", b"own")
        .hard_link("c", "f")
        .file(".wh.c", b"")
        .file(".wh.f", b"");
    let stack = stack(vec![base, layer]);
    assert_eq!(names(&stack), ["a", "a/x", "b", "c"]);
    assert_eq!(shown(&stack, "b").what, What::File(b"own".into()));
    assert_eq!(shown(&stack, "c").what, What::File(b"low".into()));
}

#[test]
fn hard_links_to_what_is_removed_or_nowhere_are_refused_in_words() {
    let base = || Tar::new().file("d/f", b"");
    for (layer, expected) in [
        (
            Tar::new().file("d/.wh.f", b"").hard_link("h", "d/f"),
            "removes",
        ),
        (
            Tar::new().file(".wh.d", b"").hard_link("h", "d/f"),
            "removes",
        ),
        (
            Tar::new().file("d/.wh..wh..opq", b"").hard_link("h", "d/f"),
            "removes",
        ),
        (Tar::new().hard_link("h", "d/g"), "nor a layer below has"),
        (Tar::new().hard_link("h", "d"), "a folder"),
        (Tar::new().hard_link("h", "../f"), "leads out"),
        (Tar::new().hard_link("h", "/"), "root folder"),
        (Tar::new().file("x/y", b"").hard_link("x", "x/y"), "above"),
    ] {
        let error = refused(vec![base(), layer]);
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(
            error.contains("\"h\"") || error.contains("\"x\""),
            "{error}"
        );
    }
}

#[test]
fn a_hard_link_to_itself_changes_nothing() {
    let base = Tar::new().file("low", b"low");
    let layer = Tar::new()
        .file("own", b"own")
        .hard_link("own", "./own")
        .hard_link("low", "low");
    let stack = stack(vec![base, layer]);
    assert_eq!(shown(&stack, "own").what, What::File(b"own".into()));
    assert_eq!(shown(&stack, "low").what, What::File(b"low".into()));
}

#[test]
fn modes_that_forbid_are_set_when_all_is_done() {
    let base = Tar::new().file("f", b"1").file("shut/low", b"");
    let layer = Tar::new()
        .folder("shut", 0o500)
        .hard_link("shut/h", "f")
        .file("shut/own", b"")
        .folder("shut", 0o000)
        .file("shut/later", b"");
    let stack = stack(vec![base, layer]);
    let path = stack.tree(1).join("shut");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o7777, 0);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for (name, content) in [("h", "1"), ("own", ""), ("later", "")] {
        assert_eq!(std::fs::read_to_string(path.join(name)).unwrap(), content);
    }
}

#[test]
fn attributes_that_steer_overlays_do_not() {
    let layer = Tar::new()
        .pax_bytes(&[
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.fuseoverlayfs.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ])
        .folder("d", 0o755)
        .pax_bytes(&[("SCHILY.xattr.user.overlay.redirect", b"/etc")])
        .folder("e", 0o755);
    let stack = stack(vec![
        Tar::new().file("d/low", b"").file("e/low", b""),
        layer,
    ]);
    assert_eq!(names(&stack), ["d", "d/low", "e", "e/low"]);
    let kept: Vec<String> = shown(&stack, "d")
        .xattrs
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    let expected = [
        "trusted.overlay.opaque",
        "user.fuseoverlayfs.opaque",
        "user.overlay.opaque",
    ];
    assert_eq!(kept, expected, "what the image says is not lost");
    assert!(!support::is_opaque(&stack.tree(1).join("d")));
}

#[test]
fn a_device_0_0_is_no_whiteout_nor_is_one_that_the_kernel_would_cut_to_it() {
    let base = Tar::new().file("a", b"").file("b", b"");
    let layer = Tar::new()
        .device(b'3', "a", 0, 0)
        .device(b'3', "b", 0x1000, 0);
    for ownership in [Ownership::Single, Ownership::Host] {
        if ownership == Ownership::Host && !rustix::process::geteuid().is_root() {
            continue;
        }
        let mut stack = Stack::new(ownership, Whiteouts::Devices);
        stack.apply(&base.clone().finish()).unwrap();
        stack.apply(&layer.clone().finish()).unwrap();
        assert_eq!(shown(&stack, "a").what, What::Device('c', 0, 0));
        assert_eq!(shown(&stack, "b").what, What::Device('c', 0x1000, 0));
    }
}

#[test]
fn aufs_keeps_files_that_only_hard_links_point_to() {
    let layer = Tar::new()
        .folder(".wh..wh.plnk", 0o700)
        .file(".wh..wh.plnk/12.34", b"linked")
        .hard_link("a", ".wh..wh.plnk/12.34")
        .hard_link("b", ".wh..wh.plnk/12.34")
        .file(".wh..wh.aufs", b"")
        .file(".wh..wh.orph/x", b"");
    let stack = stack(vec![layer]);
    assert_eq!(names(&stack), ["a", "b"]);
    assert_eq!(shown(&stack, "a").names, ["a", "b"]);
    assert!(!stack.tree(0).join(".wh..wh.plnk").exists());
}
