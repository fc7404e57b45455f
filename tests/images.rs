//! `minidock images` and `minidock rmi`: Docker's table, Docker's words.

use std::process::Command;

use expect_test::expect;
use serde_json::json;

use crate::support::{Context, ImageTar, Layer, scenarios};

scenarios!(
    the_table_is_dockers,
    one_image_may_have_several_names,
    an_image_in_use_is_kept,
    help_and_version_answer,
    groups_of_verbs_say_the_same,
);

/// When it was `ago`, as image configs spell it.
pub fn time(ago: &str) -> String {
    let date = Command::new("date")
        .args(["-u", "-d", ago, "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

fn the_table_is_dockers(cx: &Context) {
    let empty = cx.run(["images"]);
    expect![[r#"
        exit 0
        stdout:
        REPOSITORY   TAG       IMAGE ID   CREATED   SIZE
    "#]]
    .assert_eq(&empty.snapshot(&[]));

    for (name, size, created) in [
        ("old:1", 2_000_000, time("3 weeks ago")),
        (
            "127.0.0.1:5000/team/project:a-longer-tag",
            150,
            time("26 hours ago"),
        ),
        ("new", 31_000_000, time("5 minutes ago")),
        ("newest:x", 0, String::new()),
    ] {
        let layer = Layer::new().file("file", 0o644, &vec![7; size]).tar();
        let image = ImageTar {
            created,
            ..ImageTar::new(name, layer, json!({ "Env": [name] }))
        };
        cx.run_with_input(["load"], &image.tar()).ok();
    }
    let images = cx.run(["images"]);
    expect![[r#"
        exit 0
        stdout:
        REPOSITORY                    TAG            IMAGE ID       CREATED         SIZE
        new                           latest         <id>   5 minutes ago   31MB
        127.0.0.1:5000/team/project   a-longer-tag   <id>   26 hours ago    150B
        old                           1              <id>   3 weeks ago     2MB
        newest                        x              <id>   N/A             0B
    "#]]
    .assert_eq(&images.snapshot(&[]));
    let one = cx.run(["images", "old"]);
    expect![[r#"
        exit 0
        stdout:
        REPOSITORY   TAG       IMAGE ID       CREATED       SIZE
        old          1         <id>   3 weeks ago   2MB
    "#]]
    .assert_eq(&one.snapshot(&[]));
    let quiet = cx.run(["images", "-q"]);
    expect![[r#"
        exit 0
        stdout:
        <id>
        <id>
        <id>
        <id>
    "#]]
    .assert_eq(&quiet.snapshot(&[]));
    assert_eq!(cx.run(["images", "nosuch"]).silent_ok().lines().count(), 1);
}

fn one_image_may_have_several_names(cx: &Context) {
    let layer = Layer::new().file("file", 0o644, b"content").tar();
    for name in ["one:1", "two:2"] {
        let image = ImageTar::new(name, layer.clone(), json!({}));
        cx.run_with_input(["load"], &image.tar()).ok();
    }
    let ids = cx.run(["images", "-q", "--no-trunc"]);
    let ids: Vec<&str> = ids.silent_ok().lines().collect();
    assert!(
        ids.len() == 2 && ids[0] == ids[1],
        "a line a name, as in Docker: {ids:?}"
    );
    let by_id = cx.run(["rmi", ids[0]]);
    let several = "(must be forced) - image is referenced in multiple repositories";
    assert!(by_id.error(1).contains(several), "{by_id}");
    assert_eq!(cx.run(["rmi", "one:1"]).silent_ok(), "Untagged: one:1\n");
    let last = cx.run(["rmi", "two:2"]);
    assert!(
        last.silent_ok()
            .starts_with("Untagged: two:2\nDeleted: sha256:"),
        "{last}"
    );
    cx.assert_store_empty();
}

fn an_image_in_use_is_kept(cx: &Context) {
    cx.load_busybox();
    cx.run(["run", "--name", "stopped", "app:1"]).ok();
    let refused = cx.run(["rmi", "app:1"]);
    let message = refused.error(1);
    assert!(
        message.contains("app:1") && message.contains("hint: "),
        "{refused}"
    );
    assert_eq!(
        cx.run(["run", "--rm", "app:1"]).silent_ok(),
        "hello world from app in /srv/app\n"
    );
    cx.run(["rm", "-v", "stopped"]).ok();
    cx.run(["rmi", "app:1"]).ok();

    // One that runs keeps its image and its layers whatever is forced.
    let mut run = cx.start(cx.command([
        "run",
        "--rm",
        "-i",
        "busybox",
        "sh",
        "-c",
        "echo up; read x; ls /bin/sh",
    ]));
    run.wait_for_stdout("up\n");
    let refused = cx.run(["rmi", "-f", "busybox"]);
    let message = refused.error(1);
    assert!(message.contains("(cannot be forced)"), "{refused}");
    run.feed(b"\n");
    assert_eq!(run.wait().silent_ok(), "up\n/bin/sh\n");
    cx.run(["rmi", "busybox"]).ok();
    cx.assert_store_empty();
}

fn help_and_version_answer(cx: &Context) {
    for args in [&["--help"][..], &["run", "--help"], &["pull", "-h"]] {
        assert!(cx.run(args).silent_ok().contains("Usage: "), "{args:?}");
    }
    // Docker answers a command without a verb with its help, on standard error.
    for args in [&[][..], &["image"], &["container"]] {
        let output = cx.run(args);
        assert_eq!(output.ok(), "", "{output}");
        assert!(output.stderr.contains("Usage: minidock"), "{output}");
    }
    let version = cx.run(["--version"]);
    assert_eq!(
        version.silent_ok(),
        concat!("minidock ", env!("CARGO_PKG_VERSION"), "\n")
    );
    // Asking makes no store.
    assert!(!cx.root().exists());
}

fn groups_of_verbs_say_the_same(cx: &Context) {
    cx.load_busybox();
    cx.run(["container", "run", "--name", "cc", "app:1"]).ok();
    for (short, long) in [
        (&["images"][..], &["image", "ls"][..]),
        (&["images", "-q"], &["image", "list", "-q"]),
        (&["ps", "-aq"], &["container", "ls", "-aq"]),
        (&["ps", "-aq"], &["container", "ps", "-a", "-q"]),
    ] {
        assert_eq!(cx.run(short).silent_ok(), cx.run(long).silent_ok());
    }
    assert_eq!(
        cx.run(["container", "remove", "-v", "cc"]).silent_ok(),
        "cc\n"
    );
    cx.run(["image", "rm", "app:1", "busybox"]).silent_ok();
    cx.assert_store_empty();
}
