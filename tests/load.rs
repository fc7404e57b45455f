//! `minidock load`: every layout that `docker save` ever wrote, in any order, compressed or not.

use std::fs;

use expect_test::expect;
use serde_json::json;

use crate::support::{
    Context, ImageTar, Layer, Output, fixtures, layout_tar, members, piped, saved, scenarios,
    shared, tarball,
};

scenarios!(
    both_layouts_of_docker_save_hold_the_same_images,
    members_may_come_in_any_order,
    compression_and_way_in_make_no_difference,
    an_oci_layout_needs_no_manifest_json,
    an_image_without_a_name_is_known_by_its_id,
    loading_again_changes_nothing,
    a_name_moves_to_the_image_loaded_last,
    the_official_images_load_and_run,
    rmi_takes_away_what_load_brought,
);

fn both_layouts_of_docker_save_hold_the_same_images(cx: &Context) {
    let mut folders = vec![fixtures().to_owned()];
    if cfg!(target_arch = "x86_64") {
        folders.extend(shared().map(|shared| shared.join("docker-save")));
    }
    for folder in folders {
        let loads = ["docker-20.tar.gz", "docker-26.tar.gz"].map(|name| {
            let output = cx.load(&folder.join(name)).silent_ok().to_owned();
            assert_eq!(
                output, "Loaded image: busybox:latest\nLoaded image: app:1\n",
                "{name}"
            );
            let images = cx.run(["images", "--no-trunc"]);
            let ran = cx.run(["run", "--rm", "app:1"]);
            assert_eq!(
                ran.silent_ok(),
                "hello world from app in /srv/app\n",
                "{name}"
            );
            images.silent_ok().to_owned()
        });
        // The ids come from the configs, which are the same in both.
        assert_eq!(loads[0], loads[1], "{}", folder.display());
    }
}

fn members_may_come_in_any_order(cx: &Context) {
    for name in ["docker-20.tar.gz", "docker-26.tar.gz"] {
        let plain = piped("gzip", &["-dc"], &fs::read(fixtures().join(name)).unwrap());
        let forward = members(&plain);
        let manifest_first = forward.len() - 2;
        let backward = tarball(forward.iter().rev());
        let mut rotated = forward;
        rotated.rotate_left(manifest_first);
        for (order, bytes) in [("backward", backward), ("rotated", tarball(&rotated))] {
            let output = cx.run_with_input(["load"], &bytes);
            assert_eq!(
                output.silent_ok(),
                "Loaded image: busybox:latest\nLoaded image: app:1\n",
                "{name} {order}"
            );
            let ran = cx.run(["run", "--rm", "app:1"]);
            assert_eq!(
                ran.silent_ok(),
                "hello world from app in /srv/app\n",
                "{name} {order}"
            );
            cx.run(["rmi", "app:1", "busybox"]).ok();
            cx.assert_store_empty();
        }
    }
}

fn compression_and_way_in_make_no_difference(cx: &Context) {
    let gzipped = fs::read(fixtures().join("docker-26.tar.gz")).unwrap();
    let plain = piped("gzip", &["-dc"], &gzipped);
    let zstd = piped("zstd", &["-q", "-1"], &plain);
    for (name, bytes) in [
        ("saved.tar", plain),
        ("saved.tar.gz", gzipped),
        ("saved", zstd),
    ] {
        let path = cx.write(name, &bytes);
        let ways: [&dyn Fn() -> Output; 3] = [
            &|| cx.run_with_input(["load"], &bytes),
            &|| cx.run(["load", "-i", name]),
            &|| cx.run(["load", "--input", path.to_str().unwrap()]),
        ];
        for way in ways {
            let output = way();
            assert_eq!(
                output.silent_ok(),
                "Loaded image: busybox:latest\nLoaded image: app:1\n",
                "{name}"
            );
            assert_eq!(
                cx.run(["run", "--rm", "busybox", "echo", "hello"])
                    .silent_ok(),
                "hello\n"
            );
            cx.run(["rmi", "app:1", "busybox"]).ok();
            cx.assert_store_empty();
        }
        // As Docker's, which is quiet about the progress only.
        assert_eq!(
            cx.run(["load", "-q", "-i", name]).silent_ok(),
            "Loaded image: busybox:latest\nLoaded image: app:1\n"
        );
        cx.run(["rmi", "app:1", "busybox"]).ok();
    }
}

fn an_oci_layout_needs_no_manifest_json(cx: &Context) {
    let output = cx.load(&fixtures().join("oci.tar"));
    assert_eq!(
        output.silent_ok(),
        "Loaded image: busybox:latest\nLoaded image: app:1\n"
    );
    let ran = cx.run(["run", "--rm", "app:1"]);
    assert_eq!(ran.silent_ok(), "hello world from app in /srv/app\n");

    // An index inside the index: this machine's image is chosen, the attestation is none.
    let multi = layout_tar(&fixtures().join("multi"));
    assert_eq!(
        cx.run_with_input(["load"], &multi).silent_ok(),
        "Loaded image: multi:latest\n"
    );
    assert_eq!(
        cx.run(["run", "--rm", "multi", "echo", "hello"])
            .silent_ok(),
        "hello\n"
    );
}

