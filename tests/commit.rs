//! `commit` and `diff`: what a container changed, told and kept.

use std::fs;

use serde_json::{Value, json};

use crate::archives::files;
use crate::support::{Context, scenarios};

scenarios!(
    diff_tells_what_docker_tells,
    what_was_committed_runs_here_and_after_a_journey,
    the_config_is_the_containers_with_the_changes,
    the_same_changes_give_the_same_image,
    a_running_container_is_committed_as_it_is,
    nothing_changed_is_no_layer,
    a_wrong_change_is_told_before_any_work,
    hostile_files_are_committed_as_files,
);

fn diff(cx: &Context, container: &str) -> Vec<String> {
    let output = cx.run(["diff", container]);
    output.silent_ok().lines().map(str::to_owned).collect()
}

fn run(cx: &Context, name: &str, script: &str) {
    cx.run([
        "run", "--name", name, "-u", "0", "busybox", "sh", "-c", script,
    ])
    .silent_ok();
}

fn diff_tells_what_docker_tells(cx: &Context) {
    cx.load_busybox();
    run(cx, "nothing", "true");
    assert_eq!(diff(cx, "nothing"), [""; 0]);
    run(
        cx,
        "c1",
        "mkdir -p /new/deep && echo 1 > /new/deep/file && echo x >> /etc/passwd && rm /etc/group && \
         rm -r /var && mkdir /var && echo 1 > /var/own && rm -r /tmp && echo file > /tmp && \
         chmod 700 /home && cat /etc/shadow > /dev/null && touch -r /etc/shadow /etc/shadow && \
         echo gone > /gone && rm /gone && mv /etc/nsswitch.conf /etc/moved; true",
    );
    let lines = diff(cx, "c1");
    for line in [
        "A /new",
        "A /new/deep",
        "A /new/deep/file",
        "C /etc",
        "C /etc/passwd",
        "D /etc/group",
        "C /var",
        "A /var/own",
        "C /tmp",
        "C /home",
    ] {
        assert!(lines.iter().any(|l| l == line), "no {line:?} in {lines:?}");
    }
    for path in [
        "/gone",
        "/etc/shadow",
        "/proc",
        "/dev",
        "/etc/hosts",
        "/etc/mtab",
        "/sys",
    ] {
        assert!(
            !lines.iter().any(|l| l[2..] == *path),
            "{path} in {lines:?}"
        );
    }
    let mut sorted = lines.clone();
    sorted.sort_by(|a, b| a[2..].split('/').cmp(b[2..].split('/')));
    assert_eq!(lines, sorted, "folders come before what is in them");
    assert!(
        cx.run(["diff", "nobody"])
            .error(1)
            .contains("no such container")
    );
}

fn what_was_committed_runs_here_and_after_a_journey(cx: &Context) {
    cx.load_busybox();
    run(
        cx,
        "c1",
        "echo hello > /greeting; rm /etc/group; mkdir -p /opt/x; chown 0:0 /opt/x",
    );
    let committed = cx.run([
        "commit",
        "-c",
        "CMD [\"cat\", \"/greeting\"]",
        "c1",
        "hello:1",
    ]);
    let id = committed.silent_ok().trim().to_owned();
    assert_eq!(
        cx.run(["images", "-q", "--no-trunc", "hello:1"])
            .silent_ok()
            .trim(),
        id
    );
    assert_eq!(cx.run(["run", "--rm", "hello:1"]).silent_ok(), "hello\n");
    let gone = cx.run(["run", "--rm", "hello:1", "ls", "/etc/group"]);
    assert!(gone.fails(1).contains("No such file"), "{gone}");
    cx.run(["save", "-o", "hello.tar", "hello:1"]).silent_ok();
    let tarball = fs::read(cx.work().join("hello.tar")).unwrap();
    let loaded = cx.run_with_input(["--root", "other", "load"], &tarball);
    assert_eq!(loaded.ok(), "Loaded image: hello:1\n");
    assert_eq!(
        cx.run(["--root", "other", "run", "--rm", "hello:1"]).ok(),
        "hello\n"
    );
    let there = cx.run(["--root", "other", "images", "-q", "--no-trunc"]);
    assert_eq!(there.ok().trim(), id);
    // On top of what was committed, once more.
    cx.run([
        "run",
        "--name",
        "c2",
        "-u",
        "0",
        "hello:1",
        "sh",
        "-c",
        "echo again >> /greeting",
    ])
    .silent_ok();
    assert_eq!(diff(cx, "c2"), ["C /greeting"]);
    cx.run([
        "commit",
        "-c",
        "CMD cat /greeting",
        "--compression",
        "zstd",
        "c2",
        "hello:2",
    ])
    .silent_ok();
    assert_eq!(
        cx.run(["run", "--rm", "hello:2"]).silent_ok(),
        "hello\nagain\n"
    );
    // The base may go as long as the image is there.
    cx.run(["rm", "c1", "c2"]).ok();
    cx.run(["rmi", "-f", "busybox", "app:1", "hello:1"]).ok();
    assert_eq!(
        cx.run(["run", "--rm", "hello:2"]).silent_ok(),
        "hello\nagain\n"
    );
}

