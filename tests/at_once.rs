//! Twenty processes on one store at once: pulls of images that share layers, then every verb that changes something
//! among those that look.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use minidock_test_registry::{Image, Registry};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::support::{
    Context, ImageTar, Layer, Output, PATIENCE, fixtures, piped, scenarios, sha256,
};

scenarios!(
    twenty_pulls_fetch_each_layer_once,
    twenty_processes_that_do_all_sorts_of_things,
    what_a_killed_deleter_left_is_deleted_by_the_next_command,
);

/// A registry with `a:1`, `b:1` and `c:1`, which print their names: busybox for all, one more layer for `a` and `b`, and a
/// layer of its own for each.
fn registry() -> Registry {
    let registry = Registry::start();
    registry.put_layout("base", "1", &fixtures().join("app"));
    let (_, manifest) = registry.manifest("base/1").unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
        registry.blob(&digest).unwrap()
    };
    let base: Vec<Vec<u8>> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(blob)
        .collect();
    let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
    let shared = Layer::new().file("shared", 0o644, &[b's'; 200_000]).tar();
    for name in ["a", "b", "c"] {
        let own = Layer::new()
            .file("own", 0o644, format!("this is {name}\n").as_bytes())
            .tar();
        let mut config = config.clone();
        config.as_object_mut().unwrap().remove("history");
        config["config"] = json!({"Cmd": ["/bin/busybox", "cat", "/own"]});
        let mut layers = base.clone();
        for tar in if name == "c" {
            vec![&own]
        } else {
            vec![&shared, &own]
        } {
            let diff_ids = config["rootfs"]["diff_ids"].as_array_mut().unwrap();
            diff_ids.push(json!(sha256(tar)));
            layers.push(piped("gzip", &["-cn"], tar));
        }
        let image = Image::with_config(layers, config.to_string().into_bytes());
        registry.put(name, "1", &image);
    }
    registry.clear_log();
    registry
}

/// How often each blob was asked for.
fn requests(registry: &Registry) -> BTreeMap<String, usize> {
    let mut requests = BTreeMap::new();
    for request in registry.log() {
        if let Some((_, digest)) = request.path.split_once("/blobs/") {
            *requests.entry(digest.to_owned()).or_default() += 1;
        }
    }
    requests
}

/// The digests of all layers of the three images.
fn layers(registry: &Registry) -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    for name in ["a/1", "b/1", "c/1"] {
        let (_, manifest) = registry.manifest(name).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            layers.insert(layer["digest"].as_str().unwrap().to_owned(), 1);
        }
    }
    layers
}