fn an_image_without_a_name_is_known_by_its_id(cx: &Context) {
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    let image = ImageTar {
        name: None,
        ..ImageTar::new("", layer, json!({}))
    };
    let output = cx.run_with_input(["load"], &image.tar());
    expect![[r#"
        exit 0
        stdout:
        Loaded image ID: sha256:<digest>
    "#]]
    .assert_eq(&output.snapshot(&[]));
    let id = output
        .stdout
        .trim_end()
        .strip_prefix("Loaded image ID: ")
        .unwrap()
        .to_owned();
    let images = cx.run(["images", "--no-trunc", "-q"]);
    assert_eq!(images.silent_ok().trim_end(), id);
    let removed = cx.run(["rmi", &id["sha256:".len()..][..12]]);
    assert!(
        removed.silent_ok().starts_with(&format!("Deleted: {id}\n")),
        "{removed}"
    );
    cx.assert_store_empty();
}

fn loading_again_changes_nothing(cx: &Context) {
    cx.load_busybox();
    let before = cx.store_files();
    let output = cx.load(&saved());
    assert_eq!(
        output.silent_ok(),
        "Loaded image: busybox:latest\nLoaded image: app:1\n"
    );
    assert_eq!(cx.store_files(), before);
}

fn a_name_moves_to_the_image_loaded_last(cx: &Context) {
    let image = |content: &[u8]| {
        ImageTar::new(
            "moving:1",
            Layer::new().file("file", 0o644, content).tar(),
            json!({}),
        )
        .tar()
    };
    cx.run_with_input(["load"], &image(b"old")).ok();
    let old = cx.run(["images", "-q"]).stdout;
    cx.run_with_input(["load"], &image(b"new")).ok();
    let images = cx.run(["images", "moving"]);
    let rows: Vec<&str> = images.silent_ok().lines().skip(1).collect();
    assert_eq!(rows.len(), 1, "{images}");
    assert!(!rows[0].contains(old.trim_end()), "{images}");
}

fn the_official_images_load_and_run(cx: &Context) {
    let Some(shared) = shared().filter(|_| cfg!(target_arch = "x86_64")) else {
        return; // `shared` has said that the fixtures stand in, which the other tests load and run.
    };
    for libc in ["glibc", "musl"] {
        let tar = layout_tar(&shared.join(format!("busybox/{libc}-amd64")));
        let name = format!("busybox:1.38.0-{libc}");
        let loaded = cx.run_with_input(["load"], &tar);
        assert_eq!(loaded.silent_ok(), format!("Loaded image: {name}\n"));
        let version = cx.run(["run", "--rm", &name, "sh", "-c", "busybox | head -n 1"]);
        assert!(
            version.silent_ok().starts_with("BusyBox v1.38.0 "),
            "{version}"
        );
    }

    let archive = fs::read(shared.join("alpine/alpine-minirootfs-3.20.3-x86_64.tar.gz")).unwrap();
    let rootfs = piped("gzip", &["-dc"], &archive);
    let alpine = ImageTar::new("alpine:3.20", rootfs, json!({ "Cmd": ["/bin/sh"] }));
    cx.run_with_input(["load"], &alpine.tar()).ok();
    let release = cx.run(["run", "--rm", "alpine:3.20", "cat", "/etc/alpine-release"]);
    assert_eq!(release.silent_ok(), "3.20.3\n");
    let apk = cx.run([
        "run",
        "--rm",
        "alpine:3.20",
        "apk",
        "info",
        "--installed",
        "musl",
    ]);
    assert_eq!(apk.silent_ok(), "musl\n");

    let hello = fs::read(shared.join("hello-world/hello")).unwrap();
    let layer = Layer::new().file("hello", 0o755, &hello).tar();
    let hello = ImageTar::new("hello-world:latest", layer, json!({ "Cmd": ["/hello"] }));
    cx.run_with_input(["load"], &hello.tar()).ok();
    let greeting = cx.run(["run", "--rm", "hello-world"]);
    assert!(
        greeting.silent_ok().contains("Hello from Docker!"),
        "{greeting}"
    );
}

fn rmi_takes_away_what_load_brought(cx: &Context) {
    cx.load(&fixtures().join("docker-26.tar.gz"));
    let shared_layer = cx.run(["rmi", "busybox"]);
    // Its layer belongs to app:1 too, and stays.
    assert!(
        shared_layer
            .silent_ok()
            .starts_with("Untagged: busybox:latest\nDeleted: sha256:")
    );
    let ran = cx.run(["run", "--rm", "app:1"]);
    assert_eq!(ran.silent_ok(), "hello world from app in /srv/app\n");
    let removed = cx.run(["rmi", "app:1"]);
    assert!(
        removed
            .silent_ok()
            .starts_with("Untagged: app:1\nDeleted: sha256:"),
        "{removed}"
    );
    cx.assert_store_empty();
    assert_eq!(
        cx.run(["rmi", "app:1"]).error(1),
        "minidock: no such image: app:1\n",
    );
}
