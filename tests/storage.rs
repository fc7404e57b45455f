//! Storage drivers: whichever makes a container's files, the container is the same.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Caller, Context, ImageTar, Layer, scenarios, skip};

scenarios!(
    every_driver_makes_the_same_container,
    flat_images_count_in_the_disk_usage,
    containers_share_no_file_with_their_image,
    what_works_is_tried_once_and_again_on_another_kernel,
    a_driver_that_cannot_work_is_an_error_with_the_remedy,
    images_of_many_layers_run,
    more_layers_than_an_overlay_takes_become_one_folder,
    a_program_that_serves_no_files_is_told_with_its_words,
    whoever_serves_files_goes_with_the_container,
    files_that_nobody_may_read_are_in_the_copy,
    changes_are_told_and_committed_alike,
);

/// The drivers that can be had here.
fn drivers(cx: &Context) -> Vec<&'static str> {
    let mut drivers = vec!["overlay", "flat"];
    let mut command = cx.program("sh");
    command.args(["-c", "command -v fuse-overlayfs && exec 3<>/dev/fuse"]);
    if cx.finish(command).code == Some(0) {
        drivers.push("fuse-overlayfs");
    } else {
        // As root it is tried wherever the program is.
        let known = cx.caller == Caller::Ordinary && rustix::process::getuid().is_root();
        if !known {
            skip("fuse-overlayfs is not installed, or /dev/fuse cannot be opened");
        }
    }
    drivers
}

/// `base:1`, whose upper layer changes what the lower one has in every way.
fn load(cx: &Context) {
    let lower = busybox()
        .file("etc/kept", 0o644, b"kept\n")
        .file("etc/gone", 0o644, b"lower\n")
        .file("etc/changed", 0o600, b"lower\n")
        .file("deep/a/b/file", 0o644, b"lower\n")
        .file("opaque/lower", 0o644, b"lower\n");
    let upper = Layer::new()
        .file("etc/.wh.gone", 0o644, b"")
        .file("etc/changed", 0o640, b"upper\n")
        .file("opaque/.wh..wh..opq", 0o644, b"")
        .file("opaque/upper", 0o644, b"upper\n");
    load_layers(cx, "base:1", vec![lower.tar(), upper.tar()]);
}

fn busybox() -> Layer {
    let busybox = fs::read("/bin/busybox").unwrap();
    Layer::new()
        .file("bin/busybox", 0o755, &busybox)
        .file("tmp/.keep", 0o644, b"")
}

fn load_layers(cx: &Context, name: &str, layers: Vec<Vec<u8>>) {
    let image = ImageTar {
        layers,
        ..ImageTar::new(name, Vec::new(), json!({"Entrypoint": ["/bin/busybox"]}))
    };
    let file = cx.write("image.tar", image.tar());
    cx.run(["load", "-q", "-i", file.to_str().unwrap()]).ok();
}

fn run<'a>(driver: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["--storage-driver", driver, "run"];
    args.extend(rest);
    args
}

