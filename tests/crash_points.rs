//! kill -9 at every system call that changes the store, one after the other: whatever was cut short, the next command finds
//! a store in which all that is listed works, nothing is damaged, and what was left over goes.
//!
//! Some points of each command are tried; `MINIDOCK_TEST_EVERY_POINT=1` tries all of them, which takes minutes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{Context, DockerRegistry, ImageTar, Layer, fixtures, scenarios, skip};

scenarios!(
    load_killed_anywhere,
    load_of_a_known_image_under_another_name_killed_anywhere,
    rmi_killed_anywhere,
    run_killed_anywhere,
    rm_killed_anywhere,
    commit_killed_anywhere,
    import_killed_anywhere,
    the_first_command_of_all_killed_anywhere,
    pull_killed_anywhere,
    repair_killed_anywhere,
);

/// What changes a store. Reading needs no test, and most writing goes to files that have no name yet.
const CALLS: [&str; 16] = [
    "rename",
    "renameat",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "symlink",
    "symlinkat",
    "fsync",
    "fdatasync",
    "syncfs",
    "flock",
    "write",
    "ftruncate",
    "fchmod",
];

/// 128 and SIGKILL.
const KILLED: i32 = 137;
/// As many points of each call in each command are tried, evenly spread, unless all are.
const SOME: usize = 2;

/// An image that runs, of two layers; the upper one has a file whose folder is in the lower.
fn image(name: &str) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").unwrap();
    let base = Layer::new().file("bin/busybox", 0o755, &busybox);
    let top = Layer::new().file("bin/greeting", 0o644, b"hello\n");
    let mut image = ImageTar::new(
        name,
        base.tar(),
        json!({ "Cmd": ["/bin/busybox", "cat", "/bin/greeting"] }),
    );
    image.layers.push(top.tar());
    image.tar()
}

/// Kills a command at every point in a store that `prepare` has made.
fn everywhere(cx: &Context, prepare: &dyn Fn(), args: &[&str], threads: bool) {
    killed(cx, prepare, args, threads, &|_| {});
}

/// The same, with something to do before the promises are checked.
fn killed(cx: &Context, prepare: &dyn Fn(), args: &[&str], threads: bool, then: &dyn Fn(&str)) {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("strace is not installed; `make deps` installs it");
        return;
    }
    prepare();
    let mut tried = 0;
    let calls = count(cx, args, threads);
    clear(cx);
    for (call, count) in calls {
        for at in points(count) {
            clear(cx);
            prepare();
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let output = cx.finish(strace(cx, &["-e", &inject], args, threads));
            // Threads take turns, so another time there may be a call less.
            if output.code == Some(KILLED) {
                tried += 1;
                let when = format!("{args:?} killed at {call} number {at}");
                then(&when);
                check(cx, &when);
            }
        }
    }
    assert!(tried >= 5, "only {tried} points of {args:?} were hit");
}

fn points(count: usize) -> Vec<usize> {
    let all = std::env::var("MINIDOCK_TEST_EVERY_POINT").is_ok_and(|v| v == "1");
    if all || count <= SOME {
        return (1..=count).collect();
    }
    (0..SOME)
        .map(|i| 1 + i * (count - 1) / (SOME - 1))
        .collect()
}

fn strace(cx: &Context, more: &[&str], args: &[&str], threads: bool) -> Command {
    // strace ends as what it traced; a shell makes an exit status of that.
    let mut command = cx.program("sh");
    command.args(["-c", "\"$@\"; exit $?", "sh", "strace"]);
    if threads {
        command.arg("-f");
    }
    command.args([
        "-o",
        "trace",
        "-e",
        &format!("trace={}", CALLS.map(|c| format!("?{c}")).join(",")),
    ]);
    command.args(more).arg(cx.binary()).args(args);
    command
}

