//! `tag`, `rmi`, `prune` and `system df`: whose names go, what goes with them, and what that gives back.

use std::fs;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

use crate::support::{Context, DockerRegistry, ImageTar, Layer, fixtures, scenarios};

scenarios!(
    an_image_gets_and_loses_names,
    a_tag_that_moves_leaves_the_old_image,
    an_image_is_removed_by_what_it_is_called,
    containers_keep_their_image,
    pruning_asks_first,
    pruning_takes_what_nobody_needs,
    pruning_obeys_filters,
    the_disk_is_told_about,
    what_is_reclaimed_is_what_the_disk_gets_back,
);

/// An image of a layer of its own, `size` bytes of it, on top of one that all of them have.
fn load(cx: &Context, name: Option<&str>, created: &str, size: usize, config: Value) {
    let base = Layer::new().file("base", 0o644, &[1; 100_000]).tar();
    let own = Layer::new().file("own", 0o644, &vec![2; size]).tar();
    let image = ImageTar {
        name: name.map(str::to_owned),
        created: created.to_owned(),
        layers: vec![base, own],
        ..ImageTar::new("", Vec::new(), config)
    };
    cx.run_with_input(["load"], &image.tar()).ok();
}

fn names(cx: &Context) -> String {
    let output = cx.run(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut names: Vec<&str> = output.silent_ok().lines().collect();
    names.sort_unstable();
    names.join(" ")
}

fn id(cx: &Context, name: &str) -> String {
    let output = cx.run(["image", "inspect", "-f", "{{.Id}}", name]);
    output.silent_ok().trim().to_owned()
}

fn an_image_gets_and_loses_names(cx: &Context) {
    load(cx, Some("one:1"), "2024-01-01T00:00:00Z", 1, json!({}));
    let id = id(cx, "one:1");
    let never = cx.run([
        "image",
        "inspect",
        "-f",
        "{{.Metadata.LastTagTime}}",
        "one:1",
    ]);
    assert_eq!(never.silent_ok(), "0001-01-01T00:00:00Z\n");
    for (source, target) in [
        ("one:1", "two"),
        (&id[7..19], "127.0.0.1:5000/three:3"),
        (&id, "docker.io/library/four:4"),
        ("one:1", "one:1"),
    ] {
        assert_eq!(cx.run(["tag", source, target]).silent_ok(), "");
    }
    assert_eq!(names(cx), "127.0.0.1:5000/three:3 four:4 one:1 two:latest");
    let tagged = cx.run([
        "image",
        "inspect",
        "-f",
        "{{.Metadata.LastTagTime}}",
        "one:1",
    ]);
    assert!(tagged.silent_ok().starts_with("20"), "{tagged}");
    let inspected = cx.run(["image", "inspect", "-f", "{{json .RepoTags}}", "four:4"]);
    assert_eq!(
        inspected.silent_ok(),
        "[\"127.0.0.1:5000/three:3\",\"four:4\",\"one:1\",\"two:latest\"]\n"
    );
    let digest = "0".repeat(64);
    for (source, target, words) in [
        ("nosuch", "x", "no such image: nosuch"),
        ("one:1", "Upper", "must be lower case"),
        ("one:1", "a b", "invalid reference"),
        (
            "one:1",
            &format!("x@sha256:{digest}"),
            "refusing to create a tag with a digest reference",
        ),
        ("one:1", &digest, "is an image id"),
    ] {
        let output = cx.run(["tag", source, target]);
        assert!(output.error(1).contains(words), "{output}");
    }
    assert_eq!(cx.run(["rmi", "two"]).silent_ok(), "Untagged: two:latest\n");
    assert_eq!(names(cx), "127.0.0.1:5000/three:3 four:4 one:1");
    let wrong = cx.run(["rmi", "one:nosuch", "four:4"]);
    assert_eq!(wrong.fails(1), "minidock: no such image: one:nosuch\n");
    assert_eq!(wrong.stdout, "Untagged: four:4\n");
}

fn a_tag_that_moves_leaves_the_old_image(cx: &Context) {
    load(cx, Some("app:1"), "2024-01-01T00:00:00Z", 1, json!({}));
    load(cx, Some("app:2"), "2024-01-02T00:00:00Z", 2, json!({}));
    let old = id(cx, "app:1");
    cx.run(["tag", "app:2", "app:1"]).silent_ok();
    assert_eq!(names(cx), "<none>:<none> app:1 app:2");
    assert_eq!(id(cx, "app:1"), id(cx, "app:2"));
    let dangling = cx.run(["images", "-q", "--no-trunc", "-f", "dangling=true"]);
    assert_eq!(dangling.silent_ok(), format!("{old}\n"));
    let pruned = cx.run(["image", "prune", "-f"]);
    assert!(
        pruned
            .silent_ok()
            .starts_with(&format!("Deleted Images:\ndeleted: {old}\n")),
        "{pruned}"
    );
    assert_eq!(names(cx), "app:1 app:2");
    let forced = cx.run(["rmi", "-f", &id(cx, "app:1")]);
    assert!(
        forced
            .silent_ok()
            .starts_with("Untagged: app:1\nUntagged: app:2\nDeleted: "),
        "{forced}"
    );
    cx.assert_store_empty();
}

fn an_image_is_removed_by_what_it_is_called(cx: &Context) {
    let Some(registry) = DockerRegistry::start(cx) else {
        return;
    };
    registry.push(&fixtures().join("busybox"), "box:1");
    let name = format!("{}/box", registry.host);
    cx.run(["pull", "-q", &format!("{name}:1")]).ok();
    let digests = cx.run(["images", "--digests", "--format", "{{.Digest}}"]);
    let digest = digests.silent_ok().trim().to_owned();
    let by_digest = format!("{name}@{digest}");
    assert_eq!(id(cx, &by_digest), id(cx, &format!("{name}:1")));
    let repo_digests = cx.run(["image", "inspect", "-f", "{{.RepoDigests}}", &name]);
    assert_eq!(
        repo_digests.code,
        Some(1),
        "latest is not there: {repo_digests}"
    );
    let repo_digests = cx.run(["image", "inspect", "-f", "{{.RepoDigests}}", &by_digest]);
    assert_eq!(repo_digests.silent_ok(), format!("[{by_digest}]\n"));

    // Without its digest it still has its tag, without both it goes.
    assert_eq!(
        cx.run(["rmi", &by_digest]).silent_ok(),
        format!("Untagged: {by_digest}\n")
    );
    assert_eq!(names(cx), format!("{name}:1"));
    let image = id(cx, &format!("{name}:1"));
    let last = cx.run(["rmi", &image[7..15]]);
    let expected = format!("Untagged: {name}:1\nDeleted: {image}\nDeleted: sha256:");
    assert!(last.silent_ok().starts_with(&expected), "{last}");
    cx.assert_store_empty();

    // The last tag of a repository takes the digest with it.
    cx.run(["pull", "-q", &format!("{name}:1")]).ok();
    let both = cx.run(["rmi", &format!("{name}:1")]);
    let expected = format!("Untagged: {name}:1\nUntagged: {by_digest}\nDeleted: {image}\n");
    assert!(both.silent_ok().starts_with(&expected), "{both}");
    cx.assert_store_empty();

    // Pulled by digest it has no tag, and a line all the same.
    cx.run(["pull", "-q", &by_digest]).ok();
    assert_eq!(names(cx), format!("{name}:<none>"));
    cx.run(["rmi", &by_digest]).silent_ok();
    cx.assert_store_empty();
}

fn containers_keep_their_image(cx: &Context) {
    cx.load_busybox();
    cx.run(["run", "--name", "done", "busybox", "true"]).ok();
    let refused = cx.run(["rmi", "busybox"]);
    expect![[r#"
        exit 1
        stderr:
        minidock: conflict: unable to remove repository reference "busybox" (must force) - container <id> is using its referenced image <id>
        hint: remove the container with `minidock rm <id>`, or use `minidock rmi -f`
    "#]]
    .assert_eq(&refused.snapshot(&[]));
    let image = id(cx, "busybox");
    expect![[r#"
        exit 1
        stderr:
        minidock: conflict: unable to delete <id> (must be forced) - image is being used by stopped container <id>
        hint: remove the container with `minidock rm <id>`, or use `minidock rmi -f`
    "#]]
    .assert_eq(&cx.run(["rmi", &image]).snapshot(&[]));
    // One of several names is no matter.
    cx.run(["tag", "busybox", "other"]).silent_ok();
    assert_eq!(
        cx.run(["rmi", "other"]).silent_ok(),
        "Untagged: other:latest\n"
    );

    let mut run = cx.start(cx.command([
        "run",
        "--name",
        "up",
        "-i",
        "busybox",
        "sh",
        "-c",
        "echo up; read x; ls /bin/sh",
    ]));
    run.wait_for_stdout("up\n");
    for name in ["busybox", &image] {
        expect![[r#"
            exit 1
            stderr:
            minidock: conflict: unable to delete <id> (cannot be forced) - image is being used by running container <id>
            hint: end it first: `minidock rm -f <id>`
        "#]]
        .assert_eq(&cx.run(["rmi", "-f", name]).snapshot(&[]));
    }
    let refused = cx.run(["rm", "up"]);
    assert!(
        refused.error(1).starts_with("minidock: cannot remove container \"/up\": container is running: stop the container before removing or force remove\n"),
        "{refused}"
    );
    run.feed(b"\n");
    assert_eq!(run.wait().silent_ok(), "up\n/bin/sh\n");

    // By force the image goes; its layers stay for the containers, and go with the last of them.
    let forced = cx.run(["rmi", "-f", "busybox", "app:1"]);
    assert!(
        forced.silent_ok().contains(&format!("Deleted: {image}\n")),
        "{forced}"
    );
    assert!(cx.store_files().keys().any(|f| f.starts_with("layers/")));
    cx.run(["rm", "done"]).silent_ok();
    assert!(cx.store_files().keys().any(|f| f.starts_with("layers/")));
    cx.run(["rm", "up"]).silent_ok();
    cx.assert_store_empty();
}

fn pruning_asks_first(cx: &Context) {
    load(cx, Some("one:1"), "2024-01-01T00:00:00Z", 1, json!({}));
    let question = "Are you sure you want to continue? [y/N] ";
    for (args, warning) in [
        (
            &["image", "prune"][..],
            "WARNING! This will remove all dangling images.\n",
        ),
        (
            &["image", "prune", "-a"],
            "WARNING! This will remove all images without at least one container associated to them.\n",
        ),
        (
            &["container", "prune"],
            "WARNING! This will remove all stopped containers.\n",
        ),
        (
            &["system", "prune"],
            "WARNING! This will remove:\n  - all stopped containers\n  - all dangling images\n\n",
        ),
        (
            &["system", "prune", "-a", "--filter", "until=1h"],
            "WARNING! This will remove:\n  - all stopped containers\n  - all images without at least one container associated to them\n\n  \
             Items to be pruned will be filtered with:\n  - until=1h\n\n",
        ),
    ] {
        for answer in ["", "\n", "n\n", "yes\n", "what\ny\n"] {
            let output = cx.run_with_input(args, answer.as_bytes());
            assert_eq!(
                output.silent_ok(),
                format!("{warning}{question}"),
                "{answer:?}"
            );
        }
        assert_eq!(names(cx), "one:1");
    }
    let output = cx.run_with_input(["image", "prune", "-a"], b"Y\n");
    assert!(output.silent_ok().contains("untagged: one:1\n"), "{output}");
    cx.assert_store_empty();
    assert_eq!(
        cx.run(["system", "prune", "-f"]).silent_ok(),
        "Total reclaimed space: 0B\n"
    );
}

fn pruning_takes_what_nobody_needs(cx: &Context) {
    cx.load_busybox();
    load(cx, Some("unused:1"), "2024-01-01T00:00:00Z", 1, json!({}));
    load(cx, None, "2024-01-01T00:00:00Z", 2, json!({}));
    cx.run(["run", "--name", "stopped", "app:1"]).ok();
    let mut run = cx.start(cx.command([
        "run",
        "--name",
        "up",
        "-i",
        "busybox",
        "sh",
        "-c",
        "echo up; read x",
    ]));
    run.wait_for_stdout("up\n");

    // Nothing that has a name or a user goes.
    let dangling = cx.run(["image", "prune", "-f"]);
    expect![[r#"
        exit 0
        stdout:
        Deleted Images:
        deleted: sha256:<digest>
        deleted: sha256:<digest>

        Total reclaimed space: <size>
    "#]]
    .assert_eq(&sizeless(&dangling.snapshot(&[])));
    assert_eq!(names(cx), "app:1 busybox:latest unused:1");

    let containers = cx.run(["container", "prune", "-f"]);
    expect![[r#"
        exit 0
        stdout:
        Deleted Containers:
        <digest>

        Total reclaimed space: <size>
    "#]]
    .assert_eq(&sizeless(&containers.snapshot(&[])));
    let left = cx.run(["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(left.silent_ok(), "up\n");

    let anonymous = cx.run(["volume", "create"]).silent_ok().to_owned();
    cx.run(["volume", "create", "named"]).silent_ok();
    let all = cx.run(["system", "prune", "--all", "--force", "--volumes"]);
    // Another is the pruned container's: its image asks for it.
    let told: Vec<&str> = all.silent_ok().lines().take(4).collect();
    assert_eq!([told[0], told[3]], ["Deleted Volumes:", ""], "{all}");
    assert!(told.contains(&anonymous.trim()), "{all}");
    cx.run(["volume", "rm", "named"]).silent_ok();
    assert!(all.silent_ok().contains("untagged: app:1\n"), "{all}");
    assert!(all.stdout.contains("untagged: unused:1\n"), "{all}");
    assert_eq!(names(cx), "busybox:latest");
    run.feed(b"\n");
    run.wait().silent_ok();
    let rest = cx.run(["system", "prune", "-af"]);
    assert!(
        rest.silent_ok().starts_with("Deleted Containers:\n"),
        "{rest}"
    );
    assert!(
        rest.stdout
            .contains("\n\nDeleted Images:\nuntagged: busybox:latest\n"),
        "{rest}"
    );
    cx.assert_store_empty();
}

/// The last word of each line that tells a size.
fn sizeless(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| match line.strip_prefix("Total reclaimed space: ") {
            Some(size) => {
                assert!(size.ends_with('B') && size != "0B", "{size}");
                "Total reclaimed space: <size>\n".to_owned()
            }
            None => format!("{line}\n"),
        });
    lines.collect()
}

fn pruning_obeys_filters(cx: &Context) {
    load(
        cx,
        Some("old:1"),
        "2024-01-01T00:00:00Z",
        1,
        json!({ "Labels": { "keep": "no" } }),
    );
    load(
        cx,
        Some("new:1"),
        "2024-06-01T00:00:00Z",
        2,
        json!({ "Labels": { "keep": "yes", "x": "" } }),
    );
    load(cx, Some("dateless:1"), "", 3, json!({}));
    let prune = |filters: &[&str]| {
        let args = ["image", "prune", "-a", "-f"];
        cx.run(args.iter().chain(filters)).silent_ok().to_owned()
    };
    let nothing = "Total reclaimed space: 0B\n";
    assert_eq!(prune(&["--filter", "until=2023-01-01"]), nothing);
    assert_eq!(prune(&["--filter", "label=nosuch"]), nothing);
    assert_eq!(
        prune(&["--filter", "label=keep=no", "--filter", "label!=keep"]),
        nothing
    );
    assert_eq!(names(cx), "dateless:1 new:1 old:1");
    prune(&["--filter", "until=2024-03-01T00:00:00"]);
    assert_eq!(names(cx), "dateless:1 new:1");
    prune(&["--filter", "label!=keep=yes"]);
    assert_eq!(names(cx), "new:1");
    prune(&["--filter", "label=x", "--filter", "until=24h"]);
    cx.assert_store_empty();

    cx.load_busybox();
    cx.run(["run", "--name", "plain", "busybox", "true"]).ok();
    let prune = |filter: &str| {
        cx.run(["container", "prune", "-f", "--filter", filter])
            .silent_ok()
            .to_owned()
    };
    assert_eq!(prune("until=1h"), nothing, "it was made just now");
    assert_eq!(prune("label=nosuch"), nothing);
    assert!(prune("label!=nosuch").starts_with("Deleted Containers:\n"));
    for (args, words) in [
        (
            &["image", "prune", "-f", "--filter", "until=never"][..],
            "invalid filter 'until=never'",
        ),
        (
            &["image", "prune", "-f", "--filter", "reference=x"],
            "invalid filter 'reference'",
        ),
        (
            &["system", "prune", "-f", "--volumes", "--filter", "until=1h"],
            "\"until\" filter is not supported with \"--volumes\"",
        ),
    ] {
        assert!(cx.run(args).error(1).contains(words), "{args:?}");
    }
}

fn the_disk_is_told_about(cx: &Context) {
    expect![[r#"
        exit 0
        stdout:
        TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
        Images          0         0         0B        0B
        Containers      0         0         0B        0B
        Local Volumes   0         0         0B        0B
        Build Cache     0         0         0B        0B
    "#]]
    .assert_eq(&cx.run(["system", "df"]).snapshot(&[]));
    load(
        cx,
        Some("one:1"),
        "2024-01-01T00:00:00Z",
        500_000,
        json!({ "Cmd": ["x"] }),
    );
    load(
        cx,
        Some("two:2"),
        "2024-01-02T00:00:00Z",
        900_000,
        json!({}),
    );
    cx.run(["tag", "two:2", "two:again"]).silent_ok();
    cx.load_busybox();
    cx.run(["volume", "create", "idle"]).ok();
    let script = "head -c 300000 /dev/zero >/file; head -c 200000 /dev/zero >/data/file";
    let run = [
        "run",
        "--name",
        "wrote",
        "-v",
        "busy:/data",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    cx.run(run).ok();
    let kinds = cx.run([
        "system",
        "df",
        "--format",
        "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
    ]);
    let lines: Vec<&str> = kinds.silent_ok().lines().collect();
    assert!(lines[0].starts_with("Images|4|1|"), "{kinds}");
    assert!(lines[0].ends_with("%)"), "{kinds}");
    assert!(lines[1].starts_with("Containers|1|0|"), "{kinds}");
    assert!(lines[1].ends_with(" (100%)"), "{kinds}");

    assert!(lines[2].starts_with("Local Volumes|2|1|"), "{kinds}");
    assert_eq!(lines[3], "Build Cache|0|0|0B|0B");

    let verbose = cx.run(["system", "df", "-v"]);
    let text = verbose.silent_ok();
    for section in [
        "Images space usage:\n\nREPOSITORY",
        "\n\nContainers space usage:\n\nCONTAINER ID",
        "Build cache usage: 0B",
    ] {
        assert!(text.contains(section), "{verbose}");
    }
    let row = |name: &str| -> Vec<&str> {
        let line = text
            .lines()
            .find(|l| l.split_whitespace().take(2).eq(name.split(':')));
        line.unwrap_or_else(|| panic!("no {name}\n{verbose}"))
            .split_whitespace()
            .collect()
    };
    // REPOSITORY TAG ID … SIZE SHARED UNIQUE CONTAINERS
    for (name, containers) in [
        ("one:1", "0"),
        ("two:2", "0"),
        ("two:again", "0"),
        ("busybox:latest", "1"),
    ] {
        let row = row(name);
        assert_eq!(row.last(), Some(&containers), "{row:?}");
        assert_ne!(row[row.len() - 3], "0B", "it shares a layer: {row:?}");
    }
    let container = text.lines().find(|l| l.ends_with("wrote")).unwrap();
    assert!(container.contains("busybox"), "{container}");

    let json = cx.run(["system", "df", "-v", "--format", "json"]);
    let json: Value = serde_json::from_str(json.silent_ok()).unwrap();
    assert_eq!(json["Images"].as_array().unwrap().len(), 5, "{json}");
    assert_eq!(json["Containers"][0]["Names"], "wrote");
    let volumes: Vec<[&Value; 2]> = json["Volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| [&v["Name"], &v["Links"]])
        .collect();
    assert_eq!(volumes, [["busy", "1"], ["idle", "0"]], "{json}");
}

/// What a folder takes on the disk, in bytes.
fn disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let meta = path.symlink_metadata().unwrap();
    let inside = match meta.is_dir() {
        true => fs::read_dir(path)
            .unwrap()
            .map(|e| disk(&e.unwrap().path()))
            .sum(),
        false => 0,
    };
    meta.blocks() * 512 + inside
}

fn what_is_reclaimed_is_what_the_disk_gets_back(cx: &Context) {
    load(
        cx,
        Some("kept:1"),
        "2024-01-01T00:00:00Z",
        10_000,
        json!({}),
    );
    load(
        cx,
        Some("gone:1"),
        "2024-01-01T00:00:00Z",
        3_000_000,
        json!({ "Env": ["A=1"] }),
    );
    load(
        cx,
        Some("also:1"),
        "2024-01-01T00:00:00Z",
        3_000_000,
        json!({ "Env": ["A=2"] }),
    );
    cx.run(["system", "df"]).silent_ok();
    let size = || disk(&cx.root().join("blobs")) + disk(&cx.root().join("layers"));
    let before = size();
    cx.run(["tag", "gone:1", "kept:2"]).silent_ok();
    cx.run(["rmi", "kept:2"]).silent_ok();
    assert_eq!(size(), before, "a name takes nothing");
    // Both images have the same layers: that space comes back once, with the second.
    let first = cx.run(["rmi", "gone:1"]);
    let gone = first
        .silent_ok()
        .lines()
        .filter(|l| l.starts_with("Deleted: "))
        .count();
    assert_eq!(gone, 1, "its layers are another's as well: {first}");
    let before = size();
    cx.run(["rmi", "also:1"]).silent_ok();
    assert!(before - size() > 6_000_000, "blob and files");

    load(
        cx,
        Some("gone:1"),
        "2024-01-01T00:00:00Z",
        3_000_000,
        json!({ "Env": ["A=1"] }),
    );
    load(
        cx,
        Some("also:1"),
        "2024-01-01T00:00:00Z",
        3_000_000,
        json!({ "Env": ["A=2"] }),
    );
    let before = size();
    let pruned = cx.run(["image", "prune", "-a", "-f"]);
    let total = pruned.silent_ok().lines().last().unwrap();
    let total = total.strip_prefix("Total reclaimed space: ").unwrap();
    let total: f64 = total.strip_suffix("MB").unwrap().parse().unwrap();
    let back = (before - size()) as f64 / 1e6;
    // Folders' own blocks come and go with what is in them.
    assert!(
        (total - back).abs() < 0.05,
        "{total} MB were told, {back} MB are free"
    );
    cx.assert_store_empty();
}