fn every_driver_makes_the_same_container(cx: &Context) {
    load(cx);
    let look = "cd /etc; cat kept changed; stat -c '%a %s %n' changed /bin/busybox; ls /opaque /deep/a/b; ls gone 2>&1";
    let seen = "kept\nupper\n640 6 changed\n755 ";
    let change = "set -e; cd /etc; rm kept; echo more >>changed; chmod 600 changed; mkdir gone; touch gone/x; \
                  rm -r /deep; mkdir /deep; ls /deep; mv /opaque/upper /opaque/moved; ln changed linked; \
                  mknod /tmp/fifo p; ln -s /etc /link; cat /link/changed; stat -c %h linked; ls /opaque gone; \
                  [ -p /tmp/fifo ]; touch /bin; exit 9";
    let changed = "upper\nmore\n2\n/opaque:\nmoved\n\ngone:\nx\n";
    let mut looks = Vec::new();
    for driver in drivers(cx) {
        for _ in 0..2 {
            let output = cx.run(run(driver, &["--rm", "base:1", "sh", "-c", look]));
            assert!(output.stdout.starts_with(seen), "{driver}: {output}");
            assert!(
                output.stdout.ends_with(
                    "/deep/a/b:\nfile\n\n/opaque:\nupper\nls: gone: No such file or directory\n"
                ) || output.stdout.ends_with(
                    "/opaque:\nupper\n\n/deep/a/b:\nfile\nls: gone: No such file or directory\n"
                ),
                "{driver}: {output}"
            );
            looks.push(output.stdout);
            let output = cx.run(run(driver, &["--rm", "base:1", "sh", "-c", change]));
            assert_eq!(output.stdout, changed, "{driver}: {output}");
            assert_eq!(
                (output.code, output.stderr.as_str()),
                (Some(9), ""),
                "{driver}"
            );
        }
        // One that writes nothing needs no copy, and one that is to write cannot.
        let read_only = cx.run(run(
            driver,
            &[
                "--rm",
                "--read-only",
                "base:1",
                "sh",
                "-c",
                "cat /etc/kept; touch /x",
            ],
        ));
        assert_eq!(read_only.stdout, "kept\n", "{driver}: {read_only}");
        assert!(
            read_only.stderr.contains("Read-only file system"),
            "{read_only}"
        );
    }
    assert!(looks.iter().all(|l| *l == looks[0]), "{looks:#?}");
    assert_eq!(
        fs::read_dir(cx.root().join("containers")).unwrap().count(),
        0
    );
    cx.run(["rmi", "base:1"]).ok();
    cx.assert_store_empty();
}

fn flat_images_count_in_the_disk_usage(cx: &Context) {
    let many = (0..300).fold(busybox(), |layer, n| {
        layer.file(&format!("d{n}/file"), 0o644, b"x")
    });
    load_layers(cx, "many:1", vec![many.tar()]);
    let taken = || -> f64 {
        let shown = cx.run(["system", "df", "--format", "{{.Type}} {{.Size}}"]);
        let text = shown.silent_ok();
        let size = text
            .lines()
            .find_map(|l| l.strip_prefix("Images "))
            .unwrap();
        size.strip_suffix("MB").unwrap().parse().unwrap()
    };
    let before = taken();
    cx.run(run("flat", &["--name", "first", "many:1", "true"]))
        .silent_ok();
    let with_flat = taken();
    // At least the folders are its own.
    assert!(
        with_flat >= before + 0.5,
        "{before} MB, then {with_flat} MB"
    );
}

fn containers_share_no_file_with_their_image(cx: &Context) {
    load(cx);
    let name = |name| {
        run(
            "flat",
            &["--name", name, "base:1", "sh", "-c", "echo x >>/etc/kept"],
        )
    };
    cx.run(name("first")).silent_ok();
    cx.run(name("second")).silent_ok();
    let inodes = |kind: &str| -> Vec<(PathBuf, u64)> {
        let folders = fs::read_dir(cx.root().join(kind)).unwrap();
        let mut found = Vec::new();
        for folder in folders {
            let path = folder.unwrap().path();
            for tree in ["fs", "tree"] {
                if let Ok(meta) = path.join(tree).join("etc/kept").metadata() {
                    found.push((path.join(tree).join("etc/kept"), meta.ino()));
                }
            }
        }
        found
    };
    let (containers, flat) = (inodes("containers"), inodes("flat"));
    assert_eq!(
        (containers.len(), flat.len()),
        (2, 1),
        "{containers:?} {flat:?}"
    );
    assert_ne!(containers[0].1, containers[1].1);
    assert!(containers.iter().all(|(_, inode)| *inode != flat[0].1));
    assert_eq!(fs::read_to_string(&flat[0].0).unwrap(), "kept\n");
    for (path, _) in containers {
        assert_eq!(fs::read_to_string(path).unwrap(), "kept\nx\n");
    }
    // The layers are whole although their files have other names.
    cx.run(["system", "check"]).ok();
    // It stays as long as a container or the image is there, and goes with the last.
    cx.run(["rmi", "-f", "base:1"]).ok();
    assert_eq!(inodes("flat"), flat);
    cx.run(["rm", "first", "second"]).ok();
    load(cx);
    cx.run(["rmi", "base:1"]).ok();
    assert_eq!(inodes("flat"), []);
}