fn config(cx: &Context, image: &str) -> Value {
    cx.run(["save", "-o", "config.tar", image]).silent_ok();
    let files = files(&cx.work().join("config.tar"));
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap()
}

fn the_config_is_the_containers_with_the_changes(cx: &Context) {
    cx.load_busybox();
    let args = [
        "run",
        "--name",
        "c1",
        "-u",
        "0",
        "-e",
        "FLAG=1",
        "-w",
        "/tmp",
        "app:1",
        "sh",
        "-c",
        "echo x > /x",
    ];
    cx.run(args).silent_ok();
    let parent = config(cx, "app:1");
    let commit = [
        "commit",
        "-a",
        "Somebody <s@example.org>",
        "-m",
        "a remark",
        "-c",
        "ENV MORE=$FLAG",
        "-c",
        "LABEL a=b",
        "-c",
        "EXPOSE 80",
        "-c",
        "USER 5:6",
        "-c",
        "VOLUME /v",
        "-c",
        "WORKDIR sub",
        "-c",
        "STOPSIGNAL SIGINT",
        "-c",
        "ONBUILD RUN x",
        "-c",
        "HEALTHCHECK NONE",
        "--pause=false",
        "c1",
        "app:made",
    ];
    cx.run(commit).silent_ok();
    let made = config(cx, "app:made");
    let run = &made["config"];
    let env: Vec<&str> = run["Env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e.as_str().unwrap())
        .collect();
    assert_eq!(env[env.len() - 2..], ["FLAG=1", "MORE=1"]);
    assert!(
        !env.iter()
            .any(|e| e.starts_with("HOSTNAME=") || e.starts_with("HOME="))
    );
    assert_eq!(run["Cmd"], json!(["sh", "-c", "echo x > /x"]));
    assert_eq!(run["WorkingDir"], json!("/tmp/sub"));
    assert_eq!(run["User"], json!("5:6"));
    assert_eq!(run["ExposedPorts"]["80/tcp"], json!({}));
    assert_eq!(run["Labels"]["a"], json!("b"));
    assert_eq!(run["Volumes"]["/v"], json!({}));
    assert_eq!(run["StopSignal"], json!("SIGINT"));
    assert_eq!(run["OnBuild"], json!(["RUN x"]));
    assert_eq!(run["Healthcheck"], json!({"Test": ["NONE"]}));
    assert_eq!(made["author"], json!("Somebody <s@example.org>"));
    assert_eq!(made["architecture"], parent["architecture"]);
    let (old, new) = (&parent["rootfs"]["diff_ids"], &made["rootfs"]["diff_ids"]);
    assert_eq!(new.as_array().unwrap()[..2], old.as_array().unwrap()[..]);
    assert_eq!(new.as_array().unwrap().len(), 3);
    let history = made["history"].as_array().unwrap();
    assert_eq!(
        history[..history.len() - 1],
        parent["history"].as_array().unwrap()[..]
    );
    let last = history.last().unwrap();
    assert_eq!(last["comment"], json!("a remark"));
    assert_eq!(last["created_by"], json!("sh -c echo x > /x"));
    assert_eq!(last["author"], made["author"]);
    assert_eq!(last["created"], made["created"]);
    // Without flags, it is the image's.
    cx.run(["run", "--name", "plain", "app:1"]).silent_ok();
    cx.run(["commit", "plain", "app:plain"]).silent_ok();
    assert_eq!(config(cx, "app:plain")["config"], parent["config"]);
}

fn the_same_changes_give_the_same_image(cx: &Context) {
    cx.load_busybox();
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        // In another order, at another time.
        let files = if name == "one" { "a b" } else { "b a" };
        run(
            cx,
            name,
            &format!(
                "for i in {files}; do mkdir /$i; echo $i > /$i/file; done; rm /etc/group; true"
            ),
        );
        // The command is part of the history, so it has to be the same.
        let mut command = cx.command(["commit", "-c", "CMD x", name, &format!("same:{name}")]);
        command.env("SOURCE_DATE_EPOCH", "1500000000");
        let output = cx.finish(command);
        let id = output.silent_ok().trim().to_owned();
        let made = config(cx, &format!("same:{name}"));
        assert_eq!(made["created"], json!("2017-07-14T02:40:00Z"));
        ids.push(made["rootfs"].clone());
        let again = cx.run(["commit", "-c", "CMD x", "--timestamp", "1500000000", name]);
        assert_eq!(again.silent_ok().trim(), id);
    }
    assert_eq!(ids[0], ids[1]);
}