/// Starts all of them before it waits for any.
fn at_once(cx: &Context, commands: &[Vec<String>]) -> Vec<Output> {
    let running: Vec<_> = commands
        .iter()
        .map(|args| {
            let mut running = cx.start(cx.command(args));
            running.feed(b"");
            running
        })
        .collect();
    running.into_iter().map(|running| running.wait()).collect()
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn twenty_pulls_fetch_each_layer_once(cx: &Context) {
    let registry = registry();
    let host = registry.host();
    let pulls: Vec<_> = (0..20)
        .map(|i| words(&format!("pull {host}/{}:1", ["a", "b", "c"][i % 3])))
        .collect();
    for output in at_once(cx, &pulls) {
        output.ok();
    }
    let expected = layers(&registry);
    // What all have, what two have, and one each.
    let base = expected.len() - 4;
    assert!(base >= 1, "{expected:?}");
    let mut asked = requests(&registry);
    let configs = asked.len() - expected.len();
    assert_eq!(configs, 3, "{asked:?}");
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    asked.retain(|digest, _| expected.contains_key(digest));
    assert_eq!(asked, expected);
    for name in ["a", "b", "c"] {
        let run = cx.run(["run", "--rm", &format!("{host}/{name}:1")]);
        assert_eq!(run.silent_ok(), format!("this is {name}\n"));
    }
    // Three manifests, three configs and the layers.
    assert_eq!(
        cx.run(["system", "check"]).silent_ok(),
        format!(
            "Checked 3 images, {} layers, {} blobs and 0 containers: no problems\n",
            expected.len(),
            expected.len() + 6,
        )
    );
    cx.run(["image", "prune", "-af"]).ok();
    cx.assert_store_empty();
}

/// What a command may say when another was faster.
const REFUSALS: [&str; 7] = [
    "container is running",
    "no such image",
    "no such container",
    "no such object",
    "in use",
    "is using",
    "being used",
];

fn twenty_processes_that_do_all_sorts_of_things(cx: &Context) {
    let registry = registry();
    let host = registry.host();
    cx.load_busybox();
    cx.run(["run", "--name", "kept", "busybox", "touch", "/new"])
        .silent_ok();
    let mut good = 0;
    for round in 0..4 {
        let commands: Vec<_> = [
            "pull HOST/a:1",
            "run --rm HOST/b:1",
            "images",
            "rmi -f HOST/a:1",
            "tag busybox copy:ROUND",
            "commit kept made:ROUND",
            "image prune -f",
            "ps -a",
            "pull HOST/c:1",
            "run --rm HOST/a:1",
            "rmi HOST/c:1",
            "image prune -af",
            "run --name rROUND HOST/c:1",
            "rmi copy:ROUND",
            "commit kept made:again",
            "rm rROUND",
            "run --rm busybox true",
            "pull HOST/b:1",
            "rmi -f HOST/b:1",
            "system df",
        ]
        .iter()
        .map(|line| {
            words(
                &line
                    .replace("HOST", &host)
                    .replace("ROUND", &round.to_string()),
            )
        })
        .collect();
        for output in at_once(cx, &commands) {
            if output.code == Some(0) {
                good += 1;
                continue;
            }
            assert!(
                matches!(output.code, Some(1 | 125)) && !output.stderr.contains("panicked"),
                "{output}"
            );
            let said = output.stderr.to_lowercase();
            assert!(
                REFUSALS.iter().any(|words| said.contains(words)),
                "{output}"
            );
        }
    }
    assert!(good >= 40, "only {good} of 80 did what they were told");
    let check = cx.run(["system", "check"]);
    assert!(check.silent_ok().ends_with(": no problems\n"), "{check}");
    // Whatever is still there works, and all of it can go.
    assert_eq!(cx.run(["diff", "kept"]).silent_ok(), "A /new\n");
    for name in ["a", "b", "c"] {
        let run = cx.run(["run", "--rm", &format!("{host}/{name}:1")]);
        assert_eq!(run.ok(), format!("this is {name}\n"));
    }
    cx.run(["container", "prune", "-f"]).ok();
    cx.run(["image", "prune", "-af"]).ok();
    cx.assert_store_empty();
}

/// Who holds a file locked, by the kernel's list (proc_locks(5)).
fn holder(inode: u64) -> Option<Pid> {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let line = locks
        .lines()
        .find(|line| line.contains(" FLOCK ") && line.contains(&format!(":{inode} ")))?;
    Pid::from_raw(line.split_ascii_whitespace().nth(4)?.parse().ok()?)
}

fn what_a_killed_deleter_left_is_deleted_by_the_next_command(cx: &Context) {
    let layer = (0..30_000).fold(Layer::new(), |layer, i| {
        layer.file(&format!("d{}/file{i}", i % 7), 0o644, b"x")
    });
    let image = ImageTar::new("many:1", layer.tar(), json!({}));
    let tarball = cx.write("many.tar", image.tar());
    let trash = cx.root().join("trash");
    let left = || fs::read_dir(&trash).unwrap().next().is_some();
    let deadline = Instant::now() + PATIENCE;
    // A deleter that was faster than we are is no test: then once more.
    loop {
        assert!(Instant::now() < deadline, "no deleter could be caught");
        cx.load(&tarball).ok();
        cx.run(["rmi", "many:1"]).silent_ok();
        let inode = fs::metadata(cx.root().join("locks/trash")).unwrap().ino();
        let mut killed = false;
        while left() && !killed {
            if let Some(pid) = holder(inode) {
                let program = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()));
                killed = program.is_ok_and(|program| {
                    program == cx.binary().canonicalize().unwrap()
                        && rustix::process::kill_process(pid, Signal::KILL).is_ok()
                });
            }
        }
        while holder(inode).is_some() {
            std::thread::yield_now();
        }
        if killed && left() {
            break;
        }
    }
    assert_eq!(cx.run(["images"]).silent_ok().lines().count(), 1);
    cx.assert_store_empty();
    let check = cx.run(["system", "check"]);
    assert!(check.silent_ok().ends_with(": no problems\n"), "{check}");
}