/// How often a command makes each call, at most in one thread.
fn count(cx: &Context, args: &[&str], threads: bool) -> BTreeMap<String, usize> {
    cx.finish(strace(cx, &[], args, threads)).ok();
    let trace = fs::read_to_string(cx.work().join("trace")).unwrap();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((before, _)) = line.split_once('(') else {
            continue;
        };
        let (thread, call) = match before.split_once(' ') {
            Some((thread, call)) => (thread, call.trim()),
            None => ("", before),
        };
        if CALLS.contains(&call) {
            let key = (call.to_owned(), thread.to_owned());
            *counts.entry(key).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in counts {
        let known = most.entry(call).or_insert(0);
        *known = count.max(*known);
    }
    most
}

/// Away with the whole store, folders of mode 000 and all.
fn clear(cx: &Context) {
    let script = "test -e \"$0\" || exit 0; chmod -R u+rwX \"$0\" 2>/dev/null; chmod -R u+rwX \"$0\"; rm -rf \"$0\"";
    let mut command = cx.program("sh");
    command.args(["-c", script]).arg(cx.root());
    cx.finish(command).ok();
}

/// The promises.
fn check(cx: &Context, when: &str) {
    let good = |output: crate::support::Output| {
        assert_eq!(output.code, Some(0), "{when}: {output}");
        output
    };
    // What is listed works, without repair.
    let images = good(cx.run(["images", "--no-trunc", "-q"]));
    for id in images.stdout.lines() {
        let ran = good(cx.run(["run", "--rm", id]));
        let greeting = ["hello\n", "hello world from app in /srv/app\n"];
        assert!(greeting.contains(&ran.stdout.as_str()), "{when}: {ran}");
        assert_eq!(ran.stderr, "", "{when}");
    }
    let containers = good(cx.run(["ps", "-a", "-q"]));
    let checked = good(cx.run(["system", "check", "-q"]));
    assert_eq!(checked.stdout, "", "{when}");
    // The same can be done again, and by the time all is removed nothing at all is left.
    good(cx.run_with_input(["load"], &image("after:1")));
    for id in containers.stdout.lines() {
        good(cx.run(["rm", "-f", id]));
    }
    let images = good(cx.run(["images", "--no-trunc", "-q"]));
    for id in images.stdout.lines() {
        // One image may have been listed with several names.
        let _ = cx.run(["rmi", "-f", id]);
    }
    // Only what came of a layer waits for the next pull, or for whoever wants the room.
    let mut left = cx.store_files();
    left.retain(|path, _| !path.starts_with("partial/"));
    assert!(left.is_empty(), "{when}: {left:?}");
    good(cx.run(["image", "prune", "-f"]));
    let left = cx.store_files();
    assert!(left.is_empty(), "{when}: {left:?}");
    let folders = ["tmp", "containers", "names", "layers/sha256"]
        .map(|folder| fs::read_dir(cx.root().join(folder)).unwrap().count());
    assert_eq!(folders, [0; 4], "{when}");
}

fn load_killed_anywhere(cx: &Context) {
    cx.write("image.tar", image("small:1"));
    let nothing = || {
        cx.run(["images"]).ok();
    };
    everywhere(cx, &nothing, &["load", "-i", "image.tar"], true);
}

fn load_of_a_known_image_under_another_name_killed_anywhere(cx: &Context) {
    cx.write("image.tar", image("small:1"));
    let loaded = || {
        cx.run_with_input(["load"], &image("other:1")).ok();
    };
    everywhere(cx, &loaded, &["load", "-i", "image.tar"], true);
}

fn rmi_killed_anywhere(cx: &Context) {
    let loaded = || {
        cx.run_with_input(["load"], &image("small:1")).ok();
    };
    everywhere(cx, &loaded, &["rmi", "small:1"], true);
}

fn run_killed_anywhere(cx: &Context) {
    let loaded = || {
        cx.run_with_input(["load"], &image("small:1")).ok();
    };
    everywhere(cx, &loaded, &["run", "--name", "one", "small:1"], false);
    everywhere(
        cx,
        &loaded,
        &["run", "--rm", "--name", "one", "small:1"],
        false,
    );
}

fn rm_killed_anywhere(cx: &Context) {
    let ran = || {
        cx.run_with_input(["load"], &image("small:1")).ok();
        let run = [
            "run",
            "--name",
            "one",
            "small:1",
            "/bin/busybox",
            "sh",
            "-c",
        ];
        let write = "/bin/busybox mkdir -m 0 /shut; echo data >/file";
        cx.run(run.into_iter().chain([write])).ok();
    };
    everywhere(cx, &ran, &["rm", "one"], true);
}

const GREET: &str = r#"CMD ["/bin/busybox", "cat", "/bin/greeting"]"#;

/// A container that changed something, and the image that it was made of.
fn changed(cx: &Context) {
    cx.run_with_input(["load"], &image("small:1")).ok();
    let script = "echo data > /file; /bin/busybox mkdir /folder; /bin/busybox rm /bin/greeting; echo hello > /bin/greeting";
    let run = [
        "run",
        "--name",
        "one",
        "small:1",
        "/bin/busybox",
        "sh",
        "-c",
        script,
    ];
    cx.run(run).ok();
}

fn commit_killed_anywhere(cx: &Context) {
    let commit = ["commit", "-c", GREET, "one", "small:2"];
    everywhere(cx, &|| changed(cx), &commit, true);
}

fn import_killed_anywhere(cx: &Context) {
    changed(cx);
    cx.run(["export", "-o", "small.tar", "one"]).ok();
    clear(cx);
    let import = ["import", "-c", GREET, "small.tar", "small:2"];
    everywhere(cx, &|| {}, &import, true);
}

fn the_first_command_of_all_killed_anywhere(cx: &Context) {
    everywhere(cx, &|| {}, &["images"], false);
}

fn pull_killed_anywhere(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("app"), "app:1");
    everywhere(cx, &|| {}, &["pull", "-q", &reference], true);
}

fn repair_killed_anywhere(cx: &Context) {
    let damaged = || {
        cx.run_with_input(["load"], &image("small:1")).ok();
        let layers = fs::read_dir(cx.root().join("layers/sha256")).unwrap();
        for layer in layers {
            fs::remove_file(layer.unwrap().path().join("layer.json")).unwrap();
        }
    };
    let again = &["system", "check", "--repair"];
    killed(cx, &damaged, again, true, &|when| {
        // What is not repaired yet is repaired by the next.
        let repaired = cx.run(again);
        assert_eq!(repaired.code, Some(0), "{when}: {repaired}");
    });
}
