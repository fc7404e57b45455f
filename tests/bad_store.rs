//! Stores that cannot be used, or not for everything: one clear error, and nothing is lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use serde_json::json;

use crate::support::{Context, Output, saved, scenarios};

scenarios!(
    a_store_that_cannot_be_used,
    a_store_may_have_any_path,
    a_store_out_of_reach,
    a_store_of_somebody_else,
);

fn a_store_that_cannot_be_used(cx: &Context) {
    let file = cx.write("a-file", "");
    for root in [
        file.as_path(),
        Path::new("/proc/minidock"),
        Path::new("/dev/null/x"),
    ] {
        let mut command = cx.command(["images"]);
        command.env("MINIDOCK_ROOT", root);
        let output = cx.finish(command);
        assert!(output.error(1).contains(root.to_str().unwrap()), "{output}");
    }
    // A later format than this one knows.
    cx.run(["images"]).ok();
    let version = cx.root().join("version.json");
    let text = fs::read_to_string(&version).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = json
        .as_object_mut()
        .unwrap()
        .values_mut()
        .find(|value| value.is_u64())
        .unwrap();
    *number = json!(999_999);
    fs::write(&version, json.to_string()).unwrap();
    let output = cx.run(["images"]);
    assert!(output.error(1).contains("999999"), "{output}");
    fs::write(&version, text).unwrap();
    cx.run(["images"]).silent_ok();
}

/// Runs minidock on another store.
fn run_in(cx: &Context, root: &Path, args: &[&str]) -> Output {
    let mut command = cx.command(args);
    command.env("MINIDOCK_ROOT", root);
    cx.finish(command)
}

fn a_store_may_have_any_path(cx: &Context) {
    let saved = saved();
    let saved = saved.to_str().unwrap();
    let link = cx.work().join("link");
    fs::create_dir(cx.work().join("target")).unwrap();
    symlink("target", &link).unwrap();
    let odd = cx.work().join("a b\n c:d,e\\f=\"g' %s");
    for path in [cx.work().join("target"), link.clone()] {
        lchown(path, Some(cx.uid), Some(cx.uid)).unwrap();
    }
    for root in [link, odd] {
        run_in(cx, &root, &["load", "-q", "-i", saved]).ok();
        for driver in ["overlay", "flat"] {
            let run = ["--storage-driver", driver, "run", "--name", driver, "app:1"];
            let run = run_in(cx, &root, &run);
            // Some file systems take no overlay; then it is refused by name.
            if driver == "overlay" && run.code == Some(125) {
                assert!(run.error(125).contains("overlay"), "{run}");
                continue;
            }
            assert_eq!(run.silent_ok(), "hello world from app in /srv/app\n");
            run_in(cx, &root, &["rm", driver]).ok();
        }
        let check = run_in(cx, &root, &["system", "check"]);
        assert_eq!(
            check.silent_ok(),
            "Checked 2 images, 2 layers, 6 blobs and 0 containers: no problems\n"
        );
        run_in(cx, &root, &["rmi", "app:1", "busybox"]).ok();
        let images = run_in(cx, &root, &["images"]);
        assert_eq!(images.silent_ok().lines().count(), 1);
    }
}

fn a_store_out_of_reach(cx: &Context) {
    let dangling = cx.work().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    let output = run_in(cx, &dangling, &["images"]);
    assert!(
        output.error(1).contains(dangling.to_str().unwrap()),
        "{output}"
    );
    assert!(!cx.work().join("nowhere").exists());

    // No mode keeps root out.
    if cx.uid == 0 {
        return;
    }
    let parent = cx.work().join("closed");
    let root = parent.join("store");
    fs::create_dir(&parent).unwrap();
    chown(&parent, Some(cx.uid), Some(cx.uid)).unwrap();
    run_in(cx, &root, &["images"]).silent_ok();
    for (mode, path) in [(0o600, &root), (0o000, &root)] {
        fs::set_permissions(&parent, PermissionsExt::from_mode(mode)).unwrap();
        let output = run_in(cx, path, &["images"]);
        let message = output.error(1);
        assert!(message.contains(root.to_str().unwrap()), "{output}");
        assert!(message.contains("Permission denied"), "{output}");
        assert!(message.contains("--root"), "{output}");
    }
    fs::set_permissions(&parent, PermissionsExt::from_mode(0o700)).unwrap();
    run_in(cx, &root, &["images"]).silent_ok();
}

fn a_store_of_somebody_else(cx: &Context) {
    cx.load_busybox();
    let root = cx.root();
    if let Err(e) = chown(&root, Some(cx.uid + 1), None) {
        crate::support::skip(&format!("the store cannot be given to somebody else: {e}"));
        return;
    }
    let files = cx.store_files();
    fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).unwrap();
    for args in [
        &["images"][..],
        &["run", "app:1"],
        &["rmi", "app:1"],
        &["system", "check", "--repair"],
    ] {
        let output = cx.run(args);
        let code = if args[0] == "run" { 125 } else { 1 };
        let whose = format!("belongs to uid {}", cx.uid + 1);
        assert!(output.error(code).contains(&whose), "{output}");
    }
    if cx.uid != 0 {
        fs::set_permissions(&root, PermissionsExt::from_mode(0o700)).unwrap();
        let output = cx.run(["images"]);
        assert!(output.error(1).contains("Permission denied"), "{output}");
    }
    chown(&root, Some(cx.uid), None).unwrap();
    fs::set_permissions(&root, PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(cx.store_files(), files);
    assert_eq!(
        cx.run(["run", "--rm", "app:1"]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
}