fn what_works_is_tried_once_and_again_on_another_kernel(cx: &Context) {
    load(cx);
    let file = cx.root().join("driver.json");
    assert!(!file.exists());
    let true_ = ["run", "--rm", "base:1", "true"];
    cx.run(true_).silent_ok();
    let read = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    let found = read();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(found["kernel"], kernel.trim());
    assert_eq!(found["tried"][0]["driver"], "overlay");
    // What is written there is believed...
    let inode = file.metadata().unwrap().ino();
    cx.run(true_).silent_ok();
    assert_eq!(file.metadata().unwrap().ino(), inode);
    let mut other = found.clone();
    other["tried"][0]["refusal"] = json!("it said no");
    fs::write(&file, other.to_string()).unwrap();
    let refused = cx.run(run("overlay", &["--rm", "base:1", "true"]));
    assert!(
        refused
            .error(125)
            .contains("the storage driver overlay does not work here: it said no"),
        "{refused}"
    );
    // ... until the kernel is another one.
    other["kernel"] = json!("1.0");
    fs::write(&file, other.to_string()).unwrap();
    cx.run(run("overlay", &["--rm", "base:1", "true"]))
        .silent_ok();
    assert_eq!(read()["tried"][0], found["tried"][0]);
    // Damage is no reason to stop.
    fs::write(&file, "{").unwrap();
    cx.run(true_).silent_ok();
    assert_eq!(read(), found);
}

fn a_driver_that_cannot_work_is_an_error_with_the_remedy(cx: &Context) {
    load(cx);
    let unknown = cx.run(run("zfs", &["base:1"]));
    assert!(
        unknown
            .error(125)
            .contains("overlay, fuse-overlayfs and flat"),
        "{unknown}"
    );
    let mut command = cx.command(["run", "--rm", "base:1", "true"]);
    command.env("MINIDOCK_STORAGE_DRIVER", "fuse-overlayfs");
    if !drivers(cx).contains(&"fuse-overlayfs") {
        let refused = cx.finish(command);
        let text = refused.error(125);
        assert!(
            text.contains("the storage driver fuse-overlayfs does not work here"),
            "{refused}"
        );
        assert!(
            text.contains("install the package fuse-overlayfs"),
            "{refused}"
        );
    } else {
        cx.finish(command).ok();
    }
    assert_eq!(
        fs::read_dir(cx.root().join("containers")).unwrap().count(),
        0
    );
}

/// An image of `count` layers: each has a file of its own, removes one of the one before, and all change one.
fn load_many(cx: &Context, name: &str, count: usize) {
    let mut layers = vec![busybox().tar()];
    for number in 1..count {
        let gone = format!("d/.wh.{}", number - 1);
        let own = format!("d/{number}");
        let mut layer =
            Layer::new()
                .file(&own, 0o644, b"")
                .file("same", 0o644, number.to_string().as_bytes());
        if number % 2 == 0 {
            layer = layer.file(&gone, 0o644, b"");
        }
        layers.push(layer.tar());
    }
    load_layers(cx, name, layers);
}

fn images_of_many_layers_run(cx: &Context) {
    load_many(cx, "many:1", 120);
    for driver in drivers(cx) {
        let output = cx.run(run(
            driver,
            &[
                "--rm",
                "many:1",
                "sh",
                "-c",
                "ls /d | wc -l; cat /same; rm -r /d; ls /",
            ],
        ));
        // Odd ones hide nothing; of the even ones each hides the odd one before it.
        assert_eq!(
            output.stdout, "60\n119bin\ndev\netc\nproc\nsame\nsys\ntmp\n",
            "{driver}: {output}"
        );
    }
}

