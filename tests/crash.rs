//! Processes killed half-way, and several at once: the next command finds a store that works.

use std::fs;
use std::io::Write;
use std::time::Instant;

use minidock_test_registry::{Fault, Image, Registry, tar};
use serde_json::json;

use crate::support::{
    Context, DockerRegistry, ImageTar, Layer, PATIENCE, fixtures, piped, saved, scenarios,
};

scenarios!(
    a_load_killed_half_way_leaves_nothing_in_the_way,
    a_pull_killed_half_way_is_continued_by_the_next,
    a_full_disk_is_an_error_and_leaves_nothing,
    two_pulls_of_one_image_at_once,
    two_loads_of_one_image_at_once,
    a_collection_does_not_take_what_a_load_brings,
    what_is_removed_is_out_of_sight_at_once_and_deleted_by_somebody,
);

/// An image of more files than are deleted while the user waits.
fn load_many_files(cx: &Context) {
    let layer = (0..3_000).fold(Layer::new(), |layer, i| {
        layer.file(&format!("d{}/file{i}", i % 7), 0o644, b"x")
    });
    let image = ImageTar::new("many:1", layer.tar(), json!({}));
    cx.load(&cx.write("many.tar", image.tar())).ok();
}

fn what_is_removed_is_out_of_sight_at_once_and_deleted_by_somebody(cx: &Context) {
    load_many_files(cx);
    // The process left behind holds no pipe of ours: this returns although it may live on.
    cx.run(["rmi", "many:1"]).silent_ok();
    assert_eq!(cx.run(["images"]).silent_ok().lines().count(), 1);
    cx.assert_store_empty();

    // While another process deletes, or after one was killed at it, the files stay for the next command.
    load_many_files(cx);
    let lock = fs::File::open(cx.root().join("locks/trash")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    cx.run(["rmi", "many:1"]).silent_ok();
    assert_eq!(cx.run(["images"]).silent_ok().lines().count(), 1);
    let trash = cx.root().join("trash");
    let folders = piped("find", &[trash.to_str().unwrap(), "-name", "file2999"], b"");
    assert_eq!(folders.iter().filter(|b| **b == b'\n').count(), 1);
    drop(lock);
    cx.run(["images"]).silent_ok();
    cx.assert_store_empty();
}

fn a_load_killed_half_way_leaves_nothing_in_the_way(cx: &Context) {
    let bytes = piped("gzip", &["-dc"], &fs::read(saved()).unwrap());
    for part in [3, 2] {
        let (load, mut stdin) = cx.start_held(cx.command(["load"]));
        // Returns once all but a pipe's buffer has been taken.
        stdin.write_all(&bytes[..bytes.len() / part]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while cx.store_files().is_empty() {
            assert!(Instant::now() < deadline, "nothing was ever written");
        }
        let output = load.kill();
        assert_eq!(output.stdout, "", "{output}");
        // Nothing of it can be seen.
        assert_eq!(cx.run(["images"]).silent_ok().lines().count(), 1);
    }
    cx.load_busybox();
    assert_eq!(
        cx.run(["run", "--rm", "app:1"]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
    cx.run(["rmi", "app:1", "busybox"]).ok();
    cx.assert_store_empty();
}

/// Starts a pull whose connection stalls, and kills it once a good part is there; how much that is.
fn kill_a_pull(cx: &Context, reference: &str) -> u64 {
    let partial = cx.root().join("partial");
    let kept = || {
        let mut entries = fs::read_dir(&partial).ok()?;
        Some(entries.next()?.ok()?.metadata().ok()?.len())
    };
    let pull = cx.start(cx.command(["pull", reference]));
    let deadline = Instant::now() + PATIENCE;
    while kept().is_none_or(|length| length < 1 << 20) {
        assert!(Instant::now() < deadline, "nothing is kept");
        std::thread::yield_now();
    }
    pull.kill();
    kept().unwrap()
}

fn a_pull_killed_half_way_is_continued_by_the_next(cx: &Context) {
    let registry = Registry::start();
    // Bytes that do not compress, so that the layer has a middle.
    let mut state = 1_u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let big: Vec<u8> = (0..3_000_000).map(|_| noise()).collect();
    let image = Image::of(&[tar(&[("big", &big)])]);
    registry.put("app", "1", &image);
    let blobs = image.blobs();
    let (layer, _) = blobs.iter().find(|b| b.1 == image.layers[0]).unwrap();
    let path = format!("blobs/{layer}");
    let reference = format!("{}/app:1", registry.host());
    registry.plan(&path, 2, Fault::Stall(2_000_000));

    // What nobody wants to go on with goes with a prune.
    kill_a_pull(cx, &reference);
    let of_images = |field: &str| {
        let format = format!("{{{{if eq .Type \"Images\"}}}}{{{{.{field}}}}}{{{{end}}}}");
        let output = cx.run(["system", "df", "--format", &format]);
        output.ok().trim().to_owned()
    };
    assert!(of_images("Size").ends_with("MB"), "{}", of_images("Size"));
    assert!(
        of_images("Reclaimable").contains("100%"),
        "{}",
        of_images("Reclaimable")
    );
    cx.run(["image", "prune", "-f"]).ok();
    assert_eq!(of_images("Size"), "0B");
    cx.assert_store_empty();

    let have = kill_a_pull(cx, &reference);
    assert_eq!(cx.run(["images"]).silent_ok().lines().count(), 1);
    cx.run(["pull", &reference]).ok();
    let log = registry
        .log()
        .into_iter()
        .filter(|r| r.path.contains(&path));
    let ranges: Vec<_> = log.map(|request| request.range).collect();
    assert_eq!(ranges, [None, None, Some(format!("bytes={have}-"))]);
    cx.run(["system", "check"]).ok();
    cx.run(["rmi", &reference]).ok();
    cx.assert_store_empty();
}

fn a_full_disk_is_an_error_and_leaves_nothing(cx: &Context) {
    // Only the superuser can make a small file system here; the writing is the same for all.
    let small = cx.dir.join("small");
    fs::create_dir(&small).unwrap();
    let mount = |args: &[&str]| {
        std::process::Command::new("mount")
            .args(args)
            .arg(&small)
            .output()
            .unwrap()
            .status
            .success()
    };
    let owner = format!("size=1m,mode=700,uid={},gid={}", cx.uid, cx.uid);
    if !mount(&["-t", "tmpfs", "-o", &owner, "none"]) {
        crate::support::skip("no small file system can be mounted to fill up");
        return;
    }
    let mut command = cx.command(["load"]);
    command
        .env("MINIDOCK_ROOT", &small)
        .stdin(fs::File::open(saved()).unwrap());
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = crate::support::Running::spawn(&mut command).wait();
    let mut images = cx.command(["images"]);
    images.env("MINIDOCK_ROOT", &small);
    let images = cx.finish(images);
    let unmounted = std::process::Command::new("umount")
        .arg(&small)
        .status()
        .unwrap();
    assert!(unmounted.success());
    assert!(
        output.error(1).contains("No space left on device"),
        "{output}"
    );
    assert_eq!(images.silent_ok().lines().count(), 1, "{images}");
}

fn two_pulls_of_one_image_at_once(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("app"), "app:1");
    let pulls: Vec<_> = (0..4)
        .map(|_| cx.start(cx.command(["pull", &reference])))
        .collect();
    for mut pull in pulls {
        pull.feed(b"");
        let output = pull.wait();
        assert!(
            output.silent_ok().ends_with(&format!("{reference}\n")),
            "{output}"
        );
    }
    let together = cx.store_files();
    assert_eq!(
        cx.run(["run", "--rm", &reference]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
    cx.run(["rmi", &reference]).ok();
    cx.assert_store_empty();
    cx.run(["pull", &reference]).silent_ok();
    assert_eq!(
        together.keys().collect::<Vec<_>>(),
        cx.store_files().keys().collect::<Vec<_>>()
    );
}

fn two_loads_of_one_image_at_once(cx: &Context) {
    let bytes = fs::read(saved()).unwrap();
    let loads: Vec<_> = (0..4)
        .map(|_| {
            let mut load = cx.start(cx.command(["load"]));
            load.feed(&bytes);
            load
        })
        .collect();
    for load in loads {
        let output = load.wait();
        assert_eq!(
            output.silent_ok(),
            "Loaded image: busybox:latest\nLoaded image: app:1\n"
        );
    }
    assert_eq!(
        cx.run(["run", "--rm", "app:1"]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
    cx.run(["rmi", "app:1", "busybox"]).ok();
    cx.assert_store_empty();
}

fn a_collection_does_not_take_what_a_load_brings(cx: &Context) {
    cx.load(&fixtures().join("oci.tar"));
    let bytes = piped(
        "gzip",
        &["-dc"],
        &fs::read(fixtures().join("docker-26.tar.gz")).unwrap(),
    );
    for _ in 0..3 {
        let (load, mut stdin) = cx.start_held(cx.command(["load"]));
        stdin.write_all(&bytes[..bytes.len() / 2]).unwrap();
        // The same layers go away by name while the load is on its way to naming them again.
        cx.run(["rmi", "app:1", "busybox"]).ok();
        stdin.write_all(&bytes[bytes.len() / 2..]).unwrap();
        drop(stdin);
        assert_eq!(
            load.wait().silent_ok(),
            "Loaded image: busybox:latest\nLoaded image: app:1\n"
        );
        assert_eq!(
            cx.run(["run", "--rm", "app:1"]).silent_ok(),
            "hello world from app in /srv/app\n"
        );
    }
    cx.run(["rmi", "app:1", "busybox"]).ok();
    cx.assert_store_empty();
}
