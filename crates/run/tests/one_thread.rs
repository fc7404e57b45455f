//! What only a process of one thread can try, which no test harness gives: a program of its own (`harness = false`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use minidock_run::{Error, as_own_root, find_program, try_overlay};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    work_is_done_as_root_of_the_own_files(folder.path());
    the_kernels_overlay_is_tried(&fresh(folder.path(), "kernel"));
    fuse_overlayfs_is_tried(&fresh(folder.path(), "fuse"));
    a_server_that_does_not_serve_is_told_with_its_words(&fresh(folder.path(), "none"));
}

fn fresh(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

/// As in the tests of the whole: everything has to work where this says so.
#[expect(clippy::print_stderr, reason = "a skip says why")]
fn skip(why: &str) {
    assert!(
        std::env::var("MINIDOCK_TEST_MUST_WORK").is_err(),
        "everything must work here, but {why}"
    );
    eprintln!("skipped: {why}");
}

fn work_is_done_as_root_of_the_own_files(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let secret = folder.join("secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    let copy = folder.join("copy");
    let read = || {
        std::fs::copy(&secret, &copy)
            .map(drop)
            .map_err(|e| e.to_string())
    };
    as_own_root(&read).unwrap();
    assert!(copy.exists());
    let fails = || Err(format!("no, uid {}", rustix::process::geteuid().as_raw()));
    match as_own_root(&fails) {
        Err(Error::OwnRoot(text)) => assert_eq!(text, "no, uid 0"),
        other => panic!("{other:?}"),
    }
}

fn the_kernels_overlay_is_tried(folder: &Path) {
    match try_overlay(folder, None).unwrap() {
        None => assert!(folder.join("upper/folder").is_dir()),
        Some(refusal) => skip(&format!(
            "the kernel's overlay: {refusal}: {}",
            refusal.source
        )),
    }
}

fn fuse_overlayfs_is_tried(folder: &Path) {
    let Some(program) = find_program("fuse-overlayfs", "/usr/bin".as_ref()) else {
        return skip("fuse-overlayfs is not installed");
    };
    match try_overlay(folder, Some(&program)).unwrap() {
        None => assert!(folder.join("upper/folder").is_dir()),
        Some(refusal) => skip(&format!("fuse-overlayfs: {refusal}: {}", refusal.source)),
    }
}

fn a_server_that_does_not_serve_is_told_with_its_words(folder: &Path) {
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_err()
    {
        return skip("/dev/fuse cannot be opened");
    }
    let refusal = try_overlay(folder, Some(Path::new("/bin/cat")))
        .unwrap()
        .unwrap();
    assert_eq!(refusal.doing, "be served");
    let said = refusal.source.to_string();
    assert!(said.contains("cat: ") && said.contains("'f'"), "{said}");
}
