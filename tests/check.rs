//! `minidock system check`: one line a problem, exit status 1 until all is well.

use std::fs;
use std::path::PathBuf;

use crate::support::{Context, scenarios};

scenarios!(
    a_healthy_store_is_clean,
    a_damaged_layer_is_found_and_unpacked_anew,
    an_image_whose_blob_is_lost_goes_and_can_be_loaded_again,
    a_store_that_cannot_be_opened_can_be_checked,
);

fn a_healthy_store_is_clean(cx: &Context) {
    let nothing = cx.run(["system", "check"]);
    assert_eq!(
        nothing.silent_ok(),
        "Checked 0 images, 0 layers, 0 blobs and 0 containers: no problems\n"
    );
    cx.load_busybox();
    cx.run(["run", "--name", "one", "app:1"]).ok();
    let before = cx.store_files();
    for args in [&["system", "check"][..], &["system", "check", "--repair"]] {
        assert_eq!(
            cx.run(args).silent_ok(),
            "Checked 2 images, 2 layers, 6 blobs and 1 container: no problems\n"
        );
        assert_eq!(cx.store_files(), before);
    }
    assert_eq!(cx.run(["system", "check", "-q"]).silent_ok(), "");
}

/// A file of the image's uppermost layer, as it lies in the store.
fn stored(cx: &Context, name: &str) -> PathBuf {
    let files = cx.store_files();
    let path = files
        .keys()
        .find(|path| path.starts_with("layers/") && path.ends_with(name));
    cx.root().join(path.unwrap())
}

fn a_damaged_layer_is_found_and_unpacked_anew(cx: &Context) {
    cx.load_busybox();
    fs::write(stored(cx, "fs/bin/busybox"), "").unwrap();
    let broken = cx.run(["run", "--rm", "busybox", "/bin/busybox", "echo", "hello"]);
    assert_ne!(broken.code, Some(0), "{broken}");
    let check = cx.run(["system", "check"]);
    assert_eq!(check.code, Some(1), "{check}");
    let lines: Vec<&str> = check.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{check}");
    for word in ["layers/sha256/", "has another", "busybox:latest", "app:1"] {
        assert!(lines[0].contains(word), "{word:?}: {check}");
    }
    assert!(lines[1].ends_with(": 1 problem; --repair repairs what can be"));
    let repair = cx.run(["system", "check", "--repair"]);
    assert_eq!(repair.code, Some(0), "{repair}");
    assert!(repair.stdout.contains(": unpacked anew\n"), "{repair}");
    assert!(
        repair.stdout.ends_with(": 1 problem repaired\n"),
        "{repair}"
    );
    assert_eq!(cx.run(["system", "check", "-q"]).silent_ok(), "");
    let ran = cx.run(["run", "--rm", "busybox", "/bin/busybox", "echo", "hello"]);
    assert_eq!(ran.silent_ok(), "hello\n");
}

fn an_image_whose_blob_is_lost_goes_and_can_be_loaded_again(cx: &Context) {
    cx.load_busybox();
    let id = cx.run(["images", "-q", "--no-trunc", "app:1"]).stdout;
    let hex = id.trim_end().strip_prefix("sha256:").unwrap();
    fs::write(cx.root().join("blobs/sha256").join(hex), "{}").unwrap();
    let check = cx.run(["system", "check"]);
    assert!(
        check.stdout.contains("(image docker.io/library/app:1)"),
        "{check}"
    );
    let repair = cx.run(["system", "check", "--repair"]);
    assert!(
        repair
            .ok()
            .contains(": image removed; pull or load it again\n"),
        "{repair}"
    );
    assert_eq!(cx.run(["images", "-q"]).silent_ok().lines().count(), 1);
    assert_eq!(cx.run(["system", "check", "-q"]).silent_ok(), "");
    cx.load_busybox();
    let ran = cx.run(["run", "--rm", "app:1"]);
    assert_eq!(ran.silent_ok(), "hello world from app in /srv/app\n");
    cx.run(["rmi", "app:1", "busybox"]).ok();
    cx.assert_store_empty();
}

fn a_store_that_cannot_be_opened_can_be_checked(cx: &Context) {
    cx.load_busybox();
    for (file, words) in [
        ("version.json", ["version.json is damaged", "system check"]),
        ("index.json", ["index.json is damaged", "system check"]),
    ] {
        let path = cx.root().join(file);
        let good = fs::read(&path).unwrap();
        for bad in [&b""[..], b"{\"", b"null", b"[]"] {
            fs::write(&path, bad).unwrap();
            for args in [&["images"][..], &["run", "busybox"], &["rmi", "busybox"]] {
                let output = cx.run(args);
                let message = output.error(if args[0] == "run" { 125 } else { 1 });
                for word in words {
                    assert!(message.contains(word), "{word:?}: {output}");
                }
            }
            let check = cx.run(["system", "check"]);
            assert_eq!(check.code, Some(1), "{check}");
            assert!(check.stdout.starts_with(&format!("{file}: ")), "{check}");
            cx.run(["system", "check", "--repair"]).ok();
            assert_eq!(cx.run(["system", "check", "-q"]).silent_ok(), "");
            let images = cx.run(["images", "-q"]);
            assert_eq!(images.silent_ok().lines().count(), 2, "{images}");
            if file == "index.json" {
                // The images are there, only their names are gone.
                cx.load_busybox();
            }
            let ran = cx.run(["run", "--rm", "app:1"]);
            assert_eq!(ran.silent_ok(), "hello world from app in /srv/app\n");
        }
        fs::write(&path, good).unwrap();
    }
}