fn a_running_container_is_committed_as_it_is(cx: &Context) {
    cx.load_busybox();
    let args = [
        "run",
        "--name",
        "c1",
        "-i",
        "-u",
        "0",
        "busybox",
        "sh",
        "-c",
        "echo written > /file; echo ready; cat; echo later > /later",
    ];
    let (mut running, stdin) = cx.start_held(cx.command(args));
    running.wait_for_stdout("ready");
    assert_eq!(diff(cx, "c1"), ["A /file"]);
    let refused = cx.run(["commit", "--pause", "c1", "live:1"]);
    let text = refused.error(1);
    assert!(text.contains("cannot pause the container c1"), "{refused}");
    cx.run(["commit", "--no-pause", "c1", "live:1"]).silent_ok();
    cx.run(["export", "-o", "live.tar", "c1"]).silent_ok();
    assert_eq!(files(&cx.work().join("live.tar"))["file"], b"written\n");
    drop(stdin);
    running.wait().ok();
    cx.run(["commit", "--pause=true", "c1", "ended:1"])
        .silent_ok();
    assert_eq!(diff(cx, "c1"), ["A /file", "A /later"]);
    let shown = cx.run(["run", "--rm", "live:1", "cat", "/file"]);
    assert_eq!(shown.silent_ok(), "written\n");
}

fn nothing_changed_is_no_layer(cx: &Context) {
    cx.load_busybox();
    run(cx, "c1", "true");
    cx.run(["commit", "-m", "only words", "c1", "words:1"])
        .silent_ok();
    let (made, parent) = (config(cx, "words:1"), config(cx, "busybox"));
    assert_eq!(made["rootfs"], parent["rootfs"]);
    assert_eq!(
        made["history"].as_array().unwrap().last().unwrap()["empty_layer"],
        json!(true)
    );
    assert_eq!(
        cx.run(["inspect", "-f", "{{.Comment}}", "words:1"])
            .silent_ok(),
        "only words\n"
    );
    cx.run(["run", "--rm", "words:1"]).ok();
}

fn a_wrong_change_is_told_before_any_work(cx: &Context) {
    cx.load_busybox();
    run(cx, "c1", "echo x > /x");
    let before = cx.store_files();
    for (change, told) in [
        ("RUN x", "RUN is not a valid change command"),
        ("EXPOSE 99999", "invalid containerPort: 99999"),
        ("USER", "USER requires at least one argument"),
    ] {
        let output = cx.run(["commit", "-c", change, "c1", "bad:1"]);
        assert!(output.error(1).contains(told), "{output}");
    }
    let output = cx.run(["commit", "c1", "Bad:1"]);
    assert!(output.error(1).contains("lower case"), "{output}");
    assert_eq!(cx.store_files(), before);
}

fn hostile_files_are_committed_as_files(cx: &Context) {
    cx.load_busybox();
    let long = "n".repeat(255);
    run(
        cx,
        "c1",
        &format!(
            "mkdir -p /h/closed /h/wx && echo s > /h/closed/s && chmod 0 /h/closed && chmod 300 /h/wx && \
             mkfifo /h/pipe && ln -s ../../../../etc /h/up && ln -s /h/loop /h/loop && echo l > /h/{long} && \
             echo n > \"$(printf '/h/new\\nline')\" && echo s > /h/set && chmod 6755 /h/set && \
             echo w > /h/.wh.etc && ln /h/set /h/set2 && echo x > \"$(printf '/h/\\377')\""
        ),
    );
    cx.run(["commit", "c1", "hostile:1"]).silent_ok();
    let check = format!(
        "cat /h/closed/s; ls /h | wc -l; stat -c %a /h/wx /h/set /h/closed; stat -c %h /h/set2; readlink /h/up; cat /h/{long}; ls -d /etc/passwd"
    );
    let shown = cx.run(["run", "--rm", "-u", "0", "hostile:1", "sh", "-c", &check]);
    // All but the file that would delete another one in a layer: it cannot be said there.
    assert_eq!(
        shown.silent_ok(),
        "s\n11\n300\n6755\n0\n2\n../../../../etc\nl\n/etc/passwd\n"
    );
}