fn more_layers_than_an_overlay_takes_become_one_folder(cx: &Context) {
    load_many(cx, "many:1", 510);
    let refused = cx.run(run("overlay", &["--rm", "many:1", "true"]));
    assert!(
        refused
            .error(125)
            .contains("at most 500 layers, and the image has 510"),
        "{refused}"
    );
    let output = cx.run([
        "run",
        "--rm",
        "many:1",
        "sh",
        "-c",
        "ls /d | wc -l; cat /same",
    ]);
    assert_eq!(output.stdout, "255\n509", "{output}");
}

/// A folder in which `fuse-overlayfs` is this script.
fn with_program(cx: &Context, script: &str) -> PathBuf {
    let folder = cx.dir.join("programs");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("fuse-overlayfs");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

fn a_program_that_serves_no_files_is_told_with_its_words(cx: &Context) {
    load(cx);
    if !drivers(cx).contains(&"fuse-overlayfs") {
        return;
    }
    let folder = with_program(
        cx,
        "#!/bin/sh\necho 'these files are not for you' >&2\nexit 3\n",
    );
    let mut command = cx.command(run("fuse-overlayfs", &["--rm", "base:1", "true"]));
    command.env("PATH", &folder);
    let refused = cx.finish(command);
    assert!(
        refused.error(125).contains("these files are not for you"),
        "{refused}"
    );
    // The same once it is believed to work.
    cx.run(run("fuse-overlayfs", &["--rm", "base:1", "true"]))
        .ok();
    let record = cx.root().join("driver.json");
    let text = fs::read_to_string(&record).unwrap();
    let text = text.replace(
        "/usr/bin/fuse-overlayfs",
        folder.join("fuse-overlayfs").to_str().unwrap(),
    );
    fs::write(&record, text).unwrap();
    let failed = cx.run(run("fuse-overlayfs", &["--rm", "base:1", "true"]));
    let text = failed.error(125);
    assert!(
        text.contains("does not serve the container's files: these files are not for you"),
        "{failed}"
    );
    assert_eq!(
        fs::read_dir(cx.root().join("containers")).unwrap().count(),
        0
    );
}

fn whoever_serves_files_goes_with_the_container(cx: &Context) {
    load(cx);
    if !drivers(cx).contains(&"fuse-overlayfs") {
        return;
    }
    let start = |script| {
        let args = ["--rm", "base:1", "sh", "-c", script];
        let mut running = cx.start(cx.command(run("fuse-overlayfs", &args)));
        running.wait_for_stdout("ready");
        let pid = running.pid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let children: Vec<String> = children
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(children.len(), 2, "{children:?}");
        (running, children)
    };
    let gone = |children: &[String]| {
        let deadline = std::time::Instant::now() + crate::support::PATIENCE;
        while children
            .iter()
            .any(|pid| PathBuf::from(format!("/proc/{pid}")).exists())
        {
            assert!(std::time::Instant::now() < deadline, "{children:?} stay");
            std::thread::yield_now();
        }
    };
    // A signal goes to the container, not to its server.
    let (running, children) =
        start("trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 1; done");
    running.signal(Signal::TERM);
    let output = running.wait();
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(4), "ready\nbye\n"),
        "{output}"
    );
    gone(&children);
    let (running, children) = start("ps -o args; echo ready; sleep 1000");
    let output = running.kill();
    assert!(!output.stdout.contains("fuse-overlayfs"), "{output}");
    gone(&children);
}

fn files_that_nobody_may_read_are_in_the_copy(cx: &Context) {
    let layer = busybox().file("secret/none", 0o000, b"hidden\n").tar();
    load_layers(cx, "base:1", vec![layer]);
    let output = cx.run(run(
        "flat",
        &[
            "--rm",
            "base:1",
            "sh",
            "-c",
            "stat -c %a /secret/none; cat /secret/none",
        ],
    ));
    assert_eq!(output.silent_ok(), "0\nhidden\n");
}

