//! A store on a disk that is full, or becomes so: one clear error, nothing lost, and removing makes room.

use std::collections::HashMap;

use crate::support::{Context, DockerRegistry, Output, fixtures, saved, scenarios};

scenarios!(
    a_load_that_fills_the_disk_leaves_nothing_and_succeeds_when_there_is_room,
    images_are_removed_from_a_full_disk,
    a_disk_without_inodes_is_told_from_a_full_one,
    what_adds_content_to_a_full_disk_leaves_nothing_half,
);

/// Runs a shell script as root of a user namespace, in a tmpfs of 64 MiB with so many KiB free. What `step NAME COMMAND…`
/// did is found under its name: exit status, and standard output and error together.
fn on_disk(cx: &Context, free: u32, script: &str) -> HashMap<String, (i32, String)> {
    on_disk_of(cx, "size=64m", free, script)
}

fn on_disk_of(
    cx: &Context,
    options: &str,
    free: u32,
    script: &str,
) -> HashMap<String, (i32, String)> {
    let prelude = format!(
        "mount -t tmpfs -o {options} none \"$PWD\" && cd \"$PWD\" || exit 1
         dd if=/dev/zero of=fill bs=1k count={} 2>/dev/null
         export MINIDOCK_ROOT=\"$PWD/store\"
         step() {{ name=$1; shift; out=$(\"$@\" 2>&1); printf '=%s %s\\n%s\\n' \"$name\" $? \"$out\"; }}
         {script}",
        (64 << 10) - free
    );
    let mut command = cx.program("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork"]);
    command.args(["--mount-proc", "sh", "-c", &prelude]);
    let output: Output = cx.finish(command);
    output.ok();
    let steps = output.stdout.lines().fold(Vec::new(), |mut steps, line| {
        match (line.strip_prefix('='), steps.last_mut()) {
            (Some(head), _) => {
                let (name, code) = head.split_once(' ').unwrap();
                steps.push((name.to_owned(), (code.parse().unwrap(), String::new())));
            }
            (None, Some((_, (_, text)))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
        steps
    });
    steps.into_iter().collect()
}

fn a_load_that_fills_the_disk_leaves_nothing_and_succeeds_when_there_is_room(cx: &Context) {
    let tarball = saved();
    let load = format!("minidock load --keep-free 0 -i {}", tarball.display());
    let script = format!(
        "step first {load}
         step images minidock images -q
         step check minidock system check
         rm fill
         step again {load}
         step run minidock run --rm --network none --pull never busybox echo ran"
    );
    let mut failed = 0;
    // Where it stops differs: setting members down, making files, keeping the blob, publishing.
    for free in [256, 1 << 10, 3 << 10, 5 << 10, 7 << 10, 8 << 10, 8500, 8800] {
        let steps = on_disk(cx, free, &script);
        let (code, text) = &steps["first"];
        if *code != 0 {
            failed += 1;
            assert_eq!(*code, 1, "{free} KiB: {text}");
            assert!(
                text.contains("No space left on device"),
                "{free} KiB: {text}"
            );
            assert!(
                text.contains("\nhint: free some space"),
                "{free} KiB: {text}"
            );
            assert_eq!(steps["images"], (0, "\n".into()), "{free} KiB");
        }
        let (code, text) = &steps["check"];
        assert!(
            *code == 0 && text.contains("no problems"),
            "{free} KiB: {text}"
        );
        let (code, text) = &steps["again"];
        assert!(
            *code == 0 && text.contains("Loaded image: busybox:latest"),
            "{free} KiB: {text}"
        );
        assert_eq!(steps["run"], (0, "ran\n".into()), "{free} KiB");
    }
    assert!(failed >= 5, "only {failed} sizes were too small");
}

fn images_are_removed_from_a_full_disk(cx: &Context) {
    let tarball = saved();
    let script = format!(
        "step load minidock load --keep-free 0 -i {}
         step works minidock run --rm --network none --pull never busybox echo ran
         dd if=/dev/zero of=rest bs=4k 2>/dev/null
         step tag minidock tag busybox:latest other:1
         step save minidock save busybox:latest -o out.tar
         step saved ls out.tar
         step list minidock images
         step run minidock run --rm --pull never busybox true
         step rmi minidock rmi busybox:latest
         step prune minidock image prune -af
         step left minidock images -q
         rm rest
         step check minidock system check",
        tarball.display()
    );
    let steps = on_disk(cx, 12 << 10, &script);
    assert_eq!(steps["load"].0, 0, "{:?}", steps["load"]);
    assert_eq!(steps["works"], (0, "ran\n".into()));
    // What adds something says so, and how to go on.
    for (adds, code, names) in [
        ("tag", 1, "index.json"),
        ("save", 1, "out.tar"),
        ("run", 125, "containers/"),
    ] {
        let (actual, text) = &steps[adds];
        assert_eq!(*actual, code, "{adds}: {text}");
        assert!(text.contains("No space left on device"), "{adds}: {text}");
        assert!(text.contains(names), "{adds}: {text}");
        assert!(text.contains("hint: free some space"), "{adds}: {text}");
    }
    assert_ne!(steps["saved"].0, 0, "half an archive is left");
    assert!(steps["list"].1.contains("busybox"), "{:?}", steps["list"]);
    // What removes something does.
    let (code, text) = &steps["rmi"];
    assert!(
        *code == 0 && text.starts_with("Untagged: busybox:latest\n"),
        "{text}"
    );
    let (code, text) = &steps["prune"];
    assert!(*code == 0 && text.contains("untagged: app:1"), "{text}");
    assert_eq!(steps["left"], (0, "\n".into()));
    let (code, text) = &steps["check"];
    assert!(*code == 0 && text.contains("no problems"), "{text}");
}

fn a_disk_without_inodes_is_told_from_a_full_one(cx: &Context) {
    let tarball = saved();
    let script = format!(
        "seq 9820 | xargs touch
         step careful minidock load -i {0}
         step careless minidock load --keep-free 0 -i {0}
         step images minidock images -q
         step check minidock system check",
        tarball.display()
    );
    // A hundred are to stay. The store itself takes some thirty; busybox has some hundreds.
    let steps = on_disk_of(cx, "size=64m,nr_inodes=10000", 60 << 10, &script);
    let (code, text) = &steps["careful"];
    assert_eq!(*code, 1, "{text}");
    assert!(text.contains("not enough inodes"), "{text}");
    assert!(text.contains("df -i"), "{text}");
    let (code, text) = &steps["careless"];
    assert_eq!(*code, 1, "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(steps["images"], (0, "\n".into()));
    let (code, text) = &steps["check"];
    assert!(*code == 0 && text.contains("no problems"), "{text}");
}

/// What is pulled, imported, committed or copied into a container either is there as a whole or not at all.
fn what_adds_content_to_a_full_disk_leaves_nothing_half(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    let reference = registry.push(&fixtures().join("app"), "app");
    // Incompressible, so that each layer of it takes as much.
    let adding = format!(
        "adding() {{
            step pull$1 minidock pull -q {reference}
            step commit$1 minidock commit big committed:1
            step import$1 minidock import content.tar imported:1
            step cp$1 minidock cp content.tar big:/copied
         }}"
    );
    let script = format!(
        "{adding}
         step load minidock load -q --keep-free 0 -i {tarball}
         step run minidock run --name big busybox sh -c 'head -c 3000000 /dev/urandom >/big'
         head -c 3000000 /dev/urandom >content; tar cf content.tar content; rm content
         minidock images -q --no-trunc | sort >before
         dd if=/dev/zero of=rest bs=4k 2>/dev/null; truncate -s -600k rest
         adding 1
         step images sh -c 'minidock images -q --no-trunc | sort | diff before - && echo same'
         step inside minidock run --rm --volumes-from big busybox true
         rm rest fill
         step check minidock system check
         step partial sh -c 'find store/tmp -type f | wc -l'
         adding 2
         step committed minidock run --rm committed:1 stat -c %s /big
         step imported minidock run --rm imported:1 /none
         step whole sh -c 'minidock cp big:/copied - | tar xOf - | cmp - content.tar && echo whole'",
        tarball = saved().display()
    );
    let steps = on_disk(cx, 30 << 10, &script);
    assert_eq!(steps["load"].0, 0, "{:?}", steps["load"]);
    assert_eq!(steps["run"].0, 0, "{:?}", steps["run"]);
    for adds in ["pull", "commit", "import", "cp"] {
        let (code, text) = &steps[&format!("{adds}1")];
        assert_eq!(*code, 1, "{adds}: {text}");
        let full = text.contains("No space left on device") || text.contains("not enough space");
        assert!(full && text.contains("\nhint: "), "{adds}: {text}");
        let (code, text) = &steps[&format!("{adds}2")];
        assert_eq!(*code, 0, "{adds}: {text}");
    }
    assert_eq!(steps["images"], (0, "same\n".into()));
    let (code, text) = &steps["check"];
    assert!(*code == 0 && text.contains("no problems"), "{text}");
    assert_eq!(steps["committed"], (0, "3000000\n".into()));
    // It has no such program, but it is an image.
    assert_eq!(steps["imported"].0, 127, "{:?}", steps["imported"]);
    assert_eq!(steps["whole"], (0, "whole\n".into()));
}