/// What a container changed does not depend on what it was made of: `diff`, `commit` and `export` say the same.
fn changes_are_told_and_committed_alike(cx: &Context) {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, owner) in [
        ("www/page", 33),
        ("www/other", 44),
        ("gone/file", 55),
        ("again/old", 66),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(3);
        header.set_mtime(1_600_000_000);
        header.set_uid(owner);
        header.set_gid(owner);
        tar.append_data(&mut header, path, &b"old"[..]).unwrap();
    }
    let layer = tar.into_inner().unwrap();
    load_layers(cx, "base:1", vec![busybox().tar(), layer]);
    let script = "echo more >>/www/page; rm -r /gone /again; mkdir /again; touch /again/new /tmp/made; chmod 700 /www; \
                  ln /tmp/made /tmp/linked; rm /tmp/.keep";
    let mut seen = Vec::new();
    for driver in drivers(cx) {
        let name = format!("by-{driver}");
        cx.run(run(
            driver,
            &["--name", &name, "base:1", "sh", "-c", script],
        ))
        .silent_ok();
        let diff = cx.run(["diff", &name]).silent_ok().to_owned();
        assert!(
            diff.contains("C /www/page\n") && diff.contains("D /gone\n"),
            "{driver}: {diff}"
        );
        assert!(
            !diff.contains("/bin/busybox") && !diff.contains("/www/other"),
            "{driver}: {diff}"
        );
        let listing = |tar: &str| {
            let mut command = cx.program("tar");
            command.args(["--numeric-owner", "-tvf", tar]);
            let output = cx.finish(command);
            // Without the times of what was made just now.
            let mut lines: Vec<String> = output
                .ok()
                .lines()
                .map(|line| {
                    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
                    if !line.contains("2020-09-13") {
                        words.drain(3..5);
                    }
                    words.join(" ")
                })
                .collect();
            lines.sort();
            lines
        };
        cx.run(["export", "-o", "export.tar", &name]).silent_ok();
        let exported = listing("export.tar");
        let image = format!("image-{driver}");
        cx.run(["commit", &name, &image]).ok();
        let look = "stat -c '%n %a %s' /www /www/* /again/* /tmp/*; ls -a / /again; cat /www/page; stat -c %h /tmp/made";
        let back = cx.run(["run", "--rm", &image, "sh", "-c", look]);
        seen.push((diff, exported, back.silent_ok().to_owned()));
    }
    for other in &seen[1..] {
        assert_eq!(seen[0].0, other.0);
        assert_eq!(seen[0].1, other.1);
        assert_eq!(seen[0].2, other.2);
    }
    // The true owners, whoever is mapped here.
    let all = seen[0].1.join("\n");
    for line in ["33/33 8 www/page", "44/44 3 2020-09-13"] {
        assert!(all.contains(line), "{line}: {all}");
    }
}

#[test]
fn device_nodes_of_an_image_open_nothing() {
    let Some(cx) = Context::new(Caller::Root) else {
        return;
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Char);
    header.set_mode(0o666);
    header.set_size(0);
    header.set_device_major(1).unwrap();
    header.set_device_minor(5).unwrap();
    tar.append_data(&mut header, "zero", &b""[..]).unwrap();
    let layer = tar.into_inner().unwrap();
    load_layers(&cx, "base:1", vec![busybox().tar(), layer.clone()]);
    let mut both = busybox().tar();
    // Without the two blocks of zeros at the end, so that the archives join.
    both.truncate(both.len() - 1024);
    both.extend(layer);
    load_layers(&cx, "one:1", vec![both]);
    for driver in drivers(&cx) {
        for flags in [&["--rm"][..], &["--rm", "--read-only"]] {
            for image in ["base:1", "one:1"] {
                let mut args = flags.to_vec();
                args.extend([image, "head", "-c", "1", "/zero"]);
                let output = cx.run(run(driver, &args));
                assert_eq!(output.code, Some(1), "{driver}: {output}");
                assert!(
                    output.stderr.contains("Permission denied"),
                    "{driver}: {output}"
                );
            }
        }
    }
}
